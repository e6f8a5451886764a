"""What <UNK> stands for: log P(spelling given <UNK>), so that every string has a probability.

(Its own, unless the tokenizer does not tell it from others: ``Tokenizer.ignores``.)

A model gives <UNK> a probability as it gives one to any type, learned from the types that were
left out of its vocabulary. Here that probability is shared out over all that <UNK> can be. At
character level those are the Unicode scalar values that are not in the vocabulary, all alike. At
word level a speller, a small character model of rare words, gives each spelling its share, and
what it would give to words of the vocabulary is taken from it and shared over the rest, so
nothing is counted twice; samples can draw new words from it. Where a text that is cut already says
``<unk>``, it leaves open which word that is: the probability is that of <UNK>, whole. At subword
level bytes spell everything and <UNK> never comes.
"""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from charlm.config import SamplingConfig
from charlm.counts import ngram
from charlm.engines.counted.engine import CountsEngine
from charlm.engines.numpy_lm import NumpyEngine
from charlm.equations import language_model
from charlm.errors import CheckpointError, UsageError
from charlm.inference.drawing.draw import draw, num_stages
from charlm.network_config import ClozeConfig, CountsConfig, TextConfig, language_config
from charlm.tokenizers.base import NUM_SPECIALS, UNK_TEXT, Tokenizer
from charlm.tokenizers.character import CharacterTokenizer
from charlm.tokenizers.normalizing import plain
from charlm.tokenizers.word import WordTokenizer
from charlm.tokenizers.word_chunks import UNKNOWN_WORD

NUM_SCALARS = 0x110000 - 0x800  # code points without the surrogates
_REMEMBERED = 100_000  # spellings
_MOST_ATTEMPTS = 50  # at a spelling that is no known word
_MOST_CHARACTERS = 100
_NO_SPELLING = f"0{UNK_TEXT}"
_NEVER = -1e9  # a logarithm that is 0 at every temperature; -inf has no differences


class Unknown(Protocol):
    """Shares the probability of <UNK> over what it can stand for."""

    def log_probs(self, unknown: Sequence[str]) -> NDArray[np.float64]:
        """log P(it given <UNK>) (M,) in nats of each of ``Tokenizer.unknown(text)``."""

    def log_prob_begins(self, beginnings: Sequence[str], known: Sequence[str]) -> float:
        """log P that what <UNK> stands for has one of some beginnings, none that of another.

        ``known`` are the types of the vocabulary that have one: <UNK> stands for none of them.
        """

    def forget(self) -> None:
        """Forget what came before, if anything was remembered: rounding differs with it."""


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

    def forget(self) -> None:
        """Nothing is remembered."""

    def log_prob_begins(self, beginnings: Sequence[str], known: Sequence[str]) -> float:
        """A character has no beginning but itself."""
        del known
        return self.log_share + math.log(len(beginnings)) if beginnings else -math.inf


class NothingUnknown:
    """Subword level: bytes spell everything."""

    def log_probs(self, unknown: Sequence[str]) -> NDArray[np.float64]:
        """Of nothing, nothing."""
        if unknown:
            raise UsageError("at subword level nothing is unknown.")
        return np.empty(0)

    def forget(self) -> None:
        """Nothing is remembered."""

    def log_prob_begins(self, beginnings: Sequence[str], known: Sequence[str]) -> float:
        """Nothing begins so."""
        del beginnings, known
        return -math.inf


class Begun(NamedTuple):
    """A beginning of spellings: its log P, log P (V,) of the character after it, and the state."""

    log_prob: float
    following: NDArray[np.float64]
    state: Any


class Speller:
    """A character model of types, the joining flag in front, <EOS> behind.

    log_known is the logarithm of the probability that it gives, in all, to the types of the word
    model's vocabulary: they are never what <UNK> stands for.
    """

    def __init__(
        self,
        *,
        config: TextConfig,
        weights: Mapping[str, NDArray[Any]],
        tokenizer: CharacterTokenizer,
        log_known: float,
    ) -> None:
        self.config = config
        self.weights = weights
        self.tokenizer = tokenizer
        self.log_known = log_known
        self._log_room = math.log1p(-math.exp(log_known))
        self._characters = UnknownCharacters(tokenizer)
        self._memory: dict[str, float] = {}

    @functools.cached_property
    def engine(self) -> NumpyEngine | CountsEngine:
        """What runs the character model."""
        if isinstance(self.config, CountsConfig):
            counts = ngram.from_arrays(self.config.vocab_size, self.weights)
            return CountsEngine(self.config, counts)
        return NumpyEngine(self.config, self.weights)

    @functools.cached_property
    def _reference(self) -> language_model.ModelWeights:
        assert isinstance(self.engine, NumpyEngine)
        return self.engine.reference()

    def _read(self, inputs: NDArray[np.int64], state: Any) -> tuple[NDArray[np.float64], Any]:
        """log P (B, V) in double precision of what comes after inputs (B,), and the new state."""
        if isinstance(self.engine, CountsEngine):
            return self.engine.exact_step(inputs, state)
        cell, weights = self.engine.config.cell, self._reference
        top, state = language_model.hidden(cell, weights, inputs[:, None], state)
        return language_model.predict(weights, top[:, -1]).astype(np.float64, copy=False), state

    def _select(self, state: Any, rows: NDArray[np.int64]) -> Any:
        """A state of these rows."""
        if isinstance(self.engine, CountsEngine):
            return self.engine.select(state, rows)
        return tuple(tuple(array[rows] for array in layer) for layer in state)

    def log_probs(self, unknown: Sequence[str]) -> NDArray[np.float64]:
        """log P (M,) of types that are not in the vocabulary, given that it is one of those."""
        new = list(dict.fromkeys(kind for kind in unknown if kind not in self._memory))
        if len(self._memory) + len(new) > _REMEMBERED:
            self._memory.clear()
            new = list(dict.fromkeys(unknown))
        self._memory.update(zip(new, self.spelled(new).tolist(), strict=True))
        return np.array([self._memory[kind] for kind in unknown]) - self._log_room

    def forget(self) -> None:
        """Forget the types that were spelled."""
        self._memory.clear()

    def spelled(self, types: Sequence[str]) -> NDArray[np.float64]:
        """log P (M,) that the speller gives to types, known or not."""
        if not types:
            return np.empty(0)
        eos = np.array([self.tokenizer.eos_id], dtype=np.int32)
        ids = [np.concatenate((self.tokenizer.encode(kind), eos)) for kind in types]
        log_probs, _ = self.engine.token_log_probs(ids)
        share = self._characters.log_share
        log_probs = np.where(np.concatenate(ids) == self.tokenizer.unk_id, share, 0.0) + log_probs
        starts = np.cumsum([0, *map(len, ids[:-1])])
        return np.add.reduceat(log_probs, starts)

    def log_prob_begins(self, beginnings: Sequence[str], known: Sequence[str]) -> float:
        """Of the spellings, as a character model gives it, less what known types have of that."""
        ids = [self.tokenizer.encode(one) for one in beginnings]
        share = self._characters.log_share
        begun = [
            self.engine.read_on(one)[0].sum() + share * (one == self.tokenizer.unk_id).sum()
            for one in ids
        ]
        left = float(np.exp(begun).sum() - np.exp(self.spelled(known)).sum())
        return math.log(left) - self._log_room if left > 0 else -math.inf

    def begun(self) -> "Begun":
        """Where every spelling begins."""
        return Begun(0.0, *self._read_one(self.config.vocab_size, None))

    def after(self, begun: "Begun", character: str) -> "Begun":
        """The same with one character more."""
        (token,) = self.tokenizer.encode(character).tolist()
        share = self._characters.log_share if token == self.tokenizer.unk_id else 0.0
        log_prob = begun.log_prob + float(begun.following[token]) + share
        return Begun(log_prob, *self._read_one(token, begun.state))

    def _read_one(self, token: int, state: Any) -> tuple[NDArray[np.float64], Any]:
        row, state = self._read(np.array([token], dtype=np.int64), state)
        return row[0], state

    def draw(
        self,
        streams: Sequence[Callable[[], float]],
        config: SamplingConfig,
        fits: Callable[[str], bool],
    ) -> list[str]:
        """A new type for each stream of uniform numbers, a function of that stream alone.

        ``fits`` tells the types that <UNK> can be (``Tokenizer.is_unknown``). Characters are
        drawn as tokens are, unknown ones left out, and the whole again while it does not fit: so,
        at temperature 1, the types that fit come in proportion to their probability. After 50
        attempts, and at temperature 0, a type ends only where it fits; if it has not ended after
        100 characters then, it is U+FFFD, as <UNK> is where nothing spells it.
        """
        drawn = [_NO_SPELLING] * len(streams)
        waiting = list(range(len(streams)))
        free = _MOST_ATTEMPTS if config.temperature else 0
        for may_end in (*[None] * free, fits):
            if not waiting:
                break
            kinds = self._draw([streams[i] for i in waiting], config, may_end)
            found = {i: kind for i, kind in zip(waiting, kinds, strict=True) if fits(kind)}
            for i, kind in found.items():
                drawn[i] = kind
            waiting = [i for i in waiting if i not in found]
        return drawn

    def _draw(
        self,
        streams: Sequence[Callable[[], float]],
        config: SamplingConfig,
        may_end: Callable[[str], bool] | None,
    ) -> list[str]:
        """A string for each stream, empty if it came to no end.

        With ``may_end`` there is an end only where it allows one. In double precision, so that
        what else is drawn beside it makes no difference.
        """
        eos = self.tokenizer.eos_id
        drawn, texts = [""] * len(streams), [""] * len(streams)
        rows = np.arange(len(streams))  # those that go on
        inputs, state = np.full(len(rows), self.config.vocab_size), None
        for _ in range(_MOST_CHARACTERS + 1):
            log_probs, state = self._read(inputs, state)  # (B, V)
            if may_end is not None:
                log_probs[[not may_end(texts[row]) for row in rows.tolist()], eos] = _NEVER
            stages = range(num_stages(log_probs.shape[1]))
            uniform = np.array([[streams[row]() for _ in stages] for row in rows.tolist()])
            inputs = draw(log_probs, uniform, config, self.tokenizer.unk_id).ids
            for row, token in zip(rows.tolist(), inputs.tolist(), strict=True):
                if token == eos:
                    drawn[row] = texts[row]
                texts[row] += self.tokenizer.decode([token])
            kept = np.flatnonzero(inputs != eos)
            if not len(kept):
                break
            rows, inputs = rows[kept], inputs[kept]
            state = self._select(state, kept)
        return drawn

    def to_json(self) -> dict[str, Any]:
        """What speller.json holds; the weights are in speller.safetensors."""
        header = json.loads(self.tokenizer.to_files()["tokenizer.json"])
        return {
            "model": self.config.to_json(),
            "characters": header["types"],
            "log_known_nats": self.log_known,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], weights: Mapping[str, NDArray[Any]]) -> Self:
        """The speller that to_json described. Raises CheckpointError for anything else."""
        log_known = values.get("log_known_nats")
        if type(log_known) is not float or not log_known < 0:
            raise CheckpointError("speller.json does not say what the known words weigh.")
        try:
            config = language_config(values.get("model"))
        except UsageError as error:
            raise CheckpointError(f"speller.json: {error}") from None
        if isinstance(config, ClozeConfig):
            raise CheckpointError("speller.json describes no model that reads from left to right.")
        tokenizer = CharacterTokenizer.from_fields({"types": values.get("characters")})
        if tokenizer.vocab_size != config.vocab_size:
            raise CheckpointError(
                "speller.json: the model has not as many types as there are characters."
            )
        return cls(config=config, weights=weights, tokenizer=tokenizer, log_known=log_known)


class NamedOrSpelled:
    """Of words cut already: ``<unk>`` names them all and spells none, others are spelled."""

    def __init__(self, speller: Speller) -> None:
        self.speller = speller

    def log_probs(self, unknown: Sequence[str]) -> NDArray[np.float64]:
        """0 for the name, the speller's log P for each other."""
        is_spelled = np.array([kind != UNKNOWN_WORD for kind in unknown], dtype=bool)
        found = np.zeros(len(unknown))
        spelled = [kind for kind in unknown if kind != UNKNOWN_WORD]
        found[is_spelled] = self.speller.log_probs(spelled)
        return found

    def forget(self) -> None:
        """Forget the types that were spelled."""
        self.speller.forget()

    def log_prob_begins(self, beginnings: Sequence[str], known: Sequence[str]) -> float:
        """0 if the name begins so, else the speller's."""
        if UNKNOWN_WORD.startswith(tuple(beginnings)):
            return 0.0
        return self.speller.log_prob_begins(beginnings, known)


def unknown_of(tokenizer: Tokenizer, speller: Speller | None) -> Unknown | None:
    """What <UNK> stands for in a model; None if it has no speller and would need one."""
    if tokenizer.level == "char":
        return UnknownCharacters(tokenizer)
    if tokenizer.level == "subword":
        return NothingUnknown()
    words = plain(tokenizer)
    if speller is not None and isinstance(words, WordTokenizer) and words.pretokenized:
        return NamedOrSpelled(speller)
    return speller


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"
