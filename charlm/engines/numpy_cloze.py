"""What runs a bidirectional model: the equations in single precision, for small jobs.

It tells of each token of a text how likely it is given all others, and steps over a gap: the
forward stack reads what stands before and what has been filled in, the backward stack what comes
after. Letters: B rows, V vocabulary, N tokens.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charlm.engines.protocol import Details, Ids, Predictions, score_predictions
from charlm.equations import language_model
from charlm.equations.parameters import Arrays, model_weights
from charlm.network_config import ClozeConfig

_LOGITS = 2**22  # logits made at a time: bounds memory for large vocabularies

State: TypeAlias = tuple[language_model.LayerState, ...]


class NumpyCloze:
    """Runs a bidirectional model from its arrays."""

    def __init__(self, config: ClozeConfig, arrays: Arrays) -> None:
        self.config = config
        self._weights = model_weights(config, arrays, np.float32)

    def token_log_probs(
        self, sequences: Sequence[Ids], *, details: bool = False, openers: Ids | None = None
    ) -> tuple[npt.NDArray[np.float64], Details | None]:
        """log P (nats) of each token given all others of its sequence (N,), as a scorer does.

        Nothing is said of openers: where a word ends is known from what comes after it.
        """
        del openers
        if details:
            return score_predictions(self._predictions(sequences), sequences, None)
        targets = np.concatenate(sequences).astype(np.int64)
        log_probs = np.empty(len(targets))
        for places, predicted in self._predictions(sequences):
            log_probs[places] = predicted[np.arange(len(places)), targets[places]]
        return log_probs, None

    def before(self, ids: Ids) -> State:
        """The state of the forward stack, one row, before the token that follows ids (T,).

        They are those that a sequence begins with.
        """
        begun = np.concatenate(([self.config.vocab_size], ids)).astype(np.int64)
        return language_model.hidden(self.config.cell, self._weights, begun[None])[1]

    def after(self, ids: Ids, *, ends: bool) -> language_model.Array:
        """What the backward stack says (1, H) of the token that ids (T,) come after.

        With ``ends`` the last of them is the <EOS> of the sequence.
        """
        end = [self.config.vocab_size] if ends else []
        inputs = np.concatenate((end, ids[::-1])).astype(np.int64)
        if not len(inputs):
            return np.zeros((1, self.config.hidden_size), dtype=np.float32)
        backward = self._weights._replace(layers=self._weights.backward)
        return language_model.hidden(self.config.cell, backward, inputs[None])[1][-1][0]

    def step(self, ids: Ids, state: State) -> State:
        """The state of the forward stack after one more token of each row, ids (B,)."""
        return language_model.hidden(self.config.cell, self._weights, ids[:, None], state)[1]

    def select(self, state: State, rows: Ids) -> State:
        """A state of these rows, each as often as it is named."""
        return tuple(tuple(array[rows] for array in layer) for layer in state)

    def predict(
        self, state: State, after: language_model.Array, missing: int = 0
    ) -> npt.NDArray[np.float64]:
        """log P (B, V) of the token after what rows have read, before what comes after (1, H).

        Between it and what comes after so many more tokens are missing.
        """
        top = state[-1][0]  # (B, H)
        both = language_model.join(self._weights, top, np.broadcast_to(after, top.shape), missing)
        return language_model.predict(self._weights, both).astype(np.float64)

    def _predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) at some of the tokens (M,) after others.

        Sequences of equal length are read side by side.
        """
        starts = np.cumsum([0, *map(len, sequences)])
        of_length: dict[int, list[int]] = {}
        for index, ids in enumerate(sequences):
            of_length.setdefault(len(ids), []).append(index)
        portion = max(1, _LOGITS // self.config.vocab_size)  # of positions
        for length, all_rows in of_length.items():
            side_by_side = max(1, portion // length)
            for first in range(0, len(all_rows), side_by_side):
                rows = all_rows[first : first + side_by_side]
                ids = np.stack([sequences[row] for row in rows]).astype(np.int64)  # (B, T)
                at = (starts[rows][:, None] + np.arange(length)).reshape(-1)
                both = self._joined(ids).reshape(len(at), -1)
                for some in range(0, len(at), portion):
                    span = slice(some, some + portion)
                    yield at[span], language_model.predict(self._weights, both[span])

    def _joined(self, ids: Ids) -> language_model.Array:
        """Both directions side by side (B, T, 2H) of sequences (B, T)."""
        cell, weights = self.config.cell, self._weights
        begin = np.full((len(ids), 1), self.config.vocab_size)
        before, _ = language_model.hidden(
            cell, weights, np.concatenate((begin, ids[:, :-1]), axis=1)
        )
        return np.concatenate((before, language_model.hidden_after(cell, weights, ids)), axis=2)
