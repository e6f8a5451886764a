"""TorchPairs: what writes targets and scores pairs, many at a time."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.engines.several import ALONE, Several
from charlm.engines.torch_passes import Stopped
from charlm.nn.network import State
from charlm.nn.pair_batches import PairTexts, groups, read, read_sources
from charlm.nn.pairs import EncoderDecoder, Memory, Sources
from charlm.text.tokens import from_ids

Ids = NDArray[np.integer[Any]]
_READ_AT_ONCE = 512  # pairs


class Rows(NamedTuple):
    """What has been read, and where the decoder is, of each row.

    Rows of one source stand side by side and share what was read of it, as many of each source.
    """

    memory: Memory
    state: State


class TorchPairs:
    """Runs an EncoderDecoder, whose weights must not change after. NumpyPairs does the same."""

    def __init__(self, model: EncoderDecoder) -> None:
        self.model = model
        self._device = model.softmax.bias.device

    @property
    def vocab_size(self) -> int:
        """The types of targets."""
        return self.model.config.vocab_size

    @torch.inference_mode()
    def begin(self, sources: Sequence[Ids]) -> Rows:
        """All sources read, side by side."""
        read = read_sources(sources)
        return Rows(*self.model.read(Sources(*(part.to(self._device) for part in read))))

    @torch.inference_mode()
    def step(self, rows: Rows, tokens: Ids) -> tuple[NDArray[np.float64], Rows]:
        """log P (N, V) after tokens (N,), and the state then."""
        inputs = torch.from_numpy(np.asarray(tokens, np.int64)).to(self._device)[None]
        hidden, state, _ = self.model.hidden(inputs, rows.memory, rows.state)
        log_probs = self.model.logits(hidden[0]).double().log_softmax(1)
        return log_probs.cpu().numpy(), Rows(rows.memory, state)

    @torch.inference_mode()
    def take(self, rows: Rows, index: NDArray[np.int64]) -> Rows:
        """Rows (M,)."""
        at = torch.from_numpy(index).to(self._device)
        state = tuple(tuple(part[at] for part in layer) for layer in rows.state)
        per_source = len(rows.state[0][0]) // len(rows.memory.padding)
        seen = _once_each(index // per_source)
        return Rows(rows.memory.take(torch.from_numpy(seen).to(self._device)), state)

    @torch.inference_mode()
    def put(self, rows: Rows, index: NDArray[np.int64], one: Rows) -> Rows:
        """Rows with the one row of others, of the same source, in the place of some (M,)."""
        at = torch.from_numpy(index).to(self._device)
        state = tuple(
            tuple(
                part.index_copy(0, at, new.expand(len(at), -1))
                for part, new in zip(layer, first, strict=True)
            )
            for layer, first in zip(rows.state, one.state, strict=True)
        )
        return Rows(rows.memory, state)

    def token_log_probs(
        self, sources: Sequence[Ids], targets: Sequence[Ids]
    ) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """log P (T,) of the tokens of each target given its source; attention's shares (T, S)."""
        config = self.model.config
        pairs = PairTexts(
            from_ids(sources, config.source_vocab_size), from_ids(targets, config.vocab_size)
        )
        shares: list[Any] = [np.empty((len(target), 0)) for target in targets]
        log_probs = read_log_probs(self.model, pairs, shares=shares)
        return np.split(log_probs, pairs.targets.starts[1:-1]) if targets else [], shares


def _once_each(sources: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sources (M,) of rows, each once if as many rows of each stand side by side."""
    begins = np.flatnonzero(np.diff(sources, prepend=-1))
    is_even = len(set(np.diff(begins, append=len(sources)).tolist())) == 1
    return sources[begins] if is_even else sources


@torch.inference_mode()
def read_log_probs(
    model: EncoderDecoder,
    pairs: PairTexts,
    should_stop: Callable[[], bool] = lambda: False,
    shares: list[NDArray[np.float64]] | None = None,
    several: Several = ALONE,
) -> NDArray[np.float64]:
    """log P (N,) of the tokens of all targets, in their order; shares are put into a list.

    Of ``several`` processes each reads some of the groups. Raises Stopped if told to stop between
    two goes.
    """
    was_training = model.training
    model.eval()
    device = model.softmax.bias.device
    found = np.zeros(pairs.targets.num_tokens)
    lengths = pairs.lengths
    try:
        with several.filling(found):
            for index in several.mine(groups(lengths, _READ_AT_ONCE)):
                if should_stop():
                    raise Stopped
                batch = read(pairs, index)
                memory, state = model.read(Sources(*(part.to(device) for part in batch.sources)))
                hidden, _, looked = model.hidden(batch.inputs.to(device), memory, state)
                log_probs = model.logits(hidden).double().log_softmax(2)  # (T, B, V)
                wanted = batch.targets.clamp(min=0).to(device)
                chosen = log_probs.gather(2, wanted.unsqueeze(2)).squeeze(2).cpu().numpy()
                for column, at in enumerate(index):
                    begin, size = pairs.targets.starts[at], lengths[at, 1]
                    found[begin : begin + size] = chosen[:size, column]
                    if shares is not None and looked is not None:
                        part = looked[column, :size, : lengths[at, 0]]
                        shares[at] = part.double().cpu().numpy()
    finally:
        model.train(was_training)
    return found
