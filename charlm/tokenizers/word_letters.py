"""Words as a tagger reads them: each as a type, and as the letters it is spelled with.

The words come cut; a type is a word in lower case with 0 for every digit, since what is lost by
that the letters still tell. A word that is no type is <UNK>, and its letters say what it is like.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

from charlm.errors import CheckpointError
from charlm.tokenizers.vocabulary import Vocabulary

MOST_LETTERS = 48  # of a word that are read: those of a longer one at its beginning and its end
_DIGIT = re.compile(r"\d")


class SpelledWords:
    """Words and letters <-> ids. Id 0 is <UNK> in both; id 1, <EOS> elsewhere, comes in neither."""

    def __init__(self, *, words: Vocabulary, letters: Vocabulary) -> None:
        self._words, self._letters = words, letters

    @classmethod
    def train(cls, words: Iterable[str], *, vocab_size: int | None, min_count: int) -> Self:
        """The types of running words, and all letters in them that occur twice.

        vocab_size counts the two specials (None is off). Raises TextError if there are none.
        """
        counts = Counter(words)
        types: Counter[str] = Counter()
        letters: Counter[str] = Counter()
        for word, count in counts.items():
            types[_type(word)] += count
            for letter in word:
                letters[letter] += count
        least = min(min_count, max(types.values(), default=1))
        return cls(
            words=Vocabulary.from_counts(types, vocab_size=vocab_size, min_count=least),
            letters=Vocabulary.from_counts(
                letters, vocab_size=None, min_count=min(2, max(letters.values(), default=1))
            ),
        )

    @property
    def vocab_size(self) -> int:
        """Number of ids of words, the specials among them."""
        return len(self._words)

    @property
    def num_letters(self) -> int:
        """Number of ids of letters, the specials among them."""
        return len(self._letters)

    def word(self, word: str) -> int:
        """The id of a word."""
        return self._words.id_of(_type(word))

    def spelled(self, word: str) -> list[int]:
        """The ids of the letters of a word, at most MOST_LETTERS and at least one."""
        half = MOST_LETTERS // 2
        letters = word if len(word) <= MOST_LETTERS else word[:half] + word[-half:]
        return [self._letters.id_of(letter) for letter in letters] or [0]

    def to_json(self) -> dict[str, Any]:
        """Both vocabularies."""
        return {"words": self._words.to_json(), "letters": self._letters.to_json()}

    @classmethod
    def from_json(cls, values: object) -> Self:
        """What ``to_json`` wrote. Raises CheckpointError for anything else."""
        if not isinstance(values, dict) or values.keys() != {"words", "letters"}:
            raise CheckpointError("the words of a tagger and their letters are not described.")
        try:
            parts = {name: Vocabulary.from_json(values[name]) for name in ("words", "letters")}
        except CheckpointError:
            raise CheckpointError("a tagger's words or letters are not distinct texts.") from None
        return cls(**parts)


@functools.lru_cache(maxsize=2**16)
def _type(word: str) -> str:
    return _DIGIT.sub("0", word.lower())
