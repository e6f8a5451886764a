"""Laws of one-step decoding: packed weights say what the model says."""

import itertools

import numpy as np
import pytest
import torch

from charlm.config import CELLS
from charlm.engines.torch_lm import TorchEngine
from charlm.engines.torch_steps import TorchDecoder
from charlm.equations import language_model
from charlm.nn.causal import RecurrentLM
from tests.support.tiny import model_of

VOCAB_SIZE = 11


def stepped(decoder: TorchDecoder, inputs: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (B, T, V) of a decoder fed column by column."""
    state = decoder.init_state(len(inputs))
    rows = []
    for column in inputs.t():
        logits, state = decoder.step(column.numpy(), state)
        rows.append(torch.from_numpy(logits).log_softmax(1))
    return torch.stack(rows, dim=1)


def inputs_for(batch_size: int, num_steps: int, seed: int = 0) -> torch.Tensor:
    """Random ids (B, T) after the zero vector."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, VOCAB_SIZE, (batch_size, num_steps), generator=generator)
    ids[:, 0] = VOCAB_SIZE
    return ids


def forward(model: RecurrentLM, inputs: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (B, T, V) of the model itself."""
    return model(inputs, model.init_state(len(inputs)))[0].log_softmax(2)


SHAPES = [
    {"num_layers": layers, "tie_weights": tied, "embedding_size": embedding, "output_layers": deep}
    for layers, tied, embedding, deep in itertools.product(
        (1, 2), (False, True), (5, 12), (0, 1, 2)
    )
]


@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_the_model_in_every_shape(cell: str) -> None:
    """Stepping gives the log-probabilities of RecurrentLM.forward, to 1e-5, for every shape."""
    inputs = inputs_for(3, 30)
    for seed, shape in enumerate(SHAPES):
        model = model_of(VOCAB_SIZE, cell=cell, hidden_size=12, seed=seed, std=0.3, **shape)
        expected = forward(model, inputs)
        assert expected.std() > 0.1
        error = (stepped(TorchDecoder(model), inputs) - expected).abs().max()
        assert error < 1e-5, shape


@pytest.mark.parametrize("cell", CELLS)
def test_agrees_with_the_equations(cell: str) -> None:
    """Stepping gives what the readable equations give in double precision, to 1e-5."""
    model = model_of(
        VOCAB_SIZE, cell=cell, num_layers=2, tie_weights=True, output_layers=1, std=0.2
    )
    inputs = inputs_for(4, 25)
    exact, _ = language_model.forward(cell, TorchEngine(model).reference(), inputs.numpy())
    np.testing.assert_allclose(
        stepped(TorchDecoder(model), inputs).numpy(), exact, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("cell", CELLS)
def test_agrees_after_many_steps(cell: str) -> None:
    """A thousand steps do not drift away from the model."""
    model = model_of(VOCAB_SIZE, cell=cell, num_layers=2, std=0.2)
    inputs = inputs_for(2, 1000)
    far = stepped(TorchDecoder(model), inputs)[:, -100:]
    torch.testing.assert_close(far, forward(model, inputs)[:, -100:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_steps", [0, 1, 255, 600])
def test_reading_is_stepping(cell: str, num_steps: int) -> None:
    """A prompt read in windows leaves the state that steps leave, without dropout in training."""
    model = model_of(VOCAB_SIZE, cell=cell, num_layers=2, std=0.2, dropout=0.5).train()
    decoder = TorchDecoder(model)
    ids = inputs_for(1, num_steps + 1)[:, :num_steps]
    state = decoder.init_state(1)
    for column in ids.t():
        _, state = decoder.step(column.numpy(), state)
    after = decoder.read(ids[0].numpy())
    assert model.training
    for layer, expected in zip(after, state, strict=True):
        for one, other in zip(layer, expected, strict=True):
            assert not one.requires_grad
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [0, 1, 2, 17, 300])
def test_takes_batches_of_any_size(batch_size: int) -> None:
    """What a row gets does not depend on how many stand beside it."""
    model = model_of(VOCAB_SIZE, num_layers=2)
    inputs = inputs_for(300, 6)
    decoder = TorchDecoder(model)
    part = stepped(decoder, inputs[:batch_size])
    assert part.shape == (batch_size, 6, VOCAB_SIZE)
    torch.testing.assert_close(part, stepped(decoder, inputs)[:batch_size], rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_step_leaves_the_state_it_was_given(cell: str) -> None:
    """A step makes a new state and does not write into the old one: one can step from it again."""
    decoder = TorchDecoder(model_of(VOCAB_SIZE, cell=cell, num_layers=2))
    _, state = decoder.step(np.array([VOCAB_SIZE]), decoder.init_state(1))
    first, _ = decoder.step(np.array([3]), state)
    other, _ = decoder.step(np.array([4]), state)
    again, _ = decoder.step(np.array([3]), state)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_first_state_is_zero() -> None:
    """a<0> is the zero vector, as many of them as the cell carries."""
    for cell in CELLS:
        state = TorchDecoder(model_of(VOCAB_SIZE, cell=cell, num_layers=2)).init_state(3)
        assert len(state) == 2
        for layer in state:
            assert len(layer) == (2 if cell.startswith("lstm") else 1)
            assert all(tensor.shape == (3, 16) and not tensor.any() for tensor in layer)


def test_needs_no_gradient_of_a_model_in_training() -> None:
    """A model that is being trained is stepped without autograd, and stays as it was."""
    model = model_of(VOCAB_SIZE, dropout=0.5).requires_grad_(True).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    decoder = TorchDecoder(model)
    _, state = decoder.step(np.array([VOCAB_SIZE]), decoder.init_state(1))
    assert not any(tensor.requires_grad for layer in state for tensor in layer)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("hidden_size", [12, 1300])
def test_a_step_leaves_the_number_of_threads_as_it_was(hidden_size: int) -> None:
    """Whether its products are done on one thread or on all, what follows has those it had."""
    decoder = TorchDecoder(model_of(VOCAB_SIZE, hidden_size=hidden_size))
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            decoder.step(np.array([1, 2]), decoder.init_state(2))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
