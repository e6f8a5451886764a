"""Laws of the n-gram model: distributions, and the figures of a slow count by dictionaries."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm import ngram
from charlm.errors import UsageError
from charlm.ngram import NGram, train

EOS, V = 1, 5
SEQUENCES = st.lists(
    st.lists(st.integers(0, V - 1).filter(lambda i: i != EOS), max_size=9), min_size=1, max_size=20
)


def ended(sequences: list[list[int]]) -> list[NDArray[np.int64]]:
    """Ids with <EOS> behind."""
    return [np.array([*ids, EOS]) for ids in sequences]


def discounts(counts: list[int]) -> tuple[float, ...]:
    """D for counts 0, 1, 2, 3 and more: Chen & Goodman, equation 26."""
    n = Counter(counts)
    if not (n[1] and n[2] and n[3]):
        return (0.0, *ngram._FALLBACK)
    y = n[1] / (n[1] + 2 * n[2])
    found = tuple(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
    if not all(0 <= d <= k for k, d in enumerate(found, start=1)):
        return (0.0, *ngram._FALLBACK)
    return (0.0, *found)


class Slow:
    """The same model from its definition, with dictionaries."""

    def __init__(self, sequences: list[NDArray[np.int64]], order: int) -> None:
        raw: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
        for ids in sequences:
            marked = (V, *ids.tolist())
            for n in range(1, order + 1):
                raw[n].update(marked[i : i + n] for i in range(len(marked) - n + 1))
        self.counts: list[dict[tuple[int, ...], int]] = [{}]
        for n in range(1, order + 1):
            if n == order:
                counts = dict(raw[n])
            else:
                left = defaultdict(set)
                for gram in raw[n + 1]:
                    left[gram[1:]].add(gram[0])
                counts = {g: c if g[0] == V else len(left[g]) for g, c in raw[n].items()}
            if n == 1:
                counts.pop((V,), None)
            self.counts.append(counts)
        self.discounts = [discounts(list(counts.values())) for counts in self.counts]

    def p(self, context: tuple[int, ...], token: int) -> float:
        """p(token | context), the order being that of context and token together."""
        n = len(context) + 1
        lower = self.p(context[1:], token) if context else 1 / V
        after = {g: c for g, c in self.counts[n].items() if g[:-1] == context}
        total = sum(after.values())
        if not total:
            return lower
        d = self.discounts[n]
        own = after.get((*context, token), 0)
        gamma = sum(d[min(c, 3)] for c in after.values()) / total
        return (own - d[min(own, 3)]) / total + gamma * lower


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@given(sequences=SEQUENCES)
@settings(max_examples=25, deadline=None)
def test_it_is_what_counting_by_hand_gives(order: int, sequences: list[list[int]]) -> None:
    """Every token's probability is that of the definition, to rounding."""
    training = ended(sequences)
    model, slow = train(training, V, order), Slow(training, order)
    held = ended([[2, 3, 2], [], [4, 4, 0, 3], *sequences[:2]])
    expected = []
    for ids in held:
        marked = (V, *ids.tolist())
        for at in range(1, len(marked)):
            context = marked[max(0, at - order + 1) : at]
            expected.append(math.log(slow.p(context, marked[at])))
    np.testing.assert_allclose(model.token_log_probs(held), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2, 4, 7])
@given(sequences=SEQUENCES)
@settings(max_examples=15, deadline=None)
def test_after_every_context_it_is_a_distribution(order: int, sequences: list[list[int]]) -> None:
    """All types add up to 1, none is impossible, and a token has its share of it."""
    model = train(ended(sequences), V, order)
    for context in itertools.chain.from_iterable(
        itertools.product((0, 2, 3), repeat=n) for n in range(4)
    ):
        p = model.next_probs(np.array(context, dtype=np.int64))
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert (p > 0).all()
        for token in range(V):
            ids = np.array([*context, token])
            assert model.token_log_probs([ids])[-1] == pytest.approx(math.log(p[token]), abs=1e-12)


def test_a_higher_order_remembers_more() -> None:
    """What always follows is nearly certain once the context is long enough to tell."""
    sequences = ended([[2, 3, 4, 2, 0] * 6, [3, 3, 4, 3, 0] * 6] * 5)
    losses = [-train(sequences, V, n).token_log_probs(sequences).mean() for n in range(1, 6)]
    assert losses == sorted(losses, reverse=True)
    assert losses[4] < 0.25 < losses[0]


def test_what_is_beside_a_text_does_not_matter() -> None:
    """Sequences are scored alike alone and together, and nothing is nothing."""
    model = train(ended([[2, 3, 4], [2, 2], []]), V, 4)
    several = ended([[2, 3], [4], [], [2, 3, 4, 2]])
    alone = np.concatenate([model.token_log_probs([ids]) for ids in several])
    np.testing.assert_array_equal(model.token_log_probs(several), alone)
    assert len(model.token_log_probs([])) == 0
    assert isinstance(model, NGram)
    assert model.order == 4


def test_what_cannot_be_counted_is_refused() -> None:
    """No token, or an order that is none."""
    for order in (0, 8, -1):
        with pytest.raises(UsageError, match="1 to 7"):
            train(ended([[2]]), V, order)
    with pytest.raises(UsageError, match="no tokens"):
        train([], V, 3)
