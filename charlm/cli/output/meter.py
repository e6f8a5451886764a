"""How far a command has come through its files, on stderr: a bar, where somebody looks at it."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from charlm.cli.output.terminal import bar_console, is_live, say
from charlm.text.files import unpacked_size

if TYPE_CHECKING:
    from rich.progress import Progress

    from charlm.training.texts.streamed.place import Watched

T = TypeVar("T")

_SECONDS = 5.0  # between plain lines


class Meter:
    """Counts what has been dealt with, and bytes.

    Where stdout shows a line for each there is nothing to add on the same terminal. A command
    that says nothing until its end is ``silent``: its bar is there all the same, and where there
    is no bar a plain line every few seconds.
    """

    def __init__(
        self, *files: str, noun: str = "lines", silent: bool = False, size: int | None = None
    ) -> None:
        self._files = [Path(file) for file in files]
        self._size = size
        self._noun, self._silent = noun, silent
        self._count = 0
        self._said = time.monotonic()
        self._progress: Progress | None = None

    @property
    def size(self) -> int | None:
        """Bytes of all files, None where that is not known before they are read."""
        if self._size is not None:
            return self._size
        sizes = [unpacked_size(path) for path in self._files]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    def __enter__(self) -> Self:
        if not is_live(sys.stderr) or (sys.stdout.isatty() and not self._silent):
            return self
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        size = self.size
        sized = size is not None
        self._progress = Progress(
            BarColumn(bar_width=None),
            TextColumn("{task.fields[count]:,} {task.fields[noun]}{task.fields[note]}"),
            *((TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn()) if sized else ()),
            console=bar_console(),
            transient=True,
        )
        self._progress.add_task("", total=size, count=0, noun=self._noun, note="")
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, number: int, end: int, note: str = "") -> None:
        """So many more have been dealt with; ``end`` bytes of the files in all."""
        self._count += number
        note = note and f", {note}"
        if self._progress is not None:
            task = self._progress.tasks[0].id
            self._progress.update(task, completed=end, count=self._count, note=note)
        elif self._silent and time.monotonic() - self._said > _SECONDS:
            self._said = time.monotonic()
            say(f"{self._count:,} {self._noun}{note}")


class PassMeter:
    """Meters of the passes over a text, one after the other: call it with how far one has come.

    A ``silent`` one shows nothing.
    """

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._meter: Meter | None = None
        self._what = ""
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._meter is not None:
            self._meter.__exit__()
        self._meter = None

    def __call__(self, watched: "Watched | None") -> None:
        """Show it; None is that a pass is over."""
        if self._silent or watched is None:
            self.__exit__()
            return
        if self._meter is None or watched.what != self._what:
            self.__exit__()
            self._what, self._count = watched.what, 0
            noun = f"sequences ({watched.what})"
            self._meter = Meter(noun=noun, silent=True, size=watched.size).__enter__()
        done = min(1.0, watched.end / max(1, watched.size))
        note = f"{done:.0%}" if not is_live(sys.stderr) else ""
        self._meter.update(watched.sequences - self._count, watched.end, note)
        self._count = watched.sequences


def through(
    file: str,
    portions: Iterable[T],
    write: Callable[[T], None],
    lines: Callable[[T], Sequence[Any]] | None = None,
    *,
    silent: bool = False,
) -> None:
    """Write what comes of each portion of a file's lines or records.

    ``lines`` are those of a portion, where it is more than they are. Where nothing of it is seen
    on stdout it is ``silent``.
    """
    with Meter(file, silent=silent) as meter:
        for portion in portions:
            write(portion)
            sys.stdout.flush()
            there: Any = portion if lines is None else lines(portion)
            meter.update(len(there), there[-1].end)
