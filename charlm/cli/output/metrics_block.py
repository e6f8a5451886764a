"""The figures of a whole text in one block: as a table, as JSON, as KenLM's four lines."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from charlm.cli.input.model import together
from charlm.cli.output.terminal import cut, number, out, out_json, say
from charlm.config import Adapt
from charlm.display.safe_text import safe_text
from charlm.errors import CharlmError
from charlm.fields.pseudo_names import pseudo_named
from charlm.metrics import UNITS, finite
from charlm.text.files import name_of

if TYPE_CHECKING:
    from charlm.inference.evaluate import Summary
    from charlm.models.base import TextModel
    from charlm.models.selfcheck import Check

_COLUMNS = 80
_WAYS: dict[Adapt, str] = {
    "off": "learning from what it has read",
    "frozen": "mixed with contexts of the training text; nothing is learned",
    "sequence": "going on learning within each sequence, each token predicted first",
    "file": "going on learning all along the file, each token predicted first",
}


def write(
    summary: "Summary",
    learning: "Summary | None",
    loaded: "TextModel",
    *,
    files: list[str],
    split_on: str,
    form: str,
    unit: str,
    adapt: Adapt,
    rate: float | None,
) -> None:
    """The figures in the form that was asked for; learning are those of what adapts."""
    from charlm.models.cloze_model import ClozeModel

    pseudo = isinstance(loaded, ClozeModel)
    if form == "kenlm":
        out("".join(f"{line}\n" for line in kenlm(summary)))
    elif form == "json":
        about = {
            "files": files,
            "split_on": split_on,
            "model": str(loaded.checkpoint.path),
            "ignores": list(loaded.tokenizer.ignores),
        }
        figures = {**about, **summary.to_json(unit)}
        figures = pseudo_named(figures) if pseudo else figures
        if learning is not None and adapt == "off":
            figures["dynamic"] = {"step_size": rate, **learning.to_json(unit)}
        elif learning is not None:
            how = {"adapt": adapt, "step_size": rate}
            figures["adapted"] = {**how, **learning.to_json(unit)}
        out_json(figures)
    else:
        names = safe_text(", ".join(map(name_of, files)))
        out(f"{cut(names, _COLUMNS - 30)}, one sequence a {split_on}\n")
        if pseudo:
            out("each token given all others, before and after it: pseudo-figures\n")
        if said := together(loaded.tokenizer.ignores):
            out(f"{textwrap.fill(said, _COLUMNS - 1)}\n")
        out("\n")
        for line in table(summary, unit, pseudo=pseudo):
            out(f"{line.rstrip()}\n")
        if learning is not None:
            out(f"\n{_WAYS[adapt]}{'' if rate is None else f', step size {rate:g}'}\n\n")
            for line in learned(learning, unit):
                out(f"{line.rstrip()}\n")


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


def _short(value: float | None, digits: int = 3) -> str:
    """A figure for a person to read."""
    if value is None:
        return "-"
    return f"{value:,.{digits}f}" if value < 1e6 else f"{value:.2e}"


def write_checks(results: "Iterable[Check]", ignores: Sequence[str], *, as_json: bool) -> None:
    """What each check of a model found. Raises CharlmError if one fails."""
    found = []
    for result in results:
        found.append(result)
        if not as_json:
            out(_check_line(result))
    failed = [result for result in found if not result.passed]
    if as_json:
        out_json(
            {
                "passed": not failed,
                "ignores": list(ignores),
                "checks": [
                    {
                        "check": result.name,
                        "passed": result.passed,
                        "number": result.number,
                        "worst": finite(result.worst),
                        "bound": result.bound,
                    }
                    for result in found
                ],
            }
        )
    if failed:
        raise CharlmError(
            f"{len(failed)} of {len(found)} checks failed: do not trust the figures of this model."
        )
    say(f"all {len(found)} checks passed")
    if said := together(ignores):
        say(said)


def _check_line(result: "Check") -> str:
    verdict = "ok    " if result.passed else "FAILED"
    return (
        f"{verdict} {result.name}\n"
        f"         worst {result.worst:.1e}, bound {result.bound:.0e}, at {result.number:,} "
        f"{result.places}\n"
    )
