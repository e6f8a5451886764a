"""Examples that are read in groups, each group once per epoch."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from charlm.training.state import TrainingState

Groups = Callable[[np.random.Generator | None], list[NDArray[np.int64]]]


def groups_in_turn(state: TrainingState, seed: int, groups: Groups) -> Iterator[NDArray[np.int64]]:
    """The group (B,) of the step that comes next, for ever.

    The order of an epoch is a function of (seed, epoch); ``groups`` gives as many whatever it is.
    """
    per_epoch = len(groups(None))
    epoch, order = -1, []
    while True:
        now, place = divmod(state.step, per_epoch)
        if now != epoch:
            epoch, order = now, groups(np.random.default_rng((seed, now)))
        yield order[place]
