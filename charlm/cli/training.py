"""What ``charlm train`` does once its options have been read: train to the end or to a signal."""

import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.cli.errors import Signals
from charlm.cli.option_names import option_of
from charlm.cli.options import model_option, name_option
from charlm.cli.output import held_out, terminal
from charlm.cli.output.meter import PassMeter
from charlm.cli.output.terminal import out, say
from charlm.cli.ranks import joined
from charlm.errors import ChangedError, UsageError
from charlm.training.ranks.launched import launched

if TYPE_CHECKING:
    from charlm.checkpoints.run import Run
    from charlm.training.kinds import TaskName
    from charlm.training.ranks.ranks import Ranks
    from charlm.training.texts.streamed.place import Watch
    from charlm.training.tracking.tracker import Tracker
    from charlm.training.trainer import Trainer


def train(
    asked: dict[str, Any],
    *,
    task: "TaskName | None",
    root: Path,
    name: str | None = None,
    resume: bool = False,
    index: bool = True,
    log_to: str | None = None,
    say: Callable[[str], None] = say,
    quiet: bool = False,
) -> None:
    """Train, showing progress, until the budget is spent or a signal comes.

    asked are the fields of a Request that were named. Of several processes, as torchrun starts
    them, the first alone writes and prints.
    """
    if asked.get("counts_only"):
        _count(asked, root=root, name=name, index=index, say=say)
        return
    begun = time.perf_counter()
    one_of = launched()
    if one_of is not None and one_of.rank:
        say, quiet = _silent, True
    say("charlm: starting")  # something to look at while torch is being imported
    with Signals(enduring=one_of is not None) as signals, joined(one_of) as ranks:
        from charlm.checkpoints import directory
        from charlm.training.request import LANGUAGE_MODEL, Request
        from charlm.training.texts.streamed.place import Place, root_of, settled
        from charlm.training.trainer import Trainer

        tracker = _tracker(log_to) if ranks.is_first else None
        signals.check()  # an import may swallow what a signal raises in it
        if ranks.size > 1:
            say(f"processes: {ranks.size}, each reads its share of the rows of every step")
        if resume:
            found = ranks.first(lambda: str(directory.to_go_on_with(name, root)))
            with _open(Path(found), ranks) as run:
                with PassMeter(silent=quiet) as watch:
                    trainer = _resumed(run, asked, task, say, ranks, watch)
                signals.patient = True
                _fit(run, trainer, signals, say, quiet, tracker, index=index and run.keeps_text)
            return
        request = Request(**asked, task=task or LANGUAGE_MODEL)
        if name is not None:
            _open(root / directory.check_name(name), ranks).check_new()
        if ranks.size == 1:
            request = settled(request, say)
        path = root / name if name is not None else None
        if path is None:
            corpus = next(iter(request.corpus))
            path = Path(ranks.first(lambda: str(directory.free(root, corpus))))
        with PassMeter(silent=quiet) as watch:
            place = Place(root=root_of(request, path), watch=watch)
            trainer = Trainer.settle(request, say, begun=begun, place=place, ranks=ranks)
        signals.patient = True  # from here on there is something to save, after a step at least
        with _open(path, ranks) as run:
            if ranks.is_first:
                trainer.begin(run, keeps_text=index)
            _fit(run, trainer, signals, say, quiet, tracker, index=index)


def _count(
    asked: dict[str, Any],
    *,
    root: Path,
    name: str | None,
    index: bool,
    say: Callable[[str], None],
) -> None:
    """Count n-grams alone: it takes seconds, so there is nothing to go on with after a signal."""
    from charlm.checkpoints import directory
    from charlm.checkpoints.run import Run
    from charlm.training.counted.alone import count
    from charlm.training.request import Request

    request = Request(**asked)
    path = directory.free(root, request.corpus[0])
    if name is not None:
        path = root / directory.check_name(name)
        Run(path).check_new()
    found = count(request, say)
    with Run(path) as run:
        found.save(run, say, keeps_text=index)
        how = held_out.ways(run, found.material.split_on)
    model = model_option(path)
    say(f"run: {path}, {found.counts.num_ngrams:,} n-grams")
    say(f"next: charlm sample{model} --n 20")
    say(f'or: charlm score{model} "a sentence"')
    none = f"validation loss: none, nothing was held out; {how} holds some out"
    out(f"{found.verdict or none}\n")


def _tracker(log_to: str | None) -> "Tracker | None":
    """What the log goes to as well; a module may stand in the current directory."""
    if log_to is None:
        return None
    from charlm.training.tracking.tracker import tracker_of

    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    return tracker_of(log_to)


def _silent(_: str) -> None:
    """Say nothing."""


def _open(path: Path, ranks: "Ranks") -> "Run":
    """A run, of which one process is the writer."""
    from charlm.checkpoints.run import Run
    from charlm.training.ranks.watched_run import WatchedRun

    return Run(path) if ranks.is_first else WatchedRun(path)


def _resumed(
    run: "Run",
    asked: dict[str, Any],
    task: str | None,
    say: Callable[[str], None],
    ranks: "Ranks",
    watch: "Watch",
) -> "Trainer":
    """The run where it was left. Raises UsageError, in the words of options, if it is another."""
    from charlm.training.resume import resumed

    try:
        trainer = resumed(run, asked, say, expected=task, ranks=ranks, watch=watch)
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
    tracker: "Tracker | None",
    *,
    index: bool,
) -> None:
    """Train to the end and say what came of it; at a signal, how to go on: SystemExit."""
    from charlm.cli.output.training_progress import display_of, show
    from charlm.nn.network import num_parameters
    from charlm.training.tracking.tracker import following

    ranks = trainer.ranks
    if index and ranks.is_first:
        trainer.index(run, say)
    if trainer.material.valid is None and ranks.is_first:
        held_out.say_none(run, trainer.training, trainer.material.split_on, say)
    state = trainer.state
    number = num_parameters(state.module)
    say(f"run: {run.path}, {number:,} parameters; Ctrl-C saves and stops")
    is_read = True
    events = trainer.train(run, should_stop=lambda: signals.received is not None or not is_read)
    try:
        with following(run, tracker, state.step, terminal.say):
            show(events, display_of(trainer), quiet=quiet)
    except BrokenPipeError:  # whoever read the progress has gone: as if told to stop
        is_read = False
        for _ in events:
            pass
        raise
    received = ranks.largest(signals.received or 0)
    signals.patient = False
    if received:
        say(
            f"stopped at step {state.step:,} of {trainer.training.num_steps:,}, saved. "
            f"Go on with: charlm train --resume{name_option(run.path)}"
        )
        ranks.wait()  # where one ends torchrun ends the others
        raise SystemExit(128 + received)
    if not ranks.is_first:
        return
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
