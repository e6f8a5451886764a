"""The recurrent layers: torch's fused kernels, and the recurrences torch has no kernel for.

``make_layer`` makes a layer, which maps x (T, B, I) and a state, a tuple of (B, H) tensors, to
outputs (T, B, H) and the next state; equations/language_model.py says in NumPy what each cell
computes.

lstm-peephole, gru-reset-before and gru-minimal are autograd Functions written here. What does
not depend on the recurrence leaves the loop over time: the input product is one big product
before it, and the weight gradients are big products after the backward loop, read from one
buffer of pre-activation gradients. Inside the loop a step is one product (two where the reset
comes before it) and a few pointwise operations in place.

Under torch.autocast the products run in its dtype; states and pointwise maths stay in the dtype
of the weights.

Letters: B batch, T time, I layer input, H hidden, G gates of a cell.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from charlm.equations.language_model import NUM_GATES, NUM_STATES, LayerWeights
from charlm.errors import FieldError, must_be_one_of


class RecurrentLayer(nn.Module):
    """One recurrent layer, time-major: x (T, B, I), state -> outputs (T, B, H), state.

    The state is a tuple of num_states (B, H) tensors and outputs[-1] is its first entry.
    """

    num_states: int

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs (T, B, H) and the state after the last step."""
        raise NotImplementedError

    def weights(self) -> LayerWeights[Tensor]:
        """The parameters themselves, in the order of equations/language_model.py."""
        raise NotImplementedError


def make_layer(cell: str, input_size: int, hidden_size: int) -> RecurrentLayer:
    """A freshly initialised layer of the named cell. Raises FieldError for an unknown name."""
    if cell not in NUM_GATES:
        raise FieldError("cell", must_be_one_of(NUM_GATES, cell))
    kind = OwnLayer if cell in OWN_RECURRENCES else FusedLayer
    layer = kind(cell, input_size, hidden_size)
    initialise(cell, layer.weights())
    return layer


@torch.no_grad()
def initialise(cell: str, weights: LayerWeights[Tensor]) -> None:
    """Draw a layer's first weights in place, gate by gate.

    Recurrent matrices are orthogonal: a step neither stretches nor shrinks what it carries (with
    ReLU it never stretches it). Input matrices are Xavier-uniform for one gate's fan. Biases are
    zero, except that a cell with a gate on its memory starts out keeping sigmoid(1) = 73 % of
    it: the LSTM's forget gate (Jozefowicz et al. 2015), torch's z = 1 - update in the fused GRU,
    the update gate of the others with the opposite sign. Peepholes start closed.
    """
    num_gates = NUM_GATES[cell]
    for gate in weights.weight_ih.chunk(num_gates):
        nn.init.xavier_uniform_(gate)
    for gate in weights.weight_hh.chunk(num_gates):
        nn.init.orthogonal_(gate)
    for zero in (weights.bias_ih, weights.bias_hh, weights.peephole):
        if zero is not None:
            zero.zero_()
    # Of torch's two biases one alone gets the 1: both would add up to 2.
    gates = weights.bias_ih.chunk(num_gates)
    if cell in ("lstm", "lstm-peephole", "gru"):
        gates[1].fill_(1.0)
    elif cell == "gru-reset-before":
        gates[1].fill_(-1.0)
    elif cell == "gru-minimal":
        gates[0].fill_(-1.0)


class FusedLayer(RecurrentLayer):
    """lstm, gru, rnn-tanh and rnn-relu: torch's kernels, one layer of them."""

    def __init__(self, cell: str, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.num_states = NUM_STATES[cell]
        self.rnn: nn.RNNBase
        if cell == "lstm":
            self.rnn = nn.LSTM(input_size, hidden_size)
        elif cell == "gru":
            self.rnn = nn.GRU(input_size, hidden_size)
        else:
            self.rnn = nn.RNN(input_size, hidden_size, nonlinearity=cell.removeprefix("rnn-"))

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs (T, B, H) and the state, which keeps its dtype under autocast."""
        first = tuple(s.unsqueeze(0) for s in state)  # (1, B, H): torch counts layers
        outputs, last = self.rnn(x, first if self.num_states == 2 else first[0])
        last = last if self.num_states == 2 else (last,)
        return outputs, tuple(b.squeeze(0).to(a.dtype) for a, b in zip(state, last, strict=True))

    def weights(self) -> LayerWeights[Tensor]:
        """The parameters themselves, in the order of equations/language_model.py."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.rnn.all_weights[0]
        return LayerWeights(weight_ih, weight_hh, bias_ih, bias_hh)


class OwnLayer(RecurrentLayer):
    """lstm-peephole, gru-reset-before and gru-minimal: the Functions of this file."""

    def __init__(self, cell: str, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = cell
        self.num_states = NUM_STATES[cell]
        rows = NUM_GATES[cell] * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        has_peephole = cell == "lstm-peephole"
        self.peephole = nn.Parameter(torch.empty(3, hidden_size)) if has_peephole else None

    def forward(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Outputs (T, B, H) and the state, both in the dtype of the weights."""
        device = x.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else self.weight_hh.dtype
        parameters = (p for p in self.weights() if p is not None)
        recurrence: Any = OWN_RECURRENCES[self.cell]
        outputs, *rest = recurrence.apply(x, *state, *parameters, dtype)
        return outputs, (outputs[-1], *rest)

    def weights(self) -> LayerWeights[Tensor]:
        """The parameters themselves, in the order of equations/language_model.py."""
        return LayerWeights(self.weight_ih, self.weight_hh, self.bias_ih, peephole=self.peephole)


# What the Functions share. `dtype` is the one that products run in.


def input_product(x: Tensor, w_ih: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """W_ih x + b for all steps and gates at once: (T, B, G*H), in the dtype of the bias."""
    if b.dtype == dtype:
        return linear(x.to(dtype), w_ih, b)
    return linear(x.to(dtype), w_ih.to(dtype)) + b


def add_product(total: Tensor, a: Tensor, weight: Tensor) -> None:
    """total += a @ weight, the product in the dtype of the weight: (B, N), (B, M), (M, N)."""
    if total.dtype == weight.dtype:
        total.addmm_(a, weight)
    else:
        total.add_(a.to(weight.dtype) @ weight)


def trajectory(initial: Tensor, num_steps: int) -> Tensor:
    """A buffer (T+1, B, H) for a state over time; row 0 is the initial state."""
    states = initial.new_empty(num_steps + 1, *initial.shape)
    states[0] = initial
    return states


def outer_sum(dz: Tensor, a: Tensor) -> Tensor:
    """Sum over time and batch of dz a^T, a weight's gradient: (T, B, M), (T, B, N) -> (M, N)."""
    return dz.flatten(0, 1).t() @ a.to(dz.dtype).flatten(0, 1)


def sigmoid_slope(gate: Tensor, out: Tensor) -> Tensor:
    """Derivative of the sigmoid, from its value s: s - s^2, written to out."""
    return torch.addcmul(gate, gate, gate, value=-1, out=out)


def tanh_slope(value: Tensor, out: Tensor) -> Tensor:
    """Derivative of tanh, from its value v: 1 - v^2, written to out."""
    return torch.addcmul(value.new_ones(()), value, value, value=-1, out=out)


# In each backward the buffer `dz` first holds slopes: the derivative of what a gate feeds by the
# gate's pre-activation, for all steps at once. The loop multiplies step t by the gradient that
# arrives there, which turns the slopes into gradients of the pre-activations, in place.


class PeepholeLSTM(Function):
    """equations.lstm_peephole over time: gates update, forget, candidate, output."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h_0: Tensor,
        c_0: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b: Tensor,
        peephole: Tensor,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """Outputs (T, B, H) and the last c (B, H)."""
        gates = input_product(x, w_ih, b, dtype)  # (T, B, 4H)
        recurrent = w_hh.to(dtype).t()  # (H, 4H)
        h, c = trajectory(h_0, len(x)), trajectory(c_0, len(x))  # (T+1, B, H)
        p_first, p_output = peephole[:2], peephole[2]
        for t, z in enumerate(gates):
            add_product(z, h[t], recurrent)
            z_4 = z.view(len(z), 4, -1)  # (B, 4, H)
            update, forget, candidate, output = z_4.unbind(1)
            z_4[:, :2].addcmul_(c[t].unsqueeze(1), p_first).sigmoid_()
            torch.mul(forget, c[t], out=c[t + 1]).addcmul_(update, candidate.tanh_())
            output.addcmul_(c[t + 1], p_output).sigmoid_()
            torch.tanh(c[t + 1], out=h[t + 1]).mul_(output)
        ctx.save_for_backward(x, h, c, gates, w_ih, w_hh, peephole)
        ctx.dtype = dtype
        return h[1:], c[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor, grad_c: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of every argument of forward."""
        x, h, c, gates, w_ih, w_hh, peephole = ctx.saved_tensors
        recurrent = w_hh.to(ctx.dtype)  # (4H, H)
        p_update, p_forget, p_output = peephole
        update, forget, candidate, output = gates.chunk(4, dim=2)  # (T, B, H)
        dz = torch.empty_like(gates)
        dz_update, dz_forget, dz_candidate, dz_output = dz.chunk(4, dim=2)
        dz_memory = dz.view(*dz.shape[:2], 4, -1)[:, :, :3]  # the gates that act on c
        squashed = torch.tanh(c[1:])
        sigmoid_slope(update, out=dz_update).mul_(candidate)
        sigmoid_slope(forget, out=dz_forget).mul_(c[:-1])
        tanh_slope(candidate, out=dz_candidate).mul_(update)
        sigmoid_slope(output, out=dz_output).mul_(squashed)
        c_to_h = tanh_slope(squashed, out=squashed).mul_(output)
        dh, dc = torch.zeros_like(h[0]), grad_c.clone()
        for t in reversed(range(len(x))):
            dh += grad_outputs[t]
            dc.addcmul_(dh, c_to_h[t]).addcmul_(dz_output[t].mul_(dh), p_output)
            dz_memory[t].mul_(dc.unsqueeze(1))
            dc.mul_(forget[t]).addcmul_(dz_update[t], p_update).addcmul_(dz_forget[t], p_forget)
            add_product(dh.zero_(), dz[t], recurrent)
        seen = ((dz_update, c[:-1]), (dz_forget, c[:-1]), (dz_output, c[1:]))
        d_peephole = torch.stack([torch.mul(d, s, out=c_to_h).sum((0, 1)) for d, s in seen])
        db, dz = dz.sum((0, 1)), dz.to(ctx.dtype)
        dx = dz @ w_ih.to(ctx.dtype) if ctx.needs_input_grad[0] else None
        return dx, dh, dc, outer_sum(dz, x), outer_sum(dz, h[:-1]), db, d_peephole, None


class ResetBeforeGRU(Function):
    """equations.gru_reset_before over time: gates relevance, update, candidate."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, c_0: Tensor, w_ih: Tensor, w_hh: Tensor, b: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor]:
        """Outputs (T, B, H)."""
        gates = input_product(x, w_ih, b, dtype)  # (T, B, 3H)
        c = trajectory(c_0, len(x))  # (T+1, B, H)
        relevant = torch.empty_like(c[1:])  # relevance * c<t-1>
        sizes = [2 * c.shape[2], c.shape[2]]
        w_gates, w_candidate = torch.split(w_hh.to(dtype).t(), sizes, dim=1)  # (H, 2H), (H, H)
        for t, z in enumerate(gates):
            z_gates, candidate = torch.split(z, sizes, dim=1)  # (B, 2H), (B, H)
            add_product(z_gates, c[t], w_gates)
            relevance, update = z_gates.sigmoid_().chunk(2, dim=1)
            torch.mul(relevance, c[t], out=relevant[t])
            add_product(candidate, relevant[t], w_candidate)
            torch.lerp(c[t], candidate.tanh_(), update, out=c[t + 1])
        ctx.save_for_backward(x, c, relevant, gates, w_ih, w_hh)
        ctx.dtype = dtype
        return (c[1:],)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of every argument of forward."""
        x, c, relevant, gates, w_ih, w_hh = ctx.saved_tensors
        sizes = [2 * c.shape[2], c.shape[2]]
        w_gates, w_candidate = torch.split(w_hh.to(ctx.dtype), sizes)  # (2H, H), (H, H)
        relevance, update, candidate = gates.chunk(3, dim=2)  # (T, B, H)
        keep = 1 - update
        dz = torch.empty_like(gates)
        dz_relevance, dz_update, dz_candidate = dz.chunk(3, dim=2)
        dz_gates = dz[:, :, : sizes[0]]
        dz_memory = dz.view(*dz.shape[:2], 3, -1)[:, :, 1:]  # the gates that act on c
        sigmoid_slope(relevance, out=dz_relevance).mul_(c[:-1])
        sigmoid_slope(update, out=dz_update).mul_(candidate - c[:-1])
        tanh_slope(candidate, out=dz_candidate).mul_(update)
        dc, d_relevant = torch.zeros_like(c[0]), torch.empty_like(c[0])
        for t in reversed(range(len(x))):
            dc += grad_outputs[t]
            dz_memory[t].mul_(dc.unsqueeze(1))
            add_product(d_relevant.zero_(), dz_candidate[t], w_candidate)
            dz_relevance[t].mul_(d_relevant)
            dc.mul_(keep[t]).addcmul_(d_relevant, relevance[t])
            add_product(dc, dz_gates[t], w_gates)
        db, dz = dz.sum((0, 1)), dz.to(ctx.dtype)
        dx = dz @ w_ih.to(ctx.dtype) if ctx.needs_input_grad[0] else None
        dz_gates, dz_candidate = torch.split(dz, sizes, dim=2)
        dw_hh = torch.cat((outer_sum(dz_gates, c[:-1]), outer_sum(dz_candidate, relevant)))
        return dx, dc, outer_sum(dz, x), dw_hh, db, None


class MinimalGRU(Function):
    """equations.gru_minimal over time: gates update, candidate."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, c_0: Tensor, w_ih: Tensor, w_hh: Tensor, b: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor]:
        """Outputs (T, B, H)."""
        gates = input_product(x, w_ih, b, dtype)  # (T, B, 2H)
        recurrent = w_hh.to(dtype).t()  # (H, 2H)
        c = trajectory(c_0, len(x))  # (T+1, B, H)
        for t, z in enumerate(gates):
            add_product(z, c[t], recurrent)
            update, candidate = z.chunk(2, dim=1)  # (B, H)
            torch.lerp(c[t], candidate.tanh_(), update.sigmoid_(), out=c[t + 1])
        ctx.save_for_backward(x, c, gates, w_ih, w_hh)
        ctx.dtype = dtype
        return (c[1:],)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of every argument of forward."""
        x, c, gates, w_ih, w_hh = ctx.saved_tensors
        recurrent = w_hh.to(ctx.dtype)  # (2H, H)
        update, candidate = gates.chunk(2, dim=2)  # (T, B, H)
        keep = 1 - update
        dz = torch.empty_like(gates)
        dz_update, dz_candidate = dz.chunk(2, dim=2)
        dz_both = dz.view(*dz.shape[:2], 2, -1)
        sigmoid_slope(update, out=dz_update).mul_(candidate - c[:-1])
        tanh_slope(candidate, out=dz_candidate).mul_(update)
        dc = torch.zeros_like(c[0])
        for t in reversed(range(len(x))):
            dc += grad_outputs[t]
            dz_both[t].mul_(dc.unsqueeze(1))
            add_product(dc.mul_(keep[t]), dz[t], recurrent)
        db, dz = dz.sum((0, 1)), dz.to(ctx.dtype)
        dx = dz @ w_ih.to(ctx.dtype) if ctx.needs_input_grad[0] else None
        return dx, dc, outer_sum(dz, x), outer_sum(dz, c[:-1]), db, None


OWN_RECURRENCES: dict[str, type[Function]] = {
    "lstm-peephole": PeepholeLSTM,
    "gru-reset-before": ResetBeforeGRU,
    "gru-minimal": MinimalGRU,
}
