"""Laws of units: the one that carries a planted feature is ranked first; spans are found again."""

import numpy as np
import pytest

from charlm.errors import TextError, UsageError
from charlm.inspection import features
from charlm.inspection.features import FEATURES, along, expression
from charlm.inspection.units import Unit, following, of_span, read
from tests.support.inspected import planted_depth, random_lm
from tests.support.tiny import TEXTS


@pytest.mark.parametrize("seed", range(5))
def test_the_unit_that_carries_depth_is_ranked_first(seed: int) -> None:
    """Of a network that counts brackets in one unit among random ones, that one, and 1.0."""
    lm, texts, index = planted_depth(seed)
    best, *others = following(read(lm, texts), {"bracket depth": FEATURES["bracket depth"]}).ranked
    assert best.unit == Unit("h", 0, index)
    assert best.correlation == pytest.approx(1, abs=1e-6)
    assert abs(others[0].correlation) < 0.99


def test_correlations_are_those_of_numpy() -> None:
    """Over the tokens of all texts, without x<1>, as numpy.corrcoef has them; the best first."""
    lm = random_lm(cell="lstm", num_layers=2)
    found = read(lm, TEXTS)
    ranked = following(found, top=4).ranked
    assert {one.feature for one in ranked} == {"position in line", "word boundary"}
    for one in ranked:
        values = np.concatenate([one.unit.of(each)[1:] for each in found])
        wanted = np.concatenate(
            [along(FEATURES[one.feature], each.text, each.ranges[1:]) for each in found]
        )
        assert one.correlation == pytest.approx(np.corrcoef(values, wanted)[0, 1], abs=1e-5)
    sizes = [abs(one.correlation) for one in ranked]
    assert sizes[:4] == sorted(sizes[:4], reverse=True)
    (alone,) = following(found, {"the": expression("the")}, top=1, state="c", layer=1).ranked
    assert (alone.unit.state, alone.unit.layer) == ("c", 1)


@pytest.mark.parametrize("level", ["char", "word", "subword"])
def test_every_level_has_features(level: str) -> None:
    """A token has the value of its last character."""
    found = read(random_lm(level), TEXTS)
    assert following(found).ranked
    one = found[0]
    values = along(features.word_boundary, one.text, one.ranges[1:])
    assert values.tolist() == [not one.text[end - 1].isalnum() for _, end in one.ranges[1:]]


def test_features_by_hand() -> None:
    """Each at each character of small texts."""
    for name, text, expected in (
        ("inside quotes", 'a "b" c', "0011000"),
        ("inside quotes", "«a» “b”", "1100110"),
        ("inside quotes", '"a\n\nb', "11100"),
        ("inside brackets", "(a[b)c])d", "111111000"),
        ("bracket depth", "(a[b])d", "1122100"),
        ("bracket depth", ")(a", "011"),
        ("position in line", "ab\nc", "1201"),
        ("after a newline", "ab\nc", "0010"),
        ("upper case", "aBÇ", "011"),
        ("digits", "a1²", "011"),
        ("word boundary", "a, b_1", "011010"),
    ):
        values = FEATURES[name](text)
        assert values.tolist() == [float(digit) for digit in expected], (name, text)
    assert expression("b+")("abba").tolist() == [0, 1, 1, 0]
    with pytest.raises(UsageError, match="regular expression"):
        expression("(")


def test_a_span_is_found_again() -> None:
    """The units that are on in a bracket and off outside of it are on in the others, too."""
    lm, _, index = planted_depth(0)
    found = read(lm, ["a(b)aa(aba)b"])
    span = of_span(found, "(b", threshold=0.5)
    assert Unit("h", 0, index) in span.units
    one = next(other for other in span.others if other.begin <= 6 < other.end)
    assert found[0].text[one.begin : one.end] == "(aba"
    with pytest.raises(UsageError, match="does not stand"):
        of_span(found, "zzz")


def test_what_is_not_there_is_refused() -> None:
    """A state or layer that the network has not, and no text at all."""
    found = read(random_lm(cell="gru"), TEXTS)
    with pytest.raises(UsageError, match="states are h, got 'c'"):
        following(found, state="c")
    with pytest.raises(UsageError, match="layers are 1 to 1, got 3"):
        following(found, layer=2)
    with pytest.raises(TextError, match="no text"):
        read(random_lm(), [])
