"""Laws of copied spans: each is what a slow look gives, and none is left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import UsageError
from charlm.novelty.measure import Sample
from charlm.novelty.spans import LEAST, Span, remarkable, spans
from charlm.novelty.text_index import Index, source_of

few_letters = st.text("ab ", max_size=30)
sequences = st.lists(few_letters, min_size=1, max_size=5)
samples = st.lists(
    st.tuples(st.one_of(few_letters, st.text(max_size=6)), st.integers(0, 30)), max_size=4
)


def slow_spans(known: list[str], sample: Sample, least: int) -> list[Span]:
    """All spans that stand in a sequence, but for those that lie within another."""
    text = sample.text
    every = [
        (start, end)
        for start in range(sample.begin, len(text))
        for end in range(start + 1, len(text) + 1)
        if any(text[start:end] in one for one in known)
    ]
    widest = [
        (start, end)
        for start, end in every
        if end - start >= least
        and not any(a <= start and end <= b and (a, b) != (start, end) for a, b in every)
    ]
    found = []
    for start, end in sorted(widest):
        places = [
            (number, at)
            for number, one in enumerate(known, start=1)
            for at in range(len(one))
            if one.startswith(text[start:end], at)
        ]
        found.append(Span(start, end, *places[0], len(places)))
    return found


@given(sequences, samples, st.integers(1, 6))
def test_spans_are_those_of_a_slow_look(
    known: list[str], drawn: list[tuple[str, int]], least: int
) -> None:
    """Of every sample, whatever stands beside it."""
    asked = [Sample(text, min(begin, len(text))) for text, begin in drawn]
    found = spans(Index.build(source_of(known)), asked, least=least)
    assert found == [slow_spans(known, sample, least) for sample in asked]


def test_a_copy_of_nothing_is_refused() -> None:
    """Or every place would be one."""
    with pytest.raises(UsageError, match="1 character"):
        spans(Index.build(source_of(["a"])), [Sample("a")], least=0)


def test_what_is_remarkable_is_seldom_in_text_that_nobody_copied() -> None:
    """From the n on from which 95 % of the held-out text's n-grams are new."""
    index = Index.build(source_of(["a"]))
    assert remarkable(index) == LEAST
    index.held_out_characters = {1: 0.0, 2: 0.5, 3: 0.95, 4: 0.99}
    assert remarkable(index) == 3
    index.held_out_characters = {1: 0.0, 2: 0.5}
    assert remarkable(index) == 3
