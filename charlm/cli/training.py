"""What ``charlm train`` does once its options have been read: train to the end or to a signal."""

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.cli.errors import Signals
from charlm.cli.option_names import option_of
from charlm.cli.options import model_option, name_option
from charlm.cli.output import held_out
from charlm.cli.output.meter import PassMeter
from charlm.cli.output.terminal import out, say
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.checkpoints.run import Run
    from charlm.training.kinds import TaskName
    from charlm.training.texts.streamed.place import Watch
    from charlm.training.trainer import Trainer


def train(
    asked: dict[str, Any],
    *,
    task: "TaskName | None",
    root: Path,
    name: str | None = None,
    resume: bool = False,
    index: bool = True,
    say: Callable[[str], None] = say,
    quiet: bool = False,
) -> None:
    """Train, showing progress, until the budget is spent or a signal comes.

    asked are the fields of a Request that were named.
    """
    begun = time.perf_counter()
    say("charlm: starting")  # something to look at while torch is being imported
    with Signals() as signals:
        from charlm.checkpoints import directory
        from charlm.checkpoints.run import Run
        from charlm.training.request import LANGUAGE_MODEL, Request
        from charlm.training.texts.streamed.place import Place, root_of, settled
        from charlm.training.trainer import Trainer

        signals.check()  # an import may swallow what a signal raises in it
        if resume:
            with Run(directory.to_go_on_with(name, root)) as run:
                with PassMeter(silent=quiet) as watch:
                    trainer = _resumed(run, asked, task, say, watch)
                signals.patient = True
                _fit(run, trainer, signals, say, quiet, index=index and run.keeps_text)
            return
        request = Request(**asked, task=task or LANGUAGE_MODEL)
        if name is not None:
            Run(root / directory.check_name(name)).check_new()
        request = settled(request, say)
        path = root / name if name is not None else directory.free(root, next(iter(request.corpus)))
        with PassMeter(silent=quiet) as watch:
            place = Place(root=root_of(request, path), watch=watch)
            trainer = Trainer.settle(request, say, begun=begun, place=place)
        signals.patient = True  # from here on there is something to save, after a step at least
        with Run(path) as run:
            trainer.begin(run, keeps_text=index)
            _fit(run, trainer, signals, say, quiet, index=index)


def _resumed(
    run: "Run",
    asked: dict[str, Any],
    task: str | None,
    say: Callable[[str], None],
    watch: "Watch",
) -> "Trainer":
    """The run where it was left. Raises UsageError, in the words of options, if it is another."""
    from charlm.training.resume import ChangedError, resumed

    try:
        trainer = resumed(run, asked, say, expected=task, watch=watch)
    except ChangedError as error:
        told = "; ".join(
            f"{option_of(field)} is {'not given' if before is None else before} there, {now} here"
            for field, before, now in error.changes
        )
        raise UsageError(f"--resume goes on as the run was begun: {told}.") from None
    return trainer


def _fit(
    run: "Run",
    trainer: "Trainer",
    signals: Signals,
    say: Callable[[str], None],
    quiet: bool,
    *,
    index: bool,
) -> None:
    """Train to the end and say what came of it; at a signal, how to go on: SystemExit."""
    from charlm.cli.output.training_progress import display_of, show
    from charlm.nn.network import num_parameters

    if index:
        trainer.index(run, say)
    if trainer.material.valid is None:
        held_out.say_none(run, trainer.training, trainer.material.split_on, say)
    state = trainer.state
    number = num_parameters(state.module)
    say(f"run: {run.path}, {number:,} parameters; Ctrl-C saves and stops")
    try:
        events = trainer.train(run, should_stop=lambda: signals.received is not None)
        show(events, display_of(trainer), quiet=quiet)
    except BrokenPipeError:  # whoever read the progress has gone: as if told to stop
        if state.step and not run.has(state.step):
            trainer.save(run)
        raise
    signals.patient = False
    if signals.received is not None:
        say(
            f"stopped at step {state.step:,} of {trainer.training.num_steps:,}, saved. "
            f"Go on with: charlm train --resume{name_option(run.path)}"
        )
        raise SystemExit(128 + signals.received)
    first, *others = _next(run.path, trainer)
    for line in (f"next: {first}", *(f"or: {other}" for other in others)):
        say(line)
    if trainer.material.valid is None:
        how = held_out.ways(run, trainer.material.split_on)
        none = f"none, nothing was held out; {how} holds some out"
        out(f"best validation {trainer.task.loss}: {none}\n")
        return
    out(f"{trainer.finish(run, say)}\n")


def _next(path: Path, trainer: "Trainer") -> tuple[str, ...]:
    """The commands that a run is for."""
    name = model_option(path)
    labels = getattr(trainer.material, "labels", None)
    if trainer.task.name == "classifier":
        return (f'charlm classify{name} "a text"',)
    if trainer.task.name == "tagger":
        return (f"charlm tag{name} --evaluate FILE",)
    if trainer.task.name == "translator":
        return (f'charlm translate{name} "a source"',)
    if trainer.task.name == "cloze":
        gap = "a text with a [?] in it"
        return (f'charlm fill{name} "{gap}"', f'charlm score{name} "a sentence"')
    if labels is None:
        return (f"charlm sample{name} --n 20", f'charlm score{name} "a sentence"')
    label = shlex.quote(max(zip(labels.counts, labels.names, strict=True))[1])
    return (f"charlm sample{name} --label {label} --n 20", f'charlm classify{name} "a text"')
