"""Which of several labels a text has: Bayes' rule, a temperature, and the figures of a classifier.

P(label given text) = [P(label) P(text given label)]^(1/T) / the sum of that over all labels. T is 1
in Bayes' rule itself; a model that is too sure of itself, as most are, is calibrated by one that
is larger (Guo et al. 2017), which leaves the order of the labels as it is. Letters: N texts, L
labels, K labels that occur in a report.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.02, 100.0
_HALVINGS = 60


class OfLabel(NamedTuple):
    """What a classifier makes of the texts of one label.

    texts have it, predicted were said to, correct are both. A share is None where there is
    nothing to divide by.
    """

    texts: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float | None:
        """Of those said to have it, the share that has."""
        return self.correct / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """Of those that have it, the share that was said to."""
        return self.correct / self.texts if self.texts else None

    @property
    def f1(self) -> float:
        """The harmonic mean of the two: 2 correct / (texts + predicted)."""
        return 2 * self.correct / (self.texts + self.predicted)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The figures of a classifier on texts whose labels are known.

    labels are those that a text has or was said to have, in order; confusion[i, j] counts the
    texts of label i that were said to have label j.
    """

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]  # (K, K)

    @property
    def texts(self) -> int:
        """How many there are."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float | None:
        """The share of texts that got their label (micro: each text counts the same)."""
        return int(self.confusion.trace()) / self.texts if self.texts else None

    @property
    def macro_accuracy(self) -> float | None:
        """The mean recall of the labels that texts have (macro: each label counts the same)."""
        recalls = [one.recall for one in self.of_labels.values() if one.recall is not None]
        return sum(recalls) / len(recalls) if recalls else None

    @property
    def macro_f1(self) -> float | None:
        """The mean F1 of all labels of the report."""
        found = [one.f1 for one in self.of_labels.values()]
        return sum(found) / len(found) if found else None

    @property
    def of_labels(self) -> dict[str, OfLabel]:
        """What there is to say of each label."""
        columns = (
            self.confusion.sum(axis=1),
            self.confusion.sum(axis=0),
            self.confusion.diagonal(),
        )
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return dict(zip(self.labels, map(OfLabel._make, rows), strict=True))

    def confusions(self) -> list[tuple[str, str, int]]:
        """Pairs (label, label said instead, how often), the most frequent first."""
        wrong = self.confusion * (1 - np.eye(len(self.labels), dtype=np.int64))
        pairs = [(int(wrong[i, j]), int(i), int(j)) for i, j in zip(*wrong.nonzero(), strict=True)]
        pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
        return [(self.labels[i], self.labels[j], number) for number, i, j in pairs]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "texts": self.texts,
            "accuracy": self.accuracy,
            "macro_accuracy": self.macro_accuracy,
            "macro_f1": self.macro_f1,
            "labels": {
                label: {
                    "texts": one.texts,
                    "predicted": one.predicted,
                    "precision": one.precision,
                    "recall": one.recall,
                    "f1": one.f1,
                }
                for label, one in self.of_labels.items()
            },
            "confusion": {"labels": list(self.labels), "counts": self.confusion.tolist()},
        }


def report(true: Sequence[str], predicted: Sequence[str]) -> Report:
    """The figures of labels that were predicted (N) for texts whose true ones (N) are known."""
    labels = tuple(sorted({*true, *predicted}))
    index = {label: i for i, label in enumerate(labels)}
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for one, other in zip(true, predicted, strict=True):
        confusion[index[one], index[other]] += 1
    return Report(labels=labels, confusion=confusion)


def log_posterior(log_likelihoods: Values, log_prior: Values, temperature: float = 1.0) -> Values:
    """log P(label given text) (N, L) by Bayes' rule, from log P(text given label) (N, L) in nats.

    log_prior (L,) are the log P(label).
    """
    joint = (log_likelihoods + log_prior) / temperature
    return np.asarray(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))


def fit_temperature(log_likelihoods: Values, log_prior: Values, true: NDArray[np.int64]) -> float:
    """The temperature under which the true labels (N,) are likeliest; 1 if there are none.

    In β = 1 / T the log-loss is convex, so its derivative is halved down to zero. β - ln β, as
    much as one text's worth, is added to it, which is least at β = 1: where every text is
    classified right, the plain loss would make of that an infinite certainty.
    """
    if not len(true):
        return 1.0
    rows, joint = np.arange(len(true)), log_likelihoods + log_prior

    def slope(beta: float) -> float:
        p = np.exp(log_posterior(log_likelihoods, log_prior, 1 / beta))
        expected = (p * joint).sum(axis=1)
        return float((expected - joint[rows, true]).sum()) + 1 - 1 / beta

    low, high = 1 / MOST_TEMPERATURE, 1 / LEAST_TEMPERATURE
    for _ in range(_HALVINGS):
        beta = (low * high) ** 0.5
        low, high = (beta, high) if slope(beta) < 0 else (low, beta)
    return float(np.clip(1 / beta, LEAST_TEMPERATURE, MOST_TEMPERATURE))
