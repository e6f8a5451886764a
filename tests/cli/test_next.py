"""charlm next: tables for people and figures for programs."""

import re
import unicodedata
from pathlib import Path

import pytest

import charlm as package
from charlm.cli.output.candidates import percent
from charlm.config import LEVELS
from tests.support.cli import TINY, bad, good, lines_of_json
from tests.support.texts import AWKWARD_TEXT

SUMMARY = re.compile(r"entropy (\d+\.\d{3}) bits, perplexity ([\d,.]+), ([\d,]+) types\n\Z")
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.fixture(scope="module")
def awkward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokens are controls, white space, wide, long or combining."""
    folder = tmp_path_factory.mktemp("awkward")
    words = [AWKWARD_TEXT, "a" * 90, "漢字" * 30, "😀" * 40, "☃\ufe0f", "\u0301", "\u3000", "\\"]
    (folder / "corpus").write_text("\n".join(f"{word} {word}" for word in words), newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ("--split-on", "file", "--level", "word", "--pretokenized")
        good("train", "corpus", *options, "--valid", "corpus", *TINY)
        good("train", "corpus", "--split-on", "file", "--valid", "corpus", "--name", "char", *TINY)
    return folder / "checkpoints"


def test_next_is_a_table_that_ends_with_the_entropy(here: Path) -> None:
    """Columns align, the unit stands in the header; the figures are those of the library."""
    result = good("next", "the b", "--unit", "bits", "--model", "trained")
    found = package.load("trained").next_tokens("the b")
    header, *rows = result.out.splitlines()
    assert header == "  rank    P (%)  log P (bits)  token"
    assert [row[header.index("token") :] for row in rows] == [
        "␣" if entry.piece == " " else entry.piece for entry in found.entries
    ]
    for row, entry in zip(rows, found.entries, strict=True):
        rank, percent, bits, *_ = row.split()
        assert int(rank) == entry.rank
        assert float(percent) == pytest.approx(100 * entry.probability, abs=6e-4, rel=0.06)
        assert float(bits) == pytest.approx(entry.log_prob / 0.6931471805599453, abs=1e-4)
    summary = SUMMARY.search(result.both)
    assert summary
    assert float(summary[1]) == pytest.approx(found.entropy, abs=1e-3)
    assert float(summary[2]) == pytest.approx(found.perplexity, abs=1e-2)
    assert int(summary[3]) == found.num_types


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("prefix", ["", "the", "the ", "Ünseen ☃ 😀", "a\tb\n\nc"])
def test_what_comes_next_in_each_form(here: Path, level: str, prefix: str) -> None:
    """JSON and TSV hold the same numbers, all their digits and all types."""
    options = ("next", "--all", "--model", level, "--unit", "bits", "--", prefix)
    entries = lines_of_json(good(*options[:-2], "--json", *options[-2:]).out)
    keys = ["rank", "id", "token", "text", "log_prob_bits", "probability"]
    assert all(list(entry) == keys for entry in entries)
    assert sum(entry["probability"] for entry in entries) == pytest.approx(1, abs=1e-9)
    assert all(
        entry["probability"] == pytest.approx(2 ** entry["log_prob_bits"]) for entry in entries
    )
    head, *rows = good(*options[:-2], "--tsv", *options[-2:]).out.removesuffix("\n").split("\n")
    assert head.split("\t") == keys
    for row, entry in zip(rows, entries, strict=True):
        rank, token_id, _, _, log_prob, probability = row.split("\t")
        assert (int(rank), int(token_id)) == (entry["rank"], entry["id"])
        assert (float(log_prob), float(probability)) == (
            entry["log_prob_bits"],
            entry["probability"],
        )
    unknown = package.load(level).next_tokens(prefix).num_oov
    said = f"not in the vocabulary, read as <UNK>: {unknown}\n"
    assert (said in good(*options).err) == (unknown > 0)


@pytest.mark.parametrize("form", [[], ["--json"], ["--tsv"]])
def test_the_likeliest_are_the_first_of_all(here: Path, form: list[str]) -> None:
    """--top k writes the first k lines of --all, which --top 0 is too; 20 is what you get."""
    options = ("next", "the ", "--model", "subword", *form)
    every = good(*options, "--all")
    assert good(*options, "--top", "0") == every
    lines = every.out.splitlines(True)
    head = 0 if form == ["--json"] else 1
    assert len(lines) > 100
    for top in ("1", "7", "20", "10000"):
        assert good(*options, "--top", top).out == "".join(lines[: int(top) + head])
    assert good(*options).out == "".join(lines[: 20 + head])


def test_a_prefix_comes_from_four_places(here: Path, tmp_path: Path) -> None:
    """An argument, stdin or a file, whose last newline is left out; without any a text begins."""
    (tmp_path / "prefix").write_text("the\nbear\n")
    options = ("next", "--json", "--model", "char")
    expected = good(*options, "the\nbear")
    assert good(*options, "--file", str(tmp_path / "prefix")) == expected
    for stdin in (["-"], ["--file", "-"], ["-f", "-"]):
        assert good(*options, *stdin, stdin=b"the\nbear\n") == expected
        marked = good(*options, *stdin, stdin=b"\xef\xbb\xbfthe\nbear\n")
        assert marked.out == expected.out
        assert marked.err.startswith("standard input: dropped the byte order mark at its start\n")
        assert good(*options, *stdin, stdin=b"the\nbear\n\n") != expected
    assert good(*options, stdin=b"the").out == good(*options, "").out != expected.out


def test_next_refuses_what_contradicts_itself(here: Path) -> None:
    """2 for options that make no sense, 3 for what is no text, 4 for what is no model."""
    assert "not both" in bad(2, "next", "x", "--json", "--tsv")
    assert "prefix or --file, not both" in bad(2, "next", "x", "--file", "y")
    assert "--top or --all" in bad(2, "next", "x", "--top", "3", "--all")
    assert "dB" in bad(2, "next", "x", "--unit", "dB")
    assert "cannot read nowhere" in bad(3, "next", "--file", "nowhere")
    assert "not UTF-8" in bad(3, "next", "-", stdin=b"a\xff")
    assert "the prefix is not UTF-8" in bad(3, "next", "a\udcff")
    assert "nobody" in bad(4, "next", "x", "--model", "nobody")


def columns_of(line: str) -> int:
    """The columns of a line where no mark combines and emoji are as wide as they get."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("plain", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, None])
@pytest.mark.parametrize("name", ["corpus", "char"])
def test_no_terminal_is_overrun_or_driven(
    awkward_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    plain: dict[str, str] | None,
    name: str,
) -> None:
    """Within its columns, bars where they are wanted, white space by name, controls written out."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for variable, value in (plain or {}).items():
        monkeypatch.setenv(variable, value)
    options = ("next", "--all", "--model", str(awkward_model / name))
    result = good(*options, terminal=True)
    assert not CONTROLS.search(result.both)
    lines = result.out.splitlines()
    assert max(map(columns_of, lines)) <= columns
    assert ("█" in result.out) == ("TERM" not in (plain or {}) and columns > 40)
    assert any("\\n" in line for line in lines)
    for form in ("--tsv", "--json"):
        shown = good(*options, form, terminal=True).both
        assert not CONTROLS.search(shown)
        assert "█" not in shown
    assert "█" not in good(*options).out


def test_awkward_tokens_come_back_whole(awkward_model: Path) -> None:
    """Nothing is cut or lost in a pipe: long tokens in the table, every character in JSON."""
    options = ("next", "--all", "--model")
    assert "a" * 90 in good(*options, str(awkward_model / "corpus")).out
    characters = lines_of_json(good(*options, str(awkward_model / "char"), "--json").out)
    assert {entry["token"] for entry in characters} >= {*AWKWARD_TEXT, "\u3000", "😀", "\n"} - {
        "\r"
    }
    for entry in characters[2:]:
        assert entry["text"] == {"<EOS>": "", "<UNK>": "\ufffd"}.get(entry["token"], entry["token"])
    shown = good(*options, str(awkward_model / "char")).out
    assert all(f"  {name}\n" in shown for name in ("␣", "\\n", "\\t", "\\u3000", "\\x1b"))


def test_bars_are_as_long_as_they_are_likely(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The likeliest fills its column, the others their share of it, none is out of line."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    header, *rows = good("next", "the ", "--model", "trained", terminal=True).out.splitlines()
    column = header.index("token")
    bars = [re.sub(r"[^▏▎▍▌▋▊▉█]", "", row) for row in rows]
    assert len(bars[0]) == 30
    assert all(row[column - 1] == " " != row[column] for row in rows)
    best = package.load("trained").next_tokens("the ").entries
    for drawn, entry in zip(bars, best, strict=True):
        length = 30 * entry.probability / best[0].probability
        assert drawn.count("█") <= length + 1 / 16
        assert len(drawn) >= length - 1 / 16


def test_percentages_are_readable_however_small() -> None:
    """Three decimals while they say something, then a power of ten that cannot underflow."""
    for log_prob, text in (
        (0.0, "100.000"),
        (-0.1, "90.484"),
        (-9.0, "0.012"),
        (-9.3, "9.1e-03"),
        (-1179.6, "5.1e-511"),
    ):
        assert percent(log_prob) == text
