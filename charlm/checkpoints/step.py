"""A checkpoint: a model that can be used, and all that is needed to go on training it.

    checkpoints/<run>/step-NNNNNNNN/
        model.json       shape, level, split, versions
        model.safetensors
        tokenizer.json   (and tokenizer.model of a subword model)
        speller.json, speller.safetensors   of a word model: what <UNK> can be
        partner.json, ngram.safetensors   what the network is mixed with, where it is
        labels.json      of a conditional model: its labels, how many sequences had each
        known.safetensors      hashes of the training sequences
        training.json, training.safetensors
        manifest.json    format, run id, step; SHA-256 and size of every file above

storage.py says how a step is written so that a crash at any instant leaves a whole one, and what
is looked at before a file is believed; runs.py, where steps stand and which is meant by a name.
Here stands what the files mean. None names another, and no code, path or pattern is taken from
one.
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints import directory as runs
from charlm.checkpoints import disk as storage
from charlm.checkpoints.disk import DISK, Disk, Entry, parse_json, to_json
from charlm.config import HEADS, RUNS, SPLITS, ModelConfig
from charlm.counts.interpolation import Partner
from charlm.equations.parameters import Arrays, shapes
from charlm.errors import CheckpointError, UsageError
from charlm.inference.unknown import Speller
from charlm.text.labelled import Labels
from charlm.tokenizers import tokenizer_from_files
from charlm.tokenizers.base import Tokenizer

__all__ = ["to_json"]  # beside what is defined here

FORMAT = 1
_LARGEST_HEADER = 2**22  # of a file of tensors
_LARGEST_JSON = 2**22
_LARGEST = {  # bytes, where it is not _LARGEST_JSON
    "training.json": 2**16,
    "tokenizer.json": 2**26,
    "labels.json": 2**26,
    "tokenizer.model": 2**26,
    "tagger.json": 2**26,
    "speller.json": 2**26,
    "speller.safetensors": 2**30,
    "ngram.safetensors": 2**32,
    "known.safetensors": 2**32,
    "model.safetensors": 2**34,
    "training.safetensors": 2**36,
}
_MOST_ROWS = 65_536  # that are read side by side
_MODEL_FILES = ("model.json", "model.safetensors")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
_SPELLER_FILES = ("speller.json", "speller.safetensors")
_PARTNER_FILES = ("partner.json", "ngram.safetensors")
_LABEL_FILES = ("labels.json",)
_INFERENCE_FILES = (
    *_MODEL_FILES,
    *_TOKENIZER_FILES,
    *_SPELLER_FILES,
    *_PARTNER_FILES,
    *_LABEL_FILES,
    "known.safetensors",
)
_FILES = frozenset((*_INFERENCE_FILES, "tagger.json", "training.json", "training.safetensors"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model ready for use, with its tokenizer and what is known of its training.

    run_id is that of the run.json beside it when it was saved, None where that had none.
    """

    path: Path
    step: int
    run_id: str | None
    config: ModelConfig
    weights: Arrays
    tokenizer: Tokenizer
    speller: Speller | None
    partner: Partner | None
    labels: Labels | None
    split_on: str
    known: NDArray[np.uint64] | None
    info: dict[str, Any]


# Saving


def save_step(
    run: Path,
    step: int,
    files: Mapping[str, bytes],
    *,
    run_id: str | None = None,
    disk: Disk = DISK,
) -> Path:
    """Write a step's files and make them appear all at once under ``step-NNNNNNNN``.

    The manifest names the run that run_id does, or else run.json. Raises CheckpointError if the
    disk refuses; what stood there before then still stands.
    """
    if unknown := set(files) - _FILES:
        raise ValueError(f"not files of a checkpoint: {sorted(unknown)}")
    target = run / runs.step_name(step)
    about = {"format": FORMAT, "run_id": run_id or runs.run_id(run), "step": step}
    try:
        storage.make_directories(run, disk)
        storage.save_directory(target, files, about, disk)
    except OSError as error:
        runs.refuse(f"cannot save {target}", error, run)
    except CheckpointError as error:
        raise CheckpointError(
            f"cannot save {target}: what was written reads back wrong ({error}). Earlier "
            "checkpoints are untouched; copy them to another disk and go on there with --resume."
        ) from None
    return target


# Loading


def load(path: Path) -> Checkpoint:
    """Load the model of a step directory, verified against its manifest.

    Raises CheckpointError naming the file that is missing, damaged or not what it should be.
    """
    about, entries = _manifest(path)
    files = _read_files(path, entries, _MODEL_FILES[:1])
    info = parse_json(path / "model.json", _file(path, files, "model.json"))
    config, split_on, step = _described(path, info)
    if about["step"] != step:
        raise CheckpointError(f"{path / 'manifest.json'} is not of the step in model.json.")
    if "model.safetensors" in entries:
        _check_size(path / "model.safetensors", entries["model.safetensors"].size, config)
    small = (*_TOKENIZER_FILES, *_SPELLER_FILES, *_PARTNER_FILES, *_LABEL_FILES)
    files |= _read_files(path, entries, small)
    tokenizer = _tokenizer(path, files)
    if tokenizer.vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} types, the model "
            f"{config.vocab_size}."
        )
    speller = speller_of_files(path, files) if "speller.json" in files else None
    files |= _read_files(path, entries, ("model.safetensors", "known.safetensors"))
    weights = path / "model.safetensors"
    arrays = read_arrays(weights, _file(path, files, "model.safetensors"))
    known = None
    if "known.safetensors" in files:
        known = _known_from_bytes(path / "known.safetensors", files["known.safetensors"])
    return Checkpoint(
        path=path,
        step=step,
        run_id=about.get("run_id"),
        config=config,
        weights=check_arrays(weights, arrays, shapes(config)),
        tokenizer=tokenizer,
        speller=speller,
        partner=_partner_of_files(path, files, config.vocab_size),
        labels=_labels_of_files(path, files, config),
        split_on=split_on,
        known=known,
        info=info,
    )


def load_named(model: str | None, root: Path = RUNS) -> Checkpoint:
    """The model that a name stands for (``runs.find``), even while its run is being trained.

    A step that is replaced by a newer one between being found and being read is no error: the
    newer one is taken. Raises CheckpointError.
    """
    for _ in range(runs.MOST_TRIES):
        path = runs.find(model, root)
        before = _identity(path)
        try:
            return load(path)
        except CheckpointError:
            if before is not None and before == _identity(path):
                raise
    return load(runs.find(model, root))


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a directory from another of its name; None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def speller_of_files(path: Path, files: Mapping[str, bytes]) -> Speller:
    """The speller of a step, from its two files. Raises CheckpointError naming one of them."""
    name = path / "speller.safetensors"
    described = parse_json(path / "speller.json", files["speller.json"])
    arrays = read_arrays(name, _file(path, files, "speller.safetensors"))
    try:
        speller = Speller.from_json(described, arrays)
    except CheckpointError as error:
        raise CheckpointError(f"{path / 'speller.json'}: {error}") from None
    check_arrays(name, speller.weights, shapes(speller.config))
    return speller


def _partner_of_files(path: Path, files: Mapping[str, bytes], vocab_size: int) -> Partner | None:
    """What a network is mixed with, if anything. Raises CheckpointError naming a file."""
    if "partner.json" not in files:
        return None
    arrays: Mapping[str, NDArray[Any]] = {}
    if "ngram.safetensors" in files:
        arrays = read_arrays(path / "ngram.safetensors", files["ngram.safetensors"])
    try:
        values = parse_json(path / "partner.json", files["partner.json"])
        return Partner.from_json(values, arrays, vocab_size)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _labels_of_files(path: Path, files: Mapping[str, bytes], config: ModelConfig) -> Labels | None:
    """The labels of a conditional model. Raises CheckpointError naming their file."""
    name = path / "labels.json"
    if not config.num_labels:
        if "labels.json" in files:
            raise CheckpointError(f"{name} holds labels, and model.json describes none.")
        return None
    values = parse_json(name, _file(path, files, "labels.json"))
    try:
        labels = Labels.from_json(values)
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None
    if len(labels.names) != config.num_labels:
        raise CheckpointError(
            f"{name} holds {len(labels.names)} labels, model.json describes {config.num_labels}."
        )
    return labels


def replace_file(path: Path, name: str, data: bytes) -> None:
    """Give a step another file of that name, all at once. Raises CheckpointError."""
    about, entries = _manifest(path)
    files = _read_files(path, entries, tuple(entries))
    save_step(path.parent, about["step"], {**files, name: data}, run_id=about.get("run_id"))


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a step alone, verified. Raises CheckpointError, of a tagger too."""
    files = _read_files(path, _manifest(path)[1], _TOKENIZER_FILES)
    if not files and runs.kind_of(path) == "tagger":
        raise CheckpointError(
            f"{path.parent} is a tagger, which cuts no text: it takes the words as its lines hold "
            f"them. Use it with charlm {runs.COMMANDS['tagger']}."
        )
    return _tokenizer(path, files)


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """SHA-256 of all files of a tokenizer."""
    digest = hashlib.sha256()
    for name, data in sorted(tokenizer.to_files().items()):
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def read_step(
    path: Path, wanted: tuple[str, ...], largest: Mapping[str, int] | None = None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the manifest of a step says of it, and those of the wanted files that it has.

    ``largest`` are limits on their bytes below the usual ones. Raises CheckpointError.
    """
    about, entries = _manifest(path)
    for name, most in (largest or {}).items():
        if name in entries and entries[name].size > most:
            raise CheckpointError(
                f"{path / name} is too large for the model that model.json describes."
            )
    return about, _read_files(path, entries, wanted)


def load_training(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """What a step holds for going on: training.json and the arrays of training.safetensors."""
    wanted = ("training.json", "training.safetensors")
    entries = _manifest(path)[1]
    files = _read_files(path, entries, ("model.json", wanted[0]))
    described = parse_json(path / "model.json", _file(path, files, "model.json"))
    config = _described(path, described)[0]
    if wanted[1] in entries and entries[wanted[1]].size > _most_training_bytes(config):
        raise CheckpointError(
            f"{path / wanted[1]} is too large for the model that model.json describes."
        )
    files |= _read_files(path, entries, wanted[1:])
    progress = parse_json(path / wanted[0], _file(path, files, wanted[0]))
    return progress, read_arrays(path / wanted[1], _file(path, files, wanted[1]))


def check_arrays(
    name: Path, arrays: Mapping[str, NDArray[Any]], expected: Mapping[str, tuple[int, ...]]
) -> Arrays:
    """The arrays, if they are finite float32 of these shapes. Raises CheckpointError."""
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
    return arrays_to_bytes({"sequence_hashes": known})  # type: ignore[dict-item]


def arrays_to_bytes(arrays: Arrays) -> bytes:
    """The file of named arrays. Raises MemoryError where there is no memory to make it."""
    import safetensors.numpy

    # Where safetensors finds none it ends the whole process, so what its three copies take is
    # asked for before: memory that is not written to costs nothing.
    np.empty(3 * sum(array.nbytes for array in arrays.values()), np.uint8)
    return safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()})


def read_arrays(name: Path, data: bytes) -> dict[str, NDArray[np.float32]]:
    """Named arrays from a file's bytes. Raises CheckpointError naming the file."""
    return storage.parse_tensors(name, data)


def _known_from_bytes(name: Path, data: bytes) -> NDArray[np.uint64]:
    known = storage.parse_tensors(name, data).get("sequence_hashes")
    if known is None or known.dtype != np.uint64 or known.ndim != 1:
        raise CheckpointError(f"{name} does not hold the hashes of training sequences.")
    return known


def _manifest(path: Path) -> tuple[dict[str, Any], dict[str, Entry]]:
    """What the manifest of a step says: its format, run and step, and its files."""
    name = path / storage.MANIFEST
    about, entries = storage.read_manifest(path)
    if about.get("format") != FORMAT or type(about["format"]) is not int:
        raise CheckpointError(
            f"{name} is of format {about.get('format')!r:.40}; this charlm reads format {FORMAT}."
        )
    if about.keys() - {"run_id"} != {"format", "step"} or not entries.keys() <= _FILES:
        raise CheckpointError(f"{name} is not a list of a checkpoint's files.")
    if type(about.get("run_id")) not in (str, type(None)):
        raise CheckpointError(f"{name} does not name a run.")
    return about, entries


def _described(path: Path, info: Mapping[str, Any]) -> tuple[ModelConfig, str, int]:
    """The shape of a model, what its sequences are and its step, as model.json tells them."""
    name = path / "model.json"
    if info.get("format") != FORMAT:
        raise CheckpointError(
            f"{name} is of format {info.get('format')!r:.40}; this charlm reads format {FORMAT}."
        )
    if info.get("kind") in HEADS:
        raise CheckpointError(
            f"{path.parent} is a {info['kind']}, no language model: it tells labels, not the "
            f"probability of text. Use it with charlm {runs.COMMANDS[info['kind']]}."
        )
    try:
        config = ModelConfig.from_json(info.get("model"))
    except UsageError as error:
        raise CheckpointError(f"{name}: {error}") from None
    split_on, step = info.get("split_on"), info.get("step")
    if split_on not in SPLITS or type(step) is not int or step < 0:
        raise CheckpointError(f"{name} does not say how text was split.")
    return config, split_on, step


def _check_size(name: Path, size: int, config: ModelConfig) -> None:
    """Raise CheckpointError if a file so large cannot hold just the weights of such a model."""
    numbers = sum(math.prod(shape) for shape in shapes(config).values())
    if not 0 <= size - 8 - 4 * numbers <= _LARGEST_HEADER:
        raise CheckpointError(
            f"{name} has {size:,} bytes, and model.json describes a model of {numbers:,} numbers."
        )


def _most_training_bytes(config: ModelConfig) -> int:
    """What training.safetensors can have: weights, two moments, and the state that is carried."""
    numbers = sum(math.prod(shape) for shape in shapes(config).values())
    carried = 2 * config.num_layers * config.hidden_size * _MOST_ROWS
    return 8 + _LARGEST_HEADER + 4 * (3 * numbers + carried)


def _tokenizer(path: Path, files: Mapping[str, bytes]) -> Tokenizer:
    there = {name: files[name] for name in _TOKENIZER_FILES if name in files}
    storage.check_parts(path / "tokenizer.json", there.get("tokenizer.json", b""))
    try:
        return tokenizer_from_files(there)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _read_files(
    path: Path, entries: Mapping[str, Entry], wanted: tuple[str, ...]
) -> dict[str, bytes]:
    """Those of the wanted files that a step has, each compared with its manifest."""
    there = {name: entries[name] for name in wanted if name in entries}
    return storage.read_files(path, there, lambda name: _LARGEST.get(name, _LARGEST_JSON))


def _file(path: Path, files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise CheckpointError(f"{path} has no {name}.")
    return files[name]
