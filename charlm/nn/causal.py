"""RecurrentLM: ids and a state in, a distribution over the next token and a state out.

It knows ids, never text. Letters: B batch, T time, V vocabulary, E embedding, H hidden, L layers,
D the width that the softmax reads.
"""

import dataclasses
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.config import ModelConfig
from charlm.equations.language_model import NUM_STATES, LayerWeights
from charlm.equations.parameters import Arrays, layer_names
from charlm.nn.cells import RecurrentLayer, make_layer

# Of each layer the (B, H) tensors of its cell: (h, c) or (h,).
State = tuple[tuple[Tensor, ...], ...]


class RecurrentLM(nn.Module):
    """Embedding, stacked recurrent layers, an optional deep network at each step, softmax.

    The first input is the id ``vocab_size``, whose embedding is the zero vector and stays it; the
    first state is zero (``init_state``).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        hidden, embedding = config.hidden_size, config.embedding_size
        self.embedding = nn.Embedding(
            config.vocab_size + 1, embedding, padding_idx=config.vocab_size
        )
        self.layers = nn.ModuleList(
            make_layer(config.cell, embedding + config.label_size if layer == 0 else hidden, hidden)
            for layer in range(config.num_layers)
        )
        top = (1 + config.bidirectional) * hidden  # both directions side by side
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
        self.given: State | None = None  # the first state (H,), once a label is given
        if config.num_labels:
            self.label_embedding = nn.Embedding(config.num_labels, config.label_size)
            self.first = nn.ModuleList(
                nn.Linear(config.label_size, NUM_STATES[config.cell] * hidden) for _ in self.layers
            )
        self._init_weights()

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
        for linear in self.first if self.config.num_labels else ():
            assert isinstance(linear, nn.Linear)
            nn.init.zeros_(linear.weight)  # so a<0> is zero to begin with
            nn.init.zeros_(linear.bias)

    @property
    def softmax_weight(self) -> Tensor:
        """The matrix of the softmax (V, D)."""
        if self.config.tie_weights:
            return self.embedding.weight[: self.config.vocab_size]
        return self.softmax.weight

    def softmax_rows(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (M, D) of the softmax matrix and biases (M,) of the types ``ids`` (M,).

        The gradient of the matrix is sparse: it has these rows alone.
        """
        tied = self.config.tie_weights
        weight = self.embedding.weight if tied else self.softmax.weight
        return F.embedding(ids, weight, sparse=True), self.softmax.bias[ids]

    def layer_weights(self) -> tuple[LayerWeights[Tensor], ...]:
        """The weights of the recurrent stack, bottom first, in the order of the equations."""
        return tuple(cast(RecurrentLayer, layer).weights() for layer in self.layers)

    def output_weights(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """Weight (D, D') and bias (D,) of each layer of the per-step output network."""
        layers = (cast(nn.Linear, layer) for layer in self.output)
        return tuple((layer.weight, layer.bias) for layer in layers)

    def init_state(self, batch_size: int, labels: Tensor | None = None) -> State:
        """a<0> = 0 for every layer, or what the label of each row, labels (B,), makes of it."""
        weight = self.embedding.weight
        if labels is not None:
            vectors = self.label_embedding(labels.to(weight.device))  # (B, S)
            return tuple(
                _first_state(linear(vectors), layer.num_states)  # type: ignore[arg-type]
                for linear, layer in zip(self.first, self.layers, strict=True)
            )
        if self.given is not None:
            return tuple(
                tuple(state.repeat(batch_size, 1) for state in layer) for layer in self.given
            )
        return tuple(
            tuple(
                torch.zeros(
                    batch_size, self.config.hidden_size, device=weight.device, dtype=weight.dtype
                )
                for _ in range(layer.num_states)  # type: ignore[arg-type]
            )
            for layer in self.layers
        )

    def hidden(
        self,
        inputs: Tensor,
        state: State,
        generator: torch.Generator | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """What the recurrent stack says after each input.

        inputs: (B, T) ids, each below V or V itself for the zero vector; labels (B,) of a
        conditional model. Returns (T, B, H) and the state after the last input. In training mode
        dropout draws from ``generator``.
        """
        return self._stacked(self.layers, inputs, state, generator, labels)

    def _stacked(
        self,
        layers: nn.ModuleList,
        inputs: Tensor,
        state: State,
        generator: torch.Generator | None,
        labels: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """``hidden`` of one stack of layers."""
        rate = self.config.dropout
        x = self._dropout(self.embedding(inputs.t()), self.config.input_dropout, generator)
        if labels is not None:
            vectors = self.label_embedding(labels.to(x.device))  # (B, S)
            x = torch.cat((x, vectors.expand(len(x), -1, -1)), 2)  # [x<t>, l]
        after = []  # x is (T, B, E) here
        for depth, (layer, before) in enumerate(zip(layers, state, strict=True)):
            if depth:
                x = self._dropout(x, rate, generator)
            x, new = layer(x, before)  # (T, B, H)
            after.append(new)
        return self._dropout(x, rate, generator), tuple(after)

    @torch.no_grad()
    def given_label(self, label: int) -> "RecurrentLM":
        """The model of what has this label, for use (equations.given_label).

        It has no labels itself and shares all weights but those of the first layer's input.
        """
        config = dataclasses.replace(self.config, num_labels=0, label_size=0)
        index = torch.tensor([label], device=self.embedding.weight.device)
        vector, size = self.label_embedding(index)[0], config.embedding_size
        tensors = {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith(("first.", "label_embedding."))
        }
        weight, _, bias, *_ = layer_names(config.cell, 0)
        below = tensors[weight]
        tensors[weight] = below[:, :size].contiguous()
        tensors[bias] = tensors[bias] + below[:, size:] @ vector
        with torch.device("meta"):
            model = RecurrentLM(config)
        model.load_state_dict(tensors, assign=True)
        first = self.init_state(1, index)
        model.given = tuple(tuple(state[0] for state in layer) for layer in first)
        return model.eval().requires_grad_(False)

    def features(self, hidden: Tensor) -> Tensor:
        """What the softmax reads: (..., H) -> (..., D)."""
        for linear in self.output:
            hidden = F.relu(linear(hidden))
        return hidden if self.projection is None else self.projection(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every type: (..., H) -> (..., V)."""
        return F.linear(self.features(hidden), self.softmax_weight, self.softmax.bias)

    def forward(
        self, inputs: Tensor, state: State, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """Logits (B, T, V) of the token after each input, and the state after the last."""
        hidden, state = self.hidden(inputs, state, generator)
        return self.logits(hidden).transpose(0, 1), state

    def _dropout(self, x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
        """Dropout with one mask for all steps of the window (Gal & Ghahramani 2016).

        x: (T, B, H). The mask is (B, H): as cheap as it is stronger than one drawn anew for
        every step.
        """
        if not self.training or rate == 0:
            return x
        keep = torch.empty(x.shape[1:], device=x.device, dtype=x.dtype)
        return x * keep.bernoulli_(1 - rate, generator=generator).div_(1 - rate)


def _first_state(z: Tensor, num_states: int) -> tuple[Tensor, ...]:
    """a<0>, and c<0> where there is one, from what a label's vector was mapped to (B, K*H)."""
    a, *c = z.chunk(num_states, 1)
    return (torch.tanh(a), *c)


Model = TypeVar("Model", bound=RecurrentLM)


def to_arrays(model: RecurrentLM) -> dict[str, npt.NDArray[np.float32]]:
    """The parameters by name, as equations/parameters.py describes them."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def from_arrays(config: ModelConfig, arrays: Arrays) -> RecurrentLM:
    """A model with these weights, for use: in evaluation mode, without gradients."""
    with torch.device("meta"):
        model = RecurrentLM(config)
    return with_arrays(model, arrays)


def with_arrays(model: Model, arrays: Arrays) -> Model:
    """The model with these weights in the place of its own, for use."""
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
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
