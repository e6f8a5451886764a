"""Writing to people and to pipes: data on stdout, all else on stderr."""

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from charlm.cli.option_names import in_options
from charlm.display.columns import char_width, width
from charlm.display.safe_text import is_unsafe, safe_text

if TYPE_CHECKING:
    from rich.console import Console


_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")


def say(message: str) -> None:
    """A line for the person, on stderr; nothing in it can drive the terminal or begin another.

    Fields that it names, as the library does, are told as options.
    """
    say_lines(safe_text(in_options(message)))


def say_lines(text: str) -> None:
    """The same of several lines, which the caller has made."""
    text = safe_text(text, keep="\n")
    if sys.stderr.isatty():
        columns = shutil.get_terminal_size().columns
        text = "\n".join(fitted(line, columns) for line in text.split("\n"))
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        raise
    except OSError:
        pass  # the terminal was closed: there is no one to tell


def say_loading() -> None:
    """Something to look at while torch is being imported, where someone is looking."""
    if sys.stderr.isatty():
        say("charlm: loading the model")


def out(text: str) -> None:
    """Data, on stdout: exact in a pipe, harmless on a terminal."""
    sys.stdout.write(safe_text(text, keep="\n\t") if sys.stdout.isatty() else text)


def out_painted(line: str) -> None:
    """A line for a person, whose colours are ours; nothing else in it can drive the terminal."""
    parts = _COLOUR.split(line)  # every other one is a code
    shown = (part if at % 2 else safe_text(part, keep="\t") for at, part in enumerate(parts))
    sys.stdout.write("".join(shown) + "\n" if sys.stdout.isatty() else line + "\n")


def out_line(line: str, end: str = "\n") -> None:
    """A line of data on stdout; bytes that were no text (PEP 383) go out as they came in.

    So does its end, in a pipe: CRLF, or nothing behind a last line.
    """
    try:
        line.encode()
    except UnicodeEncodeError:
        if not sys.stdout.isatty():
            sys.stdout.flush()
            sys.stdout.buffer.write((line + end).encode("utf-8", "surrogateescape"))
            return
    out(line + (end.strip("\r") or "\n" if sys.stdout.isatty() else end))


def out_bytes(parts: Iterable[bytes]) -> None:
    """A file on stdout, as it is."""
    for data in parts:
        sys.stdout.buffer.write(data)
    sys.stdout.flush()


def out_json(values: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own; what could drive a terminal stands there escaped."""
    line = json.dumps(values, ensure_ascii=False, allow_nan=False)
    if not line.isprintable():
        line = "".join(json.dumps(char)[1:-1] if is_unsafe(char) else char for char in line)
    sys.stdout.write(line + "\n")


def fitted(line: str, columns: int) -> str:
    """A line broken between words where it is too long.

    A command that it ends with, after a colon, is to be copied: it is never broken.
    """
    if width(line) <= columns:
        return line
    told, command = line, ""
    if (found := re.fullmatch(r"(.*?:) (charlm .*)", line)) is not None:
        told, command = found[1], f"\n  {found[2]}"
    return textwrap.fill(told, columns, break_long_words=False, break_on_hyphens=False) + command


def bar_console() -> "Console":
    """Where bars are drawn: on stderr, short of the edge.

    A terminal shows ^C where its cursor is; behind a bar as wide as it that would begin a line,
    and the bar would stay and be drawn once more.
    """
    from rich.console import Console, ConsoleDimensions

    class Narrower(Console):
        """A terminal without its last columns."""

        @property
        def size(self) -> ConsoleDimensions:
            """Columns and rows."""
            columns, rows = super().size
            return ConsoleDimensions(max(1, columns - len("^C") - 1), rows)

        @size.setter
        def size(self, new: tuple[int, int]) -> None:
            raise NotImplementedError

    return Narrower(stderr=True)


def cut(text: str, columns: int) -> str:
    """The text if it fits in so many columns (1 or more), else its beginning and an ellipsis."""
    if width(text) <= columns:
        return text
    kept, left = "", columns - 1
    for char in text:
        left -= char_width(char)
        if left < 0:
            break
        kept += char
    return f"{kept}…"


def is_live(stream: Any) -> bool:
    """Whether a stream is a terminal that can redraw a line."""
    return bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def colours(stream: Any) -> int:
    """How many colours a stream can show: 2**24, 256, or 0 where there shall be none."""
    terminal = os.environ.get("TERM", "")
    if (
        not is_live(stream)
        or os.environ.get("NO_COLOR")
        or terminal in ("", "linux")
        or terminal.startswith("vt")
    ):
        return 0
    return 2**24 if os.environ.get("COLORTERM") in ("truecolor", "24bit") else 256


def background() -> str | None:
    """``light`` or ``dark``, as the terminal says that its background is; most say nothing."""
    said = os.environ.get("COLORFGBG", "").rpartition(";")[2]
    if not said.isdecimal():
        return None
    return "light" if said in ("7", "15") else "dark"


def number(value: float | None) -> str:
    """A number for a machine to read: all its digits; nothing where there is none."""
    return "" if value is None else repr(float(value))
