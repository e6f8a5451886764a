"""Keeping to the time: the number of steps is planned anew as the rate becomes known.

A plan holds from one step to the next plan. All of them stand in run.json, each before its first
step is taken. So a run that is gone on with follows those that it had, and is the run that was
never stopped; what the clock says counts only where no plan was made yet.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from charlm import threads
from charlm.checkpoints.run import Run
from charlm.config import Plan, TrainingConfig
from charlm.errors import CheckpointError, UsageError
from charlm.training.optimizer import progress
from charlm.training.pace import measuring
from charlm.training.pace.budget import most_steps, steps_per_second
from charlm.training.pace.measuring import Way
from charlm.training.ranks.ranks import ALONE, Ranks
from charlm.training.request import Request
from charlm.training.state import TrainingState
from charlm.training.task import AnyTask, Config
from charlm.training.texts.material import Material

_SHARE = 0.1  # of the time that was left at the last plan has passed when the next is made
_FEWEST = 0.03  # of the whole time, at least: much more than a validation takes
_FEWEST_AHEAD = 0.005  # once half of the steps are done: it might be at its end too early
_ANOTHER = 1.5  # times as fast or slow as planned: what is fastest may be another way now
_TRIAL_SHARE = 0.04  # of the time since the last plan goes into measuring that
_SHORTEST_TRIAL = 0.3  # seconds: less tells nothing
_DEAREST_TRIAL = 0.2  # of the time since the last plan: where it would take more there is none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planner:
    """What plans the rest of a training: all that it needs to know of it.

    ``measure`` tries for some seconds how it would be fastest, and gives the steps per second;
    ``neighbours`` counts the programs that run beside it.
    """

    per_epoch: int
    most: int
    count_validations: Callable[[TrainingConfig, float], int]
    measure: Callable[[TrainingConfig, float], tuple[Way, float]]
    most_threads: int
    neighbours: Callable[[], int]
    clock: Callable[[], float]

    @classmethod
    def of(
        cls,
        task: AnyTask,
        request: Request,
        config: Config,
        training: TrainingConfig,
        material: Material,
        clock: Callable[[], float],
        ranks: Ranks = ALONE,
    ) -> "Planner":
        """The planner of a training of a task; that of several processes, ``ranks``, is one."""
        per_epoch = task.steps_per_epoch(config, training, material)
        asked = request.precision
        precisions = task.precisions(config, request.device) if asked is None else (asked,)

        candidates = measuring.ways(precisions, request.device)

        def measure(training: TrainingConfig, seconds: float) -> tuple[Way, float]:
            way, targets = measuring.fastest(
                task, config, training, material, candidates, seconds, request.device, ranks
            )
            return way, steps_per_second(task, material, targets, per_epoch)

        return cls(
            per_epoch=per_epoch,
            most=most_steps(task, request, material, per_epoch),
            count_validations=lambda training, epochs: task.validations(
                config, training, material, epochs
            )[0],
            measure=measure,
            most_threads=max(way.threads for way in candidates),
            neighbours=lambda: ranks.first(threads.neighbours),
            clock=ranks.clock(clock),
        )

    def is_due(self, state: TrainingState, training: TrainingConfig) -> bool:
        """Whether so much time has passed since the last plan that the rate is known better."""
        plan = training.plan
        if plan is None or state.step <= plan.step:
            return False
        passed = state.seconds - plan.seconds
        if state.seconds >= plan.end:
            return True
        if 2 * (state.step - plan.step) >= training.num_steps - plan.step:
            return passed >= _FEWEST_AHEAD * plan.end
        return passed >= max(_SHARE * (plan.end - plan.seconds), _FEWEST * plan.end)

    def anew(self, state: TrainingState, training: TrainingConfig) -> TrainingConfig:
        """The training with the time that is left planned by the rate since the last plan.

        If that is quite another than expected, if other programs have come or gone, or if fewer
        threads than there could be were chosen and nothing seems to need the other cores now,
        precision and number of threads are chosen again.
        """
        before = training.plan
        assert before is not None
        now, passed = state.seconds, state.seconds - before.seconds
        rate = (state.step - before.step) / max(1e-9, passed)
        way, neighbours = Way(training.precision, training.threads), self.neighbours()
        trial = max(_SHORTEST_TRIAL, _TRIAL_SHARE * passed)
        is_another = not 1 / _ANOTHER < rate / max(1e-9, before.rate) < _ANOTHER
        if not is_another:  # a validation more or less in so short a time says nothing
            rate = (rate + before.rate) / 2
        is_another = is_another or neighbours != before.neighbours
        is_another = is_another or (way.threads < self.most_threads and not neighbours)
        if is_another and trial <= _DEAREST_TRIAL * passed:
            begun = self.clock()
            way, rate = self.measure(training, trial)
            now += self.clock() - begun
        num_steps = state.step + max(0, round(rate * (before.end - now)))
        if training.num_steps <= self.most:
            num_steps = min(num_steps, max(self.most, state.step))
        return dataclasses.replace(
            training,
            num_steps=num_steps,
            validate_every=self._every(training, num_steps),
            precision=way.precision,
            threads=way.threads,
            plan=Plan(
                end=before.end,
                rate=rate,
                step=state.step,
                progress=progress(state.step, training),
                seconds=now,
                neighbours=neighbours,
            ),
        )

    def _every(self, training: TrainingConfig, num_steps: int) -> int:
        """How often to validate; as before, unless that is now far too often or too seldom."""
        number = self.count_validations(training, num_steps / self.per_epoch)
        every = max(1, -(-num_steps // number))
        is_near = 0.7 < every / training.validate_every < 1.4
        return training.validate_every if is_near else every


class Plans:
    """Says after each step whether a plan begins there: one that the run had made, or a new one.

    ``recorded`` are those that the run had made when it was stopped or killed.
    """

    def __init__(
        self, run: Run, planner: Planner | None, recorded: Sequence[TrainingConfig]
    ) -> None:
        self._run, self._planner = run, planner
        self._ahead = {each.plan.step: each for each in recorded if each.plan is not None}

    def __call__(self, state: TrainingState, training: TrainingConfig) -> TrainingConfig | None:
        """The training as it is from here on, if it is another; a new one is noted in the run."""
        if state.step <= max(self._ahead, default=-1):
            return self._ahead.get(state.step)
        if self._planner is None or not self._planner.is_due(state, training):
            return None
        planned = self._planner.anew(state, training)
        self._run.plan(planned.to_json())
        return planned


def held(began: dict[str, Any], step: int) -> tuple[TrainingConfig, list[TrainingConfig]]:
    """Of what run.json says the training as it was planned at a step, and the plans after that.

    Raises CheckpointError.
    """
    later = began.get("plans", [])
    try:
        training = TrainingConfig.from_json(began.get("training"))
        if not isinstance(later, list) or not all(isinstance(each, dict) for each in later):
            raise UsageError("plans must be a list of objects.")
        plans = [TrainingConfig.from_json({**training.to_json(), **each}) for each in later]
        steps = [0 if each.plan is None else each.plan.step for each in plans]
        if steps != sorted({0, *steps} - {0}):
            raise UsageError("plans must each begin at a later step.")
    except UsageError as error:
        raise CheckpointError(f"run.json: {error}") from None
    behind = sum(begins <= step for begins in steps)
    return [training, *plans][behind], plans[behind:]
