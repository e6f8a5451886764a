"""Runs of every kind on the command line: their texts, commands and what they come to."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from charlm.checkpoints import directory
from tests.support.steps import load

PARAGRAPHS = [
    "\n".join(f"the {size} {animal} {verb} the {fruit}" for verb in ("eats", "sees"))
    for size, animal, fruit in (
        ("big", "bear", "pear"),
        ("small", "badger", "apple"),
        ("old", "jay", "plum"),
        ("big", "jay", "apple"),
        ("old", "bear", "plum"),
    )
]
CORPUS = "\n\n".join(PARAGRAPHS) + "\n"
# Rows of several windows, so that states are carried, and more than one epoch.
SMALL = ("--split-on", "paragraph", "--batch-size", "2", "--bptt-length", "8", "--hidden", "8")
LEVELS = {"char": (), "word": (), "subword": ("--vocab-size", "290")}
STEPS = 24
WORDS = [line.split() for paragraph in PARAGRAPHS for line in paragraph.splitlines()]
TIMES = ("today", "now", "again")
LABELLED = "".join(f"{' '.join(line)} {time}\t{line[2]}\n" for time in TIMES for line in WORDS)
TAGS = {"bear": "B-BEAST", "badger": "B-BEAST", "jay": "B-BIRD"}
TAGGED = "\n".join(
    "".join(f"{word} {TAGS.get(word, 'O')}\n" for word in words) for words in [*WORDS, *WORDS]
)
PAIRS = "".join(f"{' '.join(line)}\t{' '.join(line[::-1]).upper()}\n" for line in WORDS)
PAIRS += "".join(f"{word}\t{word.upper()}\n{word}\t{word}\n" for word in TAGS)


class Kind(NamedTuple):
    """A kind of model: what it is trained on, the options, and a command that takes its time."""

    corpus: str
    options: tuple[str, ...]
    reads: tuple[str, ...]


_ROWS = ("--batch-size", "2", "--bptt-length", "8", "--hidden", "8")
LABEL_OPTIONS = ("--label-from", "column:2", "--valid-share", "0.2")
_HEAD = ("--batch-size", "4", "--hidden", "8", "--embedding", "8")
PLAIN = Kind("corpus.txt", SMALL, ("sample", "-n", "100000"))
OTHERS = {
    "labelled": Kind("labelled.tsv", (*_ROWS, *LABEL_OPTIONS), ("sample", "-n", "100000")),
    "bidirectional": Kind("corpus.txt", (*SMALL, "--bidirectional"), ("score", "-f", "corpus.txt")),
    "classifier": Kind(
        "labelled.tsv", (*_HEAD, *LABEL_OPTIONS, "--classifier"), ("classify", "-f", "corpus.txt")
    ),
    "tagger": Kind("tagged.conll", (*_HEAD, "--tagger"), ("tag", "--raw", "corpus.txt")),
    "translator": Kind(
        "pairs.tsv", (*_HEAD, "--pairs", "--valid-share", "0.2"), ("translate", "-f", "corpus.txt")
    ),
}
KINDS = {"plain": PLAIN, **OTHERS}


def with_texts(folder: Path) -> Path:
    """The directory, with a corpus of each kind in it."""
    for name, text in (
        ("corpus.txt", CORPUS),
        ("labelled.tsv", LABELLED),
        ("tagged.conll", TAGGED),
        ("pairs.tsv", PAIRS),
    ):
        (folder / name).write_text(text)
    return folder


def begin(
    name: str, *options: str, level: str = "char", steps: int = STEPS, kind: str = "plain"
) -> tuple[str, ...]:
    """The command that begins a run."""
    of_level = () if kind == "tagger" else ("--level", level, *LEVELS[level])
    shape = (*KINDS[kind].options, *of_level, "--steps", str(steps))
    return ("train", KINDS[kind].corpus, "--name", name, *shape, *options)


def go_on(name: str, *options: str) -> tuple[str, ...]:
    """The command that goes on with it."""
    return ("train", "--resume", "--name", name, *options)


def run_of(folder: Path, name: str) -> Path:
    """The directory of a run."""
    return folder / "checkpoints" / name


def outcome(run: Path) -> dict[str, Any]:
    """All that a run has come to but for the clock: every tensor, counter and line of the log."""

    def timeless(text: str) -> dict[str, Any]:
        return {name: value for name, value in json.loads(text).items() if name != "seconds"}

    steps = {}
    for number in directory.steps(run):
        step = run / directory.step_name(number)
        load(step)
        tensors = [step / f"{name}.safetensors" for name in ("model", "training")]
        labels = step / "labels.json"  # of a labelled run, with what was calibrated
        steps[number] = (
            *(hashlib.sha256(path.read_bytes()).hexdigest() for path in tensors),
            timeless((step / "training.json").read_text()),
            labels.read_text() if labels.exists() else None,
        )
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    log = [timeless(line) for line in lines]
    return {"steps": steps, "log": log, "pointers": directory.pointers(run)}
