"""The command line run inside this process, with streams of its own."""

import io
import json
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from charlm import cli

TINY = ("--steps", "3", "--hidden", "8")  # a training of a moment
BEST = re.compile(
    r"best validation loss: (\d+\.\d{4}) nats per token, (\d+\.\d{4}) bits per character "
    r"\(step \d+\)\n"
)


@dataclass(frozen=True)
class Ended:
    """How a run of the command line ended: its exit code, and what it wrote, in order.

    It can be taken apart: code, out, err = charlm("list").
    """

    code: int
    written: tuple[tuple[str, bytes], ...]  # (stdout or stderr, what was written)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.code, self.out, self.err))

    def _of(self, *names: str) -> bytes:
        return b"".join(data for name, data in self.written if name in names)

    @property
    def stdout(self) -> bytes:
        """The bytes of standard output."""
        return self._of("stdout")

    @property
    def stderr(self) -> bytes:
        """The bytes of standard error."""
        return self._of("stderr")

    @property
    def out(self) -> str:
        """The text of standard output."""
        return self.stdout.decode()

    @property
    def err(self) -> str:
        """The text of standard error."""
        return self.stderr.decode()

    @property
    def both(self) -> str:
        """Both streams, as a terminal shows them."""
        return self._of("stdout", "stderr").decode()


class _Output(io.RawIOBase):
    """A stream that notes what is written to it in a list that it shares."""

    def __init__(self, name: str, written: list[tuple[str, bytes]], *, terminal: bool) -> None:
        self.label, self.written, self.terminal = name, written, terminal

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.terminal

    def write(self, data: Any) -> int:
        self.written.append((self.label, bytes(data)))
        return len(data)


class _Input(io.BytesIO):
    """Bytes that may be said to come from a terminal."""

    terminal = False

    def isatty(self) -> bool:
        return self.terminal


def charlm(*arguments: str, stdin: bytes = b"", terminal: bool = False) -> Ended:
    """Run the command line with streams in memory: pipes, or a terminal."""
    written: list[tuple[str, bytes]] = []
    given = _Input(stdin)
    given.terminal = terminal
    out, err = (
        io.TextIOWrapper(io.BufferedWriter(_Output(name, written, terminal=terminal)))
        for name in ("stdout", "stderr")
    )
    code = with_streams(io.TextIOWrapper(given), out, err, arguments=arguments)
    for stream in (out, err):
        stream.flush()
    return Ended(code, tuple(written))


def with_streams(stdin: Any, stdout: Any, stderr: Any, *, arguments: tuple[str, ...]) -> int:
    """Run the command line with these streams and return its exit code."""
    handler = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["charlm", *arguments])
        for name, stream in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
            patch.setattr(sys, name, stream)
        try:
            cli.main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        finally:
            signal.signal(signal.SIGINT, handler)
    return 0


def good(*arguments: str, **options: Any) -> Ended:
    """Run the command line where it has to work."""
    ended = charlm(*arguments, **options)
    assert ended.code == 0, ended.err
    return ended


def bad(code: int, *arguments: str, **options: Any) -> str:
    """The one complaint of a run that has to end with this code: a sentence, no traceback."""
    ended = charlm(*arguments, **options)
    assert ended.code == code, ended.both
    assert "Traceback" not in ended.both
    assert "unexpected error" not in ended.both
    said = ended.err.splitlines()[-1]
    assert said.startswith("charlm: error: ")
    assert 20 < len(said) < 500  # a long path among it
    return said.removeprefix("charlm: error: ")


def lines_of_json(text: str) -> list[dict[str, Any]]:
    """JSON Lines, strictly: no NaN, no Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def runs() -> list[str]:
    """The names below checkpoints/, whatever they are."""
    return sorted(path.name for path in Path("checkpoints").glob("*"))


def complaint(ended: Ended) -> str | None:
    """What is wrong with how a run ended; None if it worked or was refused in one clear sentence.

    Texts may be refused with 2 (usage) or 3 (text).
    """
    if b"Traceback" in ended.stderr or b"unexpected error" in ended.stderr:
        return f"a fault: {ended.stderr[-300:]!r}"
    if ended.code == 0:
        return None
    said = ended.err.splitlines()[-1:]
    clear = said and said[0].startswith("charlm: error: ") and 20 < len(said[0]) < 400
    if ended.code not in (2, 3) or not clear or not said[0].endswith((".", ")", "FILE")):
        return f"exit {ended.code}: {ended.stderr[-300:]!r}"
    return None
