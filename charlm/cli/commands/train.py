"""charlm train."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import typer

from charlm.cli import options
from charlm.cli.input.asked import Flag, given, taking
from charlm.cli.input.declared import Options, option
from charlm.cli.input.option_rules import Apart, Needs, OneOf, Rule, Rules
from charlm.cli.option_names import option_of
from charlm.cli.output.terminal import say
from charlm.cli.training import train
from charlm.config import LEVELS
from charlm.errors import CharlmError, UsageError
from charlm.training.kinds import CAUSAL, COUNTS_LACK, KINDS, Kind, TaskName
from charlm.training.request import GROUPS

# Short for --task cloze, and so on.
_SHORT: dict[TaskName, str] = {
    "cloze": "--bidirectional",
    "classifier": "--classifier",
    "tagger": "--tagger",
    "translator": "--pairs",
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
    Needs("--text-column", ("--label-from column:*", "--resume")),
    Needs("--header", ("--label-from column:*", "--pairs", "--task translator", "--resume")),
    Needs("--lowercase", ("--level word", "--target-level word", "--resume")),
    Needs("--pretokenized", ("--level word", "--target-level word", "--resume")),
    Needs("--subword-model", ("--level subword", "--target-level subword", "--resume")),
    Apart("--min-count", "--level subword", "subwords are all kept"),
    Apart(
        "--split-on",
        ("--label-from column:*", "--label-from field:*", "--text-field"),
        "each line is a sequence there",
    ),
    Needs("--counts-only", "--ngram"),
    Apart(
        "--counts-only",
        ("--resume", "--log-to", *(option_of(name) for name in sorted(COUNTS_LACK))),
        "counts have no network to shape or to train",
    ),
    Apart("--smoothing", "--store", "n-grams are counted of a text in memory"),
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


class Task(Options, heading="Task"):
    """What kind of model is trained."""

    task: TaskName | None = option("Kind of model.  [default: language-model]")
    bidirectional: bool = option(
        "Short for --task cloze: reads both sides of each token, for charlm fill.", False
    )
    classifier: bool = option("Short for --task classifier: predicts the label of a text.", False)
    tagger: bool = option("Short for --task tagger: predicts the tag of each token.", False)
    pairs: bool = option("Short for --task translator: writes a target for a source.", False)

    @property
    def wanted(self) -> TaskName | None:
        """The kind that was asked for, by its name or in short."""
        short = (name for name, flag in _SHORT.items() if getattr(self, flag.removeprefix("--")))
        return self.task or next(short, None)


class Run(Options, heading="Run"):
    """Which run is trained, and what is said of it."""

    name: str | None = option(
        "Name of the run, a directory below that of runs.  [default: after the text]"
    )
    root: Path = options.ROOT
    resume: bool = option("Continue an existing run.", False)
    log_to: str | None = option(
        "Log to tensorboard, an event file in the run, or to module:function, too.",
        metavar="WHERE",
    )
    no_index: bool = option("Keep no copy of the text for charlm novelty in the run.", False)
    quiet: bool = option("Print only the last line and errors.", False, "--quiet", "-q")


@taking(
    GROUPS,
    {
        "valid": Flag(metavar="FILE"),
        "seconds": Flag("--time", "TIME", seconds),
        "tie_weights": Flag("--tie-weights/--untie-weights"),
    },
)
def train_cli(
    *,
    corpus: list[str] | None = typer.Argument(
        None,
        help="Text files, directories of them, .gz files, or - for standard input.",
        show_default=False,
    ),
    kind: Task,
    run: Run,
    demo: Literal["prose", "dinosaurs"] | None = option(
        "Train on a bundled text; --demo alone means prose.",
        None,
        heading="Text",
        metavar="[prose|dinosaurs]",
    ),
    **asked: Any,
) -> None:
    """Train a model on text.

    \b
    charlm train corpus.txt
    charlm train poems/ --level word --time 10m --name poems
    zcat news.gz | charlm train - --level subword --epochs 3
    charlm train corpus.txt --ngram 7 --cache --name counted
    charlm train corpus.txt --ngram 5 --counts-only --name counts
    charlm train names/ --label-from file
    charlm train --demo
    charlm train corpus.txt --task cloze --name gaps
    charlm train --resume --name poems --time 10m
    charlm train names/ --task classifier --label-from file
    charlm train reviews/ --task classifier --label-from directory
    charlm train treebank.conllu --task tagger --tag-column xpos
    charlm train entities.conll --task tagger
    charlm train pairs.tsv --task translator --name numbers
    charlm train forms.tsv --pairs --features-column 3
    """
    asked = given(asked, GROUPS)
    asked["corpus"] = _corpus(corpus, demo, run.resume)
    if demo is not None:
        asked.setdefault("split_on", "line")
    train(
        asked,
        task=kind.wanted,
        root=run.root,
        name=demo if demo is not None and run.resume and run.name is None else run.name,
        resume=run.resume,
        index=not run.no_index,
        log_to=run.log_to,
        say=(lambda _: None) if run.quiet else say,
        quiet=run.quiet,
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
