"""Plain arithmetic on log-probabilities. Natural logarithms (nats) go in.

Denominators come from the text: characters and bytes are those of the original text, never
counts of tokens. docs/metrics.md defines every figure.
"""

import math
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["nats", "bits", "log10"]

NATS_PER_BIT = math.log(2.0)
NATS_PER_LOG10 = math.log(10.0)
UNITS: dict[str, float] = {"nats": 1.0, "bits": NATS_PER_BIT, "log10": NATS_PER_LOG10}


def perplexity(total_log_prob: float, num_tokens: int) -> float:
    """exp of the mean negative log-probability a token; inf where a float cannot hold it."""
    try:
        return math.exp(-total_log_prob / num_tokens)
    except OverflowError:
        return math.inf


def finite(value: float | None) -> float | None:
    """The value; None where JSON has no number for it."""
    return value if value is not None and math.isfinite(value) else None


def surprisal_bits(log_prob: float) -> float:
    """-log2 p of a log-probability in nats."""
    return -log_prob / NATS_PER_BIT + 0.0  # + 0.0 turns -0.0 into 0.0


def bits_per(total_log_prob: float, count: int) -> float | None:
    """Bits of a whole text shared over count characters or bytes; None for an empty text."""
    return -total_log_prob / (NATS_PER_BIT * count) + 0.0 if count else None


def scientific(total_log_prob: float, digits: int = 2) -> str:
    """exp(total_log_prob) in scientific form, such as 3.2e-13, however small it is.

    >>> scientific(-1179.6)
    '5.1e-513'
    """
    if total_log_prob == -math.inf:
        return "0"
    exponent = math.floor(total_log_prob / NATS_PER_LOG10)
    mantissa = math.exp(total_log_prob - exponent * NATS_PER_LOG10)
    text = f"{mantissa:.{digits - 1}f}"
    if text.startswith("10"):  # rounded up to the next power of ten
        text, exponent = f"{1:.{digits - 1}f}", exponent + 1
    return f"{text}e{exponent:+03d}"
