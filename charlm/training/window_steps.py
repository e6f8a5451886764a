"""The steps of a language model: which window comes next, and what is carried into it."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlm.config import TrainingConfig
from charlm.counts.left_out import LeftOut, left_out
from charlm.engines.several import Several
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError
from charlm.network_config import CausalConfig, ClozeConfig, LanguageConfig
from charlm.nn.bidirectional import BidirectionalLM, Sides, read_sides, spans_of, whole_groups
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import Network, State, detach_state
from charlm.nn.objectives import (
    BothSides,
    NextToken,
    Others,
    StepLoss,
    TokenObjective,
    WindowBatch,
)
from charlm.nn.softmax import TypeSampler
from charlm.nn.windows import Rows, Window, epoch_groups, num_windows, read_window
from charlm.text.tokens import TokenizedText, TrainingText
from charlm.training.optimizer import copied, make_optimizer, moments, refusing, restore_parameters
from charlm.training.ranks.ranks import Ranks
from charlm.training.state import TrainingState

_ALL = slice(0, None, 1)
_COUNTED = 8  # parts of a text that tell how many steps an epoch has


@dataclasses.dataclass(kw_only=True)
class WindowState(TrainingState):
    """All that changes while training. ``average`` is the running mean of the weights, if any.

    epoch, group and window say which window of the text comes next, where of a text in parts
    ``epoch`` counts the parts that have been read; recurrent is the state
    carried into it (None at the beginning of a group); where several processes train, of the
    ``rows`` that are read here. logged_nats and logged_targets add up the
    losses since the last validation. partner are the parameters (P,) of the partner, once they
    have been fitted.
    """

    module: Network[Any]
    average: list[Tensor] | None
    epoch: int = 0
    group: int = 0
    window: int = 0
    recurrent: State | None = None
    rows: slice = dataclasses.field(default_factory=lambda: _ALL)
    tokens: int = 0
    grad_norm: float | None = None
    logged_nats: float = 0.0
    logged_targets: int = 0
    partner: npt.NDArray[np.float64] | None = None

    def arrays(self) -> Arrays:
        """Moments; the raw weights beside an average; the state that is carried."""
        tensors = moments(self)
        if self.average is not None:
            tensors.update((_raw(name), p.detach()) for name, p in self.module.named_parameters())
        for depth, layer in enumerate(self.recurrent or ()):
            for index, tensor in enumerate(layer):
                tensors[f"recurrent.{depth}.{index}"] = tensor
        return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}

    def put_back(self, weights: Arrays, arrays: Arrays) -> None:
        """The weights, and what ``arrays`` gave. Raises CheckpointError if they do not fit."""
        with refusing():
            if self.average is None:
                restore_parameters(self, weights, arrays)
            else:
                names = [name for name, _ in self.module.named_parameters()]
                raw = {name: arrays[_raw(name)] for name in names}
                restore_parameters(self, raw, arrays)
                for name, mean in zip(names, self.average, strict=True):
                    mean.copy_(copied(name, weights, mean))
            self.recurrent = _recurrent(self, arrays)


def _raw(name: str) -> str:
    """What a parameter is called beside the average that stands under its own name."""
    return f"weight.{name}"


def _recurrent(state: WindowState, arrays: Arrays) -> State | None:
    """The carried state, where one was saved."""
    if "recurrent.0.0" not in arrays:
        return None
    blank = state.module.init_state(len(arrays["recurrent.0.0"]))
    return tuple(
        tuple(
            copied(f"recurrent.{depth}.{index}", arrays, tensor)
            for index, tensor in enumerate(layer)
        )
        for depth, layer in enumerate(blank)
    )


class HasText(Protocol):
    """What steps are made of."""

    @property
    def text(self) -> TrainingText:
        """The text to train on."""

    @property
    def left_out(self) -> LeftOut:
        """What n-grams of the rest of the text say of each of its tokens."""


class OnlyText(NamedTuple):
    """A text alone, to train on."""

    text: TrainingText

    @property
    def left_out(self) -> LeftOut:
        """What n-grams of the rest of the text say of each of its tokens."""
        whole = self.text.whole()
        return left_out(whole.ids, whole.starts, whole.vocab_size)


class WindowSteps:
    """From left to right, window by window, the state carried within a group of rows."""

    def new_state(
        self, config: LanguageConfig, training: TrainingConfig, device: torch.device | str = "cpu"
    ) -> WindowState:
        """A freshly initialised model, drawn from the seed, and its optimizer."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(training.seed)
            module = self.module(config)
        module = module.to(device)
        average = None
        if training.average_decay:
            average = [parameter.detach().clone() for parameter in module.parameters()]
        optimizer = make_optimizer(module.named_parameters(), training)
        return WindowState(module=module, optimizer=optimizer, average=average)

    def start(self, state: WindowState, training: TrainingConfig, material: HasText) -> None:
        """Where a step reads few of the types, their biases begin at the logs of their shares.

        A rare type is met too seldom to learn how rare it is. One that never occurs counts half.
        """
        if not training.row_wise:
            return
        bias = state.module.softmax.bias
        counts = torch.from_numpy(material.text.frequencies()).double().clamp_(min=0.5)
        with torch.no_grad():
            bias.copy_((counts / counts.sum()).log_())

    def module(self, config: LanguageConfig) -> Network[Any]:
        """The network, its weights drawn from torch's generator."""
        assert isinstance(config, CausalConfig)
        return RecurrentLM(config)

    def groups(self, text: TokenizedText, training: TrainingConfig, epoch: int) -> list[Rows]:
        """The groups of rows that an epoch reads, in order."""
        return epoch_groups(
            text,
            batch_size=training.batch_size,
            bptt_length=training.bptt_length,
            segment_length=training.segment_length,
            seed=training.seed,
            epoch=epoch,
        )

    def num_windows(self, group: Rows, training: TrainingConfig) -> int:
        """How many steps read a group."""
        return num_windows(group, training.bptt_length)

    def steps_per_epoch(
        self, config: LanguageConfig, training: TrainingConfig, material: HasText
    ) -> int:
        """How many steps read the text once; of a text in many parts as the first ones tell."""
        del config
        steps = tokens = 0
        for number in range(min(_COUNTED, material.text.num_parts)):
            part = material.text.part(training.seed, number)
            groups = self.groups(part, training, number)
            steps += sum(self.num_windows(group, training) for group in groups)
            tokens += part.num_tokens
        if tokens < material.text.num_tokens:
            return round(steps * material.text.num_tokens / tokens)
        return steps

    def objective(
        self, state: WindowState, training: TrainingConfig, material: HasText
    ) -> TokenObjective:
        """-log P of the tokens of a window."""
        others = None
        if training.smoothing:
            rows, of_token = map(torch.from_numpy, material.left_out)
            others = Others(rows, of_token, training.smoothing)
        assert isinstance(state.module, RecurrentLM)
        return NextToken(
            state.module,
            precision=training.precision,
            types=type_sampler(state.module, training, material.text),
            row_wise=training.row_wise,
            others=others,
        )

    def batches(
        self, state: WindowState, training: TrainingConfig, material: HasText
    ) -> Iterator[WindowBatch]:
        """The window that comes next, and what is carried into it, for ever.

        Raises CheckpointError if the state points at a place that the text does not have.
        """
        text = material.text.part(training.seed, state.epoch)
        if (state.epoch, state.group, state.window, state.recurrent) != (0, 0, 0, None):
            self._check_place(state, training, text)
        while True:
            text = material.text.part(training.seed, state.epoch)
            groups = self.groups(text, training, state.epoch)
            while state.group < len(groups):
                group = groups[state.group]
                ends = state.window + 1 == self.num_windows(group, training)
                window = self.read_window(text, group, state.window, training)
                yield WindowBatch(window, state.recurrent, ends)
            state.epoch, state.group = state.epoch + 1, 0

    def read_window(
        self, text: TokenizedText, group: Rows, window: int, training: TrainingConfig
    ) -> Window | Sides:
        """A window of a group."""
        return read_window(text, group, window, training.bptt_length)

    def advance(
        self,
        state: WindowState,
        training: TrainingConfig,
        batch: WindowBatch,
        step_loss: StepLoss,
        *,
        finite: bool,
    ) -> None:
        """Point at the next window; after a step that was not finite, at the next group."""
        if finite and state.average is not None:
            # A young average forgets faster, or it would be mostly the first random weights.
            decay = min(training.average_decay, (1 + state.updates) / (10 + state.updates))
            now = [parameter.detach() for parameter in state.module.parameters()]
            torch._foreach_lerp_(state.average, now, 1 - decay)
        state.tokens += step_loss.num_targets
        if batch.ends_group or not finite:  # what it carried cannot be trusted
            state.group, state.window, state.recurrent = state.group + 1, 0, None
        else:
            after = step_loss.state  # None where no row is read here
            state.window += 1
            state.recurrent = None if after is None else detach_state(after)

    def rewind(self, state: WindowState) -> None:
        """Point at the first window."""
        state.epoch = state.group = state.window = 0
        state.recurrent = None

    def deal(self, state: WindowState, several: Several) -> None:
        """Keep the carried state of the rows that are read here."""
        state.rows = slice(several.rank, None, several.size)
        if state.recurrent is not None:
            state.recurrent = tuple(
                tuple(tensor[state.rows] for tensor in layer) for layer in state.recurrent
            )

    def whole(self, state: WindowState, ranks: Ranks) -> WindowState:
        """With the carried state of all rows."""
        if state.rows == _ALL or not state.window:
            return state
        here = state.recurrent or state.module.init_state(0)  # without rows there was no step
        gathered = tuple(tuple(ranks.gathered(tensor) for tensor in layer) for layer in here)
        return dataclasses.replace(state, recurrent=gathered, rows=_ALL)

    def _check_place(
        self, state: WindowState, training: TrainingConfig, text: TokenizedText
    ) -> None:
        """Raise CheckpointError unless the state points at a window, or behind a group."""
        groups = self.groups(text, training, state.epoch)
        if state.group < len(groups):
            group = groups[state.group]
            sound = state.window < self.num_windows(group, training)
            if sound:
                running = len(read_window(text, group, state.window, training.bptt_length).inputs)
                here = len(range(running)[state.rows])
                if state.recurrent is None:
                    sound = state.window == 0 or not here
                else:
                    sound = state.window > 0 and state.recurrent[0][0].shape[0] >= here
        else:
            sound = (state.group, state.window, state.recurrent) == (len(groups), 0, None)
        if not sound:
            raise CheckpointError(
                "training.json points at a place that the text does not have: epoch "
                f"{state.epoch}, group {state.group}, window {state.window}. Go on from another "
                "step, or begin again."
            )


class WholeRowSteps(WindowSteps):
    """Rows from both sides, each as a whole; nothing is carried."""

    def module(self, config: LanguageConfig) -> Network[Any]:
        """The network."""
        assert isinstance(config, ClozeConfig)
        return BidirectionalLM(config)

    def groups(self, text: TokenizedText, training: TrainingConfig, epoch: int) -> list[Rows]:
        """The groups of rows that an epoch reads, in order."""
        return whole_groups(
            text,
            batch_size=training.batch_size,
            segment_length=training.segment_length,
            seed=training.seed,
            epoch=epoch,
        )

    def num_windows(self, group: Rows, training: TrainingConfig) -> int:
        """One step reads a group."""
        del group, training
        return 1

    def objective(
        self, state: WindowState, training: TrainingConfig, material: HasText
    ) -> TokenObjective:
        """-log P of the tokens of whole rows."""
        types = type_sampler(state.module, training, material.text)
        return BothSides(
            state.module, precision=training.precision, types=types, row_wise=training.row_wise
        )

    def read_window(
        self, text: TokenizedText, group: Rows, window: int, training: TrainingConfig
    ) -> Sides:
        """All of a group."""
        del window, training
        return read_sides(text, spans_of(group), padded=True)


def type_sampler(
    model: Network[Any], training: TrainingConfig, text: TrainingText
) -> TypeSampler | None:
    """What draws the types of a step's softmax; None where it sums over all of them."""
    vocab_size = model.config.vocab_size
    if not 0 < training.frequent_types + training.sampled_types < vocab_size:
        return None
    if not training.sampled_types:
        return None
    frequencies = torch.from_numpy(text.frequencies())
    return TypeSampler(
        frequencies.to(model.embedding.weight.device),
        training.frequent_types,
        training.sampled_types,
        few=training.row_wise,
    )


@contextlib.contextmanager
def weights_for_use(state: WindowState) -> Iterator[Network[Any]]:
    """The model in evaluation mode with the weights to use: the average where one is kept."""
    model = state.module
    was_training = model.training
    model.eval()
    raw = [parameter.data for parameter in model.parameters()]
    try:
        if state.average is not None:
            for parameter, mean in zip(model.parameters(), state.average, strict=True):
                parameter.data = mean
        yield model
    finally:
        for parameter, data in zip(model.parameters(), raw, strict=True):
            parameter.data = data
        model.train(was_training)
