"""Laws of what n-grams of the rest of a text say: distributions, and those of a slow count."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm.counts import left_out as module
from charlm.counts.left_out import ORDER, left_out
from charlm.counts.ngram import discounts

EOS, V = 1, 5
SEQUENCES = st.lists(
    st.lists(st.integers(0, V - 1).filter(lambda i: i != EOS), max_size=9), min_size=1, max_size=12
)
Gram = tuple[int, ...]


def laid_out(sequences: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids with <EOS> behind, one sequence after another, and where each begins."""
    closed = [[*ids, EOS] for ids in sequences]
    lengths = [len(ids) for ids in closed]
    return np.concatenate(closed).astype(np.int64), np.cumsum([0, *lengths])


class Slow:
    """The same from its definition: n-grams in dictionaries, counted again for each token."""

    def __init__(self, sequences: list[list[int]], order: int) -> None:
        self.order = order
        marks = (V,) * (order - 1)
        self.grams = [
            tuple((*marks, *ids, EOS)[at : at + order])
            for ids in sequences
            for at in range(len(ids) + 1)
        ]
        whole = self.counted(self.grams)
        self.discounts = [(0.0, *discounts(np.array(sorted(counts.values())))) for counts in whole]

    def counted(self, grams: list[Gram]) -> list[Counter[Gram]]:
        """Occurrences of the highest order; below it the distinct tokens on the left."""
        counts = [Counter(grams)]
        for n in range(1, self.order):
            longer = {gram[n - 1 :] for gram in grams}
            counts.append(Counter(gram[1:] for gram in longer))
        return counts[::-1]

    def row(self, place: int) -> list[float]:
        """p (V,) of the token at a place, counted without it."""
        gram = self.grams[place]
        counts = self.counted(self.grams[:place] + self.grams[place + 1 :])
        p = [1 / V] * V
        for n, (of_order, discount) in enumerate(zip(counts, self.discounts, strict=True)):
            context = gram[self.order - 1 - n : -1]
            here = [of_order[(*context, token)] for token in range(V)]
            if total := sum(here):
                taken = [discount[min(count, 3)] for count in here]
                free = sum(taken)
                p = [
                    (count - less + free * before) / total
                    for count, less, before in zip(here, taken, p, strict=True)
                ]
        return p


@settings(max_examples=60, deadline=None)
@given(sequences=SEQUENCES)
def test_rows_are_those_of_a_count_without_the_token(sequences: list[list[int]]) -> None:
    """Each token's row is what Kneser-Ney says where the text is counted without that token."""
    ids, starts = laid_out(sequences)
    rows, index = left_out(ids, starts, V)
    slow = Slow(sequences, ORDER)
    expected = np.array([slow.row(place) for place in range(len(ids))])
    np.testing.assert_allclose(rows[index].astype(np.float64), expected, atol=2e-3)


@settings(max_examples=60, deadline=None)
@given(sequences=SEQUENCES, most=st.integers(0, 300))
def test_rows_are_distributions_and_few(sequences: list[list[int]], most: int) -> None:
    """Rows add up to 1 as far as half precision goes; shorter n-grams where there is less room."""
    ids, starts = laid_out(sequences)
    rows, index = left_out(ids, starts, V, most=most)
    assert index.shape == ids.shape
    assert rows.shape[1] == V
    assert rows.size <= max(most, V * V)  # of single tokens there are rows in any case
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.astype(np.float64).sum(axis=1), 1, atol=2e-3)
    groups = defaultdict(set)
    for row, token in zip(index.tolist(), ids.tolist(), strict=True):
        groups[row].add(token)
    assert all(len(tokens) == 1 for tokens in groups.values())  # one n-gram a row


def test_a_token_does_not_speak_for_itself() -> None:
    """What stands once is not expected where it stands; what stands often is."""
    ids, starts = laid_out([[0, 2, 3]] * 20 + [[0, 2, 4]])
    rows, index = left_out(ids, starts, V)
    p = rows[index].astype(np.float64)
    assert p[-2, 4] < 0.02  # the one 4 of the text
    assert p[-2, 3] > 0.9
    assert p[2, 3] > 0.9  # 19 others like it


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are made some at a time."""
    rng = np.random.default_rng(0)
    ids, starts = laid_out([rng.choice([0, 2, 3, 4], size=30).tolist() for _ in range(5)])
    whole = left_out(ids, starts, V)
    monkeypatch.setattr(module, "_BLOCK", 7 * V)
    for one, other in zip(whole, left_out(ids, starts, V), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_is_better_than_knowing_nothing() -> None:
    """Of a text with structure the token that was left out is likelier than by chance."""
    rng = np.random.default_rng(1)
    sequence = [0]
    for _ in range(2000):
        sequence.append({0: 2, 2: 3, 3: 4, 4: 0}[sequence[-1]] if rng.random() < 0.9 else 2)
    ids, starts = laid_out([sequence])
    rows, index = left_out(ids, starts, V)
    nats = -np.log(rows[index, ids].astype(np.float64)).mean()
    assert nats < 0.7 < math.log(V)
