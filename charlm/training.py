"""Training: teacher forcing, truncated back-propagation through time, AdamW.

``train_steps`` owns the loop and nothing else: it takes a TrainingState from one step to the next
and yields what each step gave. A step is a function of the state, the config and the text: the
order of the data comes from (seed, epoch) and dropout from (seed, step), so a state written to
disk and read back goes on exactly as if nothing had happened.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from charlm.batching import (
    PADDING,
    Rows,
    TokenizedText,
    Window,
    epoch_groups,
    num_windows,
    read_window,
)
from charlm.bidirectional import (
    BidirectionalLM,
    Sides,
    network,
    read_sides,
    spans_of,
    whole_groups,
)
from charlm.config import ModelConfig, TrainingConfig
from charlm.errors import CheckpointError, DivergedError
from charlm.model import (
    RecurrentLM,
    State,
    detach_state,
    flatten_targets,
    narrow_state,
)
from charlm.softmax import TypeSampler, cross_entropy
from charlm.weights import Arrays

_WHOLE = 10**12  # tokens: longer than any row
MOST_SKIPPED = 10  # steps in a row whose gradient is not finite before a run is given up
CURE = (
    "Begin again with a lower --learning-rate, or go on from the last checkpoint with --resume "
    "--on-nan rollback."
)


class Step(NamedTuple):
    """What one step gave: the mean loss in nats per target before the update."""

    step: int
    loss: float
    num_targets: int
    grad_norm: float
    learning_rate: float
    skipped: bool


@dataclasses.dataclass(kw_only=True)
class TrainingState:
    """All that changes while training. ``average`` is the running mean of the weights, if any.

    epoch, group and window say which window of the text comes next; recurrent is the state
    carried into it (None at the beginning of a group). validated is the step of the last
    validation; logged_nats and logged_targets add up the losses since then. rollbacks counts how
    often the weights of an earlier step were put back: each halves the learning rate. partner are
    the parameters (P,) of the partner, once they have been fitted.
    """

    model: RecurrentLM
    optimizer: torch.optim.AdamW
    average: list[Tensor] | None
    step: int = 0
    updates: int = 0
    skipped_in_a_row: int = 0
    epoch: int = 0
    group: int = 0
    window: int = 0
    recurrent: State | None = None
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int | None = None
    worse_in_a_row: int = 0
    validated: int = 0
    rollbacks: int = 0
    grad_norm: float | None = None
    logged_nats: float = 0.0
    logged_targets: int = 0
    partner: npt.NDArray[np.float64] | None = None


_COUNTERS: dict[str, tuple[type, ...]] = {
    "step": (int,),
    "updates": (int,),
    "skipped_in_a_row": (int,),
    "epoch": (int,),
    "group": (int,),
    "window": (int,),
    "tokens": (int,),
    "seconds": (float, int),
    "best_loss": (float, int, type(None)),
    "best_step": (int, type(None)),
    "worse_in_a_row": (int,),
    "validated": (int,),
    "rollbacks": (int,),
    "grad_norm": (float, int, type(None)),
    "logged_nats": (float, int),
    "logged_targets": (int,),
}


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
    return TrainingState(model=model, optimizer=_optimizer(model, config), average=average)


def _optimizer(model: RecurrentLM, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW; only matrices decay, and of them not the embeddings."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in model.named_parameters():
        decays = parameter.dim() > 1 and "embedding" not in name and "peephole" not in name
        (matrices if decays else others).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate of step number ``step`` (from 0): a linear rise, then a cosine to the end."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return config.end_learning_rate + (config.learning_rate - config.end_learning_rate) * cosine


def rate_of(state: TrainingState, config: TrainingConfig, step: int) -> float:
    """The rate of a step of this run: that of the schedule, halved by each rollback."""
    return learning_rate(step, config) * 0.5**state.rollbacks


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
    loss, norm, after = _update(state, config, window, types, before, rate)
    finite = math.isfinite(loss) and math.isfinite(norm)
    state.skipped_in_a_row = 0 if finite else state.skipped_in_a_row + 1
    if state.skipped_in_a_row >= MOST_SKIPPED:
        raise DivergedError(
            f"training diverged: {MOST_SKIPPED} steps in a row up to step {state.step + 1} gave a "
            f"loss or gradient that is not finite. {CURE}"
        )
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
    rate: float,
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
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm))
    value = float(loss.detach())
    if math.isfinite(value) and math.isfinite(norm):
        for parameters in state.optimizer.param_groups:
            parameters["lr"] = rate
        state.optimizer.step()
        state.updates += 1
        if state.average is not None:
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


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The random numbers of one step, dropout's and others', a function of (seed, step)."""
    generator = torch.Generator(device)
    # An odd multiplier keeps neighbouring steps and seeds apart in 63 bits.
    return generator.manual_seed((seed * 0x9E3779B97F4A7C15 + step) % 2**63)


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
    tensors: dict[str, Tensor] = {}
    for name, parameter in state.model.named_parameters():
        if state.average is not None:
            tensors[f"weight.{name}"] = parameter.detach()
        moments = state.optimizer.state.get(parameter, {})
        for key in ("exp_avg", "exp_avg_sq"):
            tensors[f"{key}.{name}"] = moments.get(key, torch.zeros_like(parameter))
        taken = float(moments.get("step", 0))
        if taken != state.updates:  # what makes first states of labels: not in every window
            tensors[f"updates.{name}"] = torch.tensor([taken])
    for depth, layer in enumerate(state.recurrent or ()):
        for index, tensor in enumerate(layer):
            tensors[f"recurrent.{depth}.{index}"] = tensor
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}


def state_counters(state: TrainingState) -> dict[str, Any]:
    """The numbers of a state, as JSON."""
    return {name: getattr(state, name) for name in _COUNTERS}


def _copied(name: str, arrays: Arrays, like: Tensor) -> Tensor:
    """A tensor of a saved array that must have this shape. Raises KeyError or ValueError."""
    array = arrays[name]
    if array.shape != tuple(like.shape) or array.dtype != np.float32:
        raise ValueError(f"{name} is {array.shape} of {array.dtype}, not {tuple(like.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return torch.from_numpy(array.copy()).to(like.device)


def restore_state(
    state: TrainingState,
    weights: Arrays,
    arrays: Arrays,
    counters: dict[str, Any],
) -> None:
    """Put back what ``state_arrays``, ``state_counters`` and the weights for use held.

    Raises CheckpointError if they do not fit the model.
    """
    for name, kinds in _COUNTERS.items():
        value = counters.get(name)
        if type(value) not in kinds or (value is not None and not 0 <= value < 2**63):
            raise CheckpointError(f"training.json: {name} cannot be {value!r}.")
        setattr(state, name, value)
    try:
        with torch.no_grad():
            for index, (name, parameter) in enumerate(state.model.named_parameters()):
                if state.average is None:
                    parameter.copy_(_copied(name, weights, parameter))
                else:
                    parameter.copy_(_copied(f"weight.{name}", arrays, parameter))
                    state.average[index].copy_(_copied(name, weights, parameter))
                if state.updates:
                    state.optimizer.state[parameter] = {
                        "step": _updates(name, state, arrays).to(parameter.device),
                        **{
                            key: _copied(f"{key}.{name}", arrays, parameter)
                            for key in ("exp_avg", "exp_avg_sq")
                        },
                    }
            state.recurrent = _recurrent(state, arrays)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"training.safetensors does not fit the model: {error}.") from None


def _updates(name: str, state: TrainingState, arrays: Arrays) -> Tensor:
    """How often a parameter has been updated (): at every update, unless arrays say otherwise."""
    if f"updates.{name}" not in arrays:
        return torch.tensor(float(state.updates))
    taken = _copied(f"updates.{name}", arrays, torch.zeros(1))[0]
    if not 0 <= taken < state.updates or taken != taken.round():
        raise ValueError(f"{name} cannot have been updated {float(taken):g} times")
    return taken


def roll_back(
    state: TrainingState, weights: Arrays, arrays: Arrays, counters: dict[str, Any]
) -> None:
    """Put back the weights, moments and average of an earlier step, and halve the learning rate.

    All else goes on from where it is: step and text do not run backwards, so that a run is never
    longer than its budget and its log stays in order. Takes what ``restore_state`` takes.
    """
    now = state_counters(state)
    state.optimizer.state.clear()
    restore_state(state, weights, arrays, counters)
    now.update(updates=state.updates, rollbacks=now["rollbacks"] + 1)
    for name, value in now.items():
        setattr(state, name, value)
    state.recurrent = None


def _recurrent(state: TrainingState, arrays: Arrays) -> State | None:
    """The carried state, where one was saved."""
    if "recurrent.0.0" not in arrays:
        return None
    blank = state.model.init_state(len(arrays["recurrent.0.0"]))
    return tuple(
        tuple(
            _copied(f"recurrent.{depth}.{index}", arrays, tensor)
            for index, tensor in enumerate(layer)
        )
        for depth, layer in enumerate(blank)
    )
