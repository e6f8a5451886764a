"""Going on with a run: which one, whether it is still what it was, and its state put back."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.cli.options import MODEL_OPTIONS, TRAINING_OPTIONS
from charlm.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from charlm.checkpoints.step import Checkpoint
    from charlm.config import HeadConfig, ModelConfig, TrainingConfig
    from charlm.text.labelled import Labels
    from charlm.training.causal import TrainingState
    from charlm.training.course import Course
    from charlm.training.head_request import HeadRequest
    from charlm.training.request import Request, Settled, Texts
    from charlm.training.run import Run

_OPTION_OF = {field: name for name, field in (MODEL_OPTIONS | TRAINING_OPTIONS).items()}
READ_AGAIN = ("corpus", "valid", "split_on")  # compared by the text that they give


def existing(name: str | None, root: Path) -> Path:
    """The run to go on with: the one named, or the one last written to."""
    from charlm.checkpoints import directory as runs

    if name is not None:
        return runs.named(name, root)
    there = runs.below(root)
    if not there:
        raise CheckpointError(f"there is no run below {root}/ to go on with.")
    return there[0]


def continued(
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

    from charlm.checkpoints import step as checkpoint
    from charlm.config import ModelConfig, TrainingConfig
    from charlm.training.calibration import is_due
    from charlm.training.request import Request, Settled, fix_steps, material_of, read_texts

    began = run.asked()
    request = Request.from_json(began.get("request"))
    model_config = ModelConfig.from_json(began.get("model"))
    config = TrainingConfig.from_json(began.get("training"))
    refuse_changes(request, model_config, config, asked, model, training)
    again = {key: asked[key] for key in READ_AGAIN if asked.get(key)}
    device = device_of(asked.get("device", request.device))
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
    from charlm.training.run import is_done, surroundings

    if is_longer and is_done(state, config):
        state.worse_in_a_row = 0
    if is_done(state, config) and is_calibrated:
        raise UsageError(
            f"{run.path} is finished: {state.step:,} steps. To train it further give a larger "
            "budget with --steps, --epochs or --time."
        )
    if config.to_json() != run.asked().get("training"):
        run.extend(config)
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
    pairs = [
        (name, began.get(name), value) for name, value in asked.items() if name not in READ_AGAIN
    ]
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
    from charlm.text import corpus

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


def device_of(wanted: str | None) -> str:
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
