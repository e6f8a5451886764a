"""The figures of a whole text in one block: as a table, as JSON, as KenLM's four lines."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from charlm.cli.output.terminal import number

if TYPE_CHECKING:
    from charlm.inference.evaluate import Summary


def fields(summary: "Summary", unit: str) -> dict[str, Any]:
    """The figures as JSON: null where one is not defined, or larger than a float."""
    from charlm.metrics import UNITS

    entropy, closed = summary.cross_entropy, summary.closed_cross_entropy
    figures: dict[str, Any] = {
        "vocabulary": "closed" if summary.spelling_log_prob is None else "open",
        "sequences": summary.sequences,
        "characters": summary.characters,
        "bytes": summary.bytes,
        "words": summary.words,
        "tokens": summary.tokens,
        "oov_tokens": summary.oov_tokens,
        "oov_rate": summary.oov_rate,
        "oov_words": summary.oov_words,
        f"total_log_prob_{unit}": summary.total_log_prob / UNITS[unit],
        f"cross_entropy_{unit}_per_token": None if entropy is None else entropy / UNITS[unit],
        f"cross_entropy_{unit}_per_token_closed_vocabulary": (
            None if closed is None else closed / UNITS[unit]
        ),
    }
    for per in ("token", "word"):
        for without in ("", "_excluding_oovs", "_excluding_eos", "_excluding_oovs_and_eos"):
            name = f"perplexity_per_{per}{without}"
            figures[name] = finite(getattr(summary, name))
    return {
        **figures,
        "bits_per_character": summary.bits_per_character,
        "bits_per_byte": summary.bits_per_byte,
        "bits_per_character_closed_vocabulary": summary.closed_bits_per_character,
    }


def kenlm(summary: "Summary") -> tuple[str, str, str, str]:
    """What KenLM's query prints with -v summary; Tokens counts the ends of sequences."""
    including = summary.perplexity_per_token
    excluding = summary.perplexity_per_token_excluding_oovs
    return (
        f"Perplexity including OOVs:\t{number(including) or 'nan'}",
        f"Perplexity excluding OOVs:\t{number(excluding) or 'nan'}",
        f"OOVs:\t{summary.oov_tokens}",
        f"Tokens:\t{summary.tokens}",
    )


def table(summary: "Summary", unit: str, *, pseudo: bool = False) -> Iterator[str]:
    """The figures for a person, in lines of at most 80 columns."""
    kind = "pseudo-" if pseudo else ""
    from charlm.metrics import UNITS

    for name in ("sequences", "characters", "bytes", "words"):
        yield _row(name, f"{getattr(summary, name):,}")
    yield _row("tokens", f"{summary.tokens:,}", "<EOS> included")
    rate = summary.oov_rate
    said = "" if rate is None else f"{rate:.2%} of the tokens without <EOS>"
    yield _row("OOV tokens", f"{summary.oov_tokens:,}", said)
    yield ""
    spells = summary.spelling_log_prob is not None and summary.oov_tokens > 0
    yield _row("PLL" if pseudo else "log P", f"{summary.total_log_prob / UNITS[unit]:,.3f}", unit)
    entropies = [("-PLL" if pseudo else "cross-entropy", summary.cross_entropy)]
    entropies += [("  <UNK> unspelled", summary.closed_cross_entropy)] if spells else []
    for name, entropy in entropies:
        scaled = None if entropy is None else entropy / UNITS[unit]
        yield _row(name, _short(scaled, 4), f"{unit} per token")
    yield ""
    yield _row(f"{kind}perplexity", "per token", f"{'per word':>14}")
    for without, name in (
        ("", "of everything"),
        ("_excluding_eos", "without <EOS>"),
        ("_excluding_oovs", "without OOVs"),
        ("_excluding_oovs_and_eos", "without both"),
    ):
        if "oovs" not in without or summary.oov_tokens:
            of_words = getattr(summary, f"perplexity_per_word{without}")
            of_tokens = getattr(summary, f"perplexity_per_token{without}")
            yield _row(f"  {name}", _short(of_tokens), f"{_short(of_words):>14}")
    yield ""
    yield _row(f"{kind}bits", "per character", f"{'per byte':>14}")
    bits, symbol = summary.bits_per_character, summary.closed_bits_per_character
    yield _row("  of everything", _short(bits, 4), f"{_short(summary.bits_per_byte, 4):>14}")
    if spells and bits is not None and symbol is not None:
        yield _row("  <UNK> unspelled", _short(symbol, 4))
        yield _row("  spelling adds", _short(bits - symbol, 4))
    if summary.oov_tokens and not spells:
        yield ""
        yield "what is unknown counts as <UNK>, which can be anything: these figures are"
        yield "not to be compared with those of a model that knows more or fewer tokens"


def learned(summary: "Summary", unit: str) -> Iterator[str]:
    """The figures of a model that learned while it read, for a person."""
    from charlm.metrics import UNITS

    entropy = summary.cross_entropy
    yield _row("log P", f"{summary.total_log_prob / UNITS[unit]:,.3f}", unit)
    scaled = None if entropy is None else entropy / UNITS[unit]
    yield _row("cross-entropy", _short(scaled, 4), f"{unit} per token")
    yield _row("perplexity", _short(summary.perplexity_per_token), "per token")
    yield _row("", _short(summary.perplexity_per_word), "per word")
    yield _row("bits", _short(summary.bits_per_character, 4), "per character")
    yield _row("", _short(summary.bits_per_byte, 4), "per byte")


def _row(name: str, value: str, rest: str = "") -> str:
    return f"{name:<18}{value:>16}  {rest}"


def finite(value: float | None) -> float | None:
    """The value; None where JSON has no number for it."""
    return value if value is not None and math.isfinite(value) else None


def _short(value: float | None, digits: int = 3) -> str:
    """A figure for a person to read."""
    if value is None:
        return "-"
    return f"{value:,.{digits}f}" if value < 1e6 else f"{value:.2e}"
