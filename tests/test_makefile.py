"""Laws of `make test`: which tests a selection runs, and in how many processes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TWO = "--numprocesses 2 --dist loadfile"


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("", TWO),
        ("tests/nn/test_cells.py", "tests/nn/test_cells.py"),
        ("tests/nn/test_cells.py::test_x", "tests/nn/test_cells.py::test_x"),
        ("tests/nn", f"{TWO} tests/nn"),
        ("tests/nn tests/test_config.py", f"{TWO} tests/nn tests/test_config.py"),
        ("mixture", f"{TWO} -k 'mixture'"),
        ("mixture label", f"{TWO} -k 'mixture or label'"),
        ("mixture and not label", f"{TWO} -k 'mixture and not label'"),
        ("tests/cli label", f"{TWO} tests/cli -k 'label'"),
    ],
)
def test_paths_are_run_and_words_are_looked_for(selection: str, expected: str) -> None:
    """T= holds paths, words for -k, or both; one file alone runs in one process."""
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "test", f"T={selection}"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=True,
    )
    last = done.stdout.splitlines()[-1]
    assert " ".join(last.split()) == f".venv/bin/python -m pytest {expected}"
