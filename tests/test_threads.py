"""Laws of threads beside other programs: what is set before torch is imported, and what is left."""

import subprocess
import sys
from pathlib import Path

import pytest

from charlm import threads

SPINS = "GOMP_SPINCOUNT"


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if torch had not been imported yet; four cores, all of them this process's."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(threads, "num_cores", lambda: 4)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 4)


def load(tmp_path: Path, running: object) -> str:
    """A file as /proc/loadavg."""
    path = tmp_path / "loadavg"
    path.write_text(f"0.20 0.18 0.12 {running}/80 11206\n")
    return str(path)


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", SPINS, "KMP_BLOCKTIME"])
def test_what_the_environment_says_of_waiting_stands(name: str) -> None:
    """Threads spin for a moment unless somebody said how they wait."""
    environment: dict[str, str] = {}
    threads.wait_briefly(environment)
    assert 0 < int(environment.pop(SPINS)) < 300_000  # what GNU's OpenMP does by itself
    assert not environment
    environment[name] = "as I say"
    threads.wait_briefly(environment)
    threads.share_cores(environment, "/nowhere")
    assert environment == {name: "as I say"}


def test_once_torch_is_there_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has read the environment."""
    monkeypatch.setitem(sys.modules, "torch", threads)
    environment: dict[str, str] = {}
    threads.wait_briefly(environment)
    assert environment == {}


def test_cores_are_left_to_others_where_some_are_free(tmp_path: Path) -> None:
    """Beside two programs two of four cores are taken; beside four all, and waiting is short."""
    for running, expected in (
        (1, {}),
        (3, {"OMP_NUM_THREADS": "2"}),
        (4, {"OMP_NUM_THREADS": "1"}),
    ):
        environment: dict[str, str] = {}
        threads.share_cores(environment, load(tmp_path, running))
        assert environment == expected
    threads.wait_briefly(environment := {})
    usual = int(environment[SPINS])
    threads.share_cores(environment, load(tmp_path, 6))
    assert int(environment[SPINS]) < usual
    assert "OMP_NUM_THREADS" not in environment
    asked = {"OMP_NUM_THREADS": "3"}
    threads.share_cores(asked, load(tmp_path, 3))
    assert asked == {"OMP_NUM_THREADS": "3"}


def test_numpy_has_one_thread_unless_it_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says stands, and a NumPy that is there has read it."""
    name = "OPENBLAS_NUM_THREADS"
    monkeypatch.setitem(sys.modules, "numpy", threads)
    threads.one_by_one(environment := {})
    assert environment == {}
    monkeypatch.delitem(sys.modules, "numpy")
    threads.one_by_one(environment)
    assert environment == {name: "1"}
    threads.one_by_one(asked := {name: "3"})
    assert asked == {name: "3"}


def test_neighbours_are_counted_or_inferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux tells how many programs run; of cores that are not ours only our part counts. Where
    nothing tells, the share that is left does.
    """
    assert threads.neighbours(load(tmp_path, 1)) == 0
    assert threads.neighbours(load(tmp_path, 4)) == 3
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 8)
    assert threads.neighbours(load(tmp_path, 5)) == 2
    for share, number in ((1.0, 0), (0.8, 1), (0.5, 4)):
        monkeypatch.setattr(threads, "fair_share", lambda _, share=share: share)
        for nothing in (str(tmp_path / "none"), load(tmp_path, 0), load(tmp_path, "x")):
            assert threads.neighbours(nothing) == number


def test_a_share_is_a_part_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than nothing, no more than all of it."""
    monkeypatch.setattr(threads, "num_cores", lambda: 1)
    assert 0 < threads.fair_share(0.02) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("code", ["charlm.cli.app.main()", "charlm.train"])
def test_it_is_set_before_torch_is_imported(code: str) -> None:
    """By the command line, and by whatever of the package may import torch."""
    lines = (
        "import os, sys",
        "for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME'):",
        "    os.environ.pop(name, None)",
        "import charlm, charlm.cli",
        "sys.argv = ['charlm', '--version']",
        "try:",
        f"    {code.replace('cli.app', 'cli')}",
        "except SystemExit:",
        "    pass",
        "assert os.environ['GOMP_SPINCOUNT']",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True)
