"""The files of a classifier's or tagger's step: what they mean, saved, loaded or refused.

They stand where a language model's stand and are written and read with the same care
(checkpoint.py, storage.py):

    model.json           kind, labels, temperature, shape, versions
    model.safetensors
    tokenizer.json       (and tokenizer.model) of a classifier
    tagger.json          of a tagger: its words and letters
    training.json, training.safetensors
"""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.checkpoints import directory as runs
from charlm.checkpoints import step as checkpoint
from charlm.checkpoints.disk import check_parts, parse_json
from charlm.config import RUNS, HeadConfig
from charlm.equations.heads import shapes
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError, UsageError
from charlm.text.conll import is_tag
from charlm.text.labelled import MOST_CHARACTERS
from charlm.tokenizers import tokenizer_from_files
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.word_letters import SpelledWords

FORMAT = 1
_LARGEST_HEADER = 2**22


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadCheckpoint:
    """A head ready for use: a classifier has a tokenizer, a tagger has words."""

    path: Path
    step: int
    run_id: str | None
    config: HeadConfig
    weights: Arrays
    labels: tuple[str, ...]
    temperature: float
    tokenizer: Tokenizer | None
    words: SpelledWords | None
    info: dict[str, Any]


def find(model: str | None, kind: str, root: Path = RUNS) -> Path:
    """The step directory of a head of this kind, by its name or the newest finished one.

    Raises CheckpointError, for a run of another kind too.
    """
    if model is not None:
        path = runs.find(model, root)
        if (there := runs.kind_of(path)) != kind:
            raise CheckpointError(
                f"{path.parent} is a {there}, not a {kind}. Use it with charlm "
                f"{runs.COMMANDS[there]}."
            )
        return path
    there_are = [path for path in runs.below(root) if runs.kind_of(path) == kind]
    if not there_are:
        how = (
            "charlm train FILE --classifier --label-from column:2"
            if kind == "classifier"
            else "charlm train FILE --tagger"
        )
        raise CheckpointError(f"there is no {kind} below {root}/. Train one first: {how}")
    finished = (path for path in there_are if runs.is_finished(path))
    return runs.best_step(next(finished, there_are[0]))


def load(path: Path) -> HeadCheckpoint:
    """Load the head of a step directory, verified against its manifest.

    Raises CheckpointError naming the file that is missing, damaged or not what it should be.
    """
    about, files = checkpoint.read_step(path, ("model.json",))
    info = parse_json(path / "model.json", files["model.json"])
    config, labels, temperature = _described(path, info)
    if about["step"] != info.get("step"):
        raise CheckpointError(f"{path / 'manifest.json'} is not of the step in model.json.")
    expected = shapes(config)
    _, files = checkpoint.read_step(
        path,
        ("model.safetensors", "tokenizer.json", "tokenizer.model", "tagger.json"),
        largest={"model.safetensors": _bytes_of(expected)},
    )
    name = path / "model.safetensors"
    if name.name not in files:
        raise CheckpointError(f"{path} has no model.safetensors.")
    arrays = checkpoint.check_arrays(name, checkpoint.read_arrays(name, files[name.name]), expected)
    tokenizer, words = _reader(path, config, files)
    return HeadCheckpoint(
        path=path,
        step=about["step"],
        run_id=about.get("run_id"),
        config=config,
        weights=arrays,
        labels=labels,
        temperature=temperature,
        tokenizer=tokenizer,
        words=words,
        info=info,
    )


def load_training(path: Path, config: HeadConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a step holds for going on: training.json and the arrays of training.safetensors."""
    # The two moments of each parameter; what is learned beside labels (neighbours.py), and its.
    beside = {"neighbours": (3, 2, config.vocab_size, config.hidden_size + 1)}
    largest = 2 * _bytes_of(shapes(config)) + _bytes_of(beside)
    limits = {"training.safetensors": largest}
    wanted = ("training.json", "training.safetensors")
    _, files = checkpoint.read_step(path, wanted, largest=limits)
    if missing := [file for file in wanted if file not in files]:
        raise CheckpointError(f"{path} has no {missing[0]}.")
    name = path / "training.safetensors"
    counters = parse_json(path / "training.json", files["training.json"])
    return counters, checkpoint.read_arrays(name, files["training.safetensors"])


def reader_files(reader: Tokenizer | SpelledWords) -> dict[str, bytes]:
    """The files of what turns text into ids."""
    if isinstance(reader, SpelledWords):
        return {"tagger.json": checkpoint.to_json(reader.to_json())}
    return reader.to_files()


def reader_hash(reader: Tokenizer | SpelledWords) -> str:
    """SHA-256 of those files."""
    digest = hashlib.sha256()
    for name, data in sorted(reader_files(reader).items()):
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _bytes_of(expected: Mapping[str, tuple[int, ...]]) -> int:
    """What a file of such tensors has at most."""
    return 8 + _LARGEST_HEADER + 4 * sum(math.prod(shape) for shape in expected.values())


def _described(path: Path, info: Mapping[str, Any]) -> tuple[HeadConfig, tuple[str, ...], float]:
    """The shape of a head, its labels and its temperature, as model.json tells them."""
    name = path / "model.json"
    if info.get("format") != FORMAT:
        raise CheckpointError(
            f"{name} is of format {info.get('format')!r:.40}; this charlm reads format {FORMAT}."
        )
    try:
        config = HeadConfig.from_json(info.get("model"))
    except UsageError as error:
        raise CheckpointError(f"{name}: {error}") from None
    labels, temperature = info.get("labels"), info.get("temperature")
    is_label = is_tag if config.kind == "tagger" else _is_label
    if (
        config.kind != info.get("kind")
        or not isinstance(labels, list)
        or len(labels) != config.num_labels
        or not all(type(label) is str and is_label(label) for label in labels)
        or len(set(labels)) != len(labels)
    ):
        raise CheckpointError(f"{name} does not say what the labels of this {config.kind} are.")
    if type(temperature) is not float or not 0.01 <= temperature <= 100:
        raise CheckpointError(f"{name} does not tell a temperature.")
    return config, tuple(labels), temperature


def _is_label(label: str) -> bool:
    return 0 < len(label) <= MOST_CHARACTERS


def _reader(
    path: Path, config: HeadConfig, files: Mapping[str, bytes]
) -> tuple[Tokenizer | None, SpelledWords | None]:
    """What turns text into ids. Raises CheckpointError if it does not fit the shape."""
    if config.kind == "classifier":
        check_parts(path / "tokenizer.json", files.get("tokenizer.json", b""))
        try:
            tokenizer = tokenizer_from_files(files)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        if tokenizer.vocab_size != config.vocab_size:
            raise CheckpointError(
                f"{path}: the tokenizer has {tokenizer.vocab_size} types, the model "
                f"{config.vocab_size}."
            )
        return tokenizer, None
    if "tagger.json" not in files:
        raise CheckpointError(f"{path} has no tagger.json.")
    try:
        words = SpelledWords.from_json(parse_json(path / "tagger.json", files["tagger.json"]))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if (words.vocab_size, words.num_letters) != (config.vocab_size, config.num_letters):
        raise CheckpointError(f"{path}: tagger.json has other words than model.json describes.")
    return None, words
