"""The errors a caller may want to catch, and the exit code each has on the command line.

    CharlmError            1   anything charlm refuses or cannot do
    ├── UsageError         2   an option or argument that makes no sense
    ├── TextError          3   text that cannot be read, decoded or used
    ├── CheckpointError    4   a checkpoint that is missing, damaged or of another kind
    ├── DivergedError      5   training produced numbers that are not finite
    └── LockedError        6   another process is writing to the same run

A message is one or two sentences: what was wrong, what was got, what to do.
"""


class CharlmError(Exception):
    """Base of every error that charlm raises on purpose."""

    exit_code = 1


class UsageError(CharlmError):
    """An option or argument is out of range or contradicts another."""

    exit_code = 2


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
