"""Network: what language models of either kind have, and the two in which they differ build on.

It knows ids, never text. Letters: B batch, T time, V vocabulary, E embedding, H hidden, L layers,
D the width that the softmax reads.
"""

from typing import Any, Generic, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.equations.language_model import LayerWeights
from charlm.equations.parameters import Arrays
from charlm.network_config import CausalConfig, ClozeConfig
from charlm.nn.cells import RecurrentLayer, make_layer
from charlm.nn.shares import dropped
from charlm.nn.softmax import take_numbers

# Of each layer the (B, H) tensors of its cell: (h, c) or (h,).
State = tuple[tuple[Tensor, ...], ...]
C = TypeVar("C", CausalConfig, ClozeConfig)
_LARGE = 2**25  # numbers, 128 MB


class Network(nn.Module, Generic[C]):
    """Embedding, stacked recurrent layers, an optional deep network at each step, softmax.

    The first input is the id ``vocab_size``, whose embedding is the zero vector and stays it; the
    first state is zero (``init_state``).
    """

    def __init__(self, config: C, label_size: int = 0) -> None:
        super().__init__()
        self.config: C = config
        hidden, embedding = config.hidden_size, config.embedding_size
        self.embedding = nn.Embedding(
            config.vocab_size + 1, embedding, padding_idx=config.vocab_size
        )
        self.layers = self._stack(embedding + label_size)
        top = config.DIRECTIONS * hidden  # both directions side by side
        self.output = nn.ModuleList(
            nn.Linear(hidden if depth else top, hidden) for depth in range(config.output_layers)
        )
        top = hidden if config.output_layers else top
        # With tied weights the softmax reads what has the width of the embedding.
        width = embedding if config.tie_weights else top
        self.projection = nn.Linear(top, width, bias=False) if width != top else None
        self.softmax = nn.Linear(width, config.vocab_size)
        if config.tie_weights:
            del self.softmax.weight  # the embedding's rows serve in its place

    def _stack(self, width: int) -> nn.ModuleList:
        """A recurrent stack whose first layer reads so many numbers."""
        hidden = self.config.hidden_size
        return nn.ModuleList(
            make_layer(self.config.cell, hidden if layer else width, hidden)
            for layer in range(self.config.num_layers)
        )

    def _init_weights(self) -> None:
        """The recurrent layers have set themselves; here is what stands around them."""
        tied = self.config.tie_weights
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_size**-0.5 if tied else 1)
        with torch.no_grad():
            self.embedding.weight[self.config.vocab_size].zero_()
        for linear in self.output:
            assert isinstance(linear, nn.Linear)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.softmax.bias)

    @property
    def softmax_weight(self) -> Tensor:
        """The matrix of the softmax (V, D)."""
        if self.config.tie_weights:
            return self.embedding.weight[: self.config.vocab_size]
        return self.softmax.weight

    def softmax_rows(self, ids: Tensor, *, few: bool = False) -> tuple[Tensor, Tensor]:
        """Rows (M, D) of the softmax matrix and biases (M,) of the types ``ids`` (M,).

        The gradient of the matrix is sparse: it has these rows alone; with ``few`` so is that of
        the biases.
        """
        tied = self.config.tie_weights
        weight = self.embedding.weight if tied else self.softmax.weight
        bias = take_numbers(self.softmax.bias, ids) if few else self.softmax.bias[ids]
        return F.embedding(ids, weight, sparse=True), bias

    def layer_weights(self) -> tuple[LayerWeights[Tensor], ...]:
        """The weights of the recurrent stack, bottom first, in the order of the equations."""
        return tuple(cast(RecurrentLayer, layer).weights() for layer in self.layers)

    def output_weights(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Weight (D, D') and bias (D,) of each layer of the per-step output network."""
        layers = (cast(nn.Linear, layer) for layer in self.output)
        return tuple((layer.weight, layer.bias) for layer in layers)

    def init_state(self, batch_size: int) -> State:
        """a<0> = 0 for every layer."""
        weight, hidden = self.embedding.weight, self.config.hidden_size
        return tuple(
            tuple(
                torch.zeros(batch_size, hidden, device=weight.device, dtype=weight.dtype)
                for _ in range(layer.num_states)  # type: ignore[arg-type]
            )
            for layer in self.layers
        )

    def embedded(self, inputs: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The vectors (T, B, E) of inputs (B, T), ids each below V or V for the zero vector."""
        return self._dropout(self.embedding(inputs.t()), self.config.input_dropout, generator)

    def stacked(
        self, layers: nn.ModuleList, x: Tensor, state: State, generator: torch.Generator | None
    ) -> tuple[Tensor, State]:
        """What a stack says after each vector of x (T, B, E): (T, B, H), and the state after it."""
        after = []
        for depth, (layer, before) in enumerate(zip(layers, state, strict=True)):
            if depth:
                x = self._dropout(x, self.config.dropout, generator)
            x, new = layer(x, before)  # (T, B, H)
            after.append(new)
        return self._dropout(x, self.config.dropout, generator), tuple(after)

    def features(self, hidden: Tensor) -> Tensor:
        """What the softmax reads: (..., H) -> (..., D)."""
        for linear in self.output:
            hidden = F.relu(linear(hidden))
        return hidden if self.projection is None else self.projection(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every type: (..., H) -> (..., V)."""
        return F.linear(self.features(hidden), self.softmax_weight, self.softmax.bias)

    def _dropout(self, x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
        """Dropout of x (T, B, H), one mask (B, H) for all steps of the window."""
        return dropped(x, rate, generator) if self.training and rate else x


N = TypeVar("N", bound="Network[Any]")


def to_arrays(model: nn.Module) -> dict[str, npt.NDArray[np.float32]]:
    """The parameters by name, as equations/parameters.py describes them."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def own(array: npt.NDArray[np.float32]) -> Tensor:
    """A tensor of an array: a copy, or, of an array so large that two would be a burden, itself."""
    is_shared = array.size >= _LARGE and array.flags.writeable
    return torch.from_numpy(array if is_shared else array.copy())


def with_arrays(model: N, arrays: Arrays) -> N:
    """The model with these weights in the place of its own, for use; large ones are shared."""
    tensors = {name: own(array) for name, array in arrays.items()}
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False)


def detach_state(state: State) -> State:
    """The same state, cut off from the graph: no gradient crosses it."""
    return tuple(tuple(tensor.detach() for tensor in layer) for layer in state)


def narrow_state(state: State, batch_size: int) -> State:
    """The state of the first batch_size rows."""
    return tuple(tuple(tensor[:batch_size] for tensor in layer) for layer in state)


def num_parameters(model: nn.Module) -> int:
    """How many numbers the model learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def flatten_targets(hidden: Tensor, targets: Tensor, padding: int) -> tuple[Tensor, Tensor]:
    """Hidden vectors (M, H) and targets (M,) of the positions that count.

    hidden: (T, B, H), targets: (B, T).
    """
    flat = targets.t().reshape(-1)
    vectors = hidden.reshape(-1, hidden.shape[-1])
    kept = torch.nonzero(flat != padding).squeeze(1)
    if len(kept) == len(flat):
        return vectors, flat
    return vectors[kept], flat[kept]
