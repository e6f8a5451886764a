"""A step against the gradient: AdamW, its learning rate, its moments as arrays and back."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from charlm.config import TrainingConfig
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError, DivergedError
from charlm.nn.network import own
from charlm.nn.shares import Share, StepGenerator
from charlm.training import rows
from charlm.training.rows import MATRICES, RowAdamW
from charlm.training.state import TrainingState, counters

MOST_SKIPPED = 10  # steps in a row whose gradient is not finite before a run is given up
CURE = (
    "Begin again with a lower `learning_rate`, or go on from the last checkpoint with `resume` and "
    "`on_nan=rollback`."
)
_MOMENTS = ("exp_avg", "exp_avg_sq")


# Steps


def make_optimizer(
    parameters: Iterable[tuple[str, nn.Parameter]], config: TrainingConfig
) -> torch.optim.AdamW:
    """AdamW; only matrices decay, and of them not the embeddings of tokens and letters.

    Where config is row_wise, the matrices of types are stepped a row at a time (rows.py).
    """
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    of_types: dict[nn.Parameter, float] = {}
    for name, parameter in parameters:
        spared = any(part in name for part in ("embedding", "letters", "peephole"))
        spared = spared or parameter.dim() < 2
        if config.row_wise and name in MATRICES:
            of_types[parameter] = 0.0 if spared else config.weight_decay
        else:
            (others if spared else matrices).append(parameter)
    if config.row_wise:
        return RowAdamW(matrices, others, of_types, config)
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def progress(step: int, config: TrainingConfig) -> float:
    """How much (0 to 1) of the schedule lies behind at a step, the rise at the beginning apart.

    A plan has a part of it behind at its own step, and spreads the rest evenly over what is left.
    """
    begun, before = (0, 0.0) if config.plan is None else (config.plan.step, config.plan.progress)
    begun = max(begun, config.warmup_steps)
    done = (step - begun) / max(1, config.num_steps - begun)
    return before + (1 - before) * min(1.0, max(0.0, done))


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate of step number ``step`` (from 0): a linear rise, then a cosine to the end."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    cosine = 0.5 * (1 + math.cos(math.pi * progress(step, config)))
    return config.end_learning_rate + (config.learning_rate - config.end_learning_rate) * cosine


def rate_of(state: TrainingState, config: TrainingConfig, step: int) -> float:
    """The rate of a step of this run: that of the schedule, halved by each rollback."""
    return learning_rate(step, config) * 0.5**state.rollbacks


def step_generator(
    seed: int, step: int, device: torch.device, share: Share | None = None
) -> StepGenerator:
    """The random numbers of one step, dropout's and others', a function of (seed, step).

    They are those of all rows; ``share`` says which of these are read here.
    """
    generator = StepGenerator(device)
    generator.share = share
    # An odd multiplier keeps neighbouring steps and seeds apart in 63 bits.
    generator.manual_seed((seed * 0x9E3779B97F4A7C15 + step) % 2**63)
    return generator


def descend(state: TrainingState, config: TrainingConfig, loss: float) -> float:
    """Clip the gradient and go a step against it; the norm that it had.

    If that or the loss is not finite nothing is changed but the number of such steps in a row.
    Raises DivergedError at the tenth of them.
    """
    if config.row_wise:
        norm = float(rows.clip(list(state.module.parameters()), config.max_grad_norm))
    else:
        norm = float(nn.utils.clip_grad_norm_(state.module.parameters(), config.max_grad_norm))
    if math.isfinite(loss) and math.isfinite(norm):
        for group in state.optimizer.param_groups:
            group["lr"] = rate_of(state, config, state.step)
        state.optimizer.step()
        state.updates += 1
        state.skipped_in_a_row = 0
        return norm
    state.skipped_in_a_row += 1
    if state.skipped_in_a_row >= MOST_SKIPPED:
        raise DivergedError(
            f"training diverged: {MOST_SKIPPED} steps in a row up to step {state.step + 1} gave a "
            f"loss or gradient that is not finite. {CURE}"
        )
    return norm


# To and from arrays


def moments(state: TrainingState) -> dict[str, Tensor]:
    """The two moments of every parameter, and how often it was updated if not always, by name.

    Of the matrices that are stepped a row at a time also what else is kept (rows.py).
    """
    found = {}
    for name, parameter in state.module.named_parameters():
        there = state.optimizer.state.get(parameter, {})
        for key in _kept(state.optimizer, parameter):
            if key not in there:  # before the first step; else it is not made, for it may be large
                there = {**_first(state.optimizer, parameter), **there}
            found[f"{key}.{name}"] = there[key]
        taken = float(there.get("step", 0))
        if taken != state.updates:  # what makes first states of labels: not in every window
            found[f"updates.{name}"] = torch.tensor([taken])
    return found


def restore_parameters(state: TrainingState, weights: Arrays, arrays: Arrays) -> None:
    """Put back parameters, and of what ``moments`` gave as much as state.updates asks for.

    Raises KeyError, RuntimeError or ValueError for what does not fit: see ``refusing``.
    """
    for name, parameter in state.module.named_parameters():
        with torch.no_grad():
            parameter.copy_(copied(name, weights, parameter))
        if state.updates:
            state.optimizer.state[parameter] = {
                "step": _updates(name, state, arrays).to(parameter.device),
                **{
                    key: copied(f"{key}.{name}", arrays, parameter.new_empty(shape))
                    for key, shape in _kept(state.optimizer, parameter).items()
                },
            }


def _kept(optimizer: torch.optim.AdamW, parameter: nn.Parameter) -> dict[str, torch.Size]:
    """What an optimizer keeps of a parameter beside its steps, by name, and its shape."""
    if isinstance(optimizer, RowAdamW) and parameter in optimizer.of_types:
        return rows.shapes(parameter)
    return dict.fromkeys(_MOMENTS, parameter.shape)


def _first(optimizer: torch.optim.AdamW, parameter: nn.Parameter) -> dict[str, Tensor]:
    """The same as it is to begin with."""
    if isinstance(optimizer, RowAdamW) and parameter in optimizer.of_types:
        return rows.blank(parameter.detach())
    return {key: torch.zeros_like(parameter) for key in _MOMENTS}


def _updates(name: str, state: TrainingState, arrays: Arrays) -> Tensor:
    """How often a parameter has been updated (): at every update, unless arrays say otherwise."""
    if f"updates.{name}" not in arrays:
        return torch.tensor(float(state.updates))
    taken = copied(f"updates.{name}", arrays, torch.zeros(1))[0]
    if not 0 <= taken < state.updates or taken != taken.round():
        raise ValueError(f"{name} cannot have been updated {float(taken):g} times")
    return taken


def copied(name: str, arrays: Arrays, like: Tensor) -> Tensor:
    """A tensor of a saved array that must have this shape. Raises ValueError.

    A large array is not copied: whoever saved it does not use it any more.
    """
    if name not in arrays:
        raise ValueError(f"it lacks {name}")
    array = arrays[name]
    if array.shape != tuple(like.shape) or array.dtype != np.float32:
        raise ValueError(f"{name} is {array.shape} of {array.dtype}, not {tuple(like.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return own(array).to(like.device)


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
    state: TrainingState, put_back: Callable[[], None], belonging: tuple[str, ...] = ("updates",)
) -> None:
    """Have an earlier state put back, its counters too, and halve the learning rate.

    Of the counters only those that belong to the weights stay as they were put back. All else
    goes on from where it is: step and text do not run backwards, so that a run is never longer
    than its budget and its log stays in order.
    """
    now = counters(state)
    state.optimizer.state.clear()
    put_back()
    there = {name: getattr(state, name) for name in belonging}
    for name, value in {**now, **there, "rollbacks": now["rollbacks"] + 1}.items():
        setattr(state, name, value)
