"""Laws of what a training shows: the time left, and one warning of a machine that became slow."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest

from charlm.cli.output import training_progress
from charlm.cli.output.training_progress import Display
from charlm.config import Plan
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
