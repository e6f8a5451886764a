"""What ``charlm train`` does once its options have been read: train to the end or to a signal."""

import functools
import shlex
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.cli.border import Signals
from charlm.cli.terminal import out, say
from charlm.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from charlm.batching import TokenizedText
    from charlm.checkpoint import Checkpoint
    from charlm.cli.progress import Display
    from charlm.config import HeadConfig, ModelConfig, TrainingConfig
    from charlm.course import Course
    from charlm.head_request import HeadRequest
    from charlm.labels import Labels
    from charlm.request import Request, Settled, Texts
    from charlm.run import Run
    from charlm.training import TrainingState

# The options of the command line and the fields of the configs that they set.
MODEL_OPTIONS = {
    "cell": "cell",
    "layers": "num_layers",
    "hidden": "hidden_size",
    "embedding": "embedding_size",
    "output_layers": "output_layers",
    "dropout": "dropout",
    "input_dropout": "input_dropout",
    "tie_weights": "tie_weights",
    "bidirectional": "bidirectional",
    "pooling": "pooling",
}
TRAINING_OPTIONS = {
    "batch_size": "batch_size",
    "bptt_length": "bptt_length",
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "patience": "patience",
    "on_nan": "on_nan",
}
_OPTION_OF = {field: name for name, field in (MODEL_OPTIONS | TRAINING_OPTIONS).items()}
READ_AGAIN = ("corpus", "valid", "split_on")  # compared by the text that they give
ROOT = Path("checkpoints")


def train(
    asked: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
    *,
    budget: tuple[float | None, float | None, int | None] = (None, None, None),
    name: str | None = None,
    resume: bool = False,
    index: bool = True,
    say: Callable[[str], None] = say,
    quiet: bool = False,
) -> None:
    """Train, showing progress, until the budget is spent or a signal comes."""
    say("charlm: starting")  # something to look at while torch is being imported
    with Signals() as signals:
        from charlm import checkpoint, runs, text_index
        from charlm.request import Request, settle
        from charlm.run import Run
        from charlm.training import new_state

        signals.check()  # an import may swallow what a signal raises in it
        if resume:
            with Run(_existing(name)) as run:
                settled, state = _continued(run, asked, model, training, budget, say)
                signals.patient = True
                if index and run.asked().get("index", True) and not text_index.stands(run.path):
                    _index(run, settled, say)
                _fit(run, settled, state, signals, say, quiet)
            return
        seconds, epochs, steps = budget
        request = Request(
            **{**asked, "device": _device(asked.get("device"))},
            model=model,
            training=training,
            seconds=seconds,
            epochs=epochs,
            steps=steps,
        )
        if name is not None:
            Run(ROOT / runs.check_name(name)).check_new()
        settled = settle(request, say)
        state = new_state(settled.model, settled.training, request.device)
        signals.patient = True  # from here on there is something to save, after a step at least
        path = ROOT / name if name is not None else _free(request.corpus)
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
    from charlm import novelty, text_index

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
    from charlm.cli.progress import TextDisplay
    from charlm.model import num_parameters
    from charlm.run import fit

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
    _report(run.path, settled, say)


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
    from charlm import runs
    from charlm.cli.progress import show

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
            f"Go on with: charlm train --resume --name {run.path.name}"
        )
        raise SystemExit(128 + signals.received)


def _report(path: Path, settled: "Settled", say: Callable[[str], None]) -> None:
    """Name the next commands, and end with the validation loss of the best step, exactly."""
    from charlm import checkpoint, metrics, runs
    from charlm.evaluation import token_log_probs
    from charlm.model import from_arrays

    best = checkpoint.load(runs.best_step(path))
    name = f" --model {path.name}"
    if best.config.bidirectional:
        _report_pseudo(best, settled, say)
        return
    if best.labels is None:
        say(f'next: charlm sample{name} --n 20   or   charlm score{name} "a sentence"')
    else:
        label = max(zip(best.labels.counts, best.labels.names, strict=True))[1]
        said = f"charlm sample{name} --label {shlex.quote(label)} --n 20"
        say(f'next: {said}   or   charlm classify{name} "a text"')
    valid = settled.material.valid
    if valid is not None and best.labels is not None:
        _calibrate(best.path, valid, say)
    if valid is None:
        out("best validation loss: none, no text was held out\n")
        return
    log_probs, _ = token_log_probs(from_arrays(best.config, best.weights), valid)
    if best.partner is not None:
        say(f"the network alone: {-log_probs.mean():.4f} nats per token; with its partner:")
        evidence = settled.material.evidence
        if evidence is not None:
            log_probs = best.partner.combine(log_probs, evidence)
    nats = -float(log_probs.sum())
    held = settled.material.about["valid"]
    bits = metrics.bits_per(-nats - held["unknown_nats"], held["characters"])
    out(
        f"best validation loss: {nats / valid.num_tokens:.4f} nats per token, "
        f"{bits:.4f} bits per character (step {best.step})\n"
    )


def _report_pseudo(best: "Checkpoint", settled: "Settled", say: Callable[[str], None]) -> None:
    """The same of a bidirectional model: its loss is no log-probability of a text."""
    from charlm.bidirectional import from_arrays
    from charlm.torch_cloze import pseudo_log_probs

    name = f" --model {best.path.parent.name}"
    gap = "a text with a [?] in it"
    say(f'next: charlm fill{name} "{gap}"   or   charlm score{name} "a sentence"')
    valid = settled.material.valid
    if valid is None:
        out("best validation pseudo-loss: none, no text was held out\n")
        return
    log_probs, _ = pseudo_log_probs(from_arrays(best.config, best.weights), valid)
    out(
        f"best validation pseudo-loss: {-log_probs.mean():.4f} nats per token, given all others "
        f"(step {best.step})\n"
    )


def _calibrate(path: Path, valid: "TokenizedText", say: Callable[[str], None]) -> None:
    """Fit how sure the model is of labels, and say how good it is at them."""
    from charlm.calibration import calibrate
    from charlm.classifying import report

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


def _existing(name: str | None) -> Path:
    """The run to go on with: the one named, or the one last written to."""
    from charlm import runs

    there = runs.below(ROOT)
    if name is not None:
        path = ROOT / runs.check_name(name)
        if path not in there:
            names = ", ".join(run.name for run in there) or "none"
            raise CheckpointError(f"there is no run {path} to go on with. Those there: {names}.")
        return path
    if not there:
        raise CheckpointError(f"there is no run below {ROOT}/ to go on with.")
    return there[0]


def _continued(
    run: "Run",
    asked: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
    budget: tuple[float | None, float | None, int | None],
    say: Callable[[str], None],
) -> tuple["Settled", "TrainingState"]:
    """The texts read again, compared with those of the run, and its state put back.

    Raises UsageError saying what differs if something is asked that the run was not begun with.
    """
    import dataclasses

    from charlm import checkpoint
    from charlm.calibration import is_due
    from charlm.config import ModelConfig, TrainingConfig
    from charlm.request import Request, Settled, fix_steps, material_of, read_texts

    began = run.asked()
    request = Request.from_json(began.get("request"))
    model_config = ModelConfig.from_json(began.get("model"))
    config = TrainingConfig.from_json(began.get("training"))
    refuse_changes(request, model_config, config, asked, model, training)
    again = {key: asked[key] for key in READ_AGAIN if asked.get(key)}
    device = _device(asked.get("device", request.device))
    request = dataclasses.replace(request, **again, device=device)
    texts = read_texts(request, say)
    saved = checkpoint.load(run.last_step())
    if texts.fingerprint != began.get("fingerprint"):
        raise UsageError(
            f"the text of {', '.join((*request.corpus, *request.valid))} is not the one that "
            f"{run.path} was begun with ({_text_differences(saved, texts)}). Give the same text, "
            "or begin a new run."
        )
    if checkpoint.tokenizer_hash(saved.tokenizer) != began.get("tokenizer"):
        raise CheckpointError(
            f"{saved.path}: the tokenizer is not the one that {run.path} was begun with. Restore "
            "its files, or begin a new run."
        )
    if _counted(saved.labels) != _counted(texts.labels):
        raise CheckpointError(
            f"{saved.path}: the labels are not those that {run.path} was begun with. Restore its "
            "files, or begin a new run."
        )
    state = run.restore(model_config, config, request.device)
    material = material_of(texts, saved.tokenizer, saved.speller, saved.partner)
    seconds, epochs, steps = budget
    if budget != (None, None, None):
        request = dataclasses.replace(request, seconds=seconds, epochs=epochs, steps=steps)
        request = dataclasses.replace(request, precision=config.precision)
        config = fix_steps(request, model_config, config, material, say, done=state.step)
    if "on_nan" in training:  # no step so far depends on it
        config = dataclasses.replace(config, on_nan=training["on_nan"])
    go_on(
        run,
        state,
        config,
        saved.info,
        say,
        is_longer=budget != (None, None, None),
        is_calibrated=material.valid is None or not is_due(run.path),
    )
    return Settled(material, model_config, config), state


def go_on(
    run: "Run",
    state: "Course",
    config: "TrainingConfig",
    saved: dict[str, Any],
    say: Callable[[str], None],
    *,
    is_longer: bool,
    is_calibrated: bool = True,
) -> None:
    """Note what has changed in run.json, and say where the run goes on.

    Where it is_longer than it was to be, a patience that was spent begins anew. Raises UsageError
    if nothing is left to be done.
    """
    from charlm.run import is_done, surroundings

    if config.to_json() != run.asked().get("training"):
        run.extend(config)
    if is_longer and is_done(state, config):
        state.worse_in_a_row = 0
    if is_done(state, config) and is_calibrated:
        raise UsageError(
            f"{run.path} is finished: {state.step:,} steps. To train it further give a larger "
            "budget with --steps, --epochs or --time."
        )
    say(f"going on from step {state.step:,} of {config.num_steps:,}")
    if changes := _changes(saved, surroundings(state)):
        say(f"not bit for bit as it would have been: {changes}")


def refuse_changes(
    request: "Request | HeadRequest",
    model_config: "ModelConfig | HeadConfig",
    config: "TrainingConfig",
    asked: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
) -> None:
    """Raise UsageError if an option is given that the run was begun without or with another."""
    began = {**request.to_json(), "precision": config.precision}
    pairs = [(name, began[name], value) for name, value in asked.items() if name not in READ_AGAIN]
    pairs += [(_OPTION_OF[name], getattr(model_config, name), model[name]) for name in model]
    pairs += [
        (_OPTION_OF[name], config.to_json()[name], training[name])
        for name in training
        if name != "on_nan"  # a run that has diverged may go on by another rule
    ]
    changes = [
        f"--{name.replace('_', '-')} is {'not given' if before is None else before} there, "
        f"{value} here"
        for name, before, value in pairs
        if before != value and name != "device"
    ]
    if changes:
        raise UsageError(f"--resume goes on as the run was begun: {'; '.join(changes)}.")


def _counted(labels: "Labels | None") -> object:
    """The labels and how many sequences have each, without what is fitted later."""
    return labels and (labels.names, labels.counts)


def _text_differences(saved: "Checkpoint", texts: "Texts") -> str:
    """What is another in the texts than it was when a run was begun."""
    from charlm import corpus

    changes = []
    if saved.split_on != texts.split_on:
        changes.append(f"a sequence is a {saved.split_on} there, a {texts.split_on} here")
    about = saved.info.get("text")
    for side, what in (("train", "to train on"), ("valid", "held out")):
        there = about.get(side, {}) if isinstance(about, dict) else {}
        here = corpus.count(getattr(texts, side))
        for name in ("sequences", "characters"):
            before, now = there.get(name), getattr(here, name)
            if type(before) is int and before != now:
                changes.append(f"{before:,} {name} {what} there, {now:,} here")
    names = [labels.names if labels else () for labels in (saved.labels, texts.labels)]
    for ours, theirs, where in ((*names, "there"), (*reversed(names), "here")):
        if lost := sorted(set(ours) - set(theirs)):
            more = f" and {len(lost) - 5:,} more" if len(lost) > 5 else ""
            changes.append(f"labels {', '.join(lost[:5])}{more} only {where}")
    return ", ".join(changes) or "as long, but not the same"


def _changes(info: dict[str, Any], now: dict[str, Any]) -> str:
    """In what the surroundings of a saved step differ from those of today."""
    changes = []
    for name, value in now.items():
        before = info.get(name)
        if isinstance(value, dict):
            changes += [
                f"{part} {before.get(part)} there, {value[part]} here"
                for part in value
                if isinstance(before, dict) and before.get(part) != value[part]
            ]
        elif before != value:
            changes.append(f"{name} {before} there, {value} here")
    return ", ".join(changes)


def _free(corpus: Iterable[str]) -> Path:
    """A name that no run has yet, after the first file of the corpus."""
    first = next(iter(corpus))
    stem = "stdin" if first == "-" else Path(first).name.split(".")[0]
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in stem)
    stem = stem.strip("-_")[:80] or "run"
    stem = f"run-{stem}" if stem.startswith("step-") else stem  # that is how steps are named
    path, number = ROOT / stem, 2
    while path.exists():
        path, number = ROOT / f"{stem}-{number}", number + 1
    return path


def _device(wanted: str | None) -> str:
    """cpu, cuda or mps; auto takes a GPU where there is one. Raises UsageError."""
    import torch

    there: dict[str, Callable[[], bool]] = {
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    if wanted in (None, "auto"):
        return "cuda" if there["cuda"]() else "cpu"
    if wanted not in there:
        raise UsageError(f"device must be auto, cpu, cuda or mps, got {wanted!r}.")
    if not there[wanted]():
        raise UsageError(f"there is no {wanted} device here; --device cpu always works.")
    return wanted
