"""The command line run inside this process, for tests that run it hundreds of times."""

import io
import signal
import sys
from typing import Any, NamedTuple

import pytest

from charlm import cli


class Ended(NamedTuple):
    """How a run of the command line ended: its exit code and the bytes of its two streams."""

    code: int
    out: bytes
    err: bytes


def charlm(*arguments: str, stdin: bytes = b"") -> Ended:
    """Run the command line with streams in memory, as if all were pipes."""
    out, err = io.BytesIO(), io.BytesIO()
    streams = (io.TextIOWrapper(io.BytesIO(stdin)), io.TextIOWrapper(out), io.TextIOWrapper(err))
    code = with_streams(*streams, arguments=arguments)
    for stream in streams[1:]:
        stream.flush()
    return Ended(code, out.getvalue(), err.getvalue())


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


def complaint(ended: Ended) -> str | None:
    """What is wrong with how a run ended; None if it worked or was refused in one clear sentence.

    Texts may be refused with 2 (usage) or 3 (text).
    """
    if b"Traceback" in ended.err or b"unexpected error" in ended.err:
        return f"a fault: {ended.err[-300:]!r}"
    if ended.code == 0:
        return None
    said = ended.err.decode().splitlines()[-1:]
    clear = said and said[0].startswith("charlm: error: ") and 20 < len(said[0]) < 400
    if ended.code not in (2, 3) or not clear or not said[0].endswith((".", ")", "FILE")):
        return f"exit {ended.code}: {ended.err[-300:]!r}"
    return None
