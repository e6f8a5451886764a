"""What an adaptive mixture takes from a training: its memory, and weights once all is trained."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints import directory
from charlm.checkpoints.json_objects import to_json
from charlm.checkpoints.language_model import Checkpoint
from charlm.checkpoints.step import replace_file
from charlm.checkpoints.tensors import arrays_to_bytes
from charlm.counts.adaptive import Adaptive
from charlm.counts.contexts import letters_of
from charlm.counts.interpolation import Partner
from charlm.engines.adapting.fitting import fit
from charlm.engines.torch_lm import TorchEngine
from charlm.network_config import CausalConfig
from charlm.nn.causal import from_arrays
from charlm.text.tokens import TokenizedText, TrainingText
from charlm.tokenizers.base import Tokenizer
from charlm.training.request import Request, Say

JSON, ARRAYS = "adaptive.json", "adaptive.safetensors"


class HeldOut(NamedTuple):
    """log P (N,) of the text held out, by the mixture that learns from it, and the frozen one."""

    adapting: NDArray[np.float64]
    frozen: NDArray[np.float64]


def adaptive_of(
    request: Request, tokenizer: Tokenizer, text: TrainingText, partner: Partner | None, say: Say
) -> Adaptive | None:
    """What is to go on learning, if that was asked for; its memory is the text's end."""
    if not request.adaptive:
        return None
    assert partner is not None
    assert partner.ngram is not None
    letters = letters_of(tokenizer.level, tokenizer.pieces(np.arange(tokenizer.vocab_size)))
    ids = text.whole().ids
    found = Adaptive.new(tokenizer.level, letters, partner, tokenizer.eos_id, ids)
    say(
        f"adaptive: {len(found.contexts)} contexts, looked up in the last "
        f"{len(found.remembered):,} tokens"
    )
    return found


def files_of(adaptive: Adaptive) -> dict[str, bytes]:
    """What a step holds of it."""
    return {JSON: to_json(adaptive.to_json()), ARRAYS: arrays_to_bytes(adaptive.to_arrays())}


def is_due(run: Path) -> bool:
    """Whether the best step of a run has weights that are still to be learned."""
    adaptive = Checkpoint.load(directory.best_step(run)).adaptive
    return adaptive is not None and not adaptive.is_fitted


def learn_weights(best: Checkpoint, valid: TokenizedText, say: Say) -> HeldOut:
    """Learn the weights of a step from the text held out, and write them into it."""
    begun = time.perf_counter()
    assert isinstance(best.config, CausalConfig)
    assert best.adaptive is not None
    network = TorchEngine(from_arrays(best.config, best.weights))
    fitted = fit(network, best.adaptive, valid.sequences())
    for name, data in files_of(fitted.adaptive).items():
        replace_file(best.path, name, data)
    say(f"weights of the adaptive mixture learned ({time.perf_counter() - begun:.1f} s)")
    return HeldOut(fitted.adapting, fitted.frozen)
