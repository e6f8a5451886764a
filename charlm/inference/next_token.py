"""What may come next: the distribution over all types after a prefix.

It is the model's own: temperature 1, nothing masked, <UNK> and <EOS> types like others. Sums are
in float64.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from charlm import metrics
from charlm.engines.protocol import Engine
from charlm.equations import language_model
from charlm.errors import UsageError
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.prompt import Prompt


class NextToken(NamedTuple):
    """A type that may come next; rank 1 is the likeliest, and equally likely ones share a rank.

    text is what it would add to the prefix: nothing if it is <EOS>, or a space that stands there.
    """

    token_id: int
    piece: str
    text: str
    log_prob: float
    rank: int

    @property
    def probability(self) -> float:
        """exp(log_prob)."""
        return math.exp(self.log_prob)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NextTokens:
    """What the model expects after a prefix. Logarithms of probabilities are natural.

    entropy (in bits) and num_types are those of the whole distribution; entries are its likeliest
    types, equally likely ones in order of their ids. num_oov tokens of the prefix are <UNK>.
    """

    prefix: str
    num_oov: int
    num_types: int
    entropy: float
    entries: tuple[NextToken, ...]

    @property
    def perplexity(self) -> float:
        """2 to the entropy: as uncertain as if so many types were equally likely."""
        return math.exp2(self.entropy)


def next_tokens(
    engine: Engine, tokenizer: Tokenizer, prefix: str = "", *, top: int | None = 20
) -> NextTokens:
    """The ``top`` likeliest types after a prefix, None for all of them, and the entropy.

    Raises UsageError if top is negative.
    """
    if top is not None and top < 0:
        raise UsageError(f"top must not be negative, got {top}.")
    begun = Prompt(tokenizer, prefix)
    logits = engine.next_logits(np.array(begun.ids, dtype=np.int64))
    log_probs = language_model.log_softmax(logits.astype(np.float64))  # (V,)
    order = np.argsort(-log_probs, kind="stable")[:top]
    surprisals = -log_probs[order]  # ascending
    ranks = np.searchsorted(surprisals, surprisals) + 1
    texts = [begun.continuation([token]) for token in order.tolist()]
    mean = float(np.exp(log_probs) @ log_probs)  # the entropy is the mean surprisal
    columns = (order.tolist(), tokenizer.pieces(order), texts, log_probs[order].tolist())
    return NextTokens(
        prefix=prefix,
        num_oov=begun.ids.count(tokenizer.unk_id),
        num_types=len(log_probs),
        entropy=metrics.surprisal_bits(mean),
        entries=tuple(map(NextToken._make, zip(*columns, ranks.tolist(), strict=True))),
    )
