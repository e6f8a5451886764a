"""Training: teacher forcing, truncated back-propagation through time, AdamW.

``train_steps`` owns the loop and nothing else: it takes a TrainingState from one step to the next
and yields what each step gave. A step is a function of the state, the config and the text: the
order of the data comes from (seed, epoch) and dropout from (seed, step), so a state written to
disk and read back goes on exactly as if nothing had happened.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from charlm.config import ModelConfig, TrainingConfig
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError
from charlm.nn.bidirectional import (
    BidirectionalLM,
    Sides,
    network,
    read_sides,
    spans_of,
    whole_groups,
)
from charlm.nn.causal import (
    RecurrentLM,
    State,
    detach_state,
    flatten_targets,
    narrow_state,
)
from charlm.nn.softmax import TypeSampler, cross_entropy
from charlm.nn.windows import (
    PADDING,
    Rows,
    TokenizedText,
    Window,
    epoch_groups,
    num_windows,
    read_window,
)
from charlm.training import course
from charlm.training.course import (
    Course,
    copied,
    descend,
    make_optimizer,
    moments,
    rate_of,
    refusing,
    restore,
    set_counters,
    step_generator,
)
from charlm.training.course import state_counters as state_counters

_WHOLE = 10**12  # tokens: longer than any row


class Step(NamedTuple):
    """What one step gave: the mean loss in nats per target before the update."""

    step: int
    loss: float
    num_targets: int
    grad_norm: float
    learning_rate: float
    skipped: bool


@dataclasses.dataclass(kw_only=True)
class TrainingState(Course):
    """All that changes while training. ``average`` is the running mean of the weights, if any.

    epoch, group and window say which window of the text comes next; recurrent is the state
    carried into it (None at the beginning of a group). logged_nats and logged_targets add up the
    losses since the last validation. partner are the parameters (P,) of the partner, once they
    have been fitted.
    """

    model: RecurrentLM
    average: list[Tensor] | None
    epoch: int = 0
    group: int = 0
    window: int = 0
    recurrent: State | None = None
    tokens: int = 0
    grad_norm: float | None = None
    logged_nats: float = 0.0
    logged_targets: int = 0
    partner: npt.NDArray[np.float64] | None = None


def new_state(
    model_config: ModelConfig, config: TrainingConfig, device: torch.device | str = "cpu"
) -> TrainingState:
    """A freshly initialised model, drawn from the seed, and its optimizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = network(model_config)
    model = model.to(device)
    average = None
    if config.average_decay:
        average = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = make_optimizer(model.named_parameters(), config)
    return TrainingState(model=model, optimizer=optimizer, average=average)


def train_steps(
    state: TrainingState, config: TrainingConfig, text: TokenizedText
) -> Iterator[Step]:
    """Train from where the state is to config.num_steps, one Step at a time.

    Whenever a Step has been yielded the state is whole and may be saved. Raises DivergedError
    after 10 steps in a row whose gradient is not finite; the weights are then those before them.
    """
    if (state.epoch, state.group, state.window, state.recurrent) != (0, 0, 0, None):
        _check_place(state, config, text)
    types = _type_sampler(state.model, config, text)
    while state.step < config.num_steps:
        groups = groups_of_epoch(text, config, state.epoch, state.model.config)
        while state.group < len(groups) and state.step < config.num_steps:
            yield _train_window(state, config, text, types, groups[state.group])
        if state.group == len(groups):
            state.epoch, state.group = state.epoch + 1, 0


def _check_place(state: TrainingState, config: TrainingConfig, text: TokenizedText) -> None:
    """Raise CheckpointError unless the state points at a window of the text, or behind a group."""
    groups = groups_of_epoch(text, config, state.epoch, state.model.config)
    if state.group < len(groups):
        group = groups[state.group]
        sound = state.window < num_windows(group, window_length(state.model.config, config))
        if state.recurrent is None:
            sound = sound and state.window == 0
        elif sound:
            running = len(read_window(text, group, state.window, config.bptt_length).inputs)
            sound = state.window > 0 and state.recurrent[0][0].shape[0] >= running
    else:
        sound = (state.group, state.window, state.recurrent) == (len(groups), 0, None)
    if not sound:
        raise CheckpointError(
            f"training.json points at a place that the text does not have: epoch {state.epoch}, "
            f"group {state.group}, window {state.window}. Go on from another step, or begin again."
        )


def window_length(model: ModelConfig, config: TrainingConfig) -> int:
    """The most tokens of a row that a step reads: a bidirectional model reads rows whole."""
    return _WHOLE if model.bidirectional else config.bptt_length


def groups_of_epoch(
    text: TokenizedText, config: TrainingConfig, epoch: int, model: ModelConfig | None = None
) -> list[Rows]:
    """The groups of rows that an epoch reads, in order; of a bidirectional model as wholes."""
    if model is not None and model.bidirectional:
        return whole_groups(
            text,
            batch_size=config.batch_size,
            segment_length=config.segment_length,
            seed=config.seed,
            epoch=epoch,
        )
    return epoch_groups(
        text,
        batch_size=config.batch_size,
        bptt_length=config.bptt_length,
        segment_length=config.segment_length,
        seed=config.seed,
        epoch=epoch,
    )


def _type_sampler(
    model: RecurrentLM, config: TrainingConfig, text: TokenizedText
) -> TypeSampler | None:
    """What draws the types of a step's softmax; None where it sums over all of them."""
    vocab_size = model.config.vocab_size
    if not 0 < config.frequent_types + config.sampled_types < vocab_size:
        return None
    if not config.sampled_types:
        return None
    frequencies = torch.bincount(text.targets, minlength=vocab_size)
    return TypeSampler(
        frequencies.to(model.embedding.weight.device), config.frequent_types, config.sampled_types
    )


def _train_window(
    state: TrainingState,
    config: TrainingConfig,
    text: TokenizedText,
    types: TypeSampler | None,
    group: Rows,
) -> Step:
    """One window: forward, backward, update; the state then points at the next."""
    window: Window | Sides
    if state.model.config.bidirectional:
        window = read_sides(text, spans_of(group), padded=True)
    else:
        window = read_window(text, group, state.window, config.bptt_length)
    before = state.recurrent
    if before is None:
        labels = None if isinstance(window, Sides) else window.labels
        before = state.model.init_state(len(window.inputs), labels)
    rate = rate_of(state, config, state.step)
    loss, norm, after = _update(state, config, window, types, before)
    finite = not state.skipped_in_a_row
    state.step += 1
    state.tokens += window.num_targets
    state.window += 1
    state.recurrent = detach_state(after) if finite else None
    if state.window == num_windows(group, window_length(state.model.config, config)):
        state.group, state.window, state.recurrent = state.group + 1, 0, None
    elif state.recurrent is None:
        # After a skipped step the group is left: what it carried cannot be trusted.
        state.group, state.window = state.group + 1, 0
    return Step(state.step, loss, window.num_targets, norm, rate, not finite)


def _update(
    state: TrainingState,
    config: TrainingConfig,
    window: Window | Sides,
    types: TypeSampler | None,
    before: State,
) -> tuple[float, float, State]:
    """Loss (nats per target), gradient norm and the state after; updates unless not finite."""
    model = state.model
    device = model.embedding.weight.device
    model.train()
    generator = step_generator(config.seed, state.step, device)
    # A window reads few of many embeddings: their gradient is made of those rows alone.
    model.embedding.sparse = types is not None
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        vectors, targets, after = _vectors(model, window, before, generator)
        features = model.features(vectors)
        if types is None:
            loss = cross_entropy(features, model.softmax_weight, model.softmax.bias, targets)
        else:
            drawn = types.draw(targets, generator)
            loss = cross_entropy(
                features, *model.softmax_rows(drawn.ids), drawn.targets, drawn.log_weights
            )
        loss = loss / len(targets)
    before_it = [parameter.grad for parameter in model.parameters()] if types else []
    for parameter in model.parameters():
        parameter.grad = None
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter, buffer in zip(model.parameters(), before_it, strict=bool(types)):
        _make_dense(parameter, buffer)
    value, updates = float(loss.detach()), state.updates
    norm = descend(state, config, model, value)
    if state.average is not None and state.updates > updates:
        # A young average forgets faster, or it would be mostly the first random weights.
        decay = min(config.average_decay, (1 + state.updates) / (10 + state.updates))
        torch._foreach_lerp_(state.average, [p.detach() for p in model.parameters()], 1 - decay)
    return value, norm, after


def _vectors(
    model: RecurrentLM, window: Window | Sides, before: State, generator: torch.Generator
) -> tuple[Tensor, Tensor, State]:
    """What is read (M, H), or (M, 2H) from both sides, to predict targets (M,); the state after."""
    device = model.embedding.weight.device
    if isinstance(window, Sides):
        assert isinstance(model, BidirectionalLM)
        return *model.lessons(window, generator), before
    hidden, after = model.hidden(
        window.inputs.to(device),
        narrow_state(before, len(window.inputs)),
        generator,
        window.labels,
    )
    return *flatten_targets(hidden, window.targets.to(device), PADDING), after


def _make_dense(parameter: nn.Parameter, buffer: Tensor | None) -> None:
    """Spread a gradient of rows over a whole matrix, in the memory that the last step's had."""
    grad = parameter.grad
    if grad is not None and grad.is_sparse:
        dense = torch.zeros_like(parameter) if buffer is None else buffer.zero_()
        parameter.grad = dense.index_add_(0, grad._indices()[0], grad._values())


@contextlib.contextmanager
def weights_for_use(state: TrainingState) -> Iterator[RecurrentLM]:
    """The model in evaluation mode with the weights to use: the average where one is kept."""
    model = state.model
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


def tokens_per_second(
    model_config: ModelConfig,
    config: TrainingConfig,
    text: TokenizedText,
    seconds: float,
    device: torch.device | str = "cpu",
) -> float:
    """Targets a second that training gets through, measured on a scratch model.

    The same windows are read twice and only the second time counts: for each shape that is new,
    the kernels prepare something once, which a whole run hardly notices.
    """
    config = dataclasses.replace(config, num_steps=10**9)
    state = new_state(model_config, config, device)
    loop, steps, begun = train_steps(state, config, text), 0, time.perf_counter()
    while steps < 2 or time.perf_counter() - begun < seconds / 2:
        next(loop)
        steps += 1
    state.epoch = state.group = state.window = 0
    state.recurrent = None
    loop, tokens, begun = train_steps(state, config, text), 0, time.perf_counter()
    for _ in range(steps):
        tokens += next(loop).num_targets
        if time.perf_counter() - begun >= seconds / 2:
            break
    return tokens / (time.perf_counter() - begun)


def state_arrays(state: TrainingState) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of a state that are not the weights for use, by name."""
    tensors = moments(state, state.model)
    if state.average is not None:
        tensors.update((_raw(name), p.detach()) for name, p in state.model.named_parameters())
    for depth, layer in enumerate(state.recurrent or ()):
        for index, tensor in enumerate(layer):
            tensors[f"recurrent.{depth}.{index}"] = tensor
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def _raw(name: str) -> str:
    """What a parameter is called beside the average that stands under its own name."""
    return f"weight.{name}"


def restore_state(
    state: TrainingState,
    weights: Arrays,
    arrays: Arrays,
    counters: dict[str, Any],
) -> None:
    """Put back what ``state_arrays``, ``state_counters`` and the weights for use held.

    Raises CheckpointError if they do not fit the model.
    """
    set_counters(state, counters)
    with refusing():
        if state.average is None:
            restore(state, state.model, weights, arrays)
        else:
            names = [name for name, _ in state.model.named_parameters()]
            restore(state, state.model, {name: arrays[_raw(name)] for name in names}, arrays)
            for name, mean in zip(names, state.average, strict=True):
                mean.copy_(copied(name, weights, mean))
        state.recurrent = _recurrent(state, arrays)


def roll_back(
    state: TrainingState, weights: Arrays, arrays: Arrays, counters: dict[str, Any]
) -> None:
    """Put back the weights, moments and average of an earlier step, and halve the learning rate.

    Takes what ``restore_state`` takes.
    """
    course.roll_back(state, lambda: restore_state(state, weights, arrays, counters))
    state.recurrent = None


def _recurrent(state: TrainingState, arrays: Arrays) -> State | None:
    """The carried state, where one was saved."""
    if "recurrent.0.0" not in arrays:
        return None
    blank = state.model.init_state(len(arrays["recurrent.0.0"]))
    return tuple(
        tuple(
            copied(f"recurrent.{depth}.{index}", arrays, tensor)
            for index, tensor in enumerate(layer)
        )
        for depth, layer in enumerate(blank)
    )
