"""What ``charlm train`` does once its options have been read: train to the end or to a signal."""

import functools
import shlex
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.cli.errors import Signals
from charlm.cli.options import model_option, name_option
from charlm.cli.output.terminal import out, say
from charlm.cli.resuming import continued, device_of, existing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charlm.checkpoints.step import Checkpoint
    from charlm.cli.output.training_progress import Display
    from charlm.nn.windows import TokenizedText
    from charlm.training.causal import TrainingState
    from charlm.training.request import Settled
    from charlm.training.run import Material, Run


def train(
    asked: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
    *,
    budget: tuple[float | None, float | None, int | None] = (None, None, None),
    root: Path,
    name: str | None = None,
    resume: bool = False,
    index: bool = True,
    say: Callable[[str], None] = say,
    quiet: bool = False,
) -> None:
    """Train, showing progress, until the budget is spent or a signal comes."""
    say("charlm: starting")  # something to look at while torch is being imported
    with Signals() as signals:
        from charlm.checkpoints import directory as runs
        from charlm.checkpoints import step as checkpoint
        from charlm.novelty import index as text_index
        from charlm.training.causal import new_state
        from charlm.training.request import Request, settle
        from charlm.training.run import Run

        signals.check()  # an import may swallow what a signal raises in it
        if resume:
            with Run(existing(name, root)) as run:
                settled, state = continued(run, asked, model, training, budget, say)
                signals.patient = True
                if index and run.asked().get("index", True) and not text_index.stands(run.path):
                    _index(run, settled, say)
                _fit(run, settled, state, signals, say, quiet)
            return
        seconds, epochs, steps = budget
        request = Request(
            **{**asked, "device": device_of(asked.get("device"))},
            model=model,
            training=training,
            seconds=seconds,
            epochs=epochs,
            steps=steps,
        )
        if name is not None:
            Run(root / runs.check_name(name)).check_new()
        settled = settle(request, say)
        state = new_state(settled.model, settled.training, request.device)
        signals.patient = True  # from here on there is something to save, after a step at least
        path = root / name if name is not None else _free(request.corpus, root)
        with Run(path) as run:
            run.begin(
                {
                    "request": request.to_json(),
                    "model": settled.model.to_json(),
                    "training": settled.training.to_json(),
                    "fingerprint": settled.material.about["fingerprint"],
                    "index": index,
                    "tokenizer": checkpoint.tokenizer_hash(settled.material.tokenizer),
                }
            )
            text_index.remove(path)  # of a run of that name that came to nothing
            if index:
                _index(run, settled, say)
            _fit(run, settled, state, signals, say, quiet)


def _index(run: "Run", settled: "Settled", say: Callable[[str], None]) -> None:
    """Write the index of the training text into the run."""
    from charlm.novelty import index as text_index
    from charlm.novelty import measure as novelty

    material = settled.material
    assert material.source is not None
    begun = time.perf_counter()
    index = novelty.index_of(material.source)
    size = text_index.save(run.path, index, material.about["fingerprint"])
    part = "" if index.indexed == 1 else f"{index.indexed:.1%} of "
    say(
        f"index: {part}the training text, for charlm novelty, {size / 1e6:.1f} MB "
        f"({time.perf_counter() - begun:.1f} s); --no-index leaves it out"
    )


def _fit(
    run: "Run",
    settled: "Settled",
    state: "TrainingState",
    signals: Signals,
    say: Callable[[str], None],
    quiet: bool,
) -> None:
    """Train to the end or to a signal, and say what came of it."""
    from charlm.cli.output.held_out import say_none
    from charlm.cli.output.training_progress import TextDisplay
    from charlm.nn.causal import num_parameters
    from charlm.training.run import fit

    if settled.material.valid is None:
        say_none(run, settled.training, settled.material.split_on, say)
    carry_out(
        run,
        num_parameters(state.model),
        functools.partial(fit, run, state, settled.training, settled.material),
        TextDisplay(state, settled),
        functools.partial(run.save, state, settled.training, settled.material),
        signals,
        say,
        quiet,
    )
    _report(run, settled, say)


def carry_out(
    run: "Run",
    num_parameters: int,
    fit: Callable[..., Iterable[object]],
    display: "Display",
    save: Callable[[], object],
    signals: Signals,
    say: Callable[[str], None],
    quiet: bool,
) -> None:
    """Train to the end; at a signal say how to go on, and raise SystemExit."""
    from charlm.checkpoints import directory as runs
    from charlm.cli.output.training_progress import show

    say(f"run: {run.path}, {num_parameters:,} parameters; Ctrl-C saves and stops")
    course, total = display.course, display.config.num_steps
    try:
        events = fit(should_stop=lambda: signals.received is not None)
        show(events, display, quiet=quiet)
    except BrokenPipeError:  # whoever read the progress has gone: as if told to stop
        if course.step and not (run.path / runs.step_name(course.step)).exists():
            save()
        raise
    signals.patient = False
    if signals.received is not None:
        say(
            f"stopped at step {course.step:,} of {total:,}, saved. "
            f"Go on with: charlm train --resume{name_option(run.path)}"
        )
        raise SystemExit(128 + signals.received)


def _report(run: "Run", settled: "Settled", say: Callable[[str], None]) -> None:
    """Name the next commands, and end with the validation loss of the best step, exactly."""
    from charlm.checkpoints import directory as runs
    from charlm.checkpoints import step as checkpoint
    from charlm.cli.output.held_out import ways

    best = checkpoint.load(runs.best_step(run.path))
    name = model_option(run.path)
    if best.config.bidirectional:
        gap = "a text with a [?] in it"
        say(f'next: charlm fill{name} "{gap}"')
        say(f'or: charlm score{name} "a sentence"')
    elif best.labels is None:
        say(f"next: charlm sample{name} --n 20")
        say(f'or: charlm score{name} "a sentence"')
    else:
        label = max(zip(best.labels.counts, best.labels.names, strict=True))[1]
        say(f"next: charlm sample{name} --label {shlex.quote(label)} --n 20")
        say(f'or: charlm classify{name} "a text"')
    material = settled.material
    what = "pseudo-loss" if best.config.bidirectional else "loss"
    if material.valid is None:
        how = ways(run, material.split_on)
        out(f"best validation {what}: none, no text was held out; {how} holds some out\n")
        return
    if best.labels is not None:
        _calibrate(best.path, material.valid, say)
    held = material.about["valid"]
    out(f"best validation {what}: {_figures(best, material, held, say)} (step {best.step})\n")


def _figures(
    best: "Checkpoint", material: "Material", held: dict[str, Any], say: Callable[[str], None]
) -> str:
    """What a step makes of the text held out, all of it read, what is unknown in it spelled.

    Of a bidirectional model that is no log-probability of a text, but of each token given all
    others.
    """
    from charlm import metrics

    assert material.valid is not None
    number, unknown = material.valid.num_tokens, held["unknown_nats"]

    def per_token(log_probs: "NDArray[np.floating]") -> str:
        return f"{(unknown - float(log_probs.sum())) / number:.4f} nats per token"

    if best.config.bidirectional:
        from charlm.engines.torch_cloze import pseudo_log_probs
        from charlm.nn.bidirectional import from_arrays as both_sides

        log_probs, _ = pseudo_log_probs(both_sides(best.config, best.weights), material.valid)
    else:
        from charlm.engines.torch_passes import token_log_probs
        from charlm.nn.causal import from_arrays

        log_probs, _ = token_log_probs(from_arrays(best.config, best.weights), material.valid)
    if best.partner is not None:
        say(f"the network alone: {per_token(log_probs)}; with its partner:")
        if material.evidence is not None:
            log_probs = best.partner.combine(log_probs, material.evidence)
    if unknown:
        say(f"<UNK> as one symbol: {-log_probs.mean():.4f} nats per token; spelled:")
    if best.config.bidirectional:
        return f"{per_token(log_probs)}, given all others"
    bits = metrics.bits_per(float(log_probs.sum()) - unknown, held["characters"])
    return f"{per_token(log_probs)}, {bits:.4f} bits per character"


def _calibrate(path: Path, valid: "TokenizedText", say: Callable[[str], None]) -> None:
    """Fit how sure the model is of labels, and say how good it is at them."""
    from charlm.inference.classify import report
    from charlm.training.calibration import calibrate

    begun = time.perf_counter()
    found = calibrate(path, valid)
    names = found.labels.names
    predicted = [names[index] for index in found.log_posteriors.argmax(axis=1)]
    figures = report([names[index] for index in found.true], predicted)
    say(
        f"classify: {figures.accuracy:.2%} of {figures.texts:,} texts held out get their label "
        f"(mean of the labels {figures.macro_accuracy:.2%}), temperature "
        f"{found.labels.temperature:.3f} ({time.perf_counter() - begun:.1f} s)"
    )


def _free(corpus: Iterable[str], root: Path) -> Path:
    """A name that no run has yet, after the first file of the corpus."""
    first = next(iter(corpus))
    stem = "stdin" if first == "-" else Path(first).name.split(".")[0]
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in stem)
    stem = stem.strip("-_")[:80] or "run"
    stem = f"run-{stem}" if stem.startswith("step-") else stem  # that is how steps are named
    path, number = root / stem, 2
    while path.exists():
        path, number = root / f"{stem}-{number}", number + 1
    return path
