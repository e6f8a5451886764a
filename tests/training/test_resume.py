"""A run that is stopped, killed, read and gone on with in any order ends as one that never was."""

import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from charlm.checkpoints import directory
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.run import Run, Saved
from charlm.config import TrainingConfig
from charlm.training.task import Step
from charlm.training.texts.material import TextMaterial
from tests.support.tiny import material_of, model_config, training_config
from tests.support.trainers import fit, new_state, restore

STEPS = 12
HELD = ["the cat ran to the dog", "a dog is a dog"]


@functools.cache
def material() -> TextMaterial:
    """The text of all runs."""
    return material_of(valid=HELD)


def config_of(dropout: float) -> tuple[Any, TrainingConfig]:
    """Shapes and budget of a run."""
    shape = model_config(material(), dropout=dropout)
    return shape, training_config(num_steps=STEPS, validate_every=3, average_decay=0.9)


def outcome(path: Path) -> dict[str, Any]:
    """All that a run has come to at its last step: tensors, counters but seconds, log."""
    step = path / directory.step_name(STEPS)
    counters, arrays = Checkpoint.load(step).load_training()
    counters.pop("seconds")
    log = [line.split('"seconds"')[0] for line in (path / "metrics.jsonl").read_text().splitlines()]
    weights = Checkpoint.load(step).weights
    return {"counters": counters, "log": log, **arrays, **weights}


@functools.cache
def whole(dropout: float) -> dict[str, Any]:
    """What a run comes to that is never disturbed."""
    with tempfile.TemporaryDirectory() as folder:
        shape, config = config_of(dropout)
        with Run(Path(folder) / "run") as run:
            run.begin({})
            for _ in fit(run, new_state(shape, config), config, material()):
                pass
        return outcome(Path(folder) / "run")


class Training(RuleBasedStateMachine):
    """One run, and what may happen to it."""

    @initialize(dropout=st.sampled_from([0.0, 0.4]))
    def begin(self, dropout: float) -> None:
        """A run of which nothing has been saved yet."""
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "run"
        self.dropout = dropout
        self.acknowledged = 0

    def go_on(self, steps: int, *, killed: bool) -> None:
        """Train so many steps more, to a save or to none."""
        shape, config = config_of(self.dropout)
        with Run(self.path) as run:
            if directory.steps(self.path):
                state = restore(run, shape, config)
            else:
                run.begin({})
                state = new_state(shape, config)
            done = 0
            events = fit(run, state, config, material(), should_stop=lambda: done >= steps)
            for event in events:
                if isinstance(event, Saved):
                    self.acknowledged = event.step
                if isinstance(event, Step):
                    done += 1
                    if killed and done > steps:
                        break
                if killed and done >= steps:
                    break

    def unfinished(self) -> bool:
        """Whether there are steps to come."""
        return not directory.is_finished(self.path)

    @precondition(unfinished)
    @rule(steps=st.integers(1, 5))
    def stop(self, steps: int) -> None:
        """A signal after some steps: the last of them is saved."""
        self.go_on(steps, killed=False)

    @precondition(unfinished)
    @rule(steps=st.integers(1, 5))
    def kill(self, steps: int) -> None:
        """Gone in the middle of it all: what was saved before stands."""
        self.go_on(steps, killed=True)

    @rule(junk=st.sampled_from([".tmp-0", "notes.txt"]))
    def litter(self, junk: str) -> None:
        """What a crash, or a person, may leave beside the steps."""
        if self.path.exists():
            (self.path / junk).mkdir(exist_ok=True)

    @invariant()
    def the_newest_step_loads(self) -> None:
        """It is not older than the last that was reported as saved."""
        if self.acknowledged:
            last = directory.steps(self.path)[-1]
            assert last >= self.acknowledged
            Checkpoint.load(self.path / directory.step_name(last))

    def teardown(self) -> None:
        """Gone on with to its end it is the run that was never disturbed."""
        if not hasattr(self, "path"):
            return
        while self.unfinished():
            self.go_on(STEPS, killed=False)
        found, expected = outcome(self.path), whole(self.dropout)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(found[name], value, err_msg=name)
            else:
                assert found[name] == value, name
        shutil.rmtree(self.folder)


TestTraining = Training.TestCase
TestTraining.settings = settings(max_examples=12, stateful_step_count=8, deadline=None)
