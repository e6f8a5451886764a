"""Scoring in several processes against one: seconds, CPU seconds and memory.

python -m bench bulk [LINES [ROUNDS]] makes a text of so many lines of the bundled prose, trains two
small models for a moment, and runs charlm score and evaluate on it in one process (as it is, and
with one thread) and with --jobs, 1 and a process for each core; it checks that --jobs prints the
same bytes, which are those of one thread. The last column is how many cores other programs used
meanwhile (Linux): with fewer than all at hand read CPU seconds, too.
"""

import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench import machine
from charlm.threads import num_cores

PROSE = Path(__file__).parent.parent / "data" / "prose.txt"
MODELS = {"char": ("--hidden", "192"), "word": ("--level", "word", "--hidden", "128")}
_LINES, _ROUNDS = 120_000, 3
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Taken(NamedTuple):
    """What a command took: wall and CPU seconds, the largest of its processes in MB; its output.

    others are the cores that other programs used.
    """

    wall: float
    cpu: float
    memory: float
    digest: str
    others: float


def main(arguments: Sequence[str]) -> None:
    """Print a table of each model and command."""
    lines = int(arguments[0]) if arguments else _LINES
    rounds = int(arguments[1]) if len(arguments) > 1 else _ROUNDS
    cores = num_cores()
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder) / "text.txt", lines)
        size = (Path(folder) / "text.txt").stat().st_size
        print(f"{lines:,} lines, {size / 1e6:.1f} MB; load {os.getloadavg()[0]:.1f} at the start")
        for name, options in MODELS.items():
            _run(folder, "train", str(PROSE), "--name", name, "--steps", "30", *options)
        rows = []
        for name in MODELS:
            for command in (
                ("score", "--model", name, "--file", "text.txt", "--tsv"),
                ("evaluate", "--model", name, "text.txt", "--json", "--split-on", "line"),
            ):
                rows += _rows(folder, name, command, cores, rounds)
    machine.table(
        (
            "model",
            "command",
            "processes",
            "seconds",
            "x one",
            "CPU seconds",
            "largest, MB",
            "others",
        ),
        rows,
    )


def _rows(
    folder: str, name: str, command: Sequence[str], cores: int, rounds: int
) -> list[tuple[str, ...]]:
    """A row for each way to run a command, taken in turn."""
    one_thread = dict.fromkeys(_THREADS, "1")
    ways: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
        "one": ({}, ()),
        "one, one thread": (one_thread, ()),
        **{
            f"--jobs {number}": ({}, ("--jobs", str(number)))
            for number in dict.fromkeys((1, cores))
        },
    }
    taken: dict[str, list[Taken]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (environment, more) in ways.items():
            taken[way].append(_run(folder, *command, *more, **environment))
    printed = {one.digest for way in ways if way != "one" for one in taken[way]}
    assert len(printed) == 1, f"{command[0]}: --jobs prints other bytes than one thread"
    one = statistics.median(each.wall for each in taken["one"])
    rows = []
    for way, several in taken.items():
        wall = statistics.median(each.wall for each in several)
        cpu = statistics.median(each.cpu for each in several)
        memory = max(each.memory for each in several)
        others = statistics.median(each.others for each in several)
        figures = f"{wall:.1f}", f"{one / wall:.2f}", f"{cpu:.1f}", f"{memory:.0f}", f"{others:.2f}"
        rows.append((name, command[0], way, *figures))
        print(rows[-1], flush=True)
    return rows


def _run(folder: str, *arguments: str, **environment: str) -> Taken:
    """Run charlm."""
    begun, busy = time.perf_counter(), _busy()
    process = subprocess.Popen(
        [sys.executable, "-m", "charlm", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    digest = hashlib.sha256()
    while block := process.stdout.read(2**20):
        digest.update(block)
    process.stdout.close()
    _, status, used = os.wait4(process.pid, 0)  # with what its own processes used
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    wall = time.perf_counter() - begun
    cpu = used.ru_utime + used.ru_stime
    others = max(0.0, _busy() - busy - cpu) / wall
    return Taken(wall, cpu, used.ru_maxrss / 1024, digest.hexdigest(), others)


def _busy() -> float:
    """Seconds that all cores have been busy since the system began; 0 where it does not tell."""
    try:
        user, nice, system, *_ = Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    except (OSError, ValueError):
        return 0.0
    return (int(user) + int(nice) + int(system)) / os.sysconf("SC_CLK_TCK")


def _write(path: Path, lines: int) -> None:
    """So many pieces of the prose, of 3 to 18 words."""
    rng = random.Random(0)
    words = PROSE.read_text(encoding="utf-8").split()
    with path.open("w", encoding="utf-8") as file:
        for _ in range(lines):
            begin = rng.randrange(len(words) - 20)
            file.write(" ".join(words[begin : begin + rng.randint(3, 18)]) + "\n")
