"""Passes of a bidirectional model over whole texts in torch; the cloze engine for large jobs."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from charlm.engines import numpy_cloze
from charlm.engines.numpy_cloze import NumpyCloze
from charlm.engines.protocol import Details, Ids, empty_details
from charlm.engines.several import ALONE, Several
from charlm.engines.torch_passes import Stopped, target_log_probs
from charlm.equations import language_model
from charlm.nn.bidirectional import BidirectionalLM, Spans, read_sides, spans_of, with_context
from charlm.nn.blocks import softmax_of
from charlm.nn.network import State, to_arrays
from charlm.nn.windows import Rows, cut_rows, group_rows
from charlm.text.tokens import TokenizedText, from_ids

_TOKENS = 16_384  # tokens of a batch, padding included
_LONGEST = 2048  # tokens of a sequence that is read in one window
_PIECE = 512  # tokens of the pieces of a quick pass
_REACH = 64  # tokens that are read on both sides of a piece
_WINDOW = 256  # tokens read in one call when nothing is predicted


class _Reads(Protocol):
    def __call__(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """What a stack says after each input, and the state after the last."""


@torch.inference_mode()
def pseudo_log_probs(
    model: BidirectionalLM,
    text: TokenizedText,
    *,
    details: bool = False,
) -> tuple[npt.NDArray[np.float64], Details | None]:
    """log P (N,) in nats of each target given all others of its sequence, and details if asked.

    Exact for sequences of any length in bounded memory. A long one is read three times: by the
    backward stack, whose state before each window is kept; then window by window by both.
    """
    softmax = softmax_of(model)
    log_probs = np.empty(text.num_tokens)
    more = empty_details(text.num_tokens, None) if details else None

    def note(vectors: Tensor, targets: Tensor, places: npt.NDArray[np.int64]) -> None:
        columns = target_log_probs(model.features(vectors), softmax, targets, details)
        values = [column.cpu().numpy() for column in columns]
        log_probs[places] = values[0]
        for kept, value in zip(more or (), values[1:], strict=False):
            kept[places] = value  # type: ignore[index]

    device = model.embedding.weight.device
    rows = Rows(text.starts[:-1], text.starts[1:], text.starts[:-1])
    short = rows.take(np.flatnonzero(rows.lengths <= _LONGEST))
    for group in group_rows(short, tokens_per_window=_TOKENS, bptt_length=_LONGEST, rng=None):
        sides = read_sides(text, spans_of(group), padded=True)
        note(model.joined(sides)[0], sides.targets.to(device), sides.places)
    for index in np.flatnonzero(rows.lengths > _LONGEST):
        windows = _windows(int(rows.begin[index]), int(rows.end[index]))
        kept, right = [], model.init_state(1)
        for window in reversed(windows):
            kept.append(right)
            _, right = model.hidden_after(read_sides(text, window).after.to(device), right)
        left = model.init_state(1)
        for window in windows:
            sides = read_sides(text, window)
            vectors, (left, _) = model.joined(sides, states=(left, kept.pop()))
            note(vectors, sides.targets.to(device), sides.places)
    return log_probs, more


def _windows(begin: int, end: int) -> list[Spans]:
    """The windows of a long sequence from left to right, each a row of its own."""
    cuts = np.linspace(begin, end, -(-(end - begin) // _LONGEST) + 1).astype(np.int64)
    rows = Rows(cuts[:-1], cuts[1:], cuts[:-1])
    return [spans_of(rows.take(np.array([i]))) for i in range(len(rows.begin))]


@torch.inference_mode()
def quick_pseudo_log_probs(
    model: BidirectionalLM,
    text: TokenizedText,
    *,
    most_tokens: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
    several: Several = ALONE,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """log P (M,) in nats of targets given both sides, and which they are: for a run's progress.

    Long sequences are cut into pieces that are read side by side with some context on both sides.
    Of a text of more than most_tokens tokens (0 is no limit) about so many are read, in pieces
    from all over it. Of ``several`` processes each reads some of the groups. Raises Stopped as soon
    as should_stop says so.
    """
    device = model.embedding.weight.device
    softmax = softmax_of(model)
    rows = cut_rows(text.starts, segment_length=_PIECE, batch_size=1)
    if 0 < most_tokens < text.num_tokens:
        number = max(1, round(most_tokens / text.num_tokens * len(rows.begin)))
        spread = (np.arange(number) + 0.5) * len(rows.begin) / number
        rows = rows.take(spread.astype(np.int64))
    groups = group_rows(rows, tokens_per_window=_TOKENS, bptt_length=2 * _PIECE, rng=None)
    begins = np.cumsum([0, *(int(group.lengths.sum()) for group in groups)])
    places, found = np.zeros(begins[-1], np.int64), np.zeros(begins[-1])
    with several.filling(places, found):
        for number in several.mine(range(len(groups))):
            if should_stop():
                raise Stopped
            spans = with_context(groups[number], text.starts, _REACH)
            sides = read_sides(text, spans, padded=True)
            features = model.features(model.joined(sides)[0])
            (values,) = target_log_probs(features, softmax, sides.targets.to(device))
            places[begins[number] : begins[number + 1]] = sides.places
            found[begins[number] : begins[number + 1]] = values.cpu().double().numpy()
    return places, found


class TorchCloze(NumpyCloze):
    """Scores and reads in torch; steps over a gap, of which there are few, as NumpyCloze does."""

    def __init__(self, model: BidirectionalLM) -> None:
        super().__init__(model.config, to_arrays(model))
        self.model = model

    def token_log_probs(
        self, sequences: Sequence[Ids], *, details: bool = False, openers: Ids | None = None
    ) -> tuple[npt.NDArray[np.float64], Details | None]:
        """log P (N,) of each token given all others of its sequence, and details but openers."""
        del openers
        ids = [np.asarray(sequence, dtype=np.int32) for sequence in sequences]
        text = from_ids(ids, self.config.vocab_size)
        return pseudo_log_probs(self.model, text, details=details)

    def before(self, ids: Ids) -> numpy_cloze.State:
        """The state of the forward stack before the token that follows ids (T,)."""
        begun = np.concatenate(([self.config.vocab_size], ids))
        return self._read(self.model.hidden, begun)

    def after(self, ids: Ids, *, ends: bool) -> language_model.Array:
        """What the backward stack says (1, H) of the token that ids (T,) come after."""
        end = [self.config.vocab_size] if ends else []
        return self._read(self.model.hidden_after, np.concatenate((end, ids[::-1])))[-1][0]

    @torch.inference_mode()
    def _read(self, stack: _Reads, inputs: Ids) -> numpy_cloze.State:
        """The state of a stack, one row, that has read inputs (T,), a window at a time."""
        state = self.model.init_state(1)
        device = self.model.embedding.weight.device
        for at in range(0, len(inputs), _WINDOW):
            window = torch.from_numpy(np.asarray(inputs[at : at + _WINDOW], dtype=np.int64))
            _, state = stack(window[None].to(device), state)
        return tuple(tuple(tensor.cpu().numpy() for tensor in layer) for layer in state)
