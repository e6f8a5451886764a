"""A classifier or a tagger in use: labels of texts, tags of tokens, with their probabilities.

Small jobs are done by equations/heads.py in single precision, before torch could be imported;
larger ones by nn/head.py. The figures agree.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints.head import HeadCheckpoint
from charlm.config import LONGEST
from charlm.equations import heads
from charlm.models.arguments import several_sentences, several_texts
from charlm.models.card import card
from charlm.network_config import ClassifierConfig, TaggerConfig

_FEW_TOKENS = 1000  # or letters: what NumPy reads while torch is imported


class _Loaded:
    """What classifiers and taggers share."""

    def __init__(self, checkpoint: HeadCheckpoint) -> None:
        self.checkpoint = checkpoint
        self.names = checkpoint.labels
        self._head: object = None  # heads.Head, once there is much to do

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.checkpoint.path)!r})"

    def _repr_html_(self) -> str:
        labels = ", ".join(self.names[:20])
        return card(type(self).__name__, self.checkpoint, labels=labels)

    @property
    def _numpy(self) -> heads.HeadWeights:
        return heads.head_weights(self.checkpoint.config, self.checkpoint.weights, np.float32)

    def _log_probs(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated log-probabilities (M, C), double precision."""
        return heads.log_softmax(scores, self.checkpoint.temperature)


class Classifier(_Loaded):
    """Names the kind of a text: ``names`` are the labels it knows, in the order of its columns."""

    def classify(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """P(label given text), a row for each text and a column for each label: (S, C).

        Rows add up to 1, are calibrated on the held-out text and do not depend on other rows. Of
        a text of more than config.LONGEST tokens the first ones are read.
        """
        return np.exp(self.log_posteriors(texts))

    def is_cut(self, text: str) -> bool:
        """Whether a text has more than config.LONGEST tokens, so that its end is not read."""
        tokenizer = self.checkpoint.tokenizer
        assert tokenizer is not None
        if 4 * len(text) < LONGEST:  # no character is more than four tokens, its bytes
            return False
        return len(tokenizer.encode(text)) > LONGEST

    def log_posteriors(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Natural logarithms of what ``classify`` gives."""
        tokenizer, config = self.checkpoint.tokenizer, self.checkpoint.config
        assert tokenizer is not None
        assert isinstance(config, ClassifierConfig)
        texts = several_texts(texts, "texts")
        if not texts:
            return np.empty((0, len(self.names)))
        if self._head is None and sum(map(len, texts)) <= _FEW_TOKENS:
            weights = self._numpy
            eos = np.int32(tokenizer.eos_id)
            return self._log_probs(
                np.stack(
                    [
                        heads.classify(
                            config, weights, np.append(tokenizer.encode(text)[:LONGEST], eos)
                        )
                        for text in texts
                    ]
                )
            )
        from charlm.engines.torch_labels import read_scores
        from charlm.nn.examples import encode_texts
        from charlm.nn.head import Head, from_arrays

        if not isinstance(self._head, Head):
            self._head = from_arrays(config, self.checkpoint.weights)
        return self._log_probs(read_scores(self._head, encode_texts(tokenizer, texts)))


class Tagger(_Loaded):
    """Names the kind of each token of a sentence."""

    def log_probs(self, sentences: Sequence[Sequence[str]]) -> list[NDArray[np.float64]]:
        """Natural log of P(tag given sentence) of each token: for each sentence (T, C).

        A sentence of more than config.LONGEST tokens is read in pieces of that length.
        """
        words, config = self.checkpoint.words, self.checkpoint.config
        assert words is not None
        assert isinstance(config, TaggerConfig)
        sentences = several_sentences(sentences, "sentences")
        there = [sentence for sentence in sentences if len(sentence)]
        size = sum(len(token) + 1 for sentence in there for token in sentence)
        if not there:
            scores: NDArray[np.floating] = np.empty((0, len(self.names)))
        elif self._head is None and size <= _FEW_TOKENS:
            weights = self._numpy
            scores = np.concatenate(
                [
                    heads.tag(
                        config,
                        weights,
                        np.array([words.word(token) for token in sentence]),
                        [np.array(words.spelled(token)) for token in sentence],
                    )
                    for sentence in there
                ]
            )
        else:
            scores = self._read(there)
        log_probs = self._log_probs(scores)
        ends = np.cumsum([len(sentence) for sentence in sentences])
        return np.split(log_probs, ends[:-1]) if len(ends) else []

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """The likeliest tag of each token of each sentence."""
        return [
            [self.names[at] for at in log_probs.argmax(axis=1)] if len(log_probs) else []
            for log_probs in self.log_probs(sentences)
        ]

    def _read(self, sentences: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        from charlm.engines.torch_labels import read_scores
        from charlm.nn.examples import encode_sentences
        from charlm.nn.head import Head, from_arrays

        if not isinstance(self._head, Head):
            self._head = from_arrays(self.checkpoint.config, self.checkpoint.weights)
        assert self.checkpoint.words is not None
        pieces = [
            sentence[at : at + LONGEST]
            for sentence in sentences
            for at in range(0, len(sentence), LONGEST)
        ]
        return read_scores(self._head, encode_sentences(self.checkpoint.words, pieces, None))
