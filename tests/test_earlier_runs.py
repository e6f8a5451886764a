"""What an earlier charlm saved is loaded, gone on with and answers as it did (golden/)."""

import json
import math
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.support.cli import charlm

GOLDEN = Path(__file__).parent / "golden"
EXPECTED: dict[str, dict[str, Any]] = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
CALLS = [(run, what) for run, calls in EXPECTED.items() for what in calls]
CORPORA = {
    "characters": "prose.txt",
    "words": "prose.txt",
    "pieces": "prose.txt",
    "labels": "names",
    "gaps": "prose.txt",
    "classifier": "names.tsv",
    "tagger": "entities.conll",
    "translator": "numbers.tsv",
}
LAST = "step-00000040"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in that holds the corpora."""
    shutil.copytree(GOLDEN / "corpus", tmp_path / "corpus")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_like(found: Any, expected: Any) -> bool:
    """Whether a JSON value is another's, floats but for rounding; objects may have more fields."""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            name in found and is_like(found[name], value) for name, value in expected.items()
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(is_like, found, expected))
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=2e-5, abs_tol=2e-5)
    return bool(found == expected)


@pytest.mark.parametrize(("run", "what"), CALLS)
def test_earlier_models_answer_as_they_did(folder: Path, run: str, what: str) -> None:
    """Every figure within rounding, every text and token the same."""
    shutil.copytree(GOLDEN / "finished" / run, folder / "checkpoints" / run)
    ended = charlm(*EXPECTED[run][what]["arguments"])
    assert ended.code == 0, ended.err
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert is_like(found, EXPECTED[run][what]["lines"])


@pytest.mark.parametrize("run", CORPORA)
def test_earlier_runs_go_on_as_if_never_stopped(folder: Path, run: str) -> None:
    """Weights and moments are those of a run never stopped, on such a machine to the bit."""
    shutil.copytree(GOLDEN / "stopped" / run, folder / "checkpoints" / run)
    ended = charlm("train", str(folder / "corpus" / CORPORA[run]), "--resume", "--name", run)
    assert ended.code == 0, ended.err
    saved = json.loads((GOLDEN / "finished" / run / LAST / "model.json").read_text("utf-8"))
    here = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    is_same_machine = (saved["processor"], saved["versions"]["torch"], saved["threads"]) == (
        here,
        torch.__version__,
        torch.get_num_threads(),
    )
    for name in ("model.safetensors", "training.safetensors"):
        arrays = load_file(folder / "checkpoints" / run / LAST / name)
        meant = load_file(GOLDEN / "finished" / run / LAST / name)
        assert arrays.keys() == meant.keys()
        for key, array in arrays.items():
            if is_same_machine:
                np.testing.assert_array_equal(array, meant[key], err_msg=key)
            else:
                np.testing.assert_allclose(array, meant[key], rtol=0.01, atol=1e-3, err_msg=key)
