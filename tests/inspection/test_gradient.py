"""Laws of the gradient by distance: finite differences, another autograd, and a planted reach."""

import numpy as np
import pytest
import torch

from charlm.config import CELLS
from charlm.equations import language_model
from charlm.equations.parameters import model_weights
from charlm.inspection.gradient import gradient, norms
from charlm.inspection.network import Ids
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import to_arrays
from tests.support.inspected import planted_copy, random_lm
from tests.support.tiny import TEXTS, tiny_model

SEQUENCES: list[Ids] = [
    np.array([2, 5, 3, 6, 4, 2, 2, 6, 5, 3, 4, 1]),
    np.array([4, 1]),
    np.array([3, 6, 5, 2, 4, 6, 3, 3, 1]),
]
POSITIONS = [(0, 0), (0, 4), (0, 11), (1, 1), (2, 3), (2, 8)]
DISTANCES = 6
DOUBLE = {"num_layers": 2, "dtype": torch.float64}


def loss_of(
    model: RecurrentLM, weights: language_model.ModelWeights, ids: Ids, moved: np.ndarray
) -> float:
    """- log P of the last of ids, the vectors that are read moved by (T, E): by the equations."""
    inputs = np.concatenate(([model.config.vocab_size], ids[:-1]))
    step = language_model.STEPS[model.config.cell]
    states = list(language_model.init_state(model.config.cell, weights, 1))
    for t, token in enumerate(inputs):
        x = weights.embedding[token][None] + moved[t]
        for depth, layer in enumerate(weights.layers):
            states[depth] = step(layer, x, states[depth])
            x = states[depth][0]
    return -float(language_model.predict(weights, states[-1][0])[0, ids[-1]])


@pytest.mark.parametrize("cell", CELLS)
def test_norms_are_those_of_finite_differences(cell: str) -> None:
    """Each coordinate of each vector moved a little: the norms of what the loss does, to 1e-6."""
    model = tiny_model(cell=cell, seed=3, **DOUBLE)
    weights = model_weights(model.config, to_arrays(model))
    found = norms(model, SEQUENCES, POSITIONS, DISTANCES)
    epsilon = 1e-5
    for row, (which, at) in enumerate(POSITIONS):
        ids = SEQUENCES[which][: at + 1]
        size = len(ids), model.config.embedding_size
        slopes = np.zeros(size)
        for place in np.ndindex(size):
            moved = np.zeros(size)
            moved[place] = epsilon
            more, less = loss_of(model, weights, ids, moved), loss_of(model, weights, ids, -moved)
            slopes[place] = (more - less) / (2 * epsilon)
        expected = np.linalg.norm(slopes, axis=1)[::-1][:DISTANCES]
        there = min(DISTANCES, at + 1)
        np.testing.assert_allclose(found.inputs[row, :there], expected, rtol=1e-6, atol=1e-9)
        assert np.isnan(found.inputs[row, there:]).all()


@pytest.mark.parametrize("cell", CELLS)
def test_norms_are_those_of_a_plain_autograd(cell: str) -> None:
    """One row, one graph over all of the sequence, states set by hand: the same to 1e-6."""
    model = tiny_model(cell=cell, seed=5, **DOUBLE)
    found = norms(model, SEQUENCES, POSITIONS, DISTANCES)
    for row, (which, at) in enumerate(POSITIONS):
        ids = SEQUENCES[which][: at + 1]
        inputs = torch.from_numpy(np.concatenate(([model.config.vocab_size], ids[:-1])))
        vectors = [model.embedding(token).detach()[None].requires_grad_() for token in inputs]
        state, kept = model.init_state(1), []
        for vector in vectors:
            x, new = vector[None], []
            for layer, before in zip(model.layers, state, strict=True):
                outputs, after = layer(x, before)
                h = outputs[0].clone()
                x, after = h[None], (h, *(s.clone() for s in after[1:]))
                new.append(after)
            state = tuple(new)
            kept.append([s for layer_state in state for s in layer_state])
        loss = torch.nn.functional.cross_entropy(
            model.logits(state[-1][0]), torch.tensor([ids[-1]])
        )
        flat = [s for states in kept for s in states]
        slopes = torch.autograd.grad(loss, [*vectors, *flat], allow_unused=True)
        of_inputs = [float(g.norm()) for g in slopes[: len(vectors)] if g is not None]
        per = len(kept[0])
        of_states = [
            sum(0.0 if g is None else float((g**2).sum()) for g in slopes[i : i + per]) ** 0.5
            for i in range(len(vectors), len(slopes), per)
        ]
        there = min(DISTANCES, at + 1)
        for ours, theirs in ((found.inputs, of_inputs), (found.states, of_states)):
            np.testing.assert_allclose(ours[row, :there], theirs[::-1][:there], rtol=1e-6)


def test_what_a_norm_is_does_not_depend_on_the_others() -> None:
    """Alone or beside others, within long windows or short: the same norms."""
    model = tiny_model(cell="lstm", **DOUBLE)
    together = norms(model, SEQUENCES, POSITIONS, 12)
    for row, position in enumerate(POSITIONS):
        alone = norms(model, SEQUENCES, [position], 4)
        np.testing.assert_allclose(alone.inputs[0], together.inputs[row, :4], rtol=1e-9)
        np.testing.assert_allclose(alone.states[0], together.states[row, :4], rtol=1e-9)


def test_a_planted_copy_is_found_at_its_distance() -> None:
    """Where a token is the one of four before, the loss looks there and nowhere else."""
    lm, texts = planted_copy(4)
    found = gradient(lm, texts, distances=10)
    far = np.delete(found.inputs.mean, 3)
    assert found.inputs.mean[3] > 1e3 * far.max()
    assert found.inputs.half_within == 3


def test_figures_are_those_of_the_norms() -> None:
    """Quartiles are in order, shares add up, the same seed draws the same positions."""
    lm = random_lm(cell="rnn-tanh", std=0.15)
    found = gradient(lm, TEXTS, distances=15, positions=60, seed=1)
    assert found.positions == 60
    for one in (found.inputs, found.states):
        assert (one.lower <= one.median).all()
        assert (one.median <= one.upper).all()
        assert one.number[0] == 60
        assert (np.diff(one.number) <= 0).all()
        assert one.share_within(len(one.mean)) == pytest.approx(1)
        assert one.share_within(one.half_within) >= 0.5
        assert one.half_life is not None
        assert 0 < one.half_life < 3  # weights so small forget at once
    again = gradient(lm, TEXTS, distances=15, positions=60, seed=1)
    assert (again.inputs.mean == found.inputs.mean).all()
