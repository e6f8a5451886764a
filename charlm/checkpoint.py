"""A checkpoint: a directory, saved whole or not at all, loaded or refused.

    checkpoints/<run>/
        run.json             what was asked: written once, when the run begins
        metrics.jsonl        a line for each thing measured, appended
        pointers.json        which step is the latest and which the best, and whether it finished
        step-NNNNNNNN/       a model that can be used, and all that is needed to go on training
            model.json       shape, level, split, versions
            model.safetensors
            tokenizer.json   (and tokenizer.model of a subword model)
            speller.json, speller.safetensors   of a word model: what <UNK> can be
            known.safetensors      hashes of the training sequences
            training.json, training.safetensors
            manifest.json    SHA-256 and size of every file above

A step is written under a temporary name, each file flushed to disk, the manifest last, read back
and verified, and only then renamed. No file is a pickle, none names another, and no code, path or
pattern is taken from one.
"""

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from charlm.config import SPLITS, ModelConfig
from charlm.errors import CheckpointError, UsageError
from charlm.tokenizers import tokenizer_from_files
from charlm.tokenizers.base import Tokenizer
from charlm.unknown import Speller
from charlm.weights import Arrays, shapes

FORMAT = 1
_STEP = re.compile(r"step-\d{8,12}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LARGEST_JSON = 64 * 2**20
_LARGEST_TENSORS = 16 * 2**30
_MODEL_FILES = ("model.json", "model.safetensors")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
_SPELLER_FILES = ("speller.json", "speller.safetensors")
_INFERENCE_FILES = (*_MODEL_FILES, *_TOKENIZER_FILES, *_SPELLER_FILES, "known.safetensors")
_FILES = frozenset((*_INFERENCE_FILES, "training.json", "training.safetensors"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model ready for use, with its tokenizer and what is known of its training."""

    path: Path
    step: int
    config: ModelConfig
    weights: Arrays
    tokenizer: Tokenizer
    speller: Speller | None
    split_on: str
    known: NDArray[np.uint64] | None
    info: dict[str, Any]


def check_name(name: str) -> str:
    """A name that can be a run's: no separators, no leading dot. Raises UsageError."""
    if not _NAME.fullmatch(name) or _STEP.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a run: use letters, digits, '.', '_' and '-', "
            "the first a letter or digit, at most 100, and not the name of a step."
        )
    return name


def step_name(step: int) -> str:
    """The name of a step's directory."""
    return f"step-{step:08d}"


def save_step(run: Path, step: int, files: Mapping[str, bytes]) -> Path:
    """Write a step's files and make them appear all at once under ``step-NNNNNNNN``.

    Raises CheckpointError if the disk refuses; what stood there before then still stands.
    """
    if unknown := set(files) - _FILES:
        raise ValueError(f"not files of a checkpoint: {sorted(unknown)}")
    target = run / step_name(step)
    temporary = run / f".tmp-{uuid.uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        entries = {}
        for name, data in files.items():
            _write_synced(temporary / name, data)
            entries[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        manifest = {"format": FORMAT, "step": step, "files": entries}
        _write_synced(temporary / "manifest.json", to_json(manifest))
        _sync_directory(temporary)
        _read_files(temporary, frozenset(files))
        if target.exists():
            _remove(target)
        temporary.rename(target)
        _sync_directory(run)
    except (OSError, CheckpointError) as error:  # the latter: it does not read back
        shutil.rmtree(temporary, ignore_errors=True)
        reason = (
            error.strerror if isinstance(error, OSError) else "what was written reads back wrong"
        )
        raise CheckpointError(
            f"cannot save {target}: {reason}. Earlier checkpoints are untouched; make room or "
            "permission there and go on with --resume."
        ) from None
    return target


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file at once: whoever reads sees the old or the new one."""
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        _write_synced(temporary, to_json(value))
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path}: {error.strerror}.") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises CheckpointError naming the file."""
    return _parse(path, _read_bytes(path, _LARGEST_JSON))


def to_json(value: object) -> bytes:
    """JSON as charlm writes it: never NaN or Infinity."""
    return (json.dumps(value, ensure_ascii=True, allow_nan=False, indent=1) + "\n").encode()


def remove_steps(run: Path, keep: set[int]) -> None:
    """Delete the steps that are not to be kept, and what an interrupted save left behind."""
    for path in run.iterdir():
        leftover = path.name.startswith(".tmp-")
        if leftover or (_STEP.fullmatch(path.name) and int(path.name[5:]) not in keep):
            if path.is_dir():
                _remove(path)
            else:
                path.unlink(missing_ok=True)


def steps(run: Path) -> list[int]:
    """The steps that stand in a run, ascending."""
    if not _is_directory(run):
        return []
    return sorted(int(p.name[5:]) for p in run.iterdir() if _STEP.fullmatch(p.name))


def runs(root: Path) -> list[Path]:
    """The runs below a directory that hold a model, the most recently written first."""
    if not _is_directory(root):
        return []
    found = [path for path in root.iterdir() if path.is_dir() and steps(path)]
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


def find(model: str | None, root: Path = Path("checkpoints")) -> Path:
    """The step directory that a name stands for.

    model is a run's name below root, a path to a run or to a step, or None for the newest
    finished run (the newest of any kind where none has finished). Of a run, the best step is
    taken. Raises CheckpointError saying what there is.
    """
    if model is None:
        there = runs(root)
        if not there:
            raise CheckpointError(
                f"there is no model below {root}/. Train one first: charlm train FILE"
            )
        return best_step(next(filter(is_finished, there), there[0]))
    for path in (root / model, Path(model)):
        if _STEP.fullmatch(path.name) and _is_directory(path):
            return path
        if steps(path):
            return best_step(path)
    names = ", ".join(path.name for path in runs(root)) or "none"
    raise CheckpointError(f"there is no model {model!r}. Those below {root}/: {names}.")


def best_step(run: Path) -> Path:
    """The directory of a run's best step, or of its last where that is not known."""
    there = steps(run)
    if not there:
        raise CheckpointError(f"{run} holds no finished save of a model.")
    best = pointers(run).get("best")
    return run / step_name(best if type(best) is int and best in there else there[-1])


def load(path: Path) -> Checkpoint:
    """Load the model of a step directory, verified against its manifest.

    Raises CheckpointError naming the file that is missing, damaged or not what it should be.
    """
    names, saved = _manifest(path)
    wanted = names & {*_INFERENCE_FILES}
    files = _read_files(path, wanted)
    info = _parse(path / "model.json", _file(path, files, "model.json"))
    try:
        if info.get("format") != FORMAT:
            raise CheckpointError(
                f"{path / 'model.json'} is of format {info.get('format')!r}; this charlm reads "
                f"format {FORMAT}."
            )
        config = ModelConfig.from_json(info.get("model"))
        split_on, step = info.get("split_on"), info.get("step")
        if split_on not in SPLITS or type(step) is not int:
            raise CheckpointError(f"{path / 'model.json'} does not say how text was split.")
        if saved != step:
            raise CheckpointError(f"{path / 'manifest.json'} is not of the step in model.json.")
    except UsageError as error:
        raise CheckpointError(f"{path / 'model.json'}: {error}") from None
    tokenizer = tokenizer_from_files({n: files[n] for n in _TOKENIZER_FILES if n in files})
    if tokenizer.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} types, the model "
            f"{config.vocab_size}."
        )
    weights = path / "model.safetensors"
    arrays = read_arrays(weights, _file(path, files, "model.safetensors"))
    speller = speller_of_files(path, files) if "speller.json" in files else None
    known = None
    if "known.safetensors" in files:
        known = _known_from_bytes(path / "known.safetensors", files["known.safetensors"])
    return Checkpoint(
        path=path,
        step=step,
        config=config,
        weights=check_weights(weights, config, arrays),
        tokenizer=tokenizer,
        speller=speller,
        split_on=split_on,
        known=known,
        info=info,
    )


def speller_of_files(path: Path, files: Mapping[str, bytes]) -> Speller:
    """The speller of a step, from its two files. Raises CheckpointError naming one of them."""
    name = path / "speller.safetensors"
    speller = Speller.from_json(
        _parse(path / "speller.json", files["speller.json"]),
        read_arrays(name, _file(path, files, "speller.safetensors")),
    )
    check_weights(name, speller.config, speller.weights)
    return speller


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a step alone, verified. Raises CheckpointError."""
    return tokenizer_from_files(_read_files(path, _manifest(path)[0] & {*_TOKENIZER_FILES}))


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """SHA-256 of all files of a tokenizer."""
    digest = hashlib.sha256()
    for name, data in sorted(tokenizer.to_files().items()):
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def load_training(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """What a step holds for going on: training.json and the arrays of training.safetensors."""
    wanted = frozenset(("training.json", "training.safetensors"))
    files = _read_files(path, wanted)
    progress = _parse(path / "training.json", files["training.json"])
    return progress, read_arrays(path / "training.safetensors", files["training.safetensors"])


def check_weights(name: Path, config: ModelConfig, arrays: Arrays) -> Arrays:
    """The arrays, if they are the finite weights of such a model. Raises CheckpointError."""
    expected = shapes(config)
    if expected.keys() != arrays.keys():
        raise CheckpointError(f"{name} does not hold the weights that its model.json describes.")
    for key, array in arrays.items():
        if array.shape != expected[key] or array.dtype != np.float32:
            raise CheckpointError(
                f"{name}: {key} is {array.shape} of {array.dtype}, expected {expected[key]} of "
                "float32."
            )
        if not np.isfinite(array).all():
            raise CheckpointError(f"{name}: {key} holds numbers that are not finite.")
    return arrays


def known_to_bytes(known: NDArray[np.uint64]) -> bytes:
    """The file of the training sequences' hashes."""
    return safetensors.numpy.save({"sequence_hashes": known})


def arrays_to_bytes(arrays: Arrays) -> bytes:
    """The file of named arrays."""
    return safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()})


def read_arrays(name: Path, data: bytes) -> dict[str, NDArray[np.float32]]:
    """Named arrays from a file's bytes. Raises CheckpointError naming the file."""
    try:
        return safetensors.numpy.load(data)
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"{name} is damaged: {error}.") from None


def _known_from_bytes(name: Path, data: bytes) -> NDArray[np.uint64]:
    try:
        known = safetensors.numpy.load(data)["sequence_hashes"]
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{name} is damaged: {error}.") from None
    if known.dtype != np.uint64 or known.ndim != 1:
        raise CheckpointError(f"{name} does not hold the hashes of training sequences.")
    return known


def _manifest(path: Path) -> tuple[frozenset[str], object]:
    """The names of a step's files, and the step they are of."""
    manifest = read_json(path / "manifest.json")
    entries = manifest.get("files")
    if not isinstance(entries, dict) or not set(entries) <= _FILES:
        raise CheckpointError(f"{path / 'manifest.json'} is not a list of a checkpoint's files.")
    return frozenset(entries), manifest.get("step")


def _read_files(path: Path, wanted: frozenset[str]) -> dict[str, bytes]:
    """These files of a step, each compared with size and hash in the manifest."""
    manifest = read_json(path / "manifest.json")
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{path / 'manifest.json'} is of format {manifest.get('format')!r}; this charlm reads "
            f"format {FORMAT}."
        )
    entries = manifest.get("files")
    files = {}
    for name in sorted(wanted):
        entry = entries.get(name) if isinstance(entries, dict) else None
        if not isinstance(entry, dict):
            raise CheckpointError(f"{path / 'manifest.json'} does not list {name}.")
        tensors = name.endswith(".safetensors")
        data = _read_bytes(path / name, _LARGEST_TENSORS if tensors else _LARGEST_JSON)
        if entry.get("size") != len(data) or (
            entry.get("sha256") != hashlib.sha256(data).hexdigest()
        ):
            raise CheckpointError(
                f"{path / name} is damaged: it is not what was saved. Use another step or run."
            )
        files[name] = data
    return files


def _file(path: Path, files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise CheckpointError(f"{path} has no {name}.")
    return files[name]


def _parse(name: Path, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{name} is damaged: it is not JSON.") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{name} is damaged: it is not a JSON object.")
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_constant(text)


def _read_bytes(path: Path, largest: int) -> bytes:
    """The bytes of a regular file no larger than that."""
    try:
        with open(path, "rb", opener=_open_plain) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > largest:
                raise CheckpointError(f"{path} is not a file of a checkpoint.")
            return file.read(status.st_size + 1)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}.") from None


def _open_plain(path: str, flags: int) -> int:
    """Open without following a link at the end and without waiting on a pipe."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Delete a step so that no moment shows half of it: rename first."""
    doomed = path.with_name(f".tmp-{uuid.uuid4().hex}")
    path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _is_directory(path: Path) -> bool:
    """Whether a path leads to a directory; one that is no path at all does not."""
    try:
        return path.is_dir()
    except OSError:  # a name too long, a directory above it that may not be entered
        return False


def _written(run: Path) -> float:
    pointer = run / "pointers.json"
    return (pointer if pointer.exists() else run).stat().st_mtime
