"""Rows of docs/reliability.md: two processes that train together, one of them killed or signalled.

They are joined as torchrun joins them; test_torchrun_starts_them starts torchrun itself.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.checkpoints import directory
from tests.support.forked import Done
from tests.support.kinds import KINDS, STEPS, begin, go_on, outcome, run_of, with_texts
from tests.support.matrix import Tally
from tests.support.ranks import TwoForks
from tests.support.steps import load

SECONDS_TO_END = 30.0  # for whoever is left when one has been killed
LOST = r"charlm: error: another process of this training has ended, .* with --resume\."


@pytest.fixture(scope="module")
def forks() -> Iterator[TwoForks]:
    """What starts two processes."""
    with TwoForks() as forks:
        yield forks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a corpus of each kind."""
    return with_texts(tmp_path)


def both_end(done: list[Done], code: int = 0) -> list[Done]:
    """The same, ended as they should: their codes, no traceback, only the first having spoken."""
    for one in done:
        text = one.out + one.err
        assert one.code == code, text
        assert not re.search("Traceback|Exception ignored|unexpected error", text), text
    assert done[1].out + done[1].err == ""
    return done


@pytest.mark.row("M1")
@pytest.mark.parametrize("kind", KINDS)
def test_one_is_killed_and_the_other_ends(
    forks: TwoForks, folder: Path, tally: Tally, kind: str
) -> None:
    """Killed with -9, either one, in some phase, and gone on with, a run comes to the same."""
    chosen = random.Random(kind)
    for case in range(tally.wanted(1)):
        options = ("--seed", str(case), "--dropout", "0.2")
        whole, name = f"whole-{case}", f"killed-{case}"
        both_end(forks.charlm(*begin(whole, *options, kind=kind), at=folder))
        for kill in range(4):
            started = directory.steps(run_of(folder, name))
            rank, phase = kill % 2, chosen.choice(("mid step", "step"))
            if not rank:  # the other saves nothing, and may have nothing to validate on
                phase = chosen.choice((phase, "validating", "saving"))
            at = 1 if phase == "validating" else chosen.randrange(2, 4)
            if phase == "step":
                at += max(started, default=0)
            fate: list[dict[str, Any]] = [{}, {}]
            fate[rank] = {"interrupt": (phase, [signal.SIGKILL], at)}
            command = go_on(name) if started else begin(name, *options, kind=kind)
            began = time.monotonic()
            done = forks.charlm(*command, at=folder, options=(fate[0], fate[1]))
            assert time.monotonic() - began < SECONDS_TO_END
            assert done[rank].code == -signal.SIGKILL
            assert done[1 - rank].code == 1
            assert re.fullmatch(LOST, done[1 - rank].err.splitlines()[-1])
            if saved := directory.steps(run_of(folder, name)):
                load(run_of(folder, name) / directory.step_name(saved[-1]))
        command = go_on(name) if saved else begin(name, *options, kind=kind)
        both_end(forks.charlm(*command, at=folder))
        assert outcome(run_of(folder, name)) == outcome(run_of(folder, whole))
        tally.add()


@pytest.mark.row("M2")
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_to_one_stops_both(forks: TwoForks, folder: Path, tally: Tally, kind: str) -> None:
    """At some step, to either one: both end with its code, one save, and nothing is lost."""
    chosen = random.Random(kind)
    both_end(forks.charlm(*begin("whole", kind=kind), at=folder))
    for case in range(tally.wanted(2)):
        name, at, rank = f"stopped-{case}", chosen.randrange(2, STEPS - 1), case % 2
        number = chosen.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        several = [number, number] if case % 4 else [number]  # torchrun's comes after one's own
        phase = chosen.choice(("step", "first step"))
        fate: list[dict[str, Any]] = [{}, {}]
        fate[rank] = {"interrupt": (phase, several, at)}
        stop = forks.charlm(*begin(name, kind=kind), at=folder, options=(fate[0], fate[1]))
        both_end(stop, 128 + number)
        (saved,) = re.findall(r"stopped at step (\d+) of 24, saved", stop[0].err)
        assert directory.steps(run_of(folder, name))[-1] == int(saved)
        assert at - 1 <= int(saved) <= at + 2
        done = both_end(forks.charlm(*go_on(name), at=folder))
        assert "bit-identical" not in done[0].err
        assert outcome(run_of(folder, name)) == outcome(run_of(folder, "whole"))
        tally.add()


def test_an_error_of_both_is_told_once(forks: TwoForks, folder: Path) -> None:
    """What both find out each for itself, before they are joined and after, one says."""
    wrong = {
        2: ("corpus.txt", "--steps", "3", "--layers", "many"),
        3: ("missing.txt", "--steps", "3"),
    }
    for code, options in wrong.items():
        done = forks.charlm("train", *options, "--name", "wrong", at=folder)
        assert {one.code for one in done} == {code}, done
        said = done[0].err + done[1].err
        assert said.count("charlm: error") == 1
    done = forks.charlm("train", "-", "--steps", "3", at=folder)
    assert "several processes cannot share standard input" in done[0].err + done[1].err
    assert {one.code for one in done} == {2}


@pytest.mark.slow
def test_torchrun_starts_them(folder: Path) -> None:
    """Both train; killed with -9, one brings the other and torchrun down, and two go on."""

    def torchrun(*arguments: str) -> subprocess.Popen[str]:
        command = (sys.executable, "-m", "torch.distributed.run", "--standalone")
        return subprocess.Popen(
            (*command, "--nproc-per-node", "2", "-m", "charlm", *arguments),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    long = begin("torchrun", steps=100_000)
    process = torchrun(*long)
    run, until = run_of(folder, "torchrun"), time.monotonic() + 90
    while not directory.steps(run) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    victim = process_of(process.pid, rank=1)
    os.kill(victim, signal.SIGKILL)
    _, err = process.communicate(timeout=SECONDS_TO_END)
    assert process.returncode == 1
    assert "processes: 2" in err
    assert "charlm: error: another process of this training has ended" in err
    last = directory.steps(run)[-1]
    process = torchrun(*go_on("torchrun", "--steps", str(last + 5)))
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert f"resuming at step {last:,} of {last + 5:,}" in err
    assert out.count("best validation loss") == 1
    assert "bit-identical" not in err


def process_of(parent: int, *, rank: int) -> int:
    """Of the processes that torchrun has started, the one of this rank."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status, environment = ((path / name).read_text() for name in ("status", "environ"))
        except OSError:
            continue
        if f"PPid:\t{parent}\n" in status and f"RANK={rank}" in environment.split("\0"):
            return int(path.name)
    raise AssertionError(f"torchrun has no process of rank {rank}")
