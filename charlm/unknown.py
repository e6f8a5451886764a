"""What <UNK> stands for: log P(spelling given <UNK>), so that every string has a probability.

A model gives <UNK> a probability as it gives one to any type, learned from the types that were
left out of its vocabulary. Here that probability is shared out over all that <UNK> can be. At
character level those are the Unicode scalar values that are not in the vocabulary, all alike. At
word level a speller, a small character model of rare words, gives each spelling its share, and
what it would give to words of the vocabulary is taken from it and shared over the rest, so
nothing is counted twice. At subword level bytes spell everything and <UNK> never comes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from charlm.config import ModelConfig
from charlm.errors import CheckpointError, UsageError
from charlm.numpy_engine import NumpyEngine
from charlm.tokenizers.base import NUM_SPECIALS, Tokenizer
from charlm.tokenizers.character import CharacterTokenizer
from charlm.weights import Arrays

NUM_SCALARS = 0x110000 - 0x800  # code points without the surrogates
_REMEMBERED = 100_000  # spellings


class Unknown(Protocol):
    """Shares the probability of <UNK> over what it can stand for."""

    def log_probs(self, unknown: Sequence[str]) -> NDArray[np.float64]:
        """log P(it given <UNK>) (M,) in nats of each of ``Tokenizer.unknown(text)``."""


class UnknownCharacters:
    """Every scalar value that is not among the known characters is as likely as the next."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        known = tokenizer.decode(range(NUM_SPECIALS, tokenizer.vocab_size))
        num_known = sum(not _is_surrogate(character) for character in known)
        # With all of Unicode in the vocabulary nothing would be left to share it.
        self.log_share = -math.log(max(1, NUM_SCALARS - num_known))

    def log_probs(self, unknown: Sequence[str]) -> NDArray[np.float64]:
        """The same share for each. A lone surrogate, which is no text, counts as U+FFFD."""
        return np.full(len(unknown), self.log_share)


class NothingUnknown:
    """Subword level: bytes spell everything."""

    def log_probs(self, unknown: Sequence[str]) -> NDArray[np.float64]:
        """Of nothing, nothing."""
        if unknown:
            raise UsageError("at subword level nothing is unknown.")
        return np.empty(0)


class Speller:
    """A character model of types, the joining flag in front, <EOS> behind.

    log_known is the logarithm of the probability that it gives, in all, to the types of the word
    model's vocabulary: they are never what <UNK> stands for.
    """

    def __init__(
        self,
        *,
        config: ModelConfig,
        weights: Arrays,
        tokenizer: CharacterTokenizer,
        log_known: float,
    ) -> None:
        self.config = config
        self.weights = weights
        self.tokenizer = tokenizer
        self.log_known = log_known
        self._log_room = math.log1p(-math.exp(log_known))
        self._characters = UnknownCharacters(tokenizer)
        self._engine: NumpyEngine | None = None
        self._memory: dict[str, float] = {}

    def log_probs(self, unknown: Sequence[str]) -> NDArray[np.float64]:
        """log P (M,) of types that are not in the vocabulary, given that it is one of those."""
        new = list(dict.fromkeys(kind for kind in unknown if kind not in self._memory))
        if len(self._memory) + len(new) > _REMEMBERED:
            self._memory.clear()
            new = list(dict.fromkeys(unknown))
        self._memory.update(zip(new, self.spelled(new).tolist(), strict=True))
        return np.array([self._memory[kind] for kind in unknown]) - self._log_room

    def spelled(self, types: Sequence[str]) -> NDArray[np.float64]:
        """log P (M,) that the speller gives to types, known or not."""
        if not types:
            return np.empty(0)
        eos = np.array([self.tokenizer.eos_id], dtype=np.int32)
        ids = [np.concatenate((self.tokenizer.encode(kind), eos)) for kind in types]
        if self._engine is None:
            self._engine = NumpyEngine(self.config, self.weights)
        log_probs, _ = self._engine.token_log_probs(ids)
        share = self._characters.log_share
        log_probs = np.where(np.concatenate(ids) == self.tokenizer.unk_id, share, 0.0) + log_probs
        starts = np.cumsum([0, *map(len, ids[:-1])])
        return np.add.reduceat(log_probs, starts)

    def to_json(self) -> dict[str, Any]:
        """What speller.json holds; the weights are in speller.safetensors."""
        header = json.loads(self.tokenizer.to_files()["tokenizer.json"])
        return {
            "model": self.config.to_json(),
            "characters": header["types"],
            "log_known_nats": self.log_known,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], weights: Arrays) -> Self:
        """The speller that to_json described. Raises CheckpointError for anything else."""
        log_known = values.get("log_known_nats")
        if type(log_known) is not float or not log_known < 0:
            raise CheckpointError("speller.json does not say what the known words weigh.")
        try:
            config = ModelConfig.from_json(values.get("model"))
        except UsageError as error:
            raise CheckpointError(f"speller.json: {error}") from None
        tokenizer = CharacterTokenizer.from_fields({"types": values.get("characters")})
        if tokenizer.vocab_size != config.vocab_size:
            raise CheckpointError(
                "speller.json: the model has not as many types as there are characters."
            )
        return cls(config=config, weights=weights, tokenizer=tokenizer, log_known=log_known)


def unknown_of(tokenizer: Tokenizer, speller: Speller | None) -> Unknown | None:
    """What <UNK> stands for in a model; None if it has no speller and would need one."""
    if tokenizer.level == "char":
        return UnknownCharacters(tokenizer)
    if tokenizer.level == "subword":
        return NothingUnknown()
    return speller


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"
