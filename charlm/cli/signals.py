"""How a signal ends the program where there is nothing to save: at once, with its exit code."""

import contextlib
import os
import signal
from types import FrameType
from typing import NoReturn

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_SHOW_CURSOR = b"\x1b[?25h"


def numbers() -> list[int]:
    """The signals that ask a program to end; Windows has no SIGHUP.

    One that is ignored is left alone: that is how nohup keeps a program alive.
    """
    there = [int(getattr(signal, name)) for name in NAMES if hasattr(signal, name)]
    return [number for number in there if signal.getsignal(number) is not signal.SIG_IGN]


def end_on_signals() -> None:
    """From here on these signals end the program, where no command holds them."""
    for number in numbers():
        signal.signal(number, end)


def end(number: int, _frame: FrameType | None) -> NoReturn:
    """End without a word of Python's: no handlers, no destructors, no traceback."""
    message = b"charlm: interrupted\n"
    with contextlib.suppress(OSError):  # the terminal was closed
        os.write(2, (_SHOW_CURSOR if os.isatty(2) else b"") + message)
    os._exit(128 + number)


def amid_import(frame: FrameType | None) -> bool:
    """Whether a frame runs below an import, which may swallow what is raised in it."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
