"""``charlm train --classifier`` and ``--tagger``, once their options have been read."""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from charlm.cli.border import Signals
from charlm.cli.terminal import is_live, out, say
from charlm.cli.training import ROOT, _device, _existing, _free
from charlm.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from charlm.head_request import HeadRequest, HeadSettled
    from charlm.head_run import Event
    from charlm.head_training import HeadState
    from charlm.run import Run

_EVERY_SECONDS = 5.0  # between plain lines
_MEMORY = 0.98  # of the running means of training
# What is of language models alone, among the fields that a request, a shape or a training has.
_NOT_OF_HEADS = {
    "ngram": "--ngram",
    "cache": "--cache",
    "precision": "--precision",
    "tie_weights": "--tie-weights",
    "bptt_length": "--bptt-length",
    "on_nan": "--on-nan",
}
_READ_AGAIN = ("corpus", "valid")  # compared by the text that they give


def train_head(
    kind: str,
    asked: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
    *,
    budget: tuple[float | None, float | None, int | None] = (None, None, None),
    name: str | None = None,
    resume: bool = False,
    say: Callable[[str], None] = say,
    quiet: bool = False,
) -> None:
    """Train a head, showing progress, until the budget is spent or a signal comes."""
    for field, option in _NOT_OF_HEADS.items():
        if field in asked or field in model or field in training:
            raise UsageError(f"{option} is for language models, not for a {kind}.")
    say("charlm: starting")
    with Signals() as signals:
        from charlm import checkpoint
        from charlm.head_request import HeadRequest, settle_head
        from charlm.head_training import new_head_state
        from charlm.run import Run

        signals.check()
        if resume:
            with Run(_existing(name)) as run:
                if (there := checkpoint.kind_of(run.path)) != kind:
                    raise UsageError(f"{run.path} is a {there}, not a {kind}: leave out --{kind}.")
                settled, state = _continued(run, asked, model, training, budget, say)
                signals.patient = True
                _fit(run, settled, state, signals, say, quiet)
            return
        seconds, epochs, steps = budget
        request = HeadRequest(
            kind=kind,
            **{**asked, "device": _device(asked.get("device"))},
            model=model,
            training=training,
            seconds=seconds,
            epochs=epochs,
            steps=steps,
        )
        if name is not None:
            Run(ROOT / checkpoint.check_name(name)).check_new()
        settled = settle_head(request, say)
        state = new_head_state(settled.model, settled.training, request.device)
        signals.patient = True
        path = ROOT / name if name is not None else _free(request.corpus)
        with Run(path) as run:
            run.begin(
                {
                    "kind": kind,
                    "request": request.to_json(),
                    "model": settled.model.to_json(),
                    "training": settled.training.to_json(),
                    "fingerprint": settled.material.about["fingerprint"],
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
    from charlm import head_checkpoint
    from charlm.config import HeadConfig, TrainingConfig
    from charlm.head_request import (
        HeadRequest,
        HeadSettled,
        fix_steps,
        head_material_of,
        read_head_texts,
    )
    from charlm.head_run import restore
    from charlm.head_training import is_done

    began = run.asked()
    request = HeadRequest.from_json(began.get("request"))
    model_config = HeadConfig.from_json(began.get("model"))
    config = TrainingConfig.from_json(began.get("training"))
    _refuse_changes(request, model_config, config, asked, model, training)
    again = {key: asked[key] for key in _READ_AGAIN if asked.get(key)}
    device = _device(asked.get("device", request.device))
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
    state = restore(run, model_config, config, request.device)
    material = head_material_of(request, texts, reader, saved.labels)
    if budget != (None, None, None):
        seconds, epochs, steps = budget
        request = dataclasses.replace(request, seconds=seconds, epochs=epochs, steps=steps)
        config = fix_steps(request, model_config, config, material, say, done=state.step)
    if config.to_json() != began.get("training"):
        run.extend(config)
    if is_done(state, config):
        raise UsageError(
            f"{run.path} is finished: {state.step:,} steps. To train it further give a larger "
            "budget with --steps, --epochs or --time."
        )
    say(f"going on from step {state.step:,} of {config.num_steps:,}")
    return HeadSettled(material, model_config, config), state


def _refuse_changes(
    request: "HeadRequest",
    model_config: Any,
    config: Any,
    asked: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
) -> None:
    """Raise UsageError if an option is given that the run was begun without or with another."""
    pairs = []
    for began, given in (
        (request.to_json(), asked),
        (model_config.to_json(), model),
        (config.to_json(), training),
    ):
        pairs += [(key, began[key], value) for key, value in given.items()]
    changes = [
        f"{key.replace('_', ' ')} is {'not given' if before is None else before} there, "
        f"{value} here"
        for key, before, value in pairs
        if before != value and key not in (*_READ_AGAIN, "device")
    ]
    if changes:
        raise UsageError(f"--resume goes on as the run was begun: {'; '.join(changes)}.")


def _fit(
    run: "Run",
    settled: "HeadSettled",
    state: "HeadState",
    signals: Signals,
    say: Callable[[str], None],
    quiet: bool,
) -> None:
    """Train to the end or to a signal, and say what came of it."""
    from charlm import checkpoint
    from charlm.head_run import fit, save
    from charlm.model import num_parameters

    say(f"run: {run.path}, {num_parameters(state.head):,} parameters; Ctrl-C saves and stops")
    material, config = settled.material, settled.training
    events = fit(run, state, config, material, should_stop=lambda: signals.received is not None)
    try:
        _show(events, state, settled, quiet=quiet)
    except BrokenPipeError:  # whoever read the progress has gone: as if told to stop
        if state.step and not (run.path / checkpoint.step_name(state.step)).exists():
            save(run, state, config, material)
        raise
    signals.patient = False
    if signals.received is not None:
        say(
            f"stopped at step {state.step:,} of {config.num_steps:,}, saved. "
            f"Go on with: charlm train --resume --name {run.path.name}"
        )
        raise SystemExit(128 + signals.received)
    if settled.model.kind == "classifier":
        say(f'next: charlm classify --model {run.path.name} "a text"')
    else:
        say(f"next: charlm tag --model {run.path.name} --evaluate FILE")
    if material.valid is None:
        out("best validation accuracy: none, nothing was held out\n")
        return
    out(
        f"best validation accuracy: {state.best_accuracy:.4f}, {state.best_loss:.4f} nats per "
        f"label (step {state.best_step})\n"
    )


class _Figures:
    """What there is to show: accuracies, and the time left."""

    def __init__(self, state: "HeadState", settled: "HeadSettled") -> None:
        self.state, self.total = state, settled.training.num_steps
        self.train: float | None = None
        self.valid = state.accuracy
        self._begun, self._from = time.perf_counter(), state.step

    def note(self, event: "Event") -> str | None:
        """Take in what happened; what is to be said of it at once."""
        from charlm.head_training import HeadStep, HeadValidated

        if isinstance(event, HeadValidated):
            self.valid = event.accuracy
        elif isinstance(event, HeadStep):
            if event.skipped:
                return f"step {event.step:,} gave a loss or gradient that is not finite: skipped"
            before = event.accuracy if self.train is None else self.train
            self.train = _MEMORY * before + (1 - _MEMORY) * event.accuracy
        return None

    @property
    def left(self) -> str:
        """The time that the remaining steps will take."""
        done = self.state.step - self._from
        if done < 5:
            return "?"
        rest = (time.perf_counter() - self._begun) / done * (self.total - self.state.step)
        minutes, seconds = divmod(round(rest), 60)
        return f"{minutes}:{seconds:02d}"

    def texts(self) -> tuple[str, str]:
        """The two accuracies."""
        return tuple("-" if v is None else f"{v:.4f}" for v in (self.train, self.valid))  # type: ignore[return-value]


def _show(
    events: Iterable["Event"], state: "HeadState", settled: "HeadSettled", *, quiet: bool
) -> None:
    """Run through the events of a training, showing them on stderr."""
    figures = _Figures(state, settled)
    try:
        if is_live(sys.stderr) and not quiet:
            _show_live(events, figures)
        elif not quiet:
            _show_plain(events, figures)
    except BrokenPipeError:
        raise
    except OSError:
        pass  # the terminal was closed: what is left goes on unseen, so that it is saved
    for _ in events:
        pass


def _show_plain(events: Iterable["Event"], figures: _Figures) -> None:
    said_at = 0.0
    for event in events:
        if (remark := figures.note(event)) is not None:
            say(remark)
        if time.perf_counter() - said_at >= _EVERY_SECONDS:
            train, valid = figures.texts()
            say(
                f"step {figures.state.step:,}/{figures.total:,}  accuracy: train {train}  valid "
                f"{valid}  {figures.left} left"
            )
            said_at = time.perf_counter()


def _show_live(events: Iterable["Event"], figures: _Figures) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn(
            "accuracy: train [bold]{task.fields[train]}[/] valid [bold]{task.fields[valid]}[/]"
        ),
        TextColumn("{task.fields[left]} left"),
        console=Console(stderr=True),
        refresh_per_second=4,
    ) as progress:
        task = progress.add_task("", total=figures.total, train="-", valid="-", left="?")
        for event in events:
            if (remark := figures.note(event)) is not None:
                progress.console.print(remark, markup=False, highlight=False)
            train, valid = figures.texts()
            progress.update(
                task, completed=figures.state.step, train=train, valid=valid, left=figures.left
            )
