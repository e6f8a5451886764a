"""The budget of a training: time, epochs or steps, as a number of steps."""

import dataclasses
import platform
import time

from charlm import threads
from charlm.config import Plan, TrainingConfig
from charlm.errors import FieldError
from charlm.training.optimizer import progress
from charlm.training.pace import measuring
from charlm.training.pace.measuring import Way
from charlm.training.ranks.ranks import ALONE, Ranks
from charlm.training.request import Request, Say
from charlm.training.task import AnyTask, Config
from charlm.training.texts.material import Material

_CALIBRATION_SHARE = 0.03  # of the time goes into measuring
_VALIDATION_SHARE = 0.05  # and at most so much into validating


def seconds_of(task: AnyTask, request: Request) -> float | None:
    """The time that a training is given; None where the budget is epochs or steps."""
    if request.steps is None and request.epochs is None and request.seconds is None:
        return task.declared.seconds
    return request.seconds


def fix_steps(
    task: AnyTask,
    request: Request,
    config: Config,
    training: TrainingConfig,
    material: Material,
    say: Say,
    *,
    done: int = 0,
    passed: float = 0.0,
    spent: float = 0.0,
    ranks: Ranks = ALONE,
) -> TrainingConfig:
    """The config with precision, number of steps and validations fixed; of a time, with a plan.

    ``done`` are the steps that a run to be continued has behind it, and ``passed`` the seconds;
    time is added to them. ``spent`` seconds of the time are gone already, of which no more than
    half of it counts. Several processes, ``ranks``, measure together and get the same.
    """
    per_epoch = task.steps_per_epoch(config, training, material)
    precisions = task.precisions(config, request.device)
    if request.precision is not None:
        precisions = (request.precision,)
    seconds = seconds_of(task, request)
    if seconds is None:
        num_steps, why = _steps_asked(request, per_epoch, done)
        training = dataclasses.replace(
            training, num_steps=num_steps, precision=precisions[0], plan=None
        )
    else:
        begun = time.perf_counter()
        trial = min(3.0, max(0.5, _CALIBRATION_SHARE * seconds))
        candidates = measuring.ways(precisions, request.device)
        way, targets = measuring.fastest(
            task, config, training, material, candidates, trial, request.device, ranks
        )
        training = dataclasses.replace(training, precision=way.precision, threads=way.threads)
        why = f"{targets:,.0f} {task.targets} per second for {seconds:g} s"
        rate = steps_per_second(task, material, targets, per_epoch)
        left = max(0.5 * seconds, seconds - spent - (time.perf_counter() - begun))
        most = most_steps(task, request, material, per_epoch)
        if not done and rate * left > most:
            why = f"capped at {most / per_epoch:.0f} epochs; raise with `epochs`"
        training = _planned(
            training,
            rate,
            left,
            most=10**12 if done else most,
            done=done,
            passed=passed,
            neighbours=ranks.first(threads.neighbours),
        )
        if ranks.size > 1:
            training = TrainingConfig.from_json(ranks.first(training.to_json))
        num_steps = training.num_steps
    epochs = num_steps / per_epoch
    validations, validate_tokens = task.validations(config, training, material, epochs)
    say(
        f"budget: {num_steps:,} steps ({why}), {epochs:.1f} epochs, {_how(training)} on "
        f"{request.device} ({platform.machine()})"
    )
    return dataclasses.replace(
        training,
        validate_every=max(1, -(-num_steps // validations)),
        validate_tokens=validate_tokens,
        warmup_steps=min(training.warmup_steps, max(1, num_steps // 10)),
    )


def _planned(
    training: TrainingConfig,
    rate: float,
    left: float,
    *,
    most: int,
    done: int,
    passed: float,
    neighbours: int,
) -> TrainingConfig:
    """The training with the steps that fit into the seconds that are left, and their plan."""
    num_steps = done + min(most, max(1, round(rate * left)))
    training = dataclasses.replace(training, num_steps=num_steps, plan=None)
    plan = Plan(
        end=passed + left,
        rate=rate,
        step=done,
        progress=progress(done, training),
        seconds=passed,
        neighbours=neighbours,
    )
    return dataclasses.replace(training, plan=plan)


def _how(training: TrainingConfig) -> str:
    """Precision, and threads where they were chosen."""
    number = training.threads
    how = f", {number} thread{'s' if number > 1 else ''}" if number else ""
    return f"{training.precision}{how}"


def _steps_asked(request: Request, per_epoch: int, done: int) -> tuple[int, str]:
    """Steps or epochs as a number of steps from the beginning, and why.

    Raises FieldError if they end before what is done.
    """
    if request.steps is not None:
        num_steps, field, why = request.steps, "steps", "as asked"
    else:
        assert request.epochs is not None
        num_steps, field = max(1, round(request.epochs * per_epoch)), "epochs"
        why = f"{request.epochs:g} epochs"
    if num_steps < done:
        raise FieldError(
            field,
            f"counts from the beginning of the run, which is at step {done:,} already and would "
            f"end at step {num_steps:,}. Ask for more, or for more time.",
        )
    return num_steps, why


def most_steps(task: AnyTask, request: Request, material: Material, per_epoch: int) -> int:
    """The steps after which a new run ends, even if time is left: more were seen to be useless."""
    return max(1, round(task.most_epochs(request, material, per_epoch) * per_epoch))


def steps_per_second(task: AnyTask, material: Material, targets: float, per_epoch: int) -> float:
    """The steps that go with so many targets per second, validations allowed for."""
    return (1 - _VALIDATION_SHARE) * targets / task.num_targets(material) * per_epoch


def way_of(training: TrainingConfig) -> Way:
    """How a training computes."""
    return Way(training.precision, training.threads)
