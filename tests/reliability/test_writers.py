"""Laws of writers and readers side by side: kills, locks, rotation, links, and any order of it."""

import contextlib
import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from charlm.checkpoints import directory
from charlm.checkpoints.disk import delete, free_bytes
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.step import save_step
from charlm.checkpoints.tensors import arrays_to_bytes
from charlm.config import RUNS
from charlm.errors import CharlmError, CheckpointError, LockedError, UsageError
from tests.support.disks import Failing, quick_folder
from tests.support.matrix import Tally
from tests.support.steps import files_of, read_all, save_and_rotate


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory on a disk that is quick to fsync, where there is one."""
    with quick_folder() as path:
        yield path


def children(what: str, place: Path, rounds: int) -> dict[str, Any]:
    """What storage_children.py made of it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.storage_children", what, place, str(rounds), "1"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.row("C1")
def test_a_kill_at_any_instant_costs_no_save(place: Path, tally: Tally) -> None:
    """kill -9 of a process that saves: the newest step is whole, and no older than the last that
    was acknowledged.
    """
    rounds = tally.wanted(200)
    outcome = children("killed", place, rounds)
    assert outcome["saves"] > 0  # it got somewhere, as far as a busy machine lets it
    assert outcome["amid"] > 0  # and kills fell into saves
    tally.add(outcome["rounds"])


@pytest.mark.row("W1")
def test_of_eight_that_start_on_a_run_one_runs(place: Path, tally: Tally) -> None:
    """The others exit with 6 and name its process id, even after a holder was killed."""
    tally.add(children("locked", place, tally.wanted(20))["rounds"])


@pytest.mark.row("W3")
def test_readers_never_fail_while_steps_come_and_go(place: Path, tally: Tally) -> None:
    """Steps are saved, replaced and deleted as fast as they can be; every reader finds a whole
    one, and never an older than before.
    """
    outcome = children("read", place, tally.wanted(1000))
    assert outcome["steps"] > 3
    tally.add(outcome["reads"])


# Names and links


HOSTILE_NAMES = (
    *("", ".", "..", "../x", "/x", "a/b", "a\\b", ".hidden", "-x", "a b", "a\n", "a\0", "\x1b[31m"),
    *("é", "x" * 101, "~", "a:b", "$HOME", "*", "step-00000001", "step-00000001.old", ".tmp-x"),
    *("..\\..\\x", "%2e%2e%2f", "a/../../x", "\u202ex", "a;rm", "`x`", "|x", "CON\0", "../" * 50),
)
PLACES = (
    *(".lock", "run.json", "pointers.json", "metrics.jsonl", ".tmp-x"),
    *("step-00000001", "step-00000002", "step-00000002.old", "step-00000007.old"),
    *("step-00000001/model.json", "step-00000001/manifest.json", "step-00000001/model.safetensors"),
)


def seen(path: Path) -> dict[str, tuple[int, int, bytes | None]]:
    """All there is to see of a directory: modes, times, bytes."""
    return {
        str(child): (
            child.lstat().st_mode,
            child.lstat().st_mtime_ns,
            child.read_bytes() if child.is_file() else None,
        )
        for child in [path, *sorted(path.rglob("*"))]
    }


def use(run: Path) -> None:
    """All that training and reading do to a run, as far as it lets them."""
    with contextlib.suppress(CharlmError):
        lock = directory.open_run(run)
        try:
            actions: list[Callable[[], object]] = [
                lambda: directory.write_json(run / "run.json", {"run_id": "1"}),
                lambda: save_and_rotate(run, 2),
                lambda: directory.write_text(run / "metrics.jsonl", "{}\n"),
                lambda: delete([run / "metrics.jsonl"]),
                lambda: directory.remove_steps(run, set()),
            ]
            for act in actions:
                with contextlib.suppress(CharlmError):
                    act()
        finally:
            lock.release()


@pytest.mark.row("W5")
def test_nothing_outside_a_run_is_touched(place: Path, tally: Tally) -> None:
    """Names that lead elsewhere are refused, those made up from file names lead nowhere, and a
    link at any place of a run, to a file or a directory outside, is neither read nor written
    through.
    """
    rng = random.Random(6)
    outside, root = place / "outside", place / "checkpoints"
    save_and_rotate(outside / "run", 1)
    (outside / ".tmp-precious").write_bytes(b"x")
    (outside / "run" / ".tmp-precious").mkdir()
    (outside / "file").write_bytes(b'{"best": 1, "step": 1}')
    before = seen(outside)
    targets = {
        "file": outside / "file",
        "run": outside / "run",
        "step": outside / "run" / "step-00000001",
        "nothing": outside / "new",
        "device": Path("/dev/null"),
    }
    planted = [(where, kind) for where in (*PLACES, "") for kind in targets]
    for case in range(tally.wanted(200)):
        if case % 3 == 0:
            name = rng.choice(HOSTILE_NAMES)
            if case > 2 * len(HOSTILE_NAMES):
                name = "".join(rng.choice("./\\-~ab\0\n\x1b") for _ in range(rng.randrange(9)))
            with contextlib.suppress(UsageError):
                accepted = directory.check_name(name)
                assert (root / accepted).resolve().parent == root.resolve()
                assert accepted.isascii()
                assert accepted.isprintable()
            made_up = directory.free(RUNS, name)
            assert made_up.parent == RUNS
            assert directory.check_name(made_up.name)
            with pytest.raises(CheckpointError):
                directory.find(name or "nowhere", root / "none")
        else:
            where, kind = planted[case % len(planted)]
            run = root / "run"
            save_and_rotate(run, 1)
            path = run / where if where else run
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            path.symlink_to(targets[kind])
            if where.startswith("step-00000001") and "/" in where:
                with pytest.raises(CheckpointError):
                    read_all(run / "step-00000001")
            elif where:
                with contextlib.suppress(CheckpointError):
                    found = Checkpoint.find("run", root).path
                    assert found.resolve().is_relative_to(root)
            use(run)
            run.unlink() if run.is_symlink() else shutil.rmtree(run)
        assert seen(outside) == before, case
        tally.add()


def test_a_run_that_is_a_link_is_not_written_to(place: Path) -> None:
    """The error says so, and does not take the lock of what it leads to."""
    (place / "real").mkdir()
    (place / "link").symlink_to(place / "real")
    with pytest.raises(CheckpointError, match="is a link"):
        directory.open_run(place / "link")
    assert list((place / "real").iterdir()) == []


@pytest.mark.parametrize("link", ["checkpoints", "above", "above/checkpoints"])
def test_links_above_a_run_are_followed(place: Path, link: str) -> None:
    """A run below a link, or a link to a link, is made, saved to, found and gone on with."""
    (place / "large").mkdir()
    (place / "above").mkdir()
    if link == "above":
        (place / "above").rmdir()
        (place / "above").symlink_to("large")
    else:
        (place / "hop").symlink_to("large")
        (place / link).symlink_to(place / "hop")
    root = place / link if link != "above" else place / "above" / "checkpoints"
    for step in (1, 2):
        lock = directory.open_run(root / "run")
        save_and_rotate(root / "run", step)
        directory.write_json(root / "run" / "run.json", {"run_id": "1"})
        lock.release()
    assert Checkpoint.find("run", root).step == 2
    assert directory.below(root) == [root / "run"]
    assert (place / "large" / "run").is_dir() == (link != "above")


def test_a_link_to_nothing_above_a_run_leaves_nothing(place: Path) -> None:
    """It is refused in a sentence, and what it would lead to is not made."""
    (place / "checkpoints").symlink_to(place / "gone")
    with pytest.raises(CheckpointError, match=r"cannot write to .*run: Not a directory"):
        directory.open_run(place / "checkpoints" / "run")
    assert not (place / "gone").exists()


# Locks and leftovers


def test_a_lock_names_the_process_that_holds_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only while it is held; where what stands in the file is stale or no number, none."""
    run = place / "run"
    monkeypatch.setattr("charlm.checkpoints.lock._PATIENCE", 0.0)
    for stale in (None, b"", b"999999999\n", b"nonsense\n", b"-1\n", b"1" * 90 + b"\n"):
        lock = directory.open_run(run)
        with pytest.raises(LockedError, match=rf"^process {os.getpid()} is training in .*run\."):
            directory.open_run(run)
        if stale is not None:
            (run / ".lock").write_bytes(stale)
            with pytest.raises(LockedError, match=r"^another process is training in .*run\."):
                directory.open_run(run)
        lock.release()
        assert (run / ".lock").read_bytes() == b""


def test_a_writer_puts_right_what_a_crash_left(place: Path) -> None:
    """A step set aside gets its name back, or goes if it has been replaced; what is unfinished
    goes; all else stays.
    """
    run = place / "run"
    for step in (1, 2):
        save_step(run, step, files_of(step=step))
    shutil.copytree(run / "step-00000001", run / "step-00000001.old")
    (run / "step-00000002").rename(run / "step-00000002.old")
    (run / ".tmp-dir").mkdir()
    (run / ".tmp-dir" / "model.json").touch()
    (run / ".tmp-file").touch()
    (run / "notes.old").touch()
    assert directory.steps(run) == [1, 2]
    assert Checkpoint.find(str(run)).step == 2
    directory.open_run(run).release()
    left = {".lock", "notes.old", "step-00000001", "step-00000002"}
    assert {path.name for path in run.iterdir()} == left
    for step in (1, 2):
        read_all(run / directory.step_name(step))


def test_room_for_the_saves_is_asked_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many saves have to fit as are not there yet, and one at least; where nobody can tell
    what is free, training may try.
    """
    run = place / "run"
    run.mkdir()
    for there in range(4):
        if there:
            save_step(run, there, {"training.json": b"{}\n"})
        missing = max(1, 3 - there)
        monkeypatch.setattr(directory, "free_bytes", lambda _, m=missing: m * 10**7)
        directory.check_room(run, 10**7)
        with pytest.raises(
            CheckpointError, match=rf"11 MB, {missing} more .*{missing}0 MB are free"
        ):
            directory.check_room(run, 10**7 + 1)
    monkeypatch.setattr(directory, "free_bytes", lambda _: None)
    directory.check_room(run, 10**18)
    monkeypatch.undo()
    with pytest.raises(
        CheckpointError, match=r"no room .* GB are free\. Make room there, or train"
    ):
        directory.check_room(run, 10**18)
    assert free_bytes(place / "nowhere") is None


def test_a_step_tells_the_run_it_is_of(place: Path) -> None:
    """The manifest has the id of run.json; steps of older versions have none and load."""
    run = place / "run"
    assert Checkpoint.load(save_step(run, 1, files_of(step=1))).run_id is None
    directory.write_json(run / "run.json", {"run_id": "abc"})
    step = save_step(run, 2, files_of(step=2))
    assert Checkpoint.load(step).run_id == "abc"
    manifest = json.loads((step / "manifest.json").read_bytes())
    assert manifest.keys() == {"format", "run_id", "step", "files", "sha256"}
    older = {key: manifest[key] for key in ("format", "step", "files")}
    (step / "manifest.json").write_text(json.dumps(older))
    assert Checkpoint.load(step).run_id is None


# Any order of things


class SavingAndLoading(RuleBasedStateMachine):
    """Saves that succeed, fail and crash, rotation, recovery and damage, in any order.

    The steps that may be found are those acknowledged since and including the last that was; what
    a save interrupted wrote may be found too.
    """

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.place = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.run_path = self.place / "run"
        self.step = 0
        self.may_be: set[tuple[int, int]] = set()  # (step, seed) of what may be found
        self.seed = 0

    def files(self, step: int) -> dict[str, bytes]:
        """Those of a step, other ones each time."""
        self.seed += 1
        return files_of(step=step, seed=self.seed)

    @rule(again=st.booleans())
    def save(self, again: bool) -> None:
        """A save that succeeds is what is found from then on."""
        self.step += not again or not self.step
        save_and_rotate(self.run_path, self.step, self.files(self.step))
        self.may_be = {(self.step, self.seed)}

    @rule(
        again=st.booleans(),
        k=st.integers(0, 60),
        number=st.sampled_from([errno.ENOSPC, errno.EIO, errno.EROFS]),
        dead=st.booleans(),
    )
    def save_in_vain(self, again: bool, k: int, number: int, dead: bool) -> None:
        """A save that fails, or amid which the machine stops, may be found or not."""
        step = self.step + (not again or not self.step)
        files = self.files(step)
        disk = Failing(k, number, dead=dead)
        try:
            save_and_rotate(self.run_path, step, files, disk)
        except CheckpointError:
            self.may_be.add((step, self.seed))
        else:
            self.may_be = {(step, self.seed)}
        self.step = max([self.step, *directory.steps(self.run_path)])

    @rule()
    def recover(self) -> None:
        """A new writer comes."""
        directory.recover(self.run_path)
        names = [path.name for path in self.run_path.glob("*")]
        assert not [name for name in names if name.startswith(".tmp-") or name.endswith(".old")]

    @precondition(lambda self: directory.steps(self.run_path))
    @rule(bit=st.integers(0, 2**20), data=st.data())
    def damage(self, bit: int, data: st.DataObject) -> None:
        """A flipped bit is noticed, and put back."""
        step = directory.find(str(self.run_path))
        path = data.draw(st.sampled_from(sorted(step.iterdir())))
        sound = path.read_bytes()
        spoilt = bytearray(sound)
        spoilt[bit // 8 % len(sound)] ^= 1 << bit % 8
        path.write_bytes(spoilt)
        with pytest.raises(CheckpointError, match=path.name if path.suffix != ".json" else "json"):
            read_all(step)
        path.write_bytes(sound)

    @invariant()
    def what_is_found_was_saved(self) -> None:
        """One of the steps that may be found loads, its bytes those that were saved."""
        if not self.may_be:
            return
        step = directory.find(str(self.run_path)) if directory.steps(self.run_path) else None
        if step is None:
            assert len(self.may_be) == self.seed  # nothing was ever acknowledged
            return
        loaded = Checkpoint.load(step)
        read_all(step)
        found = arrays_to_bytes(loaded.weights)
        assert any(
            found == files_of(step=number, seed=seed)["model.safetensors"]
            for number, seed in self.may_be
            if number == loaded.step
        )

    def teardown(self) -> None:
        """Clear away."""
        shutil.rmtree(self.place)


SavingAndLoading.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestSavingAndLoading = SavingAndLoading.TestCase
