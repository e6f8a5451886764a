"""The ``charlm`` command and what all its subcommands share."""

import functools
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, TextIO

import typer

import charlm
from charlm.cli import errors
from charlm.cli.command import Commands, ruled
from charlm.cli.output.terminal import out
from charlm.errors import CharlmError, UsageError, did_you_mean

# In the order of the help. Each is a module of commands/ that defines NAME_cli, and RULES if
# options depend on each other.
COMMANDS = (
    *("train", "sample", "score", "evaluate", "compare", "classify", "novelty", "fill", "next"),
    *("tag", "tokenize", "info", "list", "rm"),
)

# An option that there is not, an argument too many: of these errors typer shows but one kind.
_MISUSE: tuple[type[Any], ...] = typer.BadParameter.__bases__


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"charlm {charlm.__version__}\n")
        raise typer.Exit


def charlm_cli(
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train recurrent language models on your own text, sample from them, score with them.

    \b
    charlm train corpus.txt
    charlm sample --n 200
    charlm score "The apple and pear salad"
    """
    errors.debug = debug


def help_cli(
    context: typer.Context,
    command: Annotated[
        str | None, typer.Argument(help="Name of a command.  [default: all]", show_default=False)
    ] = None,
) -> None:
    """Show the help of a command.

    \b
    charlm help train
    """
    group: Any = context.parent and context.parent.command
    if command is None:
        out(f"{group.get_help(context.parent)}\n")
    elif (wanted := group.commands.get(command)) is not None:
        about = type(context)(wanted, info_name=command, parent=context.parent)
        out(f"{wanted.get_help(about)}\n")
    else:
        raise UsageError(
            f"there is no command {command!r}.{did_you_mean(command, group.commands)} "
            "See charlm --help."
        )


@functools.cache
def application(names: tuple[str, ...] = COMMANDS) -> typer.Typer:
    """The command with these of its subcommands: to make all of them takes longer than to score."""
    made = typer.Typer(
        name="charlm",
        cls=Commands,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    made.callback()(charlm_cli)
    for name in names:
        module = importlib.import_module(f"charlm.cli.commands.{name}")
        rules, unsaid = getattr(module, "RULES", ()), getattr(module, "UNSAID", None)
        made.command(name, cls=ruled(rules, unsaid))(getattr(module, f"{name}_cli"))
    made.command("help", cls=ruled(()))(help_cli)
    return made


def __getattr__(name: str) -> Any:
    """``app`` is the command with all its subcommands, made when it is asked for (PEP 562)."""
    if name == "app":
        return application()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _needed(arguments: Sequence[str]) -> tuple[str, ...]:
    """The subcommand that is named; all of them where help, completion or an error needs them."""
    first = next((argument for argument in arguments if not argument.startswith("-")), None)
    return (first,) if first in COMMANDS else COMMANDS


def main() -> None:
    """Run the command line."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for good
    sys.stdout, sys.stderr = _writable(sys.stdout), _writable(sys.stderr)
    try:
        sys.exit(application(_needed(sys.argv[1:]))(prog_name="charlm", standalone_mode=False))
    except _MISUSE as error:
        errors.complain_of_usage(error)
    except CharlmError as error:  # of an option's own check
        errors.complain_of(error)


def _writable(stream: TextIO | None) -> TextIO:
    """The stream, ready for any text: what no terminal can show, and lone surrogates."""
    if not isinstance(stream, io.TextIOWrapper):  # closed by whoever started the program
        return open(os.devnull, "w", encoding="utf-8")
    stream.reconfigure(encoding="utf-8", errors="replace")
    return stream
