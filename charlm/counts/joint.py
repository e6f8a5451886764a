"""A joint n-gram model of pairs (Bisani & Ney 2008): P(s, t) of a source and a target together.

Pairs are cut into chunks (alignment.py), and a modified Kneser-Ney n-gram (ngram.py) predicts each
chunk from those before it, and the end. A chunk takes exactly one symbol of the source, so a source
has finitely many targets, and nothing need be approximated: with α<i>(z) the sum over all that is
written for the first i symbols of s and leads to the state z of the n-gram (automaton.py),

    α<i + 1>(z') = Σ over z and chunks of s<i> that lead from z to z'  α<i>(z) P(chunk | z)
    P(s)         = Σ_z α<S>(z) P(end | z)           P(s, t): the same of chunks that spell t
    P(t | s)     = P(s, t) / P(s)                   adds up to 1 over all targets t

Any symbol of a source may write nothing, so each source has a target; a target that no chunks
spell has P = 0. Letters: N pairs, M states of a place in N sources, R arcs, K chunks.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.counts import ngram
from charlm.counts.alignment import NOTHING, Chunks, align
from charlm.counts.automaton import Automaton
from charlm.counts.ngram import NGram
from charlm.errors import CheckpointError, UsageError

Ids = NDArray[np.integer[Any]]
Numbers = NDArray[np.int64]
Values = NDArray[np.float64]


class JointNGram:
    """P of pairs of ids, neither of them with <EOS>, from chunks (K,) and counts of them.

    The n-gram's tokens are the chunks, and K, the end.
    """

    def __init__(
        self, chunks: Chunks, counts: NGram, source_vocab_size: int, vocab_size: int
    ) -> None:
        self.chunks, self.counts = chunks, counts
        self.source_vocab_size, self.vocab_size = source_vocab_size, vocab_size
        self._codes = chunks.codes(vocab_size)
        self._first = np.searchsorted(chunks.source, np.arange(source_vocab_size + 1))

    @functools.cached_property
    def _automaton(self) -> Automaton:
        """Made where it is needed first."""
        return Automaton(self.counts)

    @property
    def end(self) -> int:
        """What the n-gram says behind the last chunk."""
        return len(self.chunks.source)

    @property
    def start(self) -> int:
        """The state before the first chunk."""
        return self._automaton.start

    @property
    def num_states(self) -> int:
        """States are below this."""
        return self._automaton.num_states

    def ends(self, states: Numbers) -> Values:
        """P (M,) that nothing follows states (M,)."""
        return self._automaton.step(states, np.full(len(states), self.end))[0]

    def onward(self, states: Numbers, symbols: Numbers) -> tuple[Numbers, Numbers, Values, Numbers]:
        """How many chunks (M,) take symbols (M,) behind states; they, P and the states then (R,).

        What many sources ask alike is looked up once.
        """
        keys = states * self.source_vocab_size + symbols
        asked, inverse = np.unique(keys, return_inverse=True)
        states, symbols = np.divmod(asked, self.source_vocab_size)
        number = self._first[symbols + 1] - self._first[symbols]
        chunks = _ragged(self._first[symbols], number)
        p, after = self._automaton.step(np.repeat(states, number), chunks)
        index = _ragged((np.cumsum(number) - number)[inverse], number[inverse])
        return number[inverse], chunks[index], p[index], after[index]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The counts (``ngram.to_arrays``), and what the chunks take and write."""
        return {
            **ngram.to_arrays(self.counts),
            "chunks.source": self.chunks.source.astype(np.uint32),
            "chunks.target": (self.chunks.target + 1).astype(np.uint32),  # 0 for nothing more
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], source_vocab_size: int, vocab_size: int
    ) -> Self:
        """What ``to_arrays`` wrote. Raises CheckpointError if these are not its arrays."""
        rest = dict(arrays)
        source, target = rest.pop("chunks.source", None), rest.pop("chunks.target", None)
        if source is None or target is None or source.ndim != 1 or target.ndim != 2:
            raise CheckpointError("the joint n-grams are damaged: they have no chunks.")
        if source.dtype != np.uint32 or target.dtype != np.uint32 or len(source) != len(target):
            raise CheckpointError("the joint n-grams are damaged: a wrong kind of chunks.")
        chunks = Chunks(source.astype(np.int64), target.astype(np.int64) + NOTHING)
        most = target.shape[1]
        known = len(source) and most and source.max() < source_vocab_size
        if not known or target.max() > vocab_size or not _fits(most, source_vocab_size, vocab_size):
            raise CheckpointError("the joint n-grams are not of these vocabularies.")
        codes = chunks.codes(vocab_size)
        silent = np.arange(source_vocab_size) * (vocab_size + 1) ** most
        if not (np.diff(codes) > 0).all() or not np.isin(silent, codes).all():
            raise CheckpointError("the joint n-grams are damaged: chunks are out of order.")
        counts = ngram.from_arrays(len(source) + 1, rest)
        return cls(chunks, counts, source_vocab_size, vocab_size)


def train(
    sources: Sequence[Ids],
    targets: Sequence[Ids],
    *,
    source_vocab_size: int,
    vocab_size: int,
    order: int,
) -> tuple[JointNGram, int]:
    """The model of pairs of ids without <EOS>, and how many of them no chunks could spell.

    Raises UsageError if the order is none that there is, or no pair could be cut.
    """
    ngram.check_order(order)
    aligned = align(sources, targets, vocab_size)
    cut = [pair for pair in aligned.pairs if pair is not None]
    if not cut:
        raise UsageError("no pair could be cut into chunks: its targets are too long.")
    most = aligned.chunks.target.shape[1]
    codes = aligned.chunks.codes(vocab_size)
    silent = np.arange(source_vocab_size) * (vocab_size + 1) ** most
    everything = np.union1d(codes, silent)  # any symbol may write nothing
    number = np.searchsorted(everything, codes)
    end = np.array([len(everything)])
    sequences = [np.concatenate((number[pair], end)) for pair in cut]
    counts = ngram.train(sequences, len(everything) + 1, order)
    chunks = Chunks.of(everything, vocab_size, most)
    return JointNGram(chunks, counts, source_vocab_size, vocab_size), len(sources) - len(cut)


def _ragged(first: Numbers, number: Numbers) -> Numbers:
    """first[0], first[0] + 1, … (number[0] of them), first[1], …"""
    return np.repeat(first - np.cumsum(number) + number, number) + np.arange(number.sum())


def _fits(most: int, source_vocab_size: int, vocab_size: int) -> bool:
    """Whether the codes of chunks are numbers that can be."""
    return float(source_vocab_size) * float(vocab_size + 1) ** most < 2.0**63
