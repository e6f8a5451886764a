"""Options that several commands have, each with one name, one type and one line of help."""

import os
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rules
from charlm.cli.input.run_names import completed
from charlm.config import RUNS, Split
from charlm.metrics import Unit as UnitName

# Headings of the help; what has none stands under Options.
MODEL, INPUT, OUTPUT = "Model", "Input", "Output"

# The model


def _runs(heading: str) -> Any:
    return typer.Option(
        "--runs",
        envvar="CHARLM_RUNS",
        metavar="DIR",
        help="Directory of runs.",
        rich_help_panel=heading,
    )


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Name of a run, or a path.  [default: the newest finished run]",
        autocompletion=completed,
        rich_help_panel=MODEL,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="Name of a run, or a path; several are mixed.  [default: the newest finished run]",
        autocompletion=completed,
        rich_help_panel=MODEL,
    ),
]
Runs = Annotated[Path, _runs(MODEL)]
RunsToWrite = Annotated[Path, _runs("Run")]
Weights = Annotated[
    str | None,
    typer.Option(
        help="Weights of several models, such as 0.7,0.3.  [default: equal]",
        rich_help_panel=MODEL,
    ),
]
Tune = Annotated[
    Path | None,
    typer.Option(help="Fit mixture weights to this held-out file.", rich_help_panel=MODEL),
]
Alone = Annotated[
    bool,
    typer.Option(
        "--alone",
        help="Use the network without its n-grams and its cache.",
        rich_help_panel=MODEL,
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        help="Condition on this label.  [default: all labels, by their share]",
        rich_help_panel=MODEL,
    ),
]
Closed = Annotated[
    bool,
    typer.Option(
        "--closed",
        help="Score <UNK> as one symbol, without its spelling.",
        rich_help_panel=MODEL,
    ),
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
    UnitName,
    typer.Option(help="Unit of log-probabilities.", case_sensitive=False, rich_help_panel=OUTPUT),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print JSON Lines, full precision.", rich_help_panel=OUTPUT),
]
JsonObject = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object, full precision.", rich_help_panel=OUTPUT),
]
Tsv = Annotated[
    bool,
    typer.Option(
        "--tsv", help="Print tab-separated values, full precision.", rich_help_panel=OUTPUT
    ),
]

# Files

Encoding = Annotated[str, typer.Option(help="Encoding of the text.", rich_help_panel=INPUT)]
Errors = Annotated[
    Literal["strict", "replace", "surrogateescape"],
    typer.Option(
        help="What to do with bytes that cannot be decoded.",
        case_sensitive=False,
        rich_help_panel=INPUT,
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the text, by number or name.  [default: the other one of two]",
        rich_help_panel=INPUT,
    ),
]
TextField = Annotated[
    str | None,
    typer.Option(
        help="Field of the text; doc.text is a field inside another.  [default: text]",
        rich_help_panel=INPUT,
    ),
]

SplitOn = Annotated[
    Split | None,
    typer.Option(
        help="What one text of a file is.  [default: line]",
        case_sensitive=False,
        rich_help_panel=INPUT,
    ),
]
SplitAsTrained = Annotated[
    Split | None,
    typer.Option(
        help="What one sequence of a file is.  [default: as in training]",
        case_sensitive=False,
        rich_help_panel=INPUT,
    ),
]
Null = Annotated[
    bool,
    typer.Option(
        "--null",
        "-0",
        help="A NUL ends each text of a file, as charlm sample -0 writes it.",
        rich_help_panel=INPUT,
    ),
]
Labelled = Annotated[
    str | None,
    typer.Option(
        help="Where the true label stands: file, directory, column:2, column:kind or field:kind.",
        rich_help_panel=INPUT,
    ),
]

# Tokens with tags

TokenColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the tokens, by number or by its name in CoNLL-U.  [default: first, or "
        "form]",
        rich_help_panel=INPUT,
    ),
]
TagColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the tags, by number or by its name in CoNLL-U.  [default: last, or upos]",
        rich_help_panel=INPUT,
    ),
]

# Lines that hold texts (input/records.py)

Jsonl = Annotated[
    bool,
    typer.Option(
        "--jsonl",
        help="Read JSON objects, one per line; results are added as fields.",
        rich_help_panel=INPUT,
    ),
]
Field = Annotated[
    str,
    typer.Option(
        help="Field of the text, with --jsonl; doc.text is a field inside another.",
        rich_help_panel=INPUT,
    ),
]
Column = Annotated[
    str | None,
    typer.Option(
        help="Read tab-separated lines: column of the text, by number or name.",
        rich_help_panel=INPUT,
    ),
]
Csv = Annotated[
    bool,
    typer.Option(
        "--csv",
        help="Columns are separated by commas or semicolons, as in a .csv file.",
        rich_help_panel=INPUT,
    ),
]
Header = Annotated[
    bool,
    typer.Option("--header", help="The first line names the columns.", rich_help_panel=INPUT),
]
Prefix = Annotated[
    str, typer.Option(help="Prefix for the names of results.", rich_help_panel=OUTPUT)
]
OnError = Annotated[
    Literal["stop", "keep", "drop"],
    typer.Option(help="What to do with broken lines.", case_sensitive=False, rich_help_panel=INPUT),
]

# Rules that several commands have (input/option_rules.py)

MIXING: Rules = (Needs("--weights", "--model --model"), OneOf("--weights", "--tune"))
TEXT_OR_FILE: Rules = (
    OneOf("TEXTS", "--file"),
    Apart("TEXTS", ("--encoding", "--errors"), "such texts are not read from a file"),
)

CUT: Rules = (
    OneOf("--split-on", "--null"),
    Apart("TEXTS", ("--split-on", "--null"), "that is about the texts of a file"),
)
