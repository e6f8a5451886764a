"""How far a training has come: the module, its optimizer, and counters, all of which are saved.

A step is a function of (state, config, text), so a state is numbers alone: the counters, the
parameters of what is trained, and two moments of each (optimizer.py).
"""

import dataclasses
import typing
from collections.abc import Mapping
from types import NoneType
from typing import Any

import torch
from torch import nn

from charlm.config import TrainingConfig
from charlm.errors import CheckpointError

_NUMBERS = {int, float, NoneType}


@dataclasses.dataclass(kw_only=True)
class TrainingState:
    """What every kind of model has; each task adds fields. All that are numbers are saved.

    updates are the steps that changed the weights; validated is the step of the last validation.
    rollbacks counts how often the weights of an earlier step were put back: each halves the
    learning rate.
    """

    module: nn.Module
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

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.module.parameters()).device


def _counters(kind: type[TrainingState]) -> dict[str, set[type]]:
    """The fields that are numbers, and of which types."""
    hints = typing.get_type_hints(kind)
    kinds = {name: set(typing.get_args(hint)) or {hint} for name, hint in hints.items()}
    # In JSON a float may look like a whole number.
    return {name: k | {int} if float in k else k for name, k in kinds.items() if k <= _NUMBERS}


def counters(state: TrainingState) -> dict[str, Any]:
    """The numbers of a state, as JSON."""
    return {name: getattr(state, name) for name in _counters(type(state))}


def set_counters(state: TrainingState, values: Mapping[str, Any]) -> None:
    """Put back what ``counters`` gave. Raises CheckpointError for what cannot be one."""
    for name, kinds in _counters(type(state)).items():
        value = values.get(name)
        if type(value) not in kinds or (value is not None and not 0 <= value < 2**63):
            raise CheckpointError(f"training.json: {name} cannot be {value!r}.")
        setattr(state, name, value)
    for name in ("best_loss", "best_accuracy"):  # the latter of some kinds alone
        if (state.best_step is None) != (getattr(state, name, state.best_loss) is None):
            raise CheckpointError(f"training.json: best_step and {name} do not belong together.")


def is_due(state: TrainingState, config: TrainingConfig) -> bool:
    """Whether a validation comes before the next step."""
    every = config.validate_every
    falls_here = state.step // every > state.validated // every or state.step >= config.num_steps
    return falls_here and state.validated < state.step


def is_done(state: TrainingState, config: TrainingConfig) -> bool:
    """Whether the budget is spent, the last validation included, or patience is."""
    spent = state.step >= config.num_steps and not is_due(state, config)
    return spent or 0 < config.patience <= state.worse_in_a_row
