"""The errors a caller may want to catch, and the exit code each has on the command line.

    CharlmError            1   anything charlm refuses or cannot do
    ├── UsageError         2   an option or argument that makes no sense
    │   ├── FieldError     2   a field of a config or request, by its name
    │   └── ChangedError   2   a run is gone on with, and asked for what it was not begun with
    ├── TextError          3   text that cannot be read, decoded or used
    ├── CheckpointError    4   a checkpoint that is missing, damaged or of another kind
    ├── DivergedError      5   training produced numbers that are not finite
    └── LockedError        6   another process is writing to the same run

A message is one or two sentences: what was wrong, what was got, what to do.
"""

from collections.abc import Iterable
from typing import Any


class CharlmError(Exception):
    """Base of every error that charlm raises on purpose."""

    exit_code = 1


class UsageError(CharlmError):
    """An option or argument is out of range or contradicts another."""

    exit_code = 2


class FieldError(UsageError):
    """A field, named as in Python, is out of range: ``what`` says how. Commands name their option.

    ``field`` is a name such as hidden_size; the command line calls it by its option.
    """

    def __init__(self, field: str, what: str) -> None:
        super().__init__(f"{field} {what}")
        self.field, self.what = field, what

    def __reduce__(self) -> tuple[type["FieldError"], tuple[str, str]]:
        return type(self), (self.field, self.what)  # on its way from another process


class ChangedError(UsageError):
    """A field is asked for that a run was begun without, or with another value.

    ``changes`` are (field, before, now).
    """

    def __init__(self, changes: list[tuple[str, Any, Any]]) -> None:
        self.changes = changes
        told = "; ".join(
            f"{name} is {'not given' if before is None else before} there, {now} here"
            for name, before, now in changes
        )
        super().__init__(f"a run goes on as it was begun: {told}.")


class TextError(CharlmError):
    """A text cannot be read, decoded or used for what was asked."""

    exit_code = 3


class CheckpointError(CharlmError):
    """A checkpoint is missing, damaged, or does not fit what was asked."""

    exit_code = 4


class DivergedError(CharlmError):
    """Training produced a loss or gradient that is not finite."""

    exit_code = 5


class LockedError(CharlmError):
    """Another process holds the lock of this run."""

    exit_code = 6


def must_be_one_of(choices: Iterable[str], got: object) -> str:
    """What is wrong with a value that is none of the choices, and which of them may be meant."""
    choices = tuple(choices)
    return f"must be {_either(choices)}, got {got!r}.{did_you_mean(str(got), choices)}"


def did_you_mean(got: str, choices: Iterable[str]) -> str:
    """ " Did you mean X?" of the choice that is most like what was got; "" where none is."""
    from difflib import get_close_matches

    by_lower = {choice.lower(): choice for choice in choices}
    found = get_close_matches(got.lower(), by_lower, n=1)
    return f" Did you mean {by_lower[found[0]]}?" if found else ""


def _either(choices: tuple[str, ...]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last
