"""The course of a training, whatever is trained: its optimizer, its counters, what is due by them.

A step is a function of (state, config, text), so a state is numbers, all of which stand in a
checkpoint: the counters of a Course, the parameters of what is trained, and two moments of each.
"""

import contextlib
import dataclasses
import math
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from charlm.config import TrainingConfig
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError, DivergedError

MOST_SKIPPED = 10  # steps in a row whose gradient is not finite before a run is given up
CURE = (
    "Begin again with a lower --learning-rate, or go on from the last checkpoint with --resume "
    "--on-nan rollback."
)
_MOMENTS = ("exp_avg", "exp_avg_sq")
_NUMBERS = {int, float, NoneType}


@dataclasses.dataclass(kw_only=True)
class Course:
    """How far a training has come. What is trained adds fields; all that are numbers are saved.

    updates are the steps that changed the weights; validated is the step of the last validation.
    rollbacks counts how often the weights of an earlier step were put back: each halves the
    learning rate.
    """

    optimizer: torch.optim.AdamW
    step: int = 0
    updates: int = 0
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    validated: int = 0
    best_step: int | None = None
    best_loss: float | None = None
    worse_in_a_row: int = 0
    rollbacks: int = 0

    def forget_best(self) -> None:
        """Have no best step: where nothing is held out, nothing tells one step from another."""
        self.best_step = self.best_loss = None
        self.worse_in_a_row = 0


def _counters(kind: type[Course]) -> dict[str, set[type]]:
    """The fields that are numbers, and of which types."""
    hints = typing.get_type_hints(kind)
    kinds = {name: set(typing.get_args(hint)) or {hint} for name, hint in hints.items()}
    # In JSON a float may look like a whole number.
    return {name: k | {int} if float in k else k for name, k in kinds.items() if k <= _NUMBERS}


def state_counters(course: Course) -> dict[str, Any]:
    """The numbers of a state, as JSON."""
    return {name: getattr(course, name) for name in _counters(type(course))}


def set_counters(course: Course, values: Mapping[str, Any]) -> None:
    """Put back what ``state_counters`` gave. Raises CheckpointError for what cannot be one."""
    for name, kinds in _counters(type(course)).items():
        value = values.get(name)
        if type(value) not in kinds or (value is not None and not 0 <= value < 2**63):
            raise CheckpointError(f"training.json: {name} cannot be {value!r}.")
        setattr(course, name, value)
    if (course.best_step is None) != (course.best_loss is None):
        raise CheckpointError("training.json: best_step and best_loss do not belong together.")


def is_due(course: Course, config: TrainingConfig) -> bool:
    """Whether a validation comes before the next step."""
    falls_here = course.step % config.validate_every == 0 or course.step >= config.num_steps
    return falls_here and course.validated < course.step


def is_done(course: Course, config: TrainingConfig) -> bool:
    """Whether the budget is spent, the last validation included, or patience is."""
    spent = course.step >= config.num_steps and not is_due(course, config)
    return spent or 0 < config.patience <= course.worse_in_a_row


# Steps


def make_optimizer(
    parameters: Iterable[tuple[str, nn.Parameter]], config: TrainingConfig
) -> torch.optim.AdamW:
    """AdamW; only matrices decay, and of them not the embeddings of tokens and letters."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in parameters:
        spared = any(part in name for part in ("embedding", "letters", "peephole"))
        (others if spared or parameter.dim() < 2 else matrices).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate of step number ``step`` (from 0): a linear rise, then a cosine to the end."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return config.end_learning_rate + (config.learning_rate - config.end_learning_rate) * cosine


def rate_of(course: Course, config: TrainingConfig, step: int) -> float:
    """The rate of a step of this run: that of the schedule, halved by each rollback."""
    return learning_rate(step, config) * 0.5**course.rollbacks


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The random numbers of one step, dropout's and others', a function of (seed, step)."""
    generator = torch.Generator(device)
    # An odd multiplier keeps neighbouring steps and seeds apart in 63 bits.
    return generator.manual_seed((seed * 0x9E3779B97F4A7C15 + step) % 2**63)


def descend(course: Course, config: TrainingConfig, module: nn.Module, loss: float) -> float:
    """Clip the gradient and go a step against it; the norm that it had.

    If that or the loss is not finite nothing is changed but the number of such steps in a row.
    Raises DivergedError at the tenth of them.
    """
    norm = float(nn.utils.clip_grad_norm_(module.parameters(), config.max_grad_norm))
    if math.isfinite(loss) and math.isfinite(norm):
        for group in course.optimizer.param_groups:
            group["lr"] = rate_of(course, config, course.step)
        course.optimizer.step()
        course.updates += 1
        course.skipped_in_a_row = 0
        return norm
    course.skipped_in_a_row += 1
    if course.skipped_in_a_row >= MOST_SKIPPED:
        raise DivergedError(
            f"training diverged: {MOST_SKIPPED} steps in a row up to step {course.step + 1} gave a "
            f"loss or gradient that is not finite. {CURE}"
        )
    return norm


# To and from arrays


def moments(course: Course, module: nn.Module) -> dict[str, Tensor]:
    """The two moments of every parameter, and how often it was updated if not always, by name."""
    found = {}
    for name, parameter in module.named_parameters():
        there = course.optimizer.state.get(parameter, {})
        for key in _MOMENTS:
            found[f"{key}.{name}"] = there.get(key, torch.zeros_like(parameter))
        taken = float(there.get("step", 0))
        if taken != course.updates:  # what makes first states of labels: not in every window
            found[f"updates.{name}"] = torch.tensor([taken])
    return found


def restore(course: Course, module: nn.Module, weights: Arrays, arrays: Arrays) -> None:
    """Put back parameters, and of what ``moments`` gave as much as course.updates asks for.

    Raises KeyError, RuntimeError or ValueError for what does not fit: see ``refusing``.
    """
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            parameter.copy_(copied(name, weights, parameter))
        if course.updates:
            course.optimizer.state[parameter] = {
                "step": _updates(name, course, arrays).to(parameter.device),
                **{key: copied(f"{key}.{name}", arrays, parameter) for key in _MOMENTS},
            }


def _updates(name: str, course: Course, arrays: Arrays) -> Tensor:
    """How often a parameter has been updated (): at every update, unless arrays say otherwise."""
    if f"updates.{name}" not in arrays:
        return torch.tensor(float(course.updates))
    taken = copied(f"updates.{name}", arrays, torch.zeros(1))[0]
    if not 0 <= taken < course.updates or taken != taken.round():
        raise ValueError(f"{name} cannot have been updated {float(taken):g} times")
    return taken


def copied(name: str, arrays: Arrays, like: Tensor) -> Tensor:
    """A tensor of a saved array that must have this shape. Raises ValueError."""
    if name not in arrays:
        raise ValueError(f"it lacks {name}")
    array = arrays[name]
    if array.shape != tuple(like.shape) or array.dtype != np.float32:
        raise ValueError(f"{name} is {array.shape} of {array.dtype}, not {tuple(like.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return torch.from_numpy(array.copy()).to(like.device)


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """What goes wrong in here is a CheckpointError about training.safetensors."""
    try:
        yield
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"training.safetensors does not fit the model: {error}.") from None


def check_finite(step: int, arrays: Iterable[tuple[str, npt.NDArray[Any]]]) -> None:
    """Raise DivergedError if any number of what is to be saved is not finite."""
    for name, array in arrays:
        if not np.isfinite(array).all():
            raise DivergedError(
                f"training diverged: at step {step} {name} holds numbers that are not finite. "
                f"Nothing was saved of it. {CURE}"
            )


def roll_back(
    course: Course, put_back: Callable[[], None], belonging: tuple[str, ...] = ("updates",)
) -> None:
    """Have an earlier state put back, its counters too, and halve the learning rate.

    Of the counters only those that belong to the weights stay as they were put back. All else
    goes on from where it is: step and text do not run backwards, so that a run is never longer
    than its budget and its log stays in order.
    """
    now = state_counters(course)
    course.optimizer.state.clear()
    put_back()
    there = {name: getattr(course, name) for name in belonging}
    for name, value in {**now, **there, "rollbacks": now["rollbacks"] + 1}.items():
        setattr(course, name, value)
