"""The weights of an adaptive mixture, learned from text that was held out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts.adaptive import Adaptive
from charlm.engines.adapting.stream import AdaptiveStream
from charlm.engines.protocol import Ids, RowEngine


class Fitted(NamedTuple):
    """The mixture with its weights, and log P (N,) of the tokens that they were learned from.

    Each token was predicted before anything was learned from it: by what goes on learning from
    the text, and by weights that follow while the memory stays that of the training text.
    """

    adaptive: Adaptive
    adapting: NDArray[np.float64]
    frozen: NDArray[np.float64]


def fit(network: RowEngine, adaptive: Adaptive, sequences: Sequence[Ids]) -> Fitted:
    """Learn both kinds of weights, from first ones, in one pass each over sequences.

    They end in <EOS>. What weights there were is forgotten: they may have been learned from the
    same text, and what is told of it would be too good.
    """
    found, weights = [], []
    for remembers in (True, False):
        start = adaptive.first_weights
        stream = AdaptiveStream(network, adaptive, remembers=remembers, weights=start)
        found.append(stream.token_log_probs(sequences)[0])
        weights.append(stream.weights)
    fitted = adaptive.with_weights(learning=weights[0], frozen=weights[1])
    return Fitted(fitted, *found)
