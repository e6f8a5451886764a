"""Texts, and small models of every kind that scores them."""

from pathlib import Path

import pytest
import torch

from tests.support.cli import good
from tests.support.kinds import LABELLED, PAIRS
from tests.support.texts import TEXT

WORDS = ("--level", "word", "--vocab-size", "12")
LINES = "".join(
    f"{line} {extra}\n" for line in TEXT.splitlines() for extra in ("", "zebra", "née", "xylo")
)
_TINY = ("--steps", "3", "--hidden", "8")
_OPTIONS = {
    "char": ("corpus.txt", "--ngram", "3", "--cache"),
    "word": ("corpus.txt", *WORDS),
    "words": ("corpus.txt", *WORDS, "--seed", "2"),
    "gaps": ("corpus.txt", *WORDS, "--bidirectional"),
    "cut": ("corpus.txt", *WORDS, "--pretokenized"),
    "cuts": ("corpus.txt", "--level", "word", "--vocab-size", "9", "--pretokenized"),
    "kinds": ("labelled.tsv", "--label-from", "column:2"),
    "heads": ("labelled.tsv", "--label-from", "column:2", "--classifier"),
    "pairs": ("pairs.tsv", "--pairs", "--ngram", "3"),
}


def make(folder: Path, *names: str) -> Path:
    """The directory with the texts and with those models below checkpoints/."""
    (folder / "corpus.txt").write_text(TEXT)
    (folder / "lines.txt").write_text(f"{LINES}\n\nlast without an end")
    (folder / "labelled.tsv").write_text(LABELLED)
    (folder / "pairs.tsv").write_text(PAIRS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in names:
            good("train", *_OPTIONS[name], "--name", name, *_TINY)
    torch.set_num_threads(threads)
    return folder
