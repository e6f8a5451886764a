"""What the default recipe reaches in a given time: whole `charlm train` commands, one by one.

python -m bench quality DIR [NAME ...] reads DIR/tinyshakespeare/input.txt, DIR/names/names.txt,
DIR/wikitext2/{train,valid}.txt and DIR/chinese_poetry/poetry.txt, as far as they are there; NAME
is the name of a trial.
"""

import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench import machine


class Trial(NamedTuple):
    """One training: its name, the options of charlm train, the budget."""

    name: str
    options: tuple[str, ...]
    time: str


def main(arguments: Sequence[str]) -> None:
    """Print the held-out loss and the learning curve of each trial."""
    if not arguments:
        raise SystemExit("python -m bench quality DIR [NAME ...]: where are the corpora?")
    data, wanted = Path(arguments[0]).resolve(), set(arguments[1:])
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for trial in trials(data, Path(folder)):
            if wanted and trial.name not in wanted:
                continue
            result, curve = run(trial, Path(folder))
            rows.append((trial.name, trial.time, *result))
            points = ", ".join(f"{s:.0f} s {loss:.3f}" for s, loss in curve)
            print(f"{trial.name}: {', '.join(result)}\n  quick validation: {points}", flush=True)
    print()
    machine.table(("trial", "time", "nats/token", "bits/character", "epochs", "model"), rows)


def trials(data: Path, folder: Path) -> Iterator[Trial]:
    """All that can be run with what is there."""
    shakespeare = data / "tinyshakespeare" / "input.txt"
    if shakespeare.exists():
        for time in ("30s", "90s", "3m", "10m"):
            yield Trial(f"shakespeare-{time}", (str(shakespeare), "--split-on", "file"), time)
        counting = (str(shakespeare), "--split-on", "file", "--ngram", "7")
        yield Trial("shakespeare-ngram", counting, "3m")
        yield Trial("shakespeare-both", (*counting, "--cache"), "3m")
        for level in ("word", "subword"):
            yield Trial(f"shakespeare-{level}", (str(shakespeare), "--level", level), "3m")
    names = data / "names" / "names.txt"
    if names.exists():
        every = names.read_text().split()
        random.Random(0).shuffle(every)
        held = every[:1000]
        train, valid, distinct = (folder / f"{kind}.txt" for kind in ("train", "valid", "distinct"))
        valid.write_text("\n".join(held) + "\n")
        train.write_text("\n".join(every[1000:]) + "\n")
        distinct.write_text("\n".join(sorted(set(every[1000:]) - set(held))) + "\n")
        yield Trial("names", (str(train), "--valid", str(valid)), "2m")
        # The same names held out, none of them in training.
        yield Trial("names-without-duplicates", (str(distinct), "--valid", str(valid)), "2m")
    wikitext = data / "wikitext2"
    if wikitext.exists():
        files = (str(wikitext / "train.txt"), "--valid", str(wikitext / "valid.txt"))
        options = ("--level", "word", "--pretokenized", "--split-on", "file")
        yield Trial("wikitext2", (*files, *options), "10m")
        yield Trial("wikitext2-both", (*files, *options, "--ngram", "5", "--cache"), "10m")
    poems = data / "chinese_poetry" / "poetry.txt"
    if poems.exists():
        yield Trial("poems", (str(poems),), "3m")


def run(trial: Trial, folder: Path) -> tuple[tuple[str, ...], list[tuple[float, float]]]:
    """The figures that charlm prints at the end, and the curve from metrics.jsonl."""
    command = [sys.executable, "-m", "charlm", "train", *trial.options]
    command += ["--time", trial.time, "--name", trial.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found = re.search(r"loss: ([\d.]+) nats per token, ([\d.]+) bits", done.stdout)
    closed = re.search(r"as one symbol: ([\d.]+) nats", done.stderr)  # what perplexities are of
    epochs = re.search(r"([\d.]+) epochs", done.stderr)
    model = re.search(r"model: (.*) \(chosen", done.stderr)
    if not (found and epochs and model):
        raise SystemExit(done.stdout + done.stderr)
    log = folder / "checkpoints" / trial.name / "metrics.jsonl"
    curve = []
    for line in log.read_text().splitlines():
        values = json.loads(line)
        curve.append((values["seconds"], values["valid_loss_nats_per_token"]))
    thinned = curve[:: max(1, len(curve) // 10)]
    return ((closed or found)[1], found[2], epochs[1], model[1]), thinned
