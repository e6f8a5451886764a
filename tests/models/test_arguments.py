"""One text is never taken for several, nor several for one: in words, wherever Python hands them.

A text is a sequence of texts to Python, of a character each: "A pear" would be six of them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import charlm
from charlm.errors import UsageError
from charlm.models.arguments import each_text, one_text, several_sentences, several_texts
from charlm.models.language_model import LanguageModel
from charlm.models.mixtures import mix
from tests.support.tiny import TEXTS, material_of, trained_run


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LanguageModel]:
    """A plain model, one of both sides, mixtures of either kind."""
    home = tmp_path_factory.mktemp("home")
    plain = charlm.load(trained_run(home / "plain", material=material_of(), num_steps=1))
    sides = {"bidirectional": True, "output_layers": 1}
    both = charlm.load(trained_run(home / "sides", material=material_of(), shape=sides))
    pieces = material_of(level="subword")
    subword = charlm.load(trained_run(home / "subword", material=pieces, num_steps=1))
    return {
        "plain": plain,
        "sides": both,
        "tokens": mix([plain, plain]),
        "texts": mix([plain, subword]),
    }


TAKE_SEVERAL: dict[str, Callable[[Any, Any], object]] = {
    "score_all": lambda lm, given: lm.score_all(given),
    "evaluate": lambda lm, given: lm.evaluate(given),
    "tuned": lambda lm, given: lm.tuned(given),
    "novelty": lambda lm, given: lm.novelty(given),
}
TAKE_ONE: dict[str, Callable[[Any, Any], object]] = {
    "score": lambda lm, given: lm.score(given),
    "context": lambda lm, given: lm.score("a cat", context=given),
    "sample": lambda lm, given: lm.sample(1, prompt=given),
    "log_prob_begins": lambda lm, given: lm.log_prob_begins(given),
    "novelty": lambda lm, given: lm.novelty(["a cat"], prompt=given),
}


@pytest.mark.parametrize("model", ["plain", "tokens", "texts"])
@pytest.mark.parametrize("call", TAKE_SEVERAL)
def test_one_text_is_not_several(models: dict[str, LanguageModel], model: str, call: str) -> None:
    """It is refused, and shown how to be given; so is what holds something that is no text."""
    if (model, call) == ("plain", "tuned"):
        return  # there is nothing in it to tune
    with pytest.raises(UsageError, match=r"list of texts.*A pear.*\[text\]"):
        TAKE_SEVERAL[call](models[model], "A pear is a pear.")
    with pytest.raises(UsageError, match="number 2 of texts must be a text, got int 5"):
        TAKE_SEVERAL[call](models[model], ["a cat", 5])
    with pytest.raises(UsageError, match="list of texts"):
        TAKE_SEVERAL[call](models[model], 5)


@pytest.mark.parametrize("model", ["plain", "tokens", "texts"])
@pytest.mark.parametrize("call", TAKE_ONE)
def test_several_texts_are_not_one(models: dict[str, LanguageModel], model: str, call: str) -> None:
    """A list, bytes and None are refused by name."""
    for given, told in ((["a", "b"], "a list"), (b"a", "bytes b'a'"), (("a",), "a tuple")):
        with pytest.raises(UsageError, match=f"must be a text, got {told}"):
            TAKE_ONE[call](models[model], given)


def test_models_of_both_sides_ask_as_well(models: dict[str, LanguageModel]) -> None:
    """Pseudo-scores and gaps."""
    lm = models["sides"]
    for refused in (
        lambda: lm.pseudo_score(["a", "b"]),  # type: ignore[arg-type]
        lambda: lm.pseudo_score_all("a cat"),
        lambda: lm.pseudo_score("a", context=["b"]),
        lambda: lm.fill(["a [?]"]),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match="text"):
            refused()
    with pytest.raises(UsageError, match="score_all"):
        lm.pseudo_score(["a", "b"])  # type: ignore[arg-type]


def test_what_comes_next_is_asked_of_one_text(models: dict[str, LanguageModel]) -> None:
    """next_tokens takes a prefix."""
    for name in ("plain", "tokens"):
        with pytest.raises(UsageError, match="prefix must be a text, got a list"):
            models[name].next_tokens(["the"])  # type: ignore[arg-type]


def test_a_number_of_samples_is_a_whole_number(models: dict[str, LanguageModel]) -> None:
    """A text of digits and a fraction are refused in words."""
    for wrong in ("3", 2.5, None):
        with pytest.raises(UsageError, match="n must be a whole number"):
            models["plain"].sample(wrong)  # type: ignore[arg-type]


def test_what_is_mixed_are_models(models: dict[str, LanguageModel]) -> None:
    """One model, names of models and nothing are refused."""
    for wrong in (models["plain"], "plain", ["plain", "other"], []):
        with pytest.raises(UsageError, match="mixture"):
            mix(wrong)  # type: ignore[arg-type]


def test_several_are_taken_as_they_come(models: dict[str, LanguageModel]) -> None:
    """Lists, tuples, generators and arrays of strings are texts; what they give is the same."""
    texts = TEXTS[:3]
    for lm in (models["plain"], models["tokens"], models["texts"]):
        expected = [score.total_log_prob for score in lm.score_all(texts)]
        for given in (tuple(texts), (text for text in texts), np.array(texts)):
            found = [score.total_log_prob for score in lm.score_all(given)]  # type: ignore[arg-type]
            assert found == pytest.approx(expected)
        total = lm.evaluate(text for text in texts).total_log_prob
        assert total == pytest.approx(sum(expected), abs=1e-3)
        assert lm.score_all([]) == []
    assert list(each_text(iter("ab"), "texts")) == ["a", "b"]
    assert several_texts({"x": 1}, "texts") == ["x"]
    assert one_text("", "text") == ""
    assert several_sentences([["a"], (), iter(["b", "c"])], "sentences") == [["a"], [], ["b", "c"]]
