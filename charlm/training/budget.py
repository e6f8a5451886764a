"""The budget of a training: time, epochs or steps, as a number of steps."""

import dataclasses
import platform
import time
from collections.abc import Callable

import torch

from charlm.config import TrainingConfig
from charlm.errors import FieldError
from charlm.training.loop import train_steps
from charlm.training.request import Request, Say
from charlm.training.task import AnyTask, Config
from charlm.training.texts.material import Material

_CALIBRATION_SHARE = 0.03  # of the time goes into measuring
_VALIDATION_SHARE = 0.05  # and at most so much into validating


def fix_steps(
    task: AnyTask,
    request: Request,
    config: Config,
    training: TrainingConfig,
    material: Material,
    say: Say,
    *,
    done: int = 0,
    spent: float = 0.0,
) -> TrainingConfig:
    """The config with precision, number of steps and validations fixed.

    Where the budget is time, a scratch model trains for a moment; what it gets through fixes the
    steps. ``done`` are the steps that a run to be continued has behind it; time is added to them.
    ``spent`` seconds of the time are gone already, of which no more than half of it counts.
    """
    per_epoch = task.steps_per_epoch(config, training, material)
    seconds = request.seconds
    if request.steps is None and request.epochs is None and seconds is None:
        seconds = task.declared.seconds
    trial = min(5.0, max(0.5, _CALIBRATION_SHARE * (seconds or 60.0)))

    def measured(precision: str) -> float:
        tried = dataclasses.replace(training, precision=precision)
        return targets_per_second(task, config, tried, material, trial / 2, request.device)

    precision: str | None = request.precision
    speed = None
    if precision is None:
        measure = measured if seconds is not None else None
        precision, speed = task.precision(config, request.device, measure)
    training = dataclasses.replace(training, precision=precision)

    def affordable() -> tuple[float, str]:
        assert seconds is not None
        rate = speed or targets_per_second(task, config, training, material, trial, request.device)
        left = max(0.5 * seconds, seconds - spent) - trial
        targets = rate * max(0.0, left) * (1 - _VALIDATION_SHARE)
        why = f"{rate:,.0f} {task.targets} per second for {seconds:g} s"
        return targets / task.num_targets(material) * per_epoch, why

    most_epochs = task.most_epochs(request, material, per_epoch)
    num_steps, why = count_steps(request, per_epoch, affordable, most_epochs=most_epochs, done=done)
    epochs = num_steps / per_epoch
    validations, validate_tokens = task.validations(config, training, material, epochs)
    say(
        f"budget: {num_steps:,} steps ({why}), {epochs:.1f} epochs, {precision} on "
        f"{request.device} ({platform.machine()})"
    )
    return dataclasses.replace(
        training,
        num_steps=num_steps,
        validate_every=max(1, -(-num_steps // validations)),
        validate_tokens=validate_tokens,
        warmup_steps=min(training.warmup_steps, max(1, num_steps // 10)),
    )


def count_steps(
    request: Request,
    per_epoch: int,
    measure: Callable[[], tuple[float, str]],
    *,
    most_epochs: float,
    done: int,
) -> tuple[int, str]:
    """The steps that a budget comes to, and why.

    Where it is time, measure gives the steps that fit in, and why; they are added to those that
    are done, and of a new run they are no more than most_epochs. Steps and epochs count from the
    beginning: raises UsageError if they end before what is done.
    """
    if request.steps is not None:
        return _no_less_than(done, request.steps, "steps"), "as asked"
    if request.epochs is not None:
        num_steps = max(1, round(request.epochs * per_epoch))
        return _no_less_than(done, num_steps, "epochs"), f"{request.epochs:g} epochs"
    steps, why = measure()
    left = max(1, round(steps))
    if done or left <= most_epochs * per_epoch:
        return done + left, why
    why = f"capped at {most_epochs:.0f} epochs; raise with `epochs`"
    return max(1, round(most_epochs * per_epoch)), why


def _no_less_than(done: int, num_steps: int, field: str) -> int:
    if num_steps < done:
        raise FieldError(
            field,
            f"counts from the beginning of the run, which is at step {done:,} already and would "
            f"end at step {num_steps:,}. Ask for more, or for more time.",
        )
    return num_steps


def targets_per_second(
    task: AnyTask,
    config: Config,
    training: TrainingConfig,
    material: Material,
    seconds: float,
    device: str = "cpu",
) -> float:
    """Targets that training gets through per second, measured on a scratch model.

    The same batches are read twice and only the second time counts: for each shape that is new,
    the kernels prepare something once, which a whole run hardly notices.
    """
    training = dataclasses.replace(training, num_steps=10**9)
    state = task.new_state(config, training, device)
    loop, steps, begun = train_steps(task, state, training, material), 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - begun < seconds / 2:
        next(loop)
        steps += 1
    task.rewind(state)
    loop, targets, begun = train_steps(task, state, training, material), 0, time.perf_counter()
    for _ in range(steps):
        targets += next(loop).num_targets
        if time.perf_counter() - begun >= seconds / 2:
            break
    return targets / (time.perf_counter() - begun)


def likely_precision(hidden_size: int, device: str) -> str:
    """The precision that is faster by experience, told from the processor alone."""
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    # Its name has an underscore, but nothing else in torch tells whether bf16 products are native.
    native = device == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native and hidden_size >= 128 else "fp32"


def faster_precision(measure: Callable[[str], float]) -> tuple[str, float]:
    """fp32 or bf16, whichever gets through more targets per second here, and that rate."""
    rates = {precision: measure(precision) for precision in ("fp32", "bf16")}
    # Rounding costs a little quality: bf16 has to earn it.
    best = "bf16" if rates["bf16"] > 1.05 * rates["fp32"] else "fp32"
    return best, rates[best]
