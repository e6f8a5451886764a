"""Minimal pairs: how often a model finds the good text likelier than the bad one.

As BLiMP is scored (Warstadt et al. 2020): log P of whole texts, their ends included. A tie is half
right. Intervals are Wilson's (1927).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts import ngram
from charlm.errors import CheckpointError, TextError
from charlm.inference.score import ended
from charlm.inspection.network import Ids, network_of
from charlm.inspection.views import pairs as views
from charlm.models.language_model import LanguageModel
from charlm.text.fields import object_of

MODEL, NETWORK, NGRAM, UNIGRAM = "model", "network", "n-grams", "unigrams"
ALL = "all"  # the category of everything together
_CATEGORIES = ("UID", "category", "phenomenon", "linguistics_term")  # fields that name one
_LEVEL = 0.95

Values = NDArray[np.float64]


class Pair(NamedTuple):
    """Two texts of which one is right, and what it is a case of; "" where nobody said.

    ``more`` are further texts that are wrong, as in a list of hypotheses.
    """

    good: str
    bad: str
    category: str = ""
    more: tuple[str, ...] = ()


class Accuracy(NamedTuple):
    """How often one model was right on the pairs of a category, and the 95 % interval of that."""

    model: str
    category: str
    pairs: int
    right: float

    @property
    def accuracy(self) -> float:
        """The share of pairs."""
        return self.right / self.pairs

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's, of that share."""
        z = NormalDist().inv_cdf((1 + _LEVEL) / 2)
        n, p = self.pairs, self.accuracy
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        return max(0.0, middle - half), min(1.0, middle + half)


class Judged(NamedTuple):
    """By how many nats the good text of a pair is likelier than ``bad``, its likeliest bad one."""

    pair: Pair
    nats: float
    bad: str


class PairsResult(NamedTuple):
    """Accuracies by model and category, ALL first, and the model's own judgements in order."""

    accuracies: tuple[Accuracy, ...]
    judged: tuple[Judged, ...]

    def _repr_html_(self) -> str:
        return views.view(self).html


def parse(lines: Iterable[str]) -> list[Pair]:
    """The pairs of lines: good TAB bad (TAB category), or JSON with sentence_good, sentence_bad.

    Blank lines are passed over. Raises TextError naming the line that is neither.
    """
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found.append(
                _of_json(line, number) if line.startswith("{") else _of_cells(line, number)
            )
    if not found:
        raise TextError("there are no pairs.")
    return found


def parse_groups(lines: Iterable[str]) -> list[Pair]:
    """Lists of hypotheses: lines of an id, TAB and a text, or JSON with id and text.

    The first text of an id is the good one; further columns, such as a score, are passed over.
    Raises TextError naming the line that is neither, or the id that has one text alone.
    """
    groups: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, text = _hypothesis(line, number)
            groups.setdefault(name, []).append(text)
    if not groups:
        raise TextError("there are no pairs.")
    for name, texts in groups.items():
        if len(texts) < 2:
            raise TextError(f"the id {name} has one text: there is nothing to compare it with.")
    return [Pair(texts[0], texts[1], more=tuple(texts[2:])) for texts in groups.values()]


def _hypothesis(line: str, number: int) -> tuple[str, str]:
    """The id and the text of a line."""
    if not line.startswith("{"):
        cells = line.split("\t")
        if len(cells) < 2:
            raise TextError(f"line {number}: an id, a tab and a text were expected.")
        return cells[0], cells[1]
    try:
        values = object_of(line)
        name, text = values["id"], values["text"]
    except (ValueError, KeyError):
        raise TextError(f"line {number}: a JSON object with id and text was expected.") from None
    if not isinstance(text, str):
        raise TextError(f"line {number}: text must be a text.")
    return str(name), text


def _of_cells(line: str, number: int) -> Pair:
    cells = line.split("\t")
    if len(cells) not in (2, 3):
        raise TextError(
            f"line {number}: a pair is the good text, a tab and the bad text, and may have a "
            f"category after another tab; there are {len(cells)} columns."
        )
    good, bad, *category = cells
    return Pair(good, bad, category[0] if category else "")


def _of_json(line: str, number: int) -> Pair:
    try:
        values = object_of(line)
        good, bad = values["sentence_good"], values["sentence_bad"]
    except (ValueError, KeyError):
        raise TextError(
            f"line {number}: a JSON object with sentence_good and sentence_bad was expected."
        ) from None
    if not isinstance(good, str) or not isinstance(bad, str):
        raise TextError(f"line {number}: sentence_good and sentence_bad must be texts.")
    category = next((str(values[name]) for name in _CATEGORIES if values.get(name)), "")
    return Pair(good, bad, category)


def judge(lm: LanguageModel, pairs: Sequence[Pair]) -> PairsResult:
    """How often a model is right, beside what stands in it and beside unigrams.

    It is right where the good text is likelier than every bad one. The unigrams are those of its
    training text, if the run keeps an index of it. Raises TextError without pairs.
    """
    if not pairs:
        raise TextError("there are no pairs.")
    texts = [text for pair in pairs for text in (pair.good, pair.bad, *pair.more)]
    begins = np.cumsum([0, *(2 + len(pair.more) for pair in pairs)])
    nats: dict[str, Values] = {}
    best: list[str] = []  # of the bad ones, to the model itself
    for name, score in _scorers(lm):
        log_probs = score(texts)
        parts = [log_probs[begin:end] for begin, end in pairwise(begins)]
        nats[name] = np.array([part[0] - part[1:].max() for part in parts])
        if name == MODEL:
            best = [
                texts[begin + 1 + int(part[1:].argmax())]
                for begin, part in zip(begins[:-1].tolist(), parts, strict=True)
            ]
    names = sorted({pair.category for pair in pairs if pair.category})
    members = {ALL: np.ones(len(pairs), dtype=bool)}
    members |= {name: np.array([pair.category == name for pair in pairs]) for name in names}
    return PairsResult(
        tuple(
            Accuracy(model, category, int(chosen.sum()), _right(differences[chosen]))
            for category, chosen in members.items()
            for model, differences in nats.items()
        ),
        tuple(map(Judged, pairs, nats[MODEL].tolist(), best)),
    )


def _right(differences: Values) -> float:
    ties = np.abs(differences) < 1e-6
    return float((differences[~ties] > 0).sum() + ties.sum() / 2)


def _scorers(lm: LanguageModel) -> Iterator[tuple[str, Callable[[list[str]], Values]]]:
    """What gives texts log P (N,), by name; all but the model itself take <UNK> as one symbol."""

    def of_model(texts: list[str]) -> Values:
        return np.array([score.total_log_prob for score in lm.score_all(texts)])

    def summed(log_probs: Callable[[list[Ids]], Values]) -> Callable[[list[str]], Values]:
        def score(texts: list[str]) -> Values:
            ids = [one.astype(np.int64) for one in ended(lm.tokenizer, texts)]
            begins = np.cumsum([0, *map(len, ids)])[:-1]
            sums: Values = np.add.reduceat(log_probs(ids), begins)
            return sums

        return score

    yield MODEL, of_model
    if lm.partner is not None:
        yield (
            NETWORK,
            summed(lambda ids: network_of(lm, sum(map(len, ids))).token_log_probs(ids)[0]),
        )
        if lm.partner.ngram is not None:
            yield NGRAM, summed(lm.partner.ngram.token_log_probs)
    if (unigrams := _unigrams(lm)) is not None:
        yield UNIGRAM, summed(unigrams.token_log_probs)


def _unigrams(lm: LanguageModel) -> ngram.NGram | None:
    """Unigrams of the training text, which may be gone."""
    try:
        texts = lm.index.sequences()
    except CheckpointError:
        return None
    return ngram.train(ended(lm.tokenizer, texts), lm.tokenizer.vocab_size, 1)
