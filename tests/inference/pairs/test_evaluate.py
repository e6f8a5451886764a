"""Laws of the figures of pairs: they add up, and each pair and source counts once."""

import math

import pytest

from charlm.errors import UsageError
from charlm.inference.pairs.compare import compare_pairs, sides_of
from charlm.inference.pairs.evaluate import by_source, sentence_scores, summarise
from charlm.inference.pairs.score import PairScore, TargetToken


def score_of(source: str, target: str, *log_probs: float) -> PairScore:
    """A pair whose tokens have these log-probabilities."""
    pieces = [*target.split(), "<EOS>"]
    tokens = tuple(
        TargetToken(piece, log_prob, piece == "?", ())
        for piece, log_prob in zip(pieces, log_probs, strict=True)
    )
    return PairScore(
        source=source,
        target=target,
        total_log_prob=math.fsum(log_probs),
        source_tokens=(*source, "<EOS>"),
        tokens=tokens,
    )


SCORES = [
    score_of("ab", "A B", -1, -2, -3),
    score_of("ab", "A ?", -4, -5, -6),
    score_of("c", "C", -0.5, -0.5),
]


def test_the_figures_are_sums_divided_once() -> None:
    """Nats over tokens of all pairs; errors over sources; edits over the nearest references."""
    found = summarise(SCORES, ["A ?", "D"], level="word")
    assert (found.num_pairs, found.num_tokens, found.num_oov) == (3, 8, 1)
    assert found.cross_entropy == pytest.approx(22 / 8)
    assert found.perplexity == pytest.approx(math.exp(22 / 8))
    assert found.rates == (1, 2, 1, 3)
    assert (found.rates.whole, found.rates.symbols, found.rates.accuracy) == (0.5, 1 / 3, 0.5)
    assert summarise(SCORES, ["A ?", "D"], level="char").rates == (1, 2, 1, 4)
    values = found.to_json("bits")
    assert values["cross_entropy_bits_per_target_token"] == pytest.approx(22 / 8 / math.log(2))
    assert values["symbol_error_rate"] == values["edits"] / values["reference_symbols"]
    nothing = summarise([], [], level="word").to_json()
    assert nothing["accuracy"] is nothing["error_rate"] is nothing["symbol_error_rate"] is None


def test_a_source_has_each_target_once() -> None:
    """In the order in which they stand."""
    pairs = [("a", "A"), ("b", "B"), ("a", "X"), ("a", "A")]
    assert by_source(pairs) == {"a": ["A", "X"], "b": ["B"]}


def test_sentence_scores_take_the_references_that_there_are() -> None:
    """A text that equals any of its references has 100 of both; of other numbers of them too."""
    references = [["the cat sat on the mat", "a cat was on a mat"], ["the dog ran to the cat"]]
    for written in (
        ["the cat sat on the mat", "the dog ran to the cat"],
        ["a cat was on a mat", "the dog ran to the cat"],
    ):
        found = sentence_scores(written, references)
        assert found is not None
        assert found.bleu == pytest.approx(100)
        assert found.chrf > 99
    worse = sentence_scores(["a dog", "a dog ran to a cat"], references)
    assert worse is not None
    assert worse.bleu < 50
    assert sentence_scores([], []) is None


def test_a_difference_is_the_difference_of_the_figures() -> None:
    """Of either figure; which is better is told by units that vary, not by one that repeats."""
    other = [
        score_of("ab", "A B", -1, -1, -1),
        score_of("ab", "A ?", -1, -1, -1),
        score_of("c", "C", -1, -1),
    ]
    sources = by_source((score.source, score.target) for score in SCORES)
    sides = (sides_of(SCORES, ["A  B", "D"]), sides_of(other, ["B", "C"]))
    assert [[side.is_right for side in one] for one in sides] == [[True, False], [False, True]]
    found = compare_pairs(sources, sides, is_alike=True)
    assert found.loss is not None
    assert found.loss.difference == pytest.approx(8 / 8 - 22 / 8)
    assert (found.errors.one, found.errors.other, found.errors.is_none) == (0.5, 0.5, True)
    assert found.loss.low is None  # of two units
    assert [unit.nats_more for unit in found.units] == [-15, 1]
    assert compare_pairs(sources, sides, is_alike=False).loss is None
    with pytest.raises(UsageError, match="no pair to compare"):
        compare_pairs({}, ([], []), is_alike=True)


def test_many_units_tell_what_is_chance() -> None:
    """A model that is wrong more often is told from one by chance."""
    names = [f"s{number}" for number in range(300)]
    scores = [score_of(name, "A", -1, -1) for name in names]
    sources = {name: ["A"] for name in names}
    well = sides_of(scores, ["A"] * 300)
    badly = sides_of(scores, ["B" if number * 7919 % 5 == 0 else "A" for number in range(300)])
    found = compare_pairs(sources, (well, badly), is_alike=True)
    assert found.errors.is_real
    assert found.errors.low is not None
    assert found.errors.low < 0.2 < (found.errors.high or 0)
    assert found.loss is not None
    assert found.loss.is_none
    assert not found.loss.is_real
