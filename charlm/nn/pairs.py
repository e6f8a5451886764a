"""EncoderDecoder: a source in, a distribution over each token of a target out.

equations/pairs.py says in NumPy what it computes. Pairs of different lengths stand side by side:
each direction of the encoder reads a source from its own end on, and attention sees no padding.

Letters: B pairs, S source steps, T target steps, V target types, H hidden units of one direction,
A = H what attention compares.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.equations.language_model import NUM_STATES
from charlm.equations.parameters import Arrays
from charlm.network_config import PairsConfig
from charlm.nn.cells import make_layer
from charlm.nn.head import BothWays, last_states, turned
from charlm.nn.network import State
from charlm.nn.shares import dropped
from charlm.nn.skeleton import without_numbers


class Sources(NamedTuple):
    """Sources side by side, <EOS> included. Behind the end of one stands anything."""

    ids: Tensor  # (S, B)
    lengths: Tensor  # (B,), each 1 or more


class Memory(NamedTuple):
    """Sources that have been read: what attention looks at."""

    values: Tensor  # (B, S, 2H)
    keys: Tensor | None  # (B, S, A); None without attention
    padding: Tensor  # (B, S): True behind the end

    def take(self, index: Tensor) -> "Memory":
        """Those of the sources (N,) of an index, which may come several times."""
        return Memory(*(None if part is None else part[index] for part in self))  # type: ignore[arg-type]


class EncoderDecoder(nn.Module):
    """A bidirectional encoder, a decoder that looks back at it, softmax.

    The first input of the decoder is the id ``vocab_size``, whose embedding is the zero vector and
    stays it; its first state is made of the encoder's last ones.
    """

    def __init__(self, config: PairsConfig) -> None:
        super().__init__()
        self.config = config
        hidden, size, cell = config.hidden_size, config.embedding_size, config.cell
        attends = config.attention != "none"
        if config.source_types:
            self.source_embedding = nn.Embedding(config.source_types, size)
        self.embedding = nn.Embedding(config.vocab_size + 1, size, padding_idx=config.vocab_size)
        self.encoder = nn.ModuleList(
            BothWays(cell, 2 * hidden if depth else size, hidden)
            for depth in range(config.num_layers)
        )
        self.first = nn.ModuleList(
            nn.Linear(2 * hidden, NUM_STATES[cell] * hidden) for _ in range(config.num_layers)
        )
        above = 3 * hidden if attends else hidden  # what a layer above the bottom one reads
        self.layers = nn.ModuleList(
            make_layer(cell, above if depth else size, hidden) for depth in range(config.num_layers)
        )
        if attends:
            self.key = nn.Linear(2 * hidden, hidden, bias=False)
            self.joined = nn.Linear(3 * hidden, hidden)
        if config.attention == "additive":
            self.query = nn.Linear(hidden, hidden, bias=False)
            self.score = nn.Linear(hidden, 1, bias=False)
        self.output = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(config.output_layers))
        # With tied weights the softmax reads what has the width of the embedding.
        width = size if config.tie_weights else hidden
        self.projection = None if width == hidden else nn.Linear(hidden, width, bias=False)
        self.softmax = nn.Linear(width, config.vocab_size)
        if config.tie_weights:
            del self.softmax.weight  # the embedding's rows serve in its place
        self._init_weights()

    def _init_weights(self) -> None:
        """The recurrent layers have set themselves; here is what stands around them."""
        std = self.config.embedding_size**-0.5 if self.config.tie_weights else 1
        if self.config.source_types:
            nn.init.normal_(self.source_embedding.weight, std=std)
        nn.init.normal_(self.embedding.weight, std=std)
        with torch.no_grad():
            self.embedding.weight[self.config.vocab_size].zero_()
        for linear in (*self.first, self.softmax):
            nn.init.zeros_(linear.bias)
        for linear in self.output:
            assert isinstance(linear, nn.Linear)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)

    @property
    def source_vectors(self) -> Tensor:
        """The embedding of the types of sources (V', E)."""
        if not self.config.shared_vocabulary:
            return self.source_embedding.weight
        shared = self.embedding.weight[: self.config.vocab_size]
        if not self.config.source_types:
            return shared
        return torch.cat((shared, self.source_embedding.weight))

    def read(
        self, sources: Sources, generator: torch.Generator | None = None
    ) -> tuple[Memory, State]:
        """Run the encoder; what it says, and the state that the decoder begins with."""
        x = F.embedding(sources.ids, self.source_vectors)  # (S, B, E)
        order = turned(sources.lengths, len(x))
        for depth, layer in enumerate(self.encoder):
            rate = self.config.dropout if depth else self.config.input_dropout
            x = layer(self._dropout(x, rate, generator), order)  # (S, B, 2H)
        last = last_states(x, sources.lengths)  # (B, 2H)
        state = []
        for linear in self.first:
            a, *c = linear(last).chunk(NUM_STATES[self.config.cell], 1)
            state.append((torch.tanh(a), *c))
        values = x.transpose(0, 1)
        keys = None if self.config.attention == "none" else self.key(values)
        steps = torch.arange(len(x), device=x.device)
        return Memory(values, keys, steps >= sources.lengths.unsqueeze(1)), tuple(state)

    def hidden(
        self,
        inputs: Tensor,
        memory: Memory,
        state: State,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, State, Tensor | None]:
        """What the decoder says after each input (T, B), which are ids below V, or V itself.

        Returns (T, B, H), the state after the last, and the shares (B, T, S) of attention.
        """
        x = self._dropout(self.embedding(inputs), self.config.input_dropout, generator)
        context: Tensor | None = None
        shares: Tensor | None = None
        after = []
        for depth, (layer, before) in enumerate(zip(self.layers, state, strict=True)):
            if depth:
                x = self._dropout(x, self.config.dropout, generator)
                x = x if context is None else torch.cat((x, context), 2)
            x, new = layer(x, before)  # (T, B, H)
            after.append(new)
            if depth == 0 and memory.keys is not None:
                context, shares = self.attend(x, memory)
        x = self._dropout(x, self.config.dropout, generator)
        if context is not None:
            x = torch.tanh(self.joined(torch.cat((x, context), 2)))
            x = self._dropout(x, self.config.dropout, generator)
        return x, tuple(after), shares

    def attend(self, a: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """What states a (T, B, H) see of the sources: contexts (T, B, 2H), shares (B, T, S).

        Of fewer sources than states each is seen by as many, which stand side by side.
        """
        assert memory.keys is not None
        steps, batch, size = a.shape
        asked = a.transpose(0, 1).reshape(
            len(memory.keys), -1, size
        )  # (B, T, H) where each has one
        if self.config.attention == "additive":
            compared = torch.tanh(self.query(asked).unsqueeze(2) + memory.keys.unsqueeze(1))
            scores = self.score(compared).squeeze(3)  # (B, T, S)
        else:
            scores = asked @ memory.keys.transpose(1, 2)
        scores = scores.masked_fill(memory.padding.unsqueeze(1), -torch.inf)
        shares = scores.softmax(2)
        contexts = shares.to(memory.values.dtype) @ memory.values
        return contexts.view(batch, steps, -1).transpose(0, 1), shares.view(batch, steps, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of every type: (..., H) -> (..., V)."""
        for linear in self.output:
            hidden = F.relu(linear(hidden))
        if self.projection is not None:
            hidden = self.projection(hidden)
        tied = self.config.tie_weights
        weight = self.embedding.weight[: self.config.vocab_size] if tied else self.softmax.weight
        return F.linear(hidden, weight, self.softmax.bias)

    def forward(
        self, sources: Sources, inputs: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Logits (T, B, V) of the token after each input (T, B), given the sources."""
        memory, state = self.read(sources, generator)
        return self.logits(self.hidden(inputs, memory, state, generator)[0])

    def _dropout(self, x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
        """Dropout of x (..., B, H), one mask for all steps."""
        return dropped(x, rate, generator) if self.training and rate else x


def from_arrays(config: PairsConfig, arrays: Arrays) -> EncoderDecoder:
    """A model with these weights, for use: in evaluation mode, without gradients."""
    with without_numbers():
        model = EncoderDecoder(config)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    model.load_state_dict(tensors, assign=True)
    return model.eval().requires_grad_(False)
