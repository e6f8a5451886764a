"""From the probabilities of tokens to those of words, for people who measure surprisal.

Where tokens carry the white space before a word, or are characters, the product of a word's
tokens is not the word's probability: whether the word ends there is only decided by the token
after it. Pimentel & Meister 2024 ("How to compute the probability of a word", eq. 9): multiply by
the probability that a word ends after these tokens, and divide by the probability that one ended
before them. Words and the end of the text then multiply to the probability of the text. After a
context the words are those of context and text as one: a word that begins where the text does is
divided by the probability that the context's last word ended there, and of a word that the context
has begun only the rest counts.

A model that reads both sides knows where a word ends. There a word has no probability of its own
but a pseudo-log-likelihood, the sum of its tokens', each given all others.
"""

import bisect
import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.metrics import surprisal_bits
from charlm.tokenizers.base import EOS_PIECE


class WordScore(NamedTuple):
    """A word and the range it has in the text, white space left out; at last the end, empty.

    log_prob is in nats; the white space before a word is part of what was predicted. is_unknown
    tells whether a token of it is; entropy, in bits, is how unsure the model was before it.
    """

    text: str
    log_prob: float
    start: int
    end: int
    num_tokens: int
    is_unknown: bool
    entropy: float

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
    entropies: NDArray[np.float64],
    offsets: Sequence[tuple[int, int]],
    context: int = 0,
) -> tuple[WordScore, ...]:
    """The words of a text from its N tokens, the last of which is <EOS>.

    log_probs (N,) and entropies (N,), in bits, are theirs, and unknown (N,) tells those outside
    the vocabulary; opening (N,)
    is log P, at each place, of the types that can only come once a word has ended (None: a word is
    the sum of its tokens), and opens (N,) tells the tokens that are such a type. What lies between
    two of those counts as one word, however a tokenizer cuts it. The first ``context`` characters
    are no part of what is asked for: they tell where words begin, and ranges count from there.
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
    before = bisect.bisect_right(offsets[:-1], context, key=operator.itemgetter(1))
    own = [before, *(first for first in firsts if first > before)]
    is_begun = before not in firsts  # the context has the first tokens of the word
    if is_begun and len(own) > 1 and not text[context : offsets[own[1] - 1][1]].strip():
        del own[1]  # and all that can be seen of it
    found = []
    for first, after in zip(own, [*own[1:], len(offsets)], strict=True):
        log_prob = float(log_probs[first:after].sum())
        is_end = after == len(offsets)
        if opening is not None:
            log_prob -= 0.0 if first == 0 or (is_begun and first == before) else opening[first]
            log_prob += 0.0 if is_end else opening[after]
        begin, end = max(offsets[first][0], context), offsets[after - 1][1]
        covered = text[begin:end]
        if is_end:
            begin, covered = end, ""
        begin += len(covered) - len(covered.lstrip()) - context
        word = covered.strip()
        is_unknown = bool(unknown[first:after].any())
        number, entropy = after - first, float(entropies[first])
        stop = begin + len(word)
        found.append(WordScore(word, float(log_prob), begin, stop, number, is_unknown, entropy))
    return tuple(found)
