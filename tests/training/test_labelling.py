"""Laws of the run of a head: numbers that are not finite, patience, precision, the best step."""

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from charlm.checkpoints import directory
from charlm.checkpoints.head import HeadCheckpoint, find_head
from charlm.checkpoints.run import Run, Saved
from charlm.config import CELLS, TrainingConfig
from charlm.errors import CheckpointError, DivergedError
from charlm.models.heads import Tagger
from charlm.nn.head import to_arrays
from charlm.text.conll import score_spans
from charlm.training.loop import MOST_ROLLBACKS
from charlm.training.optimizer import learning_rate
from charlm.training.request import Request
from charlm.training.state import counters, set_counters
from charlm.training.task import RolledBack, Step, Validated
from charlm.training.tasks import labelling
from charlm.training.tasks.labelling import HeadState
from charlm.training.texts.example_material import ExampleMaterial
from tests.support.heads import KINDS, begun, fit_with_poison, material_of, outcome, same
from tests.support.trainers import (
    fit,
    new_state,
    prepared,
    read_texts,
    restore,
    restore_state,
    state_arrays,
    train_steps,
)


def all_of(state: HeadState) -> dict[str, NDArray[np.float32]]:
    """Weights and moments, copied."""
    arrays = {**to_arrays(state.module), **state_arrays(state)}
    return {name: array.copy() for name, array in arrays.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e38])
def test_a_bad_gradient_leaves_no_trace(tmp_path: Path, kind: str, value: float) -> None:
    """One bad number anywhere in the gradient of a step: no parameter and no moment is touched by
    that step, and the run trains on to its end.
    """
    material = material_of(tmp_path, kind)
    for case in range(4):
        rng = np.random.default_rng(case)
        with Run(tmp_path / str(case)) as run:
            _, config, state = begun(run, material, kind, num_steps=6, seed=case)
        parameters = list(state.module.parameters())
        parameter = parameters[rng.integers(len(parameters))]
        place, bad = rng.integers(parameter.numel()), rng.integers(1, 5)
        steps = train_steps(state, config, material.examples)
        for _ in range(bad - 1):
            next(steps)
        before = all_of(state)

        def spoil(gradient: torch.Tensor, place: int = place) -> torch.Tensor:
            gradient = gradient.clone()
            gradient.view(-1)[place] = value
            return gradient

        handle = parameter.register_hook(spoil)
        assert next(steps).skipped
        handle.remove()
        after = all_of(state)
        assert all(np.array_equal(after[name], before[name]) for name in before)
        following = list(steps)
        assert [step.step for step in following] == list(range(bad + 1, 7))
        assert not any(step.skipped for step in following)
        assert all(np.isfinite(array).all() for array in all_of(state).values())
        assert not np.array_equal(all_of(state)["softmax.bias"], before["softmax.bias"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [2, 6, 10])
def test_a_rollback_puts_the_best_weights_back_at_half_the_rate(
    tmp_path: Path, kind: str, bad: int
) -> None:
    """After a bad step weights, moments and temperature are those of the best step, or the first
    ones where there is none; step and text go on, at half the rate that the schedule has.
    """
    material = material_of(tmp_path, kind)
    with Run(tmp_path / "run") as run:
        model, config, state = begun(run, material, kind, on_nan="rollback")
        first = new_state(model, config)
        kept = {0: (all_of(first), 0, 1.0)}
        back = None
        for event in fit(run, state, config, material):
            if isinstance(event, Saved):
                kept[event.step] = all_of(state), state.updates, state.temperature
            elif isinstance(event, Step) and event.step == bad - 1:
                handle = state.module.softmax.weight.register_hook(lambda g: g * math.nan)
            elif isinstance(event, RolledBack):
                handle.remove()
                back = event
                arrays, updates, temperature = kept[back.to_step]
                found = all_of(state)
                assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
                assert (state.step, state.rollbacks) == (bad, 1)
                assert (state.updates, state.temperature) == (updates, temperature)
            elif isinstance(event, Step) and event.step > bad:
                rate = state.optimizer.param_groups[0]["lr"]
                assert rate == learning_rate(event.step - 1, config) / 2
        assert back is not None
        assert back.step == bad
        assert (back.to_step == 0) == (bad == 2)
    assert state.step == 12
    log = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["learning_rate"] == learning_rate(11, config) / 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_rollbacks_are_exact_across_a_stop(tmp_path: Path, kind: str) -> None:
    """A run with rollbacks, stopped and resumed anywhere, is the run that was never stopped."""
    material, bad = material_of(tmp_path, kind), {2, 7, 8}

    def trained(name: str, stops: tuple[int, ...]) -> tuple[list[Any], dict[str, Any]]:
        events = []
        with Run(tmp_path / name) as run:
            model, config, state = begun(run, material, kind, validate_every=3, on_nan="rollback")
            for stop in (*stops, 99):
                events += fit_with_poison(run, state, config, material, bad, stop)
                state = restore(run, model, config)
        return [event for event in events if not isinstance(event, Saved)], outcome(run.path)

    events, whole = trained("whole", ())
    assert [event.step for event in events if isinstance(event, RolledBack)] == [2, 7, 8]
    for stops in ((1,), (2,), (5,), (7,), (10,), tuple(range(1, 12))):
        again, stopped = trained("-".join(map(str, stops)), stops)
        assert repr(again) == repr(events)
        assert stopped == whole


def test_rollbacks_are_bounded_and_stop_stops(tmp_path: Path) -> None:
    """Five rollbacks are the most of a run; with stop the first bad step ends it, skipped steps
    end it at the tenth in a row; what was saved before stands.
    """
    material = material_of(tmp_path, "classifier")
    with Run(tmp_path / "rollback") as run:
        fields = {"num_steps": 40, "validate_every": 3, "on_nan": "rollback"}
        _, config, state = begun(run, material, "classifier", **fields)
        with pytest.raises(DivergedError, match=r"step 32 .* after 5 rollbacks\. "):
            fit_with_poison(run, state, config, material, {10, 15, 20, 25, 30, 32})
        assert state.rollbacks == MOST_ROLLBACKS
    for on_nan, said in (("stop", r"step 5 .*`on_nan` is stop"), ("skip", "10 steps in a row")):
        with Run(tmp_path / on_nan) as run:
            _, config, state = begun(
                run, material, "classifier", num_steps=40, on_nan=on_nan, validate_every=3
            )
            with pytest.raises(DivergedError, match=said):
                fit_with_poison(run, state, config, material, set(range(5, 99)))
            assert 3 <= directory.steps(run.path)[-1] < 14
            HeadCheckpoint.load(find_head(str(run.path), "classifier"))
            assert "NaN" not in (run.path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_that_are_not_finite_are_never_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Such a validation has no figure, in the log neither, and counts against the patience."""
    material = material_of(tmp_path, kind)
    genuine = labelling.read_scores

    def spoiled(head: Any, *rest: Any) -> NDArray[np.float32]:
        scores = genuine(head, *rest)
        if state.step > 4:
            scores[-1, 0] = math.nan
        return scores

    monkeypatch.setattr(labelling, "read_scores", spoiled)
    with Run(tmp_path / "run") as run:
        _, config, state = begun(run, material, kind, num_steps=40, patience=2)
        events = list(fit(run, state, config, material))
    assert [event.step for event in events if isinstance(event, Validated)] == [4]
    assert (state.step, state.best_step, state.worse_in_a_row) == (12, 4, 2)
    log = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["valid_accuracy"] is None for line in log] == [False, True, True]


def test_a_longer_budget_begins_the_patience_anew(tmp_path: Path) -> None:
    """A run whose patience is spent is finished; it stays so until it is to be longer."""
    from charlm.training.resume import go_on

    material = material_of(tmp_path, "classifier")
    with Run(tmp_path / "run") as run:
        fields = {"num_steps": 400, "validate_every": 4, "patience": 2, "learning_rate": 0.05}
        model, config, state = begun(run, material, "classifier", **fields)
        assert len(list(fit(run, state, config, material))) > 4
        ended = state.step
        assert ended < 400
        state = restore(run, model, config)
        assert list(fit(run, state, config, material)) == []
        info = HeadCheckpoint.load(run.last_step()).info
        with pytest.raises(Exception, match="is finished"):
            go_on(run, state, config, info, str, is_longer=False, is_complete=True)
        longer = dataclasses.replace(config, num_steps=500)
        said: list[str] = []
        go_on(run, state, longer, info, said.append, is_longer=True, is_complete=True)
        assert said == [f"resuming at step {ended} of 500"]
        assert TrainingConfig.from_json(run.asked()["training"]) == longer
        steps = [e for e in fit(run, state, longer, material) if isinstance(e, Step)]
    assert len(steps) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_bf16_rounds_and_no_more(tmp_path: Path, kind: str, cell: str) -> None:
    """Losses in bf16 are near those in fp32 with every cell, the weights stay in fp32, and so a
    run in bf16 is exact across a stop.
    """
    material = material_of(tmp_path, kind)
    found: dict[str, list[Step]] = {}
    for precision in ("fp32", "bf16"):
        with Run(tmp_path / precision) as run:
            model, config, _ = begun(run, material, kind, precision=precision)
            model = dataclasses.replace(model, cell=cell, num_layers=2, output_layers=1)
            state = new_state(model, config)
            steps = fit(run, state, config, material, should_stop=lambda: False)
            found[precision] = [e for e in steps if isinstance(e, Step)]
    losses = {name: [step.loss for step in steps] for name, steps in found.items()}
    assert losses["fp32"] != losses["bf16"]
    np.testing.assert_allclose(losses["fp32"][:3], losses["bf16"][:3], atol=0.03)
    assert {p.dtype for p in state.module.parameters()} == {torch.float32}
    with Run(tmp_path / "parts") as run:
        run.begin({"kind": kind})
        parts = new_state(model, config)
        for _ in fit(run, parts, config, material, should_stop=lambda: parts.step >= 5):
            pass
        parts = restore(run, model, config)
        for _ in fit(run, parts, config, material):
            pass
    same(parts, state)


# The best step


def tagger_of(folder: Path, tagged: str) -> ExampleMaterial:
    """Sentences of which the last third is held out."""
    texts = [folder / "train.conll", folder / "valid.conll"]
    sentences = tagged.strip().split("\n\n")
    cut = len(sentences) * 2 // 3
    for path, part in zip(texts, (sentences[:cut], sentences[cut:]), strict=True):
        path.write_text("\n\n".join(part) + "\n")
    request = Request(task="tagger", corpus=(str(texts[0]),), valid=(str(texts[1]),))
    read = read_texts(request)
    return prepared(request, read)


CHUNKS = "".join(
    f"{who}\tB-PER\nof\tI-PER\n{where}\tI-PER\nsees\tO\n{where}\tB-LOC\n.\tO\n\n"
    for who in ("Ada", "Ben", "Cyd", "Dan", "Eve", "Flo")
    for where in ("Rome", "Ulm", "Gent")
)


def test_a_tagger_is_chosen_by_whole_spans(tmp_path: Path) -> None:
    """Where tags are chunks the best step is that of the greatest F1, then accuracy, then the
    lowest loss; and that F1 is the one of its tags, by conlleval's definition.
    """
    material = tagger_of(tmp_path, CHUNKS)
    with Run(tmp_path / "run") as run:
        fields = {"num_steps": 24, "validate_every": 1, "learning_rate": 0.03}
        _, config, state = begun(run, material, "tagger", **fields)
        for _ in fit(run, state, config, material):
            pass
    log = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]

    def figures(line: dict[str, Any]) -> tuple[float, float, float]:
        return line["valid_f1"], line["valid_accuracy"], -line["valid_loss_nats_per_label"]

    best = max(log, key=figures)
    assert (state.best_step, state.best_f1) == (best["step"], best["valid_f1"])
    assert state.best_f1 > 0
    assert len({line["valid_f1"] for line in log}) > 2
    loaded = HeadCheckpoint.load(find_head(str(run.path), "tagger"))
    assert loaded.info["best_span_f1"] == state.best_f1
    held = [block.split("\n") for block in (tmp_path / "valid.conll").read_text().split("\n\n")]
    pairs = [[line.split("\t") for line in block if line] for block in held]
    found = Tagger(loaded).tag([[word for word, _ in sentence] for sentence in pairs])
    meant = [[tag for _, tag in sentence] for sentence in pairs]
    assert score_spans(meant, found)[""].f1 == state.best_f1


def test_tags_that_are_no_chunks_have_no_spans(tmp_path: Path) -> None:
    """Then accuracy decides, and nothing is said of F1."""
    parts = {"B-PER": "NOUN", "I-PER": "NOUN", "B-LOC": "NAME", "O": "VERB"}
    tagged = "\n".join(
        "\t".join(parts.get(cell, cell) for cell in line.split("\t")) for line in CHUNKS.split("\n")
    )
    material = tagger_of(tmp_path, tagged)
    with Run(tmp_path / "run") as run:
        _, config, state = begun(run, material, "tagger", validate_every=2)
        for _ in fit(run, state, config, material):
            pass
    log = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert state.best_f1 is None
    assert not any("valid_f1" in line for line in log)
    assert state.best_accuracy == max(line["valid_accuracy"] for line in log)


def test_counters_that_cannot_be_are_refused(tmp_path: Path) -> None:
    """Each counter must be there, of its type, and not below zero."""
    with Run(tmp_path / "run") as run:
        material = material_of(tmp_path, "tagger")
        *_, state = begun(run, material, "tagger")
    sound = counters(state)
    assert {"step", "rollbacks", "best_f1", "temperature", "logged_nats"} < set(sound)
    assert not {"head", "optimizer"} & set(sound)
    for name in sound:
        for value in ("1", -1, math.nan, True, [1]):
            with pytest.raises(CheckpointError, match=name):
                set_counters(state, {**sound, name: value})
        with pytest.raises(CheckpointError):
            set_counters(state, {**{k: v for k, v in sound.items() if k != name}, "step": 1.5})
    set_counters(state, json.loads(json.dumps(sound)))
    assert counters(state) == sound


def test_figures_of_the_best_step_are_there_if_it_is(tmp_path: Path) -> None:
    """A best step without its figures, or figures without a step, are no counters of any run."""
    with Run(tmp_path / "run") as run:
        material = material_of(tmp_path, "tagger")
        *_, state = begun(run, material, "tagger")
    weights, arrays, sound = to_arrays(state.module), state_arrays(state), counters(state)
    figures = {"best_step": 3, "best_loss": 0.5, "best_accuracy": 0.5}
    for number in range(4):
        for given in itertools.combinations(figures, number):
            values = {**sound, **{name: figures[name] for name in given}}
            if 0 < number < 3:
                with pytest.raises(CheckpointError, match="do not belong together"):
                    restore_state(state, weights, arrays, values)
            else:
                restore_state(state, weights, arrays, values)
