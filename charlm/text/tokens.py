"""TokenizedText: sequences as ids, one after another in one array.

Letters: N tokens in all, S sequences.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.tokenizers.base import Tokenizer


class TrainingText(Protocol):
    """A text as a training reads it: part by part, each held in memory.

    An epoch reads all parts; they are numbered on from epoch to epoch.
    """

    @property
    def num_tokens(self) -> int:
        """Targets, <EOS> included."""

    @property
    def num_sequences(self) -> int:
        """Sequences in all."""

    @property
    def num_parts(self) -> int:
        """Parts of an epoch."""

    def part(self, seed: int, number: int) -> "TokenizedText":
        """The part of that number: a function of (seed, number)."""

    def whole(self) -> "TokenizedText":
        """All of it, in memory."""

    def frequencies(self) -> NDArray[np.int64]:
        """How often each type (V,) occurs."""


class TokenizedText(NamedTuple):
    """Sequences as ids, each closed by <EOS>.

    ids: (N,), of any integer type, in memory or mapped from a file (np.memmap): parts of it are
        copied when they are read, never all of it.
    starts: (S + 1,) where each sequence begins in them, and N.
    vocab_size: the id that is read where a sequence begins, the zero vector x<1>.
    labels: (S,) the number of each sequence's label, where sequences have labels.
    before: (S,) what is read in place of x<1> where a sequence goes on rather than begins; None
        where all of them begin.
    """

    ids: NDArray[np.integer[Any]]
    starts: NDArray[np.int64]
    vocab_size: int
    labels: NDArray[np.int64] | None = None
    before: NDArray[np.int64] | None = None

    @property
    def num_tokens(self) -> int:
        """Targets, <EOS> included."""
        return int(self.starts[-1])

    @property
    def num_sequences(self) -> int:
        """Whole ones, or where some go on, pieces."""
        return len(self.starts) - 1

    @property
    def num_parts(self) -> int:
        """One: an epoch reads all of it in one go."""
        return 1

    def part(self, seed: int, number: int) -> "TokenizedText":
        """All of it, whichever part is asked for."""
        del seed, number
        return self

    def whole(self) -> "TokenizedText":
        """All of it."""
        return self

    def frequencies(self) -> NDArray[np.int64]:
        """How often each type (V,) occurs."""
        return np.bincount(self.ids, minlength=self.vocab_size)

    def some(self, most: int) -> "tuple[NDArray[np.int64], TokenizedText]":
        """Sequences from all over, of about so many tokens or fewer, and the places (n,) of these.

        Of a sequence that is longer than that it is the beginning. The text itself if it is
        short.
        """
        if self.num_tokens <= most:
            return np.arange(self.num_tokens), self
        number = max(1, self.num_sequences * most // self.num_tokens)
        which = ((np.arange(number) + 0.5) * self.num_sequences / number).astype(np.int64)
        lengths = np.minimum(np.diff(self.starts)[which], most)
        spans = zip(self.starts[which], lengths, strict=True)
        places = np.concatenate([np.arange(begin, begin + length) for begin, length in spans])
        chosen = self._replace(
            ids=self.ids[places],
            starts=np.concatenate(([0], np.cumsum(lengths))),
            labels=None if self.labels is None else self.labels[which],
            before=None if self.before is None else self.before[which],
        )
        return places, chosen

    def sequences(self) -> list[NDArray[np.integer[Any]]]:
        """The ids of each sequence, <EOS> included."""
        return np.split(self.ids, self.starts[1:-1]) if len(self.starts) > 1 else []

    def targets(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids at places (...), to be predicted."""
        return self.ids[places].astype(np.int64)

    def inputs(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """What is read when those at places (...) are predicted: the tokens before them."""
        sequences = np.searchsorted(self.starts, places, side="right") - 1
        begins = self.starts[sequences] == places
        before = self.ids[np.maximum(places - 1, 0)].astype(np.int64)
        first = self.vocab_size if self.before is None else self.before[sequences]
        return np.where(begins, first, before)

    def following(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The tokens after those at places (...), or vocab_size where a sequence ends there."""
        after = places + 1
        ends = self.starts[np.searchsorted(self.starts, after, side="right") - 1] == after
        there = self.ids[np.minimum(after, self.num_tokens - 1)].astype(np.int64)
        return np.where(ends, self.vocab_size, there)


def tokenize(
    tokenizer: Tokenizer, sequences: Sequence[str], labels: Sequence[int] | None = None
) -> TokenizedText:
    """Encode sequences, each closed by <EOS>; labels (S,) are theirs, if they have any."""
    eos = np.array([tokenizer.eos_id], dtype=np.int32)
    ids = [np.concatenate((tokenizer.encode(text), eos)) for text in sequences]
    text = from_ids(ids, tokenizer.vocab_size)
    return text if labels is None else text._replace(labels=np.array(labels, dtype=np.int64))


def from_ids(sequences: Sequence[NDArray[np.integer[Any]]], vocab_size: int) -> TokenizedText:
    """Lay sequences of ids, closed already, one after another. None may be empty."""
    lengths = np.fromiter(map(len, sequences), dtype=np.int64, count=len(sequences))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.concatenate(sequences) if len(sequences) else np.empty(0, dtype=np.int32)
    return TokenizedText(ids, starts, vocab_size)
