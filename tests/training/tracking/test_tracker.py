"""Laws of --log-to: a tracker hears what metrics.jsonl gets, and cannot do a training any harm."""

import importlib.util
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import charlm
from charlm.errors import FieldError
from charlm.training.tracking.tracker import tracker_of
from tests.support.cli import TINY, good
from tests.support.cli import charlm as command
from tests.support.ranks import TwoForks

TEXTS = [f"the {a} and the {b}" for a in ("cat", "dog", "pear") for b in ("nut", "fig", "plum")]
MINE = """
import json
def log(event):
    with open("heard.jsonl", "a") as file:
        file.write(json.dumps(event) + "\\n")
    event.clear()
def fails(event):
    raise ValueError("no\\nnet\\x1b[31m")
def leaves(event):
    raise SystemExit(9)
value = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory with a text and a module of a person's own."""
    (tmp_path / "corpus.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("mine", None)


def logged(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_function_hears_what_the_log_gets(folder: Path) -> None:
    """Line by line, and what it does to a dict changes nothing; a resumed run goes on with it."""
    good("train", "corpus.txt", *TINY, "--name", "a", "--log-to", "mine:log")
    heard = folder / "heard.jsonl"
    assert heard.read_bytes() == (folder / "checkpoints/a/metrics.jsonl").read_bytes()
    assert logged(folder / "checkpoints/a")[-1]["step"] == 3
    good("train", "--resume", "--steps", "5", "--name", "a")
    assert heard.read_text().count("\n") < len(logged(folder / "checkpoints/a"))
    heard.unlink()
    good("train", "--resume", "--steps", "7", "--name", "a", "--log-to", "mine:log")
    steps = [json.loads(line)["step"] for line in heard.read_text().splitlines()]
    assert steps[0] > 5
    assert steps[-1] == 7
    assert b"mine" not in (folder / "checkpoints/a/run.json").read_bytes()


@pytest.mark.parametrize(("name", "what"), [("fails", "ValueError: no net"), ("leaves", "9")])
def test_an_error_is_told_in_a_line_and_the_run_is_the_same(
    folder: Path, name: str, what: str
) -> None:
    """Once, by the function's name, with --quiet too; the checkpoint is that of a run without."""
    good("train", "corpus.txt", *TINY, "--name", "a")
    ended = good("train", "corpus.txt", *TINY, "--name", "b", "--log-to", f"mine:{name}", "--quiet")
    (line,) = ended.err.splitlines()
    assert line.startswith(f"--log-to mine:{name}: ")
    assert what in line
    assert "\x1b" not in line
    assert line.endswith("; the training goes on")
    files = [folder / f"checkpoints/{run}/step-00000003/model.safetensors" for run in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(logged(folder / "checkpoints/b")) == len(logged(folder / "checkpoints/a"))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("mine", "is tensorboard or module:function"),
        ("TensorBoard", "is tensorboard or module:function"),
        (":log", "is tensorboard or module:function"),
        ("none_such:log", "No module named 'none_such'"),
        ("mine:none_such", "has no attribute 'none_such'"),
        ("mine:value", "is no function: it is a int"),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_is_read(
    folder: Path, name: str, what: str
) -> None:
    """With exit 2, by the option's name; there is no run."""
    ended = command("train", "corpus.txt", *TINY, "--log-to", name)
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith("charlm: error: --log-to ")
    assert what in ended.err
    assert not (folder / "checkpoints").exists()


def test_python_gives_a_function_as_it_is() -> None:
    """Its error is a warning where nobody listens to what is said, else it is said."""
    heard: list[dict[str, Any]] = []
    lm = charlm.train(texts=TEXTS, hidden=8, steps=3, log_to=heard.append)
    assert heard == logged(lm.checkpoint.path.parent)

    def mine(event: dict[str, Any]) -> None:
        raise KeyError("x")

    with pytest.warns(RuntimeWarning, match=r"mine`: KeyError: 'x'; the training goes on"):
        charlm.train(texts=TEXTS, hidden=8, steps=3, log_to=mine)
    said: list[str] = []
    charlm.train(texts=TEXTS, hidden=8, steps=3, log_to=mine, say=said.append)
    assert len([line for line in said if "KeyError" in line]) == 1
    with pytest.raises(FieldError, match="give that a name"):
        charlm.train(texts=TEXTS, hidden=8, steps=3, log_to="tensorboard")
    with pytest.raises(FieldError, match="counts alone"):
        charlm.train(texts=TEXTS, ngram=2, counts_only=True, log_to=mine)


@pytest.mark.slow
def test_of_several_processes_the_first_alone_logs(folder: Path) -> None:
    """Each line is heard once; the second does not even import the module."""
    (folder / "mine.py").write_text(f"{MINE}\nopen('imported', 'a').write('x')\n")
    arguments = ("train", "corpus.txt", *TINY, "--name", "a", "--log-to", "mine:log")
    with TwoForks() as forks:
        done = forks.charlm(*arguments, at=folder)
        assert [one.code for one in done] == [0, 0], done
    assert (folder / "imported").read_text() == "x"
    heard = (folder / "heard.jsonl").read_bytes()
    assert heard == (folder / "checkpoints/a/metrics.jsonl").read_bytes()


# TensorBoard


def records(path: Path) -> Iterator[Any]:
    """The events of a file, read by its format: a length, its checksum, the data, its checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    data, at = path.read_bytes(), 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        yield event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
        at += 12 + size + 4
    assert at == len(data)


def figures(line: dict[str, Any]) -> dict[str, Any]:
    """What of a line of the log is a figure, as TensorBoard keeps it: single precision."""
    return {
        name: struct.unpack("f", struct.pack("f", value))[0]
        for name, value in line.items()
        if name != "step" and value is not None
    }


def test_event_files_hold_the_figures_of_the_log(folder: Path) -> None:
    """One a session, each flushed as it is written; a resumed one has the later steps forgotten."""
    pytest.importorskip("tensorboardX")
    run = folder / "checkpoints" / "a"
    good("train", "corpus.txt", *TINY, "--name", "a", "--log-to", "tensorboard")
    first = logged(run)
    (one,) = (run / "tensorboard").iterdir()
    version, *told = records(one)
    assert version.file_version == "brain.Event:2"
    assert [event.step for event in told] == [line["step"] for line in first]
    for event, line in zip(told, first, strict=True):
        assert {v.tag: v.simple_value for v in event.summary.value} == figures(line)
    good("train", "--resume", "--steps", "5", "--name", "a", "--log-to", "tensorboard")
    (other,) = {*(run / "tensorboard").iterdir()} - {one}
    _, start, *told = records(other)
    assert (start.session_log.status, start.step) == (1, 4)
    assert [event.step for event in told] == [line["step"] for line in logged(run)[len(first) :]]
    good("rm", "a", "--yes")
    assert [*(folder / "checkpoints").iterdir()] == []


def test_tensorboard_reads_them(folder: Path) -> None:
    """Its own reader finds each figure at its step, of both sessions of a run."""
    if importlib.util.find_spec("tensorboard") is None:
        pytest.skip("tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    good("train", "corpus.txt", *TINY, "--name", "a", "--log-to", "tensorboard")
    good("train", "--resume", "--steps", "5", "--name", "a", "--log-to", "tensorboard")
    run = folder / "checkpoints" / "a"
    found = EventAccumulator(str(run / "tensorboard")).Reload()
    name = "train_loss_nats_per_token"
    assert name in found.Tags()["scalars"]
    told = [(one.step, one.value) for one in found.Scalars(name)]
    assert told == [(line["step"], figures(line)[name]) for line in logged(run) if line[name]]


def test_a_directory_that_cannot_be_written_loses_nothing(folder: Path) -> None:
    """A link in its place, as a stranger's run may have one, is not followed."""
    pytest.importorskip("tensorboardX")
    good("train", "corpus.txt", *TINY, "--name", "a")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (folder / "checkpoints/a/tensorboard").symlink_to(elsewhere)
    more = ("train", "--resume", "--steps", "5", "--name", "a", "--log-to", "tensorboard")
    ended = good(*more, "--quiet")
    assert "--log-to tensorboard: OSError: " in ended.err
    assert "is a link; the training goes on" in ended.err
    assert not [*elsewhere.iterdir()]


def test_without_the_extra_it_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a usage error that names the extra."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FieldError, match=r"pip install 'charlm\[tensorboard\]'"):
        tracker_of("tensorboard")
