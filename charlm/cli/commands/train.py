"""charlm train."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from charlm.cli import options
from charlm.cli.input.declared import Flag, given, taking
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rule, Rules
from charlm.cli.option_names import option_of
from charlm.cli.output.terminal import say
from charlm.cli.training import train
from charlm.config import LEVELS, RUNS
from charlm.errors import CharlmError, UsageError
from charlm.training.kinds import CAUSAL, KINDS, Kind, TaskName
from charlm.training.request import GROUPS

# Short for --task cloze, and so on.
_SHORT: dict[TaskName, str] = {
    "cloze": "--bidirectional",
    "classifier": "--classifier",
    "tagger": "--tagger",
}


def _named(kind: Kind) -> tuple[str, ...]:
    """How a kind of model is asked for."""
    short = (_SHORT[kind.name],) if kind.name in _SHORT else ()
    return (*short, f"--task {kind.name}")


def _of_kinds() -> Iterator[Rule]:
    """What each kind of model lacks is refused, by the kind's own declaration."""
    for kind in KINDS.values():
        lacking = [option_of(name) for name in sorted(kind.lacks)]
        lacking += [f"--level {level}" for level in LEVELS if level not in kind.levels]
        yield Apart(_named(kind), tuple(lacking), kind.because)
    for name in sorted(CAUSAL.lacks):  # what a model is where no kind is asked for
        having = [
            term for kind in KINDS.values() if name not in kind.lacks for term in _named(kind)
        ]
        yield Needs(option_of(name), (*having, "--resume"))


RULES: Rules = (
    OneOf("CORPUS", "--demo"),
    OneOf("--task", *_SHORT.values()),
    OneOf("--time", "--epochs", "--steps"),
    OneOf("--valid", "--valid-share"),
    *_of_kinds(),
    Needs(("--classifier", "--task classifier"), ("--label-from", "--resume")),
    Needs(("--text-column", "--header"), ("--label-from column:*", "--resume")),
    Needs("--text-field", ("--label-from field:*", "--resume")),
    Needs("--lowercase", ("--level word", "--resume")),
    Needs("--pretokenized", ("--level word", "--resume")),
    Needs("--subword-model", ("--level subword", "--resume")),
    Apart("--min-count", "--level subword", "subwords are all kept"),
    Apart(
        "--split-on",
        ("--label-from column:*", "--label-from field:*"),
        "each line is a sequence there",
    ),
    Apart("--patience", "--valid-share 0.0", "there is nothing to validate on"),
)
DEMO = "prose"  # of the bundled texts, the one where none is named
UNSAID = {"--demo": DEMO}  # what options mean whose value is left out


def seconds(text: str | None) -> float | None:
    """The seconds of 90, 90s, 10m or 1.5h. Raises UsageError."""
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        value = float(number) * unit
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise UsageError(f"--time is a length such as 90s, 10m or 1h, got {text!r}.")
    return value


@taking(
    GROUPS,
    {
        "valid": Flag(metavar="FILE"),
        "seconds": Flag("--time", "TIME", seconds),
        "tie_weights": Flag("--tie-weights/--untie-weights"),
    },
)
def train_cli(
    corpus: Annotated[
        list[str] | None,
        typer.Argument(
            help="Text files, directories of them, .gz files, or - for standard input.",
            show_default=False,
        ),
    ] = None,
    task: Annotated[
        TaskName | None,
        typer.Option(
            help="Kind of model.  [default: language-model]",
            case_sensitive=False,
            rich_help_panel="Task",
        ),
    ] = None,
    bidirectional: Annotated[
        bool,
        typer.Option(
            "--bidirectional",
            help="Short for --task cloze: reads both sides of each token, for charlm fill.",
            rich_help_panel="Task",
        ),
    ] = False,
    classifier: Annotated[
        bool,
        typer.Option(
            "--classifier",
            help="Short for --task classifier: predicts the label of a text.",
            rich_help_panel="Task",
        ),
    ] = False,
    tagger: Annotated[
        bool,
        typer.Option(
            "--tagger",
            help="Short for --task tagger: predicts the tag of each token.",
            rich_help_panel="Task",
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the run, a directory below that of runs.  [default: after the text]",
            rich_help_panel="Run",
        ),
    ] = None,
    root: options.RunsToWrite = RUNS,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue an existing run.", rich_help_panel="Run"),
    ] = False,
    no_index: Annotated[
        bool,
        typer.Option(
            "--no-index",
            help="Keep no copy of the text for charlm novelty in the run.",
            rich_help_panel="Run",
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Print only the last line and errors.", rich_help_panel="Run"
        ),
    ] = False,
    demo: Annotated[
        Literal["prose", "dinosaurs"] | None,
        typer.Option(
            "--demo",
            metavar="[prose|dinosaurs]",
            help="Train on a bundled text; --demo alone means prose.",
            case_sensitive=False,
            rich_help_panel="Text",
        ),
    ] = None,
    **asked: Any,
) -> None:
    """Train a model on text.

    \b
    charlm train corpus.txt
    charlm train poems/ --level word --time 10m --name poems
    zcat news.gz | charlm train - --level subword --epochs 3
    charlm train corpus.txt --ngram 7 --cache --name counted
    charlm train names/ --label-from file
    charlm train --demo
    charlm train corpus.txt --task cloze --name gaps
    charlm train --resume --name poems --time 10m
    charlm train names/ --task classifier --label-from file
    charlm train reviews/ --task classifier --label-from directory
    charlm train treebank.conllu --task tagger --tag-column xpos
    charlm train entities.conll --task tagger
    """
    wanted: dict[TaskName, bool] = {
        "cloze": bidirectional,
        "classifier": classifier,
        "tagger": tagger,
    }
    asked = given(asked, GROUPS)
    asked["corpus"] = _corpus(corpus, demo, resume)
    if demo is not None:
        asked.setdefault("split_on", "line")
    train(
        asked,
        task=task or next((name for name, is_wanted in wanted.items() if is_wanted), None),
        root=root,
        name=name,
        resume=resume,
        index=not no_index,
        say=(lambda _: None) if quiet else say,
        quiet=quiet,
    )


def _corpus(corpus: list[str] | None, demo: str | None, resume: bool) -> tuple[str, ...]:
    if demo is not None:
        return (str(bundled(f"{demo}.txt")),)
    if not corpus and not resume:
        raise UsageError(
            "name a text file to train on (charlm train corpus.txt), or try the bundled one: "
            "charlm train --demo"
        )
    return tuple(corpus or ())


def bundled(name: str) -> Path:
    """A text that comes with charlm: inside the package, or beside it in a checkout."""
    import charlm

    package = Path(charlm.__file__).parent
    for folder in (package / "data", package.parent / "data"):
        if (folder / name).is_file():
            return folder / name
    raise CharlmError(f"this installation lacks the bundled text {name}.")
