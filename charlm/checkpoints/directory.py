"""The directories of runs: how they are named, found, opened by their one writer and put right.

    checkpoints/<run>/
        run.json             what was asked: written when the run begins
        metrics.jsonl        a line for each thing measured, appended
        pointers.json        which step is the latest and which the best, and whether it finished
        novelty.safetensors, novelty.json     the index of the training text (text_index.py)
        tensorboard/         the same lines as event files, if they were asked for
        tokens/              the ids of a training text larger than memory (token_store.py)
        step-NNNNNNNN/       a save (step.py)

Readers take no lock: a run may be in training, or be deleted, while it is looked at.
"""

import contextlib
import math
import os
import re
import time
from pathlib import Path
from typing import Any, NoReturn

from charlm.checkpoints.disk import (
    ASIDE,
    DISK,
    TEMPORARY,
    Disk,
    append,
    delete,
    explained,
    free_bytes,
    make_directories,
    put_back,
    replace_file,
)
from charlm.checkpoints.files import read_file
from charlm.checkpoints.json_objects import parse_json, to_json
from charlm.checkpoints.lock import Lock
from charlm.config import OTHERS, RUNS
from charlm.errors import CheckpointError, UsageError, did_you_mean

COPIES = 3  # of a step, at most: the best, the last, and the one being written
MOST_TRIES = 50  # at a run in which steps come and go while one is looked for
TOKENS = "tokens"  # the directory of a run's own token store
TENSORBOARD = "tensorboard"  # that of event files
LANGUAGE_MODEL = "language model"
# By kind, what uses a model of it.
COMMANDS = {
    LANGUAGE_MODEL: "score or evaluate",
    "classifier": "classify",
    "tagger": "tag",
    "translator": "translate, score, evaluate, compare or sample",
}
_STEP = re.compile(r"step-\d{8,12}")
STANDING = re.compile(rf"(step-(\d{{8,12}}))({re.escape(ASIDE)})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LARGEST_JSON = 2**22


def check_name(name: str) -> str:
    """A name that can be a run's: no separators, no leading dot. Raises UsageError."""
    if not _NAME.fullmatch(name) or STANDING.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a run: use letters, digits, '.', '_' and '-', "
            "the first a letter or digit, at most 100, and not the name of a step."
        )
    return name


def step_name(step: int) -> str:
    """The name of a step's directory."""
    return f"step-{step:08d}"


# Finding


def steps(run: Path) -> list[int]:
    """The steps that stand in a run, ascending."""
    return sorted(_standing(run))


def below(root: Path) -> list[Path]:
    """The runs below a directory that hold a model, the most recently written first."""
    found = [path for path in children(root) if is_directory(path) and steps(path)]
    return sorted(found, key=_written, reverse=True)


def is_finished(run: Path) -> bool:
    """Whether a run has come to the end of its budget."""
    return pointers(run).get("finished") is True


def pointers(run: Path) -> dict[str, Any]:
    """What pointers.json says, or nothing where it is missing or damaged: it can be derived."""
    try:
        return read_json(run / "pointers.json")
    except CheckpointError:
        return {}


def find(model: str | None, root: Path = RUNS) -> Path:
    """The step directory that a name stands for.

    model is a run's name below root, a path to a run or to a step, or None for the newest
    finished run of a language model (the newest where none has finished). Of a run, the best
    step is taken. Raises CheckpointError saying what there is.
    """
    if model is None:
        there = [path for path in below(root) if kind_of(path) == LANGUAGE_MODEL]
        if not there:
            others = [(path.name, kind_of(path)) for path in below(root)[:3]]
            named = ", ".join(
                f"{name} is a {kind} (charlm {COMMANDS[kind]})" for name, kind in others
            )
            what = f"language model below {root}/: {named}" if others else f"model below {root}/"
            raise CheckpointError(f"there is no {what}. Train one first: charlm train FILE")
        return best_step(next(filter(is_finished, there), there[0]))
    for path in (root / model, Path(model)):
        if _STEP.fullmatch(path.name) and is_directory(path):
            return path
        if steps(path):
            return best_step(path)
    raise CheckpointError(f"there is no model {model!r}.{those_below(root, model)}")


def named(name: str, root: Path = RUNS) -> Path:
    """The run of that name right below root, for what is done to a run itself.

    Raises UsageError if it cannot name a run, CheckpointError if there is none of that name.
    """
    if (path := root / check_name(name)) not in below(root):
        raise CheckpointError(f"there is no run {path}.{those_below(root, name)}")
    return path


def to_go_on_with(name: str | None, root: Path) -> Path:
    """The run of that name, or the one last written to. Raises CheckpointError if there is none."""
    if name is not None:
        return named(name, root)
    there = below(root)
    if not there:
        raise CheckpointError(f"there is no run below {root}/ to go on with.")
    return there[0]


def free(root: Path, file: str) -> Path:
    """A directory below root that no run has yet, named after a file; "-" is standard input.

    One that holds tokens alone is that of a run which never began.
    """
    stem = "stdin" if file == "-" else Path(file).name.split(".")[0]
    stem = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in stem)
    stem = stem.strip("-_")[:80] or "run"
    stem = f"run-{stem}" if stem.startswith("step-") else stem  # that is how steps are named
    path, number = root / stem, 2
    while path.exists() and {child.name for child in children(path)} != {TOKENS}:
        path, number = root / f"{stem}-{number}", number + 1
    return path


def those_below(root: Path, name: str) -> str:
    """The runs that there are, after the one that may have been meant."""
    names = [path.name for path in below(root)]
    return f"{did_you_mean(name, names)} Those below {root}/: {', '.join(names) or 'none'}."


def find_any(model: str | None, root: Path = RUNS) -> Path:
    """As ``find``, but None stands for the newest finished run whatever its kind."""
    if model is None and (there := below(root)):
        return best_step(next(filter(is_finished, there), there[0]))
    return find(model, root)


def kind_of(path: Path) -> str:
    """What a run or one of its steps is: a language model, a classifier, a tagger or a translator.

    It is what run.json says, or else model.json; where neither can be read, a language model.
    """
    run = path.parent if _STEP.fullmatch(path.name) else path
    names = [run / "run.json", path / "model.json"]
    if path == run and (there := _standing(run)):
        names[1] = there[max(there)] / "model.json"
    for name in names:
        with contextlib.suppress(CheckpointError):
            kind = read_json(name).get("kind", LANGUAGE_MODEL)
            return kind if kind in OTHERS else LANGUAGE_MODEL
    return LANGUAGE_MODEL


def best_step(run: Path) -> Path:
    """The directory of a run's best step, or of its last where that is not known."""
    there = _standing(run)
    if not there:
        raise CheckpointError(f"{run} holds no finished save of a model.")
    best = pointers(run).get("best")
    return there[best if type(best) is int and best in there else max(there)]


# Writing


def open_run(run: Path) -> Lock:
    """Make a run's directory, take its lock, and put right what a crash left there.

    Raises LockedError if another process has it, CheckpointError if it cannot be written to.
    """
    lock = Lock(run / ".lock")
    try:
        make_directories(run)
        if run.is_symlink():
            raise CheckpointError(f"{run} is a link: a run is a directory of its own.")
        lock.acquire()
    except OSError as error:
        refuse(f"cannot write to {run}", error, run)
    recover(run)
    return lock


def recover(run: Path, disk: Disk = DISK) -> None:
    """Put right what a crash left of a run: for its one writer to do, before anything else.

    A step that was set aside when another took its place gets its name back, if it has not been
    replaced; what was never finished is deleted.
    """
    doomed = []
    for path in children(run):
        step = STANDING.fullmatch(path.name)
        if step and step[3] and not os.path.lexists(run / step[1]):
            with contextlib.suppress(OSError):  # readers know it by the other name too
                put_back(path, disk)
        elif path.name.startswith(TEMPORARY) or (step and step[3]):
            doomed.append(path)
    delete(doomed, disk)


def remove_steps(run: Path, keep: set[int], disk: Disk = DISK) -> None:
    """Delete the steps that are not to be kept, and what an interrupted save left behind.

    What cannot be deleted now stays, and is tried again after the next save.
    """
    doomed = []
    for path in children(run):
        step = STANDING.fullmatch(path.name)
        if path.name.startswith(TEMPORARY) or (step and int(step[2]) not in keep):
            doomed.append(path)
    delete(doomed, disk)


def size(run: Path) -> int:
    """The bytes of all files of a run."""
    total = 0
    for path in run.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


def check_room(run: Path, save_bytes: int) -> None:
    """Raise CheckpointError unless there is room for the saves that a run will hold at a time."""
    missing = max(1, COPIES - len(steps(run)))
    free = free_bytes(run)
    if free is not None and free < missing * save_bytes:
        raise CheckpointError(
            f"there is no room for the model at {run}: a save takes {_size(save_bytes)}, "
            f"{missing} more of them have to fit, and {_size(free)} are free. Make room there, or "
            "train a smaller model (`hidden_size`)."
        )


def write_bytes(path: Path, data: bytes, disk: Disk = DISK) -> None:
    """Replace a file of a run at once: whoever reads sees the old or the new one."""
    try:
        replace_file(path, data, disk)
    except OSError as error:
        refuse(f"cannot write {path}", error, path.parent)


def write_text(path: Path, text: str, disk: Disk = DISK) -> None:
    """The same with a text."""
    write_bytes(path, text.encode(), disk)


def write_json(path: Path, value: object, disk: Disk = DISK) -> None:
    """The same with JSON."""
    write_bytes(path, to_json(value), disk)


def append_line(path: Path, line: str, disk: Disk = DISK) -> None:
    """Put a line at the end of a file, and on the disk."""
    try:
        append(path, f"{line}\n".encode(), disk)
    except OSError as error:
        refuse(f"cannot write {path}", error, path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises CheckpointError naming the file."""
    return parse_json(path, read_file(path, _LARGEST_JSON))


def refuse(what: str, error: OSError, run: Path) -> NoReturn:
    """Raise CheckpointError for what the disk refused, saying what still stands in the run."""
    raise explained(what, error, has_save=bool(steps(run))) from None


def run_id(run: Path) -> str | None:
    """What run.json calls a run, by which its saves are known to be its own; None without it."""
    try:
        found = read_json(run / "run.json").get("run_id")
    except CheckpointError:
        return None
    return found if type(found) is str else None


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{math.ceil(count / 1e6):,} MB"


def _standing(run: Path) -> dict[int, Path]:
    """The directories of the steps of a run. One set aside counts while none has its place.

    A listing is no picture of one moment: while a step makes room for another, neither may be in
    it. A run that has pointers has a step, so there it is made again.
    """
    for _ in range(MOST_TRIES):
        found = _listed(run)
        if found or not os.path.isfile(run / "pointers.json"):
            break
        time.sleep(0.001)
    return found


def _listed(run: Path) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for path in children(run):
        step = STANDING.fullmatch(path.name)
        if step and not os.path.islink(path) and is_directory(path):
            number = int(step[2])
            if not step[3] or number not in found:
                found[number] = path
    return found


def children(path: Path) -> list[Path]:
    """What is in a directory; nothing where there is none, or none that can be read."""
    try:
        return sorted(path.iterdir())
    except (OSError, ValueError):  # a name too long, or with a NUL in it
        return []


def is_directory(path: Path) -> bool:
    """Whether a path leads to a directory; one that is no path at all does not."""
    try:
        return path.is_dir()
    except OSError:  # a name too long, a directory above it that may not be entered
        return False


def _written(run: Path) -> float:
    for path in (run / "pointers.json", run):
        with contextlib.suppress(OSError):
            return path.stat().st_mtime
    return 0.0  # gone in the meantime
