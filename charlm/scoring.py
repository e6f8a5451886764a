"""Teacher-forced scoring: the log-probability of every token given the true ones before it.

log P(y<1> … y<T>) = Σt log P(y<t> given y<1> … y<t-1>), <EOS> included. Sums are in float64.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from charlm import metrics
from charlm.engine import Engine
from charlm.tokenizers.base import Tokenizer
from charlm.unknown import Unknown


class TokenScore(NamedTuple):
    """One token of a scored text; rank 1 is the likeliest type at its place."""

    piece: str
    log_prob: float
    rank: int

    @property
    def surprisal(self) -> float:
        """-log2 p, in bits."""
        return metrics.surprisal_bits(self.log_prob)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextScore:
    """What the model says of a text. Logarithms are natural; <EOS> is among the tokens.

    num_oov are the tokens outside the vocabulary; unless the score is closed, the probability of
    what stands there is in the sums.
    """

    text: str
    total_log_prob: float
    num_tokens: int
    num_oov: int
    tokens: tuple[TokenScore, ...] | None = None

    @property
    def perplexity(self) -> float:
        """Per token."""
        return metrics.perplexity(self.total_log_prob, self.num_tokens)

    @property
    def probability(self) -> str:
        """In scientific form, however small: 3.2e-513."""
        return metrics.scientific(self.total_log_prob)

    @property
    def bits_per_character(self) -> float | None:
        """Bits of the whole text, <EOS> included, a character; None for an empty text."""
        return metrics.bits_per(self.total_log_prob, len(self.text))


def score_texts(
    engine: Engine,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    unknown: Unknown | None = None,
    per_token: bool = False,
) -> list[TextScore]:
    """Score texts, in order. What a text gets does not depend on the others beside it.

    With ``unknown`` what stands for <UNK> is spelled out and its probability is in the sums;
    without, <UNK> is one symbol, whatever it stands for.
    """
    if not texts:
        return []
    eos = np.array([tokenizer.eos_id], dtype=np.int32)
    sequences = [np.concatenate((tokenizer.encode(text), eos)) for text in texts]
    log_probs, ranks = engine.token_log_probs(sequences, ranks=per_token)
    if unknown is not None:
        places = np.flatnonzero(np.concatenate(sequences) == tokenizer.unk_id)
        if len(places):
            spelled = [kind for text in texts for kind in tokenizer.unknown(text)]
            log_probs[places] += unknown.log_probs(spelled)
    scores, at = [], 0
    for text, ids in zip(texts, sequences, strict=True):
        span = slice(at, at + len(ids))
        at = span.stop
        tokens = None
        if ranks is not None:
            triples = zip(
                tokenizer.pieces(ids), log_probs[span].tolist(), ranks[span].tolist(), strict=True
            )
            tokens = tuple(TokenScore(*triple) for triple in triples)
        scores.append(
            TextScore(
                text=text,
                total_log_prob=float(log_probs[span].sum()),
                num_tokens=len(ids),
                num_oov=int((ids == tokenizer.unk_id).sum()),
                tokens=tokens,
            )
        )
    return scores
