"""Run: a directory under checkpoints/ with one writer, in which steps are saved and logged."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from charlm.checkpoints import directory
from charlm.checkpoints.directory import TENSORBOARD
from charlm.checkpoints.disk import delete
from charlm.checkpoints.files import Content, read_file
from charlm.checkpoints.lock import Lock
from charlm.checkpoints.step import save_step
from charlm.errors import CheckpointError, UsageError

SMALL_FILES = 2**16  # bytes: the JSON of a save, the names of its tensors, the blocks of the disk
_LARGEST_LOG = 2**30


class Saved(NamedTuple):
    """A checkpoint stands on disk."""

    step: int
    path: Path


class Run:
    """One directory, one writer: hold it open with ``with``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Lock | None = None
        self.on_log: Callable[[dict[str, Any]], None] | None = None

    def __enter__(self) -> "Run":
        self._lock = directory.open_run(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def check_new(self) -> None:
        """Raise UsageError if the run holds a saved step already."""
        if directory.steps(self.path):
            raise UsageError(
                f"the run {self.path} exists already: go on with it (`resume`) or choose another "
                "`name`."
            )

    def begin(self, asked: dict[str, Any]) -> None:
        """Write run.json. Raises UsageError if the run exists already."""
        self.check_new()
        directory.remove_steps(self.path, set())
        delete([self.path / "metrics.jsonl", *directory.children(self.path / TENSORBOARD)])
        directory.write_json(self.path / "run.json", {**asked, "run_id": uuid.uuid4().hex})

    def asked(self) -> dict[str, Any]:
        """What run.json says."""
        return directory.read_json(self.path / "run.json")

    @property
    def keeps_text(self) -> bool:
        """Whether an index of the training text may stand in the run."""
        return self.asked().get("index", True) is not False

    def extend(self, training: dict[str, Any]) -> None:
        """Note a larger budget, the fields of a TrainingConfig, in run.json; it begins anew."""
        began = {**self.asked(), "training": training}
        began.pop("plans", None)
        directory.write_json(self.path / "run.json", began)

    def plan(self, training: dict[str, Any]) -> None:
        """Note in run.json a later plan: the fields of the training that it changes."""
        began = self.asked()
        before = began.get("training", {})
        changes = {name: value for name, value in training.items() if before.get(name) != value}
        plans = [*began.get("plans", []), changes]
        directory.write_json(self.path / "run.json", {**began, "plans": plans})

    def last_step(self) -> Path:
        """The directory of the last step saved. Raises CheckpointError if there is none."""
        there = directory.steps(self.path)
        if not there:
            raise CheckpointError(f"{self.path} holds no saved step to go on from.")
        return self.path / directory.step_name(there[-1])

    def check_own(
        self, path: Path, run_id: str | None, there: dict[str, Any], here: dict[str, Any]
    ) -> None:
        """Raise CheckpointError unless a saved step is of this run, and of the shape asked for."""
        if differences := _differences(there, here):
            raise CheckpointError(
                f"{path}: the model is of another shape than run.json's: {differences}."
            )
        if run_id not in (None, self.asked().get("run_id")):
            raise CheckpointError(f"{path} is of another run than {self.path}/run.json.")

    def has(self, step: int) -> bool:
        """Whether this step has been saved."""
        return (self.path / directory.step_name(step)).exists()

    def keep(
        self,
        step: int,
        files: dict[str, Content],
        *,
        best: int | None,
        validated: int,
        finished: bool,
    ) -> Saved:
        """Write the files of a step, and move the pointers."""
        path = save_step(self.path, step, files)
        self.point(step, best=best, validated=validated, finished=finished)
        return Saved(step, path)

    def point(self, latest: int, *, best: int | None, validated: int, finished: bool) -> None:
        """Bring pointers.json up to date, then drop what neither is the best step nor the last.

        After a save, and after a kill amid one. Without a best step the last one is what readers
        take, and that of the last validation stays, too: it is the one to go back to.
        """
        kept = {latest, validated if best is None else best}
        if best is None or best not in directory.steps(self.path):
            best = latest
        pointers = {"latest": latest, "best": best, "finished": finished}
        if directory.pointers(self.path) != pointers:
            directory.write_json(self.path / "pointers.json", pointers)
        directory.remove_steps(self.path, kept)

    def log(self, values: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl, then tell ``on_log`` of it."""
        directory.append_line(self.path / "metrics.jsonl", json.dumps(values, allow_nan=False))
        if self.on_log is not None:
            self.on_log(values)

    def cut_metrics(self, step: int) -> None:
        """Drop what was logged after the step that is gone on from: it will be logged again."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        log = read_file(path, _LARGEST_LOG).decode("utf-8", "replace")
        kept = ""
        for line in log.splitlines():
            logged = _logged_step(line)
            if logged is not None and logged <= step:
                kept += f"{line}\n"
        if kept != log:
            directory.write_text(path, kept)


def _differences(saved: dict[str, Any], asked: dict[str, Any]) -> str:
    """The fields of a saved model's shape that are others in run.json."""
    return ", ".join(
        f"{name} is {saved.get(name, 0)} there, {asked.get(name, 0)} in run.json"
        for name in {**saved, **asked}
        if saved.get(name) != asked.get(name)
    )


def _logged_step(line: str) -> int | None:
    """The step of a line of the log, or None for a line that a crash cut short."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    return step if type(step) is int else None
