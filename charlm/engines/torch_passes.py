"""Passes of a RecurrentLM over given texts: log P of every token, the state after it.

Letters as in causal.py; N tokens in all.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charlm.engines.protocol import Details, Ids, Predictions, empty_details
from charlm.engines.several import ALONE, Several
from charlm.memory import give_back
from charlm.nn.blocks import Blocks, softmax_of
from charlm.nn.causal import RecurrentLM
from charlm.nn.linear import Product
from charlm.nn.network import State, flatten_targets, narrow_state
from charlm.nn.windows import PADDING, Rows, Window, cut_rows, group_rows, labels_of, read_windows
from charlm.text.tokens import TokenizedText

_WINDOW = 256  # tokens of a row read in one call of the network
_TOKENS = 16_384  # tokens of a batch, padding included
_LOGITS = 2**22  # logits made at a time: bounds memory for large vocabularies


class Stopped(Exception):  # noqa: N818 - not an error
    """A pass was told to stop before its end."""


@torch.inference_mode()
def token_log_probs(
    model: RecurrentLM,
    text: TokenizedText,
    *,
    details: bool = False,
    openers: Ids | None = None,
) -> tuple[NDArray[np.float64], Details | None]:
    """log P of each target (N,) in nats, and if asked what else there is to say of each.

    Sequences of like length are read together; long ones in windows with the state carried over,
    so memory does not grow with the length of a text.
    """
    softmax = softmax_of(model)
    log_probs = np.empty(text.num_tokens)
    more = empty_details(text.num_tokens, openers) if details else None
    asked = None if openers is None else torch.from_numpy(np.asarray(openers, dtype=np.int64))
    rows = Rows(text.starts[:-1], text.starts[1:], text.starts[:-1])
    for group in group_rows(rows, tokens_per_window=_TOKENS, bptt_length=_WINDOW, rng=None):
        offset = 0
        state = model.init_state(len(group.begin), labels_of(text, group))
        for window in read_windows(text, group, _WINDOW):
            columns, state = _score_window(model, softmax, window, state, details, asked)
            batch, width = window.targets.shape
            live = (window.targets != PADDING).numpy()
            at = (group.begin[:batch, None] + offset + np.arange(width))[live]
            values = [column.t().numpy()[live] for column in columns]
            log_probs[at] = values[0]
            if more is not None:
                for kept, value in zip(more, values[1:], strict=False):
                    kept[at] = value  # type: ignore[index]
            offset += width
        give_back()
    return log_probs, more


@torch.inference_mode()
def predictions(model: RecurrentLM, text: TokenizedText) -> Predictions:
    """log P (M, V) in nats of all types at some of the targets (M,) after others."""
    softmax = softmax_of(model)
    portion = max(1, _LOGITS // softmax.num_outputs)
    device = model.embedding.weight.device
    rows = Rows(text.starts[:-1], text.starts[1:], text.starts[:-1])
    for group in group_rows(rows, tokens_per_window=_TOKENS, bptt_length=_WINDOW, rng=None):
        offset, state = 0, model.init_state(len(group.begin))
        for window in read_windows(text, group, _WINDOW):
            batch, width = window.inputs.shape
            hidden, state = model.hidden(window.inputs.to(device), narrow_state(state, batch))
            live = window.targets.t() != PADDING  # (T, B)
            at = (group.begin[:batch] + offset + np.arange(width)[:, None])[live.numpy()]
            features = model.features(hidden[live.to(device)])  # (M, D)
            for first in range(0, len(at), portion):
                span = slice(first, first + portion)
                yield at[span], softmax(features[span]).log_softmax(1).cpu().numpy()
            offset += width


class Begun(NamedTuple):
    """A sequence of which a part has been read: its last token, and the state before that one."""

    last: int
    state: State


@torch.inference_mode()
def read_on(
    model: RecurrentLM, ids: Ids, begun: Begun | None = None
) -> tuple[NDArray[np.float64], Begun | None]:
    """log P (T,) in nats of the next ids (T,) of a sequence, and where it stands after them.

    None is where a sequence begins. So a sequence is scored in pieces, as it is in one go.
    """
    if not len(ids):
        return np.empty(0), begun
    last, state = begun or Begun(model.config.vocab_size, model.init_state(1))
    device = model.embedding.weight.device
    softmax = softmax_of(model)
    targets = torch.from_numpy(np.asarray(ids, dtype=np.int64))
    inputs = torch.cat((torch.tensor([last]), targets[:-1]))
    log_probs = np.empty(len(ids))
    for at in range(0, len(ids), _WINDOW):
        span = slice(at, at + _WINDOW)
        hidden, state = model.hidden(inputs[None, span].to(device), state)  # (T, 1, H)
        features = model.features(hidden[:, 0])
        values, *_ = target_log_probs(features, softmax, targets[span].to(device))
        log_probs[span] = values.cpu().numpy()
    return log_probs, Begun(int(ids[-1]), state)


@torch.inference_mode()
def rows_on(
    model: RecurrentLM, ids: Ids, begun: Begun | None = None
) -> tuple[NDArray[np.float32], Begun | None]:
    """log P (T, V) of all types where the next ids (T,) of a sequence stand, else as read_on."""
    last, state = begun or Begun(model.config.vocab_size, model.init_state(1))
    device = model.embedding.weight.device
    softmax = Product(model.softmax_weight, model.softmax.bias)
    rows = np.empty((len(ids), softmax.num_outputs), dtype=np.float32)
    if not len(ids):
        return rows, begun
    inputs = torch.from_numpy(np.concatenate(([last], ids[:-1])).astype(np.int64))
    portion = max(1, min(_WINDOW, _LOGITS // softmax.num_outputs))
    for at in range(0, len(ids), portion):
        span = slice(at, at + portion)
        hidden, state = model.hidden(inputs[None, span].to(device), state)  # (T, 1, H)
        features = model.features(hidden[:, 0])
        rows[span] = softmax(features).log_softmax(1).cpu().numpy()
    return rows, Begun(int(ids[-1]), state)


@torch.inference_mode()
def read(model: RecurrentLM, ids: Ids) -> State:
    """The state of one row that has read ids (T,), a window at a time: nothing is predicted.

    Without dropout, also where the model is being trained.
    """
    return _read_windows(model, np.asarray(ids)[None], model.init_state(1))


@torch.inference_mode()
def read_all(model: RecurrentLM, sequences: Sequence[Ids]) -> list[State]:
    """The states of rows that have read sequences of ids (T,), side by side.

    A row leaves where its sequence ends, so none is padded.
    """
    rows = sorted(range(len(sequences)), key=lambda row: len(sequences[row]))
    found: dict[int, State] = {}
    state, begin = model.init_state(len(rows)), 0
    while rows:
        end = len(sequences[rows[0]])
        ids = np.stack([np.asarray(sequences[row][begin:end]) for row in rows])  # (B, T)
        state, begin = _read_windows(model, ids, state), end
        ended = sum(len(sequences[row]) == end for row in rows)
        for at, row in enumerate(rows[:ended]):
            found[row] = _rows_of(state, slice(at, at + 1))
        rows, state = rows[ended:], _rows_of(state, slice(ended, None))
    return [found[row] for row in range(len(sequences))]


def _rows_of(state: State, rows: slice) -> State:
    return tuple(tuple(tensor[rows].clone() for tensor in layer) for layer in state)


def _read_windows(model: RecurrentLM, ids: NDArray[np.integer], state: State) -> State:
    """The state of rows after their next ids (B, T)."""
    for at in range(0, ids.shape[1], _WINDOW):
        window = torch.from_numpy(np.ascontiguousarray(ids[:, at : at + _WINDOW].T, dtype=np.int64))
        x = model.embedding(window.to(model.embedding.weight.device))  # (T, B, E)
        after = []
        for layer, before in zip(model.layers, state, strict=True):
            x, new = layer(x, before)  # (T, B, H)
            after.append(new)
        state = tuple(after)
    return state


def _score_window(
    model: RecurrentLM,
    softmax: Product | Blocks,
    window: Window,
    state: State,
    details: bool,
    openers: Tensor | None,
) -> tuple[list[Tensor], State]:
    """log P and details, each (T, B), of the targets of a window, and the state after it."""
    device = model.embedding.weight.device
    batch, width = window.inputs.shape
    hidden, state = model.hidden(
        window.inputs.to(device), narrow_state(state, batch), labels=window.labels
    )
    vectors = hidden.reshape(-1, hidden.shape[-1])  # (T * B, H)
    targets = window.targets.t().reshape(-1).clamp(min=0).to(device)
    columns = target_log_probs(model.features(vectors), softmax, targets, details, openers)
    return [column.cpu().view(width, batch) for column in columns], state


def target_log_probs(
    features: Tensor,
    softmax: Product | Blocks,
    targets: Tensor,
    details: bool = False,
    openers: Tensor | None = None,
) -> list[Tensor]:
    """log P (N,) of targets (N,) given what the softmax reads (N, D); with details three more.

    The scores of all types are made for some positions at a time and kept for none.
    """
    if isinstance(softmax, Blocks):
        return softmax.target_log_probs(features, targets, details=details, openers=openers)
    portion = max(1, _LOGITS // softmax.num_outputs)
    number = len(features)
    found = [features.new_empty(number)]  # made before: between large blocks they would pin memory
    if details:
        found += [targets.new_empty(number), features.new_empty(number)]
        found += [] if openers is None else [features.new_empty(number)]
    for at in range(0, number, portion):
        span = slice(at, at + portion)
        logits = softmax(features[span])  # (M, V)
        chosen = logits.gather(1, targets[span, None])  # (M, 1)
        if not details:
            found[0][span] = (chosen - _log_sums(logits)).squeeze(1)
            del logits  # before there are others: two at a time leave holes that nothing fills
            continue
        normaliser = logits.logsumexp(1, keepdim=True)
        found[0][span] = (chosen - normaliser).squeeze(1)
        found[1][span] = (logits > chosen).sum(1).add_(1)
        if openers is not None:
            together = logits[:, openers].logsumexp(1, keepdim=True)
            found[3][span] = (together - normaliser).squeeze(1)
        log_probs = logits.sub_(normaliser)
        found[2][span] = -(log_probs.exp() * log_probs).sum(1)
        del logits, log_probs
    return found


def _log_sums(logits: Tensor) -> Tensor:
    """The logarithm of the sum of exponentials of each row (M, 1), made in their place."""
    largest = logits.amax(1, keepdim=True)
    return logits.sub_(largest).exp_().sum(1, keepdim=True).log_().add_(largest)


@torch.inference_mode()
def quick_log_probs(
    model: RecurrentLM,
    text: TokenizedText,
    *,
    batch_size: int,
    bptt_length: int,
    segment_length: int,
    most_tokens: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
    several: Several = ALONE,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """log P (M,) in nats of targets of a text, and which (M,) they are: for a run's progress.

    It is read as in training. Long sequences are cut into pieces that are read side by side, each
    after a warm-up on the window before it. Of a text of more than most_tokens tokens (0 is no
    limit) about so many are read, in pieces from all over it. ``token_log_probs`` is exact. Of
    ``several`` processes each reads some of the groups. Raises Stopped as soon as should_stop says
    so.
    """
    softmax = softmax_of(model)
    rows = cut_rows(
        text.starts, segment_length=segment_length, batch_size=batch_size, warm_up=bptt_length
    )
    if 0 < most_tokens < text.num_tokens:
        share = most_tokens / text.num_tokens
        number = max(1, round(share * len(rows.begin)))
        spread = (np.arange(number) + 0.5) * len(rows.begin) / number
        rows = rows.take(spread.astype(np.int64))
    groups = group_rows(
        rows, tokens_per_window=batch_size * bptt_length, bptt_length=bptt_length, rng=None
    )
    numbers = [int((group.end - group.counted).sum()) for group in groups]
    begins = np.cumsum([0, *numbers])
    places, found = np.zeros(begins[-1], np.int64), np.zeros(begins[-1])
    with several.filling(places, found):
        for number in several.mine(range(len(groups))):
            at = begins[number]
            for where, values in _quickly(model, softmax, text, groups[number], bptt_length):
                if should_stop():
                    raise Stopped
                places[at : at + len(where)] = where
                found[at : at + len(where)] = values
                at += len(where)
    return places, found


def _quickly(
    model: RecurrentLM,
    softmax: Product | Blocks,
    text: TokenizedText,
    group: Rows,
    bptt_length: int,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Of each window of a group the targets (n,), and log P (n,) of them."""
    device = model.embedding.weight.device
    offset, state = 0, model.init_state(len(group.begin), labels_of(text, group))
    for window in read_windows(text, group, bptt_length):
        batch, width = window.inputs.shape
        hidden, state = model.hidden(
            window.inputs.to(device), narrow_state(state, batch), labels=window.labels
        )
        vectors, targets = flatten_targets(hidden, window.targets.to(device), PADDING)
        scored = (window.targets.t() != PADDING).numpy()  # (T, B)
        at = group.begin[:batch] + offset + np.arange(width)[:, None]
        values = np.empty(0)
        if window.num_targets:
            (column,) = target_log_probs(model.features(vectors), softmax, targets)
            values = column.cpu().double().numpy()
        yield at[scored], values
        offset += width
