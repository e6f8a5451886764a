"""Memory that was freed goes back."""

import ctypes
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from charlm import memory
from charlm.memory import give_back
from charlm.text import portions
from charlm.text.portions import Portion, in_turn


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no glibc"
)
def test_what_is_pinned_goes_back() -> None:
    """Freed blocks below one that is kept are resident no longer."""

    def resident() -> int:
        found = re.search(r"VmRSS:\s*(\d+)", Path("/proc/self/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    size, number = 2**16, 1000  # of a size that is never mapped by itself
    blocks = [np.ones(size, dtype=np.uint8) for _ in range(number)]
    kept = blocks[-1]
    before = resident()
    del blocks
    give_back()
    assert kept.all()
    assert before - resident() > 0.8 * size * number


def test_after_each_portion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is read in portions gives back after each."""
    seen: list[str] = []
    monkeypatch.setattr(portions, "give_back", lambda: seen.append("given back"))
    some = [Portion(["a"], 1), None, Portion(["b"], 1)]
    for text in in_turn(lambda portion: portion.texts[0], some):
        seen.append(text)
    assert seen == ["a", "given back", "b", "given back"]


def test_another_library_has_nothing_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such function, nothing happens."""
    monkeypatch.setattr("sys.platform", "darwin")
    memory._trim.cache_clear()
    give_back()
    memory._trim.cache_clear()
