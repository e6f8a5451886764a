"""Where errors become one line on stderr and an exit code, and signals become a clean end."""

import contextlib
import errno
import functools
import os
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn, ParamSpec, TypeVar

from charlm.cli.option_names import in_options, option_of
from charlm.cli.output.terminal import say_lines
from charlm.cli.signals import amid_import, end, numbers
from charlm.display.safe_text import safe_text
from charlm.errors import CharlmError, FieldError, did_you_mean, must_be_one_of

P = ParamSpec("P")
R = TypeVar("R")

OUT_OF_MEMORY = (
    "charlm: error: out of memory: this machine, or a limit set on the process, has no more to "
    "give. Try a smaller --hidden or --batch-size, or less text at a time."
)
_NO_MEMORY = (
    "allocate memory",
    "out of memory",
    "not enough memory",
    "bad_alloc",
    "memory allocation",
    "failed to map segment",
)

debug = False  # set once, by the callback of the command line
speaks = True  # of several processes that train together the first


class Interrupted(BaseException):
    """A signal asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class Signals:
    """INT, TERM and HUP while held: the first is noted where that is asked, or raised.

    ``patient`` is true while the work in hand looks at ``received`` by itself; a second signal
    ends it all the same, unless it is ``enduring``: one of several processes, which whoever started
    them signals once more when another of them has ended.
    """

    def __init__(self, *, enduring: bool = False) -> None:
        self.received: int | None = None
        self.patient = False
        self._enduring = enduring
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        for number in numbers():
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise Interrupted if a signal has come."""
        if self.received is not None:
            raise Interrupted(self.received)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first = self.received is None
        if self.patient and (first or self._enduring):
            self.received = self.received or number
            return
        self.received = number
        if amid_import(frame):
            end(number, frame)
        raise Interrupted(number)


def guarded(function: Callable[P, R]) -> Callable[P, R]:
    """A command that ends with one line on stderr and the error's exit code, not a traceback."""

    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with Signals() as signals:
                result = function(*args, **kwargs)
                sys.stdout.flush()
                signals.check()  # what was raised amid a destructor went no further
                return result
        except CharlmError as error:
            complain_of(error)
        except Interrupted as interrupted:
            if any(thread.daemon for thread in threading.enumerate()):
                # At work in C++ still (tokenizers/subword.py): a usual exit would pull its
                # memory away under it.
                end(interrupted.exit_code - 128, None)
            _complain("charlm: interrupted", interrupted.exit_code)
        except BrokenPipeError:
            _silence(sys.stdout, sys.stderr)  # whoever read has gone
            raise SystemExit(128 + 13) from None
        except OSError as error:
            if is_out_of_memory(error):
                _complain(OUT_OF_MEMORY, 1)
            _silence(sys.stdout)
            what = error.strerror or str(error)
            where = "" if error.filename is None else f" ({error.filename})"
            _complain(f"charlm: error: {_in_a_line(what + where)}.", 1)
        except Exception as error:
            if is_out_of_memory(error):
                _complain(OUT_OF_MEMORY, 1)
            message = f"charlm: unexpected error: {type(error).__name__}: {_in_a_line(error)}"
            _complain(f"{message}\nThis is a fault of charlm; --debug shows where.", 1)

    return command


_TEXTS = ("text", "texts", "prefix")  # arguments that are no names of files


def takes(command: Any) -> str | None:
    """What a command's argument is, a text or a file; None where it has none."""
    names = [one.name for one in command.params if one.param_type_name == "argument"]
    if not names:
        return None
    return "a text" if any(name in _TEXTS for name in names) else "a file"


def behind_dashes(command: str, what: str, argument: str) -> str:
    """What to type for an argument that begins as an option does."""
    return f"If it is {what}, put it behind --: {command} -- {shlex.quote(argument)}"


def complain_of(error: CharlmError) -> NoReturn:
    """One line, and the exit code of the error; a field is called by the option that sets it."""
    what = f"{option_of(error.field)} {error.what}" if isinstance(error, FieldError) else str(error)
    _complain(f"charlm: error: {_in_a_line(in_options(what))}", error.exit_code)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, whoever raised it.

    torch, its kernels and the loader of libraries have no type of error for it, but words.
    """
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    library = isinstance(error, (RuntimeError, ImportError))
    return library and any(words in str(error).lower() for words in _NO_MEMORY)


def complain_of_usage(error: Any) -> NoReturn:
    """What typer has to say of the command line, which can hold anything: names of files too."""
    if type(error).__name__ == "NoArgsIsHelpError":
        _complain(error.message, error.exit_code)
    what = _in_a_line(_what_is_wrong(error)).rstrip(".")
    end = "" if what.endswith("?") else "."
    command = "charlm" if error.ctx is None else error.ctx.command_path
    _complain(f"charlm: error: {what}{end} See {command} --help.", error.exit_code)


def _what_is_wrong(error: Any) -> str:
    """What an error of typer's says, in the words of charlm's own."""
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        meant = did_you_mean(option, error.possibilities or ())
        if not meant and error.ctx is not None and (what := takes(error.ctx.command)) is not None:
            given = next((one for one in sys.argv[1:] if one.startswith(option)), option)
            meant = f" {behind_dashes(error.ctx.command_path, what, given)}"
        return f"there is no option {option}.{meant}"
    if (
        command := re.fullmatch(r"No such command '(.*?)'.*", error.message, re.DOTALL)
    ) is not None:
        there = error.ctx.command.commands
        return f"there is no command {command[1]!r}.{did_you_mean(command[1], there)}"
    if getattr(error, "param", None) is not None and error.message:
        told = _of_choice(error) or _of_value(error)
        return f"{_named(error.param)} {told}"
    told = str(error.format_message())
    return told[:1].lower() + told[1:]


def _named(parameter: Any) -> str:
    """An option by its longest name, an argument by what help calls it."""
    names = [name for name in parameter.opts if name.startswith("-")]
    return max(names, key=len) if names else str(parameter.make_metavar())


_KINDS = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
}


def _of_choice(error: Any) -> str | None:
    """What is wrong with a value that is none of an option's choices."""
    choices = error.param.type_descriptor.choices
    found: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    return must_be_one_of(choices, found[0]["input"]) if choices and found else None


def _of_value(error: Any) -> str:
    """What is wrong with a value: the parser's own words where charlm has none for it."""
    found: list[dict[str, Any]] = getattr(error.__cause__, "errors", list)()
    if not found:
        return f"is not usable: {error.message}"
    kind, told = found[0]["type"], found[0]["msg"].removeprefix("Input should be ")
    told = _KINDS.get(kind, told).format(**found[0].get("ctx", {}))
    return f"must be {told}, got {found[0]['input']}"


def _silence(*streams: Any) -> None:
    """Send what is left to nowhere: at exit it would only fail, and complain, once more."""
    for stream in streams:
        with contextlib.suppress(OSError):  # one that is no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _flush(stream: Any) -> None:
    """Write out what is left; where no one reads it any more, never mind."""
    try:
        stream.flush()
    except OSError:
        _silence(stream)


def _in_a_line(what: object) -> str:
    """A message as one line: a newline in a name cannot begin another that looks like charlm's."""
    return safe_text(str(what))


def _complain(message: str, exit_code: int) -> NoReturn:
    if debug:
        say_lines(traceback.format_exc().rstrip())
    _flush(sys.stdout)  # on a terminal what came before stands before the complaint
    if speaks:
        say_lines(message)
    raise SystemExit(exit_code)
