"""Going on with a run: whether it is still what it was, and its state put back."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from charlm.checkpoints.run import Run
from charlm.checkpoints.step import files_hash
from charlm.config import TrainingConfig
from charlm.errors import ChangedError, CheckpointError, UsageError
from charlm.training.pace import planning
from charlm.training.pace.budget import fix_steps
from charlm.training.pace.device import device_of
from charlm.training.ranks.ranks import ALONE, Ranks
from charlm.training.request import AUTO, CONFIG_FIELDS, Request, Say
from charlm.training.saving import restore, surroundings
from charlm.training.state import TrainingState, is_done
from charlm.training.task import Config
from charlm.training.tasks import task_of
from charlm.training.texts.memory import TextsInMemory
from charlm.training.texts.streamed.place import Place, Watch, root_of
from charlm.training.trainer import Trainer, read

READ_AGAIN = ("corpus", "valid", "split_on")  # compared by the text that they give
BUDGETS = ("seconds", "epochs", "steps")


def resumed(
    run: Run,
    asked: Mapping[str, Any],
    say: Say,
    *,
    expected: str | None = None,
    given: TextsInMemory | None = None,
    ranks: Ranks = ALONE,
    watch: Watch = lambda _: None,
) -> Trainer:
    """The texts read again, compared with those of the run, and its state put back.

    ``asked`` are fields of a Request that were named anew: what is to be read again, a larger
    budget, device, on_nan; the others must be as they were. None and auto name nothing.
    ``expected`` is the task that the run is thought to be; a run that was begun with texts in
    memory needs the same texts ``given``; ``watch`` sees a text being read in passes. Raises
    ChangedError, or UsageError where the text is another or nothing is left to be done.
    """
    began = run.asked()
    request = Request.from_json(began.get("request"))
    if request.counts_only:
        raise UsageError(f"{run.path} is a model of counts alone: there is nothing to go on with.")
    task = task_of(request)
    if expected not in (None, task.name):
        raise ChangedError([("task", task.name, expected)])
    try:
        config = task.shape.from_json(began.get("model"))
        training = TrainingConfig.from_json(began.get("training"))
    except UsageError as error:
        raise CheckpointError(f"{run.path / 'run.json'}: {error}") from None
    asked = {name: value for name, value in asked.items() if value not in (None, AUTO)}
    refuse_changes(request, config, training, asked)
    again = {name: asked[name] for name in (*READ_AGAIN, "store") if asked.get(name)}
    device = device_of(asked.get("device", request.device))
    ranks.check_device(device)
    request = dataclasses.replace(request, **again, device=device)
    if not request.corpus and given is None:
        raise UsageError(
            f"{run.path} was begun with texts in memory: go on with it from Python, and give them "
            "again: charlm.resume(run, texts=[...])."
        )
    ranks.check_files((*request.corpus, *request.valid))
    place = Place(
        root=root_of(request, run.path),
        watch=watch,
        fingerprint=began.get("fingerprint"),
        tokenizer=began.get("tokenizer"),
        saved=lambda: task.load(run.last_step()),
    )
    texts = read(task, request, say, given, place, ranks)
    saved = task.load(run.last_step())
    if texts.fingerprint != began.get("fingerprint"):
        told = task.differences(saved, texts)
        raise UsageError(
            f"the text of {', '.join((*request.corpus, *request.valid)) or 'memory'} is not the "
            f"one that {run.path} was begun with{f' ({told})' if told else ''}. Give the same "
            "text, or begin a new run."
        )
    if files_hash(task.reader_files(saved)) != began.get("tokenizer"):
        raise CheckpointError(
            f"{saved.path}: the tokenizer is not the one that {run.path} was begun with. Restore "
            "its files, or begin a new run."
        )
    material = task.prepare_again(request, texts, saved)
    training, ahead = planning.held(began, saved.step)
    state = restore(task, run, config, training, request.device, ranks, saved)
    planned = training
    budget = {name: asked[name] for name in BUDGETS if asked.get(name) is not None}
    if budget:
        fields = {**dict.fromkeys(BUDGETS), **budget, "precision": training.precision}
        request = dataclasses.replace(request, **fields)
        training = fix_steps(
            task,
            request,
            config,
            training,
            material,
            say,
            done=state.step,
            passed=state.seconds,
            ranks=ranks,
        )
    if "on_nan" in asked:  # no step so far depends on it
        training = dataclasses.replace(training, on_nan=asked["on_nan"])
    is_complete = task.is_complete(run, material)
    ranks.wait()  # until all have read what the first may change
    go_on(
        run,
        state,
        training,
        saved.info,
        say,
        is_longer=bool(budget),
        is_complete=is_complete,
        processes=ranks.size,
    )
    return Trainer(
        task=task,
        request=request,
        config=config,
        training=training,
        material=material,
        state=state,
        recorded=ahead if training == planned else (),
        ranks=ranks,
    )


def go_on(
    run: Run,
    state: TrainingState,
    training: TrainingConfig,
    saved: dict[str, Any],
    say: Say,
    *,
    is_longer: bool,
    is_complete: bool,
    processes: int = 1,
) -> None:
    """Note what has changed in run.json, and say where the run goes on.

    Where it is_longer than it was to be, a patience that was spent begins anew. Raises UsageError
    if nothing is left to be done: is_complete says whether that is so once all steps are.
    """
    if is_longer and is_done(state, training):
        state.worse_in_a_row = 0
    if is_done(state, training) and is_complete:
        raise UsageError(
            f"{run.path} is finished: {state.step:,} steps. To train it further, give more "
            "`steps` or `epochs` in all, or further `seconds`."
        )
    if training != planning.held(run.asked(), state.step)[0]:
        run.extend(training.to_json())
    say(f"resuming at step {state.step:,} of {training.num_steps:,}")
    if changes := _changes(saved, surroundings(state, training, processes)):
        say(f"warning: resumed run will not be bit-identical: {changes}")


def refuse_changes(
    request: Request, config: Config, training: TrainingConfig, asked: Mapping[str, Any]
) -> None:
    """Raise ChangedError if a field is asked for that the run was begun without or with another."""
    free = {*READ_AGAIN, *BUDGETS, "device", "on_nan"}
    if request.store is not None:  # the ids may stand anywhere, if they are those of the text
        free.add("store")
    began = {
        **training.to_json(),
        **config.to_json(),
        **request.to_json(),
        "precision": training.precision,
    }
    before = {name: began.get(CONFIG_FIELDS.get(name, name)) for name in asked}
    changes = [
        (name, before[name], value)
        for name, value in asked.items()
        if name not in free and before[name] != value
    ]
    if changes:
        raise ChangedError(changes)


def _changes(info: dict[str, Any], now: dict[str, Any]) -> str:
    """In what the surroundings of a saved step differ from those of today."""
    changes = []
    alone = {"processes": 1}  # which is not noted
    info, now = alone | info, alone | now
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
