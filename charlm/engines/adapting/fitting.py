"""The weights of an adaptive mixture, learned from text that was held out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts import reading
from charlm.counts.adaptive import Adaptive
from charlm.engines.adapting.engine import in_order
from charlm.engines.protocol import Ids, RowEngine

Values = NDArray[np.float64]


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
    start = adaptive.first_weights
    readings = [
        reading.begin(adaptive, remembers=remembers, learns=True, weights=start)
        for remembers in (True, False)
    ]
    found: tuple[list[Values], list[Values]] = ([], [])
    for pieces, rows, begins in in_order(network, adaptive, sequences):
        if begins:
            readings = [reading.at_new_sequence(adaptive, one) for one in readings]
        ids = np.concatenate(pieces)
        for span, read in reading.read_beside(adaptive, readings, pieces, [rows]):
            readings = [after for _, after in read]
            for log_probs, (log_q, _) in zip(found, read, strict=True):
                log_probs.append(log_q[np.arange(len(log_q)), ids[span]].astype(np.float64))
    learning, frozen = (one.weights for one in readings)
    fitted = adaptive.with_weights(learning=learning, frozen=frozen)
    return Fitted(fitted, *map(np.concatenate, found))
