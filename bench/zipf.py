"""Text of very many types whose entropy is known: Zipf's law, with some context.

The word of rank r (from 0) has a probability of 1 / (r + 1) over their sum. The HEAD most frequent
are in GROUPS groups, by rank modulo GROUPS. After one of these the next word is of the same group
with BOOST of what the head has, whichever group that is; after any other, and where a line begins,
group counts for nothing. A line ends after any word with probability ENDS. So the entropy of the
next token, <EOS> included, is a sum over GROUPS + 2 states.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import prose

HEAD = 2_000
GROUPS = 4
BOOST = 0.7
ENDS = 0.05
_LINES = 50_000  # that are made side by side


class Source:
    """What draws lines of ``types`` types, and knows their entropy."""

    def __init__(self, types: int) -> None:
        share = 1 / np.arange(1, types + 1)
        self.share = share / share.sum()
        self._head = float(self.share[:HEAD].sum())
        self._of_group = [self.share[group:HEAD:GROUPS] for group in range(GROUPS)]
        self._running = [np.cumsum(each) / each.sum() for each in self._of_group]
        tail = self.share[HEAD:]
        self._tail = np.cumsum(tail) / tail.sum()
        # Of a word by the state before it: of each group, of the tail.
        plain = np.array([each.sum() for each in self._of_group]) / self._head
        self._groups = np.tile(plain, (GROUPS + 1, 1))
        for group in range(GROUPS):
            others = np.delete(np.arange(GROUPS), group)
            self._groups[group, others] = (1 - BOOST) * plain[others] / plain[others].sum()
            self._groups[group, group] = BOOST

    def entropy(self) -> float:
        """Nats per token, <EOS> included, of endless text."""
        within = np.array([_entropy(each / each.sum()) for each in self._of_group])
        tail = _entropy(self.share[HEAD:] / (1 - self._head))
        ends = _entropy(np.array([ENDS, 1 - ENDS]))
        side = _entropy(np.array([self._head, 1 - self._head]))
        tail_state, begin = GROUPS, GROUPS + 1
        of_state, moves = np.zeros(GROUPS + 2), np.zeros((GROUPS + 2, GROUPS + 2))
        for state, groups in enumerate((*self._groups, self._groups[tail_state])):
            head = _entropy(groups) + groups @ within
            word = side + self._head * head + (1 - self._head) * tail
            goes_on = 1.0 if state == begin else 1 - ENDS
            of_state[state] = goes_on * word + (0.0 if state == begin else ends)
            moves[state, :GROUPS] = goes_on * self._head * groups
            moves[state, tail_state] = goes_on * (1 - self._head)
            moves[state, begin] = 1 - goes_on
        there = np.full(GROUPS + 2, 1 / (GROUPS + 2))
        for _ in range(1000):
            there = there @ moves
        return float(there @ of_state)

    def lines(self, rng: np.random.Generator, number: int) -> tuple[NDArray[np.int32], ...]:
        """Ranks (N,) of so many lines, one after another, and how many each has (number,)."""
        state = np.full(number, GROUPS)
        live, drawn = np.arange(number), []
        lengths = np.zeros(number, np.int32)
        while len(live):
            ranks, state = self._next(rng, state)
            ended = rng.random(len(live)) < ENDS if lengths[live[0]] else np.zeros(len(live), bool)
            live, ranks, state = live[~ended], ranks[~ended], state[~ended]
            lengths[live] += 1
            drawn.append((live, ranks))
        begins = np.cumsum(lengths) - lengths
        found = np.empty(lengths.sum(), np.int32)
        for place, (rows, ranks) in enumerate(drawn):
            found[begins[rows] + place] = ranks
        return found, lengths

    def _next(
        self, rng: np.random.Generator, state: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The next ranks (B,) after states (B,), and the states after them."""
        uniform = rng.random(len(state))
        running = np.cumsum(self._groups, axis=1)[state]
        after = np.minimum((running <= rng.random(len(state))[:, None]).sum(1), GROUPS - 1)
        after[rng.random(len(state)) >= self._head] = GROUPS
        ranks = np.empty(len(state), np.int64)
        for group in range(GROUPS):
            of_it = after == group
            ranks[of_it] = GROUPS * np.searchsorted(self._running[group], uniform[of_it]) + group
        rare = after == GROUPS
        ranks[rare] = HEAD + np.searchsorted(self._tail, uniform[rare])
        return ranks, after


def _entropy(share: NDArray[np.float64]) -> float:
    return float(-(share * np.log(share)).sum())


def write(path: Path, source: Source, tokens: int, seed: int, *, every: bool = False) -> int:
    """About so many tokens, <EOS> included; how many. With ``every`` type at least once.

    What did not come by itself then stands in lines at the end.
    """
    rng = np.random.default_rng(seed)
    words = np.array([prose.word(rank) for rank in range(len(source.share))], dtype=object)
    seen = np.zeros(len(words), bool)
    number = max(1, round(tokens * ENDS))
    written = 0
    with path.open("w") as file:
        for portion in _portions(number):
            ranks, lengths = source.lines(rng, portion)
            seen[ranks] = True
            written += _put(file.write, words[ranks], lengths)
        if every:
            missing = rng.permutation(np.flatnonzero(~seen))
            lengths = np.full(-(-len(missing) // 20), 20)
            lengths[-1:] -= lengths.sum() - len(missing)
            written += _put(file.write, words[missing], lengths)
    return written


def _portions(number: int) -> Iterator[int]:
    for begin in range(0, number, _LINES):
        yield min(_LINES, number - begin)


def _put(
    put: Callable[[str], object], words: NDArray[np.object_], lengths: NDArray[np.integer]
) -> int:
    """Write words (N,) as lines of these lengths; how many tokens they are, <EOS> included."""
    words = words.copy()
    words[np.cumsum(lengths) - 1] += "\n"
    put(" ".join(words.tolist()).replace("\n ", "\n"))
    return len(words) + len(lengths)
