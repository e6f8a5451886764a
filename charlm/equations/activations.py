"""What stands inside a network as it reads: the states and gates of every layer at every step."""

from typing import NamedTuple

import numpy as np

from charlm.equations.language_model import (
    NUM_STATES,
    STEPS_WITH_GATES,
    Array,
    Ids,
    ModelWeights,
    init_state,
)

STATES = ("h", "c")  # in the order of a cell's states


class Inside(NamedTuple):
    """States and gates by name, each (T, L, H): after each input, of each layer, bottom first.

    The states are h, of the LSTMs c as well; the gates are those of the cell's equations, and the
    plain recurrences have none.
    """

    states: dict[str, Array]
    gates: dict[str, Array]


def inside(cell: str, weights: ModelWeights, inputs: Ids) -> Inside:
    """What a sequence of inputs (T,), the zero vector's id in front, does in a network.

    As ``language_model.hidden``, which keeps the top alone.
    """
    step = STEPS_WITH_GATES[cell]
    before = list(init_state(cell, weights, 1))
    size = weights.layers[0].weight_hh.shape[1]
    shape = len(inputs), len(weights.layers), size
    states = {name: np.empty(shape, weights.embedding.dtype) for name in STATES[: NUM_STATES[cell]]}
    gates: dict[str, Array] = {}
    for t in range(len(inputs)):
        x = weights.embedding[inputs[t : t + 1]]  # (1, E)
        for depth, layer in enumerate(weights.layers):
            before[depth], opened = step(layer, x, before[depth])
            for kept, state in zip(states.values(), before[depth], strict=True):
                kept[t, depth] = state[0]
            for name, gate in opened.items():
                if name not in gates:
                    gates[name] = np.empty(shape, gate.dtype)
                gates[name][t, depth] = gate[0]
            x = before[depth][0]  # (1, H)
    return Inside(states, gates)
