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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

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
_AT_ONCE = 512  # sources


class Layer(NamedTuple):
    """The states at one place of sources, and the arcs from there, by state, to the next layer.

    shares are P(chunk | state, all of the source): those from one state add up to 1.
    """

    rows: Numbers  # (M,) which source
    number: Numbers  # (M,) arcs; none where the source ends
    chunks: Numbers  # (R,)
    to: Numbers  # (R,) states of the next layer
    shares: Values  # (R,)


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

    def log_probs(self, sources: Sequence[Ids], targets: Sequence[Ids]) -> Values:
        """log P (N,) in nats of targets, each given its source."""
        return self.pair_log_probs(sources, targets) - self.source_log_probs(sources)

    def source_log_probs(self, sources: Sequence[Ids]) -> Values:
        """log P(s) (N,) in nats."""
        return _in_parts(lambda part: self.lattice([sources[at] for at in part])[1], sources)

    def pair_log_probs(self, sources: Sequence[Ids], targets: Sequence[Ids]) -> Values:
        """log P(s, t) (N,) in nats."""
        return _in_parts(
            lambda part: self._pairs([sources[at] for at in part], [targets[at] for at in part]),
            sources,
        )

    def lattice(self, sources: Sequence[Ids]) -> tuple[list[Layer], Values]:
        """All that can be written for sources, place by place, and log P(s) (N,)."""
        length, symbols = _side_by_side(sources)
        rows, states = np.arange(len(sources)), np.full(len(sources), self._automaton.start)
        layers: list[Layer] = []
        last = []  # P(end | state) where a source ends, else 0
        for place in range(symbols.shape[1] + 1):
            going = np.flatnonzero(length[rows] > place)
            ended = np.flatnonzero(length[rows] == place)
            ends = np.zeros(len(rows))
            ends[ended], _ = self._automaton.step(states[ended], np.full(len(ended), self.end))
            last.append(ends)
            number = np.zeros(len(rows), np.int64)
            arcs = self._arcs(states[going], symbols[rows[going], place] if len(going) else going)
            number[going], chunks, p, after = arcs
            keys = np.repeat(rows, number) * self._automaton.num_states + after
            found, to = np.unique(keys, return_inverse=True)
            layers.append(Layer(rows, number, chunks, to, p))
            rows, states = np.divmod(found, self._automaton.num_states)
        onward, scale = np.empty(0), np.zeros(len(sources))
        for place in range(len(layers) - 1, -1, -1):  # the sums over all that can still come
            layer = layers[place]
            of_arcs = layer.shares * onward[layer.to]
            origin = np.repeat(np.arange(len(layer.rows)), layer.number)
            sums = last[place] + np.bincount(origin, of_arcs, minlength=len(layer.rows))
            layers[place] = layer._replace(shares=of_arcs / sums[origin])
            largest = np.zeros(len(sources))
            np.maximum.at(largest, layer.rows, sums)
            largest[largest == 0] = 1
            scale += np.log(largest)
            onward = sums / largest[layer.rows]
        return layers, np.log(onward) + scale

    def _arcs(self, states: Numbers, symbols: Numbers) -> tuple[Numbers, Numbers, Values, Numbers]:
        """How many chunks (M,) take symbols (M,) behind states; they, P and the states then (R,).

        What many sources ask alike is looked up once.
        """
        keys = states * self.source_vocab_size + symbols
        asked, inverse = np.unique(keys, return_inverse=True)
        states, symbols = np.divmod(asked, self.source_vocab_size)
        number = self._first[symbols + 1] - self._first[symbols]
        chunks = ragged(self._first[symbols], number)
        p, after = self._automaton.step(np.repeat(states, number), chunks)
        index = ragged((np.cumsum(number) - number)[inverse], number[inverse])
        return number[inverse], chunks[index], p[index], after[index]

    def _pairs(self, sources: Sequence[Ids], targets: Sequence[Ids]) -> Values:
        """log P(s, t) (N,): α of states and places in the targets, from place to place."""
        length, symbols = _side_by_side(sources)
        written, wanted = _side_by_side(targets)
        most, base = self.chunks.target.shape[1], self.vocab_size + 1
        wanted = np.pad(wanted, ((0, 0), (0, most)))
        rows = np.arange(len(sources))
        states, j = np.full(len(rows), self._automaton.start), np.zeros(len(rows), np.int64)
        scale = np.zeros(len(rows))
        alpha: NDArray[Any] = np.ones(len(rows))
        found = np.full(len(rows), -np.inf)
        width = wanted.shape[1] + 1
        for place in range(symbols.shape[1] + 1):
            whole = np.flatnonzero((length[rows] == place) & (written[rows] == j))
            ends, _ = self._automaton.step(states[whole], np.full(len(whole), self.end))
            sums = np.bincount(rows[whole], ends * alpha[whole], minlength=len(found))
            ended = sums > 0
            found[ended] = np.log(sums[ended]) + scale[ended]
            going = np.flatnonzero(length[rows] > place)
            if not len(going):
                break
            code = symbols[rows[going], place] * base**most
            origins, chunks, places = [], [], []
            for b in range(most + 1):
                at = np.minimum(np.searchsorted(self._codes, code), self.end - 1)
                fits = (self._codes[at] == code) & (j[going] + b <= written[rows[going]])
                origins.append(going[fits])
                chunks.append(at[fits])
                places.append(j[going[fits]] + b)
                if b < most:
                    code = code + (wanted[rows[going], j[going] + b] + 1) * base ** (most - 1 - b)
            origin, j = np.concatenate(origins), np.concatenate(places)
            p, after = self._automaton.step(states[origin], np.concatenate(chunks))
            keys = (rows[origin] * width + j) * self._automaton.num_states + after
            kept, inverse = np.unique(keys, return_inverse=True)
            alpha = np.bincount(inverse, p * alpha[origin], minlength=len(kept))
            rows, states = np.divmod(kept, self._automaton.num_states)
            rows, j = np.divmod(rows, width)
            largest = np.zeros(len(found))
            np.maximum.at(largest, rows, alpha)
            largest[largest == 0] = 1
            alpha = alpha / largest[rows]
            scale += np.log(largest)
        return found

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


def ragged(first: Numbers, number: Numbers) -> Numbers:
    """first[0], first[0] + 1, … (number[0] of them), first[1], …"""
    return np.repeat(first - np.cumsum(number) + number, number) + np.arange(number.sum())


def _in_parts(work: Callable[[Numbers], Values], sources: Sequence[Ids]) -> Values:
    """What work finds of the numbers of sources, a part at a time, those of like size together."""
    found = np.empty(len(sources))
    order = np.argsort([len(source) for source in sources], kind="stable")
    for begin in range(0, len(order), _AT_ONCE):
        part = order[begin : begin + _AT_ONCE]
        found[part] = work(part)
    return found


def _side_by_side(sequences: Sequence[Ids]) -> tuple[Numbers, Numbers]:
    """Their lengths (N,), and all in one array (N, T), 0 behind their ends."""
    length = np.array([len(ids) for ids in sequences], dtype=np.int64)
    together = np.zeros((len(length), length.max(initial=0)), np.int64)
    for row, ids in enumerate(sequences):
        together[row, : len(ids)] = ids
    return length, together


def _fits(most: int, source_vocab_size: int, vocab_size: int) -> bool:
    """Whether the codes of chunks are numbers that can be."""
    return float(source_vocab_size) * float(vocab_size + 1) ** most < 2.0**63
