"""A step on disk: the files that every kind of model has, saved, read and checked.

    checkpoints/<run>/step-NNNNNNNN/
        model.json       format, kind, step, shape, versions
        model.safetensors
        training.json, training.safetensors    what going on with the training needs
        manifest.json    format, run id, step; SHA-256 and size of every other file

language_model.py and head.py say what a kind of model has beside them. No file names another, and
no code, path or pattern is taken from one.
"""

import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from charlm.checkpoints import directory
from charlm.checkpoints.disk import DISK, Disk, make_directories, save_directory
from charlm.checkpoints.files import Content
from charlm.checkpoints.json_objects import check_parts, parse_json
from charlm.checkpoints.manifest import MANIFEST, Entry, read_files, read_manifest
from charlm.checkpoints.tensors import check_arrays, most_bytes, parse_tensors
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError
from charlm.tokenizers import tokenizer_from_files
from charlm.tokenizers.base import Tokenizer

FORMAT = 1
WEIGHTS = "model.safetensors"
_LARGEST = 2**22  # bytes of a file, where _LARGEST_OF does not say otherwise
_LARGEST_OF = {
    "training.json": 2**16,
    "tokenizer.json": 2**26,
    "labels.json": 2**26,
    "tokenizer.model": 2**26,
    "source_tokenizer.json": 2**26,
    "source_tokenizer.model": 2**26,
    "tagger.json": 2**26,
    "speller.json": 2**26,
    "speller.safetensors": 2**30,
    "ngram.safetensors": 2**32,
    "adaptive.safetensors": 2**30,
    "counts.safetensors": 2**36,
    "known.safetensors": 2**32,
    "model.safetensors": 2**34,
    "training.safetensors": 2**36,
}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
_FILES = frozenset((*_LARGEST_OF, "model.json", "partner.json", "adaptive.json"))


class StepFiles:
    """The files of a step, each compared with its manifest when it is read.

    run_id is that of the run.json beside it when it was saved, None where that had none. Every
    method raises CheckpointError naming the file that is missing, damaged or not what it should be.
    """

    def __init__(self, path: Path) -> None:
        name = path / MANIFEST
        about, self._entries = read_manifest(path)
        _check_format(name, about)
        if about.keys() - {"run_id"} != {"format", "step"} or not self._entries.keys() <= _FILES:
            raise CheckpointError(f"{name} is not a list of a checkpoint's files.")
        if type(about.get("run_id")) not in (str, type(None)):
            raise CheckpointError(f"{name} does not name a run.")
        self.path = path
        self.step: Any = about["step"]
        self.run_id: str | None = about.get("run_id")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def read(self, *names: str) -> dict[str, bytes]:
        """Those of the named files that there are."""
        there = {name: self._entries[name] for name in names if name in self}
        apart = {name: there.pop(name) for name in self._in_run() & there.keys()}
        return {**self._read_in(self.path, there), **self._read_in(self.path.parent, apart)}

    def _in_run(self) -> set[str]:
        """What stands in the directory of the run: the weights of a model that is shared.

        The layout of the Hugging Face hub has them beside the card.
        """
        own, of_run = self.path / WEIGHTS, self.path.parent / WEIGHTS
        return {WEIGHTS} if of_run.is_file() and not os.path.lexists(own) else set()

    def _read_in(self, path: Path, entries: Mapping[str, Entry]) -> dict[str, bytes]:
        return read_files(path, entries, lambda name: _LARGEST_OF.get(name, _LARGEST))

    def read_all(self) -> dict[str, bytes]:
        """All of them."""
        return self.read(*self._entries)

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object of a file."""
        return parse_json(self.path / name, self._bytes(name))

    def arrays(self, name: str, most: int | None = None) -> dict[str, NDArray[Any]]:
        """The arrays of a file of no more than ``most`` bytes."""
        if most is not None and name in self and self._entries[name].size > most:
            raise CheckpointError(
                f"{self.path / name} is too large for the model that model.json describes."
            )
        return parse_tensors(self.path / name, self._bytes(name))

    def info(self) -> dict[str, Any]:
        """What model.json says, its format and step checked."""
        info = self.json("model.json")
        _check_format(self.path / "model.json", info)
        if type(info.get("step")) is not int or info["step"] < 0:
            raise CheckpointError(f"{self.path / 'model.json'} does not say which step it is of.")
        if info["step"] != self.step:
            raise CheckpointError(f"{self.path / MANIFEST} is not of the step in model.json.")
        return info

    def check_size(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuse a file of weights whose size is not that of weights of these shapes."""
        name, numbers = WEIGHTS, numbers_in(shapes)
        if name in self and not 4 * numbers + 8 <= self._entries[name].size <= most_bytes(numbers):
            raise CheckpointError(
                f"{self.path / name} has {self._entries[name].size:,} bytes, and model.json "
                f"describes a model of {numbers:,} numbers."
            )

    def weights(self, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
        """The weights, finite and of these shapes."""
        self.check_size(shapes)
        name = WEIGHTS
        return check_arrays(self.path / name, self.arrays(name), shapes)

    def tokenizer(self, vocab_size: int | None = None, prefix: str = "") -> Tokenizer:
        """The tokenizer, of so many types if that is known; prefix is that of its files."""
        read = self.read(*(prefix + name for name in _TOKENIZER_FILES))
        files = {name.removeprefix(prefix): data for name, data in read.items()}
        check_parts(self.path / f"{prefix}tokenizer.json", files.get("tokenizer.json", b""))
        try:
            tokenizer = tokenizer_from_files(files)
        except CheckpointError as error:
            told = re.sub(r"\btokenizer\.(?=json|model)", f"{prefix}tokenizer.", str(error))
            raise CheckpointError(f"{self.path}: {told}") from None
        if vocab_size is not None and tokenizer.vocab_size != vocab_size:
            raise CheckpointError(
                f"{self.path}: {prefix}tokenizer.json has {tokenizer.vocab_size} types, the model "
                f"{vocab_size}."
            )
        return tokenizer

    def training(self, most_numbers: int) -> tuple[dict[str, Any], Arrays]:
        """What going on needs: training.json, and at most so many numbers in named arrays."""
        counters = self.json("training.json")
        return counters, self.arrays("training.safetensors", most_bytes(most_numbers))

    def _bytes(self, name: str) -> bytes:
        if name not in self:
            raise CheckpointError(f"{self.path} has no {name}.")
        return self.read(name)[name]


def save_step(
    run: Path,
    step: int,
    files: Mapping[str, Content],
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
    target = run / directory.step_name(step)
    about = {"format": FORMAT, "run_id": run_id or directory.run_id(run), "step": step}
    try:
        make_directories(run, disk)
        save_directory(target, files, about, disk)
    except OSError as error:
        directory.refuse(f"cannot save {target}", error, run)
    except CheckpointError as error:
        raise CheckpointError(
            f"cannot save {target}: what was written reads back wrong ({error}). Earlier "
            "checkpoints are untouched; copy them to another disk and go on there with `resume`."
        ) from None
    return target


def replace_file(path: Path, name: str, data: bytes) -> None:
    """Give a step another file of that name, all at once. Raises CheckpointError."""
    files = StepFiles(path)
    save_step(path.parent, files.step, {**files.read_all(), name: data}, run_id=files.run_id)


def load_tokenizer(path: Path, prefix: str = "") -> Tokenizer:
    """The tokenizer of a step alone, verified. Raises CheckpointError, of a tagger too.

    prefix is that of its files, where a step has several.
    """
    files = StepFiles(path)
    if "tokenizer.json" not in files and directory.kind_of(path) == "tagger":
        raise CheckpointError(
            f"{path.parent} is a tagger, which cuts no text: it takes the words as its lines hold "
            f"them. Use it with charlm {directory.COMMANDS['tagger']}."
        )
    return files.tokenizer(prefix=prefix)


def numbers_in(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many numbers arrays of these shapes hold."""
    return sum(math.prod(shape) for shape in shapes.values())


def files_hash(files: Mapping[str, bytes]) -> str:
    """SHA-256 of files, such as those of a tokenizer, and of their names."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _check_format(name: Path, values: Mapping[str, Any]) -> None:
    if values.get("format") != FORMAT or type(values["format"]) is not int:
        raise CheckpointError(
            f"{name} is of format {values.get('format')!r:.40}; this charlm reads format {FORMAT}."
        )
