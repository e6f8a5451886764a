"""charlm inspect and charlm curves: what is shown and what is data is what the library computes."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import charlm as package
from charlm.display.safe_text import visible
from charlm.inspection.context import context_use
from charlm.inspection.curves import curves
from charlm.inspection.embedding import nearest
from charlm.inspection.gates import gates
from charlm.inspection.gradient import gradient
from charlm.inspection.pairs import judge, parse
from charlm.inspection.units import following
from charlm.inspection.units import read as activations_of
from charlm.models.language_model import LanguageModel
from tests.support.cli import TINY, bad, good, lines_of_json
from tests.support.markup import read, read_svg
from tests.support.texts import TEXT

MODEL = ("--model", "trained")
TEXTS = ["the bear eats", "a jay, a plum"]
PAIRS = "the bear eats\tthe bear eat\tverb\nthe jay sees\tthe jay see\tverb\nold\tdol\n"
VIEWS = {
    "gates": ("gates", *MODEL, *TEXTS),
    "gradient": ("gradient", "trained", "--distances", "20", "--file", "corpus.txt"),
    "context": ("context", *MODEL, "--positions", "20", "--file", "corpus.txt"),
    "units": ("units", *MODEL, "--file", "corpus.txt"),
    "unit": ("units", *MODEL, "--unit", "h1.3", *TEXTS),
    "span": ("units", *MODEL, "--span", "the", "--file", "corpus.txt"),
    "pairs": ("pairs", *MODEL, "-"),
    "embedding": ("embedding", *MODEL, "e"),
}


def shown(view: str, *more: str, **options: object) -> str:
    """What a view writes."""
    return good("inspect", *VIEWS[view], *more, stdin=PAIRS.encode(), **options).out


def lm() -> LanguageModel:
    """The model of these tests."""
    return package.load("trained", task="language-model")


def table(text: str) -> list[dict[str, str]]:
    """The rows of a table by the names of its header."""
    head, *rows = (line.split("\t") for line in text.splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "linux"}])
def test_a_view_fits_80_columns_without_colour(
    here: Path, view: str, plain: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal and in a pipe: the same lines, none too long, no code to drive a terminal."""
    for name, value in plain.items():
        monkeypatch.setenv(name, value)
    text = shown(view)
    assert text
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    if view != "pairs":  # a pipe, which the test gives in its place
        assert shown(view, terminal=True) == text
    assert shown(view) == text  # a second time, too


@pytest.mark.parametrize("colour", ["", "truecolor"])
@pytest.mark.parametrize("view", sorted({*VIEWS} - {"pairs"}))  # which the test would pipe in
def test_colours_are_all_that_a_terminal_adds(
    here: Path, view: str, colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are colours, plots, gates and units have some; without their codes all is as in
    a pipe.
    """
    for name, value in {"TERM": "xterm-256color", "COLORTERM": colour}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain, coloured = shown(view), shown(view, terminal=True)
    codes = re.findall(r"\x1b\[([0-9;]*)m", coloured)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert bool(codes) == (view not in ("span", "embedding"))
    assert all(code.startswith("38;2;" if colour else "38;5;") for code in codes[::2])
    assert set(codes[1::2]) <= {"0"}
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(view, terminal=True) == plain


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_a_page_and_a_picture(here: Path, tmp_path: Path, view: str) -> None:
    """Beside the lines for a person; it names the model. Data go alone; so does what cannot be."""
    page, picture = tmp_path / "page.html", tmp_path / "picture.svg"
    drawn = () if view in ("units", "unit", "span") else ("--svg", str(picture))
    assert shown(view, "--html", str(page), *drawn) == shown(view)
    found = read(page.read_text(encoding="utf-8"))
    assert "trained" in found.text
    assert ("svg" in found.tags) == bool(drawn)
    assert not drawn or read_svg(picture.read_text(encoding="utf-8"))
    arguments = ("inspect", *VIEWS[view])
    assert "for people" in bad(2, *arguments, "--html", str(page), "--json", stdin=PAIRS.encode())
    nowhere = str(tmp_path / "no" / "page.html")
    assert "No such file" in bad(1, *arguments, "--html", nowhere, stdin=PAIRS.encode())


def test_pages_hold_the_figures(here: Path, tmp_path: Path) -> None:
    """Tables of pages have the numbers that the data have."""
    page = str(tmp_path / "page.html")

    def rows(view: str) -> list[list[str]]:
        shown(view, "--html", page)
        return read(Path(page).read_text(encoding="utf-8")).rows

    wanted = [
        [row["category"], row["model"], row["pairs"], f"{float(row['accuracy']):.1%}"]
        for row in table(shown("pairs", "--tsv"))
    ]
    assert [row[:4] for row in rows("pairs")[1 : 1 + len(wanted)]] == wanted
    near = [[r["token"], f"{float(r['cosine']):.4f}"] for r in table(shown("embedding", "--tsv"))]
    assert [row[:2] for row in rows("embedding")[1:]] == [[visible(a), b] for a, b in near]
    (one,) = lines_of_json(shown("context", "--json"))
    found = [row[1].partition(" ")[0] for row in rows("context")[1:-1]]
    assert found == [f"{rise:+.3f}" for rise in one["models"][0]["rise_nats"]]
    (one,) = lines_of_json(shown("gradient", "--json"))
    assert rows("gradient")[1][1] == f"{one['inputs']['half_life']:,.1f}"
    assert [row[1] for row in rows("gradient")[3:]] == [
        f"{mean:.3e}" for mean in one["inputs"]["mean"]
    ]
    ranked = table(shown("units", "--tsv"))
    assert rows("units")[1][1] == f"{ranked[0]['unit']} {float(ranked[0]['correlation']):+.3f}"
    one = lines_of_json(shown("gates", "--json"))[0]
    mean = sum(one["gates"][0]["mean"]) / len(one["tokens"])
    assert rows("gates")[1][:2] == [one["gates"][0]["gate"], f"{mean:.3f}"]


def test_gates_are_data(here: Path) -> None:
    """JSON has an object for each text, TSV a row for each token and gate: those of the library."""
    objects = lines_of_json(shown("gates", "--json"))
    rows = table(shown("gates", "--tsv"))
    assert [one["text"] for one in objects] == TEXTS
    at = 0
    for number, (text, one) in enumerate(zip(TEXTS, objects, strict=True), start=1):
        found = gates(lm(), text)
        assert one["tokens"] == list(found.activations.pieces)
        for gate, told in zip(found.gates, one["gates"], strict=True):
            assert (told["gate"], told["layer"]) == (gate.name, 1)
            assert told["mean"] == gate.mean[:, 0].tolist()
            assert told["share_below_0.1"] == gate.left[:, 0].tolist()
            assert told["share_above_0.9"] == gate.right[:, 0].tolist()
        for token in range(len(found.activations.pieces)):
            for gate in found.gates:
                row = rows[at]
                assert (row["text_number"], row["token_number"]) == (str(number), str(token))
                assert (row["gate"], float(row["mean"])) == (gate.name, gate.mean[token, 0])
                at += 1
    assert at == len(rows)
    assert "<1>" in shown("gates")
    assert "has 1 layers, got --layer 2" in bad(2, "inspect", "gates", "x", *MODEL, "--layer", "2")


def test_gradients_are_data(here: Path) -> None:
    """Several models, in order; each row is what the library says."""
    options = ("--distances", "15", "--positions", "9", "--file", "corpus.txt")
    texts = TEXT.splitlines()
    result = good("inspect", "gradient", "trained", "char", *options, "--json")
    objects = lines_of_json(result.out)
    assert [one["model"] for one in objects] == ["trained", "char"]
    for one in objects:
        found = gradient(
            package.load(one["model"], task="language-model"), texts, distances=15, positions=9
        )
        assert one["inputs"]["mean"] == pytest.approx(found.inputs.mean.tolist(), rel=1e-9)
        assert one["states"]["half_life"] == pytest.approx(found.states.half_life)
        assert one["clipping"]["limit"] == 1
    rows = table(good("inspect", "gradient", "trained", *options, "--tsv").out)
    told = [float(row["mean"]) for row in rows if row["of"] == "state"]
    assert told == pytest.approx(objects[0]["states"]["mean"], rel=1e-9)
    text = shown("gradient")
    assert "half-life" in text
    assert "its far terms do" in re.sub(r"\s+", " ", text)
    assert "were clipped to 1" in re.sub(r"\s+", " ", text)


def test_context_is_data(here: Path) -> None:
    """The losses of the library, for each number of tokens."""
    options = ("--lengths", "1,5,2", "--positions", "30", "--beyond", "shuffle")
    arguments = ("inspect", "context", *MODEL, *options, *TEXTS)
    (one,) = lines_of_json(good(*arguments, "--json").out)
    found = context_use(lm(), TEXTS, beyond="shuffle", lengths=(1, 2, 5), positions=30)
    assert one["tokens_left"] == [1, 2, 5]
    assert one["models"][0]["loss_nats"] == found.models[0].loss.tolist()
    rows = table(good(*arguments, "--tsv").out)
    assert [float(row["rise_nats"]) for row in rows] == found.models[0].rise.tolist()
    assert "--lengths is numbers" in bad(2, "inspect", "context", *MODEL, "--lengths", "0", "x")


def test_units_are_data(here: Path) -> None:
    """Correlations, values along a text, spans."""
    found = activations_of(lm(), TEXT.splitlines())
    ranked = following(found).ranked
    rows = table(shown("units", "--tsv"))
    assert [(row["feature"], row["unit"]) for row in rows] == [
        (one.feature, str(one.unit)) for one in ranked
    ]
    assert [float(row["correlation"]) for row in rows] == [one.correlation for one in ranked]
    assert lines_of_json(shown("units", "--json"))[0]["number"] == ranked[0].unit.number
    options = ("--feature", "[ae]", "--top", "1", "--state", "h", "--layer", "1")
    (one,) = lines_of_json(shown("units", *options, "--json"))
    assert (one["feature"], one["state"]) == ("[ae]", "h")
    values = [one["value"] for one in lines_of_json(shown("unit", "--json"))]
    expected = np.concatenate([lm().activations(text).states["h"][:, 0, 3] for text in TEXTS])
    assert values == expected.tolist()
    (span,) = lines_of_json(shown("span", "--json"))
    assert span["span"]["text"] == "the"
    for said, arguments in (
        ("there is no unit h1.99", ("--unit", "h1.99")),
        ("such as h1.37", ("--unit", "37")),
        ("no regular expression", ("--feature", "(")),
        ("does not stand", ("--span", "zzz")),
        ("layers are 1 to 1, got 2", ("--layer", "2")),
    ):
        assert said in bad(2, "inspect", "units", *MODEL, *arguments, "--", "the bear")


def test_pairs_are_data(here: Path) -> None:
    """A row for each category and model; the unigrams are those of the run's index."""
    found = judge(lm(), parse(PAIRS.splitlines()))
    rows = table(shown("pairs", "--tsv"))
    assert [(row["category"], row["model"]) for row in rows] == [
        ("all", "model"),
        ("all", "unigrams"),
        ("verb", "model"),
        ("verb", "unigrams"),
    ]
    for row, one in zip(rows, found.accuracies, strict=True):
        assert int(row["pairs"]) == one.pairs
        assert float(row["accuracy"]) == one.accuracy
        assert (float(row["interval_low"]), float(row["interval_high"])) == one.interval
    assert lines_of_json(shown("pairs", "--json"))[0]["pairs"] == 3
    groups = b"1\tthe bear eats\n1\tthe bear eat\n2\tthe jay\n2\tthe jya\n2\tjay the\n"
    (one, _) = lines_of_json(
        good("inspect", "pairs", *MODEL, "--nbest", "-", "--json", stdin=groups).out
    )
    assert (one["category"], one["pairs"]) == ("all", 2)
    assert "line 1: a pair is" in bad(3, "inspect", "pairs", *MODEL, "-", stdin=b"alone\n")


def test_an_embedding_is_data(here: Path) -> None:
    """The type itself, then its neighbours; what is no type is refused."""
    rows = table(shown("embedding", "--tsv", "--top", "4"))
    found = nearest(lm(), "e", top=4)
    assert [row["token"] for row in rows] == ["e", *(one.piece for one in found)]
    assert [float(row["cosine"]) for row in rows] == [1.0, *(one.cosine for one in found)]
    assert "is 2 tokens" in bad(2, "inspect", "embedding", *MODEL, "ea")


def test_texts_come_from_three_places(here: Path, tmp_path: Path) -> None:
    """Arguments, a file, a pipe: the same; of a long text only the beginning is looked at."""
    (tmp_path / "texts").write_text("the bear\nthe jay\n")
    for view in ("gates", "units"):
        options = ("inspect", view, *MODEL, "--json")
        expected = good(*options, "the bear", "the jay")
        assert good(*options, "--file", str(tmp_path / "texts")) == expected
        assert good(*options, "-", stdin=b"the bear\nthe jay\n") == expected
        assert good(*options, stdin=b"the bear\nthe jay\n") == expected
    whole = good(*options, "--file", str(tmp_path / "texts"), "--split-on", "file").out
    assert whole != expected.out
    long = good("inspect", "gates", *MODEL, "--tsv", stdin=b"the bear\n" * 1000)
    assert long.err == "the first 2,000 tokens are looked at\n"
    assert "text to look at" in bad(2, "inspect", "gates", *MODEL, terminal=True)
    assert "no text" in bad(3, "inspect", "context", *MODEL, stdin=b"\n")


def test_other_kinds_of_models_are_refused(empty: Path) -> None:
    """What reads both sides, and one of labels without one, is refused in a sentence."""
    good("train", "corpus.txt", "--name", "both", "--bidirectional", *TINY)
    assert "reads both sides" in bad(2, "inspect", "gates", "the", "--model", "both")
    for label in ("north", "south"):
        (empty / f"{label}.txt").write_text(TEXT)
    good("train", "north.txt", "south.txt", "--label-from", "file", "--name", "labelled", *TINY)
    for view in ("gates", "context", "units"):
        options = ("inspect", view, "--model", "labelled", "the bear")
        assert "choose one" in bad(2, *options)
        assert good(*options, "--label", "north").out != good(*options, "--label", "south").out


def test_curves_are_data(here: Path, tmp_path: Path) -> None:
    """All that was noted, of several runs; the newest where none is named."""
    found = curves(Path("checkpoints/trained"))
    rows = table(good("curves", "trained", "char", "--tsv").out)
    assert [row["run"] for row in rows].count("trained") == len(found.step)
    for row, loss, step in zip(rows, found.validation_loss, found.step, strict=False):
        assert (int(row["step"]), float(row["validation_loss"])) == (step, loss)
    (one,) = lines_of_json(good("curves", "trained", "--json").out)
    assert one["learning_rate"] == found.learning_rate.tolist()
    for what in ("loss", "learning-rate", "gradient-norm"):
        for against in ("steps", "seconds", "tokens"):
            text = good("curves", "trained", "char", "--what", what, "--against", against).out
            assert max(map(len, text.splitlines())) <= 80
            assert "trained" in text
            assert against in text
    page, picture = tmp_path / "page.html", tmp_path / "picture.svg"
    good("curves", "trained", "char", "--html", str(page), "--svg", str(picture))
    whole = read(page.read_text(encoding="utf-8"))
    assert [row[0] for row in whole.rows] == ["run", "trained", "char"]
    assert whole.tags.count("svg") == 3
    for title in ("loss (nats per token)", "learning rate", "gradient norm", "trained", "char"):
        assert title in read_svg(picture.read_text(encoding="utf-8"))
    shutil.copytree("checkpoints/trained", tmp_path / "copy")
    assert good("curves", "--runs", str(tmp_path)).err == "run: copy\n"
    assert "no model 'nobody'" in bad(4, "curves", "nobody")
