"""How far a command has come through a file: a bar on stderr, where somebody looks at it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from charlm.cli.terminal import is_live

if TYPE_CHECKING:
    from rich.progress import Progress


class Meter:
    """Counts lines and bytes. Shows nothing where stdout is a terminal: the lines tell enough."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines = 0
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        if not is_live(sys.stderr) or sys.stdout.isatty():
            return self
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        path = Path(self._file)
        sized = path.is_file() and path.suffix != ".gz"
        self._progress = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.fields[lines]:,} lines"),
            *((TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn()) if sized else ()),
            console=Console(stderr=True),
            transient=True,
        )
        self._progress.add_task("", total=path.stat().st_size if sized else None, lines=0)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, lines: int, end: int) -> None:
        """So many lines more have been dealt with; ``end`` bytes of the file in all."""
        self._lines += lines
        if self._progress is not None:
            task = self._progress.tasks[0].id
            self._progress.update(task, completed=end, lines=self._lines)
