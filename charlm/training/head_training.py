"""Training of heads: cross-entropy on labels, AdamW, a cosine, and the best of what was validated.

As in training.py a step is a function of the state, the config and the examples: what it reads
comes from (seed, step), for every pass has equally many steps, and so does dropout. A run that is
stopped and resumed is the run that was never stopped.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.config import HeadConfig, TrainingConfig
from charlm.engines.torch_passes import Stopped
from charlm.equations.heads import log_softmax
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError
from charlm.nn.examples import Examples, collate, groups
from charlm.nn.head import Batch, Head
from charlm.nn.neighbours import weight_at
from charlm.text.conll import are_chunks, score_spans
from charlm.tokenizers.base import EOS_ID, UNK_ID
from charlm.training.course import (
    Course,
    descend,
    make_optimizer,
    moments,
    refusing,
    restore,
    roll_back,
    set_counters,
    step_generator,
)
from charlm.training.course import (
    is_done as is_done,
)
from charlm.training.course import (
    is_due as is_due,
)
from charlm.training.course import (
    state_counters as state_counters,
)

_READ_AT_ONCE = 512  # texts, when nothing is learned
_TEMPERATURES = (0.5, 10.0)
UNKNOWN = 0.05  # of the tokens that are read in training are <UNK>, so that it is met
SMOOTHING = 0.1  # of what is to be said of a text goes to all labels (Szegedy et al. 2016)


class HeadStep(NamedTuple):
    """What one step gave: mean loss in nats and the share that was right, before the update.

    The loss is that of the labels as they are; what is minimised has them smoothed, and that of
    neighbours beside it.
    """

    step: int
    loss: float
    accuracy: float
    skipped: bool


class HeadValidated(NamedTuple):
    """The held-out figures at a step; None where nothing is held out.

    loss is nats a label at the temperature that suits the held-out text best; f1 is that of whole
    spans, None where tags are none or nothing is held out.
    """

    step: int
    accuracy: float | None
    loss: float | None
    temperature: float
    is_best: bool
    f1: float | None = None


@dataclasses.dataclass(kw_only=True)
class HeadState(Course):
    """All that changes while training.

    accuracy, f1 and temperature are those of the last validation; the logged sums are of the
    steps since then.
    """

    head: Head
    accuracy: float | None = None
    f1: float | None = None
    temperature: float = 1.0
    best_accuracy: float | None = None
    best_f1: float | None = None
    logged_nats: float = 0.0
    logged_steps: int = 0

    def forget_best(self) -> None:
        """Have no best step, and no figures of one."""
        super().forget_best()
        self.accuracy = self.f1 = self.best_accuracy = self.best_f1 = None


def new_head_state(
    head_config: HeadConfig, config: TrainingConfig, device: torch.device | str = "cpu"
) -> HeadState:
    """A freshly initialised head, drawn from the seed, and its optimizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        head = Head(head_config)
        head.learn_neighbours()
    head = head.to(device)
    return HeadState(head=head, optimizer=make_optimizer(head.named_parameters(), config))


def steps_per_epoch(examples: Examples, config: TrainingConfig) -> int:
    """How many steps read every text once."""
    return len(groups(examples.lengths, config.batch_size))


def train_steps(state: HeadState, config: TrainingConfig, examples: Examples) -> Iterator[HeadStep]:
    """Train from where the state is to config.num_steps, one step at a time.

    Raises DivergedError after 10 steps in a row whose gradient is not finite.
    """
    per_epoch = steps_per_epoch(examples, config)
    epoch, order = -1, groups(examples.lengths, config.batch_size)
    prior = prior_of(examples, state.head)
    while state.step < config.num_steps:
        now, place = divmod(state.step, per_epoch)
        if now != epoch:
            epoch = now
            order = groups(
                examples.lengths, config.batch_size, np.random.default_rng((config.seed, epoch))
            )
        yield _train_batch(state, config, examples, order[place], prior)


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


def prior_of(examples: Examples, head: Head) -> Prior:
    """The prior of the labels of some examples."""
    config = head.config
    once, copied = examples.label_shares(config.num_labels)
    there = copied > 0
    shift = np.log(once, out=np.zeros_like(once), where=there)
    shift -= np.log(copied, out=np.zeros_like(copied), where=there)
    device = head.softmax.weight.device
    both = [torch.tensor(x, dtype=torch.float32, device=device) for x in (shift, once)]
    return Prior(both[0], both[1] if config.kind == "classifier" else None)


def _train_batch(
    state: HeadState,
    config: TrainingConfig,
    examples: Examples,
    index: NDArray[np.int64],
    prior: Prior,
) -> HeadStep:
    head, device = state.head, state.head.softmax.weight.device
    head.train()
    batch, targets, live = collate(examples, index)
    generator = step_generator(config.seed, state.step, device)
    batch = batch.to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        scores, bottom = head.read(_with_unknown(batch, generator), generator)
    scores, bottom = scores.float(), bottom.float()
    scores, targets = _that_count(scores, targets.to(device), live)
    scores, weights = scores + prior.shift, _weights(examples, index, device)
    loss = weighted_cross_entropy(scores, targets, weights, prior.spread)
    if head.neighbours is not None:
        beside = head.neighbours_loss(bottom, batch, generator)
        loss = loss + weight_at(state.step, config.num_steps) * beside
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    value = float(weighted_cross_entropy(scores.detach(), targets, weights))
    descend(state, config, head, value)
    skipped = state.skipped_in_a_row > 0
    state.step += 1
    right = float((scores.detach().argmax(1) == targets).double().mean())
    if not skipped:
        state.logged_nats += value
        state.logged_steps += 1
    return HeadStep(state.step, value, right, skipped)


def _with_unknown(batch: Batch, generator: torch.Generator) -> Batch:
    """A batch in which some tokens are <UNK>, never <EOS>; of a word the letters stay."""
    chances = torch.empty(batch.ids.shape, device=batch.ids.device)
    lost = chances.bernoulli_(UNKNOWN, generator=generator).bool() & (batch.ids != EOS_ID)
    return batch._replace(ids=batch.ids.masked_fill(lost, UNK_ID))


def _weights(examples: Examples, index: NDArray[np.int64], device: torch.device) -> Tensor | None:
    """What each text (B,) of a batch counts, if not all count the same."""
    if examples.copies is None:
        return None
    return torch.from_numpy(examples.copies.shares[index].astype(np.float32)).to(device)


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


def _that_count(scores: Tensor, targets: Tensor, live: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores (M, C) and targets (M,) without what is padded."""
    if live is None:
        return scores, targets
    live = live.to(scores.device)
    return scores[live], targets[live]


# Reading without learning


@torch.inference_mode()
def read_scores(
    head: Head, examples: Examples, should_stop: Callable[[], bool] = lambda: False
) -> NDArray[np.float32]:
    """Scores (S, C) of texts, or (N, C) of the tokens of sentences, in the order they are in.

    Raises Stopped if told to stop between two goes.
    """
    was_training = head.training
    head.eval()
    device = head.softmax.weight.device
    scores = np.empty((len(examples.labels), head.config.num_labels), np.float32)
    try:
        for index in groups(examples.lengths, _READ_AT_ONCE):
            if should_stop():
                raise Stopped
            batch, _, live = collate(examples, index)
            found = head(batch.to(device)).cpu()
            if live is None:
                scores[index] = found.numpy()
                continue
            places = examples.starts[index] + np.arange(len(found))[:, None]  # (T, B)
            scores[places[live.numpy()]] = found[live].numpy()
    finally:
        head.train(was_training)
    return scores


def fit_temperature(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The temperature under which the labels (M,) are likeliest, given scores (M, C).

    -log P is convex in 1 / temperature, so its slope has one sign on either side of the best
    (Guo et al. 2017, "On calibration of modern neural networks"). Stays within 0.5 and 10: if
    every label were right it would fall for ever.
    """
    if not len(labels):
        return 1.0
    z = scores.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    chosen = z[np.arange(len(z)), labels].sum()
    low, high = (math.log(1 / t) for t in reversed(_TEMPERATURES))
    for _ in range(30):
        middle = (low + high) / 2
        weights = np.exp(z * math.exp(middle))
        expected = ((weights * z).sum(axis=1) / weights.sum(axis=1)).sum()
        low, high = (low, middle) if expected > chosen else (middle, high)
    return math.exp(-(low + high) / 2)


def validate(
    state: HeadState,
    valid: Examples | None,
    should_stop: Callable[[], bool],
    names: Sequence[str],
    *,
    at_end: bool = False,
) -> HeadValidated | None:
    """The figures now, with best, temperature and patience brought up to date.

    Best is the greatest F1 of whole spans where the names of the labels are tags of such, then
    the greatest accuracy, then the lowest loss. At the end, where the learning rate has come to
    rest, a classifier is best unless an earlier step is better by more than two standard errors:
    the best of many is in part the luckiest. None where there is no figure that is finite; that
    counts against the patience. Raises Stopped.
    """
    if valid is None:
        return HeadValidated(state.step, None, None, state.temperature, is_best=False)
    found = _figures(state, valid, should_stop, names)
    if found is None:
        state.worse_in_a_row += 1
        return None
    accuracy, loss, f1, error = found
    state.validated, state.accuracy, state.f1 = state.step, accuracy, f1
    best = (state.best_f1 or 0.0, state.best_accuracy or 0.0, -(state.best_loss or 0.0))
    is_best = state.best_step is None or (f1 or 0.0, accuracy, -loss) > best
    is_best = is_best or (at_end and accuracy + 2 * error > (state.best_accuracy or 0.0))
    state.worse_in_a_row = 0 if is_best else state.worse_in_a_row + 1
    if is_best:
        state.best_accuracy, state.best_loss, state.best_f1 = accuracy, loss, f1
        state.best_step = state.step
    return HeadValidated(state.step, accuracy, loss, state.temperature, is_best, f1)


def _figures(
    state: HeadState,
    valid: Examples,
    should_stop: Callable[[], bool],
    names: Sequence[str],
) -> tuple[float, float, float | None, float] | None:
    """Accuracy, loss and F1 of what is held out, the temperature fitted; None if not finite.

    And the standard error of a classifier's accuracy, 0 of what is not to be judged by it.
    """
    scores = read_scores(state.head, valid, should_stop)
    if not np.isfinite(scores).all():
        return None
    counts = None if valid.copies is None else valid.copies.counts
    state.temperature = fit_temperature(*_with_copies(scores, valid.labels, counts))
    log_probs = log_softmax(scores, state.temperature)
    best = scores.argmax(axis=1)
    right = best == valid.labels
    accuracy = float(np.average(right, weights=counts))
    nats = -log_probs[np.arange(len(log_probs)), valid.labels]
    loss = float(np.average(nats, weights=counts))
    if valid.forms is None:
        return accuracy, loss, None, standard_error(right, counts)
    return accuracy, loss, _span_f1(valid, best, names) if are_chunks(names) else None, 0.0


def _span_f1(valid: Examples, best: NDArray[np.int64], names: Sequence[str]) -> float:
    """F1 of whole spans, given the label (N,) that is thought of each token."""
    meant, found = (
        [[names[at] for at in labels[begin:end]] for begin, end in pairwise(valid.starts)]
        for labels in (valid.labels, best)
    )
    return score_spans(meant, found)[""].f1


def standard_error(right: NDArray[np.bool_], counts: NDArray[np.int64] | None = None) -> float:
    """That of the share that is right, of texts (S,) which occur so often.

    The copies of a text are right or wrong together, so it is the texts that are drawn by chance.
    """
    weights = np.ones(len(right)) if counts is None else counts
    share = np.average(right, weights=weights)
    return float(np.linalg.norm(weights * (right - share)) / weights.sum())


def _with_copies(
    scores: NDArray[np.float32], labels: NDArray[np.int64], counts: NDArray[np.int64] | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores and labels, each as often as it counts."""
    if counts is None:
        return scores, labels
    return scores.repeat(counts, axis=0), labels.repeat(counts)


def seconds_per_step(
    head_config: HeadConfig,
    config: TrainingConfig,
    examples: Examples,
    seconds: float,
    device: torch.device | str = "cpu",
) -> float:
    """What a step takes, measured on a scratch head that trains for about so long."""
    config = dataclasses.replace(config, num_steps=10**9)
    state = new_head_state(head_config, config, device)
    loop = train_steps(state, config, examples)
    next(loop)  # pays for what is prepared once
    begun, steps = time.perf_counter(), 0
    while steps < 2 or time.perf_counter() - begun < seconds:
        next(loop)
        steps += 1
    return (time.perf_counter() - begun) / steps


# To and from arrays


def state_arrays(state: HeadState) -> dict[str, NDArray[np.float32]]:
    """The two moments of every parameter, by name, and the parameters of training alone."""
    found = moments(state, state.head)
    found |= {
        name: parameter
        for name, parameter in state.head.named_parameters()
        if name.startswith("neighbours.")
    }
    return {name: tensor.detach().cpu().numpy() for name, tensor in found.items()}


def restore_state(
    state: HeadState, weights: Arrays, arrays: Arrays, counters: dict[str, Any]
) -> None:
    """Put back what ``state_arrays``, ``state_counters`` and the weights held.

    Raises CheckpointError if they do not fit the head.
    """
    set_counters(state, counters)
    if (state.best_step is None) != (state.best_accuracy is None):
        raise CheckpointError("training.json: best_step and best_accuracy do not belong together.")
    with refusing():
        restore(state, state.head, {**arrays, **weights}, arrays)


def go_back(state: HeadState, weights: Arrays, arrays: Arrays, counters: dict[str, Any]) -> None:
    """Put back weights, moments and temperature of an earlier step, halving the learning rate."""
    put_back = functools.partial(restore_state, state, weights, arrays, counters)
    roll_back(state, put_back, belonging=("updates", "temperature"))
