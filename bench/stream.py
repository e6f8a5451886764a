"""Texts larger than memory: seconds per MB of both passes, memory of training and of evaluating.

python -m bench stream DIR [MB ...] writes texts of so many MB into DIR (10, 100 and 1000 where none
is named; prose.py says how they are made), trains on each for 500 steps at word level with 200,000
types, and removes its token store again. Memory is the largest resident set of each process, torch
included (VmHWM).
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import machine, prose

_SIZES = ("10", "100", "1000")
_STEPS = 500
_TYPES = 200_000
_POLL = 0.1  # seconds
# Evaluated whole: so small a model that a gigabyte takes minutes. Memory is that of reading.
_SMALL = ("--vocab-size", "5000", "--hidden", "32", "--embedding", "32", "--steps", "50")


class Ran(NamedTuple):
    """What a command said on stderr and stdout, how long it took, and its peak of memory in MB."""

    said: str
    seconds: float
    peak: float


def main(arguments: Sequence[str]) -> None:
    """Print a table of the passes and of training, and one of evaluating."""
    if not arguments:
        raise SystemExit("python -m bench stream DIR [MB ...]: where is there room?")
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    sizes = [float(size) for size in arguments[1:] or _SIZES]
    texts = {size: folder / f"{size:g}.txt" for size in sizes}
    for size, text in texts.items():
        if not text.exists():
            prose.write(text, size)
    print(f"passes and {_STEPS} steps, word level, {_TYPES:,} types\n")
    rows = []
    for size, text in texts.items():
        rows.append(_trained(folder, text, size))
        print(rows[-1], flush=True)
    head = ("pass 1, s/MB", "pass 2, s/MB", "seconds to the first step", "seconds of steps")
    machine.table(("MB", *head, "peak MB", "loss"), rows)
    print("\nevaluating the whole text (5,000 types, 32 units, closed vocabulary)\n")
    rows = []
    for size, text in texts.items():
        rows.append(_evaluated(folder, text, size))
        print(rows[-1], flush=True)
    machine.table(("MB", "s/MB", "peak MB"), rows)


def _trained(folder: Path, text: Path, size: float) -> tuple[str, ...]:
    """Both passes, and the steps."""
    runs, ids = folder / "runs", folder / "ids"
    _remove(runs, ids)
    options = ["--level", "word", "--vocab-size", str(_TYPES), "--steps", str(_STEPS)]
    ran = run("train", text, *options, "--store", ids, "--runs", runs, "--name", "large")
    passes = re.findall(r"pass \d: .*\((\d+\.\d) s\)", ran.said)
    loss = re.findall(r"best validation loss: ([\d.]+)", ran.said)
    steps = (runs / "large" / "metrics.jsonl").read_text().splitlines()[-1]
    taken = float(re.findall(r'"seconds": ([\d.]+)', steps)[0])
    _remove(ids)
    per_mb = (f"{float(seconds) / size:.4f}" for seconds in passes)
    others = (f"{ran.seconds - taken:.0f}", f"{taken:.0f}", f"{ran.peak:,.0f}", *loss)
    return (f"{size:g}", *per_mb, *others)


def _evaluated(folder: Path, text: Path, size: float) -> tuple[str, ...]:
    """A small model, trained for a moment on the same text, looks at all of it."""
    runs, ids = folder / "runs", folder / "ids"
    some = folder / "some.txt"
    prose.write(some, 5)
    run("train", some, "--level", "word", *_SMALL, "--runs", runs, "--name", "small")
    ran = run("evaluate", text, "--model", "small", "--runs", runs, "--closed", "--json")
    _remove(runs, ids)
    return (f"{size:g}", f"{ran.seconds / size:.3f}", f"{ran.peak:,.0f}")


def run(*command: object) -> Ran:
    """A command of charlm in a process of its own."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as told:  # a pipe that nobody reads would fill up
        process = subprocess.Popen(
            [sys.executable, "-m", "charlm", *map(str, command)],
            stdout=told,
            stderr=subprocess.STDOUT,
        )
        peak, status = 0.0, Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            found = re.search(r"VmHWM:\s*(\d+)", status.read_text()) if status.exists() else None
            peak = max(peak, int(found[1]) / 1024 if found else 0.0)
            time.sleep(_POLL)
        seconds = time.perf_counter() - begun
        told.seek(0)
        said = told.read()
    if process.returncode:
        raise SystemExit(f"{said}\ncharlm {' '.join(map(str, command))} has failed")
    return Ran(said, seconds, peak)


def _remove(*paths: Path) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)
