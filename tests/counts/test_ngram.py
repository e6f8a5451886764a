"""Laws of the n-gram model: distributions, and the figures of a slow count by dictionaries."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm.counts import ngram
from charlm.counts.ngram import NGram, from_arrays, to_arrays, train
from charlm.errors import CheckpointError, UsageError

EOS, V = 1, 5
SEQUENCES = st.lists(
    st.lists(st.integers(0, V - 1).filter(lambda i: i != EOS), max_size=9), min_size=1, max_size=20
)


def ended(sequences: list[list[int]]) -> list[NDArray[np.int64]]:
    """Ids with <EOS> behind."""
    return [np.array([*ids, EOS]) for ids in sequences]


def after(model: NGram, *ids: int) -> NDArray[np.float64]:
    """P (V,) of the token after a sequence that begins with ids."""
    return model.rows(np.array([[V, *ids]]))[0][0]


def discounts(counts: list[int]) -> tuple[float, ...]:
    """D for counts 0, 1, 2, 3 and more: Chen & Goodman, equation 26."""
    n = Counter(counts)
    if not (n[1] and n[2] and n[3]):
        return (0.0, *ngram._FALLBACK)
    y = n[1] / (n[1] + 2 * n[2])
    found = tuple(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
    if not all(0 < d <= k for k, d in enumerate(found, start=1)):
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
@example(sequences=[[], [], [], [2, 0, 0, 2, 0]])  # whose counts come to a discount of 0
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
        p = after(model, *context)
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


@given(sequences=SEQUENCES, held=SEQUENCES)
@settings(max_examples=40, deadline=None)
def test_rows_are_what_tokens_are_scored_by(
    sequences: list[list[int]], held: list[list[int]]
) -> None:
    """Whole distributions, cut off from what they cannot see, agree with scores, and adds up."""
    model = train(ended(sequences), V, 4)
    for ids in ended(held):
        found = model.look([ids])
        contexts = np.full((len(ids), 6), -1)
        for t in range(len(ids)):
            before = np.concatenate(([-1] * 6, [V], ids[:t]))[-6:]
            contexts[t] = before
        p, matched = model.rows(contexts)
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-12)
        np.testing.assert_allclose(np.log(p[np.arange(len(ids)), ids]), found.log_probs, atol=1e-12)
        np.testing.assert_array_equal(matched, found.matched)
        single, _ = model.rows(contexts, np.float32)
        np.testing.assert_allclose(single, p, rtol=1e-5)


@given(held=SEQUENCES, cut=st.integers(0, 9), seen=st.integers(3, 12))
@settings(max_examples=40, deadline=None)
def test_a_sequence_may_be_read_in_pieces(held: list[list[int]], cut: int, seen: int) -> None:
    """What stands before a piece is all it needs, the last order - 1 tokens of it enough."""
    model = train(ended([[2, 3, 4, 2], [4, 4, 0], [2, 3, 4]]), V, 4)
    for ids in ended(held):
        whole = model.look([ids])
        before = np.concatenate(([V], ids[:cut]))[-seen:]
        piece = model.look_on(before, ids[cut:])
        np.testing.assert_allclose(piece.log_probs, whole.log_probs[cut:], atol=1e-12)
        np.testing.assert_array_equal(piece.matched, whole.matched[cut:])


@given(sequences=SEQUENCES, order=st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_its_arrays_are_all_of_it(sequences: list[list[int]], order: int) -> None:
    """Written and read back it is the same model, and the arrays are no larger than need be."""
    model = train(ended(sequences), V, order)
    arrays = to_arrays(model)
    again = from_arrays(V, arrays)
    for one, other in zip(model.levels, again.levels, strict=True):
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_array_equal(one.counts, other.counts)
    held = ended(sequences[:3])
    np.testing.assert_array_equal(model.token_log_probs(held), again.token_log_probs(held))
    assert {array.dtype for array in arrays.values()} <= {np.dtype(np.uint8), np.dtype(np.uint16)}


def test_arrays_that_are_none_of_its_own_are_refused() -> None:
    """Whatever is changed in them, either it is refused or it is a model that adds up."""
    good = to_arrays(train(ended([[2, 3, 4, 2], [4, 4, 0], [2, 3, 4]]), V, 3))
    rng = np.random.default_rng(0)
    refused = 0
    for name in good:
        for change in ("drop", "kind", "shape", "short", "value", "zero"):
            arrays = {key: value.copy() for key, value in good.items()}
            at = int(rng.integers(len(arrays[name])))
            if change == "drop":
                del arrays[name]
            elif change == "kind":
                arrays[name] = arrays[name].astype(np.float32)
            elif change == "shape":
                arrays[name] = arrays[name][:, None]
            elif change == "short":
                arrays[name] = arrays[name][:-1]
            else:
                arrays[name][at] = 0 if change == "zero" else 200
            try:
                model = from_arrays(V, arrays)
            except CheckpointError:
                refused += 1
                continue
            assert after(model, 2, 3).sum() == pytest.approx(1, abs=1e-12)
    assert refused >= 4 * len(good)


def test_what_cannot_be_counted_is_refused() -> None:
    """No token, or an order that is none."""
    for order in (0, 9, -1):
        with pytest.raises(UsageError, match="1 to 8"):
            train(ended([[2]]), V, order)
    with pytest.raises(UsageError, match="no tokens"):
        train([], V, 3)
