"""Laws of minimal pairs: accuracies are what the scores say and what a grammar allows."""

import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from charlm.errors import TextError
from charlm.inspection import pairs as module
from charlm.inspection.pairs import (
    ALL,
    MODEL,
    NETWORK,
    NGRAM,
    UNIGRAM,
    Accuracy,
    Pair,
    judge,
    parse,
    parse_groups,
)
from charlm.models.load import load_text_model
from tests.support.inspected import partnered, planted_copy, random_lm
from tests.support.tiny import TEXTS, material_of, trained_run

DATA = Path(__file__).parents[2] / "data"


def test_pairs_reach_what_the_grammar_allows() -> None:
    """A network that knows a language is right wherever one text breaks it; else it is even."""
    lm, texts = planted_copy(4)
    rng = np.random.default_rng(0)
    pairs = []
    for text in texts:
        for at in range(4, len(text)):  # every later letter follows from the four before it
            other = rng.choice([char for char in "abcdefgh" if char != text[at]])
            pairs.append(Pair(text[: at + 1], text[:at] + other, "copied"))
        other = rng.choice([char for char in "abcdefgh" if char != text[3]])
        pairs.append(Pair(text[:4], text[:3] + other, "free"))
    found = {(one.model, one.category): one for one in judge(lm, pairs).accuracies}
    assert found[MODEL, "copied"].accuracy == 1
    assert found[MODEL, "free"].accuracy == 0.5
    assert found[MODEL, ALL].right == len(pairs) - len(texts) / 2
    assert found[MODEL, ALL].pairs == len(pairs)


def test_accuracies_are_those_of_the_scores() -> None:
    """Each model's own log P of whole texts, closed where it is not the model itself."""
    lm = partnered("char")
    pairs = [Pair(a, b, "xy"[i % 2]) for i, (a, b) in enumerate(itertools.pairwise(TEXTS))]
    result = judge(lm, pairs)
    nats = [lm.score(p.good).total_log_prob - lm.score(p.bad).total_log_prob for p in pairs]
    assert [one.nats for one in result.judged] == pytest.approx(nats, abs=1e-4)
    found = {(one.model, one.category): one for one in result.accuracies}
    assert {name for name, _ in found} == {MODEL, NETWORK, NGRAM}
    assert found[MODEL, ALL].right == sum(value > 0 for value in nats)
    assert found[MODEL, "x"].right == sum(value > 0 for value in nats[::2])
    assert found[MODEL, "x"].pairs + found[MODEL, "y"].pairs == len(pairs)
    assert judge(lm, pairs).accuracies == result.accuracies


def test_unigrams_are_those_of_the_training_text(tmp_path: Path) -> None:
    """Where the run keeps an index of it; order means nothing to them."""
    texts = ["a cat", "a cat sat", "the cat"]
    run = trained_run(tmp_path / "run", material=material_of(texts, level="word"))
    lm = load_text_model(run)
    pairs = [Pair("cat", "sat"), Pair("a cat", "cat a")]
    assert not [one for one in judge(lm, pairs).accuracies if one.model == UNIGRAM]  # no index

    class WithIndex(type(lm)):  # type: ignore[misc]
        """The same, with an index that holds the texts."""

        class index:  # noqa: N801
            """An index."""

            @staticmethod
            def sequences() -> list[str]:
                """The training sequences."""
                return texts

    lm.__class__ = WithIndex
    (unigrams,) = (one for one in judge(lm, pairs).accuracies if one.model == UNIGRAM)
    assert (unigrams.pairs, unigrams.right) == (2, 1.5)


def test_a_good_text_has_to_beat_every_bad_one() -> None:
    """Of a list of hypotheses the likeliest bad one counts, wherever it stands, by each model."""
    lm = partnered("char")
    score = {text: lm.score(text).total_log_prob for text in TEXTS[:4]}
    for good, *bad in itertools.permutations(score):
        (judged,) = judge(lm, [Pair(good, bad[0], more=tuple(bad[1:]))]).judged
        assert judged.bad == max(bad, key=score.__getitem__)
        assert judged.nats == pytest.approx(score[good] - score[judged.bad], abs=1e-4)
    both = [Pair(TEXTS[0], TEXTS[1], more=(TEXTS[2],)), Pair(TEXTS[0], TEXTS[1])]
    found = judge(lm, both).accuracies
    alone = judge(lm, both[1:]).accuracies
    assert [one.pairs for one in found] == [2] * len(alone)
    for one, other in zip(found, alone, strict=True):
        assert one.right in (other.right, other.right + 1)


def test_hypotheses_are_read() -> None:
    """The first text of an id is the good one, wherever its others stand; further columns pass."""
    lines = ["1\ta\t-0.5", "2\tx", "", "1\tb\t-0.1", '{"id": 2, "text": "y", "score": 3}', "1\tc"]
    assert parse_groups(lines) == [Pair("a", "b", more=("c",)), Pair("x", "y")]
    for wrong, said in (
        (["1 a"], "line 1: an id, a tab"),
        (["1\ta", '{"id": 1}'], "line 2: a JSON object with id and text"),
        (['{"id": 1, "text": 2}'], "text must be"),
        (["1\ta", "1\tb", "2\tc"], "id 2 has one text"),
        ([], "no pairs"),
    ):
        with pytest.raises(TextError, match=said):
            parse_groups(wrong)


def test_the_bundled_pairs_are_what_is_made() -> None:
    """Eight categories of as many pairs, which differ by one word and stand in no bundled text."""
    made = subprocess.run(
        [sys.executable, DATA / "minimal_pairs.py"], check=True, capture_output=True, text=True
    )
    lines = (DATA / "minimal-pairs.tsv").read_text(encoding="utf-8").splitlines()
    assert made.stdout.splitlines() == lines
    found = parse(lines)
    prose = (DATA / "prose.txt").read_text(encoding="utf-8")
    assert set(Counter(pair.category for pair in found).values()) == {60}
    assert len({pair.category for pair in found}) == 8
    assert len({(pair.good, pair.bad) for pair in found}) == len(found)
    for pair in found:
        good, bad = pair.good.split(), pair.bad.split()
        assert sum(a != b for a, b in zip(good, bad, strict=True)) == 1
        assert pair.good not in prose
        assert pair.bad not in prose


def test_intervals_are_wilsons() -> None:
    """8 of 10 is 49.0 % to 94.3 %; none and all stay within 0 and 1."""
    assert Accuracy("", "", 10, 8).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert Accuracy("", "", 10, 0).interval[0] == pytest.approx(0, abs=1e-12)
    assert Accuracy("", "", 10, 10).interval[1] == pytest.approx(1, abs=1e-12)


def test_both_forms_are_read() -> None:
    """Columns with or without a category, and BLiMP's JSON; what is neither is named."""
    blimp = {"sentence_good": "it is", "sentence_bad": "it are", "field": "x", "UID": "agreement"}
    assert parse(["a\tb", "", "c\td\tkind", json.dumps(blimp)]) == [
        Pair("a", "b"),
        Pair("c", "d", "kind"),
        Pair("it is", "it are", "agreement"),
    ]
    for lines, said in (
        (["a\tb", "alone"], "line 2.*1 columns"),
        (["{}"], "line 1.*sentence_good"),
        (['{"sentence_good": 1, "sentence_bad": 2}'], "must be texts"),
        ([], "no pairs"),
    ):
        with pytest.raises(TextError, match=said):
            parse(lines)
    with pytest.raises(TextError, match="no pairs"):
        module.judge(random_lm(), [])
