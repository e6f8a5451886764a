"""Laws of runs: names that stay where they belong, steps that are found, leftovers that go."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.checkpoints import directory
from charlm.checkpoints.step import save_step
from charlm.errors import CheckpointError, UsageError


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "/x",
        "a/b",
        "a\\b",
        ".hidden",
        "-x",
        "a b",
        "a\n",
        "a\0",
        "\x1b[31m",
        "é",
        "x" * 101,
        "~",
        "a:b",
        "$HOME",
        "*",
    ],
)
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    """A run's name has no separator, no leading dot or dash and no odd character."""
    with pytest.raises(UsageError) as caught:
        directory.check_name(name)
    assert str(caught.value).isprintable()


@settings(max_examples=200, deadline=None)
@given(name=st.text(max_size=12) | st.from_regex(r"[A-Za-z0-9._/-]{1,12}", fullmatch=True))
def test_an_accepted_name_stays_below_its_directory(name: str) -> None:
    """A name that is accepted is one component of a path, directly below the root."""
    try:
        accepted = directory.check_name(name)
    except UsageError:
        return
    root = Path("/checkpoints")
    assert accepted == name
    assert Path(os.path.normpath(root / name)).parent == root


def finished(run: Path, step: int, *, done: bool, best: object = None, age: int = 0) -> None:
    """A run with one step more."""
    save_step(run, step, {"training.json": b"{}\n"})
    pointers = {"latest": step, "best": step if best is None else best, "finished": done}
    directory.write_json(run / "pointers.json", pointers)
    os.utime(run / "pointers.json", (1_000_000 - age, 1_000_000 - age))


def test_find_takes_a_name_a_run_or_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name below the root, a path to a run (its best step), or a path to a step."""
    root = tmp_path / "checkpoints"
    finished(root / "a", 1, done=True)
    finished(root / "a", 2, done=True, best=1)
    step = root / "a" / "step-00000001"
    assert directory.find("a", root) == step
    assert directory.find(str(root / "a"), tmp_path / "other") == step
    assert directory.find(str(root / "a" / "step-00000002")).name == "step-00000002"
    assert directory.find("a/step-00000002", root).name == "step-00000002"
    monkeypatch.chdir(tmp_path)
    assert directory.find("a").name == step.name
    assert directory.find("checkpoints/a").name == step.name
    assert directory.find(None).name == step.name


def test_find_without_a_name_takes_the_newest_finished(tmp_path: Path) -> None:
    """None is the newest finished run, and where none is finished the newest."""
    finished(tmp_path / "old", 1, done=False, age=30)
    finished(tmp_path / "new", 1, done=False, age=10)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert directory.find(None, tmp_path).parent.name == "new"
    finished(tmp_path / "done", 1, done=True, age=40)
    finished(tmp_path / "older", 1, done=True, age=50)
    assert directory.find(None, tmp_path).parent.name == "done"
    assert [run.name for run in directory.below(tmp_path)] == ["new", "old", "done", "older"]
    assert directory.is_finished(tmp_path / "done")
    assert not directory.is_finished(tmp_path / "new")
    assert not directory.is_finished(tmp_path / "empty")


@pytest.mark.parametrize("name", ["c", "", "..", "a\0b", "x" * 5000, "/dev/null", "step-00000001"])
def test_find_says_what_there_is(tmp_path: Path, name: str) -> None:
    """What is not there is a CheckpointError that lists what is, whatever the name looks like."""
    root = tmp_path / "checkpoints"
    with pytest.raises(CheckpointError, match="Train one first"):
        directory.find(None, root)
    with pytest.raises(CheckpointError, match="none"):
        directory.find(name, root)
    finished(root / "one", 1, done=True)
    finished(root / "two", 1, done=True, age=10)
    with pytest.raises(CheckpointError, match="one, two"):
        directory.find(name, root)


@pytest.mark.parametrize(
    "pointers",
    [
        b"",
        b"{",
        b"[]",
        b'{"best": 7}',
        b'{"best": null}',
        b'{"best": 3.0}',
        b'{"best": true}',
        b'{"best": [3]}',
        b'{"best": {}}',
        b'{"best": "3"}',
        b"\xff",
    ],
)
def test_best_step_falls_back_to_the_last(tmp_path: Path, pointers: bytes) -> None:
    """Where pointers.json is missing, damaged or points nowhere, the last step is taken."""
    for number in (1, 3):
        save_step(tmp_path, number, {"training.json": b"{}\n"})
    assert directory.best_step(tmp_path).name == "step-00000003"
    (tmp_path / "pointers.json").write_bytes(b'{"best": 1}')
    assert directory.best_step(tmp_path).name == "step-00000001"
    (tmp_path / "pointers.json").write_bytes(pointers)
    assert directory.best_step(tmp_path).name == "step-00000003"
    assert not directory.is_finished(tmp_path)


def test_best_step_of_nothing(tmp_path: Path) -> None:
    """A run without a finished save has no best step."""
    with pytest.raises(CheckpointError, match="holds no finished save"):
        directory.best_step(tmp_path)
    assert directory.steps(tmp_path / "nowhere") == []
    assert directory.below(tmp_path / "nowhere") == []


def test_remove_steps_keeps_what_it_is_told(tmp_path: Path) -> None:
    """Only steps that are not kept and leftovers go; a link is not followed."""
    run, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    for number in (1, 2, 3, 10):
        save_step(run, number, {"training.json": b"{}\n"})
    (run / ".tmp-dir").mkdir()
    (run / ".tmp-file").touch()
    (run / "notes.txt").touch()
    (run / "step-00000004").symlink_to(outside)
    directory.remove_steps(run, {2, 10})
    assert directory.steps(run) == [2, 10]
    assert (run / "notes.txt").exists()
    assert (outside / "precious").exists()
    left = {path.name for path in run.iterdir() if not path.is_symlink()}
    assert left == {"step-00000002", "step-00000010", "notes.txt"}
