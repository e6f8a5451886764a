"""Encoders and decoders of random weights, and random sequences for them."""

from typing import Any

import numpy as np
import torch

from charlm.network_config import PairsConfig
from charlm.nn.pairs import EncoderDecoder

EOS = 1


def pairs_model(seed: int = 0, dtype: torch.dtype = torch.float64, **shape: Any) -> EncoderDecoder:
    """A tiny model whose weights are all random."""
    sizes = {"vocab_size": 5, "source_vocab_size": 7, "hidden_size": 4, "embedding_size": 3}
    model = EncoderDecoder(PairsConfig(**{**sizes, **shape})).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5, generator=generator)
        model.embedding.weight[model.config.vocab_size].zero_()
    return model.eval().requires_grad_(False)


def sequences(number: int, vocab_size: int, seed: int) -> list[np.ndarray]:
    """Random ids of several lengths, each closed by <EOS>."""
    rng = np.random.default_rng(seed)
    return [np.append(rng.integers(2, vocab_size, rng.integers(0, 6)), EOS) for _ in range(number)]
