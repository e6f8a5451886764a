"""A head's step, that of a classifier or tagger: its files beside those of every step.

    tokenizer.json       (and tokenizer.model) of a classifier
    tagger.json          of a tagger: its words and letters

model.json tells its kind, labels and temperature, too.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from charlm.checkpoints import directory
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.step import StepFiles, numbers_in
from charlm.config import RUNS
from charlm.equations.heads import shapes
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError, UsageError
from charlm.network_config import HeadConfig, TaggerConfig, head_config
from charlm.text.conll import is_tag
from charlm.text.labelled import MOST_CHARACTERS
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.word_letters import SpelledWords


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

    @classmethod
    def load(cls, path: Path) -> Self:
        """The head of a step directory, verified against its manifest.

        Raises CheckpointError naming the file that is missing, damaged or not what it should be.
        """
        files = StepFiles(path)
        info = files.info()
        config, labels, temperature = _described(path, info)
        words = _words(files, config) if isinstance(config, TaggerConfig) else None
        return cls(
            path=path,
            step=files.step,
            run_id=files.run_id,
            config=config,
            weights=files.weights(shapes(config)),
            labels=labels,
            temperature=temperature,
            tokenizer=files.tokenizer(config.vocab_size) if words is None else None,
            words=words,
            info=info,
        )

    @classmethod
    def find(cls, model: str | None, kind: str, root: Path = RUNS) -> Self:
        """The head of this kind that a name stands for (``find_head``). Raises CheckpointError."""
        return cls.load(find_head(model, kind, root))

    def load_training(self) -> tuple[dict[str, Any], Arrays]:
        """The counters and arrays that going on needs, from its files. Raises CheckpointError."""
        # The two moments of each weight; what is learned beside labels, and its (nn/neighbours.py).
        neighbours = 3 * 2 * self.config.vocab_size * (self.config.hidden_size + 1)
        numbers = 2 * numbers_in(shapes(self.config)) + neighbours
        return StepFiles(self.path).training(numbers)


def find_head(model: str | None, kind: str, root: Path = RUNS) -> Path:
    """The step directory of a head of this kind, by its name or the newest finished one.

    Raises CheckpointError, for a run of another kind too.
    """
    if model is not None:
        path = directory.find(model, root)
        if (there := directory.kind_of(path)) != kind:
            raise CheckpointError(
                f"{path.parent} is a {there}, not a {kind}. Use it with charlm "
                f"{directory.COMMANDS[there]}."
            )
        return path
    there_are = [path for path in directory.below(root) if directory.kind_of(path) == kind]
    if not there_are:
        raise CheckpointError(
            f"there is no {kind} below {root}/. Train one first, with `task={kind}`."
        )
    finished = (path for path in there_are if directory.is_finished(path))
    return directory.best_step(next(finished, there_are[0]))


def reader_files(reader: Tokenizer | SpelledWords) -> dict[str, bytes]:
    """The files of what turns text into ids."""
    if isinstance(reader, SpelledWords):
        return {"tagger.json": to_json(reader.to_json())}
    return reader.to_files()


def _described(path: Path, info: Mapping[str, Any]) -> tuple[HeadConfig, tuple[str, ...], float]:
    """The shape of a head, its labels and its temperature, as model.json tells them."""
    name = path / "model.json"
    try:
        config = head_config(info.get("model"))
    except UsageError as error:
        raise CheckpointError(f"{name}: {error}") from None
    labels, temperature = info.get("labels"), info.get("temperature")
    is_label = is_tag if isinstance(config, TaggerConfig) else _is_label
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


def _words(files: StepFiles, config: TaggerConfig) -> SpelledWords:
    """A tagger's words and letters. Raises CheckpointError if they do not fit the shape."""
    described = files.json("tagger.json")
    try:
        words = SpelledWords.from_json(described)
    except CheckpointError as error:
        raise CheckpointError(f"{files.path}: {error}") from None
    if (words.vocab_size, words.num_letters) != (config.vocab_size, config.num_letters):
        raise CheckpointError(
            f"{files.path}: tagger.json has other words than model.json describes."
        )
    return words
