"""Options that several commands have, each with one name, one type and one line of help."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from charlm.cli.input.declared import Options, option
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rules
from charlm.cli.input.run_names import completed
from charlm.config import RUNS, Adapt, Split
from charlm.metrics import Unit

if TYPE_CHECKING:
    from charlm.text.labelled import LabelSource
    from charlm.text.pairs import PairPlaces

# Headings of the help; what has none stands under Options.
MODEL, INPUT, OUTPUT, SEARCH = "Model", "Input", "Output", "Search"

# The model

ROOT = option("Directory of runs.", RUNS, "--runs", metavar="DIR", envvar="CHARLM_RUNS")


def _model(told: str) -> Any:
    newest = "  [default: the newest finished run]"
    names = ("--model", "-m")
    return option(f"{told}{newest}", None, *names, metavar="NAME", completed=completed)


RUN = typer.Argument(
    None,
    help="Name of a run, or a path.  [default: the newest finished run]",
    show_default=False,
    autocompletion=completed,
)
SEVERAL_SERVED = _model("Name of a run, or a path; several are served by their names.")
ALONE = option("Use the network without its n-grams and its cache.", False)
_NGRAM_ONLY = option("Use a translator's n-grams without the network.", False)
CLOSED = option("Score <UNK> as one symbol, without its spelling.", False, heading=MODEL)


class Runs(Options, heading=MODEL):
    """Where runs are."""

    root: Path = ROOT


class Model(Options, heading=MODEL):
    """One model, None for the newest."""

    model: str | None = _model("Name of a run, or a path.")
    root: Path = ROOT


class PairsModel(Model):
    """One model that writes targets for sources."""

    alone: bool = ALONE
    ngram_only: bool = _NGRAM_ONLY


class LabelledModel(Model):
    """One model that tells labels."""

    alone: bool = ALONE


class Mixture(Options, heading=MODEL):
    """One model, or several as one."""

    model: list[str] | None = _model("Name of a run, or a path; several are mixed.")
    root: Path = ROOT
    weights: str | None = option("Weights of several models, such as 0.7,0.3.  [default: equal]")
    tune: Path | None = option("Fit mixture weights to this held-out file.")
    by_character: bool = option(
        "Mix models of words and of characters one character at a time, not text by text.", False
    )
    alone: bool = ALONE
    adapt: Adapt = option(
        "Mix in contexts of the training text, for a model trained with --adaptive; frozen: as "
        "they were then; sequence: go on learning within each sequence; file: all along the file.",
        "off",
    )
    label: str | None = option("Condition on this label.  [default: all labels, by their share]")


class Judged(Mixture):
    """The same, or a translator, where texts or pairs are given."""

    ngram_only: bool = _NGRAM_ONLY


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

UNIT = option("Unit of log-probabilities.", "nats", heading=OUTPUT)
JSON = option("Print JSON Lines, full precision.", False, heading=OUTPUT)
JSON_OBJECT = option("Print one JSON object, full precision.", False, heading=OUTPUT)
TSV = option("Print tab-separated values, full precision.", False, heading=OUTPUT)
PREFIX = option("Prefix for the names of results.", "", heading=OUTPUT)


class Printed(Options, heading=OUTPUT):
    """The form of figures of texts or tokens."""

    unit: Unit = UNIT
    json: bool = JSON
    tsv: bool = TSV


# Files

NULL = option(
    "A NUL ends each text of a file, as charlm sample -0 writes it.",
    False,
    "--null",
    "-0",
    heading=INPUT,
)
SPLIT_AS_TRAINED = option(
    "What one sequence of a file is.  [default: as in training]", heading=INPUT
)
FIELD = option(
    "Field of the text, with --jsonl; doc.text is a field inside another.", "text", heading=INPUT
)
FEATURES = option(
    "Features of the sources (V;PST), for a translator trained with them; in a file they stand "
    "behind a tab.",
    heading=INPUT,
)
HEADER = option("The first line names the columns.", False, heading=INPUT)


JOBS = option(
    "Number of processes that share the file, each with one thread.  [default: this one alone]",
    least=1,
    heading=INPUT,
)


def file(told: str) -> Any:
    """The file that a command reads."""
    return option(told, None, "--file", "-f", metavar="FILE", heading=INPUT)


class Decoding(Options, heading=INPUT):
    """How bytes become characters."""

    encoding: str = option("Encoding of the text.", "utf-8")
    errors: Literal["strict", "replace", "surrogateescape"] = option(
        "What to do with bytes that cannot be decoded.", "strict"
    )


class Cut(Options, heading=INPUT):
    """Where a text of a file ends."""

    split_on: Split | None = option("What one text of a file is.  [default: line]")
    null: bool = NULL

    @property
    def parting(self) -> str | None:
        """What ends a text, as streaming.ENDS has it; None where nobody asked for anything."""
        return "null" if self.null else self.split_on


class Labelled(Options, heading=INPUT):
    """Where the true labels of texts stand."""

    labelled: str | None = option(
        "Where the true label stands: file, directory, column:2, column:kind or field:kind."
    )
    text_column: str | None = option(
        "Column of the text, by number or name.  [default: the other one of two]"
    )
    text_field: str | None = option(
        "Field of the text; doc.text is a field inside another.  [default: text]"
    )

    def source(self, *, header: bool) -> "LabelSource | None":
        """The same as what reads them; None where no labels are known. Raises UsageError."""
        from charlm.text.labelled import LabelSource

        if self.labelled is None:
            return None
        return LabelSource.parse(
            self.labelled,
            text_column=self.text_column,
            text_field=self.text_field,
            header=header,
        )


class Columns(Options, heading=INPUT):
    """Where tokens and their tags stand."""

    token_column: str | None = option(
        "Column of the tokens, by number or by its name in CoNLL-U.  [default: first, or form]"
    )
    tag_column: str | None = option(
        "Column of the tags, by number or by its name in CoNLL-U.  [default: last, or upos]"
    )


class Sides(Options, heading=INPUT):
    """Where source and target of a translator's pairs stand."""

    source_column: str | None = option(
        "Column of the source, by number or name, for a translator.  [default: first]"
    )
    target_column: str | None = option("Column of the target.  [default: second]")
    features_column: str | None = option("Column of the source's features.")
    source_field: str | None = option("Field of the source, of JSON Lines.")
    target_field: str | None = option("Field of the target, of JSON Lines.")
    features_field: str | None = option("Field of the source's features, of JSON Lines.")

    def places(self, *, header: bool) -> "PairPlaces":
        """The same as what reads pairs. Raises UsageError."""
        from charlm.text.pairs import PairPlaces

        return PairPlaces.of(**vars(self), header=header)


class Records(Options, heading=INPUT):
    """Lines that hold texts (input/records.py)."""

    jsonl: bool = option("Read JSON objects, one per line; results are added as fields.", False)
    field: str = FIELD
    column: str | None = option("Read tab-separated lines: column of the text, by number or name.")
    csv: bool = option("Columns are separated by commas or semicolons, as in a .csv file.", False)
    header: bool = HEADER
    on_error: Literal["stop", "keep", "drop"] = option("What to do with broken lines.", "stop")


class Search(Options, heading=SEARCH):
    """How a translator finds its targets."""

    beam: int = option("Hypotheses that a translator keeps at each token.", 5, least=1)
    greedy: bool = option("Short for --beam 1: the likeliest token each time.", False)
    max_tokens: int | None = option(
        "Maximum number of tokens per target.  [default: ten times the source's, and 100]", least=1
    )
    length_penalty: float = option(
        "Rank by log P / tokens ** this: more than 0 is kinder to long targets.", 0.0
    )

    @property
    def width(self) -> int:
        """The hypotheses that are kept."""
        return 1 if self.greedy else self.beam


# Rules that several commands have (input/option_rules.py)

MIXING: Rules = (
    Needs(("--weights", "--by-character"), "--model --model"),
    OneOf("--weights", "--tune"),
    Apart(
        "--adapt",
        ("--alone", "--tune", "--label"),
        "it is about one model, as it was trained",
    ),
)
PARTNERS = OneOf("--alone", "--ngram-only")
TEXT_OR_FILE: Rules = (
    OneOf("TEXTS", "--file"),
    Apart("TEXTS", ("--encoding", "--errors"), "such texts are not read from a file"),
)

COLUMNS = ("--source-column", "--target-column", "--features-column")
SIDES = (*COLUMNS, "--source-field", "--target-field", "--features-field")
CUT: Rules = (
    OneOf("--split-on", "--null"),
    Apart("TEXTS", ("--split-on", "--null"), "that is about the texts of a file"),
)
