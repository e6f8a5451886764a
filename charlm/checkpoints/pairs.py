"""A step of an encoder and decoder: its files beside those of every step.

tokenizer.json          (and tokenizer.model) of the targets
source_tokenizer.json   (and source_tokenizer.model) of the sources
partner.json, ngram.safetensors    the joint n-grams that the network is mixed with, where it is
"""

import dataclasses
from pathlib import Path
from typing import Any, Self

from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.step import StepFiles, numbers_in
from charlm.checkpoints.tensors import arrays_to_bytes
from charlm.counts.pair_partner import PairPartner
from charlm.equations.pairs import shapes
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError, UsageError
from charlm.network_config import PairsConfig
from charlm.tokenizers.base import Tokenizer

SOURCE = "source_"  # in front of the names of files


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairsCheckpoint:
    """An encoder and decoder ready for use, with a tokenizer for each side."""

    path: Path
    step: int
    run_id: str | None
    config: PairsConfig
    weights: Arrays
    source_tokenizer: Tokenizer
    tokenizer: Tokenizer
    partner: PairPartner | None
    info: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> Self:
        """The model of a step directory, verified against its manifest.

        Raises CheckpointError naming the file that is missing, damaged or not what it should be.
        """
        files = StepFiles(path)
        info = files.info()
        try:
            config = PairsConfig.from_json(info.get("model"))
        except UsageError as error:
            raise CheckpointError(f"{path / 'model.json'}: {error}") from None
        return cls(
            path=path,
            step=files.step,
            run_id=files.run_id,
            config=config,
            weights=files.weights(shapes(config)),
            source_tokenizer=files.tokenizer(config.source_vocab_size, SOURCE),
            tokenizer=files.tokenizer(config.vocab_size),
            partner=_partner(files, config),
            info=info,
        )

    def load_training(self) -> tuple[dict[str, Any], Arrays]:
        """The counters and arrays that going on needs, from its files. Raises CheckpointError."""
        return StepFiles(self.path).training(2 * numbers_in(shapes(self.config)))


def tokenizer_files(source: Tokenizer, target: Tokenizer) -> dict[str, bytes]:
    """The files of both tokenizers."""
    of_source = {f"{SOURCE}{name}": data for name, data in source.to_files().items()}
    return {**target.to_files(), **of_source}


def partner_files(partner: PairPartner) -> dict[str, bytes]:
    """The files of joint n-grams."""
    return {
        "partner.json": to_json(partner.to_json()),
        "ngram.safetensors": arrays_to_bytes(partner.joint.to_arrays()),
    }


def _partner(files: StepFiles, config: PairsConfig) -> PairPartner | None:
    """What a network is mixed with, if anything."""
    if "partner.json" not in files:
        return None
    described, arrays = files.json("partner.json"), files.arrays("ngram.safetensors")
    sizes = config.source_vocab_size, config.vocab_size
    try:
        return PairPartner.from_json(described, arrays, *sizes)
    except CheckpointError as error:
        raise CheckpointError(f"{files.path}: {error}") from None
