"""Laws of what a training shows: the time left, and one warning of a machine that became slow."""

import dataclasses
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charlm.cli.output import training_progress
from charlm.cli.output.heatmap import BARS
from charlm.cli.output.training_progress import Display
from charlm.config import Plan
from tests.support.cli import good
from tests.support.tiny import training_config


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that is set by hand."""
    hand = SimpleNamespace(now=0.0)
    monkeypatch.setattr(training_progress.time, "perf_counter", lambda: hand.now)
    return hand


def display(**fields: Any) -> tuple[Any, Display]:
    """A training of 1,000 steps, and what shows it."""
    state = SimpleNamespace(step=0, seconds=0.0)
    trainer: Any = SimpleNamespace(state=state, training=training_config(num_steps=1000, **fields))
    return trainer, Display(trainer)


def go(trainer: Any, shown: Display, clock: Any, steps: int, seconds_each: float) -> list[str]:
    """Take steps; what is said of them."""
    said = []
    for _ in range(steps):
        clock.now += seconds_each
        trainer.state.step += 1
        trainer.state.seconds = clock.now
        said.append(shown.mark(clock.now))
    return [remark for remark in said if remark is not None]


def test_the_time_left_is_that_of_the_rate_of_late(clock: Any) -> None:
    """Soon after the machine has become slower it is told how long the rest takes now."""
    trainer, shown = display()
    assert shown.left == "?"
    go(trainer, shown, clock, 500, 0.1)
    assert shown.left == "0:50"
    go(trainer, shown, clock, 100, 1.0)
    assert shown.left == "6:40"
    go(trainer, shown, clock, 400, 1.0)
    assert shown.left == "0:00"


def test_with_a_plan_the_time_left_is_never_more_than_was_given(clock: Any) -> None:
    """The steps will be fewer, and the end stays where it was."""
    trainer, shown = display(plan=Plan(end=100.0, rate=10.0))
    go(trainer, shown, clock, 20, 2.0)
    assert shown.left == "1:00"
    trainer.training = dataclasses.replace(trainer.training, num_steps=50)
    assert shown.left == "1:00"
    trainer.training = dataclasses.replace(trainer.training, num_steps=30)  # a cap on passes
    assert shown.left == "0:20"


def test_a_machine_that_became_far_slower_is_mentioned_once(clock: Any) -> None:
    """Not one that is somewhat slower, and not twice."""
    trainer, shown = display()
    assert go(trainer, shown, clock, 300, 0.1) == []
    assert go(trainer, shown, clock, 100, 0.2) == []
    (remark,) = go(trainer, shown, clock, 100, 1.0)
    assert remark.startswith("slow: ")
    assert "10 at the start" in remark
    go(trainer, shown, clock, 300, 0.1)
    assert go(trainer, shown, clock, 100, 1.0) == []


def test_validations_are_bars_from_the_lowest_to_the_highest() -> None:
    """The last ones, in order; what is no number is left out; without any there is nothing."""
    _, shown = display()
    assert shown.spark(8) == ""
    for value in (9.0, 3.0, math.nan, 2.0, 1.0, None, 1.5):
        shown.validated(value)
    assert shown.spark(3) == "█▁▅"
    assert shown.spark(8) == "█▃▂▁▁"
    shown.validated(1.5)
    assert shown.spark(2) == "▁▁"


@pytest.mark.parametrize(("columns", "cells"), [(60, 0), (80, 4), (120, 8)])
def test_bars_of_validations_stand_beside_the_figures_where_there_is_room(
    empty: Path, columns: int, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal; no line is wider than it."""
    for name, value in {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    options = ("--steps", "60", "--hidden", "8")
    err = good("train", "corpus.txt", "--name", "x", *options, terminal=True).err
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]", err)]
    bars = [line for line in lines if "bits/char" in line and "left" in line]
    assert bars
    assert max(map(len, bars)) <= columns
    found = [re.search(f"[{BARS}]+", line) for line in bars]
    assert max(0 if one is None else len(one[0]) for one in found) == cells
    if cells:
        assert re.search(rf"valid [\d.]+ bits/char [{BARS}]{{{cells}}} ", bars[-1])
