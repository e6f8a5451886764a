"""Groups of hypotheses, ranked anew with the model's word in it.

A hypothesis is a line: its group's id, its text, and the score that another system gave it, or
none. Its total is that score plus a weight times log P(text); a group's lines go out best first.
The lines of a group follow one another, so that a group can go out when it has been read; an id
that comes back is told, for which the ids that were seen are remembered (a hash of each).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charlm.cli.figures import Wanted, rank
from charlm.cli.form import decimal
from charlm.cli.records import Columns, Form, JsonLines, Record

if TYPE_CHECKING:
    from charlm.scoring import TextScore

NAMES = ("total_score", "rank_in_group")
_LARGEST = 1e100  # of a score, so that a total is always finite


class Hypotheses:
    """A form of lines that hold hypotheses: JSON Lines, or columns between tabs."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self._seen: set[int] = set()
        self._last: str | None = None

    def text(self, line: str, number: int) -> str | None:
        """The text, of one line after another.

        Raises ValueError if the line has no id, text or proper score, or if its id stood further
        up, before others.
        """
        text = self.form.text(line, number)
        if text is not None:
            name = self.group(line)
            self.other(line)
            if name != self._last and hash(name) in self._seen:
                raise ValueError(
                    f"its id {name} came before, with other ids between: lines of one id have to "
                    "follow one another. Sort them first"
                )
            self._last = name
            self._seen.add(hash(name))
        return text

    def written(self, record: Record, results: Mapping[str, Any]) -> str:
        """The line with the results."""
        return self.form.written(record, results)

    def group(self, line: str) -> str:
        """The id of its group."""
        if isinstance(self.form, JsonLines):
            fields = self.form.fields(line)
            if "id" not in fields:
                raise ValueError('it has no field "id"')
            return repr(fields["id"])
        return line.split("\t")[0]

    def other(self, line: str) -> float:
        """The score that it came with, 0 if there is none."""
        if isinstance(self.form, JsonLines):
            given = self.form.fields(line).get("score", 0.0)
        else:
            given = [*line.split("\t"), "0"][2] or "0"
        try:
            value = decimal(given) if isinstance(given, str) else float(given)
        except (TypeError, ValueError):
            value = math.nan
        if isinstance(given, bool) or not abs(value) <= _LARGEST:
            raise ValueError(f"its score is no number: {given!r}")
        return value


def form_of(field: str | None, names: Sequence[str]) -> Hypotheses:
    """JSON Lines whose text is in ``field``, or for None columns: id, text, score."""
    if field is not None:
        return Hypotheses(JsonLines(field, names))
    return Hypotheses(Columns("2", names, header=False))


def groups(records: Iterator[Record | None], form: Hypotheses) -> Iterator[list[Record]]:
    """The hypotheses of each id, as far as they follow one another; broken lines by themselves."""
    group: list[Record] = []
    of = None
    for record in records:
        if record is None:
            continue  # a group has to be whole
        if record.text is None:
            yield [record]
            continue
        name = form.group(record.line)
        if group and name != of:
            yield group
            group = []
        of = name
        group.append(record)
    if group:
        yield group


def ranked(
    group: list[Record],
    scores: "list[TextScore]",
    form: Hypotheses,
    wanted: Wanted,
    weight: float,
) -> Iterator[tuple[Record, "TextScore", dict[str, Any]]]:
    """A group's hypotheses best first, each with its results."""
    totals = [
        form.other(record.line) + weight * score.total_log_prob / wanted.nats
        for record, score in zip(group, scores, strict=True)
    ]
    places = rank(totals)
    for index in sorted(range(len(group)), key=places.__getitem__):
        names = (wanted.prefix + name for name in NAMES)
        added = dict(zip(names, (totals[index], places[index]), strict=True))
        yield group[index], scores[index], {**wanted.results(scores[index]), **added}
