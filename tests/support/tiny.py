"""Small models, texts and runs that the tests share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charlm.checkpoints.run import Run
from charlm.config import TrainingConfig
from charlm.engines.numpy_lm import NumpyEngine
from charlm.engines.protocol import Engine
from charlm.engines.torch_lm import TorchEngine
from charlm.engines.torch_passes import quick_log_probs
from charlm.network_config import CausalConfig, ClozeConfig, LanguageConfig
from charlm.nn.bidirectional import BidirectionalLM
from charlm.nn.causal import RecurrentLM
from charlm.nn.network import to_arrays
from charlm.text.corpus import sequence_hashes
from charlm.text.tokens import TokenizedText, from_ids, tokenize
from charlm.tokenizers import train_tokenizer
from charlm.tokenizers.base import Tokenizer
from charlm.training.texts.material import TextMaterial
from tests.support.trainers import fit, new_state

TEXTS = [
    "the cat sat on the mat",
    "a dog ran to the cat",
    "the dog and the cat ran",
    "on the mat a cat sat",
    "to be or not to be",
    "the mat, the dog: a cat!",
    "a cat is a cat is a cat",
    "not the dog, the cat ran",
]
LEVELS = ("char", "word", "subword")
EOS = 1


def tokenizer_of(level: str = "char", texts: list[str] = TEXTS) -> Tokenizer:
    """A tokenizer of a few texts."""
    vocab_size = 300 if level == "subword" else None
    min_count = None if level == "subword" else 1
    return train_tokenizer(texts, level=level, vocab_size=vocab_size, min_count=min_count)


def model_of(vocab_size: int, *, seed: int = 0, std: float = 0.5, **shape: Any) -> RecurrentLM:
    """A model whose weights, biases among them, are all random."""
    shape = {"hidden_size": 16, "embedding_size": 8, **shape}
    generator = torch.Generator().manual_seed(seed)
    model = RecurrentLM(CausalConfig(vocab_size=vocab_size, **shape))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=std, generator=generator)
        model.embedding.weight[vocab_size].zero_()
    return model.eval().requires_grad_(False)


def tiny_model(seed: int = 0, dtype: torch.dtype = torch.float32, **fields: object) -> RecurrentLM:
    """A model in evaluation mode all of whose weights are random, biases and peepholes too.

    The zero row of the embedding stays zero.
    """
    defaults = {"vocab_size": 7, "embedding_size": 6, "hidden_size": 8}
    config = CausalConfig(**{**defaults, **fields})  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = RecurrentLM(config).to(dtype)
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
        model.embedding.weight[config.vocab_size].zero_()
    return model.eval()


def cloze_of(*, seed: int = 0, std: float = 0.4, **shape: Any) -> BidirectionalLM:
    """A bidirectional model whose weights, biases among them, are all random."""
    config = ClozeConfig(**{"vocab_size": 7, "hidden_size": 8, "embedding_size": 6, **shape})
    generator = torch.Generator().manual_seed(seed)
    model = BidirectionalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=std, generator=generator)
        model.embedding.weight[config.vocab_size].zero_()
    return model.eval().requires_grad_(False)


def text_of_lengths(lengths: Sequence[int], vocab_size: int = 7, seed: int = 0) -> TokenizedText:
    """Random sequences of so many tokens each, the closing <EOS> counted."""
    rng = np.random.default_rng(seed)
    sequences = [rng.integers(2, vocab_size, size=length).astype(np.int32) for length in lengths]
    for ids in sequences:
        ids[-1] = EOS
    return from_ids(sequences, vocab_size)


def material_of(
    texts: list[str] = TEXTS, *, level: str = "char", valid: list[str] | None = None
) -> TextMaterial:
    """Texts made ready for a run, those to validate on apart."""
    tokenizer = tokenizer_of(level, texts)
    return TextMaterial(
        tokenizer=tokenizer,
        text=tokenize(tokenizer, texts),
        valid=tokenize(tokenizer, valid) if valid else None,
        known=sequence_hashes(texts),
        split_on="line",
        about={"fingerprint": "0"},
    )


def model_config(
    material: TextMaterial, *, bidirectional: bool = False, **shape: Any
) -> LanguageConfig:
    """The shape of a tiny model for a text."""
    return (ClozeConfig if bidirectional else CausalConfig)(
        vocab_size=material.tokenizer.vocab_size,
        **{"hidden_size": 8, "embedding_size": 8, **shape},
    )


def training_config(**fields: Any) -> TrainingConfig:
    """A short training with small windows."""
    return TrainingConfig(
        **{
            "num_steps": 6,
            "batch_size": 2,
            "bptt_length": 8,
            "segment_length": 8,
            "warmup_steps": 2,
            "validate_every": 3,
            **fields,
        }
    )


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


def trained_run(
    path: Path,
    *,
    material: TextMaterial | None = None,
    shape: dict[str, Any] | None = None,
    **fields: Any,
) -> Path:
    """A run trained to its end; the path of its directory."""
    material = material or material_of(valid=["the cat ran to the dog"])
    model, config = model_config(material, **(shape or {})), training_config(**fields)
    with Run(path) as run:
        run.begin({"model": model.to_json(), "training": config.to_json()})
        for _ in fit(run, new_state(model, config), config, material):
            pass
    return path


def mean_loss(model: RecurrentLM, text: TokenizedText, **sizes: Any) -> float:
    """Mean nats per target of what a quick validation reads."""
    return -float(quick_log_probs(model, text, **sizes)[1].mean())


def chi_square_p(counts: np.ndarray, probs: np.ndarray) -> float:
    """The probability of counts as far from probs (V,), or farther; rare types are pooled.

    A type of no probability that was drawn all the same makes it 0.
    """
    if counts[probs == 0].sum():
        return 0.0
    order = np.argsort(-probs)
    expected = probs[order] * counts.sum()
    common = max(1, int((expected >= 10).sum()))
    observed = np.append(counts[order][:common], counts[order][common:].sum()).astype(float)
    expected = np.append(expected[:common], expected[common:].sum())
    observed, expected = observed[expected > 0], expected[expected > 0]
    if len(expected) < 2:
        return 1.0
    statistic = float(((observed - expected) ** 2 / expected).sum())
    freedom = torch.tensor((len(expected) - 1) / 2, dtype=torch.float64)
    half = torch.tensor(statistic / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, half))


def engines_of(tokenizers: dict[str, Tokenizer]) -> dict[str, tuple[Engine, Engine]]:
    """For each tokenizer a random model on the NumPy engine and on the torch engine."""
    engines: dict[str, tuple[Engine, Engine]] = {}
    for level, tokenizer in tokenizers.items():
        model = model_of(tokenizer.vocab_size, std=0.3, num_layers=2)
        engines[level] = (NumpyEngine(model.config, to_arrays(model)), TorchEngine(model))
    return engines
