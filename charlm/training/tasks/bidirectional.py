"""A model of each token given all others: it fills gaps, and scores texts from both sides."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.run import Run
from charlm.config import TrainingConfig
from charlm.engines.several import Several
from charlm.engines.torch_cloze import pseudo_log_probs, quick_pseudo_log_probs
from charlm.network_config import ClozeConfig
from charlm.nn.bidirectional import BidirectionalLM, from_arrays
from charlm.nn.network import Network
from charlm.text.tokens import TokenizedText
from charlm.training import kinds
from charlm.training.tasks.causal import Causal
from charlm.training.texts.material import TextMaterial
from charlm.training.window_steps import WholeRowSteps, WindowState


class Bidirectional(WholeRowSteps, Causal):
    """P(y<t> given all other tokens): the texts and files of a language model, other steps."""

    declared = kinds.CLOZE
    shape = ClozeConfig
    loss = "pseudo-loss"
    beside_loss = ", given all others"

    def held_out_loss(
        self,
        model: Network[Any],
        valid: TokenizedText,
        state: WindowState,
        training: TrainingConfig,
        material: TextMaterial,
        should_stop: Callable[[], bool],
        several: Several,
    ) -> float:
        """Mean nats per target, each given both sides."""
        del state, material
        assert isinstance(model, BidirectionalLM)
        _, log_probs = quick_pseudo_log_probs(
            model,
            valid,
            most_tokens=training.validate_tokens,
            should_stop=should_stop,
            several=several,
        )
        return -float(log_probs.mean())

    def is_complete(self, run: Run, material: TextMaterial) -> bool:
        """Nothing is fitted after the steps."""
        del run, material
        return True

    def held_out_log_probs(self, best: Checkpoint, valid: TokenizedText) -> NDArray[np.float64]:
        """log P (N,) in nats of each token given all others: not of the text."""
        assert isinstance(best.config, ClozeConfig)
        return pseudo_log_probs(from_arrays(best.config, best.weights), valid)[0]
