"""Tracker: what is given each line of a run's log when it is written, as a dict.

It hears what metrics.jsonl gets, after that has it, so nothing depends on it: its first error is
told, and the training goes on. A run does not remember its tracker: opening a run that someone
else made imports nothing of theirs.
"""

import contextlib
import dataclasses
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from charlm.checkpoints.directory import TENSORBOARD
from charlm.checkpoints.run import Run
from charlm.errors import FieldError
from charlm.training.request import Say

Logged: TypeAlias = dict[str, Any]
Log: TypeAlias = Callable[[Logged], object]
LogTo: TypeAlias = str | Log


@dataclasses.dataclass(frozen=True)
class Tracker:
    """What ``log_to`` names. ``open`` gives what is called, for a run and the step it is at."""

    name: str
    open: Callable[[Path, int], contextlib.AbstractContextManager[Log]]


@contextlib.contextmanager
def following(run: Run, tracker: Tracker | None, step: int, tell: Say) -> Iterator[None]:
    """Give a tracker each line that a run logs within; the first of its errors is told."""
    if tracker is None:
        yield
        return
    untold = [tracker.name]

    def failed(error: BaseException) -> None:
        while untold:
            with contextlib.suppress(OSError):  # nobody is there to be told
                tell(f"`log_to={untold.pop()}`: {_named(error)}; the training goes on")

    with contextlib.ExitStack() as opened:
        try:
            log = opened.enter_context(tracker.open(run.path, step))
        except OSError as error:
            failed(error)
            yield
            return

        def hear(values: Logged) -> None:
            try:
                log(dict(values))
            except (Exception, SystemExit) as error:
                failed(error)

        run.on_log = hear
        try:
            yield
        finally:
            run.on_log = None


def tracker_of(log_to: LogTo) -> Tracker:
    """The tracker of a name, "tensorboard" or "module:function", or of a function itself.

    The module is imported. Raises FieldError if there is no such thing, or what it needs is not
    installed.
    """
    if callable(log_to):
        name = getattr(log_to, "__qualname__", type(log_to).__qualname__)
        return Tracker(name, lambda *_: contextlib.nullcontext(log_to))
    if log_to == TENSORBOARD:
        if importlib.util.find_spec("tensorboardX") is None:
            raise FieldError(
                "log_to", "tensorboard needs tensorboardX: pip install 'charlm[tensorboard]'."
            )
        from charlm.training.tracking.event_file import EventFile

        return Tracker(TENSORBOARD, EventFile)
    function = _function(log_to)
    return Tracker(log_to, lambda *_: contextlib.nullcontext(function))


def _function(name: str) -> Log:
    """The function that "module:function" names."""
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise FieldError("log_to", f"is {TENSORBOARD} or module:function, got {name!r}.")
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        raise FieldError("log_to", f"{name} cannot be imported: {_named(error)}.") from None
    if not callable(found):
        raise FieldError("log_to", f"{name} is no function: it is a {type(found).__name__}.")
    function: Log = found
    return function


def _named(error: BaseException) -> str:
    """An error in a line, by the name of its class."""
    what = " ".join(str(error).split())
    return f"{type(error).__name__}: {what}" if what else type(error).__name__
