"""The default recipe: sizes and settings that suit a text, a level and a budget of time.

bench/RESULTS.md holds the measurements behind the figures here.
"""

import math
import re
from typing import Any, NamedTuple

from charlm.config import TrainingConfig
from charlm.network_config import CausalConfig, LanguageConfig

_LITTLE = 300_000  # tokens
_MUCH = 500_000
_MANY_TYPES = 4096
_SHORT = 24  # tokens: below this a text is a list of names or the like
# More passes than these did not lower the held-out loss any further, whatever the dropout.
MOST_EPOCHS = {"char": 25.0, "word": 12.0, "subword": 12.0}
_MOST_EPOCHS_OF_LITTLE = 24.0  # smaller nets, and cheap all the same
_MOST_EPOCHS_OF_NAMES = 30.0
# Of still less text more passes help, about as its tokens to the power -0.6.
_SMALL = {"char": 70_000, "word": 36_000, "subword": 36_000}  # tokens
_SMALL_OF_NAMES = 35_600
_FEWER_TOKENS = 0.6
_MOST_EPOCHS_OF_ALL = 150.0
# bench/RESULTS.md: of targets this share is what n-grams of the rest of the text say, where to
# count them is soon done.
_SMOOTHING = 0.3
_SECONDS_OF_COUNTING = 5e-8  # for each token and type
_SHARE_OF_COUNTING = 0.05  # of the time, at most
_MOST_COUNTED = 5_000_000  # tokens: of so many the counts take 0.7 GB
_PRODUCTS_A_SECOND = 4e11  # roughly, of two cores: only to guess how many passes there will be;
# 8 % of the time goes into measuring and validating


class Recipe(NamedTuple):
    """What was chosen, summed up in a line. num_steps stands for no more than a first guess."""

    model: LanguageConfig
    training: TrainingConfig
    summary: str


def choose(
    *,
    level: str,
    vocab_size: int,
    num_tokens: int,
    num_sequences: int,
    seconds: float,
    passes: float | None = None,
    in_memory: bool = False,
    kind: type[LanguageConfig] = CausalConfig,
    model: dict[str, Any],
    training: dict[str, Any],
) -> Recipe:
    """Settings for a text of so many tokens and a budget of seconds.

    ``passes`` over the text will be made; None is a guess from the seconds. Of a text
    ``in_memory`` n-grams can be counted. ``kind`` is what has the shape; ``model`` and
    ``training`` hold what was asked for by name and is not to be chosen.
    """
    mean_length = num_tokens / max(1, num_sequences)
    short, little = mean_length < _SHORT, is_little(num_tokens)
    sample = sample_of_types(vocab_size, num_tokens)
    stacks = kind.DIRECTIONS
    hidden = model.get("hidden_size") or _hidden_size(level, num_tokens, seconds / stacks, short)
    embedding = _embedding_size(level, vocab_size, hidden, short)
    width = hidden if level == "char" else embedding  # of what the softmax reads
    recurrent = 4 * hidden * (hidden + embedding) * stacks
    weights = recurrent + width * (sum(sample.values()) or vocab_size)
    if passes is None:
        passes = 0.92 * seconds * _PRODUCTS_A_SECOND / (6 * weights * max(1, num_tokens))
        passes = min(passes, most_epochs(level, num_tokens, mean_length))
    large = short and hidden > 256
    is_plain = level == "char" and stacks == 1 and not sample and not model.get("num_labels")
    smoothing = training.get("smoothing")
    if smoothing is None:
        is_soon_counted = in_memory and _is_soon_counted(num_tokens, vocab_size, seconds)
        smoothing = _SMOOTHING if is_plain and is_soon_counted else 0.0
    dropout, input_dropout = _dropouts(level, passes, little, large, smoothing > 0)
    chosen_model = {
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "embedding_size": embedding,
        "dropout": dropout,
        "input_dropout": input_dropout,
        "tie_weights": level != "char",
        # Without one the two directions only add up: 0.78 nats a character, with one 0.58.
        "output_layers": stacks - 1,
        **model,
    }
    batch_size = 8 if num_tokens < 30_000 else 32 if sample and level != "char" else 16
    chosen_training = {
        "num_steps": 1,
        "batch_size": batch_size // stacks,  # of windows that are so many times as long
        "bptt_length": (64 if level == "char" else 35) * stacks,
        "learning_rate": 2e-3 if batch_size < 16 else 4e-3 if short else 3e-3,
        "weight_decay": _weight_decay(level, passes, little or short, large),
        "smoothing": smoothing,
        **sample,
        **training,
    }
    is_sampled = bool(chosen_training.get("sampled_types"))
    chosen_training.setdefault("row_wise", is_sampled)
    chosen_training.setdefault("end_learning_rate", chosen_training["learning_rate"] * 0.02)
    segment = 0 if stacks > 1 else 2048  # where both sides are read, a row is a window
    chosen_training.setdefault("segment_length", max(segment, chosen_training["bptt_length"]))
    model_config = kind(**chosen_model)
    config = TrainingConfig(**chosen_training)
    dropouts = f"dropout {model_config.dropout:g}"
    if model_config.input_dropout:
        dropouts += f" ({model_config.input_dropout:g} on the input)"
    summary = stack_summary(
        model_config.cell, model_config.num_layers, model_config.hidden_size, both_ways=stacks > 1
    )
    summary += f", {dropouts}"
    if config.smoothing:
        summary += f", smoothing {config.smoothing:g}"
    if config.sampled_types:
        types = config.frequent_types + config.sampled_types
        summary += f", softmax over {types:,} types per training step"
    summary += (
        f" (chosen for {num_tokens:,} tokens, {mean_length:,.0f} per sequence, and "
        f"{_minutes(seconds)})"
    )
    return Recipe(model_config, config, summary)


def stack_summary(cell: str, num_layers: int, hidden_size: int, *, both_ways: bool) -> str:
    """Recurrent layers in words: 1-layer LSTM, 256 units."""
    name = re.sub("lstm|gru|rnn", lambda found: found[0].upper(), cell)
    return f"{num_layers}-layer {'bidirectional ' if both_ways else ''}{name}, {hidden_size} units"


def is_little(num_tokens: int) -> bool:
    """Whether a text is so short that a small net soon knows it by heart."""
    return num_tokens < _LITTLE


def most_epochs(level: str, num_tokens: int, mean_length: float) -> float:
    """Passes that are enough for a text of so many tokens, in sequences of that length."""
    most, small = MOST_EPOCHS[level], _SMALL[level]
    if level == "char" and is_little(num_tokens):
        most = _MOST_EPOCHS_OF_LITTLE
        if mean_length < _SHORT:
            most, small = _MOST_EPOCHS_OF_NAMES, _SMALL_OF_NAMES
    times = max(1.0, small / max(1, num_tokens))
    return min(most * math.pow(times, _FEWER_TOKENS), _MOST_EPOCHS_OF_ALL)


def _hidden_size(level: str, num_tokens: int, seconds: float, short: bool) -> int:
    """More text and more time carry more units."""
    if num_tokens < 30_000:
        return 192
    if short and level == "char" and seconds >= 90:
        return 512
    if short or num_tokens < _LITTLE:
        return 256
    if level != "char":
        return 320 if seconds < 400 else 512 if num_tokens > _MUCH else 400
    for below, hidden in ((60, 256), (120, 384), (400, 448), (1800, 640)):
        if seconds < below:
            return hidden
    return 768


def _embedding_size(level: str, vocab_size: int, hidden: int, short: bool) -> int:
    if level != "char":
        return min(256, hidden)
    if vocab_size > 1000:  # scripts of thousands of characters are read more like words
        return 128
    return 32 if short else 64


def _is_soon_counted(num_tokens: int, vocab_size: int, seconds: float) -> bool:
    """Whether n-grams of the rest of the text are found in little of the time and memory."""
    counting = _SECONDS_OF_COUNTING * num_tokens * vocab_size
    return num_tokens <= _MOST_COUNTED and counting < _SHARE_OF_COUNTING * seconds


def _weight_decay(level: str, passes: float, little: bool, large: bool) -> float:
    """What little text holds, or is passed over often, is learned by heart without it."""
    if level == "char" and large:
        return 0.1
    return 0.05 if level != "char" or little or passes > 13 else 0.01


def _dropouts(
    level: str, passes: float, little: bool, large: bool, softened: bool
) -> tuple[float, float]:
    """More passes over the text want more of it, and from a dozen on some on the input too.

    Where targets are softened, less is best at many passes: 0.5 and 0.2 at 20.

    ``large`` is a net that a list of names could not fill without it. bench/RESULTS.md: 0.3 was
    best at 11 passes; 0.6, with 0.3 on the input, at 20; for names 0.5, with 0.1. Little text is
    passed over more often: 0.5 was best up to 40 passes, 0.65 at 80, 0.7 at 120.
    """
    doublings = math.log2(max(passes, 1))
    rate = 0.16 * doublings - 0.25
    most = 0.5
    if little:
        most = min(0.75, most + 0.1 * max(0.0, doublings - math.log2(25)))
    if level != "char":
        return round(min(most, max(0.05, rate + 0.15)), 2), 0.2 if not little else 0.0
    if little and large:
        return round(min(most, max(0.05, rate + 0.06)), 2), 0.1 if passes > 13 else 0.0
    if little:
        return round(min(most, max(0.05, rate)), 2), 0.0
    many = max(0.0, 0.35 * (doublings - math.log2(11)))
    if softened:
        rate = min(0.5, max(0.05, rate) + 0.2 * many)
        return round(rate, 2), round(min(0.2, 0.66 * many), 2)
    rate = min(0.6, max(0.05, rate) + many)
    return round(rate, 2), round(min(0.3, many), 2)


def label_size(num_labels: int) -> int:
    """Numbers that a label is embedded in: few labels need few to be told apart."""
    return min(64, 16 + num_labels)


def sample_of_types(vocab_size: int, num_tokens: int) -> dict[str, int]:
    """Where the softmax would be most of the work, it sums over a sample of the types."""
    if vocab_size < _MANY_TYPES or num_tokens < _MUCH:
        return {}
    frequent = min(4096, vocab_size // 4)
    return {"frequent_types": frequent, "sampled_types": frequent // 2}


def _minutes(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.3g} min"
