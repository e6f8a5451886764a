"""What the tests of writers run in a process of its own, which forks and never imports torch.

    python -m tests.support.storage_children killed|locked|read DIRECTORY ROUNDS SEED

Prints what came of it as JSON; a law that is broken ends it with an AssertionError.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import filelock  # noqa: F401 - so that no child has to
import safetensors.numpy  # noqa: F401

from charlm.checkpoints import directory
from charlm.checkpoints.disk import TEMPORARY, Disk
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.language_model import Checkpoint
from charlm.errors import LockedError
from tests.support.steps import files_of, read_all, save_and_rotate


def fork(work: Callable[[], int]) -> int:
    """A child that does the work and exits with what it returns; its process id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(child: int) -> int:
    """That of a child that has ended; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(place: Path, rounds: int, seed: int) -> dict[str, object]:
    """A child saves step after step, some twice, and says so after each; it is killed at random.

    Whatever the instant: the newest step is not older than the last it spoke of, all that stand
    load, and so does what is found.
    """
    rng = random.Random(seed)
    run = place / "run"
    files = [files_of(step=step, seed=step) for step in range(2)]
    save_and_rotate(run, 0, files[0])
    begun = time.perf_counter()
    save_and_rotate(run, 0, files[0])
    longest = min(0.04, 6 * (time.perf_counter() - begun))
    last, saves, amid = 0, 0, 0

    def save_on(first: int, ack: int) -> int:
        if first % 5:  # a writer that takes the lock puts things right
            directory.open_run(run)
        for step in range(first, first + 10_000):
            numbered = {**files[1], "model.json": files_of(step=step)["model.json"]}
            save_and_rotate(run, step, numbered)
            os.write(ack, step.to_bytes(8, "little"))
            if step % 3 == 0:
                save_and_rotate(run, step, {**numbered, "training.json": b"{}"})
        return 0

    for _ in range(rounds):
        ack, say = os.pipe()
        child = fork(lambda first=last + 1, say=say: save_on(first, say))
        os.close(say)
        time.sleep(rng.random() * longest)
        os.kill(child, signal.SIGKILL)
        assert exit_code(child) == -signal.SIGKILL
        said = b""
        while data := os.read(ack, 2**16):
            said += data
        os.close(ack)
        saves += len(said) // 8
        last = int.from_bytes(said[-8:], "little") if said else last
        there = directory.steps(run)
        assert there[-1] >= last, (there, last)
        for path in directory._standing(run).values():
            read_all(path)
        assert Checkpoint.find(str(run)).step in there
        amid += any(path.name.startswith(TEMPORARY) for path in run.iterdir())
        last = there[-1]
    return {"rounds": rounds, "saves": saves, "amid": amid}


def locked(place: Path, rounds: int, seed: int) -> dict[str, object]:
    """8 processes take the lock of a run at once: one gets it, 7 exit with 6 and name that one."""
    rng = random.Random(seed)
    run = place / "run"

    def start(gate: int, result: int, until: int) -> int:
        os.read(gate, 1)
        try:
            lock = directory.open_run(run)
        except LockedError as error:
            os.write(result, f"{error}\n".encode())
            return error.exit_code
        os.read(until, 1)
        lock.release()
        return 0

    for number in range(rounds):
        gate, open_gate = os.pipe()
        results, result = os.pipe()
        until, end = os.pipe()

        def begin(fds: tuple[int, ...] = (open_gate, results, end)) -> None:
            for fd in fds:
                os.close(fd)

        children = [
            fork(lambda g=gate, r=result, u=until, b=begin: (b(), start(g, r, u))[1])
            for _ in range(8)
        ]
        for fd in (gate, result, until):
            os.close(fd)
        os.close(open_gate)
        said = b""
        while said.count(b"\n") < 7:
            more = os.read(results, 2**16)
            assert more, said  # more than one had the lock, and all have ended
            said += more
        lines = said.decode().splitlines()
        (holder,) = {int(line.split()[1]) for line in lines}
        assert holder in children
        assert all(f"process {holder} is training in {run}" in line for line in lines)
        if rng.random() < 0.5:  # killed: its name stays in the file, its lock does not
            os.kill(holder, signal.SIGKILL)
        os.close(end)
        os.close(results)
        codes = {child: exit_code(child) for child in children}
        assert codes.pop(holder) in (0, -signal.SIGKILL)
        assert set(codes.values()) == {6}, (number, codes)
    directory.open_run(run).release()
    return {"rounds": rounds}


class Yielding(Disk):
    """A disk that lets another process on after each change of names."""

    def rename(self, old: Path, new: Path) -> None:
        """As it is, then others."""
        super().rename(old, new)
        time.sleep(0)

    def unlink(self, path: Path) -> None:
        """As it is, then others."""
        super().unlink(path)
        time.sleep(0)


def read(place: Path, rounds: int, seed: int) -> dict[str, object]:
    """Two readers look for a run while a third process saves, replaces and deletes its steps."""
    rng = random.Random(seed)
    root = place / "checkpoints"
    run = root / "run"
    kinds = [files_of(level, step=1) for level in ("char", "word")]
    save_and_rotate(run, 1, kinds[0])

    def write() -> int:
        for step in range(2, 10**6):
            files = dict(rng.choice(kinds))
            about = {**json.loads(files["model.json"]), "step": step}
            files["model.json"] = to_json(about)
            for _ in range(rng.choice((1, 2))):  # some are replaced
                save_and_rotate(run, step, files, Yielding())
        return 0

    def look() -> int:
        newest = 0
        for number in range(rounds // 2):
            model = (None, "run", str(run))[number % 3]
            step = Checkpoint.find(model, root).step
            assert step >= newest, (step, newest)
            newest = step
            assert [path.name for path in directory.below(root)] == ["run"]
            time.sleep(0)
        return 0

    writer = fork(write)
    readers = [fork(look) for _ in range(2)]
    codes = [exit_code(reader) for reader in readers]
    os.kill(writer, signal.SIGKILL)
    exit_code(writer)
    assert codes == [0, 0], codes
    return {"reads": rounds // 2 * 2, "steps": directory.steps(run)[-1]}


if __name__ == "__main__":
    what, place, count, number = sys.argv[1:]
    outcome = {"killed": killed, "locked": locked, "read": read}[what](
        Path(place), int(count), int(number)
    )
    assert "torch" not in sys.modules
    sys.stdout.write(json.dumps(outcome))
