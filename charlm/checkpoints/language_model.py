"""A language model's step: which files it has beside those of every step, and what they mean.

tokenizer.json   (and tokenizer.model of a subword model)
speller.json, speller.safetensors   of a word model: what <UNK> can be
partner.json, ngram.safetensors   what the network is mixed with, where it is
adaptive.json, adaptive.safetensors   what goes on learning, where it does
counts.safetensors   of a model of counts alone, which has no model.safetensors
labels.json      of a conditional model: its labels, how many sequences had each
known.safetensors      hashes of the training sequences
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints import directory
from charlm.checkpoints.step import StepFiles, numbers_in
from charlm.checkpoints.tensors import arrays_to_bytes, check_arrays
from charlm.config import HEADS, OTHERS, RUNS, SPLITS
from charlm.counts import backoff, ngram
from charlm.counts.adaptive import Adaptive
from charlm.counts.backoff import BackOff
from charlm.counts.contexts import letters_of
from charlm.counts.interpolation import Partner
from charlm.counts.ngram import NGram
from charlm.equations.parameters import Arrays, shapes
from charlm.errors import CheckpointError, UsageError
from charlm.inference.labels import Labels
from charlm.inference.unknown import Speller
from charlm.network_config import CausalConfig, CountsConfig, LanguageConfig, language_config
from charlm.tokenizers.base import Tokenizer

_NO_TRAINING = "there is nothing to go on with. Train a new one."
_MOST_ROWS = 65_536  # that are read side by side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model ready for use, with its tokenizer and what is known of its training.

    run_id is that of the run.json beside it when it was saved, None where that had none.
    """

    path: Path
    step: int
    run_id: str | None
    config: LanguageConfig | CountsConfig
    weights: Arrays
    counts: BackOff | None = None
    tokenizer: Tokenizer
    speller: Speller | None
    partner: Partner | None
    labels: Labels | None
    split_on: str
    known: NDArray[np.uint64] | None
    info: dict[str, Any]
    adaptive: Adaptive | None = None

    @property
    def num_parameters(self) -> int:
        """How many numbers were learned; of a model of counts alone, how many n-grams it has."""
        if self.counts is not None:
            return self.counts.num_ngrams
        return sum(array.size for array in self.weights.values())

    @classmethod
    def load(cls, path: Path) -> Self:
        """The model of a step directory, verified against its manifest.

        Raises CheckpointError naming the file that is missing, damaged or not what it should be.
        """
        files = StepFiles(path)
        info = files.info()
        config, split_on = _described(path, info)
        is_counted = isinstance(config, CountsConfig)
        expected = {} if isinstance(config, CountsConfig) else shapes(config)
        if not is_counted:
            files.check_size(expected)  # before anything that could take long
        tokenizer = files.tokenizer(config.vocab_size)
        partner = _partner(files, config.vocab_size)
        return cls(
            path=path,
            step=info["step"],
            run_id=files.run_id,
            config=config,
            tokenizer=tokenizer,
            speller=load_speller(files),
            partner=partner,
            adaptive=_adaptive(files, tokenizer, partner),
            labels=_labels(files, config),
            split_on=split_on,
            weights={} if is_counted else files.weights(expected),
            counts=_counts(files, config) if isinstance(config, CountsConfig) else None,
            known=_known(files),
            info=info,
        )

    @classmethod
    def find(cls, model: str | None, root: Path = RUNS) -> Self:
        """The model that a name stands for (``directory.find``), even while its run is trained.

        A step that is replaced by a newer one between being found and being read is no error: the
        newer one is taken. Raises CheckpointError.
        """
        for _ in range(directory.MOST_TRIES):
            path = directory.find(model, root)
            before = _identity(path)
            try:
                return cls.load(path)
            except CheckpointError:
                if before is not None and before == _identity(path):
                    raise
        return cls.load(directory.find(model, root))

    def load_training(self) -> tuple[dict[str, Any], Arrays]:
        """The counters and arrays that going on needs, from its files. Raises CheckpointError."""
        if isinstance(self.config, CountsConfig):
            raise CheckpointError(f"{self.path.parent} is a model of counts alone: {_NO_TRAINING}")
        # The weights' two moments and their average, and the state that is carried.
        carried = 2 * self.config.num_layers * self.config.hidden_size * _MOST_ROWS
        return StepFiles(self.path).training(3 * numbers_in(shapes(self.config)) + carried)


def known_to_bytes(known: NDArray[np.uint64]) -> bytes:
    """The file of the training sequences' hashes."""
    return arrays_to_bytes({"sequence_hashes": known})


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a directory from another of its name; None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _described(path: Path, info: Mapping[str, Any]) -> tuple[LanguageConfig | CountsConfig, str]:
    """The shape of a model, and what its sequences are, as model.json tells them."""
    if (kind := info.get("kind")) in OTHERS:
        tells = "labels" if kind in HEADS else "targets of sources"
        raise CheckpointError(
            f"{path.parent} is a {kind}, no language model: it tells {tells}, not the "
            f"probability of text. Use it with charlm {directory.COMMANDS[kind]}."
        )
    name = path / "model.json"
    try:
        config = language_config(info.get("model"))
    except UsageError as error:
        raise CheckpointError(f"{name}: {error}") from None
    if info.get("split_on") not in SPLITS:
        raise CheckpointError(f"{name} does not say how text was split.")
    return config, info["split_on"]


class HasFiles(Protocol):
    """Files of a directory, each compared with its manifest when it is read: a step's, say."""

    @property
    def path(self) -> Path:
        """The directory."""

    def __contains__(self, name: str) -> bool: ...

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object of a file."""

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays of a file."""


def load_speller(files: HasFiles) -> Speller | None:
    """How the words that a word model does not know are spelled."""
    if "speller.json" not in files:
        return None
    name = "speller.safetensors"
    described, arrays = files.json("speller.json"), files.arrays(name)
    try:
        speller = Speller.from_json(described, arrays)
    except CheckpointError as error:
        raise CheckpointError(f"{files.path / 'speller.json'}: {error}") from None
    if isinstance(speller.config, CausalConfig):
        check_arrays(files.path / name, speller.weights, shapes(speller.config))
    return speller


def load_counts(vocab_size: int, arrays: Mapping[str, NDArray[Any]]) -> BackOff:
    """A model of counts from its arrays, whichever way it was made. Raises CheckpointError."""
    read = backoff.from_arrays if "own.1" in arrays else ngram.from_arrays
    return read(vocab_size, arrays)


def counts_to_bytes(model: BackOff) -> bytes:
    """The file of a model of counts."""
    if isinstance(model, NGram):
        return arrays_to_bytes(ngram.to_arrays(model))
    return arrays_to_bytes(backoff.to_arrays(model))


def _counts(files: StepFiles, config: CountsConfig) -> BackOff:
    """The n-grams of a model that has no network."""
    name = "counts.safetensors"
    try:
        counts = load_counts(config.vocab_size, files.arrays(name))
    except CheckpointError as error:
        raise CheckpointError(f"{files.path / name}: {error}") from None
    if (counts.order, counts.num_ngrams) != (config.order, config.num_ngrams):
        raise CheckpointError(f"{files.path / name} does not hold what model.json describes.")
    return counts


def _partner(files: StepFiles, vocab_size: int) -> Partner | None:
    """What a network is mixed with, if anything."""
    if "partner.json" not in files:
        return None
    name = "ngram.safetensors"
    arrays: Mapping[str, NDArray[Any]] = files.arrays(name) if name in files else {}
    described = files.json("partner.json")
    try:
        return Partner.from_json(described, arrays, vocab_size)
    except CheckpointError as error:
        raise CheckpointError(f"{files.path}: {error}") from None


def _adaptive(files: StepFiles, tokenizer: Tokenizer, partner: Partner | None) -> Adaptive | None:
    """What goes on learning, if anything."""
    name = "adaptive.json"
    if name not in files:
        return None
    if partner is None or partner.ngram is None:
        raise CheckpointError(f"{files.path / name} needs n-grams, and there are none.")
    arrays = files.arrays("adaptive.safetensors")
    pieces = tokenizer.pieces(np.arange(tokenizer.vocab_size))
    try:
        return Adaptive.from_json(
            files.json(name),
            arrays,
            level=tokenizer.level,
            letters=letters_of(tokenizer.level, pieces),
            partner=partner,
            eos=tokenizer.eos_id,
        )
    except CheckpointError as error:
        raise CheckpointError(f"{files.path}: {error}") from None


def _labels(files: StepFiles, config: LanguageConfig | CountsConfig) -> Labels | None:
    """The labels of a conditional model."""
    name = files.path / "labels.json"
    number = config.num_labels if isinstance(config, CausalConfig) else 0
    if not number:
        if name.name in files:
            raise CheckpointError(f"{name} holds labels, and model.json describes none.")
        return None
    values = files.json(name.name)
    try:
        labels = Labels.from_json(values)
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None
    if len(labels.names) != number:
        raise CheckpointError(
            f"{name} holds {len(labels.names)} labels, model.json describes {number}."
        )
    return labels


def _known(files: StepFiles) -> NDArray[np.uint64] | None:
    """Hashes of the training sequences."""
    name = "known.safetensors"
    if name not in files:
        return None
    known = files.arrays(name).get("sequence_hashes")
    if known is None or known.dtype != np.uint64 or known.ndim != 1:
        raise CheckpointError(
            f"{files.path / name} does not hold the hashes of training sequences."
        )
    return known
