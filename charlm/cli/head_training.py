"""``charlm train --classifier`` and ``--tagger``, once their options have been read."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.cli.errors import Signals
from charlm.cli.options import NOT_OF_HEADS, model_option
from charlm.cli.output.terminal import out, say
from charlm.cli.output.training_progress import Display, running_mean
from charlm.cli.resuming import READ_AGAIN, device_of, existing, go_on, refuse_changes
from charlm.cli.training import _free, carry_out
from charlm.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from charlm.config import TrainingConfig
    from charlm.training.head_request import HeadSettled
    from charlm.training.head_training import HeadState
    from charlm.training.run import Run


def train_head(
    kind: str,
    asked: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
    *,
    budget: tuple[float | None, float | None, int | None] = (None, None, None),
    root: Path,
    name: str | None = None,
    resume: bool = False,
    say: Callable[[str], None] = say,
    quiet: bool = False,
) -> None:
    """Train a head, showing progress, until the budget is spent or a signal comes."""
    for field, option in NOT_OF_HEADS.items():
        if field in asked or field in model or field in training:
            raise UsageError(f"{option} is for language models, not for a {kind}.")
    say("charlm: starting")
    with Signals() as signals:
        from charlm.checkpoints import directory as runs
        from charlm.checkpoints.head_step import reader_hash
        from charlm.training.head_request import HeadRequest, settle_head
        from charlm.training.head_training import new_head_state
        from charlm.training.run import Run

        signals.check()
        if resume:
            with Run(existing(name, root)) as run:
                if (there := runs.kind_of(run.path)) != kind:
                    raise UsageError(f"{run.path} is a {there}, not a {kind}: leave out --{kind}.")
                settled, state = _continued(run, asked, model, training, budget, say)
                signals.patient = True
                _fit(run, settled, state, signals, say, quiet)
            return
        seconds, epochs, steps = budget
        request = HeadRequest(
            kind=kind,
            **{**asked, "device": device_of(asked.get("device"))},
            model=model,
            training=training,
            seconds=seconds,
            epochs=epochs,
            steps=steps,
        )
        if name is not None:
            Run(root / runs.check_name(name)).check_new()
        settled = settle_head(request, say)
        state = new_head_state(settled.model, settled.training, request.device)
        signals.patient = True
        path = root / name if name is not None else _free(request.corpus, root)
        with Run(path) as run:
            run.begin(
                {
                    "kind": kind,
                    "request": request.to_json(),
                    "model": settled.model.to_json(),
                    "training": settled.training.to_json(),
                    "fingerprint": settled.material.about["fingerprint"],
                    "tokenizer": reader_hash(settled.material.reader),
                }
            )
            _fit(run, settled, state, signals, say, quiet)


def _continued(
    run: "Run",
    asked: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
    budget: tuple[float | None, float | None, int | None],
    say: Callable[[str], None],
) -> tuple["HeadSettled", "HeadState"]:
    """The texts read again, compared with those of the run, and its state put back.

    Raises UsageError saying what differs if something is asked that the run was not begun with.
    """
    from charlm.checkpoints import head_step as head_checkpoint
    from charlm.config import HeadConfig, TrainingConfig
    from charlm.training.head_request import (
        HeadRequest,
        HeadSettled,
        fix_steps,
        head_material_of,
        read_head_texts,
    )
    from charlm.training.head_run import restore

    began = run.asked()
    request = HeadRequest.from_json(began.get("request"))
    model_config = HeadConfig.from_json(began.get("model"))
    config = TrainingConfig.from_json(began.get("training"))
    refuse_changes(request, model_config, config, asked, model, training)
    again = {key: asked[key] for key in READ_AGAIN if asked.get(key)}
    device = device_of(asked.get("device", request.device))
    request = dataclasses.replace(request, **again, device=device)
    texts = read_head_texts(request, say)
    if texts.fingerprint != began.get("fingerprint"):
        raise UsageError(
            f"the text of {', '.join((*request.corpus, *request.valid))} is not the one that "
            f"{run.path} was begun with. Give the same text, or begin a new run."
        )
    saved = head_checkpoint.load(run.last_step())
    reader = saved.tokenizer or saved.words
    if reader is None:
        raise CheckpointError(f"{saved.path} has nothing that turns text into ids.")
    if head_checkpoint.reader_hash(reader) != began.get("tokenizer"):
        raise CheckpointError(
            f"{saved.path}: what turns text into ids is not what {run.path} was begun with. "
            "Restore its files, or begin a new run."
        )
    state = restore(run, model_config, config, request.device)
    material = head_material_of(request, texts, reader, saved.labels)
    if budget != (None, None, None):
        seconds, epochs, steps = budget
        request = dataclasses.replace(request, seconds=seconds, epochs=epochs, steps=steps)
        config = fix_steps(request, model_config, config, material, say, done=state.step)
    if "on_nan" in training:  # no step so far depends on it
        config = dataclasses.replace(config, on_nan=training["on_nan"])
    go_on(run, state, config, saved.info, say, is_longer=budget != (None, None, None))
    return HeadSettled(material, model_config, config), state


def _fit(
    run: "Run",
    settled: "HeadSettled",
    state: "HeadState",
    signals: Signals,
    say: Callable[[str], None],
    quiet: bool,
) -> None:
    """Train to the end or to a signal, and say what came of it."""
    from charlm.cli.output.held_out import say_none, ways
    from charlm.nn.head import to_arrays
    from charlm.training.head_run import fit, save

    material, config = settled.material, settled.training
    split_on = None if settled.model.kind == "tagger" else material.about["split_on"]
    if material.valid is None:
        say_none(run, config, split_on, say)
    carry_out(
        run,
        sum(array.size for array in to_arrays(state.head).values()),
        functools.partial(fit, run, state, config, material),
        HeadDisplay(state, config),
        functools.partial(save, run, state, config, material),
        signals,
        say,
        quiet,
    )
    if settled.model.kind == "classifier":
        say(f'next: charlm classify{model_option(run.path)} "a text"')
    else:
        say(f"next: charlm tag{model_option(run.path)} --evaluate FILE")
    if material.valid is None:
        how = ways(run, split_on)
        out(f"best validation accuracy: none, nothing was held out; {how} holds some out\n")
        return
    if state.best_step is None:
        out("best validation accuracy: none, no validation gave a finite loss\n")
        return
    what = f"accuracy: {state.best_accuracy:.4f}"
    if state.best_f1 is not None:
        what = f"F1 of spans: {state.best_f1:.4f}, accuracy {state.best_accuracy:.4f}"
    out(f"best validation {what}, {state.best_loss:.4f} nats per label (step {state.best_step})\n")


class HeadDisplay(Display):
    """Of a head: accuracies, a tagger's F1 of spans, and the time left."""

    def __init__(self, state: "HeadState", config: "TrainingConfig") -> None:
        super().__init__(state, config)
        self.state = state
        self.train: float | None = None
        self.columns = (
            "accuracy: train [bold]{train}[/]",
            "valid [bold]{valid}[/]",
            "{left} left",
        )

    def note(self, event: object) -> bool:
        """Take in the accuracy of training; that of validation stands in the state."""
        from charlm.training.head_training import HeadStep, HeadValidated

        if isinstance(event, HeadStep) and not event.skipped:
            self.train = running_mean(self.train, event.accuracy)
        return isinstance(event, HeadValidated)

    def values(self) -> dict[str, str]:
        """The two accuracies, and beside the second F1 where there is such."""
        train, valid = ("-" if v is None else f"{v:.4f}" for v in (self.train, self.state.accuracy))
        if self.state.f1 is not None:
            valid += f" F1 {self.state.f1:.4f}"
        return {"train": train, "valid": valid, "left": self.left}
