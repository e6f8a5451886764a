"""Laws of a training that is given a time: it ends then, whatever the machine does meanwhile."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.checkpoints import directory
from charlm.checkpoints.run import Run
from charlm.config import Plan, TrainingConfig
from charlm.errors import CheckpointError
from charlm.training.optimizer import learning_rate, progress
from charlm.training.pace.measuring import Way, ways
from charlm.training.pace.planning import Planner, held
from charlm.training.task import Planned, Step, Validated
from tests.support.kinds import outcome
from tests.support.tiny import material_of, model_config, training_config
from tests.support.trainers import fit, new_state, restore

HELD = ["the cat ran to the dog", "a dog is a dog"]
PER_EPOCH = 40
_USUAL = Way("fp32", 1)


def planned_training(*, end: float = 60.0, rate: float = 2.0, **fields: Any) -> TrainingConfig:
    """A training of so many seconds, at so many steps per second."""
    plan = Plan(end=end, rate=rate)
    return training_config(
        **{
            "num_steps": round(end * rate),
            "validate_every": 15,
            "threads": 1,
            "plan": plan,
            **fields,
        }
    )


class Machine:
    """A machine whose steps take as long as is said of each (seconds of step, from 0)."""

    def __init__(self, seconds_of: Callable[[int], float]) -> None:
        self._seconds_of = seconds_of
        self.state: Any = None
        self.measured: list[int] = []

    def clock(self) -> float:
        """The seconds that all steps until now have taken."""
        return sum(self._seconds_of(step) for step in range(self.state.step))

    def planner(self, *, most: int = 10**9, way: Way = _USUAL) -> Planner:
        """A planner that sees this machine; what it measures is the rate of the next step."""

        def measure(_: TrainingConfig, seconds: float) -> tuple[Way, float]:
            assert seconds > 0
            self.measured.append(self.state.step)
            return way, 1 / self._seconds_of(self.state.step)

        return Planner(
            per_epoch=PER_EPOCH,
            most=most,
            count_validations=lambda *_: 8,
            measure=measure,
            most_threads=1,
            neighbours=lambda: 0,
            clock=self.clock,
        )

    def train(
        self,
        path: Path,
        config: TrainingConfig,
        stops: tuple[int, ...] = (),
        **planner: Any,
    ) -> list[Any]:
        """A training, stopped after these steps and gone on with; its events."""
        material = material_of(valid=HELD)
        shape = model_config(material, dropout=0.2)
        events: list[Any] = []
        with Run(path) as run:
            run.begin({"training": config.to_json()})
            self.state, ahead = new_state(shape, config), []
            for stop in (*stops, 10**9):
                events += fit(
                    run,
                    self.state,
                    config,
                    material,
                    recorded=ahead,
                    planner=self.planner(**planner),
                    clock=self.clock,
                    should_stop=lambda stop=stop: self.state.step >= stop,
                )
                step = directory.steps(path)[-1]
                config, ahead = held(run.asked(), step)
                self.state = restore(run, shape, config)
        return events


# Sums of these are exact, so that a clock that was stopped goes on as if it had not been.
PATTERNS: dict[str, Callable[[int], float]] = {
    "as measured": lambda _: 0.5,
    "busy for good": lambda _: 1.25,
    "a busy moment at the start": lambda _: 0.125,
    "neighbours come": lambda step: 0.5 if step < 40 else 1.25,
    "neighbours leave": lambda step: 0.5 if step < 20 else 0.1875,
    "they leave at the end": lambda step: 2.0 if step < 28 else 0.25,
    "they come and go": lambda step: 0.25 if step // 25 % 2 else 0.875,
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_time_is_kept_and_used(tmp_path: Path, pattern: str) -> None:
    """Whatever the rate does, a run ends within 5 % of its time, its learning rate at the end of
    the schedule, and is validated there.
    """
    machine, config = Machine(PATTERNS[pattern]), planned_training()
    events = machine.train(tmp_path / "run", config)
    assert 0.95 * 60 <= machine.state.seconds <= 1.05 * 60
    rates = [event.learning_rate for event in events if isinstance(event, Step)]
    highest, lowest = config.learning_rate, config.end_learning_rate
    assert rates[-1] < lowest + 0.02 * (highest - lowest)
    falling = rates[config.warmup_steps :]
    assert all(a >= b for a, b in itertools.pairwise(falling))
    validated = [event.step for event in events if isinstance(event, Validated)]
    assert validated[-1] == machine.state.step
    assert 6 <= len(validated) <= 16
    assert directory.is_finished(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["neighbours come", "they come and go"])
def test_stopped_and_resumed_across_plans_is_as_if_never_stopped(
    tmp_path: Path, pattern: str
) -> None:
    """Every tensor, counter, line of the log and plan, wherever it is stopped."""
    config = planned_training(end=30.0)
    whole = Machine(PATTERNS[pattern])
    events = whole.train(tmp_path / "whole", config)
    expected = outcome(tmp_path / "whole")
    plans = [event.step for event in events if isinstance(event, Planned)]
    assert len(plans) > 5
    for number, stops in enumerate(([plans[0]], [plans[1] - 1], [plans[2] + 1], range(1, 30))):
        again = Machine(PATTERNS[pattern])
        path = tmp_path / str(number)
        stopped = again.train(path, config, tuple(stops))
        assert [e for e in stopped if isinstance(e, Step)] == [
            e for e in events if isinstance(e, Step)
        ]
        assert outcome(path) == expected
        assert (
            json.loads((path / "run.json").read_text())["plans"]
            == (json.loads((tmp_path / "whole" / "run.json").read_text())["plans"])
        )


def test_plans_that_were_made_are_followed_whatever_the_clock_says(tmp_path: Path) -> None:
    """After a kill the plans of the steps that are taken again are those of the run that was
    killed, on a machine of any speed.
    """
    config = planned_training(end=30.0)
    first = Machine(PATTERNS["neighbours come"])
    events = first.train(tmp_path / "run", config)
    began = json.loads((tmp_path / "run" / "run.json").read_text())
    material = material_of(valid=HELD)
    shape = model_config(material, dropout=0.2)
    training, ahead = held(began, 0)
    assert training == config
    other = Machine(lambda _: 7.0)
    with Run(tmp_path / "again") as run:
        run.begin(began)
        other.state = new_state(shape, training)
        last = ahead[-1].plan.step  # type: ignore[union-attr]
        again = list(
            fit(
                run,
                other.state,
                training,
                material,
                recorded=ahead,
                planner=other.planner(),
                clock=other.clock,
                should_stop=lambda: other.state.step >= last,
            )
        )

    def told(events: list[Any]) -> list[Any]:
        return [e for e in events if isinstance(e, Step | Planned) and e.step <= last]

    assert told(again) == told(events)


def test_a_choice_is_made_again_when_the_rate_is_another(tmp_path: Path) -> None:
    """Precision and threads change with the plan, and are in force after a stop, too."""
    machine, config = Machine(PATTERNS["neighbours leave"]), planned_training()
    events = machine.train(tmp_path / "run", config, way=Way("bf16", 1))
    changed = [event for event in events if isinstance(event, Planned)]
    assert machine.measured
    assert {event.training.precision for event in changed} >= {"fp32", "bf16"}
    assert changed[-1].training.precision == "bf16"
    whole = outcome(tmp_path / "run")
    stops = (changed[-1].step - 1, changed[-1].step + 1)
    Machine(PATTERNS["neighbours leave"]).train(
        tmp_path / "again", config, stops, way=Way("bf16", 1)
    )
    assert outcome(tmp_path / "again") == whole
    calm = Machine(PATTERNS["as measured"])
    calm.train(tmp_path / "calm", config)
    assert not calm.measured


def test_a_cap_on_passes_holds_for_plans_too(tmp_path: Path) -> None:
    """More steps than are of use are not planned, however fast the machine has become."""
    machine = Machine(PATTERNS["a busy moment at the start"])
    machine.train(tmp_path / "run", planned_training(), most=150)
    assert machine.state.step == 150


def test_without_a_time_nothing_is_planned(tmp_path: Path) -> None:
    """A number of steps is what it is: no plan, and no word of one on disk."""
    config = training_config(num_steps=14)
    machine = Machine(PATTERNS["they come and go"])
    events = machine.train(tmp_path / "run", config)
    assert not any(isinstance(event, Planned) for event in events)
    assert machine.state.step == 14
    assert not {"plan", "threads"} & config.to_json().keys()
    assert "plans" not in json.loads((tmp_path / "run" / "run.json").read_text())


@settings(max_examples=100, deadline=None)
@given(
    num_steps=st.integers(1, 400),
    warmup_steps=st.integers(0, 60),
    step=st.integers(0, 400),
    longer=st.integers(0, 400),
)
def test_a_new_plan_goes_on_where_the_schedule_is(
    num_steps: int, warmup_steps: int, step: int, longer: int
) -> None:
    """At its own step a plan has the rate that was before, and at its end the last of all."""
    config = TrainingConfig(num_steps=num_steps, warmup_steps=warmup_steps)
    step = min(step, num_steps)
    plan = Plan(end=1.0, rate=1.0, step=step, progress=progress(step, config))
    anew = dataclasses.replace(config, num_steps=max(1, step + longer), plan=plan)
    assert learning_rate(step, anew) == pytest.approx(learning_rate(step, config))
    if anew.num_steps > max(step, warmup_steps):
        end = learning_rate(anew.num_steps, anew)
        assert end == pytest.approx(config.end_learning_rate)


def test_a_plan_survives_json() -> None:
    """What run.json holds of a plan is that plan."""
    config = planned_training(threads=2)
    assert TrainingConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    "plans",
    [
        3,
        [3],
        [{}],
        [{"plan": 3}],
        [{"plan": {"end": 1.0}}],
        [{"plan": {"end": 1.0, "rate": 1.0, "step": 0}}],
        [{"plan": {"end": 1.0, "rate": 1.0, "step": step}} for step in (5, 4)],
        [{"plan": {"end": 1.0, "rate": 1.0, "step": 5}, "num_steps": "9"}],
    ],
)
def test_plans_that_cannot_be_are_refused(plans: object) -> None:
    """run.json is read with care."""
    began = {"training": training_config().to_json(), "plans": plans}
    with pytest.raises(CheckpointError, match=r"run\.json"):
        held(began, 9)


def test_ways_prefer_what_is_exact_and_modest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer threads come before more, fp32 before bf16; a GPU has nothing to choose of threads."""
    monkeypatch.setattr("torch.get_num_threads", lambda: 6)
    assert ways(("bf16", "fp32"), "cpu") == [
        Way(precision, number) for precision in ("fp32", "bf16") for number in (1, 3, 6)
    ]
    assert ways(("fp32",), "cuda") == [Way("fp32", 6)]
