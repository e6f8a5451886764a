"""charlm fill."""

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from charlm.cli import options
from charlm.cli.commands.next import percent
from charlm.cli.input.beginning import texts_of
from charlm.cli.input.model import cloze_model, load_model
from charlm.cli.input.option_rules import OneOf, Rules
from charlm.cli.input.records import say_lines_are_texts
from charlm.cli.output.formats import cell
from charlm.cli.output.terminal import cut, out, out_json, say, say_loading, width
from charlm.config import RUNS
from charlm.display.safe_text import safe_text, visible
from charlm.errors import TextError, UsageError

if TYPE_CHECKING:
    from charlm.inference.fill import Filling, Fillings
    from charlm.models.cloze_model import ClozeModel

_TOP = 10
_COLUMNS = 80
RULES: Rules = (
    *options.TEXT_OR_FILE,
    *options.CUT,
    OneOf("--json", "--tsv"),
)


def fill_cli(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts with gaps: [?] is one token, [?5] is five; \\[?] is plain text.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of fillings to print per text.")] = _TOP,
    unk: Annotated[
        Literal["resample", "keep"],
        typer.Option(help="Leave out <UNK>, or keep it as U+FFFD.", case_sensitive=False),
    ] = "resample",
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Fill each line of this file; - is standard input.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    split_on: options.SplitOn = None,
    null: options.Null = False,
    encoding: options.Encoding = "utf-8",
    errors: options.Errors = "strict",
    model: options.Model = None,
    root: options.Runs = RUNS,
    unit: options.Unit = "nats",
    json: options.Json = False,
    tsv: options.Tsv = False,
) -> None:
    """Fill the gaps of a text.

    The model is a cloze model (charlm train --task cloze). A gap is [?], or [?5] for several
    tokens: characters, words or subwords, by the model's level. A backslash makes it plain text.

    \b
    charlm fill --model gaps "The apple and [?] salad"
    charlm fill --model gaps "The [?] and pear [?]" --top 5
    charlm fill --model gaps "The app[?2] and pear salad" --json
    charlm fill --model gaps --file gaps.txt --tsv
    """
    if not texts and file is None:
        if sys.stdin.isatty():
            raise UsageError('give a text with a gap: charlm fill "The apple and [?] salad"')
        file = "-"
    loaded = cloze_model(load_model(model, root))
    if not loaded.is_small(1, "".join(texts or ())):
        say_loading()
    parting = "null" if null else split_on
    if parting is None and not texts:
        say_lines_are_texts(loaded.checkpoint.split_on)
    given = texts if texts else _texts(file or "-", parting or "line", encoding, errors)
    oov = 0
    for number, found in enumerate(_filled(loaded, given, top, unk, bool(texts))):
        oov += found.num_oov
        if json:
            out_json(fields(found, unit))
        elif tsv:
            out("".join(f"{line}\n" for line in tsv_lines(found, unit, number)))
        else:
            out("\n" if number else "")
            out("".join(f"{line}\n" for line in table(found, unit)))
        if not texts:
            sys.stdout.flush()
    sys.stdout.flush()  # before what goes to stderr
    if oov:
        say(f"tokens of what is known that are not in the vocabulary, read as <UNK>: {oov}")


def _texts(file: str, cut: str, encoding: str, errors: str) -> Iterator[str]:
    """The texts of a file. Raises TextError at one that is none."""
    for line in texts_of(file, cut, encoding, errors):
        if line is not None:
            if line.problem is not None:
                raise TextError(line.problem)
            yield line.text


def _filled(
    loaded: "ClozeModel", texts: Iterable[str], top: int, unk: str, are_arguments: bool
) -> "Iterator[Fillings]":
    """The fillings of each text; what cannot be filled is named by its line."""
    for number, text in enumerate(texts, start=1):
        try:
            yield loaded.fill(text, top=top, unk=unk)
        except TextError as error:
            raise (error if are_arguments else TextError(f"line {number}: {error}")) from None


def fields(found: "Fillings", unit: str) -> dict[str, Any]:
    """What may fill a text, as JSON."""
    return {
        "text": found.text,
        "gap_tokens": list(found.lengths),
        "oov_tokens": found.num_oov,
        "fillings": [
            {
                "rank": entry.rank,
                "text": entry.text,
                "gaps": list(entry.gaps),
                "tokens": [list(pieces) for pieces in entry.pieces],
                **_figures(entry, unit),
            }
            for entry in found.entries
        ],
    }


def _figures(entry: "Filling", unit: str) -> dict[str, float]:
    from charlm.metrics import UNITS

    return {
        f"log_prob_{unit}": entry.log_prob / UNITS[unit] + 0.0,
        "probability": entry.probability,
    }


def tsv_lines(found: "Fillings", unit: str, number: int) -> Iterator[str]:
    """A line for each filling, before the first text's a header; all the digits of its numbers."""
    if not number:
        yield f"number\trank\tlog_prob_{unit}\tprobability\tgaps\ttext"
    for entry in found.entries:
        figures = map(repr, _figures(entry, unit).values())
        gaps = " | ".join(entry.gaps)
        columns = (str(number + 1), str(entry.rank), *figures, cell(gaps), cell(entry.text))
        yield "\t".join(columns)


def table(found: "Fillings", unit: str) -> Iterator[str]:
    """The text, a header and a line for each filling."""
    from charlm.metrics import UNITS

    yield safe_text(found.text)
    gaps = [" | ".join(map(_shown, entry.gaps)) for entry in found.entries]
    header = f"{'rank':>6} {'P (%)':>8} {'log P (' + unit + ')':>13}  "
    widest = min(40, max(map(width, (*gaps, "gap"))))
    yield f"{header}{'gaps' if len(found.lengths) > 1 else 'gap':<{widest}}  text"
    room = max(10, _COLUMNS - len(header) - widest - 2)
    for entry, gap in zip(found.entries, gaps, strict=True):
        value = entry.log_prob / UNITS[unit]
        shown = cut(gap, widest)
        padding = " " * (widest - width(shown))
        text = cut(safe_text(entry.text), room) if sys.stdout.isatty() else safe_text(entry.text)
        yield (
            f"{entry.rank:6d} {percent(entry.log_prob):>8} {value:13.4f}  {shown}{padding}  {text}"
        )


def _shown(gap: str) -> str:
    """What fills a gap, such that white space at its ends, or nothing else, can be seen."""
    body = gap.strip()
    if not body:
        return "".join(map(visible, gap)) or "∅"
    begin = gap.index(body)
    before, after = gap[:begin], gap[begin + len(body) :]
    return "".join(map(visible, before)) + safe_text(body) + "".join(map(visible, after))
