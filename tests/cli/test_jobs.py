"""charlm score and evaluate --jobs: several processes print what one prints, to the byte."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from charlm.bulk.processes import Processes
from charlm.cli.commands import evaluate
from charlm.cli.commands.score import pairs, texts
from charlm.cli.input import records
from charlm.models import translator
from charlm.text import portions
from charlm.text.portions import Mapped
from tests.support.cli import Ended, bad, charlm, good
from tests.support.kinds import LABELLED
from tests.support.scoring_models import LINES, make
from tests.support.texts import TEXT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with texts, and with small models of every kind that scores."""
    names = ("char", "word", "words", "gaps", "cut", "cuts", "kinds", "pairs")
    folder = make(tmp_path_factory.mktemp("jobs"), *names)
    (folder / "long.txt").write_text(" ".join(LINES.split()))
    (folder / "table.tsv").write_text(
        "number\ttext\n" + "".join(f"{n}\t{line}\n" for n, line in enumerate(LINES.split("\n")))
    )
    (folder / "nbest.tsv").write_text(
        "".join(f"{n // 3}\t{line}\t-{n}\n" for n, line in enumerate(TEXT.splitlines()))
    )
    return folder


@pytest.fixture(scope="module")
def two() -> Iterator[Processes]:
    """Two processes that all commands here share: each takes seconds to begin."""
    with Processes(2, modules=["torch"]) as processes:
        yield processes


@pytest.fixture
def shared(two: Processes, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Commands with --jobs have those two; files come in many portions."""

    @contextlib.contextmanager
    def in_processes(number: int | None) -> Iterator[Mapped]:
        assert number in (None, 2)
        yield portions.in_turn if number is None else two

    for module in (texts, pairs, evaluate):
        monkeypatch.setattr(module, "in_processes", in_processes)
    monkeypatch.setattr(records, "_BATCH_TEXTS", 50)
    monkeypatch.setattr(portions, "_FEW", 2)
    monkeypatch.setattr(portions, "_CHARACTERS", 1000)
    monkeypatch.setattr(portions, "_MOST_CHARACTERS", 3000)
    monkeypatch.setattr(translator, "_AT_ONCE", 4)
    monkeypatch.setattr(translator, "_SCORED", 7)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield here
    torch.set_num_threads(threads)


def same(*command: str) -> Ended:
    """What a command prints, in one process and in two."""
    alone = charlm(*command)
    assert tuple(charlm(*command, "--jobs", "2")) == tuple(alone)  # code, stdout, stderr
    return alone


@pytest.mark.parametrize(
    "asked",
    [
        "-m char -f lines.txt",
        "-m char -f lines.txt --tsv",
        "-m char -f lines.txt --json --per-token",
        "-m word -f lines.txt --tsv --unit bits",
        "-m word -f lines.txt --words",
        "-m word -f lines.txt --max-bits 10",
        "-m word --column text -f table.tsv --prefix lm_",
        "-m word -m words --weights 0.3,0.7 -f lines.txt --tsv",
        "-m word -m words --tune corpus.txt -f lines.txt --tsv",
        "-m word -m char -f lines.txt --tsv --context the",
        "-m gaps -f lines.txt --tsv",
        "-m kinds -f lines.txt --tsv --label eats",
        "-m kinds -f lines.txt --tsv",
        "-m word -f nbest.tsv --nbest --tsv",
        "-m pairs -f pairs.tsv --tsv",
        "-m pairs -f pairs.tsv --source-column 1 --json --per-token",
    ],
)
def test_scores_are_the_same_to_the_byte(shared: Path, asked: str) -> None:
    """Of each kind of model, in each form: every digit, in the order of the file."""
    if "--label eats" in asked:
        asked = asked.replace("eats", LABELLED.split("\n")[0].split("\t")[1])
    ended = same("score", *asked.split())
    assert ended.code == 0, ended.err
    assert len(ended.out.splitlines()) > 9


@pytest.mark.parametrize(
    "asked",
    [
        "-m char lines.txt",
        "-m char long.txt --split-on file",
        "-m word lines.txt",
        "-m word long.txt lines.txt --split-on file",
        "-m word -m words lines.txt",
        "-m word -m char lines.txt",
        "-m gaps lines.txt",
        "-m kinds labelled.tsv --labelled column:2",
        "-m pairs pairs.tsv",
        "-m char lines.txt --format kenlm",
    ],
)
def test_sums_are_the_same_to_the_byte(shared: Path, asked: str) -> None:
    """Whoever adds them up: sequences, parts of a long one, labels, pairs."""
    form = () if "kenlm" in asked else ("--json",)
    ended = same("evaluate", *asked.split(), *form)
    assert ended.code == 0, ended.err


def test_buckets_are_the_same_to_the_byte(shared: Path, tmp_path: Path) -> None:
    """Bounds, files and what is kept of them."""
    found = []
    for jobs in ([], ["--jobs", "2"]):
        folder = tmp_path / str(len(jobs))
        folder.mkdir()
        where = ("-f", "lines.txt", "--bucket-to", str(folder / "x"))
        good("score", "-m", "word", "--bucket", "3", *where, *jobs)
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert found[0] == found[1]
    assert len(found[0]) == 4


def test_what_is_broken_is_told_as_by_one_process(shared: Path, tmp_path: Path) -> None:
    """After all that stood before it, in the same words, with the same exit code."""
    bad_bytes = tmp_path / "bad.txt"
    bad_bytes.write_bytes(LINES.encode() + b"\xff\n" + LINES.encode())
    command = ("score", "-m", "word", "--tsv", "-f", str(bad_bytes))
    ended = same(*command)
    assert ended.code == 3
    assert len(ended.out.splitlines()) == 1 + len(LINES.splitlines())
    ended = same(*command, "--on-error", "keep")
    assert ended.code == 0
    named = tmp_path / "named.txt"
    named.write_text(f"{LINES}<unk> eats\n")
    ended = same("score", "-m", "cut", "-m", "cuts", "--tsv", "-f", str(named))
    assert ended.code == 2  # in the work, of which one process did a part
    assert "the text holds <unk>" in ended.err
    assert ended.out.count("\n") % 50 == 1


def test_jobs_are_for_files(here: Path) -> None:
    """Texts of the command line, a self-check and learning are done at once, by one."""
    assert "--jobs" in bad(2, "score", "a text", "--jobs", "2")
    assert "--jobs" in bad(2, "evaluate", "lines.txt", "--jobs", "2", "--dynamic")
    assert "--jobs" in bad(2, "evaluate", "lines.txt", "--jobs", "2", "--check")
    assert charlm("score", "-f", "lines.txt", "--jobs", "0").code == 2


def begun(number: int, *arguments: str) -> "subprocess.Popen[bytes]":
    """charlm with processes of its own, in a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "charlm", *arguments, "--jobs", str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def children(pid: int) -> list[int]:
    """The processes that a process has begun and that do its work."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    lines = {int(one): Path(f"/proc/{one}/cmdline").read_bytes() for one in found}
    return [one for one, line in lines.items() if b"spawn_main" in line]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at /proc")
@pytest.mark.parametrize(
    ("how", "number"), [("interrupted", 1), ("no reader", 1), ("one killed", 2), ("killed", 1)]
)
def test_nothing_is_left_running(here: Path, how: str, number: int) -> None:
    """Whatever ends a command, its processes end with it; a lost one is told in a sentence."""
    process = begun(number, "score", "-m", "char", "--tsv", "-f", "-")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(LINES.encode())
    process.stdin.flush()
    assert b"total_log_prob" in process.stdout.readline()  # all are at work
    workers = children(process.pid)
    assert len(workers) == number
    if how == "interrupted":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    elif how == "no reader":
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(LINES.encode() * 40)
    elif how == "one killed":
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(LINES.encode())
    else:
        process.kill()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    process.stdin = None
    if how == "no reader":
        process.stdout = None
    said = process.communicate()[1].decode()
    codes = {"interrupted": 130, "no reader": 141, "one killed": 1, "killed": -signal.SIGKILL}
    assert process.returncode == codes[how], said
    assert "Traceback" not in said
    assert ("one of 2 processes was killed (SIGKILL)" in said) == (how == "one killed")
    until = time.monotonic() + 20
    while any(Path(f"/proc/{one}").exists() for one in workers):
        assert time.monotonic() < until
        time.sleep(0.01)
