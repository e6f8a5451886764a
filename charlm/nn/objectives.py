"""What a step of training minimises: modules that hold a network and make a loss of a batch.

They are called, not reached into, so that a wrapper of modules (one for several processes, say)
can stand around them. Letters as in causal.py and head.py; N targets.
"""

from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from charlm.nn.bidirectional import BidirectionalLM, Sides
from charlm.nn.causal import RecurrentLM
from charlm.nn.examples import ExampleBatch
from charlm.nn.head import Batch, Head
from charlm.nn.neighbours import weight_at
from charlm.nn.network import Network, State, flatten_targets, narrow_state
from charlm.nn.pair_batches import PairBatch
from charlm.nn.pairs import EncoderDecoder, Sources
from charlm.nn.shares import Share, share_of
from charlm.nn.softmax import Softening, TypeSampler, cross_entropy, softened_cross_entropy
from charlm.nn.windows import PADDING, Window
from charlm.tokenizers.base import EOS_ID, UNK_ID

UNKNOWN = 0.05  # of the tokens that a head reads in training are <UNK>, so that it is met
SMOOTHING = 0.1  # of what is to be said of a text goes to all labels (Szegedy et al. 2016)


class StepLoss(NamedTuple):
    """What an objective makes of a batch.

    loss () is minimised; reported () is the mean in nats per target that is logged; accuracy
    the share of labels that were right. state is what the next batch begins with. Of a part of a
    batch each is what it adds to that of the whole, so they are summed over the parts.
    """

    loss: Tensor
    reported: Tensor
    num_targets: int
    accuracy: float | None = None
    state: State | None = None


class WindowBatch(NamedTuple):
    """What a step of a language model reads.

    before is the state carried into a window, of the rows that are read here, None where its rows
    begin; ends_group says that nothing is carried out of it.
    """

    window: Window | Sides
    before: State | None
    ends_group: bool
    whole: Window | Sides | None = None  # what this window is a part of

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.window.inputs)

    def part(self, share: Share) -> "WindowBatch":
        """Some of the rows."""
        return WindowBatch(self.window.part(share), self.before, self.ends_group, self.window)


class Shareable(Protocol):
    """What a step reads, whatever is trained: rows side by side that can be shared out."""

    @property
    def num_rows(self) -> int:
        """How many there are."""

    def part(self, share: Share) -> Self:
        """Some of them. What is random, and what a mean is over, is of all."""


class Objective(nn.Module):
    """A network and what it is to learn. Calls take (batch, generator) and give a StepLoss."""

    few_rows: tuple[Tensor, ...] = ()  # matrices of which a step may read a few rows alone
    row_wise = False  # whether only these rows of them take part in the step

    def __init__(self, model: nn.Module, *, precision: str) -> None:
        super().__init__()
        self.model: Any = model
        self.precision = precision

    def cast(self) -> torch.autocast:
        """Products in bf16 where that was asked for."""
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16")


class Others(NamedTuple):
    """What else could have stood at the places of a text, and how much of a target that is.

    rows (U, V) are distributions, of_token (N,) says which of them each place has (left_out.py).
    """

    rows: Tensor
    of_token: Tensor
    share: float

    def at(self, places: Tensor, device: torch.device) -> Softening:
        """Of places (n,)."""
        rows = self.rows[self.of_token[places]].to(device, torch.float32)  # (n, V)
        return Softening(rows / rows.sum(1, keepdim=True), self.share)


class TokenObjective(Objective):
    """-log P of tokens, over all types or a sample of them; of a sample it may be ``row_wise``."""

    def __init__(
        self,
        model: Network[Any],
        *,
        precision: str,
        types: TypeSampler | None = None,
        row_wise: bool = False,
    ) -> None:
        super().__init__(model, precision=precision)
        self._types = types
        self.row_wise = row_wise and types is not None
        # A window reads few of many embeddings: their gradient is made of those rows alone.
        model.embedding.sparse = types is not None
        if types is not None:
            tied = model.config.tie_weights
            softmax = () if tied else (model.softmax.weight,)
            bias = (model.softmax.bias,) if self.row_wise else ()
            self.few_rows = (model.embedding.weight, *softmax, *bias)

    def loss(
        self, vectors: Tensor, targets: Tensor, generator: torch.Generator, number: int
    ) -> Tensor:
        """Nats () of targets (n,), given vectors (n, H), divided by the number of all."""
        model = self.model
        features = model.features(vectors)
        if self._types is None:
            total = cross_entropy(features, model.softmax_weight, model.softmax.bias, targets)
        else:
            drawn = self._types.draw(targets, generator)
            weight, bias = model.softmax_rows(drawn.ids, few=self.row_wise)
            total = cross_entropy(features, weight, bias, drawn.targets, drawn.log_weights)
        return total / number


class NextToken(TokenObjective):
    """-log P of each token given those before it; of targets that ``others`` soften, if any."""

    model: RecurrentLM

    def __init__(
        self,
        model: RecurrentLM,
        *,
        precision: str,
        types: TypeSampler | None = None,
        row_wise: bool = False,
        others: Others | None = None,
    ) -> None:
        super().__init__(model, precision=precision, types=types, row_wise=row_wise)
        self._others = others

    def forward(self, batch: WindowBatch, generator: torch.Generator) -> StepLoss:
        """Of the next window."""
        window, before = batch.window, batch.before
        assert isinstance(window, Window)
        if before is None:
            before = self.model.init_state(len(window.inputs), window.labels)
        device = self.model.embedding.weight.device
        with self.cast():
            hidden, after = self.model.hidden(
                window.inputs.to(device),
                narrow_state(before, len(window.inputs)),
                generator,
                window.labels,
            )
            vectors, targets = flatten_targets(hidden, window.targets.to(device), PADDING)
            number = (batch.whole or window).num_targets
            if self._others is None:
                loss = reported = self.loss(vectors, targets, generator, number)
            else:
                places = window.places.t()[window.targets.t() != PADDING]
                loss, reported = self.softened(vectors, targets, places, number)
        return StepLoss(loss, reported, window.num_targets, state=after)

    def softened(
        self, vectors: Tensor, targets: Tensor, places: Tensor, number: int
    ) -> tuple[Tensor, Tensor]:
        """What is minimised (), and -log P () of targets (n,), both divided by the number of all.

        places (n,) are those of the targets in the text.
        """
        assert self._others is not None
        model = self.model
        softening = self._others.at(places, vectors.device)
        weight, bias = model.softmax_weight, model.softmax.bias
        features = model.features(vectors)
        loss, reported = softened_cross_entropy(features, weight, bias, targets, softening)
        return loss / number, reported / number


class BothSides(TokenObjective):
    """-log P of each token given those before it and after it, and of some over a gap."""

    model: BidirectionalLM

    def forward(self, batch: WindowBatch, generator: torch.Generator) -> StepLoss:
        """Of rows that are read whole."""
        assert isinstance(batch.window, Sides)
        assert not isinstance(batch.whole, Window)
        with self.cast():
            vectors, targets, number = self.model.hidden_and_targets(
                batch.window, generator, batch.whole
            )
            loss = self.loss(vectors, targets, generator, number)
        return StepLoss(loss, loss, batch.window.num_targets)


class Prior(NamedTuple):
    """What is known of the labels before a text is read.

    A text counts once, however often it occurs, so some labels are rarer among what is learned
    from than in the text. Added to the scores before the loss, ``shift`` makes up for that: what
    the head itself says has the shares of all copies (Menon et al. 2021, "Long-tail learning via
    logit adjustment"). What is smoothed away from a label goes to all labels by their shares:
    spread evenly, a rare label that the shift makes more frequent would be suspected everywhere.
    Tags are many more than texts, and are not smoothed.
    """

    shift: Tensor  # (C,)
    spread: Tensor | None  # (C,), sums to 1


class Labelling(Objective):
    """-log P of labels, and beside it, less and less, of the neighbours of each token."""

    model: Head

    def __init__(self, model: Head, *, precision: str, prior: Prior, num_steps: int) -> None:
        super().__init__(model, precision=precision)
        self._prior, self._num_steps = prior, num_steps

    def forward(self, examples: ExampleBatch, generator: torch.Generator) -> StepLoss:
        """Of texts side by side, in a step of a training of num_steps."""
        head, device = self.model, self.model.softmax.weight.device
        batch = examples.batch.to(device)
        with self.cast():
            scores, bottom = head.read(with_unknown(batch, generator), generator)
        scores, bottom = scores.float(), bottom.float()
        targets = examples.targets.to(device)
        if examples.live is not None:
            live = examples.live.to(device)
            scores, targets = scores[live], targets[live]
        weights = None if examples.weights is None else examples.weights.to(device)
        scores = scores + self._prior.shift
        loss = weighted_cross_entropy(scores, targets, weights, self._prior.spread)
        reported = weighted_cross_entropy(scores.detach(), targets, weights)
        right = float((scores.detach().argmax(1) == targets).double().mean())
        beside = weight_at(examples.step, self._num_steps)
        if examples.whole is not None:
            whole, share = examples.whole, examples.weight / examples.whole.weight
            loss, reported = loss * share, reported * share
            right *= len(targets) / whole.num_targets
            beside *= examples.num_neighbours / max(1, whole.num_neighbours)
        if head.neighbours is not None:
            loss = loss + beside * head.neighbours_loss(bottom, batch, generator)
        return StepLoss(loss, reported, len(targets), right)


class Targets(Objective):
    """-log P of the tokens of targets, given their sources."""

    model: EncoderDecoder

    def forward(self, batch: PairBatch, generator: torch.Generator) -> StepLoss:
        """Of pairs side by side."""
        device = self.model.softmax.bias.device
        sources = Sources(*(part.to(device) for part in batch.sources))
        with self.cast():
            scores = self.model(sources, batch.inputs.to(device), generator)
        targets = batch.targets.to(device)
        live = targets != PADDING
        log_probs = scores[live].float().log_softmax(1)  # (N, V)
        # Not smoothed: that made neither fewer errors nor truer probabilities (bench/RESULTS.md).
        loss = -log_probs.gather(1, targets[live].unsqueeze(1)).mean()
        if batch.whole is not None:
            loss = loss * (batch.num_targets / batch.whole.num_targets)
        return StepLoss(loss, loss, batch.num_targets)


def with_unknown(batch: Batch, generator: torch.Generator) -> Batch:
    """A batch in which some tokens are <UNK>, never <EOS>; of a word the letters stay."""
    share = share_of(generator)
    number = batch.ids.shape[1] if share is None else share.rows
    chances = torch.empty(len(batch.ids), number, device=batch.ids.device)
    drawn = chances.bernoulli_(UNKNOWN, generator=generator).bool()
    if share is not None:
        drawn = drawn[:, share.index]
    return batch._replace(ids=batch.ids.masked_fill(drawn & (batch.ids != EOS_ID), UNK_ID))


def weighted_cross_entropy(
    scores: Tensor, targets: Tensor, weights: Tensor | None = None, spread: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of scores (M, C), each row counting as much as its weight (M,).

    With a spread (C,) the targets (M,) are smoothed by it.
    """
    log_probs = scores.log_softmax(1)
    each = -log_probs.gather(1, targets[:, None])[:, 0]
    if spread is not None:
        each = (1 - SMOOTHING) * each - SMOOTHING * (log_probs @ spread)
    return each.mean() if weights is None else each @ weights / weights.sum()
