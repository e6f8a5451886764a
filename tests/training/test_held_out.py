"""Laws of what is held out: none of it, some of it trained on as well, and what is said of it."""

import dataclasses
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charlm.checkpoints import directory
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.run import Run
from charlm.checkpoints.step import replace_file
from charlm.cli.errors import is_out_of_memory
from charlm.text.overlap import overlap
from charlm.training.task import RolledBack, Validated
from charlm.training.window_steps import WindowState
from tests.support import heads
from tests.support.cli import bad, good
from tests.support.tiny import material_of, model_config, training_config
from tests.support.trainers import fit, new_state, restore

LINE = "the cat sat on the mat and ate a pear " * 20
TINY = ("--steps", "4", "--hidden", "8")
ROWS = "".join(f"the {a} {b}\t{a}\n" for a in ("cat", "dog") for b in ("sat", "ran", "ate"))
TAGGED = "".join(f"the\tD\n{a}\tN\n{b}\tV\n\n" for a in ("cat", "dog") for b in ("sat", "ran"))
LABELS = ("--label-from", "column:2", "--text-column", "1")
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": (LINE + "\n", ()),
    "words": (LINE + "\n", ("--level", "word")),
    "counted": (LINE + "\n", ("--ngram", "3", "--cache")),
    "bidirectional": (LINE + "\n", ("--bidirectional",)),
    "labelled": (ROWS, LABELS),
    "classifier": (ROWS, ("--classifier", *LABELS)),
    "tagger": (TAGGED, ("--tagger",)),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Nothing held out


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_is_held_out_there_is_no_figure_of_it(here: Path, kind: str) -> None:
    """Of every kind of model: "-" while it trains, no best in the log, the model or ``info``; the
    last step is the one that is used, and the ways to hold something out are named.
    """
    text, options = KINDS[kind]
    (here / "text").write_text(text)
    done = good("train", "text", *options, *TINY, "--name", "run")
    assert re.fullmatch(r"best validation .*: none, .*--valid FILE holds some out\n", done.out)
    assert ("--split-on file" in done.out) == (text is not ROWS and text is not TAGGED)
    (said,) = (line for line in done.err.splitlines() if "no step is known to be the best" in line)
    assert "--valid FILE" in said
    progress = [line for line in done.err.splitlines() if line.startswith("step ")]
    assert progress
    assert all(re.search(r"valid - ", line) for line in progress)
    for line in (here / "checkpoints/run/metrics.jsonl").read_text().splitlines():
        assert {v for k, v in json.loads(line).items() if k.startswith("valid")} == {None}
    assert directory.pointers(here / "checkpoints/run") == {
        "latest": 4,
        "best": 4,
        "finished": True,
    }
    assert "none, nothing was held out" in good("info", "--model", "run").out
    about = json.loads(good("info", "--model", "run", "--json").out)
    assert {value for name, value in about.items() if name.startswith("best_")} == {None}
    assert json.loads(good("list", "--json").out)["loss_nats"] is None


def test_the_way_out_that_is_named_works(here: Path) -> None:
    """A text of one line is held out by its end, or by another file; a share of 0 is named."""
    (here / "text").write_text(LINE)
    (here / "other").write_text("the mat ate a cat\n")
    for options in (("--split-on", "file"), ("--valid", "other")):
        assert "best validation loss: " in (out := good("train", "text", *options, *TINY).out)
        assert "none" not in out
    said = good("train", "other", "other", "--valid-share", "0", *TINY, "-q").out
    assert "--valid-share 0.1 or --valid FILE" in said
    patient = good("train", "text", *TINY, "--patience", "1")
    assert "--patience 1 has nothing to go by" in patient.err


def test_patience_is_not_spent_where_nothing_is_held_out(tmp_path: Path) -> None:
    """Every validation is told, without a figure, and the run goes to the end of its budget."""
    material = material_of()
    config = training_config(num_steps=9, patience=1)
    with Run(tmp_path / "run") as run:
        run.begin({})
        state = new_state(model_config(material), config)
        events = list(fit(run, state, config, material))
    told = [event for event in events if isinstance(event, Validated)]
    assert told == [Validated(step, None, is_best=False) for step in (3, 6, 9)]
    assert (state.step, state.best_step, state.best_loss) == (9, None, None)


def test_a_best_step_of_old_is_forgotten_and_its_figure_not_shown(here: Path) -> None:
    """A run of an older version, whose best was of training, loads, and goes on without it."""
    (here / "text").write_text(LINE)
    good("train", "text", *TINY, "--name", "run")
    path = here / "checkpoints/run/step-00000004"
    about = json.loads((path / "model.json").read_text()) | {"best_loss_nats_per_token": 0.5}
    counters = json.loads((path / "training.json").read_text())
    counters |= {"best_step": 4, "best_loss": 0.5, "worse_in_a_row": 3}
    replace_file(path, "model.json", to_json(about))
    replace_file(path, "training.json", to_json(counters))
    assert "none, nothing was held out" in good("info", "--model", "run").out
    shown = json.loads(good("info", "--model", "run", "--json").out)
    assert shown["best_loss_nats_per_token"] is None
    assert json.loads(good("list", "--json").out)["loss_nats"] is None
    said = good("train", "--resume", "--name", "run", "--steps", "6").err
    assert "valid - " in said
    assert directory.pointers(path.parent) == {"latest": 6, "best": 6, "finished": True}
    kept = json.loads((path.parent / "step-00000006/training.json").read_text())
    assert (kept["best_step"], kept["best_loss"], kept["worse_in_a_row"]) == (None, None, 0)


def poisoned(
    run: Run, state: WindowState, config: Any, material: Any, until: int, **options: Any
) -> list[Any]:
    """Train up to a step, the gradients of steps 2, 7 and 8 spoiled; the events."""
    hook = state.module.softmax.bias.register_hook(
        lambda gradient: gradient * math.nan if state.step + 1 in (2, 7, 8) else gradient
    )
    told = fit(run, state, config, material, should_stop=lambda: state.step >= until, **options)
    events = list(told)
    hook.remove()
    return events


@pytest.mark.slow
@pytest.mark.parametrize("every", [60.0, 0.0])
def test_a_rollback_without_a_best_step_goes_to_the_last_validation(
    tmp_path: Path, every: float
) -> None:
    """Whenever saves come, and wherever the run was stopped, the end is the same, bit for bit."""
    material = material_of()
    model = model_config(material)
    config = training_config(num_steps=12, validate_every=3, on_nan="rollback")

    def trained(name: str, stops: tuple[int, ...], seconds: float) -> tuple[list[Any], Any]:
        events = []
        with Run(tmp_path / name) as run:
            run.begin({})
            state = new_state(model, config)
            for stop in (*stops, 99):
                events += poisoned(run, state, config, material, stop, save_every_seconds=seconds)
                state = restore(run, model, config)
        return [event for event in events if isinstance(event, RolledBack)], heads.outcome(run.path)

    events, whole = trained("whole", (), 60.0)
    assert events == [RolledBack(2, 0), RolledBack(7, 6), RolledBack(8, 6)]
    for stops in ((), (1,), (2,), (4,), (7,), (10,), tuple(range(1, 12))):
        assert trained("-".join(map(str, stops)) + "-", stops, every) == (events, whole)


@pytest.mark.parametrize("kind", heads.KINDS)
def test_a_rollback_of_a_head_without_a_best_step(tmp_path: Path, kind: str) -> None:
    """The same of heads."""
    material = dataclasses.replace(heads.material_of(tmp_path, kind), valid=None)
    with Run(tmp_path / "run") as run:
        _, config, state = heads.begun(run, material, kind, validate_every=3, on_nan="rollback")
        events = heads.fit_with_poison(run, state, config, material, {2, 7, 8})
    back = [event for event in events if isinstance(event, RolledBack)]
    assert back == [RolledBack(2, 0), RolledBack(7, 6), RolledBack(8, 6)]


# The last line


@pytest.mark.parametrize(
    "options", [("--level", "word"), ("--min-count", "1"), ("--bidirectional",)]
)
def test_both_figures_of_the_last_line_are_of_the_same(
    here: Path, options: tuple[str, ...]
) -> None:
    """Nats per token times tokens are the bits per character times characters: what is unknown is
    spelled in both, and what it would be as one symbol is named as that.
    """
    (here / "text").write_text("".join(f"a cat saw {i} pears\n" for i in range(40)))
    (here / "held").write_text("a dog saw 99 plums\na cat saw ñandús\n")
    done = good("train", "text", "--valid", "held", *options, *TINY, "--name", "run")
    about = json.loads((here / "checkpoints/run/step-00000004/model.json").read_text())
    held, best = about["text"]["valid"], about["best_loss_nats_per_token"]
    assert held["unknown_nats"] > 10
    tokens = 36 if "word" not in options else 11  # two of them ends of lines
    nats = best + held["unknown_nats"] / tokens
    found = re.search(r": (\d+\.\d+) nats per token", done.out)
    assert found
    assert float(found[1]) == pytest.approx(nats, abs=2e-4)
    if bits := re.search(r"(\d+\.\d+) bits per character", done.out):
        assert float(bits[1]) == pytest.approx(nats * tokens / 34 / math.log(2), rel=1e-3)
    assert f"<UNK> as one symbol: {best:.4f} nats per token" in done.err
    assert "<UNK> as one symbol" in good("info", "--model", "run").out


# Held out and trained on


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "text", "held", "said"),
    [
        ("plain", "a b\nc d\ne f\n", "c d\nx y\nc d\n", "2 of 3 held-out lines"),
        ("plain", "a b\nc d\n\ne f\nb\n\ng\nh\n", "e f\nb\n\nx\n", "1 of 2 held-out paragraphs"),
        ("bidirectional", "a b\nc d\ne f\n", "c d\nx y\n", "1 of 2 held-out lines"),
        ("labelled", ROWS, "the cat sat\tdog\nnew\tcat\n", "1 of 2 held-out lines"),
        ("classifier", ROWS, "the cat sat\tcat\nnew\tdog\n", "1 of 2 held-out texts"),
        ("tagger", TAGGED, "the\tD\ncat\tN\nsat\tV\n\nthe\tD\n", "1 of 2 held-out sentences"),
    ],
)
def test_held_out_sequences_that_are_trained_on_are_counted(
    here: Path, kind: str, text: str, held: str, said: str
) -> None:
    """--valid that overlaps the text, or is the text, is said with a number; else nothing is."""
    (here / "text").write_text(text)
    (here / "held").write_text(held)
    (here / "other").write_text(held.replace("c d", "q").replace("sat", "lay").replace("e f", "q"))
    command = ("train", "text", *KINDS[kind][1], *TINY, "--valid")
    assert f"{said} also stand in training" in good(*command, "held").err
    assert re.search(r"all \d+ held-out \w+s also stand in training", good(*command, "text").err)
    assert "stand in training" not in good(*command, "other").err


def test_files_are_compared_by_their_lines() -> None:
    """Part of a training file is found in it though no two files are equal."""
    found = overlap(["one\ntwo\n\nthree\n", "four\r\n"], ["two\n\nfour\nfive\n"], "file")
    assert found == (2, 3, "line")
    assert overlap(["a"], ["b"], "line").note() is None


# Budgets of a run that goes on


@pytest.mark.parametrize("kind", ["plain", "classifier", "tagger"])
@pytest.mark.parametrize("budget", [("--steps", "3"), ("--epochs", "0.001")])
def test_a_run_never_ends_before_what_it_has_done(
    here: Path, kind: str, budget: tuple[str, str]
) -> None:
    """--steps and --epochs count from the beginning: what ends before the step that a run is at is
    refused, what ends there has been done, and the run stays as it was.
    """
    (here / "text").write_text(KINDS[kind][0])
    good("train", "text", *KINDS[kind][1], *TINY, "--name", "run")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    complaint = bad(2, "train", "--resume", "--name", "run", *budget)
    assert "is at step 4 already" in complaint
    assert budget[0] in complaint
    again = bad(2, "train", "--resume", "--name", "run", "--steps", "4")
    assert "is finished: 4 steps" in again
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


# Little text, and no memory


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("abcde", (), "only 5 characters"),
        (ROWS, ("--classifier", *LABELS), "only 6 texts"),
        (TAGGED, ("--tagger",), "only 4 sentences"),
    ],
)
def test_very_little_text_is_remarked_on(
    here: Path, text: str, options: tuple[str, ...], said: str
) -> None:
    """A model of five characters, of six texts, trains, and is told to be no use; much is not."""
    (here / "text").write_text(text)
    assert said in good("train", "text", *options, *TINY).err
    (here / "much").write_text("".join(f"{i} cats\n" for i in range(200)))
    assert "very" not in good("train", "much", *TINY).err


class _OutOfMemoryError(RuntimeError):
    """As torch's own, by its words."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("std::bad_alloc"),
        _OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_memory_that_runs_out_is_named_as_that(
    here: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whoever finds that there is none left, a step of training ends in one line that says so."""
    (here / "text").write_text(LINE)

    def failing(*_: Any, **__: Any) -> Callable[..., Any]:
        raise error

    monkeypatch.setattr("charlm.training.loop.backward", failing)
    assert bad(1, "train", "text", *TINY).startswith("out of memory")


@pytest.mark.skipif(sys.platform != "linux", reason="memory in use is read from /proc")
def test_a_save_without_memory_is_an_error_and_no_end_of_the_process() -> None:
    """Where a save finds no memory it raises MemoryError, and the process goes on."""
    code = (
        "import resource, numpy as np; from charlm.checkpoints.tensors import arrays_to_bytes\n"
        "arrays = {'a': np.zeros(25_000_000, np.float32)}\n"
        "arrays_to_bytes({'a': np.zeros(9, np.float32)})\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 50_000_000,) * 2)\n"
        "try:\n    arrays_to_bytes(arrays)\n"
        "except MemoryError:\n    print('told')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr[-2000:]


def test_other_faults_are_not_taken_for_memory() -> None:
    """An error that only speaks of something else is none of memory; the system's own is."""
    assert is_out_of_memory(OSError(12, "Cannot allocate memory"))
    assert not is_out_of_memory(RuntimeError("expected scalar type Float"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert not is_out_of_memory(OSError(28, "No space left on device"))
