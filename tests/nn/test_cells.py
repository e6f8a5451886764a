"""Laws of the recurrent layers: the right numbers, the right gradients, the right beginnings."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from charlm.config import CELLS
from charlm.equations.language_model import NUM_GATES, NUM_STATES, STEPS, LayerWeights
from charlm.errors import UsageError
from charlm.nn.cells import OWN_RECURRENCES, RecurrentLayer, make_layer

OWN = tuple(OWN_RECURRENCES)
DEVICES = (
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    ),
)
State = tuple[Tensor, ...]


def random_layer(
    cell: str, input_size: int, hidden_size: int, seed: int, dtype: torch.dtype = torch.float64
) -> RecurrentLayer:
    """A layer all of whose weights are random: biases and peepholes too."""
    torch.manual_seed(seed)
    layer = make_layer(cell, input_size, hidden_size).to(dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.5)
    return layer


def random_inputs(
    layer: RecurrentLayer, num_steps: int, batch_size: int, requires_grad: bool = False
) -> tuple[Tensor, State]:
    """Random x (T, B, I) and state of (B, H) tensors, in the dtype of the layer."""
    weight_ih, weight_hh = layer.weights()[:2]
    shapes = [(num_steps, batch_size, weight_ih.shape[1])]
    shapes += [(batch_size, weight_hh.shape[1])] * layer.num_states
    x, *state = (torch.randn(shape, dtype=weight_ih.dtype) for shape in shapes)
    for tensor in (x, *state):
        tensor.requires_grad_(requires_grad)
    return x, tuple(state)


def to_numpy(layer: RecurrentLayer) -> LayerWeights[np.ndarray]:
    """The layer's weights as equations/language_model.py takes them."""
    return layer.weights().map(lambda w: w.detach().numpy())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@settings(max_examples=15, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 6)] * 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_layer_equals_its_equation(
    cell: str, dtype: torch.dtype, tolerance: float, sizes: tuple[int, ...], seed: int
) -> None:
    """Every cell, the fused ones too, equals the NumPy step applied once per time step."""
    num_steps, batch_size, input_size, hidden_size = sizes
    layer = random_layer(cell, input_size, hidden_size, seed, dtype)
    x, state = random_inputs(layer, num_steps, batch_size)
    with torch.no_grad():
        outputs, last = layer(x, state)
    assert outputs.shape == (num_steps, batch_size, hidden_size)
    assert outputs.dtype == dtype
    weights = to_numpy(layer)
    expected = tuple(s.numpy() for s in state)
    for t in range(num_steps):
        expected = STEPS[cell](weights, x[t].numpy(), expected)
        np.testing.assert_allclose(outputs[t].numpy(), expected[0], tolerance, tolerance)
    assert len(last) == len(expected) == NUM_STATES[cell]
    for ours, theirs in zip(last, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, tolerance, tolerance)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("chunk", [1, 3, 4, 7])
def test_any_chunking_with_the_state_carried_is_one_pass(cell: str, chunk: int) -> None:
    """One pass over 7 steps equals any chunking of it with the state carried over."""
    layer = random_layer(cell, 4, 5, seed=1)
    x, state = random_inputs(layer, 7, 3)
    whole, whole_state = layer(x, state)
    pieces = []
    for piece in x.split(chunk):
        outputs, state = layer(piece, state)
        pieces.append(outputs)
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state, whole_state, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(outputs[-1], state[0], rtol=0, atol=0)


@pytest.mark.parametrize("cell", OWN)
@pytest.mark.parametrize("sizes", [(4, 2, 3, 3), (1, 1, 2, 1)], ids=str)
def test_gradcheck(cell: str, sizes: tuple[int, ...]) -> None:
    """The hand-written gradients of x, state and every weight are the numerical ones."""
    num_steps, batch_size, input_size, hidden_size = sizes
    layer = random_layer(cell, input_size, hidden_size, seed=2)
    x, state = random_inputs(layer, num_steps, batch_size, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, *rest: Tensor) -> State:
        state, values = rest[: layer.num_states], rest[layer.num_states :]
        named = dict(zip(names, values, strict=True))
        outputs, last = torch.func.functional_call(layer, named, (x, state))
        return (outputs, *last)

    assert torch.autograd.gradcheck(run, (x, *state, *layer.parameters()))


def naive_peephole(w: LayerWeights[Tensor], x: Tensor, state: State) -> State:
    """The equations of lstm-peephole as one would write them first."""
    h, c = state
    u, f, g, o = (x @ w.weight_ih.T + h @ w.weight_hh.T + w.bias_ih).chunk(4, dim=1)
    u, f = torch.sigmoid(u + w.peephole[0] * c), torch.sigmoid(f + w.peephole[1] * c)
    c = u * torch.tanh(g) + f * c
    return torch.sigmoid(o + w.peephole[2] * c) * torch.tanh(c), c


def naive_reset_before(w: LayerWeights[Tensor], x: Tensor, state: State) -> State:
    """The equations of gru-reset-before with the concatenation written out."""
    (c,) = state
    w_r, w_u, w_c = torch.cat((w.weight_hh, w.weight_ih), dim=1).chunk(3)
    b_r, b_u, b_c = w.bias_ih.chunk(3)
    r = torch.sigmoid(torch.cat((c, x), dim=1) @ w_r.T + b_r)
    u = torch.sigmoid(torch.cat((c, x), dim=1) @ w_u.T + b_u)
    candidate = torch.tanh(torch.cat((r * c, x), dim=1) @ w_c.T + b_c)
    return (u * candidate + (1 - u) * c,)


def naive_minimal(w: LayerWeights[Tensor], x: Tensor, state: State) -> State:
    """The equations of gru-minimal with the concatenation written out."""
    (c,) = state
    w_u, w_c = torch.cat((w.weight_hh, w.weight_ih), dim=1).chunk(2)
    b_u, b_c = w.bias_ih.chunk(2)
    u = torch.sigmoid(torch.cat((c, x), dim=1) @ w_u.T + b_u)
    candidate = torch.tanh(torch.cat((c, x), dim=1) @ w_c.T + b_c)
    return (u * candidate + (1 - u) * c,)


NAIVE: dict[str, Callable[[LayerWeights[Tensor], Tensor, State], State]] = {
    "lstm-peephole": naive_peephole,
    "gru-reset-before": naive_reset_before,
    "gru-minimal": naive_minimal,
}


@pytest.mark.parametrize("cell", OWN)
@pytest.mark.parametrize("device", DEVICES)
def test_own_gradients_equal_autograd_through_the_naive_loop(cell: str, device: str) -> None:
    """Backpropagation by hand equals autograd through the plain equations."""
    layer = random_layer(cell, 7, 6, seed=3).to(device)
    x, state = random_inputs(layer, 9, 4)
    x, state = x.to(device).requires_grad_(), tuple(s.to(device).requires_grad_() for s in state)

    def naive(x: Tensor, state: State) -> tuple[Tensor, State]:
        outputs = []
        for x_t in x:
            state = NAIVE[cell](layer.weights(), x_t, state)
            outputs.append(state[0])
        return torch.stack(outputs), state

    leaves = (x, *state, *layer.parameters())
    gradients = []
    for run in (layer, naive):
        torch.manual_seed(4)  # the same random loss, of outputs and last state alike
        outputs, last = run(x, state)
        results = (outputs, *last)
        loss = sum((r * torch.randn(r.shape, dtype=r.dtype).to(device)).sum() for r in results)
        gradients.append(torch.autograd.grad(loss, leaves))
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cell", OWN)
def test_no_double_backward(cell: str) -> None:
    """The gradient of a gradient of a loss is refused, not silently wrong."""
    layer = random_layer(cell, 2, 3, seed=5)
    x, state = random_inputs(layer, 2, 1, requires_grad=True)
    loss = layer(x, state)[0].square().sum()
    (dx,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()


@pytest.mark.parametrize("cell", CELLS)
def test_inference_equals_training(cell: str) -> None:
    """Outputs are the same with gradients on, off, in inference mode and for frozen weights."""
    layer = random_layer(cell, 3, 4, seed=6)
    x, state = random_inputs(layer, 5, 2)
    expected = layer(x, state)[0].detach()
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            torch.testing.assert_close(layer(x, state)[0], expected, rtol=1e-12, atol=1e-12)
    outputs = layer.requires_grad_(False)(x, state)[0]
    assert not outputs.requires_grad
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_crosses_a_detached_state(cell: str) -> None:
    """After a cut, the gradient of a chunk is that of the chunk alone; inputs are not written."""
    layer = random_layer(cell, 3, 4, seed=7)
    x, state = random_inputs(layer, 6, 2, requires_grad=True)
    copies = [s.detach().clone() for s in (x, *state)]
    _, middle = layer(x[:3], state)
    outputs, _ = layer(x[3:], tuple(s.detach() for s in middle))
    outputs.sum().backward()
    assert not x.grad[:3].any()
    assert all(step.any() for step in x.grad[3:])
    assert all(s.grad is None for s in state)
    assert all(torch.equal(a, b) for a, b in zip((x, *state), copies, strict=True))


@pytest.mark.parametrize("cell", CELLS)
def test_bf16_autocast_is_close_and_states_stay_fp32(cell: str) -> None:
    """Two stacked layers under autocast give fp32 states, and results near those of fp32."""
    layers = [random_layer(cell, *sizes, 8, torch.float32) for sizes in ((12, 16), (16, 16))]
    for parameter in (p for layer in layers for p in layer.parameters()):
        torch.nn.init.uniform_(parameter, -0.25, 0.25)
    x, _ = random_inputs(layers[0], 6, 4)
    states = [random_inputs(layer, 1, 4)[1] for layer in layers]
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            middle, last_0 = layers[0](x, states[0])
            outputs, last_1 = layers[1](middle, states[1])
        assert all(s.dtype == torch.float32 for s in (*last_0, *last_1))
        for layer in layers:
            layer.zero_grad()
        outputs.float().square().sum().backward()
        gradients = [p.grad.flatten() for layer in layers for p in layer.parameters()]
        assert all(g.dtype == torch.float32 for g in gradients)
        found.append((outputs.detach().float(), torch.cat(gradients)))
    (exact, exact_gradient), (rounded, rounded_gradient) = found
    assert not torch.equal(exact, rounded)  # autocast did reach the products
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.03)
    assert torch.cosine_similarity(rounded_gradient, exact_gradient, dim=0) > 0.995


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_matrices_begin_orthogonal(cell: str) -> None:
    """Each gate's recurrent matrix is orthogonal, each gate's input matrix Xavier-uniform."""
    torch.manual_seed(9)
    layer = make_layer(cell, 24, 8)
    weights = layer.weights()
    assert weights.weight_ih.shape == (NUM_GATES[cell] * 8, 24)
    for gate in weights.weight_hh.chunk(NUM_GATES[cell]):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8), rtol=0, atol=1e-5)
    bound = (6 / (24 + 8)) ** 0.5
    assert weights.weight_ih.abs().max() <= bound
    assert weights.weight_ih.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)


@pytest.mark.parametrize("cell", CELLS)
def test_memory_begins_by_remembering(cell: str) -> None:
    """With x = 0 and c small, a fresh gated cell keeps sigmoid(1) of its memory (bias 1 once)."""
    weights = make_layer(cell, 3, 4).weights()
    total = weights.bias_ih + (0 if weights.bias_hh is None else weights.bias_hh)
    remembering = {
        "lstm": (0, 1, 0, 0),
        "lstm-peephole": (0, 1, 0, 0),
        "gru": (0, 1, 0),
        "gru-reset-before": (0, -1, 0),
        "gru-minimal": (-1, 0),
    }
    expected = torch.tensor(remembering.get(cell, (0,)), dtype=torch.float32)
    assert torch.equal(total, expected.repeat_interleave(4))
    assert weights.peephole is None or not weights.peephole.any()


def test_relu_recurrence_begins_stable() -> None:
    """A fresh rnn-relu never lengthens its state: nothing explodes over 1,000 silent steps."""
    layer = make_layer("rnn-relu", 2, 32)
    start = torch.rand(1, 32)
    with torch.no_grad():
        outputs, _ = layer(torch.zeros(1000, 1, 2), (start,))
    lengths = torch.cat((start[None], outputs)).norm(dim=2)[:, 0]
    assert (lengths.diff() <= 1e-5).all()


@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_holds_parameters_and_nothing_else(cell: str) -> None:
    """No buffers; weights() are the parameters themselves, so writing to one writes both."""
    layer = make_layer(cell, 2, 3)
    assert list(layer.buffers()) == []
    weights = [w for w in layer.weights() if w is not None]
    assert {id(w) for w in weights} == {id(p) for p in layer.parameters()}
    assert layer.num_states == NUM_STATES[cell]


def test_unknown_cell_is_refused() -> None:
    """The message names what there is."""
    with pytest.raises(UsageError, match="lstm-peephole"):
        make_layer("transformer", 2, 3)
