"""What other programs cost: the same training and scoring beside 0, 1 and 2 busy loops.

python -m bench busy DIR [TIME [LOOPS ...]] reads DIR/tinyshakespeare/input.txt. A fair share is the
machine divided evenly among the threads of charlm, one for each core, and the loops.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import machine
from charlm.threads import num_cores

_RATE_SECONDS = 15  # of the training that tells the rate: of one size, whatever the load


class Row(NamedTuple):
    """What was reached beside so many loops; rates are in characters per second."""

    loops: int
    train: float
    score: float
    kept: float
    wall: float
    loss: float


def main(arguments: Sequence[str]) -> None:
    """Print rates, their share of the fair share, the time kept and the loss reached."""
    if not arguments:
        raise SystemExit("python -m bench busy DIR [TIME [LOOPS ...]]: where are the corpora?")
    corpus = Path(arguments[0]).resolve() / "tinyshakespeare" / "input.txt"
    asked = arguments[1] if len(arguments) > 1 else "90s"
    numbers = [int(number) for number in arguments[2:]] or [0, 1, 2]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            with loops(number):
                rows.append(_measured(number, corpus, asked, Path(folder)))
            print(rows[-1], flush=True)
    idle = rows[0]
    shown = []
    for row in rows:
        fair = (idle.loops + num_cores()) / (row.loops + num_cores())
        shown.append(
            (
                row.loops,
                f"{row.train:,.0f}",
                f"{row.train / idle.train / fair:.0%}",
                f"{row.score:,.0f}",
                f"{row.score / idle.score / fair:.0%}",
                f"{row.kept:.1%}",
                f"{row.wall:.1f} s",
                f"{row.loss:.4f}",
            )
        )
    head = ("busy loops", "training, char/s", f"of the fair share, from {idle.loops} loops")
    machine.table(
        (*head, "scoring, char/s", "of the fair share", f"{asked} kept", "all of it", "nats"), shown
    )


@contextlib.contextmanager
def loops(number: int) -> Iterator[None]:
    """So many processes that do nothing, as fast as they can."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _measured(number: int, corpus: Path, asked: str, folder: Path) -> Row:
    rate, reached = f"rate-{number}", f"reached-{number}"
    fixed = ("--hidden", "448", "--time", f"{_RATE_SECONDS}s")
    _charlm(folder, "train", str(corpus), "--split-on", "file", "--name", rate, *fixed)
    last = _log(folder, rate)[-1]
    begun = time.perf_counter()
    _charlm(folder, "evaluate", str(corpus), "--model", rate, "--split-on", "line")
    whole = time.perf_counter() - begun
    begun = time.perf_counter()
    done = _charlm(
        folder, "train", str(corpus), "--split-on", "file", "--name", reached, "--time", asked
    )
    wall = time.perf_counter() - begun
    found = re.search(r"loss: ([\d.]+) nats", done.stdout)
    assert found is not None
    began = json.loads((folder / "checkpoints" / reached / "run.json").read_text())
    end = began["training"]["plan"]["end"]
    seconds = began["request"]["seconds"]
    kept = (_log(folder, reached)[-1]["seconds"] + seconds - end) / seconds
    characters = len(corpus.read_text())
    return Row(
        number, last["tokens"] / last["seconds"], characters / whole, kept, wall, float(found[1])
    )


def _charlm(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "charlm", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)


def _log(folder: Path, name: str) -> list[dict[str, Any]]:
    lines = (folder / "checkpoints" / name / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
