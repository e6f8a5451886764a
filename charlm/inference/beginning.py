"""The probability that a text begins so, however it goes on.

P(beginning) = Σ P(text) over all texts that begin with it. It is the sum over the ways to cut what
is there (Tokenizer.beginnings) of the product of the tokens before the last, times P of all types
that the last one can be; those that are unknown count with all spellings that begin as it does.
Where a token sequence is drawn that no text is cut into, as any model may, its probability is in
the sum, though it is that of no text.
"""

import math

import numpy as np

from charlm.engines.protocol import Engine
from charlm.equations.language_model import log_softmax
from charlm.inference.unknown import Unknown
from charlm.tokenizers.base import UNK_ID, Tokenizer
from charlm.tokenizers.beginning import Beginning


def log_prob_begins(
    engine: Engine, tokenizer: Tokenizer, unknown: Unknown | None, text: str
) -> float:
    """log P (nats) that a text begins with this one; of none it is 0.

    Without ``unknown`` nothing is spelled, and <UNK> counts where it is the token before the last.
    """
    ways = tokenizer.beginnings(text)
    return float(np.logaddexp.reduce([_of_way(engine, unknown, way) for way in ways]))


def _of_way(engine: Engine, unknown: Unknown | None, way: Beginning) -> float:
    log_prob = float(engine.read_on(way.ids)[0].sum()) if len(way.ids) else 0.0
    if unknown is not None and way.unknown:
        log_prob += float(unknown.log_probs(way.unknown).sum())
    if way.following is None:
        return log_prob
    row = log_softmax(engine.next_logits(way.ids).astype(np.float64))  # (V,)
    parts = row[way.following]
    if way.spellings and unknown is not None:
        spelled = unknown.log_prob_begins(way.spellings, way.known)
        parts = np.append(parts, row[UNK_ID] + spelled)
    return log_prob + (float(np.logaddexp.reduce(parts)) if len(parts) else -math.inf)
