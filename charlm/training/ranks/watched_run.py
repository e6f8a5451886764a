"""WatchedRun: a run as it is to those of several processes that do not write it."""

from typing import Any

from charlm.checkpoints import directory
from charlm.checkpoints.files import Content
from charlm.checkpoints.run import Run, Saved


class WatchedRun(Run):
    """A run of which another process holds the lock: it is read, and what would change it does
    nothing here.
    """

    def __enter__(self) -> "WatchedRun":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def check_new(self) -> None:
        """Whoever writes it checks."""

    def begin(self, asked: dict[str, Any]) -> None:
        """Whoever writes it begins it."""

    def extend(self, training: dict[str, Any]) -> None:
        """It notes a larger budget,"""

    def plan(self, training: dict[str, Any]) -> None:
        """a later plan,"""

    def keep(self, step: int, files: dict[str, Content], **pointers: Any) -> Saved:
        """writes the files of a step,"""
        del files, pointers
        return Saved(step, self.path / directory.step_name(step))

    def point(self, latest: int, **pointers: Any) -> None:
        """moves pointers,"""

    def log(self, values: dict[str, Any]) -> None:
        """appends to the log,"""

    def cut_metrics(self, step: int) -> None:
        """and drops what is logged again."""
