"""Laws of comparing two models: the bits of evaluate, shared over units; an honest interval."""

import json
from pathlib import Path
from typing import Any

import pytest

from charlm.cli.output.reports.comparison import report
from charlm.errors import UsageError
from charlm.inference.compare import Comparison, Model, Unit, compare, units_of
from charlm.inference.score import TextScore, TokenScore
from charlm.metrics import NATS_PER_BIT
from charlm.models.language_model import LanguageModel
from charlm.models.load import load
from charlm.text import corpus
from tests.support.cli import bad, good
from tests.support.texts import TEXT
from tests.support.tiny import LEVELS, material_of, trained_run

HELD = "the cat sat\n\nthe ☃ ran to the mat\na dog\n\nto be or not to be\n"
LONG = "".join(f"the cat sat on mat number {n}\n" for n in range(120))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LanguageModel]:
    """A small model of each level, that of words with its speller."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "corpus.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for level in LEVELS:
            good("train", "corpus.txt", "--level", level, "--name", level, "--steps", "8")
        return {level: load(folder / "checkpoints" / level) for level in LEVELS}


def as_model(loaded: LanguageModel, split_on: str) -> Model:
    """A model that reads sequences of a kind."""
    return Model(lambda texts, tokens: loaded.score_all(texts, per_token=tokens), split_on)


def constant(bits: float, split_on: str = "line") -> Model:
    """A model that gives every character, and nothing else, so many bits."""

    def score(texts: Any, per_token: bool) -> list[TextScore]:
        nats = -bits * NATS_PER_BIT
        return [
            TextScore(
                text=text,
                total_log_prob=nats * len(text),
                num_tokens=len(text) + 1,
                num_oov=0,
                tokens=(
                    *(TokenScore(c, nats, 1, 0, i, i + 1, False) for i, c in enumerate(text)),
                    TokenScore("<EOS>", 0.0, 1, 0, len(text), len(text), False),
                )
                if per_token
                else None,
            )
            for text in texts
        ]

    return Model(score, split_on)


@pytest.mark.parametrize("split_on", ["line", "paragraph", "file"])
@pytest.mark.parametrize("text", [HELD, LONG, TEXT[:5000]], ids=["held", "long", "text"])
def test_units_are_the_text_in_order(split_on: str, text: str) -> None:
    """They are its sequences; of a long one, blocks of lines that are all of it."""
    ranges = list(units_of(text, split_on))
    assert ranges == sorted(ranges)
    found = [text[begin:end] for begin, end in ranges]
    sequences = corpus.split_sequences(text, split_on)
    if max(map(len, sequences)) <= 2000:
        assert found == sequences
    else:
        assert "".join(found) == "".join(sequences)
        assert all(unit.endswith("\n") for unit in found[:-1])
        assert all(1000 <= len(unit) <= 2000 for unit in found[:-1])


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("split_on", ["line", "paragraph", "file"])
def test_bits_are_those_of_evaluate(
    models: dict[str, LanguageModel], level: str, split_on: str
) -> None:
    """All of a model's nats are in the units."""
    loaded = models[level]
    for text in (HELD, LONG):
        sequences = corpus.split_sequences(text, split_on)
        expected = -loaded.evaluate(sequences).total_log_prob
        found = compare((as_model(loaded, split_on), constant(1.0, split_on)), [text], resamples=9)
        assert sum(unit.nats[0] for unit in found.units) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("split_on", ["line", "paragraph", "file"])
def test_a_sequence_without_an_end_is_cut_too(
    models: dict[str, LanguageModel], level: str, split_on: str
) -> None:
    """A line of 9,000 characters is units between words, or anywhere, with all of its nats, each
    token's where it stands: so models of lines and of files can be set side by side on it.
    """
    for text, ends in (("the big bear " * 700, " "), ("大熊" * 4500, "")):
        ranges = list(units_of(text, split_on))
        assert "".join(text[begin:end] for begin, end in ranges) == text
        assert all(text[begin:end].endswith(ends) for begin, end in ranges[:-1])
        assert all(end - begin <= 2000 for begin, end in ranges)
        assert len(ranges) >= 4
        whole = models[level].score(text, per_token=True)
        pair = (as_model(models[level], split_on), constant(1.0, split_on))
        found = compare(pair, [text], resamples=9)
        assert sum(unit.nats[0] for unit in found.units) == pytest.approx(-whole.total_log_prob)
        first = [token.log_prob for token in whole.tokens or () if token.end <= ranges[0][1]]
        assert found.units[0].nats[0] == pytest.approx(-sum(first))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("last", ["", "\n", "\n\n\n"])
def test_a_file_ends_as_its_last_line_does(
    models: dict[str, LanguageModel], level: str, last: str
) -> None:
    """Beside a model of lines, or of paragraphs, one of files pays for the end of each, not for
    that of the file, of which the other says nothing.
    """
    loaded = models[level]
    for split_on, text, end in (("line", LONG, "\n"), ("paragraph", "a cat\n\na dog\n\n", "\n\n")):
        given = text.rstrip("\n") + last
        whole = loaded.score(text.rstrip("\n") + end, per_token=True)
        expected = sum(token.log_prob for token in (whole.tokens or ())[:-1])
        found = compare((constant(1.0, split_on), as_model(loaded, "file")), [given], resamples=9)
        assert sum(unit.nats[1] for unit in found.units) == pytest.approx(-expected, rel=1e-5)
        assert found.characters == len(text.rstrip("\n") + end)


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        (("line", "paragraph"), LONG),
        (("line", "file"), HELD),
        (("file", "line"), "\na\nb\n"),
        (("file", "line"), "a\n  \nb\n"),
        (("paragraph", "file"), "a\n\n\nb\n"),
        (("paragraph", "file"), "a\n \nb\n"),
    ],
)
def test_where_one_model_pays_for_what_the_other_is_told_they_are_refused(
    kinds: tuple[str, str], text: str
) -> None:
    """Blank lines separate sequences and are free, but for a model of files; where a paragraph
    ends no model of lines says.
    """
    with pytest.raises(UsageError, match="`split_on`"):
        compare((constant(1.0, kinds[0]), constant(1.0, kinds[1])), [text])


def test_a_model_is_as_good_as_itself(models: dict[str, LanguageModel]) -> None:
    """The difference is 0 and so is the interval."""
    model = as_model(models["char"], "line")
    found = compare((model, model), [LONG])
    assert (found.difference, found.low, found.high, found.is_real) == (0, 0, 0, False)
    assert found.is_none


def test_turned_round_the_difference_changes_its_sign(
    models: dict[str, LanguageModel],
) -> None:
    """And the interval with it."""
    one, other = as_model(models["char"], "line"), as_model(models["word"], "line")
    there, back = compare((one, other), [TEXT[:3000]]), compare((other, one), [TEXT[:3000]])
    assert there.difference == pytest.approx(-back.difference)
    assert there.low == pytest.approx(-(back.high or 0))
    assert there.low is not None
    assert there.high is not None
    assert there.low < there.difference < there.high
    assert there == compare((one, other), [TEXT[:3000]])  # drawn by seed
    assert there.low != compare((one, other), [TEXT[:3000]], seed=1).low


def test_a_difference_in_every_unit_is_real() -> None:
    """Half a bit a character more everywhere: that is the difference, without any doubt."""
    found = compare((constant(2.0), constant(2.5)), [TEXT[:3000]])
    assert found.difference == pytest.approx(0.5)
    assert (found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert found.is_real
    assert found.share == 0
    assert found.bits_per_character == (pytest.approx(2.0), pytest.approx(2.5))


def test_what_differs_most_comes_first() -> None:
    """By how many bits, whichever model is the better one there."""
    units = tuple(Unit(str(i), (float(i), i + more)) for i, more in enumerate((1.0, -5.0, 2.0)))
    found = Comparison(units=units, oov_rates=(0, 0), low=None, high=None, share=None)
    assert [unit.text for unit in found.most_different(2)] == ["1", "2"]


def test_nothing_cannot_be_compared(models: dict[str, LanguageModel]) -> None:
    """No text, no comparison; fewer than five units, no interval and no verdict."""
    model = as_model(models["char"], "line")
    with pytest.raises(UsageError, match="no text"):
        compare((model, model), ["\n\n"])
    for number in range(1, 5):
        found = compare((constant(2.0), constant(2.5)), ["the cat\n" * number])
        assert (found.low, found.high, found.share, found.is_real) == (None, None, None, False)
        assert "too little to tell" in "".join(report(found, ("a", "b"), 3))


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of 80 columns, JSON that says the same, and an exit code for scripts."""
    monkeypatch.chdir(tmp_path)
    Path("held.txt").write_text(HELD)
    for name, steps in (("a", 2), ("b", 30)):
        trained_run(tmp_path / "checkpoints" / name, material=material_of(), num_steps=steps)
    shown = good("compare", "a", "b", "held.txt").out
    assert max(map(len, shown.splitlines())) <= 80
    (line,) = good("compare", "a", "b", "held.txt", "--json", "--show", "1").out.splitlines()
    found = json.loads(line)
    assert f"{found['difference_bits_per_character']:+.4f} bits/char" in shown
    assert found["difference_bits_per_character"] == pytest.approx(
        found["bits_per_character_b"] - found["bits_per_character_a"]
    )
    assert len(found["most_different"]) == 1
    assert found["difference_bits_per_character"] < 0  # it has learned for longer
    good("compare", "a", "b", "held.txt", "--fail-above", "0")
    said = bad(1, "compare", "b", "a", "held.txt", "--fail-above", "0.0001")
    assert "were allowed. That may be chance." in said  # of four lines nobody can tell
    Path("long.txt").write_text(LONG)
    said = bad(1, "compare", "b", "a", "long.txt", "--fail-above", "0.0001")
    assert said.rstrip().endswith("were allowed.")
    bad(3, "compare", "a", "b", "nowhere.txt")
    bad(4, "compare", "a", "c", "held.txt")
    bad(2, "compare", "a", "b", "held.txt", "--seed", "-1")
