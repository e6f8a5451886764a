"""What tells the labels of texts: a trained classifier, or a conditional language model."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.inference.labels import Labels
from charlm.models.base import TextModel
from charlm.models.language_model import LanguageModel


class Classifier(Protocol):
    """What tells the labels of texts."""

    names: tuple[str, ...]

    def log_posteriors(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """log P(label given text) (N, L), in nats, of the labels ``names``."""

    def is_cut(self, text: str) -> bool:
        """Whether a text is longer than what is read of it."""


class ByBayes:
    """A conditional language model, turned round by Bayes' rule."""

    def __init__(self, loaded: TextModel) -> None:
        if not isinstance(loaded, LanguageModel) or loaded.labels is None:
            raise UsageError(
                f"{loaded.name} knows no labels to classify by: train a model with `label_from`."
            )
        self.labels: Labels = loaded.labels
        self.names = loaded.labels.names
        self.log_posteriors = loaded.log_posteriors

    def is_cut(self, text: str) -> bool:
        """Never: language models read on."""
        del text
        return False


def likeliest(
    classifier: Classifier, texts: Sequence[str], top: int
) -> Iterator[list[tuple[str, float]]]:
    """Of each text the likeliest labels, the first first, with log P."""
    if not texts:
        return
    log_posteriors = classifier.log_posteriors(texts)
    order = (-log_posteriors).argsort(axis=1, kind="stable")[:, :top]
    for row, places in zip(log_posteriors.tolist(), order.tolist(), strict=True):
        yield [(classifier.names[place], row[place]) for place in places]
