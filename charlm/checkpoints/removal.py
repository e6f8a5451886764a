"""Deleting a run: whole, at once, and nothing that is not its own."""

import contextlib
from pathlib import Path

from charlm.checkpoints import directory
from charlm.checkpoints.disk import DISK, TEMPORARY, Disk, delete, hide
from charlm.checkpoints.lock import Lock
from charlm.errors import CheckpointError

_FILES = frozenset(
    ("run.json", "metrics.jsonl", "pointers.json", "novelty.safetensors", "novelty.json", ".lock")
)


def remove(run: Path, disk: Disk = DISK) -> None:
    """Delete a run: it is gone at once, and so it stays whenever the machine stops.

    Raises CheckpointError for what is no run or holds more than one, LockedError if another
    process writes to it.
    """
    check_removable(run)
    lock = Lock(run / ".lock")
    try:
        lock.acquire()
        try:
            hide(run, disk)
        finally:
            lock.release()
    except OSError as error:
        raise CheckpointError(f"cannot delete {run}: {error.strerror}.") from None
    for left in directory.children(run.parent):  # this one, and what a crash left of others
        if left.name.startswith(TEMPORARY) and not left.is_symlink():
            for name in (directory.TOKENS, directory.TENSORBOARD):
                if not (left / name).is_symlink():
                    delete(directory.children(left / name), disk)
            delete(directory.children(left), disk)
            with contextlib.suppress(OSError):
                disk.rmdir(left)


def check_removable(run: Path) -> None:
    """Raise CheckpointError unless a path is a directory that holds a run and nothing else."""
    if run.is_symlink():
        raise CheckpointError(f"{run} is a link: delete it, or what it leads to, by yourself.")
    if not directory.is_directory(run):
        raise CheckpointError(
            f"there is no run {run}.{directory.those_below(run.parent, run.name)}"
        )
    if not (run / "run.json").is_file() and not directory.steps(run):
        raise CheckpointError(f"{run} is no run: it has neither a run.json nor a step.")
    for path in directory.children(run):
        of_step = directory.STANDING.fullmatch(path.name) or path.name.startswith(TEMPORARY)
        if path.name == directory.TOKENS and path.is_dir() and not path.is_symlink():
            strange = [
                child
                for store in directory.children(path)
                for child in directory.children(store)
                if child.is_dir()
            ]
        elif (
            (of_step or path.name == directory.TENSORBOARD)
            and path.is_dir()
            and not path.is_symlink()
        ):
            strange = [child for child in directory.children(path) if child.is_dir()]
        else:
            strange = [] if of_step or path.name in _FILES else [path]
        if strange:
            raise CheckpointError(
                f"{strange[0]} is nothing of a run's: move it elsewhere, then delete {run}."
            )
