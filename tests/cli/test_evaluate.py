"""charlm evaluate, run inside this process: figures, forms, files, refusals, the self-test."""

import bz2
import gzip
import json
import lzma
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from charlm.checkpoints import directory
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.step import save_step
from charlm.cli.output.meter import Meter
from charlm.cli.output.metrics_block import table
from charlm.config import LEVELS, SPLITS
from charlm.inference.evaluate import Summary
from charlm.models import selfcheck
from charlm.models.selfcheck import Check
from charlm.text import portions
from tests.support.cli import BEST, bad, good
from tests.support.texts import TEXT

TINY = ("--steps", "20", "--hidden", "16", "--embedding", "8")
HELD_OUT = "the old bear eats the plum\n\nthe xyzzy sees 你好 😀\n \nthe jay wants it\r\nthe end"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of each level, and what each said at the end of its training."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "corpus.txt").write_text(TEXT)
    (folder / "held.txt").write_text(HELD_OUT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for level in LEVELS:
            said = good(
                *("train", "corpus.txt", "--valid", "held.txt", "--level", level, *TINY),
                *("--name", level),
            )
            (folder / f"{level}.said").write_text(said.out)
            (folder / f"{level}.err").write_text(said.err)
    torch.set_num_threads(threads)
    return folder


def evaluated(*arguments: str, **options: Any) -> dict[str, Any]:
    """The one object of --json, strictly JSON."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    (line,) = good("evaluate", "--json", *arguments, **options).out.splitlines()
    found: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_the_validation_text_gives_the_loss_that_training_ended_with(
    here: Path, level: str
) -> None:
    """Nats per token and bits per character of the same thing: with everything spelled.

    Where something is unknown the line before it says what <UNK> costs as one symbol.
    """
    found = evaluated("held.txt", "--model", level)
    said = BEST.fullmatch((here / f"{level}.said").read_text())
    assert said
    assert f"{found['cross_entropy_nats_per_token']:.4f}" == said[1]
    assert f"{found['bits_per_character']:.4f}" == said[2]
    as_one = re.findall(
        r"^<UNK> as one symbol: (\S+) nats per token; spelled:$",
        (here / f"{level}.err").read_text(),
        re.MULTILINE,
    )
    closed = evaluated("held.txt", "--model", level, "--closed")
    nats = closed["cross_entropy_nats_per_token"]
    assert nats == found["cross_entropy_nats_per_token_closed_vocabulary"]
    assert as_one == ([f"{nats:.4f}"] if level != "subword" else [])
    assert (nats < found["cross_entropy_nats_per_token"]) == (level != "subword")
    assert closed["bits_per_character"] == found["bits_per_character_closed_vocabulary"]


@pytest.mark.parametrize("split_on", SPLITS)
def test_a_run_validated_on_any_split_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split_on: str
) -> None:
    """Sequences are what they were in training: lines, paragraphs, files."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text(TEXT)
    Path("held.txt").write_text("the bear\nsees\n\nthe old\njay\n")
    arguments = ("--valid", "held.txt", "--split-on", split_on, "--steps", "3", "--hidden", "8")
    said = BEST.fullmatch(good("train", "corpus.txt", *arguments).out)
    assert said
    found = evaluated("held.txt")
    assert found["split_on"] == split_on
    assert found["sequences"] == {"line": 4, "paragraph": 2, "file": 1}[split_on]
    assert f"{found['cross_entropy_nats_per_token']:.4f}" == said[1]
    assert evaluated("held.txt", "--split-on", "line")["sequences"] == 4


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("closed", [[], ["--closed"]])
def test_the_lines_of_kenlm_are_what_score_adds_up_to(
    here: Path, level: str, closed: list[str]
) -> None:
    """From `score --per-token`: with and without OOVs, the ends of sequences among the tokens."""
    form = ("--model", level, *closed)
    out = good("evaluate", "held.txt", "--format", "kenlm", *form).out
    names, values = zip(*(line.split("\t") for line in out.splitlines()), strict=True)
    assert names == (
        "Perplexity including OOVs:",
        "Perplexity excluding OOVs:",
        "OOVs:",
        "Tokens:",
    )
    lines = [line for line in HELD_OUT.replace("\r", "").split("\n") if line.strip()]
    scored = good("score", "--per-token", "--tsv", *form, "--", *lines).out.splitlines()
    header = scored[0].split("\t")
    rows = [dict(zip(header, line.split("\t"), strict=True)) for line in scored[1:]]
    log_probs = [float(row["log_prob_nats"]) for row in rows]
    known = [float(row["log_prob_nats"]) for row in rows if row["token"] != "<UNK>"]
    assert float(values[0]) == pytest.approx(math.exp(-math.fsum(log_probs) / len(rows)), rel=1e-6)
    assert float(values[1]) == pytest.approx(math.exp(-math.fsum(known) / len(known)), rel=1e-6)
    assert int(values[2]) == len(rows) - len(known)
    assert int(values[3]) == len(rows)


def test_a_text_is_the_same_from_anywhere(here: Path, tmp_path: Path) -> None:
    """Two files, a directory, .gz, standard input, another encoding: the same figures."""
    first, second = "the bear\nsees it\n", "the café\n"
    (tmp_path / "a.txt").write_text(first)
    (tmp_path / "b.txt").write_text(second)
    (tmp_path / "all.gz").write_bytes(gzip.compress((first + second).encode()))
    (tmp_path / "latin.txt").write_text(first + second, encoding="cp1252")
    (tmp_path / "parts").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).rename(tmp_path / "parts" / name)
    parts = str(tmp_path / "parts")
    found = [
        evaluated(*arguments, "--model", "word", stdin=(first + second).encode())
        for arguments in (
            [f"{parts}/a.txt", f"{parts}/b.txt"],
            [parts],
            [str(tmp_path / "all.gz")],
            ["-"],
            [str(tmp_path / "latin.txt"), "--encoding", "cp1252"],
        )
    ]
    assert found[0].pop("files") == [f"{parts}/a.txt", f"{parts}/b.txt"]
    assert found[3].pop("files") == ["-"]
    for other in found[1:]:
        other.pop("files", None)
        assert other == found[0]
    assert found[0]["sequences"] == 3
    assert found[0]["characters"] == len("the bearsees itthe café")
    assert found[0]["bytes"] == found[0]["characters"] + 1
    assert found[0]["words"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("split_on", SPLITS)
def test_learning_figures_stand_beside_the_plain_ones(
    here: Path, level: str, split_on: str
) -> None:
    """A step size of 0 learns nothing; any other is better where the text repeats itself."""
    (here / "again.txt").write_text("the jay sees the bear\n\n" * 40)
    options = ("again.txt", "--model", level, "--split-on", split_on)
    plain = evaluated(*options)
    found = evaluated(*options, "--dynamic", "--rate", "0")
    dynamic = found.pop("dynamic")
    assert found == plain
    assert dynamic.pop("step_size") == 0
    for name, value in dynamic.items():
        same = pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
        assert plain[name] == same, name
    learned = evaluated(*options, "--dynamic")["dynamic"]
    assert learned["step_size"] == {"char": 0.15, "word": 0.4, "subword": 0.4}[level]
    assert learned["tokens"] == plain["tokens"]
    assert learned["bits_per_character"] < 0.98 * plain["bits_per_character"]
    shown = good("evaluate", *options, "--dynamic").out
    assert "learning from what it has read, step size 0." in shown
    assert good("evaluate", *options).out == shown[: shown.index("\nlearning")]
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("unit", ["nats", "bits", "log10"])
def test_the_unit_is_in_the_names(here: Path, unit: str) -> None:
    """log P and cross-entropy are in the unit; what has one of its own stays as it is."""
    nats, found = evaluated("held.txt"), evaluated("held.txt", "--unit", unit)
    by = {"nats": 1.0, "bits": math.log(2), "log10": math.log(10)}[unit]
    assert found[f"total_log_prob_{unit}"] * by == pytest.approx(nats["total_log_prob_nats"])
    name = f"cross_entropy_{unit}_per_token"
    assert found[name] * by == pytest.approx(nats["cross_entropy_nats_per_token"])
    assert found["bits_per_character"] == nats["bits_per_character"]
    assert f"{unit} per token" in good("evaluate", "held.txt", "--unit", unit).out


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("closed", [[], ["--closed"]])
def test_the_block_fits_80_columns_and_names_its_units(
    here: Path, level: str, closed: list[str]
) -> None:
    """Every figure of the block has its unit, and what <UNK> leaves out is said where it is."""
    out = good("evaluate", "held.txt", "--model", level, *closed, terminal=True).out
    assert max(map(len, out.splitlines())) <= 80
    assert not any(line.endswith(" ") for line in out.splitlines())
    for part in ("words   ", "<EOS> included", "nats per token", "per character", "per byte"):
        assert part in out
    assert ("spelling adds" in out) == (level != "subword" and not closed)
    assert ("without OOVs" in out) == (level != "subword")
    assert ("not to be compared" in out) == (level != "subword" and bool(closed))


def test_an_empty_file_has_no_figures(here: Path, tmp_path: Path) -> None:
    """Counts are 0 and figures null or "-", and that is no failure."""
    (tmp_path / "empty").write_text("")
    (tmp_path / "blank").write_text("\n \n")
    for name in ("empty", "blank"):
        found = evaluated(str(tmp_path / name))
        assert found["tokens"] == found["total_log_prob_nats"] == 0
        assert found["perplexity_per_token"] is found["bits_per_byte"] is found["oov_rate"] is None
        assert "per token               -" not in good("evaluate", str(tmp_path / name)).out
        assert "nan" in good("evaluate", str(tmp_path / name), "--format", "kenlm").out


def test_a_perplexity_too_large_for_a_float_is_null_in_json() -> None:
    """Neither Infinity nor NaN is written."""
    huge = Summary(sequences=1, characters=9, words=1, bytes=9, tokens=2, closed_log_prob=-1e5)
    assert huge.to_json()["perplexity_per_word"] is None
    assert "inf" in "\n".join(table(huge, "nats"))


def test_a_step_size_belongs_to_learning(here: Path) -> None:
    """It is refused without it, and out of its range; KenLM's form has room for one figure."""
    assert "--dynamic" in bad(2, "evaluate", "held.txt", "--rate", "0.1")
    assert "step size" in bad(2, "evaluate", "held.txt", "--dynamic", "--rate", "-1")
    assert "Leave out" in bad(2, "evaluate", "held.txt", "--dynamic", "--format", "kenlm")
    assert "Leave out" in bad(2, "evaluate", "--check", "--dynamic")


def test_what_cannot_be_is_refused(here: Path) -> None:
    """Each in a sentence, and a missing file before another is read."""
    assert "give a file" in bad(2, "evaluate")
    assert "table, json or kenlm" in bad(2, "evaluate", "held.txt", "--format", "xml")
    assert "nats, bits or log10" in bad(2, "evaluate", "held.txt", "--unit", "hartley")
    assert "be line, paragraph or file" in bad(2, "evaluate", "held.txt", "--split-on", "page")
    assert "no file nowhere.txt" in bad(3, "evaluate", "held.txt", "nowhere.txt")
    assert "--errors replace" in bad(3, "evaluate", "-", stdin=b"a\xff")
    assert evaluated("-", "--errors", "replace", stdin=b"a\xff")["characters"] == 2
    assert "or --closed" in bad(2, "evaluate", "--check", "--closed")
    assert "no text" in bad(3, "evaluate", "--check", "-")
    assert "no model" in bad(4, "evaluate", "held.txt", "--model", "nobody")


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("files", [[], ["held.txt"]])
def test_check_passes_on_a_sound_model(here: Path, level: str, files: list[str]) -> None:
    """A line for each check with the worst deviation and its bound; JSON tells the same."""
    arguments = ("evaluate", "--check", *files, "--model", level)
    result = good(*arguments)
    lines = result.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line.startswith("ok ") for line in lines[::2])
    assert all("worst " in line and ", bound 1e-" in line for line in lines[1::2])
    assert "checks passed" in result.err
    found = json.loads(good(*arguments, "--json").out)
    assert found["passed"] is True
    assert [check["check"] for check in found["checks"]] == [line[7:] for line in lines[::2]]
    assert all(0 <= check["worst"] <= check["bound"] for check in found["checks"])


def test_check_fails_with_1_on_a_model_that_was_tampered_with(here: Path, tmp_path: Path) -> None:
    """A speller that leaves out less than the known words would get."""
    saved = directory.best_step(here / "checkpoints" / "word")
    files = {path.name: path.read_bytes() for path in saved.iterdir()}
    del files["manifest.json"]
    header = json.loads(files["speller.json"])
    header["log_known_nats"] = -0.1
    files["speller.json"] = to_json(header)
    path = save_step(tmp_path / "run", int(saved.name[5:]), files)
    assert "2 of 7 checks failed" in bad(1, "evaluate", "--check", "--model", str(path))
    assert "2 of 7 checks failed" in bad(1, "evaluate", "--check", "--json", "--model", str(path))


def test_a_failed_check_is_null_in_json_where_it_is_no_number(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON holds no NaN, whatever was found."""
    monkeypatch.setattr(selfcheck, "check_model", lambda *_: iter([Check("x", math.nan, 1e-4, 3)]))
    assert "1 of 1 checks failed" in bad(1, "evaluate", "--check", "--json")


def test_small_files_need_no_torch(here: Path) -> None:
    """A small file is evaluated by the NumPy engine, which is there before torch would be."""
    code = (
        "import sys\nfrom charlm.cli import main\n"
        "sys.argv = ['charlm', 'evaluate', 'held.txt', '--model', 'word']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=here, check=True, capture_output=True)


def test_progress_is_plain_lines_in_a_pipe(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every few seconds a line on stderr says how far it is, and the figure so far."""
    monkeypatch.setattr("charlm.cli.output.meter._SECONDS", -1.0)
    monkeypatch.setattr(portions, "_FEW", 2)
    monkeypatch.setattr(portions, "_CHARACTERS", 30)
    said = good("evaluate", "corpus.txt", "--model", "char").err.splitlines()
    progress = [line for line in said if " characters, " in line]
    assert len(progress) > 10
    assert all(line.endswith(" bits/char") for line in progress)
    assert progress[-1].startswith(f"{len(TEXT) - 81:,} characters")


def test_a_meter_knows_the_size_of_plain_files_alone(tmp_path: Path) -> None:
    """Bytes add up over files; of stdin, directories and what is packed nobody knows.

    What is packed is told by its bytes, whatever its name.
    """
    a = str(tmp_path / "a")
    Path(a).write_bytes(b"abc")
    assert Meter(a, a).size == 6
    packed = {
        "b.gz": gzip.compress(b"abc"),
        "b.txt": gzip.compress(b"abc"),
        "b.bz2": bz2.compress(b"abc"),
        "b.xz": lzma.compress(b"abc"),
    }
    for name, data in packed.items():
        path = str(tmp_path / name)
        Path(path).write_bytes(data)
        assert Meter(path).size is Meter(a, path).size is None, name
    assert Meter("-").size is Meter(a, "-").size is Meter(str(tmp_path)).size is None
