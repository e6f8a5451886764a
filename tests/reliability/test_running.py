"""Rows of the reliability matrix that are about a running training: C5, D1, D4, N1, N2, S1."""

import itertools
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from charlm.checkpoints import directory
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.run import Run, Saved
from charlm.checkpoints.step import save_step
from charlm.config import CELLS, ON_NAN
from charlm.errors import DivergedError
from charlm.network_config import CausalConfig, ClozeConfig, LanguageConfig
from charlm.nn.network import to_arrays
from charlm.training.loop import MOST_ROLLBACKS
from charlm.training.task import RolledBack, Step
from charlm.training.window_steps import WindowState
from tests.support.forked import CALIBRATING, KEEPING, PHASES, Done, Forks
from tests.support.kinds import (
    CORPUS,
    KINDS,
    LABEL_OPTIONS,
    LEVELS,
    OTHERS,
    SMALL,
    STEPS,
    begin,
    go_on,
    outcome,
    run_of,
    with_texts,
)
from tests.support.matrix import Tally
from tests.support.steps import forge, load
from tests.support.tiny import (
    material_of,
    model_config,
    quick_training,
    text_of_lengths,
    training_config,
)
from tests.support.trainers import fit, new_state, restore, save, state_arrays, train_steps


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """What starts processes."""
    with Forks() as forks:
        yield forks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a corpus."""
    return with_texts(tmp_path)


def ended(done: Done, code: int = 0) -> Done:
    """The same, ended as it should be: its code, no traceback, nothing left behind."""
    text = done.out + done.err + done.screen.decode()
    assert done.code == code, text
    assert done.alone
    assert not re.search("Traceback|Exception ignored|unexpected error", text), text
    assert done.screen.rfind(b"\x1b[?25h") >= done.screen.rfind(b"\x1b[?25l")
    return done


@pytest.fixture(scope="module")
def wholes(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a run of each level, and of each kind, that nothing interrupted."""
    folder = with_texts(tmp_path_factory.mktemp("wholes"))
    for level in LEVELS:
        ended(forks.charlm(*begin(level, level=level), at=folder))
    for kind in OTHERS:
        ended(forks.charlm(*begin(kind, kind=kind), at=folder))
    return folder


# Stopped and resumed


@pytest.mark.row("D1")
@pytest.mark.parametrize("level", ["char", "subword"])
@pytest.mark.parametrize("tying", ["--tie-weights", "--untie-weights"])
@pytest.mark.parametrize("dropout", ["0", "0.3"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_resumed_is_as_if_never_stopped(
    forks: Forks, folder: Path, tally: Tally, cell: str, dropout: str, tying: str, level: str
) -> None:
    """Stopped by a signal at six points, gone on with by another process each time, a run has the
    same parameters, moments, average, carried state, counters, log and losses, bit for bit.
    """
    average = {"average": 0.9} if dropout == "0" else {}
    for seed in range(tally.wanted(6) // 6):
        shape = ("--cell", cell, "--dropout", dropout, tying, "--layers", "2")
        options = (*shape, "--patience", "7", "--seed", str(seed))
        stops = sorted(random.Random(f"{seed} {shape} {level}").sample(range(1, STEPS), 6))
        check_stops(forks, folder, tally, stops, *options, level=level, **average)


def check_stops(
    forks: Forks,
    folder: Path,
    tally: Tally,
    stops: list[int],
    *options: str,
    level: str = "char",
    kind: str = "plain",
    **average: float,
) -> None:
    """A run that is stopped after these steps comes to the same as one that is not."""
    whole_run, name = f"whole-{options[-1]}", f"stopped-{options[-1]}"
    begun = {run: begin(run, *options, level=level, kind=kind) for run in (whole_run, name)}
    whole = ended(forks.charlm(*begun[whole_run], at=folder, **average))
    expected = outcome(run_of(folder, whole_run))
    assert len(set(whole.losses)) == STEPS
    losses: list[Any] = []
    for at in stops:
        command = go_on(name) if losses else begun[name]
        stop = {"interrupt": ("step", [signal.SIGTERM], at), **average}
        part = ended(forks.charlm(*command, at=folder, **stop), 143)
        assert directory.steps(run_of(folder, name))[-1] == at
        assert "bit-identical" not in part.err
        losses += part.losses
        assert losses == whole.losses[:at]
        tally.add()
    last = ended(forks.charlm(*go_on(name), at=folder))
    assert losses + last.losses == whole.losses
    assert last.out == whole.out
    assert outcome(run_of(folder, name)) == expected


@pytest.mark.row("D1")
@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_are_resumed_as_if_never_stopped(
    forks: Forks, folder: Path, tally: Tally, kind: str
) -> None:
    """So have labelled and bidirectional models, classifiers and taggers, calibration included."""
    for seed in range(tally.wanted(3) // 3):
        cell = "lstm" if seed % 2 else "gru"
        stops = sorted(random.Random(f"{seed} {kind}").sample(range(1, STEPS), 3))
        options = ("--cell", cell, "--dropout", "0.3", "--seed", str(seed))
        check_stops(forks, folder, tally, stops, *options, kind=kind)


@pytest.mark.row("C5")
@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        *(("plain", cell) for cell in ("lstm", "gru", "rnn-relu", "lstm-peephole", "gru-minimal")),
        *((kind, "gru") for kind in OTHERS),
    ],
)
def test_killed_and_resumed_until_done_is_as_if_never_killed(
    forks: Forks, folder: Path, tally: Tally, kind: str, cell: str
) -> None:
    """Killed with -9 at random instants and gone on with each time, a run comes to the same."""
    chosen = random.Random(cell)
    for case in range(tally.wanted(1)):
        of_kind: dict[str, Any] = {"level": chosen.choice(list(LEVELS)), "steps": 160, "kind": kind}
        options = ("--seed", str(case), "--dropout", "0.2", "--cell", cell)
        whole, name = f"whole-{case}", f"killed-{case}"
        ended(forks.charlm(*begin(whole, *options, **of_kind), at=folder))
        kills = 0
        for _ in range(300):
            # The first comes before a fast machine is done, and a slow one comes through.
            seconds = chosen.uniform(0.02, 0.3 if kills else 0.05) * (1 + kills / 20)
            begun = directory.steps(run_of(folder, name))
            command = go_on(name) if begun else begin(name, *options, **of_kind)
            done = forks.charlm(*command, at=folder, kill_after=seconds)
            if done.code != -signal.SIGKILL:
                break
            kills += 1
            if saved := directory.steps(run_of(folder, name)):
                load(run_of(folder, name) / directory.step_name(saved[-1]))
        if done.code == 2:  # killed after the last save was finished
            assert "is finished: 160 steps" in done.err
        else:
            ended(done)
        assert kills
        assert outcome(run_of(folder, name)) == outcome(run_of(folder, whole))
        tally.add()


@pytest.mark.row("C5")
@pytest.mark.parametrize("kind", KINDS)
def test_killed_across_plans_is_as_if_never_killed(
    forks: Forks, folder: Path, tally: Tally, kind: str
) -> None:
    """The same of a run with a time, on a machine that other programs use now and then: its plans,
    too, are those of the run that was not killed.
    """
    chosen = random.Random(kind)
    of_kind: dict[str, Any] = {"pace": [0.25, 1.5, 0.75]}
    for case in range(tally.wanted(1)):
        whole, name = f"whole-{case}", f"killed-{case}"
        command = begin(whole, "--seed", str(case), kind=kind)
        timed = [*command[: command.index("--steps")], "--time", "80s", *command[-2:]]
        ended(forks.charlm(*timed, at=folder, **of_kind))
        began = json.loads((run_of(folder, whole) / "run.json").read_text())
        assert len(began["plans"]) > 5
        assert any(plan.get("precision") == "bf16" for plan in began["plans"])
        timed[timed.index(whole)] = name
        kills = 0
        while kills < 300:
            begun = directory.steps(run_of(folder, name))
            again = go_on(name) if begun else timed
            seconds = chosen.uniform(0.02, 0.3 if kills else 0.05) * (1 + kills / 20)
            done = forks.charlm(*again, at=folder, kill_after=seconds, **of_kind)
            if done.code != -signal.SIGKILL:
                break
            kills += 1
        if done.code == 2:
            assert "is finished" in done.err
        else:
            ended(done)
        assert kills
        assert outcome(run_of(folder, name)) == outcome(run_of(folder, whole))
        after = json.loads((run_of(folder, name) / "run.json").read_text())
        assert after["plans"] == began["plans"]
        tally.add()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_before_the_pointers_is_made_good(forks: Forks, folder: Path, kind: str) -> None:
    """Killed when the last step stands and pointers.json does not say so yet, or older steps are
    not deleted yet, a run is finished all the same: whoever goes on is told so, and does the rest.
    """
    ended(forks.charlm(*begin("run", kind=kind), at=folder))
    run = run_of(folder, "run")
    finished, done = outcome(run), directory.pointers(run)
    for stale in ({**done, "latest": 2, "best": 2, "finished": False}, None):
        (run / "pointers.json").write_text("" if stale is None else json.dumps(stale))
        assert not directory.is_finished(run)
        shutil.copytree(run / directory.step_name(done["latest"]), run / directory.step_name(1))
        refused = ended(forks.charlm(*go_on("run"), at=folder), 2)
        assert f"is finished: {STEPS} steps" in refused.err
        assert outcome(run) == finished


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "at"), [(CALIBRATING, 1), (KEEPING, 1), (KEEPING, 9)])
def test_a_kill_amid_calibration_is_made_good(
    forks: Forks, folder: Path, phase: str, at: int
) -> None:
    """A labelled run that ends between its last step and its temperature, or while that is being
    written, is loaded as it is, says that it is not calibrated, and is finished by --resume.
    """
    ended(forks.charlm(*begin("whole", kind="labelled"), at=folder))
    expected = outcome(run_of(folder, "whole"))
    run = run_of(folder, "run")
    killed: dict[str, Any] = {"interrupt": (phase, [signal.SIGKILL], at)}
    ended(forks.charlm(*begin("run", kind="labelled"), at=folder, **killed), -signal.SIGKILL)
    before = outcome(run)
    assert before != expected
    assert directory.is_finished(run)
    asked = forks.charlm("classify", "--model", "run", "the big bear", at=folder)
    assert ended(asked).err.startswith("not calibrated: ")
    ended(forks.charlm(*go_on("run"), at=folder))
    assert outcome(run) == expected
    assert "is finished" in ended(forks.charlm(*go_on("run"), at=folder), 2).err


@pytest.mark.slow
def test_a_stop_amid_a_validation_leaves_it_to_the_next(forks: Forks, folder: Path) -> None:
    """A long validation that is told to stop is given up, the step saved; whoever goes on begins
    with that validation, and all comes to the same. That holds for the last one too.
    """
    ended(forks.charlm(*begin("whole"), at=folder))
    whole = outcome(run_of(folder, "whole"))
    number = len(whole["log"])
    for at, step in ((1, whole["log"][0]["step"]), (2, whole["log"][1]["step"]), (number, STEPS)):
        name = f"stopped-{at}"
        options: dict[str, Any] = {"interrupt": ("validating", [signal.SIGINT], at)}
        ended(forks.charlm(*begin(name), at=folder, validate_seconds=0.0, **options), 130)
        assert directory.steps(run_of(folder, name))[-1] == step
        assert not directory.is_finished(run_of(folder, name))
        assert len(outcome(run_of(folder, name))["log"]) == at - 1
        ended(forks.charlm(*go_on(name), at=folder))
        assert outcome(run_of(folder, name)) == whole


def test_a_finished_run_goes_on_with_more_steps_alike(forks: Forks, folder: Path) -> None:
    """A larger budget is noted: stopped and resumed, the longer run comes to the same."""
    for name in ("whole", "stopped"):
        ended(forks.charlm(*begin(name, steps=6), at=folder))
    ended(forks.charlm(*go_on("whole", "--steps", "20"), at=folder))
    stop: dict[str, Any] = {"interrupt": ("step", [signal.SIGHUP], 11)}
    ended(forks.charlm(*go_on("stopped", "--steps", "20"), at=folder, **stop), 129)
    ended(forks.charlm(*go_on("stopped"), at=folder))
    assert outcome(run_of(folder, "stopped")) == outcome(run_of(folder, "whole"))


@pytest.mark.slow
def test_other_surroundings_are_mentioned(forks: Forks, folder: Path) -> None:
    """Another torch, processor or number of threads than the saved step's is told on stderr."""
    stop: dict[str, Any] = {"interrupt": ("step", [signal.SIGTERM], 3)}
    ended(forks.charlm(*begin("run"), at=folder, **stop), 143)
    shutil.copytree(folder / "checkpoints", folder / "before")
    (step,) = run_of(folder, "run").glob("step-*")
    assert "bit-identical" not in ended(forks.charlm(*go_on("run"), at=folder)).err
    for key, value, words in (
        ("threads", 96, "threads 96 there, 1 here"),
        ("versions", {"charlm": "0.0", "torch": "1.0"}, "charlm 0.0 there, .*torch 1.0 there, "),
        ("processor", "6502", "processor 6502 there, "),
    ):
        shutil.rmtree(folder / "checkpoints")
        shutil.copytree(folder / "before", folder / "checkpoints")
        files = {path.name: path.read_bytes() for path in step.iterdir()}
        del files["manifest.json"]
        about = {**json.loads(files["model.json"]), key: value}
        save_step(run_of(folder, "run"), 3, {**files, "model.json": to_json(about)})
        done = ended(forks.charlm(*go_on("run"), at=folder))
        assert re.search(f"warning: resumed run will not be bit-identical: {words}", done.err)


CHANGES: dict[str, tuple[int, str, tuple[str, ...]]] = {  # those of other kinds begin with it
    "a letter": (2, "as long, but not the same", ()),
    "a longer text": (2, "characters to train on there, [0-9]+ here", ()),
    "other sequences": (
        2,
        "a sequence is a paragraph there, a line here",
        ("--split-on", "line"),
    ),
    "level": (2, "--level is char there, word here", ("--level", "word")),
    "vocabulary": (2, "--vocab-size is not given there, 20 here", ("--vocab-size", "20")),
    "architecture": (
        2,
        "--cell is lstm there, gru here; --hidden is 8 there, 9 here",
        ("--cell", "gru", "--hidden", "9"),
    ),
    "tokenizer": (4, "the tokenizer is not the one that .* was begun with", ()),
    "shape": (4, "hidden_size is 8 there, 9 in run.json", ()),
    "bidirectional: shape": (4, "hidden_size is 8 there, 9 in run.json", ()),
    "bidirectional: architecture": (2, "--hidden is 8 there, 9 here", ("--hidden", "9")),
    "labelled: a name": (2, "labels bear only there, labels wolf only here", ()),
    "labelled: one more": (2, "[0-9]+ characters to train on there, [0-9]+ here", ()),
    "labelled: of one sequence": (2, "[0-9]+ sequences to train on there, [0-9]+ here", ()),
    "labelled: of the step": (4, "the labels are not those that .* was begun with", ()),
    "labelled: counters": (4, "training.json is of step 2, and model.json of step [0-9]+", ()),
    "classifier: a name": (2, "the text of .* is not the one that .* was begun with", ()),
    "classifier: one more": (2, "the text of .* is not the one that .* was begun with", ()),
    "classifier: of the step": (4, "labels in model.json .* are not those of the text", ()),
    "classifier: shape": (4, "the model is of another shape than run.json's", ()),
    "classifier: kind": (2, "is classifier there, tagger here", ("--tagger",)),
    "tagger: a name": (2, "the text of .* is not the one that .* was begun with", ()),
    "tagger: of the step": (4, "labels in model.json .* are not those of the text", ()),
    "tagger: architecture": (2, "hidden( size)? is 8 there, 9 here", ("--hidden", "9")),
    "tagger: counters": (4, "training.json is of step 2, and model.json of step [0-9]+", ()),
    "tagger: kind": (2, "is tagger there, classifier here", ("--classifier", *LABEL_OPTIONS)),
    "translator: a name": (2, "the text of .* is not the one that .* was begun with", ()),
    "translator: shape": (4, "hidden_size is 8 there, 9 in run.json", ()),
    "translator: architecture": (2, "--attention is .* there, none here", ("--attention", "none")),
    "translator: counters": (4, "training.json is of step 2, and model.json of step [0-9]+", ()),
    "translator: kind": (2, "is translator there, tagger here", ("--tagger",)),
    "translator: the other way": (2, "--swap", ("--swap",)),
}


def change_labels(folder: Path, step: Path, kind: str, what: str) -> None:
    """Change labels in the texts, or in the step."""
    corpus = folder / KINDS[kind].corpus
    text = corpus.read_text()
    if what == "a name":
        text = text.replace("\tbear", "\twolf").replace("B-BIRD", "B-HAWK")
        text = text.replace("JAY", "OWL") if kind == "translator" else text
    elif what == "one more":
        text += "the new fox eats the pear\tfox\n"
    elif what == "of one sequence":
        text = text.replace("\tbear", "\tjay", 1)
    elif what == "counters":
        counters = json.loads((step / "training.json").read_text())
        forge(step, training_json=to_json({**counters, "step": 2}))
    elif what == "of the step":
        name = "labels_json" if (step / "labels.json").exists() else "model_json"
        described = (step / name.replace("_", ".")).read_text()
        forge(step, **{name: re.sub('"(B-)?BEAR"|"bear"|"B-BIRD"', '"a"', described).encode()})
    corpus.write_text(text)


@pytest.mark.row("D4")
@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_refused_and_named(
    forks: Forks, wholes: Path, folder: Path, tally: Tally, change: str
) -> None:
    """--resume on another text, tokenizer or architecture is refused, saying what differs; the
    run stays as it was, and goes on once things are as they were.
    """
    code, words, options = CHANGES[change]
    kind, _, what = change.rpartition(": ")
    kind = kind or "plain"
    for case in range(tally.wanted(1)):
        with_texts(folder)
        run, at = run_of(folder, f"{case}-run"), 1 + case * 2
        stop: dict[str, Any] = {"interrupt": ("step", [signal.SIGTERM], at)}
        ended(forks.charlm(*begin(run.name, kind=kind), at=folder, **stop), 143)
        kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        if change == "a letter":
            (folder / "corpus.txt").write_text(CORPUS.replace("bear", "beer", 1))
        elif change == "a longer text":
            (folder / "corpus.txt").write_text(CORPUS.replace("the jay", "the old jay", 1) + "a\n")
        elif change == "tokenizer":  # of a text with as many letters, but others
            (folder / "corpus.txt").write_text(CORPUS.replace("e", "@"))
            ended(forks.charlm(*begin(f"other-{case}"), at=folder, **stop), 143)
            (folder / "corpus.txt").write_text(CORPUS)
            step = directory.step_name(at)
            shutil.rmtree(run / step)
            shutil.copytree(run_of(folder, f"other-{case}") / step, run / step)
        elif what == "shape":
            asked = json.loads((run / "run.json").read_text())
            asked["model"]["hidden_size"] = 9
            (run / "run.json").write_text(json.dumps(asked))
        else:
            change_labels(folder, run / directory.step_name(at), kind, what)
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        done = ended(forks.charlm(*go_on(run.name, *options), at=folder), code)
        assert re.search(words, done.err), done.err
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
        with_texts(folder)
        for path, data in kept.items():
            path.write_bytes(data)
        ended(forks.charlm(*go_on(run.name), at=folder))
        assert outcome(run) == outcome(run_of(wholes, "char" if kind == "plain" else kind))
        tally.add()


# Numbers that are not finite


def all_of(state: WindowState) -> dict[str, NDArray[np.float32]]:
    """Weights, moments and average, copied."""
    arrays = {**to_arrays(state.module), **state_arrays(state)}
    averages = {f"average.{i}": mean.numpy() for i, mean in enumerate(state.average or ())}
    kept = {**arrays, **averages}
    return {name: kept[name].copy() for name in kept if not name.startswith("recurrent")}


@pytest.mark.row("N1")
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e38])
def test_a_bad_gradient_leaves_no_trace(tally: Tally, value: float) -> None:
    """One bad number anywhere in the gradient of a step: no parameter, moment or average is
    touched by that step, and the run trains on to its end.
    """
    plain = text_of_lengths([30, 25, 40, 12], vocab_size=9)
    for case in range(tally.wanted(20)):
        chosen = random.Random(f"{value} {case}")
        shape = {"cell": chosen.choice(CELLS), "tie_weights": chosen.random() < 0.5}
        kind: type[LanguageConfig] = CausalConfig
        if case % 4 == 1:
            kind = ClozeConfig
        elif case % 4 == 2:
            shape |= {"num_labels": 2, "label_size": 3}
        text = plain._replace(labels=np.array([0, 1, 1, 0]) if case % 4 == 2 else None)
        model = kind(vocab_size=9, embedding_size=6, hidden_size=8, num_layers=2, **shape)
        config = quick_training(num_steps=9, average_decay=0.9, seed=case)
        state = new_state(model, config)
        named = state.module.named_parameters()  # first states are made where a row begins alone
        parameter = chosen.choice([each for name, each in named if not name.startswith("first.")])
        index, bad = chosen.randrange(parameter.numel()), chosen.randint(1, 8)
        steps = train_steps(state, config, text)
        for _ in range(bad - 1):
            next(steps)
        before = all_of(state)

        def spoil(gradient: torch.Tensor, index: int = index) -> torch.Tensor:
            gradient = gradient.clone()
            gradient.view(-1)[index] = value
            return gradient

        handle = parameter.register_hook(spoil)
        assert next(steps).skipped
        handle.remove()
        after = all_of(state)
        assert all(np.array_equal(after[name], before[name]) for name in before)
        following = list(steps)
        assert [step.step for step in following] == list(range(bad + 1, 10))
        assert not any(step.skipped for step in following)
        assert all(np.isfinite(array).all() for array in all_of(state).values())
        assert not np.array_equal(all_of(state)["softmax.bias"], before["softmax.bias"])
        tally.add()


@pytest.mark.row("N2")
@pytest.mark.parametrize("on_nan", ON_NAN)
def test_a_run_that_diverges_for_good_ends_with_5(
    forks: Forks, folder: Path, tally: Tally, on_nan: str
) -> None:
    """Whatever --on-nan says, in the end it is told what to do, the last good checkpoint stands,
    and with finite gradients the run goes on from there.
    """
    for case in range(tally.wanted(5)):
        chosen, name = random.Random(f"{on_nan} {case}"), f"run-{case}"
        kind = ("plain", "labelled", "bidirectional")[case % 3]
        first = chosen.randint(8, STEPS)
        poison = {"poison": (chosen.choice((math.nan, math.inf)), list(range(first, 999)))}
        options = ("--on-nan", on_nan, "--cell", chosen.choice(CELLS), "--seed", str(case))
        begun = begin(name, *options, steps=40, kind=kind)
        done = ended(forks.charlm(*begun, at=folder, **poison), 5)
        assert done.err.count("charlm: error: training diverged: ") == 1
        assert "--learning-rate" in done.err.splitlines()[-1]
        last = directory.steps(run_of(folder, name))[-1]
        assert 1 <= last < first + 10
        assert "NaN" not in (run_of(folder, name) / "metrics.jsonl").read_text()
        outcome(run_of(folder, name))  # every step loads
        again = ended(forks.charlm(*go_on(name, "--on-nan", "rollback"), at=folder, **poison), 5)
        assert "--learning-rate" in again.err.splitlines()[-1]
        ended(forks.charlm(*go_on(name), at=folder))
        assert directory.is_finished(run_of(folder, name))
        tally.add()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "tagger", "translator"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_never_reaches_the_file_of_a_head(
    forks: Forks, folder: Path, kind: str, value: float
) -> None:
    """A step of it leaves no trace in what is saved; where all are, the run ends with 5, what was
    saved before loads, and goes on once the scores are finite.
    """
    ended(forks.charlm(*begin("once", kind=kind), at=folder, poison=(value, [3, 9])))
    poison = {"poison": (value, list(range(9, 99)))}
    done = ended(forks.charlm(*begin("ever", kind=kind), at=folder, **poison), 5)
    assert "charlm: error: training diverged: " in done.err
    for name in ("once", "ever"):
        assert outcome(run_of(folder, name))["steps"]  # all load: no number that is not finite
        log = (run_of(folder, name) / "metrics.jsonl").read_text()
        assert not re.search("NaN|Infinity", log)
    assert directory.is_finished(run_of(folder, "once"))
    ended(forks.charlm(*go_on("ever"), at=folder))
    assert directory.is_finished(run_of(folder, "ever"))


def fit_with_poison(
    run: Run, state: WindowState, config: Any, material: Any, bad: set[int], until: int = 99
) -> list[Any]:
    """Train up to a step, the gradients of some steps spoiled; the events."""
    events: list[Any] = []
    hook = state.module.softmax.bias.register_hook(
        lambda gradient: gradient * math.nan if state.step + 1 in bad else gradient
    )
    for event in fit(run, state, config, material, should_stop=lambda: state.step >= until):
        events.append(event)
    hook.remove()
    return events


def test_a_rollback_puts_the_best_weights_back_at_half_the_rate(tmp_path: Path) -> None:
    """After a bad step the weights, moments and average are those of the best step, or the first
    ones where there is none; step and text go on, at half the rate that the schedule has.
    """
    material = material_of(valid=["the cat ran to the dog"])
    model = model_config(material, cell="gru")
    fields: dict[str, Any] = {"num_steps": 14, "validate_every": 3, "average_decay": 0.8}
    config = training_config(on_nan="rollback", **fields)
    for bad in (2, 5, 8):
        with Run(tmp_path / str(bad)) as run:
            run.begin({})
            state, whole = new_state(model, config), new_state(model, config)
            usual = list(train_steps(whole, training_config(**fields), material.text))
            moments = []
            for event in fit(run, state, config, material, should_stop=lambda: False):
                if isinstance(event, Saved):
                    moments.append((event.step, all_of(state), state.updates))
                if isinstance(event, Step) and event.step == bad - 1:
                    handle = state.module.embedding.weight.register_hook(lambda g: g * math.nan)
                if isinstance(event, RolledBack):
                    handle.remove()
                    back = event
                    assert (state.step, state.rollbacks, state.recurrent) == (bad, 1, None)
                    if moments:
                        assert (back.to_step, state.updates) == (moments[-1][0], moments[-1][2])
                        expected = moments[-1][1]
                    else:
                        assert (back.to_step, state.updates) == (0, 0)
                        expected = all_of(new_state(model, config))
                    found = all_of(state)
                    assert all(np.array_equal(found[name], expected[name]) for name in expected)
                if isinstance(event, Step) and event.step > bad:
                    assert event.learning_rate == usual[event.step - 1].learning_rate / 2
            assert back.step == bad
            assert state.step == 14


@pytest.mark.slow
def test_rollbacks_are_exact_across_a_stop(tmp_path: Path) -> None:
    """A run with rollbacks, stopped and resumed anywhere, is the run that was never stopped."""
    material = material_of(valid=["the cat ran to the dog"])
    model, bad = model_config(material), {2, 7, 8}
    config = training_config(num_steps=12, validate_every=3, on_nan="rollback")

    def trained(name: str, stops: tuple[int, ...]) -> tuple[list[Any], dict[str, Any]]:
        events = []
        with Run(tmp_path / name) as run:
            run.begin({})
            state = new_state(model, config)
            for stop in (*stops, 99):
                events += fit_with_poison(run, state, config, material, bad, stop)
                state = restore(run, model, config)
        return [event for event in events if not isinstance(event, Saved)], outcome(run.path)

    events, whole = trained("whole", ())
    assert [event.step for event in events if isinstance(event, RolledBack)] == [2, 7, 8]
    for stops in itertools.chain(((at,) for at in range(1, 12)), [tuple(range(1, 12))]):
        again, stopped = trained("-".join(map(str, stops)), stops)
        assert repr(again) == repr(events)
        assert stopped == whole


def test_rollbacks_are_bounded_and_stop_stops(tmp_path: Path) -> None:
    """Five rollbacks are the most of a run; with stop the first bad step ends it."""
    material = material_of(valid=["the cat ran to the dog"])
    model = model_config(material)
    config = training_config(num_steps=60, validate_every=3, on_nan="rollback")
    with Run(tmp_path / "rollback") as run:
        run.begin({})
        state = new_state(model, config)
        fit_with_poison(run, state, config, material, set(range(10, 60, 10)))
        assert (state.step, state.rollbacks) == (60, MOST_ROLLBACKS)
        state = new_state(model, config)
        with pytest.raises(
            DivergedError, match=r"step 32 .* after 5 rollbacks\. .*`learning_rate`"
        ):
            fit_with_poison(run, state, config, material, {10, 15, 20, 25, 30, 32})
    with Run(tmp_path / "stop") as run:
        run.begin({})
        config = training_config(num_steps=9, validate_every=3, on_nan="stop")
        with pytest.raises(DivergedError, match=r"step 5 .*`on_nan` is stop\. .*rollback"):
            fit_with_poison(run, new_state(model, config), config, material, {5})
        assert directory.steps(run.path) == [3]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nothing_that_is_not_finite_is_saved(tmp_path: Path, value: float) -> None:
    """Neither weights nor moments, average or carried state: the save before stays."""
    material = material_of(["the cat sat on the mat " * 4] * 2, valid=["the cat"])
    model = model_config(material)
    config = training_config(average_decay=0.9, segment_length=64, num_steps=9)
    with Run(tmp_path / "run") as run:
        run.begin({})
        state = new_state(model, config)
        for _ in fit(run, state, config, material, should_stop=lambda: state.step >= 4):
            pass
        assert state.recurrent is not None
        assert state.average is not None
        parameter = state.module.softmax.bias
        state.step += 1
        for tensor in (
            parameter.data,
            state.average[0],
            state.optimizer.state[parameter]["exp_avg"],
            state.optimizer.state[parameter]["exp_avg_sq"],
            state.recurrent[0][0],
        ):
            number = float(tensor.view(-1)[0])
            tensor.view(-1)[0] = value
            with pytest.raises(DivergedError, match=r"step 5 .* not finite\. Nothing was saved"):
                save(run, state, config, material)
            tensor.view(-1)[0] = number
        assert 5 not in directory.steps(run.path)
        assert save(run, state, config, material).step == 5


# Signals


INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
SIGNALS = {"INT": [INT], "TERM": [TERM], "HUP": [HUP], "INT INT": [INT, INT]}
# Level, whether on a terminal, and the how-many-th time: the five ways of each case.
WAYS = (
    ("char", True, 1),
    ("word", True, 3),
    ("char", False, 4),
    ("subword", False, 2),
    ("subword", True, 5),
)


@pytest.mark.row("S1")
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("signals", SIGNALS)
def test_a_signal_ends_every_phase_cleanly(
    forks: Forks, wholes: Path, folder: Path, tally: Tally, signals: str, phase: str
) -> None:
    """Soon, with its exit code, the cursor visible and no process left; what was done is saved,
    and gone on with the run comes to what it comes to without the signal.
    """
    numbers = SIGNALS[signals]
    # Each kind comes to each phase, with one of the signals.
    kind = list(OTHERS)[(list(SIGNALS).index(signals) + PHASES.index(phase)) % len(OTHERS)]
    ways = [*((level, "plain", terminal, at) for level, terminal, at in WAYS)]
    ways.append(("char", kind, signals == "HUP", 2))
    for case in range(tally.wanted(len(ways))):
        level, kind, terminal, at = ways[case % len(ways)]
        whole = level if kind == "plain" else kind
        at = 1 if phase == "first step" else at
        name = f"run-{case}"
        options: dict[str, Any] = {"terminal": terminal, "interrupt": (phase, numbers, at)}
        if phase == "tokenizing" and level != "subword":
            options["interrupt"] = (phase, numbers, 1)
        if phase == "sampling":
            command = (*KINDS[kind].reads, "--model", str(wholes / "checkpoints" / whole))
            if command[0] != "sample":
                options["interrupt"] = ("scoring", numbers, 1)
        else:
            command = begin(name, level=level, kind=kind)
        if phase == "validating" and case % 2:
            options["validate_seconds"] = 0.0
        done = ended(forks.charlm(*command, at=folder, **options), 128 + numbers[0])
        assert done.seconds is not None
        assert done.seconds < 2 + 1  # and a save
        said = done.err + done.screen.decode()
        run = run_of(folder, name)
        if phase in ("tokenizing", "sampling"):
            assert said.endswith(("charlm: interrupted\n", "charlm: interrupted\r\n"))
            assert not run.exists()
            tally.add()
            continue
        saved = directory.steps(run)
        if len(numbers) == 1:
            assert saved[-1] == done.in_step
            told = " ".join(said.split())  # on a terminal the command has a line of its own
            assert f"saved. Go on with: charlm train --resume --name {name}" in told
        else:
            assert "charlm: interrupted" in said
        again = go_on(name) if saved else begin(name, level=level, kind=kind)
        ended(forks.charlm(*again, at=folder))
        assert outcome(run) == outcome(run_of(wholes, whole))
        tally.add()


@pytest.mark.slow
@pytest.mark.parametrize("phase", [CALIBRATING, KEEPING])
@pytest.mark.parametrize("signals", SIGNALS)
def test_a_signal_amid_calibration_ends_at_once(
    forks: Forks, wholes: Path, folder: Path, signals: str, phase: str
) -> None:
    """The run is trained; --resume calibrates it, and all is as without the signal."""
    options: dict[str, Any] = {"interrupt": (phase, SIGNALS[signals], 1)}
    done = forks.charlm(*begin("run", kind="labelled"), at=folder, **options)
    assert ended(done, 128 + SIGNALS[signals][0]).err.endswith("charlm: interrupted\n")
    ended(forks.charlm(*go_on("run"), at=folder))
    assert outcome(run_of(folder, "run")) == outcome(run_of(wholes, "labelled"))


@pytest.mark.parametrize("signals", SIGNALS)
def test_a_signal_while_the_speed_is_measured_leaves_nothing(
    forks: Forks, folder: Path, signals: str
) -> None:
    """Nothing is there to be saved yet, and no empty run is left behind."""
    options: dict[str, Any] = {"interrupt": ("calibrating", SIGNALS[signals], 1)}
    command = ("train", "corpus.txt", *SMALL, "--time", "5s", "--name", "run")
    done = forks.charlm(*command, at=folder, terminal=True, **options)
    assert ended(done, 128 + SIGNALS[signals][0]).screen.endswith(b"charlm: interrupted\r\n")
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize("signals", SIGNALS)
@pytest.mark.parametrize("command", ["score --tsv --file", "evaluate"])
def test_a_signal_while_scoring_ends_all(
    forks: Forks, wholes: Path, folder: Path, command: str, signals: str
) -> None:
    """Amid a text, its bar on the terminal or not, there is nothing to save; the cursor is back."""
    words = (*command.split(), "corpus.txt", "--model", str(wholes / "checkpoints" / "char"))
    options: dict[str, Any] = {"interrupt": ("scoring", SIGNALS[signals], 1)}
    for terminal in (True, False):
        done = forks.charlm(*words, at=folder, terminal=terminal, **options)
        said = (ended(done, 128 + SIGNALS[signals][0]).screen or done.err.encode()).splitlines()
        assert said[-1].endswith(b"charlm: interrupted")


AT_IMPORT = """
import signal, sys

class AtImport:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal({number})

for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, AtImport)
sys.argv = ["charlm", "train", "corpus.txt"]
from charlm.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [INT, TERM, HUP], ids=lambda number: number.name)
@pytest.mark.parametrize("module", ["typer", "charlm.cli.commands.train", "numpy", "torch"])
def test_a_signal_amid_an_import_ends_at_once(folder: Path, module: str, number: int) -> None:
    """From the first import of all on, the exit code is that of the signal, and one line is
    said: whatever import might swallow an exception.
    """
    done = subprocess.run(
        [sys.executable, "-c", AT_IMPORT.format(module=module, number=int(number))],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 128 + number
    assert done.stderr.removeprefix("charlm: starting\n") == "charlm: interrupted\n"
    assert not (folder / "checkpoints").exists()
