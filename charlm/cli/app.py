"""The ``charlm`` command and what all its subcommands share."""

import functools
import importlib
import io
import os
import sys
from typing import Annotated, Any, TextIO

import typer
import typer.core

import charlm
from charlm.cli import completion, errors
from charlm.cli.command import ruled
from charlm.errors import CharlmError
from charlm.threads import one_by_one, share_cores

# In the order of the help, each with the first line of its own. Each is a module of commands/ that
# defines NAME_cli, and RULES if options depend on each other; it is imported when it is named. A
# command of two words is one of a group's, and stands in the folder of that name.
COMMANDS = {
    "train": "Train a model on text.",
    "sample": "Draw new sequences from a model.",
    "score": "Score texts: their probability, the end of each included.",
    "evaluate": "Measure how well a model predicts a text.",
    "compare": "Compare how well two models predict a text.",
    "classify": "Predict the label of each text.",
    "novelty": "Measure how much of the samples is copied from training text.",
    "fill": "Fill the gaps of a text.",
    "next": "Print the most likely next tokens.",
    "tag": "Tag each token.",
    "translate": "Write the likeliest target for each source.",
    "serve": "Serve models over HTTP, as OpenAI's completions and more.",
    "export": "Write a model in a form that other programs read.",
    "import": "Make a model of what another program has made.",
    "tokenize": "Show the tokens and ids of a text.",
    "inspect": "See what happens inside a model.",
    "curves": "Plot how trainings went.",
    "info": "Describe a model and how it was trained.",
    "list": "List all models, newest first.",
    "rm": "Delete runs, with all their checkpoints.",
    "help": "Show the help of a command.",
}
VIEWS = {
    "inspect gates": "Show how open the gates are at each token.",
    "inspect gradient": "Plot how far back the gradient of a loss reaches.",
    "inspect context": "Measure how much context a model uses.",
    "inspect units": "Find units that follow a feature of the text.",
    "inspect pairs": "Measure how often the good text of two is the likelier one.",
    "inspect embedding": "List the types that are nearest to one.",
}
_STANDS_IN = {
    "curves": "inspect.curves",
    "export": "exchange.export",
    "import": "exchange.take_in",
}

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_GROUP: dict[str, Any] = {
    "no_args_is_help": True,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "context_settings": _SETTINGS,
}
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


def module_of(name: str) -> Any:
    """The module of the command of this name."""
    path = _STANDS_IN.get(name, name.replace(" ", "."))
    return importlib.import_module(f"charlm.cli.commands.{path}")


@functools.cache
def subcommand(name: str) -> Any:
    """The command of this name, with all its options, or with all its commands."""
    from charlm.cli.input.declared import expanded

    module = module_of(name)
    function = getattr(module, f"{name.rpartition(' ')[2]}_cli")
    if any(view.startswith(f"{name} ") for view in VIEWS):
        group = typer.Typer(cls=Views, name=name, add_completion=False, **_GROUP)
        group.callback()(function)
        return typer.main.get_command(group)
    rules, unsaid = getattr(module, "RULES", ()), getattr(module, "UNSAID", None)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command(name, cls=ruled(rules, unsaid), context_settings=_SETTINGS)(expanded(function))
    return typer.main.get_command(alone)


class Commands(typer.core.TyperGroup):
    """Commands: to list them a line of each will do, and the one that is named is made."""

    prefix, lines = "", COMMANDS

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {
            name.removeprefix(self.prefix): typer.core.TyperCommand(name, help=line)
            for name, line in self.lines.items()
        }

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what stands before the command."""
        option: Any
        for option in self.get_params(ctx):
            if option.is_flag and option.default is None:
                option.default = False  # typer would import pydantic to make a bool of None
        if any(argument in completion.ASKED for argument in args):
            completion.complete_at_once()
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that is named first, and the arguments that are left for it."""
        name, found, rest = super().resolve_command(ctx, args)
        if name != "train":  # which measures as it goes on how many threads suit it
            share_cores()
        else:
            from charlm.training.ranks.launched import launched

            one_of = launched()
            errors.speaks = one_of is None or one_of.rank == 0
        return name, found and subcommand(found.name), rest


class Views(Commands):
    """The views of charlm inspect."""

    prefix, lines = "inspect ", VIEWS

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The view that is named first, which reads a text token after token."""
        one_by_one()
        return super().resolve_command(ctx, args)


app = typer.Typer(name="charlm", cls=Commands, **_GROUP)
app.callback()(charlm_cli)


def main() -> None:
    """Run the command line."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - for good
    sys.stdout, sys.stderr = _writable(sys.stdout), _writable(sys.stderr)
    try:
        sys.exit(app(prog_name="charlm", standalone_mode=False))
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
