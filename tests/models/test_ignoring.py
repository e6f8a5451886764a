"""Laws of what a model does not tell apart: it is said, and never set beside one that does."""

import json
import unicodedata
from pathlib import Path

import pytest

import charlm
from charlm.errors import UsageError
from charlm.inference.compare import compare, model_of
from charlm.models.language_model import LanguageModel
from charlm.models.mixtures import mix
from tests.support.cli import bad, good

MIXED = "".join(f"The {a} and the {b} sat on the Café mat .\n" for a in "ABCDE" for b in "FGHIJ")
LOWER = MIXED.lower()
SPACED = MIXED.replace(" ", "  ")
CUT_UP = MIXED.replace("mat", "<unk>")
DECOMPOSED = unicodedata.normalize("NFD", LOWER)
ALL = {
    "plain": (MIXED, "--level", "word"),
    "lower": (MIXED, "--level", "word", "--lowercase"),
    "lowered": (LOWER, "--level", "word"),
    "cut": (CUT_UP, "--level", "word", "--pretokenized"),
    "cut_again": (CUT_UP, "--level", "word", "--pretokenized", "--hidden", "16"),
    "cut_small": (CUT_UP, "--level", "word", "--pretokenized", "--vocab-size", "8"),
    "letters": (LOWER, "--level", "char"),
    "nfc": (LOWER, "--level", "char", "--normalize", "NFC"),
    "nfd": (LOWER, "--level", "char", "--normalize", "NFD"),
    "files": (LOWER, "--level", "char", "--split-on", "file"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a model of each kind, trained for a moment, and the texts."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for name, (text, *options) in ALL.items():
            Path("text.txt").write_text(text)
            good("train", "text.txt", "--name", name, "--steps", "3", *options)
        for name in ("MIXED", "LOWER", "SPACED", "CUT_UP", "DECOMPOSED"):
            Path(f"{name}.txt").write_text(globals()[name])
    return home


def load(home: Path, name: str) -> LanguageModel:
    """A model of that home."""
    return charlm.load(home / "checkpoints" / name)


@pytest.fixture(autouse=True)
def there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it happens in that directory."""
    monkeypatch.chdir(home)


def test_what_is_ignored_is_what_costs_nothing(home: Path) -> None:
    """Texts that differ in it alone have one probability, and others have not."""
    pairs = {
        "lower": ("case", "The Cat sat", "the cAT sat"),
        "cut": ("spacing", "The  A and ", "The A and"),
        "nfc": ("canonical forms", "café", "cafe\u0301"),
    }
    for name, (what, one, other) in pairs.items():
        lm, plain = load(home, name), load(home, "plain")
        assert lm.tokenizer.ignores == (what,)
        assert lm.score(one).total_log_prob == lm.score(other).total_log_prob
        assert plain.score(one).total_log_prob != plain.score(other).total_log_prob
    assert load(home, "plain").tokenizer.ignores == load(home, "letters").tokenizer.ignores == ()


@pytest.mark.parametrize(
    ("one", "other", "text", "what"),
    [
        ("lower", "plain", "MIXED", "lower case"),
        ("plain", "lower", "MIXED", "lower case"),
        ("letters", "lower", "MIXED", "lower case"),
        ("cut", "plain", "SPACED", "single spaces"),
        ("plain", "cut", "CUT_UP", "without <unk>"),
        ("lower", "cut", "MIXED", "lower case and with single spaces"),
        ("letters", "nfc", "DECOMPOSED", "normal form"),
        ("nfd", "letters", "LOWER", "normal form"),
        ("cut", "cut_small", "CUT_UP", "vocabular"),
        ("letters", "files", "DECOMPOSED", ""),
    ],
)
def test_where_one_ignores_more_the_text_has_to_be_written_so(
    one: str, other: str, text: str, what: str
) -> None:
    """Else it is refused in a sentence or two that say what to change; so written, it is not."""
    if what:
        said = bad(2, "compare", one, other, f"{text}.txt")
        assert what in said
        assert said.count(". ") <= 2
    written = unicodedata.normalize("NFD" if "nfd" in (one, other) else "NFC", LOWER)
    Path("written.txt").write_text(written)
    found = json.loads(good("compare", one, other, "written.txt", "--json").out)
    assert found["characters"] in (len(written), len(written.replace("\n", "")))


def test_twins_are_as_good_as_each_other(home: Path) -> None:
    """A model with --lowercase, and one of lower-cased text: no difference, on such a text."""
    found = json.loads(good("compare", "lower", "lowered", "LOWER.txt", "--json").out)
    assert found["difference_bits_per_character"] == 0
    assert (found["ignores_a"], found["ignores_b"]) == (["case"], [])
    shown = good("compare", "lower", "lowered", "LOWER.txt")
    assert "no difference" in shown.out
    assert "lower is told that the text does not vary in case" in shown.err
    # NFC and NFD are two spellings of one class, so such models may differ in that.
    pair = [model_of(load(home, name), name) for name in ("nfc", "nfd")]
    assert compare((pair[0], pair[1]), [DECOMPOSED]).characters == len(DECOMPOSED.replace("\n", ""))


def test_both_may_ignore_the_same(home: Path) -> None:
    """Then any text will do, and it is said what the figures are of."""
    shown = good("compare", "cut", "cut_again", "SPACED.txt")
    assert "differ in spacing alone" in shown.err
    for text in (CUT_UP, MIXED):
        pair = [model_of(load(home, name), name) for name in ("cut", "cut_again")]
        assert compare((pair[0], pair[1]), [text]).characters


def test_closed_figures_are_compared_of_one_vocabulary() -> None:
    """--closed leaves spellings out; what two vocabularies leave out is not the same."""
    for text in ("MIXED", "CUT_UP"):
        plain, closed = (
            json.loads(good("compare", "cut", "cut_again", f"{text}.txt", "--json", *flags).out)
            for flags in ((), ("--closed",))
        )
        spelled = text == "MIXED"  # there "mat" is unknown, and not named
        for side in "ab":
            more = plain[f"bits_per_character_{side}"] - closed[f"bits_per_character_{side}"]
            assert more > 0.1 if spelled else more == pytest.approx(0, abs=1e-6)
    assert "one vocabulary" in bad(2, "compare", "cut", "cut_small", "CUT_UP.txt", "--closed")


@pytest.mark.parametrize("name", ["lower", "cut", "nfc"])
def test_figures_say_what_they_are_of(home: Path, name: str) -> None:
    """evaluate in its block and in JSON, score and --check on stderr, info in a row."""
    (what,) = load(home, name).tokenizer.ignores
    said = f"texts that differ in {what} alone have one probability"
    model = ("--model", name)
    shown = good("evaluate", "LOWER.txt", *model).out
    assert said in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    assert json.loads(good("evaluate", "LOWER.txt", *model, "--json").out)["ignores"] == [what]
    assert said in good("score", "a cat", *model).err
    assert said in good("evaluate", "--check", "LOWER.txt", *model).err
    checked = good("evaluate", "--check", "LOWER.txt", *model, "--json").out
    assert json.loads(checked)["ignores"] == [what]
    assert what in good("info", *model).out
    assert json.loads(good("info", *model, "--json").out)["ignores"] == [what]


def test_of_models_that_tell_all_apart_nothing_is_said() -> None:
    """No word on stdout or stderr, and an empty list in JSON."""
    for model in ("plain", "letters"):
        shown = good("evaluate", "LOWER.txt", "--model", model)
        assert "differ in" not in shown.out + shown.err
        assert "differ in" not in good("score", "a cat", "--model", model).err
        found = good("evaluate", "LOWER.txt", "--model", model, "--json").out
        assert json.loads(found)["ignores"] == []


def test_models_are_mixed_that_ignore_the_same(home: Path) -> None:
    """A sum of the probability of a text and of that of a class is none of either."""
    lms = {name: load(home, name) for name in ALL}
    for one, other in (("lower", "plain"), ("letters", "cut"), ("nfc", "letters")):
        with pytest.raises(UsageError, match="cannot be mixed"):
            mix([lms[one], lms[other]])
        pair = ("--model", one, "--model", other)
        assert "cannot be mixed" in bad(2, "score", "a cat", *pair)
    assert mix([lms["plain"], lms["letters"]]).score("a cat").total_log_prob < 0
    both = mix([lms["cut"], lms["cut_small"]])
    assert both.score("The A").total_log_prob < 0
    with pytest.raises(UsageError, match="other words"):
        both.score("The <unk>")
