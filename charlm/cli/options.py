"""Options that several commands have, each with one name, one type and one line of help."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rules
from charlm.config import RUNS, SPLITS
from charlm.errors import UsageError, must_be_one_of
from charlm.metrics import UNITS
from charlm.training.request import CONFIG_FIELDS


def one_of(option: str, *choices: str) -> Callable[[str | None], str | None]:
    """A callback of an option: the choice that was meant, in whatever case it was written.

    The callback raises UsageError for anything else.
    """
    by_lower = {choice.lower(): choice for choice in choices}

    def chosen(value: str | None) -> str | None:
        if value is None:
            return None
        if value.lower() not in by_lower:
            raise UsageError(f"{option} {must_be_one_of(choices, value)}")
        return by_lower[value.lower()]

    return chosen


# The model

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A run's name, or a path.  [default: the newest finished run]",
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        help="A run's name, or a path; several are mixed.  [default: the newest finished run]",
    ),
]
Runs = Annotated[
    Path,
    typer.Option("--runs", envvar="CHARLM_RUNS", metavar="DIR", help="The directory of runs."),
]
Weights = Annotated[
    str | None,
    typer.Option(help="Of several models, such as 0.7,0.3.  [default: equal]"),
]
Tune = Annotated[
    Path | None, typer.Option(help="Mix as suits this text best, which none was trained on.")
]
Alone = Annotated[
    bool, typer.Option("--alone", help="The network without its n-grams and its cache.")
]
Label = Annotated[
    str | None,
    typer.Option(help="Of a model with labels, this one.  [default: all, by their share]"),
]
Closed = Annotated[
    bool, typer.Option("--closed", help="<UNK> as one symbol, its spelling left out.")
]


def model_option(run: Path) -> str:
    """The options by which another command finds a run, with a space in front."""
    return f" --model {run.name}{_runs_option(run.parent)}"


def name_option(run: Path) -> str:
    """The same for ``charlm train --resume``."""
    return f" --name {run.name}{_runs_option(run.parent)}"


def _runs_option(root: Path) -> str:
    usual = Path(os.environ.get("CHARLM_RUNS") or RUNS)
    return "" if root == usual else f" --runs {shlex.quote(str(root))}"


# The form of results

Unit = Annotated[
    str,
    typer.Option(
        help="Of log-probabilities: nats, bits or log10.", callback=one_of("--unit", *UNITS)
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON Lines, full precision.")]
Tsv = Annotated[bool, typer.Option("--tsv", help="Tab-separated, full precision.")]

# Files

FileEncoding = Annotated[str, typer.Option(help="Of the file.")]
FilesEncoding = Annotated[str, typer.Option(help="Of the files.")]
Errors = Annotated[
    str,
    typer.Option(
        help="What to do with bytes that are no text: strict or replace.",
        callback=one_of("--errors", "strict", "replace", "surrogateescape"),
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        help="The column that is the text, its number or name.  [default: the other one of two]"
    ),
]
TextField = Annotated[
    str | None,
    typer.Option(help="The field that is the text, doc.text inside another.  [default: text]"),
]

SplitOn = Annotated[
    str | None,
    typer.Option(
        help="A text of a file is a line, paragraph or file.  [default: line]",
        callback=one_of("--split-on", *SPLITS),
    ),
]
Null = Annotated[
    bool,
    typer.Option("--null", "-0", help="A NUL ends each text of a file: of charlm sample -0."),
]

# Tokens with tags

TokenColumn = Annotated[
    str | None,
    typer.Option(
        help="The column of tokens, its number or its name in CoNLL-U.  [default: the first, or "
        "form]"
    ),
]
TagColumn = Annotated[
    str | None,
    typer.Option(
        help="The column of tags, its number or its name in CoNLL-U.  [default: the last, or upos]"
    ),
]

# Lines that hold texts (records.py)

Jsonl = Annotated[
    bool, typer.Option("--jsonl", help="Lines are JSON objects; results go in as fields.")
]
Field = Annotated[
    str, typer.Option(help="The field that is the text, with --jsonl; doc.text inside another.")
]
Column = Annotated[
    str | None, typer.Option(help="Lines are columns between tabs: the text's number or name.")
]
Csv = Annotated[
    bool,
    typer.Option("--csv", help="Columns stand between commas or semicolons, as in a .csv file."),
]
Header = Annotated[bool, typer.Option("--header", help="The first line names the columns.")]
Prefix = Annotated[str, typer.Option(help="In front of the names of results.")]
OnError = Annotated[
    str,
    typer.Option(
        help="What becomes of broken lines: stop, keep or drop.",
        callback=one_of("--on-error", "stop", "keep", "drop"),
    ),
]

# Rules that several commands have (rules.py)

MIXING: Rules = (Needs("--weights", "--model --model"), OneOf("--weights", "--tune"))
TEXT_OR_FILE: Rules = (
    OneOf("TEXTS", "--file"),
    Apart("TEXTS", ("--encoding", "--errors"), "such texts are not read from a file"),
)

CUT: Rules = (
    OneOf("--split-on", "--null"),
    Apart("TEXTS", ("--split-on", "--null"), "that is about the texts of a file"),
)

# The options of the command line that are not called as the field that they set.
_OPTION_OF = {config: name for name, config in CONFIG_FIELDS.items()}
_OPTION_OF |= {"seconds": "time", "num_steps": "steps", "unknown": "unk", "index": "no_index"}


def option_of(field: str) -> str:
    """The option that sets a field: hidden_size is --hidden."""
    return f"--{_OPTION_OF.get(field, field).replace('_', '-')}"
