"""Copying: where <UNK> was written stands the token of the source that attention looked at most.

So names and numbers that no vocabulary holds come through (Luong et al. 2015, "Addressing the rare
word problem in neural machine translation"; Jean et al. 2015). Letters: T target tokens, S source
tokens.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.tokenizers.base import UNK_ID, Tokenizer


def surfaces(tokenizer: Tokenizer, source: str) -> list[str]:
    """The text (S,) of each token of a source; that of a feature and of <EOS> is empty."""
    _, ranges = tokenizer.encode_with_offsets(source)
    return [*(source[begin:end] for begin, end in ranges), ""]


def copied(
    tokenizer: Tokenizer,
    ids: NDArray[np.integer[Any]],
    shares: NDArray[np.float64],
    sources: Sequence[str],
) -> str:
    """The text of ids (T,), <UNK> as that of the ``sources`` (S,) with the largest of ``shares``.

    shares (T', S) are of each id, and may go on. A source without text is never copied; where there
    is no other, U+FFFD stands as ever.
    """
    text, ranges = tokenizer.decode_with_offsets(ids)
    there = [at for at, source in enumerate(sources) if source]
    parts, done = [], 0
    for token, (begin, end), looked in zip(ids.tolist(), ranges, shares, strict=False):
        if token == UNK_ID and there:
            parts += [text[done:begin], sources[there[int(looked[there].argmax())]]]
            done = end
    return "".join((*parts, text[done:]))
