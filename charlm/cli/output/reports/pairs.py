"""How well a translator does: a report for people, and JSON."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from charlm.cli.options import Search
from charlm.cli.output.terminal import cut, out, out_json
from charlm.display.safe_text import safe_text
from charlm.metrics import UNITS
from charlm.text.files import name_of

if TYPE_CHECKING:
    from charlm.inference.pairs.evaluate import PairSummary
    from charlm.models.translator import Translator
    from charlm.text.pairs import Pair
    from charlm.text.portions import Mapped

_COLUMNS = 80
_MOST_NAMES = 30  # columns left for what stands beside names of files


def evaluate_pairs(
    loaded: "Translator",
    pairs: "Sequence[Pair]",
    search: Search,
    *,
    files: Sequence[str],
    bleu: bool,
    unit: str,
    json: bool,
    mapped: "Mapped",
) -> None:
    """Print the figures of pairs."""
    found = loaded.evaluate(
        pairs,
        beam=search.width,
        max_tokens=search.max_tokens,
        length_penalty=search.length_penalty,
        bleu=bleu,
        mapped=mapped,
    )
    if json:
        about = {"files": list(files), "model": str(loaded.checkpoint.path), "beam": search.width}
        out_json({**about, **found.to_json(unit)})
        return
    names = safe_text(", ".join(map(name_of, files)))
    out(f"{cut(names, _COLUMNS - _MOST_NAMES)}, one pair per line\n\n")
    what = "words" if loaded.checkpoint.tokenizer.level == "word" else "characters"
    for line in report(found, unit, symbols=what):
        out(f"{line.rstrip()}\n")


def report(found: "PairSummary", unit: str, *, symbols: str) -> Iterator[str]:
    """The figures in lines of at most 80 columns; symbols are what edits are counted in."""
    rates, nats = found.rates, UNITS[unit]
    yield _row("pairs", f"{found.num_pairs:,}", f"of {rates.number:,} different sources")
    yield _row("target tokens", f"{found.num_tokens:,}", "<EOS> included")
    if found.num_oov:
        yield _row("OOV tokens", f"{found.num_oov:,}", "of the targets: <UNK>, which is any symbol")
    yield ""
    yield _row("log P", f"{found.total_log_prob / nats:,.3f}", f"{unit}, targets given sources")
    yield _row("cross-entropy", f"{found.cross_entropy / nats:,.4f}", f"{unit} per target token")
    value = found.perplexity
    told = f"{value:,.3f}" if value < 1e6 else f"{value:.2e}"
    yield _row("perplexity", told, "per target token")
    yield ""
    share = f"{rates.wrong:,} of {rates.number:,} sources: what was written is none of"
    yield _row("error rate", f"{rates.whole:.2%}", share)
    yield _row("", "", "their targets")
    share = f"{rates.edits:,} edits over the {rates.length:,} {symbols} of the"
    yield _row("symbol error rate", f"{rates.symbols:.2%}", share)
    yield _row("", "", "nearest targets")
    if found.sentences is not None:
        yield ""
        yield _row("BLEU", f"{found.sentences.bleu:.2f}", "of all targets together, by sacrebleu")
        yield _row("chrF", f"{found.sentences.chrf:.2f}", "the same")


def _row(name: str, value: str, rest: str) -> str:
    return f"{name:<18}{value:>16}  {rest}"
