"""A run of a head: a directory below checkpoints/ in which it is trained, saved and gone on with.

The directory, its lock, its log and run.json are those of run.py; what a step holds is described
in head_checkpoint.py.
"""

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch

import charlm
from charlm import checkpoint, head_checkpoint
from charlm.config import HeadConfig, TrainingConfig
from charlm.errors import CheckpointError, DivergedError
from charlm.evaluation import Stopped
from charlm.head_data import Examples
from charlm.head_training import (
    HeadEvent,
    HeadState,
    is_done,
    is_due,
    new_head_state,
    restore_state,
    state_arrays,
    state_counters,
    train_steps,
    validate,
)
from charlm.heads import to_arrays
from charlm.run import SAVE_EVERY_SECONDS, SECONDS_TO_VALIDATE, Run, Saved, check_step
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.spelled import SpelledWords
from charlm.training import CURE, learning_rate

_SMALL_FILES = 2**16  # bytes: the JSON of a save, the names of its tensors, the blocks of the disk

Event: TypeAlias = HeadEvent | Saved


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
    """Save a step, move the pointers, then drop what neither is the best nor the last.

    Raises DivergedError, and saves nothing, if any number is not finite.
    """
    weights, further = to_arrays(state.head), state_arrays(state)
    for name, array in (*weights.items(), *further.items()):
        if not np.isfinite(array).all():
            raise DivergedError(
                f"training diverged: at step {state.step} {name} holds numbers that are not "
                f"finite. Nothing was saved of it. {CURE}"
            )
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
        "versions": {"charlm": charlm.__version__, "torch": torch.__version__},
        "threads": torch.get_num_threads(),
    }
    files = {
        "model.json": checkpoint.to_json(about),
        "model.safetensors": checkpoint.arrays_to_bytes(weights),
        **head_checkpoint.reader_files(material.reader),
        "training.json": checkpoint.to_json(state_counters(state)),
        "training.safetensors": checkpoint.arrays_to_bytes(further),
    }
    path = checkpoint.save_step(run.path, state.step, files)
    best = run.point(state.step, state.best_step, finished=is_done(state, config))
    checkpoint.remove_steps(run.path, {state.step, best})
    return Saved(state.step, path)


def restore(
    run: Run, head_config: HeadConfig, config: TrainingConfig, device: str = "cpu"
) -> HeadState:
    """The state at the last step saved, exactly as it was. Raises CheckpointError."""
    loaded = head_checkpoint.load(run.last_step())
    if loaded.config != head_config:
        raise CheckpointError(f"{loaded.path}: the model is of another shape than run.json's.")
    if loaded.run_id not in (None, run.asked().get("run_id")):
        raise CheckpointError(f"{loaded.path} is of another run than {run.path}/run.json.")
    counters, arrays = head_checkpoint.load_training(loaded.path, head_config)
    state = new_head_state(head_config, config, device)
    restore_state(state, loaded.weights, arrays, counters)
    check_step(loaded.path, loaded.step, state.step)
    run.cut_metrics(state.step)
    run.point(state.step, state.best_step, finished=is_done(state, config))
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

    Ends early, everything saved, when should_stop says so (a validation that takes long is then
    the first thing to be done by whoever goes on) or when config.patience validations in a row
    gave no new best (0 is off).
    """
    numbers = sum(parameter.numel() for parameter in state.head.parameters())
    others = sum(map(len, head_checkpoint.reader_files(material.reader).values()))
    checkpoint.check_room(run.path, 12 * numbers + others + _SMALL_FILES)
    begun, before, saved_at = time.perf_counter(), state.seconds, time.perf_counter()
    steps = train_steps(state, config, material.examples)
    while not is_done(state, config):
        if not is_due(state, config):
            step = next(steps)
            state.seconds = before + time.perf_counter() - begun
            yield step
        worth_saving = False
        if is_due(state, config):
            worth_saving = yield from _validation(run, state, config, material, should_stop)
        if not worth_saving and (
            should_stop() or time.perf_counter() - saved_at >= save_every_seconds
        ):
            worth_saving = not (run.path / checkpoint.step_name(state.step)).exists()
        if worth_saving:
            yield save(run, state, config, material)
            saved_at = time.perf_counter()
        if should_stop():
            return


def _validation(
    run: Run,
    state: HeadState,
    config: TrainingConfig,
    material: HeadMaterial,
    should_stop: Callable[[], bool],
) -> Generator[Event, None, bool]:
    """Validate and log; whether what came of it is to be saved."""
    begun = time.perf_counter()

    def too_long() -> bool:
        return time.perf_counter() - begun >= SECONDS_TO_VALIDATE and should_stop()

    train_loss = state.logged_nats / state.logged_steps if state.logged_steps else None
    try:
        validated = validate(state, material.valid, too_long)
    except Stopped:
        return False
    state.validated = state.step
    state.logged_nats, state.logged_right, state.logged_steps = 0.0, 0.0, 0
    held = validated is not None and material.valid is not None
    run.log(
        {
            "step": state.step,
            "seconds": round(state.seconds, 3),
            "train_loss_nats_per_label": train_loss,
            "valid_accuracy": validated.accuracy if held and validated else None,
            "valid_loss_nats_per_label": validated.loss if held and validated else None,
            "temperature": state.temperature,
            "learning_rate": learning_rate(state.step - 1, config),
        }
    )
    if validated is not None:
        yield validated
    return validated is None or validated.is_best or is_done(state, config)
