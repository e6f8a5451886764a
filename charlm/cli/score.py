"""charlm score."""

import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli.form import JsonOption, TsvOption, UnitOption, cell, check_form
from charlm.cli.meter import Meter
from charlm.cli.model import ModelOption, load_model
from charlm.cli.terminal import number, out, out_json, safe_text, say, visible
from charlm.errors import UsageError

if TYPE_CHECKING:
    from charlm.corpus import Line
    from charlm.scoring import TextScore

_BATCH_TEXTS = 4096
_BATCH_CHARACTERS = 2**20


def score_cli(
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="The texts. Two or more are also ranked.", show_default=False),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", help="Score each line of a file; - is stdin.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of the file.")] = "utf-8",
    errors: Annotated[
        str, typer.Option(help="What to do with bytes that are no text: strict or replace.")
    ] = "strict",
    model: ModelOption = None,
    unit: UnitOption = "nats",
    per_token: Annotated[
        bool, typer.Option("--per-token", help="A line for each token: surprisal, rank, sum.")
    ] = False,
    closed: Annotated[
        bool, typer.Option("--closed", help="<UNK> as one symbol, its spelling left out.")
    ] = False,
    json: JsonOption = False,
    tsv: TsvOption = False,
) -> None:
    """The probability of texts, the end of each included.

    \b
    charlm score "The apple and pear salad"
    charlm score "recognise speech" "wreck a nice beach"
    charlm score --per-token "The apple and pair salad"
    charlm score --file sentences.txt --tsv
    """
    check_form(unit, json=json, tsv=tsv)
    if texts and file is not None:
        raise UsageError("give texts or --file, not both.")
    if not texts and file is None:
        if sys.stdin.isatty():
            raise UsageError('give a text to score: charlm score "The apple and pear salad"')
        file = "-"
    loaded = load_model(model)
    writer = Writer(unit=unit, per_token=per_token, json=json, tsv=tsv, ranked=bool(texts))
    writer.open = not closed and loaded.unknown is not None
    if texts:
        writer.write(loaded.score_all(list(texts), per_token=per_token, closed=closed))
        return
    file = file or "-"
    from charlm.corpus import read_lines

    with Meter(file) as meter:
        for batch in _batches(read_lines(file, encoding=encoding, errors=errors)):
            lines = [line.text for line in batch]
            writer.write(loaded.score_all(lines, per_token=per_token, closed=closed))
            sys.stdout.flush()
            meter.update(len(batch), batch[-1].end)


def _batches(lines: "Iterator[Line]") -> "Iterator[list[Line]]":
    """Lines in portions that fit in memory."""
    batch: list[Line] = []
    characters = 0
    for line in lines:
        batch.append(line)
        characters += len(line.text)
        if len(batch) >= _BATCH_TEXTS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


class Writer:
    """Scores in the form that was asked for."""

    def __init__(self, *, unit: str, per_token: bool, json: bool, tsv: bool, ranked: bool) -> None:
        from charlm.metrics import UNITS

        self.unit, self.nats = unit, UNITS[unit]
        self.per_token, self.json, self.tsv, self.ranked = per_token, json, tsv, ranked
        self.open = True  # what is unknown is spelled, so that texts can be compared
        self.first = True
        self.number = 0

    def write(self, scores: "list[TextScore]") -> None:
        """Write the scores of one portion of texts, in order."""
        places = rank(scores) if self.ranked and len(scores) > 1 else None
        for index, score in enumerate(scores):
            self.number += 1
            place = places[index] if places else None
            if self.json:
                out_json(self.fields(score, place))
            elif self.per_token:
                self._tokens(score)
            elif self.tsv:
                self._tsv(score, place)
            else:
                self._line(score, place)
        if places and not (self.json or self.tsv or self.per_token):
            self._verdict(scores)

    def fields(self, score: "TextScore", place: int | None) -> dict[str, Any]:
        """A score as JSON."""
        fields: dict[str, Any] = {
            "text": score.text,
            f"total_log_prob_{self.unit}": score.total_log_prob / self.nats,
            "probability": score.probability,
            "tokens": score.num_tokens,
            "oov_tokens": score.num_oov,
            "characters": len(score.text),
            "perplexity_per_token": _finite(score.perplexity),
            "bits_per_character": score.bits_per_character,
        }
        if place is not None:
            fields["rank"] = place
        if score.tokens is not None:
            running = 0.0
            fields["per_token"] = []
            for token in score.tokens:
                running += token.log_prob
                fields["per_token"].append(
                    {
                        "token": token.piece,
                        f"log_prob_{self.unit}": token.log_prob / self.nats,
                        "surprisal_bits": token.surprisal,
                        "rank": token.rank,
                        f"running_total_{self.unit}": running / self.nats,
                    }
                )
        return fields

    def _tsv(self, score: "TextScore", place: int | None) -> None:
        fields = self.fields(score, place)
        text = fields.pop("text")
        if self.first:
            out("\t".join([*fields, "text"]) + "\n")
            self.first = False
        cells = [
            number(value) if isinstance(value, float) else "" if value is None else str(value)
            for value in fields.values()
        ]
        out("\t".join([*cells, cell(text)]) + "\n")

    def _tokens(self, score: "TextScore") -> None:
        """A block a text, or with --tsv one table with the text's number in front."""
        assert score.tokens is not None
        if self.tsv:
            if self.first:
                columns = ("text", "token", f"log_prob_{self.unit}", "surprisal_bits", "rank")
                out("\t".join((*columns, f"running_total_{self.unit}")) + "\n")
                self.first = False
        else:
            out(
                f"{'' if self.first else chr(10)}{safe_text(score.text)}\n"
                f"{'log P (' + self.unit + ')':>14} {'surprisal (bits)':>17} {'rank':>6} "
                f"{'sum (' + self.unit + ')':>14}  token\n"
            )
            self.first = False
        running = 0.0
        for token in score.tokens:
            running += token.log_prob
            values = (token.log_prob / self.nats, token.surprisal, token.rank, running / self.nats)
            if self.tsv:
                cells = (str(self.number), cell(token.piece), *map(repr, values))
                out("\t".join(cells) + "\n")
            else:
                out("{:14.4f} {:17.3f} {:6d} {:14.4f}".format(*values))
                out(f"  {visible(token.piece)}\n")

    def _line(self, score: "TextScore", place: int | None) -> None:
        if self.first:
            out(
                f"{'rank ' if place else ''}{'log P (' + self.unit + ')':>14} {'P':>10} "
                f"{'ppl/token':>10} {'bits/char':>10} {'tokens':>7} {'OOV':>4}  text\n"
            )
            self.first = False
        bits = score.bits_per_character
        out(
            f"{f'{place:>4} ' if place else ''}{score.total_log_prob / self.nats:14.4f} "
            f"{score.probability:>10} {_short(score.perplexity):>10} "
            f"{_short(bits):>10} {score.num_tokens:7d} {score.num_oov:4d}  "
            f"{safe_text(score.text)}\n"
        )

    def _verdict(self, scores: "list[TextScore]") -> None:
        sys.stdout.flush()  # before what goes to stderr
        best, second = sorted(scores, key=lambda s: -s.total_log_prob)[:2]
        if best.num_oov != second.num_oov and not self.open:
            say("mind the OOV column: what is unknown counts as <UNK>, which can be anything")
        difference = best.total_log_prob - second.total_log_prob
        if difference == 0:
            say(f"likeliest: {_quoted(best)} and {_quoted(second)}, equally likely")
        else:
            say(f"likeliest: {_quoted(best)}, {_times(difference)} times as likely as the next")


def rank(scores: "list[TextScore]") -> list[int]:
    """The place of each, 1 for the likeliest; equals share a place."""
    ordered = sorted((score.total_log_prob for score in scores), reverse=True)
    return [ordered.index(score.total_log_prob) + 1 for score in scores]


def _quoted(score: "TextScore") -> str:
    return f'"{safe_text(score.text)}"'


def _times(nats: float) -> str:
    """exp(nats) for a person to read."""
    from charlm.metrics import scientific

    return scientific(nats) if nats > math.log(1e6) else f"{float(f'{math.exp(nats):.3g}'):,g}"


def _finite(value: float) -> float | None:
    return value if value < float("inf") else None


def _short(value: float | None) -> str:
    """A figure for a person to read."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value < 10_000 else f"{value:.2e}"
