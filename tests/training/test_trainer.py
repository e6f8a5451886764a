"""Laws of a run: what it saves, when it ends, and that stopping it changes nothing."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charlm.checkpoints import directory
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.run import Run, Saved
from charlm.config import TrainingConfig
from charlm.errors import CheckpointError, DivergedError, LockedError, UsageError
from charlm.network_config import CausalConfig
from charlm.nn.causal import from_arrays
from charlm.training import loop
from charlm.training.state import counters
from charlm.training.task import Event, Step, Validated
from charlm.training.tasks.causal import Causal
from charlm.training.texts.material import TextMaterial
from charlm.training.window_steps import WindowState
from tests.support.tiny import (
    TEXTS,
    material_of,
    mean_loss,
    model_config,
    trained_run,
    training_config,
)
from tests.support.trainers import fit, new_state, restore, save, state_arrays

LONG = [" ".join(TEXTS), " ".join(reversed(TEXTS))]  # some 25 windows each
HELD = ["the cat ran to the dog"]


def begin(run: Run, model: CausalConfig, config: TrainingConfig) -> WindowState:
    """A run begun, and its first state."""
    run.begin({"model": model.to_json(), "training": config.to_json()})
    return new_state(model, config)


def after(num_steps: int) -> Callable[[Event], bool]:
    """Whether an event is the step with this number."""
    return lambda event: isinstance(event, Step) and event.step == num_steps


def train(
    path: Path,
    material: TextMaterial,
    model: CausalConfig,
    config: TrainingConfig,
    *,
    stop: Callable[[Event], bool] | None = None,
    resume: bool = False,
    **options: Any,
) -> tuple[WindowState, list[Event]]:
    """Begin or go on with a run, up to the event where it is told to stop."""
    events: list[Event] = []

    def told() -> bool:
        return stop is not None and any(map(stop, events))

    with Run(path) as run:
        state = restore(run, model, config) if resume else begin(run, model, config)
        for event in fit(run, state, config, material, should_stop=told, **options):
            events.append(event)
    return state, events


def logged(path: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the clock."""
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def assert_same(one: WindowState, other: WindowState) -> None:
    """Two states are equal bit for bit, but for the clock."""
    weights, others = one.module.state_dict(), other.module.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    tensors, saved = state_arrays(one), state_arrays(other)
    assert tensors.keys() == saved.keys()
    assert all(np.array_equal(tensors[name], saved[name]) for name in tensors)
    assert {**counters(one), "seconds": 0} == {**counters(other), "seconds": 0}
    for mine, theirs in zip(one.average or (), other.average or (), strict=True):
        assert torch.equal(mine, theirs)


CASES: dict[str, tuple[list[str], list[str] | None, dict[str, Any], dict[str, Any]]] = {
    "lstm, short": (TEXTS, HELD, {"cell": "lstm"}, {"bptt_length": 32, "segment_length": 64}),
    "lstm, dropout, average, long": (
        LONG,
        HELD,
        {"cell": "lstm", "dropout": 0.3, "num_layers": 2},
        {"average_decay": 0.9, "segment_length": 40},
    ),
    "gru, carried over many windows": (
        LONG,
        HELD,
        {"cell": "gru", "tie_weights": True},
        {"segment_length": 10_000, "num_steps": 22},
    ),
    "gru, nothing held out": (
        LONG,
        None,
        {"cell": "gru", "dropout": 0.2},
        {"segment_length": 60, "average_decay": 0.8},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_stopped_and_resumed_is_as_if_never_stopped(
    case: tuple[list[str], list[str] | None, dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    """Stopped after any of several steps and gone on with by a new Run, training ends with the
    same weights, optimizer and counters, bit for bit, and has logged the same lines.
    """
    texts, valid, shape, fields = case
    material = material_of(texts, valid=valid)
    model = model_config(material, **shape)
    config = training_config(**{"num_steps": 14, "validate_every": 4, **fields})
    whole, events = train(tmp_path / "whole", material, model, config)
    assert whole.step == config.num_steps
    losses = [(e.step, e.loss, e.grad_norm) for e in events if isinstance(e, Step)]
    assert len({loss for _, loss, _ in losses}) == len(losses)
    expected = logged(tmp_path / "whole")
    for stop_at in (1, 3, 4, 5, 9, config.num_steps - 1):
        path = tmp_path / str(stop_at)
        stopped, first = train(path, material, model, config, stop=after(stop_at))
        assert stopped.step == stop_at
        assert isinstance(first[-1], Saved)
        resumed, second = train(path, material, model, config, resume=True)
        assert_same(resumed, whole)
        steps = [e for e in (*first, *second) if isinstance(e, Step)]
        assert [(e.step, e.loss, e.grad_norm) for e in steps] == losses
        assert logged(path) == expected
        assert directory.best_step(path).name == directory.best_step(tmp_path / "whole").name
    # In pieces of one step each.
    path = tmp_path / "pieces"
    train(path, material, model, config, stop=after(1))
    for number in range(2, config.num_steps + 1):
        state, _ = train(path, material, model, config, resume=True, stop=after(number))
    assert_same(state, whole)
    assert logged(path) == expected


def test_the_stops_above_fall_amid_epochs_and_carried_state(tmp_path: Path) -> None:
    """What the test above resumes from is not trivial: a state is carried, the epoch is begun."""
    texts, valid, shape, fields = CASES["gru, carried over many windows"]
    material = material_of(texts, valid=valid)
    config = training_config(**{"num_steps": 14, **fields})
    model = model_config(material, **shape)
    stopped, _ = train(tmp_path / "run", material, model, config, stop=after(5))
    assert stopped.recurrent is not None
    assert stopped.window > 0
    assert any(tensor.any() for layer in stopped.recurrent for tensor in layer)
    with Run(tmp_path / "run") as run:
        restored = restore(run, model, config)
    assert_same(restored, stopped)
    assert restored.recurrent is not None


def test_killed_and_resumed_is_as_if_never_stopped(tmp_path: Path) -> None:
    """A run that breaks off between saves goes on from the last one, and what it had logged
    after that is logged once.
    """
    material = material_of(LONG, valid=HELD)
    model, config = model_config(material), training_config(num_steps=12, validate_every=2)
    whole, _ = train(tmp_path / "whole", material, model, config)
    with Run(tmp_path / "killed") as run:
        state = begin(run, model, config)
        for event in fit(run, state, config, material):
            if isinstance(event, Step) and event.step == 7:
                break
        last = directory.steps(run.path)[-1]
        run.log({"step": last + 1, "train_loss_nats_per_token": 0.0})
        with (run.path / "metrics.jsonl").open("ab") as file:
            file.write(b'{"step": "x"}\n[1]\n\xff\xfe\n{"step": 1, "tr')
    assert last < 7
    resumed, _ = train(tmp_path / "killed", material, model, config, resume=True)
    assert_same(resumed, whole)
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole")


def test_fit_tells_what_happens_in_order(tmp_path: Path) -> None:
    """Every step is yielded, a validation at each validate_every and at the end, a save at each
    new best and at the end, after what it saves.
    """
    material = material_of(valid=HELD)
    model, config = model_config(material), training_config(num_steps=8, validate_every=3)
    _, events = train(tmp_path / "run", material, model, config)
    assert [e.step for e in events if isinstance(e, Step)] == list(range(1, 9))
    assert [e.step for e in events if isinstance(e, Validated)] == [3, 6, 8]
    best = float("inf")
    saved = []
    for event in events:
        if isinstance(event, Validated):
            assert event.is_best == (event.loss < best)
            best = min(best, event.loss)
            if event.is_best or event.step == 8:
                saved.append(event.step)
    assert [e.step for e in events if isinstance(e, Saved)] == saved
    assert [e.step for e in events if not isinstance(e, Step)] == sorted(
        e.step for e in events if not isinstance(e, Step)
    )
    assert isinstance(events[-1], Saved)
    assert events[-1].path == tmp_path / "run" / "step-00000008"


def test_the_best_and_the_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every save the best step and the last stand on disk, no others, and the pointers say
    which is which.
    """
    losses = itertools.chain([5.0, 3.0, 4.0, 2.0, 2.5, 2.0], itertools.repeat(9.0))
    monkeypatch.setattr(Causal, "held_out_loss", lambda *_, **__: next(losses))
    material = material_of(valid=HELD)
    model, config = model_config(material), training_config(num_steps=8, validate_every=1)
    path = tmp_path / "run"
    seen = []
    with Run(path) as run:
        state = begin(run, model, config)
        for event in fit(run, state, config, material, save_every_seconds=0.0):
            if isinstance(event, Saved):
                pointers = directory.pointers(path)
                seen.append((event.step, pointers["best"], pointers["finished"]))
                assert pointers["latest"] == event.step
                assert directory.steps(path) == sorted({event.step, pointers["best"]})
                assert Checkpoint.load(directory.best_step(path)).step == pointers["best"]
    assert [step for step, _, _ in seen] == list(range(1, 9))
    assert [best for _, best, _ in seen] == [1, 2, 2, 4, 4, 4, 4, 4]
    assert [done for _, _, done in seen] == [False] * 7 + [True]
    assert {child.name for child in path.iterdir()} == {
        ".lock",
        "run.json",
        "metrics.jsonl",
        "pointers.json",
        "step-00000004",
        "step-00000008",
    }


def test_saves_come_by_the_clock_too(tmp_path: Path) -> None:
    """With nothing to validate for long, a save comes when the seconds are over, and not before."""
    material = material_of(valid=HELD)
    model, config = model_config(material), training_config(num_steps=5, validate_every=100)
    _, often = train(tmp_path / "a", material, model, config, save_every_seconds=0.0)
    _, seldom = train(tmp_path / "b", material, model, config, save_every_seconds=1e9)
    assert [e.step for e in often if isinstance(e, Saved)] == [1, 2, 3, 4, 5]
    assert [e.step for e in seldom if isinstance(e, Saved)] == [5]


def test_what_is_saved_is_what_was_validated(tmp_path: Path) -> None:
    """The saved weights are the averaged ones, those that the held-out loss was of."""
    material = material_of(valid=HELD)
    model = model_config(material, dropout=0.2)
    config = training_config(num_steps=6, average_decay=0.9)
    state, events = train(tmp_path / "run", material, model, config)
    assert state.average is not None
    loaded = Checkpoint.load(tmp_path / "run" / "step-00000006")
    model_of_file = from_arrays(loaded.config, loaded.weights)
    for mean, raw, tensor in zip(
        state.average, state.module.parameters(), model_of_file.parameters(), strict=True
    ):
        assert torch.equal(mean, tensor)
        assert not torch.equal(raw, tensor)
    assert material.valid is not None
    (last,) = (e for e in events if isinstance(e, Validated) and e.step == 6)
    again = mean_loss(model_of_file, material.valid, batch_size=64, bptt_length=8, segment_length=8)
    assert again == pytest.approx(last.loss, abs=1e-6)
    assert loaded.info["best_loss_nats_per_token"] == state.best_loss
    assert loaded.known is not None
    assert loaded.info["training"] == config.to_json()


@pytest.mark.parametrize("validate_tokens", [0, 30, 10**6])
def test_validations_read_no_more_than_asked(tmp_path: Path, validate_tokens: int) -> None:
    """With validate_tokens a validation is mean_loss of so many tokens, else of all held out."""
    held = ["the cat ran to the dog", "a dog", "to be or not", "the mat", "ran ran ran", "sat on"]
    material = material_of(valid=held)
    assert material.valid is not None
    config = training_config(num_steps=4, validate_every=2, validate_tokens=validate_tokens)
    state, events = train(tmp_path / "run", material, model_config(material), config)
    figures = [
        mean_loss(
            state.module.eval(),
            material.valid,
            batch_size=64,
            bptt_length=8,
            segment_length=8,
            most_tokens=most,
        )
        for most in (validate_tokens, 0)
    ]
    *_, last = (event for event in events if isinstance(event, Validated))
    assert last.loss == figures[0]
    assert (figures[0] == figures[1]) == (validate_tokens != 30)


def test_the_log_is_json_lines(tmp_path: Path) -> None:
    """A line a validation: strict JSON without NaN, each step once, the mean loss a target."""
    material = material_of(valid=HELD)
    model, config = model_config(material), training_config(num_steps=7, validate_every=2)
    _, events = train(tmp_path / "run", material, model, config)

    def refuse(text: str) -> float:
        raise AssertionError(text)

    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    values = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [value["step"] for value in values] == [2, 4, 6, 7]
    steps = {event.step: event for event in events if isinstance(event, Step)}
    validated = {event.step: event.loss for event in events if isinstance(event, Validated)}
    before = 0
    for value in values:
        part = [steps[i] for i in range(before + 1, value["step"] + 1)]
        total = sum(step.loss * step.num_targets for step in part)
        mean = total / sum(step.num_targets for step in part)
        assert value["train_loss_nats_per_token"] == pytest.approx(mean, rel=1e-12)
        assert value["valid_loss_nats_per_token"] == validated[value["step"]]
        assert value["learning_rate"] == steps[value["step"]].learning_rate
        assert value["tokens"] == sum(steps[i].num_targets for i in range(1, value["step"] + 1))
        before = value["step"]


def test_what_is_not_finite_is_logged_as_null(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A skipped step, its loss NaN, its gradient infinite, leaves NaN out of all that is kept."""
    genuine = loop.train_steps

    def broken(*args: Any, **options: Any) -> Iterator[Step]:
        for step in genuine(*args, **options):
            yield step._replace(loss=float("nan"), grad_norm=float("inf"), skipped=True)

    monkeypatch.setattr(loop, "train_steps", broken)
    monkeypatch.setattr(Causal, "held_out_loss", lambda *_, **__: float("nan"))
    material = material_of(valid=HELD)
    _, events = train(tmp_path / "run", material, model_config(material), training_config())
    assert not [event for event in events if isinstance(event, Validated)]
    for line in logged(tmp_path / "run"):
        assert line["train_loss_nats_per_token"] is None
        assert line["valid_loss_nats_per_token"] is None
        assert line["grad_norm"] is None
    for name in ("metrics.jsonl", "pointers.json", "step-00000006/training.json"):
        assert "NaN" not in (tmp_path / "run" / name).read_text()
    assert Checkpoint.load(directory.best_step(tmp_path / "run")).step == 6


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path, value: float) -> None:
    """A save of such weights is refused, and the good step before it stays."""
    path = trained_run(tmp_path / "run")
    material = material_of(valid=HELD)
    config = training_config()
    with Run(path) as run:
        state = restore(run, model_config(material), config)
        state.step += 1
        with torch.no_grad():
            state.module.softmax.bias[2] = value
        with pytest.raises(DivergedError, match="not finite"):
            save(run, state, config, material)
    assert 7 not in directory.steps(path)
    Checkpoint.load(directory.best_step(path))


def test_patience_ends_a_run_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `patience` validations in a row without a new best the run ends, saved, its best kept;
    0 waits for ever.
    """
    for patience, ends, best in ((0, 12, 7), (1, 3, 2), (2, 6, 4), (3, 10, 7)):
        losses = itertools.chain([5.0, 3.0, 4.0, 2.0, 2.5, 2.0], [1.0] * 3, [9.0] * 9)
        monkeypatch.setattr(Causal, "held_out_loss", lambda *_, losses=losses, **__: next(losses))
        material = material_of(valid=HELD)
        config = training_config(num_steps=12, validate_every=1, patience=patience)
        path = tmp_path / str(patience)
        state, events = train(path, material, model_config(material), config)
        assert state.step == ends
        assert isinstance(events[-1], Saved)
        assert events[-1].step == ends
        assert directory.pointers(path)["best"] == best
        assert directory.is_finished(path)
        assert directory.steps(path) == [best, ends]


def test_should_stop_is_heeded_after_the_step(tmp_path: Path) -> None:
    """Told to stop, a run saves the step it is at, once, and ends; the run is not finished."""
    material = material_of(valid=HELD)
    model, config = model_config(material), training_config()
    _, events = train(tmp_path / "run", material, model, config, stop=after(2))
    assert [type(event) for event in events] == [Step, Step, Saved]
    assert not directory.is_finished(tmp_path / "run")
    # Where a validation has just saved, it is not saved twice.
    _, events = train(tmp_path / "b", material, model, config, stop=after(3))
    assert [type(event) for event in events] == [Step, Step, Step, Validated, Saved]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """A second Run on the same directory is refused while the first is open, in this process
    and in another, and let in afterwards.
    """
    code = (
        "import sys; from pathlib import Path; from charlm.checkpoints.run import Run\n"
        "from charlm.errors import LockedError\n"
        "try:\n    Run(Path(sys.argv[1])).__enter__()\n"
        "except LockedError as error:\n    sys.exit(error.exit_code)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with Run(tmp_path / "run"):
        with pytest.raises(LockedError, match=rf"process {os.getpid()} .*run"):
            Run(tmp_path / "run").__enter__()
        assert subprocess.run(command, check=False).returncode == 6
        with Run(tmp_path / "other"):
            pass
    with Run(tmp_path / "run"):
        pass
    assert subprocess.run(command, check=False).returncode == 0


def test_the_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    """Whatever ends a with block lets the next writer in."""
    with pytest.raises(KeyboardInterrupt), Run(tmp_path / "run"):
        raise KeyboardInterrupt
    with Run(tmp_path / "run"):
        pass


def test_a_run_cannot_be_a_file(tmp_path: Path) -> None:
    """A path that cannot be a directory is a CheckpointError."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(CheckpointError, match="cannot write to"):
            Run(path).__enter__()


def test_an_existing_run_is_not_begun_again(tmp_path: Path) -> None:
    """begin and check_new refuse a run with a saved step, which stays as it was."""
    path = trained_run(tmp_path / "run")
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    with Run(path) as run:
        for refused in (run.check_new, lambda: run.begin({"x": 1})):
            with pytest.raises(UsageError, match=r"exists already.*`resume`"):
                refused()
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_a_run_without_a_save_may_be_begun_again(tmp_path: Path) -> None:
    """Leftovers of a run that never saved are cleared away."""
    path = tmp_path / "run"
    with Run(path) as run:
        run.begin({"name": "first"})
        first = run.asked()
        run.log({"step": 1})
        (path / ".tmp-0").mkdir()
        run.begin({"name": "second"})
        second = run.asked()
    assert (first.pop("run_id"), first) != (second.pop("run_id"), second)
    assert second == {"name": "second"}
    assert {child.name for child in path.iterdir()} == {".lock", "run.json"}


def test_extend_notes_the_larger_budget(tmp_path: Path) -> None:
    """extend changes the training in run.json, and nothing else; the run then goes on to it."""
    material = material_of(valid=HELD)
    path = trained_run(tmp_path / "run", material=material)
    model, longer = model_config(material), training_config(num_steps=9)
    with Run(path) as run:
        before = run.asked()
        run.extend(longer.to_json())
        assert run.asked() == {**before, "training": longer.to_json()}
    assert directory.is_finished(path)
    state, events = train(path, material, model, longer, resume=True)
    assert [e.step for e in events if isinstance(e, Step)] == [7, 8, 9]
    assert state.step == 9


def test_restore_needs_a_save_of_the_same_shape(tmp_path: Path) -> None:
    """Nothing saved, a model of another shape or a damaged step are CheckpointErrors."""
    material = material_of(valid=HELD)
    model, config = model_config(material), training_config()
    with Run(tmp_path / "empty") as run, pytest.raises(CheckpointError, match="no saved step"):
        restore(run, model, config)
    path = trained_run(tmp_path / "run", material=material)
    with Run(path) as run:
        with pytest.raises(CheckpointError, match="another shape"):
            restore(run, model_config(material, hidden_size=9), config)
        last = directory.steps(path)[-1]
        damaged = path / directory.step_name(last) / "training.safetensors"
        damaged.write_bytes(damaged.read_bytes()[:-1])
        with pytest.raises(CheckpointError, match=r"training\.safetensors"):
            restore(run, model, config)


def test_restore_takes_no_step_of_another_run(tmp_path: Path) -> None:
    """A step that was copied in from another run is not gone on from."""
    material = material_of()
    one, other = (trained_run(tmp_path / name, material=material, num_steps=3) for name in "ab")
    last = directory.step_name(3)
    shutil.rmtree(one / last)
    shutil.copytree(other / last, one / last)
    with Run(one) as run, pytest.raises(CheckpointError, match="is of another run than"):
        restore(run, model_config(material), training_config())


def test_training_does_not_begin_where_it_could_not_be_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room for three saves there is no first step; with it, three saves fit in it."""
    material = material_of(valid=HELD)
    model, config = model_config(material), training_config(average_decay=0.9)
    asked: list[int] = []
    real = directory.check_room
    monkeypatch.setattr(directory, "check_room", lambda _, size: asked.append(size))
    with Run(tmp_path / "run") as run:
        list(fit(run, new_state(model, config), config, material))
    step = directory.best_step(tmp_path / "run")
    size = sum(path.stat().st_size for path in step.iterdir())
    assert size < asked[0] < size + 2**16
    monkeypatch.setattr(directory, "check_room", real)
    monkeypatch.setattr(directory, "free_bytes", lambda _: 3 * asked[0] - 1)
    with Run(tmp_path / "other") as run, pytest.raises(CheckpointError, match="no room"):
        next(fit(run, new_state(model, config), config, material))


def test_a_log_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    """Where the disk refuses a line of the log, the error names the file and the way on."""
    with Run(tmp_path / "run") as run:
        (run.path / "metrics.jsonl").mkdir()
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl.*begin again"):
            run.log({"step": 1})


@pytest.mark.parametrize("level", ["word", "subword"])
def test_a_run_at_every_level_can_be_loaded(tmp_path: Path, level: str) -> None:
    """What is saved of a word or subword run has its tokenizer."""
    path = trained_run(tmp_path / "run", material=material_of(level=level, valid=HELD))
    loaded = Checkpoint.load(directory.best_step(path))
    assert loaded.tokenizer.level == loaded.info["level"] == level
    assert loaded.tokenizer.decode(loaded.tokenizer.encode(TEXTS[5])) == TEXTS[5]
