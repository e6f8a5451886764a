"""The torch engine: batched passes for scoring, packed steps for sampling; for large jobs."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from charlm.engines.arbiter import NetworkArbiter
from charlm.engines.protocol import Details, Ids, Logits, Predictions
from charlm.engines.torch_passes import Begun, predictions, read, read_on, rows_on, token_log_probs
from charlm.engines.torch_steps import TorchDecoder
from charlm.equations import language_model
from charlm.equations.language_model import ModelWeights
from charlm.equations.parameters import model_weights
from charlm.network_config import CausalConfig
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import to_arrays
from charlm.text.tokens import TokenizedText, from_ids


class TorchEngine:
    """Runs a RecurrentLM, whose weights must not change after. See protocol.py for the methods."""

    def __init__(self, model: RecurrentLM) -> None:
        self.model = model
        self._decoder: TorchDecoder | None = None
        self._conditional: tuple[TorchEngine, int] | None = None  # of which it is a view

    def with_label(self, label: int) -> "TorchEngine":
        """A conditional model, given a label; nearly all weights are shared."""
        given = TorchEngine(self.model.given_label(label))
        given._conditional = self, label
        return given

    @property
    def config(self) -> CausalConfig:
        """The shape of the model."""
        return self.model.config

    def token_log_probs(
        self, sequences: Sequence[Ids], *, details: bool = False, openers: Ids | None = None
    ) -> tuple[npt.NDArray[np.float64], Details | None]:
        """log P (N,) of every token, one sequence after another, and details."""
        return token_log_probs(self.model, self._text(sequences), details=details, openers=openers)

    def predictions(self, sequences: Sequence[Ids]) -> Predictions:
        """log P (M, V) at some of the tokens after others."""
        return predictions(self.model, self._text(sequences))

    def read_on(
        self, ids: Ids, state: Begun | None = None
    ) -> tuple[npt.NDArray[np.float64], Begun | None]:
        """log P (T,) of the next ids (T,) of a sequence, and the state after them."""
        return read_on(self.model, ids, state)

    def rows_on(
        self, ids: Ids, state: Begun | None = None
    ) -> tuple[npt.NDArray[np.float32], Begun | None]:
        """log P (T, V) of all types where the next ids (T,) stand, and the state after them."""
        return rows_on(self.model, ids, state)

    @torch.inference_mode()
    def next_logits(self, ids: Ids) -> Logits:
        """Logits (V,) of the token after a sequence that begins with ids (T,)."""
        state = read(self.model, np.concatenate(([self.config.vocab_size], ids)))
        logits: Logits = self.model.logits(state[-1][0])[0].cpu().numpy()
        return logits

    def decoder(self) -> TorchDecoder:
        """What steps the model, its weights packed on first use."""
        if self._decoder is None and self._conditional is not None:
            self._decoder = self._conditional[0].decoder().given(self.model)
        elif self._decoder is None:
            self._decoder = TorchDecoder(self.model)
        return self._decoder

    def arbiter(self) -> NetworkArbiter:
        """What decides where rounding could."""
        return NetworkArbiter(self.config.cell, self.reference())

    def _text(self, sequences: Sequence[Ids]) -> TokenizedText:
        ids = [np.asarray(sequence, dtype=np.int32) for sequence in sequences]
        return from_ids(ids, self.config.vocab_size)

    def reference(self) -> ModelWeights:
        """The weights in double precision."""
        if self._conditional is not None:
            whole, label = self._conditional
            return language_model.given_label(self.config.cell, whole.reference(), label)
        return model_weights(self.config, to_arrays(self.model))
