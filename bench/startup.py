"""How soon a command answers, cold: whole processes, from start to end."""

import subprocess
import sys
import tempfile

from bench import machine

TRAIN = ["train", "--demo", "--steps", "3", "--hidden", "256", "--layers", "2", "--name", "bench"]


def main() -> None:
    """Print the median seconds of each command."""
    with tempfile.TemporaryDirectory() as folder:
        _charlm(TRAIN, folder)
        commands = {
            "python -c pass": ["-c", "pass"],
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
        [(name, f"{s:.2f}") for name, s in zip(commands, seconds, strict=True)],
    )


def _charlm(arguments: list[str], folder: str) -> None:
    _run([sys.executable, "-m", "charlm", *arguments], folder)


def _run(command: list[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
