"""charlm: train a recurrent language model on your own text, sample from it, score with it."""

__version__ = "0.1.0"
