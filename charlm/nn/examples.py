"""What a head reads: texts with a label each, or sentences with a tag for each token, as ids.

They are laid side by side in batches of similar length.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.config import LONGEST
from charlm.nn.head import Batch, Words
from charlm.nn.shares import Share
from charlm.text.labelled import Labelled, LabelledTexts
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.word_letters import SpelledWords

MOST_TOKENS = 4096  # of a step or of one go of reading, unless a single text has more


class Copies(NamedTuple):
    """How often each of some different pairs of text and label occurs."""

    counts: NDArray[np.int64]  # (S,)
    shares: NDArray[np.float64]  # (S,): how often this label, of all that the text occurs


def gathered(found: LabelledTexts) -> tuple[LabelledTexts, Copies]:
    """The different pairs of text and label, in the order in which each comes first."""
    pairs = Counter(map(Labelled, found.texts, found.labels))
    of_text = Counter(found.texts)
    counts = np.fromiter(pairs.values(), np.int64, len(pairs))
    totals = np.fromiter((of_text[pair.text] for pair in pairs), np.int64, len(pairs))
    return LabelledTexts.of(pairs), Copies(counts, counts / totals)


# As ids


class Examples(NamedTuple):
    """Texts one after another as ids, with what is to be said of each or of each token.

    A token of a tagger is the index of its form; forms are the different words, each with an id
    and its letters. copies is of a classifier's texts where some occur more than once, and cut the
    number of its texts that were longer than LONGEST tokens.
    """

    tokens: NDArray[np.int64]  # (N,): ids, or forms
    starts: NDArray[np.int64]  # (S + 1,)
    labels: NDArray[np.int64]  # (S,), or (N,) of a tagger
    forms: "Forms | None" = None
    copies: Copies | None = None
    cut: int = 0

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text (S,)."""
        return np.diff(self.starts)

    def label_shares(self, num_labels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The share of each label (C,) where a text counts once, and among all copies."""
        weights = (None, None) if self.copies is None else (self.copies.shares, self.copies.counts)
        once, copied = (
            np.bincount(self.labels, weights=each, minlength=num_labels) for each in weights
        )
        return once / once.sum(), copied / copied.sum()


class Forms(NamedTuple):
    """The different words of some sentences."""

    ids: NDArray[np.int64]  # (F,)
    letters: NDArray[np.int64]  # (M,)
    starts: NDArray[np.int64]  # (F + 1,)


def encode_texts(
    tokenizer: Tokenizer, texts: Sequence[str], labels: Sequence[int] | None = None
) -> Examples:
    """Texts as ids, the first LONGEST tokens of each and <EOS>; without labels those are 0."""
    ids, cut = [], 0
    for text in texts:
        tokens = tokenizer.encode(text)
        cut += len(tokens) > LONGEST
        ids.append(np.append(tokens[:LONGEST], np.int32(tokenizer.eos_id)))
    flat, starts = _laid_out(ids)
    known = np.zeros(len(texts), np.int64) if labels is None else np.asarray(labels, np.int64)
    return Examples(flat, starts, known, cut=cut)


def encode_sentences(
    words: SpelledWords, tokens: Sequence[Sequence[str]], tags: Sequence[Sequence[int]] | None
) -> Examples:
    """Sentences as forms, none of them empty; without tags those are 0."""
    index: dict[str, int] = {}
    rows = [
        np.fromiter((index.setdefault(t, len(index)) for t in sentence), np.int64, len(sentence))
        for sentence in tokens
    ]
    letters, starts = _laid_out([np.array(words.spelled(form), np.int64) for form in index])
    ids = np.fromiter(map(words.word, index), np.int64, len(index))
    at, begins = _laid_out(rows)
    known = np.zeros(len(at), np.int64)
    if tags is not None:
        known, _ = _laid_out([np.asarray(row, np.int64) for row in tags])
    return Examples(at, begins, known, Forms(ids, letters, starts))


def _laid_out(rows: Sequence[NDArray[np.integer]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    flat = np.concatenate(rows) if rows else np.empty(0)
    return flat.astype(np.int64), starts


# Side by side


def groups(
    lengths: NDArray[np.int64], batch_size: int, rng: np.random.Generator | None = None
) -> list[NDArray[np.int64]]:
    """Which texts are read together: of similar length, batch_size of them or MOST_TOKENS.

    With an rng texts of equal length are mixed and the groups come in any order; how many there
    are depends on the lengths alone.
    """
    tie = np.arange(len(lengths)) if rng is None else rng.random(len(lengths))
    order = np.lexsort((tie, -lengths))
    found, at = [], 0
    while at < len(order):
        size = min(batch_size, max(1, MOST_TOKENS // int(lengths[order[at]])))
        found.append(order[at : at + size])
        at += size
    return found if rng is None else [found[i] for i in rng.permutation(len(found))]


def collate(examples: Examples, index: NDArray[np.int64]) -> tuple[Batch, Tensor, Tensor | None]:
    """The texts (B,) of an index side by side, what is to be said of them, and what counts.

    Targets are (B,), or (T, B) of a tagger, for which the third is True (T, B) where a token is.
    """
    lengths = examples.lengths[index]
    steps = np.arange(lengths.max())[:, None]  # (T, 1)
    live = steps < lengths
    places = examples.starts[index] + np.minimum(steps, lengths - 1)  # (T, B)
    tokens = examples.tokens[places]
    sizes = torch.from_numpy(lengths)
    if examples.forms is None:
        targets = torch.from_numpy(examples.labels[index])
        return Batch(torch.from_numpy(tokens), sizes), targets, None
    forms = examples.forms
    there, which = np.unique(tokens, return_inverse=True)  # (W,)
    spelled = np.diff(forms.starts)[there]
    at = np.minimum(np.arange(spelled.max())[:, None], spelled - 1)  # (N, W)
    words = Words(
        torch.from_numpy(forms.letters[forms.starts[there] + at]),
        torch.from_numpy(spelled),
        torch.from_numpy(which.reshape(tokens.shape)),
    )
    batch = Batch(torch.from_numpy(forms.ids[tokens]), sizes, words)
    return batch, torch.from_numpy(examples.labels[places]), torch.from_numpy(live)


class ExampleBatch(NamedTuple):
    """Texts (B,) side by side, what is to be said of them, and how much each counts."""

    batch: Batch
    targets: Tensor  # (B,), or (T, B) of a tagger
    live: Tensor | None  # (T, B) of a tagger: True where a token is
    weights: Tensor | None  # (B,), None where all count the same
    step: int  # that reads them, from 0
    whole: "ExampleBatch | None" = None  # what this is a part of

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.batch.lengths)

    @property
    def num_targets(self) -> int:
        """How many labels are predicted."""
        return len(self.targets) if self.live is None else int(self.live.sum())

    @property
    def weight(self) -> float:
        """How much all labels count together."""
        return self.num_targets if self.weights is None else float(self.weights.sum())

    @property
    def num_neighbours(self) -> int:
        """How many pairs of neighbours the texts have."""
        return int((self.batch.lengths - 1).sum())

    def part(self, share: Share) -> "ExampleBatch":
        """Some of the texts."""
        live = None if self.live is None else self.live[:, share.index]
        weights = None if self.weights is None else self.weights[share.index]
        targets = self.targets[..., share.index]
        return ExampleBatch(self.batch.part(share), targets, live, weights, self.step, self)


def read(examples: Examples, index: NDArray[np.int64], step: int) -> ExampleBatch:
    """The texts (B,) of an index, for a step."""
    weights = None
    if examples.copies is not None:
        weights = torch.from_numpy(examples.copies.shares[index].astype(np.float32))
    return ExampleBatch(*collate(examples, index), weights, step)
