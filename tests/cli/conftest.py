"""Small models for the tests of commands."""

import shutil
from pathlib import Path

import pytest
import torch

from charlm.config import LEVELS
from tests.support.cli import TINY, good
from tests.support.texts import TEXT


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a corpus and a small model of each level; nothing is to be written there."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    (folder / "corpus.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for level in LEVELS:
            good("train", "corpus.txt", "--level", level, "--name", level, *TINY)
        good("train", "corpus.txt", "--name", "trained", "--steps", "60", "--hidden", "16")
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def empty(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a directory that holds a corpus and nothing else."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(folder / "corpus.txt", tmp_path)
    return tmp_path
