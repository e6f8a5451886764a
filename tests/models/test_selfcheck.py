"""Laws of the self-test: a sound model passes every check, and every check can be failed."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charlm.engines.numpy_lm import NumpyEngine
from charlm.errors import TextError
from charlm.inference.unknown import Speller, UnknownCharacters
from charlm.models import selfcheck
from charlm.models.language_model import LanguageModel
from charlm.models.load import load
from charlm.models.mixtures import mix
from charlm.models.selfcheck import Check, check_model, drawn_texts, some_texts
from charlm.text.streaming import Piece
from charlm.tokenizers.word import WordTokenizer
from charlm.tokenizers.word_chunks import count_types
from charlm.training.speller import train_speller
from tests.support.tiny import LEVELS, TEXTS, material_of, trained_run

SUM = "P of all types"
EXACT = "log P is that of the equations"
SHARES = "unknown characters share"
SPELLED = "P of all characters"
NEW = "characters new to the speller"
KNOWN = "the speller leaves out"
REST = "spellings of the known words"
TOTAL = "log P of a text"
NAMES = {
    "char": {SUM, EXACT, SHARES, TOTAL},
    "word": {SUM, EXACT, SPELLED, NEW, KNOWN, REST, TOTAL},
    "subword": {SUM, EXACT, TOTAL},
}
EVERY = set().union(*NAMES.values())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small run of each level."""
    found = {}
    for level in LEVELS:
        material = material_of(level=level)
        if isinstance(material.tokenizer, WordTokenizer):
            speller = train_speller(count_types(TEXTS), material.tokenizer, seed=3)
            material = dataclasses.replace(material, speller=speller)
        path = tmp_path_factory.mktemp("runs") / level
        found[level] = trained_run(path, material=material, num_steps=3)
    return found


def failed(lm: LanguageModel, texts: list[str]) -> set[str]:
    """Which checks the model fails, by the beginnings of their names."""
    checks = list(check_model(lm, texts))
    begins = {check.name: next(b for b in EVERY if check.name.startswith(b)) for check in checks}
    assert set(begins.values()) == NAMES[lm.tokenizer.level]
    assert all(check.number > 0 for check in checks)
    return {begins[check.name] for check in checks if not check.passed}


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("texts", [TEXTS, ["the xyzzy 你好", "", "9"], [""], None])
def test_a_sound_model_passes(runs: dict[str, Path], level: str, texts: list[str] | None) -> None:
    """On known and unknown text, on nothing but an end, and on a text of its own."""
    lm = load(runs[level])
    assert failed(lm, drawn_texts(lm) if texts is None else texts) == set()


def test_both_engines_are_checked(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where small jobs go to another engine than large ones, both have to be sound."""
    lm = load(runs["char"])
    monkeypatch.setattr(
        lm.engines, "kind_for", lambda tokens, *_: "numpy" if tokens < 10**6 else "torch"
    )
    names = [check.name for check in check_model(lm, TEXTS) if check.passed]
    assert sum("NumPy" in name for name in names) == sum("torch" in name for name in names) == 2


class Wrong(NumpyEngine):
    """An engine whose scores, logits or double-precision weights are off."""

    scores: Callable[[Any], Any] = staticmethod(lambda log_probs: log_probs)
    logits: Callable[[Any], Any] = staticmethod(lambda logits: logits)
    exact: Callable[[Any], Any] = staticmethod(lambda weights: weights)

    def token_log_probs(self, sequences: Any, **options: Any) -> Any:
        """What is off in scoring."""
        log_probs, places = super().token_log_probs(sequences, **options)
        return self.scores(log_probs), places

    def step(self, ids: Any, state: Any) -> Any:
        """What is off in sampling."""
        logits, state = super().step(ids, state)
        return self.logits(logits), state

    def reference(self) -> Any:
        """What is off in double precision."""
        return self.exact(super().reference())


def by(lm: LanguageModel, **faults: Callable[[Any], Any]) -> LanguageModel:
    """The model, run by an engine that has faults."""
    engine = Wrong(lm.config, lm.checkpoint.weights)
    for name, fault in faults.items():
        setattr(engine, name, fault)
    lm.engines._made = {"torch": engine, "numpy": engine}
    return lm


@pytest.mark.slow
def test_faults_of_the_engine_are_found(runs: dict[str, Path]) -> None:
    """Scores that are too high by a thousandth, a slip in a step, other weights, NaN."""
    fresh = {level: (lambda level=level: load(runs[level])) for level in LEVELS}
    for level in LEVELS:
        raised = by(fresh[level](), scores=lambda values: values + 2e-3)
        assert failed(raised, TEXTS) >= {SUM, EXACT}
        nan = by(fresh[level](), scores=lambda values: values * np.nan)
        assert failed(nan, TEXTS) == {SUM, EXACT, TOTAL}
        slipped = by(fresh[level](), logits=lambda logits: logits * np.float32(1.001))
        assert failed(slipped, TEXTS) == {SUM}
        other = by(
            fresh[level](),
            exact=lambda w: w._replace(
                softmax_bias=w.softmax_bias + np.linspace(0, 0.1, len(w.softmax_bias))
            ),
        )
        assert failed(other, TEXTS) == {EXACT}


def test_wrong_shares_are_found(runs: dict[str, Path]) -> None:
    """Unknown characters that share a millionth too much."""
    lm = load(runs["char"])
    assert isinstance(lm.unknown, UnknownCharacters)
    lm.unknown.log_share += 2e-6
    assert failed(lm, TEXTS) == {SHARES}


def test_a_wrong_speller_is_found(runs: dict[str, Path]) -> None:
    """A known share that is not the vocabulary's, room for more than there is, other characters."""
    fresh = load(runs["word"]).unknown
    assert isinstance(fresh, Speller)
    parts = {"config": fresh.config, "weights": fresh.weights, "tokenizer": fresh.tokenizer}

    def with_speller(speller: Speller) -> LanguageModel:
        lm = load(runs["word"])
        lm.unknown = speller
        return lm

    tampered = Speller(**parts, log_known=-0.1)  # type: ignore[arg-type]
    assert failed(with_speller(tampered), TEXTS) == {KNOWN, REST}
    roomy = Speller(**parts, log_known=fresh.log_known)  # type: ignore[arg-type]
    roomy._log_room -= 0.01
    assert failed(with_speller(roomy), TEXTS) == {REST}
    generous = Speller(**parts, log_known=fresh.log_known)  # type: ignore[arg-type]
    generous._characters.log_share += 1e-3
    assert NEW in failed(with_speller(generous), TEXTS)


def test_a_score_that_is_not_its_sum_is_found(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """evaluate that leaves something out, or a total that is not that of the tokens."""
    lm = load(runs["char"])
    evaluate, score_all = lm.evaluate, lm.score_all
    monkeypatch.setattr(lm, "evaluate", lambda texts, **options: evaluate(texts[1:], **options))
    assert failed(lm, TEXTS) == {TOTAL}
    monkeypatch.setattr(lm, "evaluate", evaluate)

    def rounded(texts: Any, **options: Any) -> Any:
        return [
            dataclasses.replace(score, total_log_prob=round(score.total_log_prob, 2))
            for score in score_all(texts, **options)
        ]

    monkeypatch.setattr(lm, "score_all", rounded)
    assert failed(lm, TEXTS) == {TOTAL}


@pytest.mark.slow
def test_models_of_different_vocabularies_are_checked_one_by_one_and_together(
    runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its checks under its name; the mixture has its own, which can be failed."""
    both = mix([load(runs[level]) for level in LEVELS], [0.5, 0.5, 0.0])
    for texts in (TEXTS, ["the xyzzy 你好", "", "9"], drawn_texts(both)):
        checks = list(check_model(both, texts))
        assert all(check.passed for check in checks), checks
    names = [check.name for check in checks]
    assert {name.split(": ")[0] for name in names[:-2]} == set(LEVELS)
    assert names[-2:] == [
        "log P of a text is that of the mixture of its models'",
        "a text that is cut in two costs as much",
    ]
    begins = both.log_prob_begins
    monkeypatch.setattr(both, "log_prob_begins", lambda text: begins(text) + 1e-3)
    assert [check.passed for check in check_model(both, TEXTS)][-2:] == [False, False]


def test_what_is_not_a_number_keeps_no_bound() -> None:
    """NaN and infinity fail."""
    assert Check("x", 0.5, 1.0, 1).passed
    assert not Check("x", math.nan, 1.0, 1).passed
    assert not Check("x", math.inf, 1.0, 1).passed


def test_the_beginnings_of_the_first_sequences_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Enough of a text to look at, and no more of it is read."""
    monkeypatch.setattr(selfcheck, "_TEXTS", 2)
    monkeypatch.setattr(selfcheck, "_CHARACTERS", 3)
    pieces = iter([Piece("abcd", ends=False), Piece("x"), Piece("e"), Piece("f")])
    assert some_texts(pieces) == ["abc", "e"]
    assert next(pieces).text == "f"
    with pytest.raises(TextError, match="no text"):
        some_texts([])
