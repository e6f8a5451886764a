"""How soon a command answers, cold, as a whole process; what ``import charlm`` takes."""

import os
import statistics
import subprocess
import sys
import tempfile

from bench import machine

_ROUNDS = 11
TRAIN = ["train", "--demo", "--steps", "3", "--hidden", "256", "--layers", "2", "--name", "bench"]


def main() -> None:
    """Print the median seconds of each command."""
    with tempfile.TemporaryDirectory() as folder:
        _charlm(TRAIN, folder)
        commands = {
            "python -c pass": ["-c", "pass"],
            "import charlm": ["-c", "import charlm"],
            "import torch": ["-c", "import torch"],
            "charlm --version": ["-m", "charlm", "--version"],
            "charlm --help": ["-m", "charlm", "--help"],
            "charlm score TEXT (2 x 256)": ["-m", "charlm", "score", "The apple and pear salad"],
            "charlm sample --n 1 --max-tokens 50": [
                *("-m", "charlm", "sample", "--max-tokens", "50", "--seed", "0"),
            ],
            "charlm sample --n 200 --max-tokens 200": [
                *("-m", "charlm", "sample", "--n", "200", "--max-tokens", "200", "--seed", "0"),
            ],
        }
        seconds = machine.in_turn(
            [lambda c=c: _run([sys.executable, *c], folder) for c in commands.values()]
        )
    machine.table(
        ("command", "seconds"),
        [(name, f"{s:.3f}") for name, s in zip(commands, seconds, strict=True)],
    )
    modules, charlm, all_of_it = imported()
    print(
        f"\npython -X importtime -c 'import charlm': {charlm / 1000:.2f} ms for {modules} modules, "
        f"{all_of_it / 1000:.1f} ms with Python's own start (medians of {_ROUNDS})"
    )


def imported() -> tuple[int, float, float]:
    """The modules that ``import charlm`` brings, its microseconds, and those of all imports."""
    of_charlm, of_all = [], []
    for _ in range(_ROUNDS):
        lines = _import_times("import charlm")
        (took,) = (cumulative for _, cumulative, name in lines if name == "charlm")
        of_charlm.append(took)
        of_all.append(sum(own for own, _, _ in lines))
    number = len(lines) - len(_import_times("pass"))
    return number, statistics.median(of_charlm), statistics.median(of_all)


def _import_times(code: str) -> list[tuple[int, int, str]]:
    """Of each module: its own microseconds, those with what it imports, its name."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
    )
    rows = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines()[1:]]
    return [(int(own), int(cumulative), name.strip()) for own, cumulative, name in rows]


def _charlm(arguments: list[str], folder: str) -> None:
    _run([sys.executable, "-m", "charlm", *arguments], folder)


def _run(command: list[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
