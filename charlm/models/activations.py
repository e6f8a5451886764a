"""What a language model holds in mind while it reads a text: its states and gates, by name."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.display.drawing.blocks import paragraph
from charlm.display.drawing.cells import Row, along
from charlm.display.drawing.view import View
from charlm.equations.activations import inside
from charlm.equations.language_model import Array, ModelWeights
from charlm.tokenizers.base import Tokenizer

_SHOWN = 300  # tokens in a notebook
BEGIN = "x<1>"  # how the zero vector, which is read before any token, is shown


class Activations(NamedTuple):
    """States and gates after each of T inputs: x<1>, the zero vector, then the tokens of a text.

    Row t has read pieces[t], which stands at the half-open range ranges[t] of the text, and
    predicts the next. ``states`` are h, of the LSTMs c as well; ``gates`` are those of the cell,
    none of a plain RNN. Each is (T, L, H), layers from the bottom.
    """

    text: str
    ids: NDArray[np.int64]  # (T,) the zero vector's is vocab_size
    pieces: tuple[str, ...]  # (T,)
    ranges: tuple[tuple[int, int], ...]  # (T,)
    states: dict[str, Array]
    gates: dict[str, Array]

    def _repr_html_(self) -> str:
        shown, (_, depth, size) = self.pieces[:_SHOWN], next(iter(self.states.values())).shape
        rows = [
            Row(_named(name, layer, depth), values[:_SHOWN, layer].mean(axis=1).tolist())
            for layer in range(depth)
            for name, values in (
                *((f"|{name}|", np.tanh(np.abs(states))) for name, states in self.states.items()),
                *self.gates.items(),
            )
        ]
        said = (
            f"{len(self.pieces):,} inputs, {depth} layer{'s' if depth > 1 else ''} of {size} "
            "units. Below each token stand means over the units of a layer: of the size of states "
            "(|h|, |c|: tanh of it, which is below 1), and of gates."
        )
        return View("Activations", [paragraph(said), *along(shown, rows)]).html


def _named(name: str, layer: int, depth: int) -> str:
    return name if depth == 1 else f"{name} {layer + 1}"


def activations(cell: str, weights: ModelWeights, tokenizer: Tokenizer, text: str) -> Activations:
    """What a network does at each token of a text, in the dtype of its weights."""
    ids, ranges = tokenizer.encode_with_offsets(text)
    inputs = np.concatenate(([tokenizer.vocab_size], ids)).astype(np.int64)
    found = inside(cell, weights, inputs)
    return Activations(
        text=text,
        ids=inputs,
        pieces=(BEGIN, *tokenizer.pieces(ids)),
        ranges=((0, 0), *ranges),
        states=found.states,
        gates=found.gates,
    )
