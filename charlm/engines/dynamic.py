"""Dynamic evaluation: a model that goes on learning from a text while it is scored on it.

Mikolov et al. 2010 ("Recurrent neural network based language model"), Krause et al. 2018
("Dynamic Evaluation of Neural Sequence Models"). The text is read in windows. Each is scored
first, every token given the true ones before it and the weights that earlier windows have left;
then one gradient step is taken on it. So no token has a say in its own probability or in that of
an earlier one, and the product over the text is the probability of the text in this order, by a
model that adapts: lower in bits where a text repeats itself or is of another kind than what the
model was trained on, and a different figure from that of the model as it was saved.

Letters: N tokens, T those of a window, R sequences that end in it.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from charlm.engines.protocol import Ids
from charlm.errors import DivergedError, UsageError
from charlm.nn.causal import RecurrentLM, from_arrays
from charlm.nn.network import State, detach_state, to_arrays
from charlm.tokenizers.base import EOS_ID

# Close to the best for held-out text like the training text: a character says less than a word.
RATES = {"char": 0.15, "word": 0.4, "subword": 0.4}
WINDOW = 32
MOST_RATE = 1000.0
_MAX_NORM = 2.0


class DynamicEvaluator:
    """Reads a stream of tokens, in which <EOS> ends each sequence, and adapts to it.

    Every ``window`` tokens of the stream, whatever sequences they belong to, are one window: a
    long sequence takes many, and one holds many short sequences, which are read side by side.
    The recurrent state is carried within a sequence and begins anew after <EOS>; what has been
    learned is carried over both. Where windows begin is known from the number of tokens alone:
    cut anywhere else it would tell something of what follows.

    A step goes down the gradient of the loss (nats, summed over the window and divided by
    ``window``), clipped to norm 2, times ``rate``: ``RATES`` has a good one for each level, and
    with 0 nothing is learned. The model given stays as it is: a copy adapts, on the CPU. Raises
    UsageError if rate or window is out of range.
    """

    def __init__(self, model: RecurrentLM, *, rate: float, window: int = WINDOW) -> None:
        if not 0 <= rate <= MOST_RATE:
            raise UsageError(f"the step size must be from 0 to {MOST_RATE:g}, got {rate:g}.")
        if window < 1:
            raise UsageError(f"a window must hold 1 token or more, got {window}.")
        self.rate = rate
        self.window = window
        copied = {name: array.copy() for name, array in to_arrays(model).items()}
        self.model = from_arrays(model.config, copied).requires_grad_(rate > 0)
        self._parameters: list[Tensor] = list(self.model.parameters())
        self._before = EOS_ID  # the token before the window: a sequence begins
        self._state = self.model.init_state(1)  # after it
        self._begun = np.empty(0, dtype=np.int64)  # what is there of a window not yet full

    def read(self, ids: Ids) -> NDArray[np.float64]:
        """log P (N,) in nats of ids (N,), the next tokens of the stream.

        Memory grows with N by the result alone. However the stream is cut into calls, the
        figures are the same but for the last digits, and what is learned is the same. Raises
        DivergedError if numbers are no longer finite, which a smaller rate prevents.
        """
        log_probs = np.empty(len(ids))
        for span, rows in self._read_windows(ids):
            log_probs[span] = rows[np.arange(len(rows)), ids[span]]
        return log_probs

    def rows(self, ids: Ids) -> NDArray[np.float32]:
        """log P (N, V) of all types where ids (N,) stand, the next tokens of the stream."""
        found = np.empty((len(ids), self.model.config.vocab_size), dtype=np.float32)
        for span, rows in self._read_windows(ids):
            found[span] = rows
        return found

    def _read_windows(self, ids: Ids) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """log P (n, V) where some of ids (N,) stand after others."""
        at = 0
        while at < len(ids):
            scored = len(self._begun)
            piece = ids[at : at + self.window - scored]
            self._begun = np.concatenate((self._begun, piece)).astype(np.int64)
            yield slice(at, at + len(piece)), self._read_window()[scored:]
            at += len(piece)

    def token_log_probs(self, sequences: Sequence[Ids]) -> tuple[NDArray[np.float64], None]:
        """log P (N,) of the tokens of sequences that end in <EOS>, one after another."""
        return self.read(np.concatenate(sequences)), None

    def read_on(self, ids: Ids, state: None = None) -> tuple[NDArray[np.float64], None]:
        """log P (T,) of the next ids (T,) of a sequence; the state stays here."""
        del state
        return self.read(ids), None

    def _read_window(self) -> NDArray[np.float32]:
        """log P (T, V) of the window so far; once it is full, a step on it, and the next begins."""
        full = len(self._begun) == self.window
        with torch.set_grad_enabled(full and self.rate > 0):
            vectors, state = self._hidden()
            rows = self.model.logits(vectors).log_softmax(1)
            losses = F.nll_loss(rows, torch.from_numpy(self._begun), reduction="none")  # (T,)
            if losses.requires_grad:
                self._step(losses.sum() / self.window)
        if not torch.isfinite(losses).all():
            raise self._diverged()
        if full:
            self._before, self._begun = int(self._begun[-1]), self._begun[:0]
            ended = self._before == EOS_ID
            self._state = self.model.init_state(1) if ended else detach_state(state)
        found: NDArray[np.float32] = rows.detach().numpy()
        return found

    def _hidden(self) -> tuple[Tensor, State]:
        """Hidden vectors (T, H) after each input of the window, and the state after the last.

        Sequences that end in the window are rows of a batch, the first of them perhaps begun
        before it; the last piece, whose state goes on, is a row by itself.
        """
        inputs = np.concatenate(([self._before], self._begun[:-1]))
        begins = np.flatnonzero(inputs == EOS_ID)
        inputs[begins] = self.model.config.vocab_size
        *ended, last = np.split(inputs, begins[begins > 0])
        state, vectors = self._state, []
        if ended:
            lengths = np.array([len(piece) for piece in ended])
            live = np.arange(lengths.max()) < lengths[:, None]  # (R, T)
            rows = np.full(live.shape, self.model.config.vocab_size)
            rows[live] = np.concatenate(ended)
            others = len(ended) - 1  # their state is zero
            first = tuple(tuple(F.pad(s, (0, 0, 0, others)) for s in layer) for layer in state)
            hidden, _ = self.model.hidden(torch.from_numpy(rows), first)  # (T, R, H)
            vectors.append(hidden.transpose(0, 1)[torch.from_numpy(live)])
            state = self.model.init_state(1)
        hidden, state = self.model.hidden(torch.from_numpy(last)[None], state)  # (T, 1, H)
        return torch.cat([*vectors, hidden[:, 0]]), state

    def _step(self, loss: Tensor) -> None:
        """One step down the gradient of the loss."""
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(self._parameters, _MAX_NORM))
        if not math.isfinite(norm):
            raise self._diverged()
        with torch.no_grad():
            gradients = [p.grad for p in self._parameters if p.grad is not None]
            torch._foreach_add_(self._parameters, gradients, alpha=-self.rate)

    def _diverged(self) -> DivergedError:
        return DivergedError(
            f"the model diverged as it learned from the text: {self.rate:g} is too large a step."
        )
