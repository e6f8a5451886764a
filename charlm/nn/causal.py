"""RecurrentLM: ids and a state in, a distribution over the next token and a state out.

Letters as in network.py; S the size of a label's embedding.
"""

import dataclasses

import torch
from torch import Tensor, nn

from charlm.equations.language_model import NUM_STATES
from charlm.equations.parameters import Arrays, layer_names
from charlm.network_config import CausalConfig
from charlm.nn.network import Network, State, with_arrays
from charlm.nn.skeleton import without_numbers


class RecurrentLM(Network[CausalConfig]):
    """A network that reads from left to right, of texts that may have a label.

    given is the first state (H,) of each layer, once a label is given.
    """

    def __init__(self, config: CausalConfig) -> None:
        super().__init__(config, config.label_size)
        self.given: State | None = None
        if config.num_labels:
            self.label_embedding = nn.Embedding(config.num_labels, config.label_size)
            self.first = nn.ModuleList(
                nn.Linear(config.label_size, NUM_STATES[config.cell] * config.hidden_size)
                for _ in self.layers
            )
        self._init_weights()
        for linear in self.first if config.num_labels else ():
            assert isinstance(linear, nn.Linear)
            nn.init.zeros_(linear.weight)  # so a<0> is zero to begin with
            nn.init.zeros_(linear.bias)

    def init_state(self, batch_size: int, labels: Tensor | None = None) -> State:
        """a<0> = 0 for every layer, or what the label of each row, labels (B,), makes of it."""
        if labels is not None:
            vectors = self.label_embedding(labels.to(self.embedding.weight.device))  # (B, S)
            return tuple(
                _first_state(linear(vectors), layer.num_states)  # type: ignore[arg-type]
                for linear, layer in zip(self.first, self.layers, strict=True)
            )
        if self.given is not None:
            return tuple(
                tuple(state.repeat(batch_size, 1) for state in layer) for layer in self.given
            )
        return super().init_state(batch_size)

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
        x = self.embedded(inputs, generator)
        if labels is not None:
            vectors = self.label_embedding(labels.to(x.device))  # (B, S)
            x = torch.cat((x, vectors.expand(len(x), -1, -1)), 2)  # [x<t>, l]
        return self.stacked(self.layers, x, state, generator)

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
        with without_numbers():
            model = RecurrentLM(config)
        model.load_state_dict(tensors, assign=True)
        first = self.init_state(1, index)
        model.given = tuple(tuple(state[0] for state in layer) for layer in first)
        return model.eval().requires_grad_(False)

    def forward(
        self, inputs: Tensor, state: State, generator: torch.Generator | None = None
    ) -> tuple[Tensor, State]:
        """Logits (B, T, V) of the token after each input, and the state after the last."""
        hidden, state = self.hidden(inputs, state, generator)
        return self.logits(hidden).transpose(0, 1), state


def _first_state(z: Tensor, num_states: int) -> tuple[Tensor, ...]:
    """a<0>, and c<0> where there is one, from what a label's vector was mapped to (B, K*H)."""
    a, *c = z.chunk(num_states, 1)
    return (torch.tanh(a), *c)


def from_arrays(config: CausalConfig, arrays: Arrays) -> RecurrentLM:
    """A model with these weights, for use: in evaluation mode, without gradients."""
    with without_numbers():
        model = RecurrentLM(config)
    return with_arrays(model, arrays)
