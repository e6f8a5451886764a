"""The models that people hold: language models, classifiers, taggers, mixtures."""
