"""Trainings of every kind, begun and gone on with in a line."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from charlm.checkpoints.run import Run, Saved
from charlm.config import TrainingConfig
from charlm.network_config import ClozeConfig, HeadConfig, LanguageConfig
from charlm.nn.examples import Examples
from charlm.text.tokens import TokenizedText
from charlm.tokenizers import train_tokenizer
from charlm.training import loop, saving
from charlm.training.pace import budget, measuring
from charlm.training.pace.measuring import Way
from charlm.training.request import Request
from charlm.training.state import TrainingState
from charlm.training.task import AnyTask, Event, Step, Validated
from charlm.training.tasks import TASKS, task_of
from charlm.training.texts.example_material import ExampleMaterial
from charlm.training.texts.material import Material, TextMaterial
from charlm.training.trainer import Trainer
from charlm.training.window_steps import OnlyText


def task_for(config: LanguageConfig | HeadConfig) -> AnyTask:
    """The task that trains a model of this shape."""
    if isinstance(config, HeadConfig):
        return TASKS[config.kind]
    return TASKS["cloze" if isinstance(config, ClozeConfig) else "language-model"]


def new_state(
    config: LanguageConfig | HeadConfig,
    training: TrainingConfig,
    device: torch.device | str = "cpu",
) -> Any:
    """The first state of a training."""
    return task_for(config).new_state(config, training, device)


def train_steps(state: Any, training: TrainingConfig, material: Any) -> Iterator[Step]:
    """The steps of a training; a language model's needs no more than a text."""
    if isinstance(material, TokenizedText):
        material = OnlyText(material)
    elif isinstance(material, Examples):
        material = _examples_alone(material)
    return loop.train_steps(task_for(state.module.config), state, training, material)


def _examples_alone(examples: Examples, valid: Examples | None = None) -> ExampleMaterial:
    return ExampleMaterial(
        about={},
        split_on="line",
        reader=train_tokenizer(["a"], level="char"),
        labels=(),
        examples=examples,
        valid=valid,
    )


def fit(
    run: Run,
    state: Any,
    training: TrainingConfig,
    material: Material,
    recorded: Sequence[TrainingConfig] = (),
    **options: Any,
) -> Iterator[Event]:
    """Train in a run to the end of the budget."""
    config = state.module.config
    trainer = Trainer(
        task=task_for(config),
        request=Request(corpus=()),
        config=config,
        training=training,
        material=material,
        state=state,
        recorded=recorded,
    )
    return trainer.train(run, **options)


def save(run: Run, state: Any, training: TrainingConfig, material: Material) -> Saved:
    """Save a step."""
    return saving.save(task_for(state.module.config), run, state, training, material)


def restore(
    run: Run, config: LanguageConfig | HeadConfig, training: TrainingConfig, device: str = "cpu"
) -> Any:
    """The state at the last step saved."""
    return saving.restore(task_for(config), run, config, training, device)


def state_arrays(state: TrainingState) -> Any:
    """All tensors of a state that are not the weights for use."""
    return task_for(state.module.config).arrays(state)  # type: ignore[arg-type]


def restore_state(state: TrainingState, weights: Any, arrays: Any, counters: Any) -> None:
    """Put back what those held."""
    task = task_for(state.module.config)  # type: ignore[arg-type]
    task.put_back(state, weights, arrays, counters)


def groups_of_epoch(
    text: TokenizedText,
    training: TrainingConfig,
    epoch: int,
    config: LanguageConfig | None = None,
) -> Any:
    """The groups of rows that an epoch reads."""
    task = TASKS["cloze" if isinstance(config, ClozeConfig) else "language-model"]
    return task.groups(text, training, epoch)  # type: ignore[attr-defined]


def steps_per_epoch(material: ExampleMaterial, training: TrainingConfig) -> int:
    """How many steps read every example once."""
    return TASKS["classifier"].steps_per_epoch(None, training, material)


def settle(request: Request, say: Callable[[str], None]) -> Trainer:
    """Everything that a request leaves open, chosen."""
    return Trainer.settle(request, say)


def fix_steps(
    request: Request,
    config: LanguageConfig | HeadConfig,
    training: TrainingConfig,
    material: Material,
    say: Callable[[str], None],
    *,
    done: int = 0,
) -> TrainingConfig:
    """The steps and validations that a budget comes to."""
    task = task_for(config)
    request = dataclasses.replace(request, device="cpu")
    return budget.fix_steps(task, request, config, training, material, say, done=done)


def fastest(
    config: LanguageConfig,
    training: TrainingConfig,
    text: TokenizedText,
    candidates: list[Way],
    seconds: float,
) -> tuple[Way, float]:
    """The fastest way to train a model of this shape on a text."""
    material = TextMaterial(
        tokenizer=train_tokenizer(["a"], level="char"),
        text=text,
        valid=None,
        known=None,
        split_on="line",
        about={},
    )
    task = task_for(config)
    return measuring.fastest(task, config, training, material, candidates, seconds)


def read_texts(request: Request, say: Callable[[str], None] = lambda _: None) -> Any:
    """The texts of a request of any kind. Raises UsageError for one that cannot be."""
    return task_of(request).read(request, say)


def prepared(request: Request, texts: Any) -> Any:
    """Those texts as ids."""
    return task_of(request).prepare(request, texts, lambda _: None)


def validate(
    state: Any,
    valid: Examples | None,
    should_stop: Callable[[], bool],
    names: Sequence[str],
    *,
    at_end: bool = False,
) -> Validated | None:
    """What a classifier or tagger makes of examples held out, with best brought up to date."""
    state.step = max(1, state.step)
    training = TrainingConfig(num_steps=state.step if at_end else 10**9, segment_length=10**9)
    none = Examples(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.int64))
    material = dataclasses.replace(_examples_alone(valid or none, valid), labels=tuple(names))
    return task_for(state.module.config).validate(state, training, material, should_stop)[0]


def windows_per_epoch(config: LanguageConfig, training: TrainingConfig, text: TokenizedText) -> int:
    """How many steps of a language model read a text once."""
    return task_for(config).steps_per_epoch(config, training, OnlyText(text))
