"""charlm next."""

import math
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli import options
from charlm.cli.input.beginning import read_beginning
from charlm.cli.input.model import load_models, token_model
from charlm.cli.input.option_rules import OneOf, Rules
from charlm.cli.output.formats import cell
from charlm.cli.output.terminal import cut, is_live, out, out_json, say, say_loading, width
from charlm.config import RUNS
from charlm.display.safe_text import visible

if TYPE_CHECKING:
    from charlm.inference.next_token import NextToken, NextTokens

_TOP = 20
_NO_COMMON_NEXT = (
    "models of different vocabularies have no next token in common: give one model, or models of "
    "one vocabulary."
)
RULES: Rules = (
    *options.MIXING,
    OneOf("PREFIX", "--file"),
    OneOf("--top", "--all"),
    OneOf("--json", "--tsv"),
)
_SHORTEST_BAR, _LONGEST_BAR = 8, 30
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
_LEAST_PERCENT = 0.01  # what is less is written as a power of ten


def next_cli(
    prefix: Annotated[
        str | None,
        typer.Argument(help="Text in front; - is standard input.  [default: empty]"),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=0, help=f"Number of tokens to print; 0 is all.  [default: {_TOP}]"),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Print all tokens.")] = False,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="File that holds the text in front; - is standard input.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    model: options.Models = None,
    root: options.Runs = RUNS,
    weights: options.Weights = None,
    tune: options.Tune = None,
    alone: options.Alone = False,
    label: options.Label = None,
    unit: options.Unit = "nats",
    json: options.Json = False,
    tsv: options.Tsv = False,
) -> None:
    """Print the most likely next tokens.

    \b
    charlm next "The apple and p"
    charlm next --top 5 --unit bits
    charlm next --file sentences.txt --all --tsv
    """
    text = read_beginning(prefix, file, ways="a prefix or --file")
    loaded = token_model(
        load_models(model, root, weights, tune, alone=alone, label=label), _NO_COMMON_NEXT
    )
    if not loaded.is_small(1, text):
        say_loading()
    wanted = 0 if everything else _TOP if top is None else top
    found = loaded.next_tokens(text, top=wanted or None)
    if json:
        for entry in found.entries:
            out_json(fields(entry, unit))
    else:
        for line in tsv_lines(found, unit) if tsv else table(found, unit):
            out(f"{line}\n")
    sys.stdout.flush()  # before what goes to stderr
    if found.num_oov:
        say(f"tokens of the prefix that are not in the vocabulary, read as <UNK>: {found.num_oov}")
    say(
        f"entropy {found.entropy:.3f} bits, perplexity {found.perplexity:,.2f}, "
        f"{found.num_types:,} types"
    )


def fields(entry: "NextToken", unit: str) -> dict[str, Any]:
    """An entry as JSON."""
    from charlm.metrics import UNITS

    return {
        "rank": entry.rank,
        "id": entry.token_id,
        "token": entry.piece,
        "text": entry.text,
        f"log_prob_{unit}": entry.log_prob / UNITS[unit],
        "probability": entry.probability,
    }


def tsv_lines(found: "NextTokens", unit: str) -> Iterator[str]:
    """A header and a line for each entry, all the digits of its numbers."""
    rows = [fields(entry, unit) for entry in found.entries]
    yield "\t".join(rows[0])
    for row in rows:
        yield "\t".join(
            cell(value) if isinstance(value, str) else repr(value) for value in row.values()
        )


def table(found: "NextTokens", unit: str) -> Iterator[str]:
    """A header and a line for each entry, on a terminal no wider than it is, with a bar."""
    from charlm.metrics import UNITS

    header = f"{'rank':>6} {'P (%)':>8} {'log P (' + unit + ')':>13}  "
    tokens = [visible(entry.piece) for entry in found.entries]
    bars = [""] * len(tokens)
    if sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - len(header)
        if is_live(sys.stdout) and room >= 2 * _SHORTEST_BAR:
            widest = max(map(width, (*tokens, "token")))
            length = max(_SHORTEST_BAR, min(_LONGEST_BAR, room - 2 - widest))
            best = found.entries[0].log_prob
            shares = [math.exp(entry.log_prob - best) for entry in found.entries]
            bars = [f"{bar(share, length):<{length}}  " for share in shares]
            header += " " * (length + 2)
            room -= length + 2
        tokens = [cut(token, max(1, room)) for token in tokens]
    yield f"{header}token"
    for entry, drawn, token in zip(found.entries, bars, tokens, strict=True):
        value = entry.log_prob / UNITS[unit]
        yield f"{entry.rank:6d} {percent(entry.log_prob):>8} {value:13.4f}  {drawn}{token}"


def percent(log_prob: float) -> str:
    """exp(log_prob) in per cent: 12.345, or 3.2e-13 where that would round to little or nothing."""
    from charlm.metrics import scientific

    hundredfold = log_prob + math.log(100)
    if hundredfold < math.log(_LEAST_PERCENT):
        return scientific(hundredfold)
    return f"{math.exp(hundredfold):.3f}"


def bar(share: float, length: int) -> str:
    """A bar of this share (0 to 1) of so many columns, to an eighth of a column."""
    full, rest = divmod(round(share * length * len(_EIGHTHS)), len(_EIGHTHS))
    return "█" * full + _EIGHTHS[rest]
