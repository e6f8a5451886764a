"""Which characters of a vocabulary are letters of words, and which of them are one letter."""

import numpy as np
from numpy.typing import NDArray

from charlm.tokenizers.base import NUM_SPECIALS, Tokenizer

_WITHIN_WORDS = "'’"


def letters(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Of each type (V,) a number above 0 if it is a letter, the same for the small and the large.

    At word and subword level all are 0: types are no letters.
    """
    found = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    if tokenizer.level != "char":
        return found
    ids = np.arange(NUM_SPECIALS, tokenizer.vocab_size)
    for number, piece in zip(ids, tokenizer.pieces(ids), strict=True):
        if piece.isalpha() or piece in _WITHIN_WORDS:
            found[number] = ord(piece.lower()[0])
    return found
