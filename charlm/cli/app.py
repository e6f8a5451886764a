"""The ``charlm`` command and what all its subcommands share."""

import io
import os
import sys
from typing import Annotated, Any, TextIO

import typer

import charlm
from charlm.cli import errors
from charlm.cli.command import Commands, ruled
from charlm.cli.commands import (
    classify,
    compare,
    evaluate,
    fill,
    info,
    novelty,
    rm,
    sample,
    score,
    tag,
    tokenize,
    train,
)
from charlm.cli.commands import list as list_command  # the modules' own names are builtins'
from charlm.cli.commands import next as next_command
from charlm.cli.output.terminal import out
from charlm.errors import CharlmError, UsageError, did_you_mean

app = typer.Typer(
    name="charlm",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


# An option that there is not, an argument too many: of these errors typer shows but one kind.
_MISUSE: tuple[type[Any], ...] = typer.BadParameter.__bases__


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"charlm {charlm.__version__}\n")
        raise typer.Exit


@app.callback()
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


app.command("train", cls=ruled(train.RULES, {"--demo": train.DEMO}))(train.train_cli)
app.command("sample", cls=ruled(sample.RULES))(sample.sample_cli)
app.command("score", cls=ruled(score.RULES))(score.score_cli)
app.command("evaluate", cls=ruled(evaluate.RULES))(evaluate.evaluate_cli)
app.command("compare", cls=ruled(()))(compare.compare_cli)
app.command("classify", cls=ruled(classify.RULES))(classify.classify_cli)
app.command("novelty", cls=ruled(novelty.RULES))(novelty.novelty_cli)
app.command("fill", cls=ruled(fill.RULES))(fill.fill_cli)
app.command("next", cls=ruled(next_command.RULES))(next_command.next_cli)
app.command("tag", cls=ruled(tag.RULES))(tag.tag_cli)
app.command("tokenize", cls=ruled(()))(tokenize.tokenize_cli)
app.command("info", cls=ruled(info.RULES))(info.info_cli)
app.command("list", cls=ruled(()))(list_command.list_cli)
app.command("rm", cls=ruled(()))(rm.rm_cli)


@app.command("help", cls=ruled(()))
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
