"""Head: ids in, scores of labels out, for a whole text (classifier) or each token (tagger).

equations/heads.py says in NumPy what it computes. Texts of different lengths stand side by side;
each direction reads a text from its own first or last token on, so what is padded behind the end
of a text is read after everything that counts.

Letters: B texts, T time, E embedding, I layer input, H hidden units of one direction, C labels,
W different words of a batch, N letters.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.equations.heads import output_width
from charlm.equations.parameters import Arrays
from charlm.network_config import ClassifierConfig, HeadConfig, TaggerConfig
from charlm.nn.cells import RecurrentLayer, make_layer
from charlm.nn.neighbours import MOST_TYPES, Neighbours
from charlm.nn.shares import Share, Taken, dropped
from charlm.nn.skeleton import without_numbers


class Words(NamedTuple):
    """The different words of a batch, spelled."""

    letters: Tensor  # (N, W) ids
    lengths: Tensor  # (W,)
    places: Tensor  # (T, B): which of them stands where
    taken: Taken | None = None  # which they are of those of the whole batch, if not all

    def to(self, device: torch.device | str) -> "Words":
        """The same on another device."""
        letters, lengths = self.letters.to(device), self.lengths.to(device)
        return Words(letters, lengths, self.places.to(device), self.taken)

    def part(self, share: Share) -> "Words":
        """The words of some of the texts."""
        there, which = torch.unique(self.places[:, share.index], return_inverse=True)
        letters, lengths = self.letters[:, there], self.lengths[there]
        return Words(letters, lengths, which, Taken(there, len(self.lengths)))


class Batch(NamedTuple):
    """Texts side by side. Behind the end of one stands anything."""

    ids: Tensor  # (T, B)
    lengths: Tensor  # (B,), each 1 or more
    words: Words | None = None  # of a tagger

    def to(self, device: torch.device | str) -> "Batch":
        """The same on another device."""
        words = None if self.words is None else self.words.to(device)
        return Batch(self.ids.to(device), self.lengths.to(device), words)

    def part(self, share: Share) -> "Batch":
        """Some of the texts."""
        words = None if self.words is None else self.words.part(share)
        return Batch(self.ids[:, share.index], self.lengths[share.index], words)


class BothWays(nn.Module):
    """One bidirectional layer: x (T, B, I) -> [a→, a←] (T, B, 2H)."""

    def __init__(self, cell: str, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.ahead = make_layer(cell, input_size, hidden_size)
        self.back = make_layer(cell, input_size, hidden_size)
        self.hidden_size = hidden_size

    def forward(self, x: Tensor, turned: Tensor) -> Tensor:
        """turned (T, B) is what ``turned`` gives for the lengths of the texts."""
        ahead = self._along(self.ahead, x)
        back = turn(self._along(self.back, turn(x, turned)), turned)
        return torch.cat((ahead, back), dim=2)

    def _along(self, layer: RecurrentLayer, x: Tensor) -> Tensor:
        zero = x.new_zeros(x.shape[1], self.hidden_size)
        outputs: Tensor = layer(x, (zero,) * layer.num_states)[0]
        return outputs


def turned(lengths: Tensor, num_steps: int) -> Tensor:
    """The step (T, B) at which each position comes when every text is read from its own end.

    What lies behind the end of a text stays there. It is its own inverse.
    """
    steps = torch.arange(num_steps, device=lengths.device).unsqueeze(1)  # (T, 1)
    back = lengths - 1 - steps  # (T, B)
    return torch.where(back >= 0, back, steps)


def turn(x: Tensor, index: Tensor) -> Tensor:
    """x (T, B, I) with the steps of each text in another order (T, B)."""
    return x.gather(0, index.unsqueeze(2).expand_as(x))


def last_states(a: Tensor, lengths: Tensor) -> Tensor:
    """What each direction says having read everything: (T, B, 2H) -> (B, 2H)."""
    size = a.shape[2] // 2
    texts = torch.arange(a.shape[1], device=a.device)
    return torch.cat((a[lengths - 1, texts, :size], a[0, :, size:]), dim=1)


def pooled(a: Tensor, lengths: Tensor) -> Tensor:
    """Mean and maximum over the positions of each text: (T, B, 2H) -> (B, 4H)."""
    steps = torch.arange(len(a), device=a.device).unsqueeze(1)
    live = (steps < lengths).unsqueeze(2)  # (T, B, 1)
    mean = torch.where(live, a, 0).sum(0) / lengths.unsqueeze(1)
    return torch.cat((mean, a.masked_fill(~live, -torch.inf).amax(0)), dim=1)


class Head(nn.Module):
    """Embedding, bidirectional stack, an optional deep network, softmax: what both kinds have.

    neighbours is there in training alone: what the bottom layer learns beside labels.
    """

    neighbours: Neighbours | None

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden_size
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        nn.init.normal_(self.embedding.weight)
        width = config.embedding_size + self._init_spelling()
        self.layers = nn.ModuleList(
            BothWays(config.cell, 2 * hidden if depth else width, hidden)
            for depth in range(config.num_layers)
        )
        width = output_width(config)
        self.output = nn.ModuleList()
        for _ in range(config.output_layers):
            linear = nn.Linear(width, hidden)
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            self.output.append(linear)
            width = hidden
        self.softmax = nn.Linear(width, config.num_labels)
        nn.init.zeros_(self.softmax.bias)
        self.neighbours = None

    def _init_spelling(self) -> int:
        """Make what reads letters, if anything does; how many numbers it says of a word."""
        return 0

    def learn_neighbours(self) -> None:
        """Give it what is learned beside labels, where that is cheap."""

    def embedded(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """What the stack reads: (T, B, I)."""
        del generator
        embedded: Tensor = self.embedding(batch.ids)
        return embedded

    def judged(self, a: Tensor, lengths: Tensor) -> Tensor:
        """Of what the stack says, a (T, B, 2H), that which labels are told from."""
        raise NotImplementedError

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> Tensor:
        """Scores: (B, C) of a classifier, (T, B, C) of a tagger.

        In training mode dropout draws from ``generator``.
        """
        return self.read(batch, generator)[0]

    def read(self, batch: Batch, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """The scores, and what the bottom layer made of the texts: (T, B, 2H)."""
        x = self.embedded(batch, generator)
        order = turned(batch.lengths, len(x))
        for depth, layer in enumerate(self.layers):
            rate = self.config.dropout if depth else self.config.input_dropout
            x = layer(self._dropout(x, rate, generator), order)
            if depth == 0:
                bottom = x
        x = self._dropout(self.judged(x, batch.lengths), self.config.dropout, generator)
        for linear in self.output:
            x = self._dropout(F.relu(linear(x)), self.config.dropout, generator)
        return self.softmax(x), bottom

    def neighbours_loss(
        self, bottom: Tensor, batch: Batch, generator: torch.Generator | None = None
    ) -> Tensor:
        """What the bottom layer (T, B, 2H) says of the tokens that stand in the batch, in nats."""
        assert self.neighbours is not None
        a = self._dropout(bottom, self.config.dropout, generator)
        loss: Tensor = self.neighbours(a, batch.ids, batch.lengths)
        return loss

    def _dropout(
        self,
        x: Tensor,
        rate: float,
        generator: torch.Generator | None,
        taken: Taken | None = None,
    ) -> Tensor:
        """Dropout of x (..., B, H), over time with one mask for all steps."""
        return dropped(x, rate, generator, taken) if self.training and rate else x


class ClassifierHead(Head):
    """Names the kind of a text, from all its positions or from the last state of each direction."""

    config: ClassifierConfig

    def learn_neighbours(self) -> None:
        """Where types are few."""
        if self.config.vocab_size <= MOST_TYPES:
            self.neighbours = Neighbours(self.config.hidden_size, self.config.vocab_size)

    def judged(self, a: Tensor, lengths: Tensor) -> Tensor:
        """(B, 4H) or (B, 2H)."""
        return last_states(a, lengths) if self.config.pooling == "last" else pooled(a, lengths)


class TaggerHead(Head):
    """Names the kind of each token; beside the embedding of a word stands its spelling."""

    config: TaggerConfig

    def _init_spelling(self) -> int:
        size, hidden = self.config.letter_embedding_size, self.config.letter_hidden_size
        self.letters = nn.Embedding(self.config.num_letters, size)
        self.letter_layer = BothWays(self.config.cell, size, hidden)
        return 2 * hidden

    def embedded(self, batch: Batch, generator: torch.Generator | None) -> Tensor:
        """Each word, and what its letters say of it: (T, B, E + 2H')."""
        words = batch.words
        assert words is not None
        x = self.letters(words.letters)
        x = self._dropout(x, self.config.input_dropout, generator, words.taken)
        a = self.letter_layer(x, turned(words.lengths, len(x)))  # (N, W, 2H')
        spelled = last_states(a, words.lengths)[words.places]
        return torch.cat((self.embedding(batch.ids), spelled), dim=2)

    def judged(self, a: Tensor, lengths: Tensor) -> Tensor:
        """All of it."""
        del lengths
        return a


def network(config: HeadConfig) -> Head:
    """A freshly initialised head of either kind."""
    return TaggerHead(config) if isinstance(config, TaggerConfig) else ClassifierHead(config)


def from_arrays(config: HeadConfig, arrays: Arrays) -> Head:
    """A head with these weights, for use: in evaluation mode, without gradients."""
    with without_numbers():
        head = network(config)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    head.load_state_dict(tensors, assign=True)
    return head.eval().requires_grad_(False)


def to_arrays(head: Head) -> dict[str, npt.NDArray[np.float32]]:
    """The parameters by name, as equations/heads.py describes them."""
    return {
        name: tensor.detach().cpu().numpy()
        for name, tensor in head.state_dict().items()
        if not name.startswith("neighbours.")
    }
