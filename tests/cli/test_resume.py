"""A training that is interrupted, and gone on with."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from charlm.checkpoints.run import Run
from charlm.cli.output import training_progress
from charlm.training.task import Step
from tests.support.cli import BEST, TINY, bad, charlm, good, runs
from tests.support.texts import TEXT


def interrupting(number: int, step: int) -> Callable[..., None]:
    """A stand-in for progress.show that sends a signal after a step."""

    def show(events: Any, state: Any, *_: Any, **__: Any) -> None:
        for event in events:
            if isinstance(event, Step) and event.step == step:
                signal.raise_signal(number)

    return show


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_a_signal_saves_and_the_run_goes_on_as_if_nothing_had_been(
    empty: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Interrupted, saved and resumed, a run gives what it gives uninterrupted."""
    budget = ("--steps", "12", "--hidden", "8")
    whole = good("train", "corpus.txt", "--name", "whole", *budget)
    with monkeypatch.context() as patch:
        patch.setattr(training_progress, "show", interrupting(number, 5))
        result = charlm("train", "corpus.txt", "--name", "cut", *budget)
    assert result.code == 128 + number
    assert result.out == ""
    assert result.err.endswith(
        "stopped at step 5 of 12, saved. Go on with: charlm train --resume --name cut\n"
    )
    assert "not finished" in good("list").out
    resumed = good("train", "--resume", "--name", "cut")
    assert "resuming at step 5 of 12" in resumed.err
    assert resumed.out == whole.out
    assert "not finished" not in good("list").out


def test_a_signal_before_the_first_step_leaves_nothing(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While texts are read and rates measured a signal ends all at once."""
    from charlm.training.trainer import Trainer

    def settle(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Trainer, "settle", settle)
    result = charlm("train", "corpus.txt", *TINY)
    assert (result.code, result.out) == (143, "")
    assert result.err.endswith("charlm: interrupted\n")
    assert runs() == []


def test_a_signal_while_the_run_is_made_saves_its_first_step(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as there is a run there is something to go on from: no empty directory is left."""
    begin = Run.begin

    def interrupted(run: Run, asked: dict[str, Any]) -> None:
        signal.raise_signal(signal.SIGTERM)
        begin(run, asked)

    monkeypatch.setattr(Run, "begin", interrupted)
    result = charlm("train", "corpus.txt", "--name", "run", *TINY)
    assert result.code == 143
    assert "stopped at step 1 of 3, saved" in result.err
    assert "resuming at step 1 of 3" in good("train", "--resume", "--name", "run").err


def test_what_is_ignored_stays_ignored(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under nohup a hang-up does not end a training."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(training_progress, "show", interrupting(signal.SIGHUP, 2))
        assert BEST.fullmatch(good("train", "corpus.txt", *TINY).out)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_signal_ends_at_once(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever presses Ctrl-C twice does not want to wait for anything."""

    def show(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    monkeypatch.setattr(training_progress, "show", show)
    result = charlm("train", "corpus.txt", *TINY)
    assert (result.code, result.out) == (130, "")
    assert result.err.endswith("charlm: interrupted\n")


def test_a_closed_terminal_does_not_stop_the_saving(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the terminal is gone what can no longer be shown is passed over, and training ends."""

    def show_plain(events: Any, *_: Any) -> None:
        next(events)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(training_progress, "_show_plain", show_plain)
    assert BEST.fullmatch(good("train", "corpus.txt", *TINY).out)


def test_a_reader_that_leaves_loses_nothing(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When whoever read the progress has gone the step is saved, and all ends quietly."""

    def show_plain(events: Any, *_: Any) -> None:
        for _ in range(2):
            next(events)
        raise BrokenPipeError

    monkeypatch.setattr(training_progress, "_show_plain", show_plain)
    result = charlm("train", "corpus.txt", "--name", "run", "--steps", "30", "--hidden", "8")
    assert (result.code, result.out) == (128 + 13, "")
    assert "error" not in result.err
    monkeypatch.undo()
    monkeypatch.chdir(empty)
    assert "resuming at step 2 of 30" in good("train", "--resume", "--name", "run").err


def test_a_finished_run_goes_on_with_a_larger_budget(empty: Path) -> None:
    """A finished run says so, and trains further with more steps, more epochs or more time."""
    good("train", "corpus.txt", "--name", "more", *TINY)
    assert "is finished: 3 steps" in bad(2, "train", "--resume", "--name", "more")
    assert "is finished: 3 steps" in bad(2, "train", "--resume", "--steps", "3")
    assert "is at step 3 already" in bad(2, "train", "--resume", "--steps", "2")
    assert "at step 3 of 6" in good("train", "--resume", "--steps", "6").err
    assert "at step 6 of " in good("train", "--resume", "--epochs", "9").err
    assert "resuming" in good("train", "--resume", "--name", "more", "--time", "0.2s").err


def test_resume_repeats_the_command_or_gives_only_the_name(empty: Path) -> None:
    """The options that a run was begun with may stand there again, 'auto' too."""
    options = ("--level", "word", "--hidden", "8", "--vocab-size", "50", "--batch-size", "4")
    good("train", "corpus.txt", *options, "--steps", "3")
    again = ("train", "corpus.txt", *options, "--resume", "--steps")
    good(*again, "4")
    good(*again, "5", "--split-on", "auto", "--device", "auto", "--precision", "auto")
    good(*again, "6", "--split-on", "line", "--device", "cpu", "--precision", "fp32")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--hidden", "9"], "--hidden is 8 there, 9 here"),
        (["--level", "word"], "--level is char there, word here"),
        (["--seed", "1"], "--seed is 0 there, 1 here"),
        (["--batch-size", "5"], "--batch-size is 8 there, 5 here"),
        (["--min-count", "2"], "--min-count is not given there, 2 here"),
        (["--lowercase"], "--lowercase is False there, True here"),
        (["--pretokenized"], "--pretokenized is False there, True here"),
        (["--cell", "gru", "--layers", "2"], "--layers is 1 there, 2 here"),
        (["--split-on", "file"], "the text of "),
        (["other.txt"], "the text of other.txt is not the one that checkpoints/run was begun"),
        (["--valid", "other.txt"], "the text of "),
    ],
)
def test_resume_with_something_else_is_refused_saying_what(
    empty: Path, options: list[str], part: str
) -> None:
    """A run goes on as it was begun, or not at all; what differs is named as it is typed."""
    (empty / "other.txt").write_text(TEXT + "one line more\n")
    good("train", "corpus.txt", "--name", "run", *TINY)
    assert part in bad(2, "train", "--resume", "--name", "run", "--steps", "5", *options)


def test_resume_with_a_changed_corpus_is_refused(empty: Path) -> None:
    """A file that has changed since is noticed; one that is gone is named."""
    good("train", "corpus.txt", *TINY)
    (empty / "corpus.txt").write_text(TEXT.replace("pear", "pair", 1))
    assert "corpus.txt is not the one" in bad(2, "train", "--resume", "--steps", "5")
    (empty / "corpus.txt").unlink()
    assert "there is no file" in bad(3, "train", "--resume", "--steps", "5")


def test_a_run_being_written_is_locked(empty: Path) -> None:
    """Two processes never write to the same run."""
    good("train", "corpus.txt", "--name", "mine", *TINY)
    with Run(Path("checkpoints/mine")):
        assert f"process {os.getpid()} is training" in bad(6, "train", "--resume", "--steps", "5")
