"""Laws of error rates: edit distance is a metric, and the nearest reference counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.inference.pairs.error_rates import edit_distance, error_rates

texts = st.text("ab", max_size=6)


def by_hand(one: str, other: str) -> int:
    """The definition, by recursion."""
    if not one or not other:
        return len(one) + len(other)
    kept = by_hand(one[1:], other[1:])
    if one[0] == other[0]:
        return kept
    return 1 + min(kept, by_hand(one[1:], other), by_hand(one, other[1:]))


@given(texts, texts)
def test_edit_distance_is_its_definition(one: str, other: str) -> None:
    """And the same both ways."""
    assert edit_distance(one, other) == by_hand(one, other) == edit_distance(other, one)


def test_the_nearest_reference_counts() -> None:
    """One of two sources is wrong; of its references the one with the least share of edits."""
    rates = error_rates(
        [["S", "AE"], ["P", "EH"]],
        [[["S", "AE"], ["S", "AA", "L"]], [["P", "IH", "R"], ["B", "AA", "D", "Z"]]],
    )
    assert rates.whole == 0.5
    assert rates.symbols == pytest.approx(2 / 5)
    assert rates.number == 2
    assert error_rates([], []).number == 0
