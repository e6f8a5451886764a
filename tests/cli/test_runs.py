"""Runs on the command line: where they stand, which there are, and how one is deleted."""

import json
import os
import shutil
from pathlib import Path

import pytest

from charlm.checkpoints import directory, removal
from charlm.checkpoints.disk import TEMPORARY, Disk
from charlm.checkpoints.lock import Lock
from charlm.cli.commands import rm
from charlm.cli.options import Runs
from charlm.errors import CheckpointError, LockedError
from tests.support.cli import charlm, good

TINY = ("--steps", "1", "--hidden", "4", "--embedding", "4", "--quiet", "--no-index")
PAIRS = [f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrst"]
TEXT = "".join(f"a {pair} pear\n" for pair in PAIRS)
KINDS = "".join(f"a {pair} pear\t{'xy'[pair < 'f']}\n" for pair in PAIRS)
TAGGED = "".join(f"A{pair}\tB-PER\nsleeps\tO\n\n" for pair in PAIRS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with runs of several kinds below models/, and none below checkpoints/."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "corpus.txt").write_text(TEXT)
    (folder / "tags.conll").write_text(TAGGED)
    (folder / "kinds.tsv").write_text(KINDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("CHARLM_RUNS", raising=False)
        where = ("--runs", "models")
        good("train", "corpus.txt", *TINY, *where, "--name", "chars")
        good("train", "corpus.txt", *TINY, *where, "--name", "words", "--level", "word")
        good("train", "corpus.txt", *TINY, *where, "--name", "gaps", "--bidirectional")
        good("train", "tags.conll", *TINY[:-1], *where, "--name", "tagger", "--tagger")
        kinds = ("kinds.tsv", "--label-from", "column:2", *where)
        good("train", *kinds, *TINY[:-1], "--name", "kinds", "--classifier")
    assert not (folder / "checkpoints").exists()
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy of it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHARLM_RUNS", raising=False)
    return tmp_path


COMMANDS = [
    ("sample", "--model", "chars", "--n", "1", "--seed", "1"),
    ("score", "--model", "chars", "a pear"),
    ("evaluate", "--model", "chars", "corpus.txt"),
    ("compare", "chars", "words", "corpus.txt"),
    ("next", "--model", "chars", "a"),
    ("tokenize", "--model", "words", "a pear"),
    ("novelty", "--model", "chars", "corpus.txt", "--against", "corpus.txt"),
    ("fill", "--model", "gaps", "a p[?]ar"),
    ("tag", "--model", "tagger", "tags.conll"),
    ("classify", "--model", "kinds", "a pear"),
    ("classify", "--model", "kinds", "--labelled", "column:2", "--file", "kinds.tsv"),
    ("info", "chars"),
    ("info", "tagger"),
    ("list",),
    ("train", "--resume", "--name", "chars", "--steps", "2", "--quiet"),
    ("train", "--resume", "--name", "tagger", "--steps", "2", "--quiet"),
    ("rm", "words", "--yes"),
]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: "-".join(command[:3]))
def test_every_command_finds_runs_where_they_are_said_to_be(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """--runs and CHARLM_RUNS name the directory of runs; without them it is checkpoints/."""
    before = charlm(*command)
    if command[0] == "list":
        assert b"checkpoints/" in before.stderr
    else:
        assert before.code == 4, before
        assert not before.stdout
    shutil.copytree("models", "again")
    by_option = good(*command, "--runs", "models")
    monkeypatch.setenv("CHARLM_RUNS", "again")
    by_name = good(*command)
    assert by_option.stdout.replace(b"models", b"again") == by_name.stdout
    assert not Path("checkpoints").exists()


def test_the_commands_that_are_named_find_the_run(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What train names next holds --runs where it is needed, and only there."""
    loud = ("train", "corpus.txt", "--steps", "1", "--hidden", "4", "--no-index")
    said = good(*loud, "--runs", "my models", "--name", "one").err
    assert "charlm sample --model one --runs 'my models' --n 20" in said
    monkeypatch.setenv("CHARLM_RUNS", "my models")
    assert "charlm sample --model two --n 20" in good(*loud, "--name", "two").err
    monkeypatch.delenv("CHARLM_RUNS")
    assert "charlm sample --model one --n 20" in good(*loud, "--name", "one").err


def test_list_tells_kind_level_size_and_loss(here: Path) -> None:
    """What info says of a run stands in the list: for people in columns, for programs as JSON."""
    rows = {
        row["name"]: row
        for row in map(json.loads, good("list", "--runs", "models", "--json").stdout.splitlines())
    }
    assert set(rows) == {"chars", "words", "gaps", "tagger", "kinds"}
    losses = {"tagger": "best_loss_nats_per_label", "kinds": "best_loss_nats_per_label"}
    for name, row in rows.items():
        info = json.loads(good("info", name, "--runs", "models", "--json").stdout)
        assert row["parameters"] == info["parameters"] > 0
        assert row["loss_nats"] == info[losses.get(name, "best_loss_nats_per_token")]
    assert [rows[name]["level"] for name in ("chars", "words", "kinds")] == ["char", "word", "char"]
    assert [rows[name]["kind"] for name in ("words", "kinds", "tagger")] == [
        "language model",
        "classifier",
        "tagger",
    ]
    lines = good("list", "--runs", "models").out.splitlines()
    assert lines[0].split() == ["name", "kind", "level", "parameters", "loss", "state"]
    assert max(map(len, lines)) <= 80
    for line in lines[1:]:
        row = rows[line.split()[0]]
        assert f"{row['parameters']:,}" in line
        loss = row["loss_nats"]
        assert ("-" if loss is None else f"{loss:.4f}") in line.split()
    assert [name for name, row in rows.items() if row["loss_nats"] is None] == []


def test_a_long_name_does_not_break_the_list(here: Path) -> None:
    """A name that leaves no room for the columns has a line of its own, whole."""
    name = "x" * 90
    os.rename("models/words", f"models/{name}")
    lines = good("list", "--runs", "models").out.splitlines()
    assert name in lines
    assert max(len(line) for line in lines if line != name) <= 80


def test_a_damaged_run_is_listed_as_that(here: Path) -> None:
    """One run that cannot be read does not hide the others."""
    (file,) = Path("models/chars").glob("step-*/model.json")
    file.write_bytes(b"{}")
    lines = good("list", "--runs", "models").out.splitlines()
    (line,) = (line for line in lines if line.startswith("chars"))
    assert line.split()[-1] == "damaged"
    assert len(lines) == 6


def test_a_name_that_is_nearly_right_is_named(here: Path) -> None:
    """Every command that finds no model of a name says which one may be meant."""
    for command in (("sample", "--model"), ("info",), ("rm", "--yes"), ("tokenize", "x", "-m")):
        ended = charlm(*command, "wrods", "--runs", "models")
        assert ended.code == 4
        assert b"Did you mean words?" in ended.stderr
    ended = charlm("train", "--resume", "--name", "wrods", "--runs", "models")
    assert b"Did you mean words?" in ended.stderr


def test_info_takes_a_name_as_an_argument(here: Path) -> None:
    """`charlm info NAME` is `charlm info --model NAME`; both at once are refused."""
    by_option = good("info", "--model", "chars", "--runs", "models").stdout
    assert good("info", "chars", "--runs", "models").stdout == by_option
    assert charlm("info", "chars", "--model", "chars", "--runs", "models").code == 2


@pytest.mark.parametrize("command", ["", "train", "rm", "help"])
def test_help_is_a_command_too(command: str) -> None:
    """`charlm help train` is `charlm train --help`, and `charlm help` is `charlm --help`."""
    arguments = [command] if command else []
    assert good("help", *arguments).stdout == good(*arguments, "--help").stdout


def test_help_for_what_is_no_command(here: Path) -> None:
    """It is a usage error that names the nearest command."""
    ended = charlm("help", "trian")
    assert (ended.code, ended.stdout) == (2, b"")
    assert b"there is no command 'trian'. Did you mean train?" in ended.stderr


# Deleting


def test_a_run_is_deleted_and_nothing_else(here: Path) -> None:
    """Its directory is gone, the others are as they were, and nothing is left over."""
    good("rm", "words", "gaps", "--yes", "--runs", "models")
    assert sorted(os.listdir("models")) == ["chars", "kinds", "tagger"]
    assert sorted(os.listdir()) == ["corpus.txt", "kinds.tsv", "models", "tags.conll"]


def test_nothing_is_deleted_unasked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --yes it takes a person who says y; a pipe is no person."""
    ended = charlm("rm", "words", "--runs", "models", stdin=b"y\n")
    assert ended.code == 2
    assert b"--yes" in ended.stderr

    class Person:
        def __init__(self, answer: str) -> None:
            self.answer = answer

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return self.answer

    for answer in ("", "\n", "n\n", "no\n", "never\n"):
        monkeypatch.setattr(rm.sys, "stdin", Person(answer))
        rm.rm_cli(names=["words"], runs=Runs(root=Path("models")), yes=False)
        assert Path("models/words").is_dir()
    monkeypatch.setattr(rm.sys, "stdin", Person("Y\n"))
    rm.rm_cli(names=["words"], runs=Runs(root=Path("models")), yes=False)
    assert not Path("models/words").exists()


@pytest.mark.parametrize("name", ["..", "a/b", "step-00000001", "-x", ""])
def test_names_that_lead_elsewhere_are_refused(here: Path, name: str) -> None:
    """What is deleted stands right below the directory of runs."""
    assert charlm("rm", "--yes", "--runs", "models", "--", name).code == 2


def test_what_is_no_run_is_refused(here: Path) -> None:
    """A link, a file, a directory of other things, a run that holds other things: all stay."""
    models = Path("models").absolute()
    (models / "link").symlink_to(models / "words")
    (models / "file").write_text("x")
    (models / "empty").mkdir()
    (models / "thesis").mkdir()
    (models / "thesis" / "chapter.txt").write_text("x")
    (models / "chars" / "notes.txt").write_text("mine")
    (step,) = (models / "kinds").glob("step-*")
    (step / "folder").mkdir()
    before = sorted(models.rglob("*"))
    for name in ("link", "file", "empty", "thesis", "chars", "kinds", "nobody"):
        ended = charlm("rm", "words", name, "--yes", "--runs", "models")
        assert ended.code == 4, name
        assert name.encode() in ended.stderr
    assert sorted(models.rglob("*")) == before


def test_a_run_in_training_is_refused(here: Path) -> None:
    """Whoever holds the lock of a run keeps it."""
    run = Path("models/words")
    with Lock(run / ".lock"), pytest.raises(LockedError):
        removal.remove(run)
    assert run.is_dir()
    removal.remove(run)
    assert not run.exists()


class Failing(Disk):
    """A disk that refuses everything from the n-th change on."""

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed

    def _count(self) -> None:
        self.allowed -= 1
        if self.allowed < 0:
            raise OSError(5, "Input/output error")

    def rename(self, old: Path, new: Path) -> None:
        """Rename, if that is allowed still."""
        self._count()
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        """Unlink, if that is allowed still."""
        self._count()
        super().unlink(path)

    def rmdir(self, path: Path) -> None:
        """Remove a directory, if that is allowed still."""
        self._count()
        super().rmdir(path)


def test_a_run_is_there_whole_or_not_at_all(here: Path) -> None:
    """Wherever the disk fails: the run is whole or gone, and the next deletion sweeps up."""
    whole = sorted(path.name for path in Path("models/words").rglob("*"))
    for allowed in range(30):
        run = Path("models") / f"copy-{allowed}"
        shutil.copytree("models/words", run)
        try:
            removal.remove(run, Failing(allowed))
        except CheckpointError:
            assert allowed == 0
            assert sorted(path.name for path in run.rglob("*") if path.name != ".lock") == [
                name for name in whole if name != ".lock"
            ]
        else:
            assert not run.exists()
        assert run not in directory.below(Path("models")) or allowed == 0
    removal.remove(Path("models/words"))
    assert not [name for name in os.listdir("models") if name.startswith(TEMPORARY)]


def test_info_fits_80_columns(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said of a run breaks between words; only a path may be longer, and is whole."""
    long = ("--level", "word", "--tie-weights", "--output-layers", "2", "--dropout", "0.12345")
    peephole = ("--cell", "lstm-peephole", "--normalize", "NFKC", "--ngram", "3", "--cache")
    good("train", "corpus.txt", *TINY, *long, *peephole, "--name", "x" * 90)
    for arguments in (("x" * 90,), ("kinds", "--runs", "models"), ("tagger", "--runs", "models")):
        lines = good("info", *arguments).out.splitlines()
        assert max(len(line) for line in lines if not line.startswith("path:")) <= 80
        words = " ".join(" ".join(lines).split())
        if arguments[0] != "kinds" and "tagger" not in arguments:
            assert "model: 1 x 4 lstm-peephole, embedding 4, 2 output layers, dropout 0.12" in words
            assert ", tied weights parameters:" in words
