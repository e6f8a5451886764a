"""The default recipe: sizes and settings that suit a text, a level and a budget of time.

bench/RESULTS.md holds the measurements behind the figures here.
"""

import math
from typing import Any, NamedTuple

from charlm.config import ModelConfig, TrainingConfig

DEFAULT_SECONDS = 180.0
MOST_EPOCHS = 30.0  # where neither time, steps nor epochs are asked for


class Recipe(NamedTuple):
    """What was chosen, and why in a line. num_steps stands for no more than a first guess."""

    model: ModelConfig
    training: TrainingConfig
    why: str


def choose(
    *,
    level: str,
    vocab_size: int,
    num_tokens: int,
    num_sequences: int,
    seconds: float,
    model: dict[str, Any],
    training: dict[str, Any],
) -> Recipe:
    """Settings for a text of so many tokens and a budget of seconds.

    ``model`` and ``training`` hold what was asked for by name and is not to be chosen.
    """
    mean_length = num_tokens / max(1, num_sequences)
    short = mean_length < 24
    hidden = _hidden_size(level, num_tokens, seconds, short)
    chosen_model = {
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "embedding_size": _embedding_size(level, vocab_size, hidden, short),
        "dropout": _dropout(level, num_tokens, seconds, hidden),
        "tie_weights": level != "char",
        **model,
    }
    chosen_training = {
        "num_steps": 1,
        "batch_size": 14 if short and level == "char" else 32,
        "bptt_length": 64 if level == "char" else 35,
        "learning_rate": 4e-3,
        "weight_decay": 0.05 if short else 0.01,
        **training,
    }
    chosen_training.setdefault("end_learning_rate", chosen_training["learning_rate"] * 0.02)
    chosen_training.setdefault("segment_length", max(2048, chosen_training["bptt_length"]))
    model_config = ModelConfig(**chosen_model)
    why = (
        f"{num_tokens:,} tokens in sequences of {mean_length:,.0f} on average and "
        f"{_minutes(seconds)} ask for {model_config.num_layers} x {model_config.hidden_size} "
        f"{model_config.cell}, dropout {model_config.dropout:g}"
    )
    return Recipe(model_config, TrainingConfig(**chosen_training), why)


def _hidden_size(level: str, num_tokens: int, seconds: float, short: bool) -> int:
    """More text and more time carry more units."""
    if num_tokens < 30_000:
        return 192
    if short or num_tokens < 300_000:
        return 256
    if level != "char":
        return 320 if seconds < 400 else 400
    return 320 if seconds < 400 else 448


def _embedding_size(level: str, vocab_size: int, hidden: int, short: bool) -> int:
    if level != "char":
        return min(256, hidden)
    if vocab_size > 1000:  # scripts of thousands of characters are read more like words
        return 128
    return 32 if short else 64


def _dropout(level: str, num_tokens: int, seconds: float, hidden: int) -> float:
    """More passes over the text want more of it."""
    passes = seconds * 1e10 / (6 * 4 * hidden * (hidden + 64)) / num_tokens
    base = 0.3 if level != "char" else 0.1
    return round(min(0.5, base + 0.1 * max(0.0, math.log2(max(passes, 1) / 8)) / 2), 2)


def _minutes(seconds: float) -> str:
    return f"{seconds:g} s" if seconds < 120 else f"{seconds / 60:g} min"
