"""From the probabilities of tokens to those of words, for people who measure surprisal.

Where tokens carry the white space before a word, or are characters, the product of a word's
tokens is not the word's probability: whether the word ends there is only decided by the token
after it. Pimentel & Meister 2024 ("How to compute the probability of a word", eq. 9): multiply by
the probability that a word ends after these tokens, and divide by the probability that one ended
before them. Words and the end of the text then multiply to the probability of the text.

A model that reads both sides knows where a word ends. There a word has no probability of its own
but a pseudo-log-likelihood, the sum of its tokens', each given all others.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.metrics import surprisal_bits
from charlm.tokenizers.base import EOS_PIECE


class WordScore(NamedTuple):
    """A word and the range it has in the text, white space left out; at last the end, empty.

    log_prob is in nats; the white space before a word is part of what was predicted. is_unknown
    tells whether a token of it is.
    """

    text: str
    log_prob: float
    start: int
    end: int
    num_tokens: int
    is_unknown: bool

    @property
    def piece(self) -> str:
        """The word, or <EOS> for the end."""
        return self.text or EOS_PIECE

    @property
    def rank(self) -> None:
        """There is none: words are not drawn from a list."""

    @property
    def surprisal(self) -> float:
        """-log2 p, in bits."""
        return surprisal_bits(self.log_prob)


def word_scores(
    text: str,
    log_probs: NDArray[np.float64],
    opening: NDArray[np.float64] | None,
    opens: NDArray[np.bool_],
    unknown: NDArray[np.bool_],
    offsets: Sequence[tuple[int, int]],
) -> tuple[WordScore, ...]:
    """The words of a text from its N tokens, the last of which is <EOS>.

    log_probs (N,) are theirs, and unknown (N,) tells those outside the vocabulary; opening (N,)
    is log P, at each place, of the types that can only come once a word has ended (None: a word is
    the sum of its tokens), and opens (N,) tells the tokens that are such a type. What lies between
    two of those counts as one word, however a tokenizer cuts it.
    """
    firsts = [0]  # the first token of each word, and of the end
    has_word = False
    for index, (start, end) in enumerate(offsets[:-1]):
        gap = offsets[index - 1][1] if index else 0
        begins = text[gap:start] != "" or text[start : start + 1].isspace()
        if has_word and begins and opens[index]:
            firsts.append(index)
            has_word = False
        has_word = has_word or not text[start:end].isspace()
    if has_word:
        firsts.append(len(offsets) - 1)
    return tuple(
        _word(text, log_probs, opening, unknown, offsets, first, after)
        for first, after in zip(firsts, [*firsts[1:], len(offsets)], strict=True)
    )


def _word(
    text: str,
    log_probs: NDArray[np.float64],
    opening: NDArray[np.float64] | None,
    unknown: NDArray[np.bool_],
    offsets: Sequence[tuple[int, int]],
    first: int,
    after: int,
) -> WordScore:
    """The word of the tokens from ``first`` to before ``after``."""
    log_prob = float(log_probs[first:after].sum())
    is_end = after == len(offsets)
    if opening is not None:
        log_prob -= float(opening[first]) if first > 0 else 0.0
        log_prob += 0.0 if is_end else float(opening[after])
    begin, end = offsets[first][0], offsets[after - 1][1]
    covered = text[begin:end]
    if is_end:
        begin, covered = end, ""
    begin += len(covered) - len(covered.lstrip())
    word = covered.strip()
    is_unknown = bool(unknown[first:after].any())
    return WordScore(word, log_prob, begin, begin + len(word), after - first, is_unknown)
