"""Tiny texts and tiny models for the tests of the training rooms."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from charlm.config import ModelConfig, TrainingConfig
from charlm.nn.causal import RecurrentLM
from charlm.nn.windows import TokenizedText, from_ids

EOS = 1


def text_of_lengths(lengths: Sequence[int], vocab_size: int = 7, seed: int = 0) -> TokenizedText:
    """Random sequences of so many tokens each, the closing <EOS> counted."""
    rng = np.random.default_rng(seed)
    sequences = [rng.integers(2, vocab_size, size=length).astype(np.int32) for length in lengths]
    for ids in sequences:
        ids[-1] = EOS
    return from_ids(sequences, vocab_size)


def tiny_model(seed: int = 0, dtype: torch.dtype = torch.float32, **fields: object) -> RecurrentLM:
    """A model in evaluation mode all of whose weights are random, biases and peepholes too.

    The zero row of the embedding stays zero.
    """
    defaults = {"vocab_size": 7, "embedding_size": 6, "hidden_size": 8}
    config = ModelConfig(**{**defaults, **fields})  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = RecurrentLM(config).to(dtype)
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
        model.embedding.weight[config.vocab_size].zero_()
    return model.eval()


def quick_training(**fields: object) -> TrainingConfig:
    """A short run with every other field as small as the law under test allows."""
    defaults = {
        "num_steps": 12,
        "batch_size": 4,
        "bptt_length": 8,
        "segment_length": 24,
        "learning_rate": 1e-2,
        "end_learning_rate": 1e-3,
        "warmup_steps": 3,
    }
    return TrainingConfig(**{**defaults, **fields})  # type: ignore[arg-type]


class LargestTensor(TorchDispatchMode):
    """Within it, how many numbers the largest tensor has that torch makes or is given to fill."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the operator and look at what it gave."""
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return out
