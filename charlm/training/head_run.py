"""A run of a head: a directory below checkpoints/ in which it is trained, saved and gone on with.

The directory, its lock, its log and run.json are those of run.py; what a step holds is described
in head_checkpoint.py.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from charlm.checkpoints import directory as runs
from charlm.checkpoints import head_step as head_checkpoint
from charlm.checkpoints import step as checkpoint
from charlm.config import HeadConfig, TrainingConfig
from charlm.nn.examples import Examples
from charlm.nn.head import to_arrays
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.word_letters import SpelledWords
from charlm.training.course import check_finite, rate_of, state_counters
from charlm.training.head_training import (
    HeadState,
    HeadStep,
    HeadValidated,
    go_back,
    new_head_state,
    restore_state,
    state_arrays,
    train_steps,
    validate,
)
from charlm.training.run import (
    SAVE_EVERY_SECONDS,
    SMALL_FILES,
    RolledBack,
    Run,
    Saved,
    carry_on,
    check_step,
    surroundings,
)

Event: TypeAlias = HeadStep | HeadValidated | Saved | RolledBack


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadMaterial:
    """What a run is about: the examples as ids, and what turns text into them.

    about is what model.json tells of the text and where its labels come from.
    """

    reader: Tokenizer | SpelledWords
    labels: tuple[str, ...]
    examples: Examples
    valid: Examples | None
    about: dict[str, Any]


def save(run: Run, state: HeadState, config: TrainingConfig, material: HeadMaterial) -> Saved:
    """Save a step. Raises DivergedError, and saves nothing, if any number is not finite."""
    weights, further = to_arrays(state.head), state_arrays(state)
    check_finite(state.step, (*weights.items(), *further.items()))
    about = {
        "format": head_checkpoint.FORMAT,
        "kind": state.head.config.kind,
        "step": state.step,
        "labels": list(material.labels),
        "temperature": state.temperature,
        "model": state.head.config.to_json(),
        "training": config.to_json(),
        "text": material.about,
        "best_accuracy": state.best_accuracy,
        "best_loss_nats_per_label": state.best_loss,
        **({} if state.best_f1 is None else {"best_span_f1": state.best_f1}),
        **surroundings(state),
    }
    files = {
        "model.json": checkpoint.to_json(about),
        "model.safetensors": checkpoint.arrays_to_bytes(weights),
        **head_checkpoint.reader_files(material.reader),
        "training.json": checkpoint.to_json(state_counters(state)),
        "training.safetensors": checkpoint.arrays_to_bytes(further),
    }
    return run.keep(state, config, files)


def restore(
    run: Run, head_config: HeadConfig, config: TrainingConfig, device: str = "cpu"
) -> HeadState:
    """The state at the last step saved, exactly as it was. Raises CheckpointError."""
    loaded = head_checkpoint.load(run.last_step())
    run.check_own(loaded.path, loaded.run_id, loaded.config.to_json(), head_config.to_json())
    counters, arrays = head_checkpoint.load_training(loaded.path, head_config)
    state = new_head_state(head_config, config, device)
    restore_state(state, loaded.weights, arrays, counters)
    check_step(loaded.path, loaded.step, state.step)
    run.cut_metrics(state.step)
    run.point(state, config)
    return state


def fit(
    run: Run,
    state: HeadState,
    config: TrainingConfig,
    material: HeadMaterial,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    save_every_seconds: float = SAVE_EVERY_SECONDS,
) -> Iterator[Event]:
    """Train to the end of the budget, validating and saving; yields what happens as it happens.

    As run.fit does: it ends early, everything saved, when should_stop says so or when patience is
    spent.
    """
    if material.valid is None:
        state.forget_best()
    numbers = sum(parameter.numel() for parameter in state.head.parameters())
    others = sum(map(len, head_checkpoint.reader_files(material.reader).values()))
    runs.check_room(run.path, 12 * numbers + others + SMALL_FILES)
    return carry_on(
        run,
        state,
        config,
        train_steps(state, config, material.examples),
        validation=functools.partial(_validation, state, config, material),
        go_back=functools.partial(_go_back, run, state, config, material),
        save=functools.partial(save, run, state, config, material),
        should_stop=should_stop,
        save_every_seconds=save_every_seconds,
    )


def _go_back(run: Run, state: HeadState, config: TrainingConfig, material: HeadMaterial) -> int:
    """Put back the step to go back to, or the first random weights where there is none."""
    shape = state.head.config
    step = run.step_to_go_back_to(state, is_held_out=material.valid is not None)
    if not step:
        first = new_head_state(shape, config, state.head.softmax.weight.device)
        go_back(state, to_arrays(first.head), state_arrays(first), state_counters(first))
        return step
    loaded = head_checkpoint.load(run.path / runs.step_name(step))
    counters, arrays = head_checkpoint.load_training(loaded.path, shape)
    go_back(state, loaded.weights, arrays, counters)
    return step


def _validation(
    state: HeadState,
    config: TrainingConfig,
    material: HeadMaterial,
    should_stop: Callable[[], bool],
) -> tuple[HeadValidated | None, dict[str, Any]]:
    """The held-out figures now, and the line of the log."""
    loss = state.logged_nats / state.logged_steps if state.logged_steps else None
    at_end = state.step >= config.num_steps
    validated = validate(state, material.valid, should_stop, material.labels, at_end=at_end)
    state.logged_nats, state.logged_steps = 0.0, 0
    f1 = {"valid_f1": validated.f1} if validated is not None and validated.f1 is not None else {}
    line = {
        "train_loss_nats_per_label": loss,
        "valid_accuracy": validated.accuracy if validated else None,
        "valid_loss_nats_per_label": validated.loss if validated else None,
        **f1,
        "temperature": state.temperature,
        "learning_rate": rate_of(state, config, state.step - 1),
    }
    return validated, line
