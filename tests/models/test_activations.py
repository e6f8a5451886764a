"""Laws of activations: what lm.activations shows is what the network does."""

import numpy as np
import pytest
import torch

from charlm.config import CELLS
from charlm.errors import UsageError
from charlm.models.activations import BEGIN
from charlm.models.language_model import LanguageModel
from tests.support.inspected import random_lm
from tests.support.tiny import LEVELS

TEXT = "the cat sat on a dog!"
ROWS = {  # of the gates, which are stacked in the weights
    "lstm": {"update": 0, "forget": 1, "output": 3},
    "lstm-peephole": {"update": 0, "forget": 1, "output": 3},
    "gru": {"reset": 0, "update": 1},
    "gru-reset-before": {"relevance": 0, "update": 1},
    "gru-minimal": {"update": 0},
    "rnn-tanh": {},
    "rnn-relu": {},
}


def by_torch(lm: LanguageModel, ids: np.ndarray) -> list[list[tuple[torch.Tensor, ...]]]:
    """The state of each layer after each input, [T][L], by torch in double precision."""
    model = lm.model.double()
    state, found = model.init_state(1), []
    for token in ids:
        _, state = model.hidden(torch.tensor([[token]]), state)
        found.append(list(state))
    return found


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Written plainly."""
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
def test_states_and_gates_are_those_of_the_network(cell: str, level: str) -> None:
    """States equal torch's, gates what their weights make of the state before and the input."""
    lm = random_lm(level, cell=cell, num_layers=2, std=0.3)
    found = lm.activations(TEXT)
    names = ["h", "c"] if cell.startswith("lstm") else ["h"]
    assert list(found.states) == names
    assert set(found.gates) == set(ROWS[cell])
    expected = by_torch(lm, found.ids)
    for at, name in enumerate(names):
        theirs = np.array([[layer[at][0].numpy() for layer in row] for row in expected])
        assert found.states[name].shape == theirs.shape == (len(found.ids), 2, 16)
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(found.states[name], theirs, atol=2e-5)
    weights = [
        layer.map(lambda w: w.detach().numpy()) for layer in lm.model.double().layer_weights()
    ]
    h = found.states["h"]
    before = {
        name: np.concatenate((np.zeros_like(s[:1]), s[:-1])) for name, s in found.states.items()
    }
    for depth, layer in enumerate(weights):
        x = lm.model.embedding.weight.detach().numpy()[found.ids] if depth == 0 else h[:, 0]
        for name, row in ROWS[cell].items():
            part = slice(16 * row, 16 * row + 16)
            z = x @ layer.weight_ih[part].T + before["h"][:, depth] @ layer.weight_hh[part].T
            z = z + layer.bias_ih[part]
            if layer.bias_hh is not None:
                z = z + layer.bias_hh[part]
            if layer.peephole is not None:
                seen = found.states["c"] if name == "output" else before["c"]
                z = z + layer.peephole[min(row, 2)] * seen[:, depth]
            if (cell, name) == ("gru", "update"):
                z = -z  # torch's z says how much is kept
            np.testing.assert_allclose(found.gates[name][:, depth], sigmoid(z), atol=2e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_each_row_has_read_its_token(level: str) -> None:
    """The first row is x<1>; then each token, its piece and where it stands in the text."""
    lm = random_lm(level)
    found = lm.activations(TEXT)
    ids, ranges = lm.tokenizer.encode_with_offsets(TEXT)
    assert found.text == TEXT
    assert found.ids.tolist() == [lm.tokenizer.vocab_size, *ids.tolist()]
    assert found.pieces == (BEGIN, *lm.tokenizer.pieces(ids))
    assert found.ranges == ((0, 0), *ranges)


def test_an_empty_text_has_its_first_input() -> None:
    """What predicts the first token has read x<1>."""
    assert random_lm().activations("").states["h"].shape == (1, 1, 16)


def test_several_texts_are_refused() -> None:
    """One text has activations; a list has not."""
    with pytest.raises(UsageError, match="must be a text"):
        random_lm().activations(["a"])  # type: ignore[arg-type]
