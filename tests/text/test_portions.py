"""Laws of portions: all of a text, in order, little at a time, a long sequence in parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.text import portions
from charlm.text.portions import in_portions, in_turn, in_whole_portions
from charlm.text.streaming import Piece

SEQUENCES = st.lists(st.lists(st.text("ab ", max_size=30), min_size=1, max_size=9), max_size=20)


def pieces(sequences: list[list[str]]) -> list[Piece]:
    """Sequences in the pieces that each of them is given in."""
    return [
        Piece(text, ends=at == len(sequence))
        for sequence in sequences
        for at, text in enumerate(sequence, start=1)
    ]


@given(SEQUENCES, st.integers(1, 40), st.integers(1, 3), st.integers(40, 90))
def test_every_sequence_is_in_a_portion(
    sequences: list[list[str]], characters: int, few: int, most: int
) -> None:
    """Once, those that are whole in their order; portions are bounded by what one piece adds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portions, "_CHARACTERS", characters)
        patch.setattr(portions, "_FEW", few)
        patch.setattr(portions, "_MOST_CHARACTERS", most)
        found = list(in_portions(pieces(sequences)))
        wholes = list(in_whole_portions(pieces(sequences)))
    texts = ["".join(sequence) for sequence in sequences]
    assert [text for portion in wholes for text in portion.texts] == texts
    assert all(portion.part_of is None and portion.ends for portion in wholes)
    assert all(portion.size == sum(map(len, portion.texts)) for portion in wholes)
    short = [text for portion in found if portion.part_of is None for text in portion.texts]
    long: dict[int, str] = {}
    for portion in found:
        assert portion.texts
        assert sum(map(len, portion.texts)) <= portion.size < most + 30
        if portion.part_of is not None:
            (text,) = portion.texts
            assert portion.part_of in (len(long), len(long) + 1)  # one after another
            long[portion.part_of] = long.get(portion.part_of, "") + text
    assert sorted([*short, *long.values()]) == sorted(texts)
    ends = [portion.part_of for portion in found if portion.part_of and portion.ends]
    assert ends == sorted(long)


def test_in_turn_reads_a_portion_when_the_one_before_is_done() -> None:
    """And None, which says that more may be long in coming, is no portion."""
    said: list[str] = []

    def numbers() -> "list[int | None]":
        return [1, None, 2]

    for result in in_turn(lambda number: said.append(f"did {number}") or number, numbers()):
        said.append(f"got {result}")
    assert said == ["did 1", "got 1", "did 2", "got 2"]
