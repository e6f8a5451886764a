"""A model of words that is mixed with one of characters, character by character."""

import functools
from collections.abc import Sequence
from typing import Self

from charlm.engines.protocol import Engine
from charlm.errors import UsageError
from charlm.inference.lettered.engine import LetteredEngine
from charlm.inference.lettered.reading import Letters
from charlm.inference.unknown import Speller, unknown_of
from charlm.models.base import TokenDistribution
from charlm.models.engine_choice import EngineChoice
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.character import CharacterTokenizer
from charlm.tokenizers.word import WordTokenizer


class LetteredModel(TokenDistribution):
    """P(character given those before it) by a model of words (inference/lettered/).

    Raises UsageError for models that are not of words and characters, that know words which were
    cut already, or that cannot spell what they do not know.
    """

    def __init__(self, model: TokenDistribution, characters: Tokenizer) -> None:
        self.checkpoint, self._model = model.checkpoint, model
        self._characters = characters
        if not isinstance(characters, CharacterTokenizer):
            raise UsageError("a model of words is read by the characters of a plain model of them.")
        words = model.tokenizer
        if not isinstance(words, WordTokenizer):
            raise UsageError(
                f"{model.name} is not a plain model of words or characters: leave it out, or mix "
                "whole texts."
            )
        if words.lowercase or words.pretokenized:
            raise UsageError(
                f"{model.name} does not tell all characters apart (lowercase, pretokenized): mix "
                "models that do."
            )
        if not isinstance(model.unknown, Speller):
            raise UsageError(
                f"{model.name} cannot spell what it does not know, so it cannot be mixed with a "
                "model of characters. Train it anew."
            )
        self.unknown = unknown_of(characters, None)
        self.engines = LetteredEngines(model.engines, words, model.unknown, characters)

    @property
    def tokenizer(self) -> Tokenizer:
        """That of the characters."""
        return self._characters

    def forget(self) -> None:
        """Forget what words were spelled."""
        self._model.forget()

    def tuned(self, texts: Sequence[str]) -> Self:
        """The same with what is mixed in the model of words fitted to texts."""
        return type(self)(self._model.tuned(texts), self._characters)


class LetteredEngines(EngineChoice[Engine]):
    """What runs a model of words, by characters."""

    def __init__(
        self,
        words: EngineChoice[Engine],
        tokenizer: WordTokenizer,
        speller: Speller,
        characters: CharacterTokenizer,
    ) -> None:
        super().__init__()
        self._words = words
        self._given = (tokenizer, speller, characters)

    @functools.cached_property
    def _letters(self) -> Letters:
        return Letters(*self._given)

    def is_small(self, tokens: int, prompt: str = "") -> bool:
        """Whether such a job is done without torch as soon as with: words are stepped alone."""
        return self._words.is_small(tokens, prompt)

    def make(self, kind: str) -> Engine:
        """The words by their engine of this kind."""
        return LetteredEngine(self._words.of(kind), self._letters)
