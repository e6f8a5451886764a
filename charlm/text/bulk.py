"""Many texts to ids at once: what a corpus of gigabytes is cut with.

The ids are those of Tokenizer.encode, text by text.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.character import CharacterTokenizer
from charlm.tokenizers.ids import IdArray
from charlm.tokenizers.normalizing import plain
from charlm.tokenizers.word import WordTokenizer


class Encoder:
    """Texts to ids by a tokenizer, with a bounded memory of what it has cut."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._plain = plain(tokenizer)
        self._words = self._plain.bulk() if isinstance(self._plain, WordTokenizer) else None

    def normalised(self, texts: Sequence[str]) -> Sequence[str]:
        """Each text as far as the tokens keep it."""
        if self._tokenizer.ignores or self._tokenizer.level == "subword":
            return list(map(self._tokenizer.normalise, texts))
        return texts  # words and characters keep all of it

    def encode(self, texts: Sequence[str]) -> tuple[IdArray, NDArray[np.int64]]:
        """The ids (N,) of normalised texts, one after another, and how many each (S,) has."""
        if self._words is not None:
            return self._words.encode(texts)
        if isinstance(self._plain, CharacterTokenizer):
            sizes = np.fromiter(map(len, texts), np.int64, len(texts))
            return self._plain.encode("".join(texts)), sizes
        each = list(map(self._plain.encode, texts))
        sizes = np.fromiter(map(len, each), np.int64, len(each))
        return np.concatenate([np.empty(0, np.int32), *each]), sizes

    def closed(self, texts: Sequence[str]) -> IdArray:
        """The ids (N,) of normalised texts, each closed by <EOS>."""
        ids, sizes = self.encode(texts)
        return np.insert(ids, np.cumsum(sizes), np.int32(self._tokenizer.eos_id))
