"""An n-gram model as an automaton: what is said next depends on a state, one number.

A state is the longest end of what has been read that the counts know something of. All n-grams are
numbered through all orders, the root (nothing read) first, so an n-gram is known by the number of
what stands before its last token, and that token, as one sorted key. What is not found there is
looked for behind the next shorter context, at the price of its weight γ (counts/ngram.py).

Letters: G n-grams of all orders and the root, M states.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.counts.ngram import NGram

Numbers = NDArray[np.int64]
Values = NDArray[np.float64]
ROOT = 0


class Automaton:
    """P of tokens after states, and the states then. ``start`` is that before the first token."""

    def __init__(self, model: NGram) -> None:
        size = model.vocab_size + 1
        tables = model.tables
        ends = np.cumsum([1, *(len(table.keys) for table in tables)])
        before = (ROOT, *ends[:-2])  # the number of the first n-gram of the order before
        self._size = size
        self._keys = np.concatenate(
            [table.keys + first * size for table, first in zip(tables, before, strict=True)]
        )
        self._weights = np.concatenate([[1.0], *(table.backoff for table in tables)])  # (G,) γ
        self._shorter = np.zeros(ends[-1], np.int64)  # (G,) the n-gram without its first token
        self._p = np.zeros(ends[-1])  # (G,) of its last token after the others
        self._p[1 : 1 + model.vocab_size] = model.unigrams
        goes_on = np.zeros(ends[-1], bool)
        goes_on[self._keys // size] = True
        self._states = np.arange(ends[-1])  # (G,) what it is as a state
        for table, begin, end in zip(tables, ends[:-1], ends[1:], strict=True):
            own = np.arange(begin, end)
            if begin > 1:
                contexts, tokens = np.divmod(self._keys[own - 1], size)
                self._shorter[own] = 1 + np.searchsorted(
                    self._keys, self._shorter[contexts] * size + tokens
                )
                self._p[own] = table.own
                self._p[own] += self._weights[contexts] * self._p[self._shorter[own]]
            leaves = own[~goes_on[own]]
            self._states[leaves] = self._states[self._shorter[leaves]]
        self.start = int(self._states[1 + model.vocab_size])  # behind the mark

    @property
    def num_states(self) -> int:
        """States are below this."""
        return len(self._p)

    def step(self, states: Numbers, tokens: NDArray[np.integer[Any]]) -> tuple[Values, Numbers]:
        """P (M,) of tokens (M,), one after each state (M,), and the states then."""
        p, after, states = np.ones(len(states)), np.zeros(len(states), np.int64), states.copy()
        left = np.arange(len(states))
        while len(left):  # at the root every token is found
            keys = states[left] * self._size + tokens[left]
            at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            hit = self._keys[at] == keys
            done, found = left[hit], at[hit] + 1
            p[done] *= self._p[found]
            after[done] = self._states[found]
            left = left[~hit]
            p[left] *= self._weights[states[left]]
            states[left] = self._shorter[states[left]]
        return p, after
