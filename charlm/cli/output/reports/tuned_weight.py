"""The weight of log P that suits the references of hypotheses best."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from charlm.cli.input.beginning import read_utf8
from charlm.cli.input.filter import TextFilter
from charlm.cli.output import nbest
from charlm.cli.output.terminal import say
from charlm.errors import UsageError
from charlm.fields.scores import Wanted

if TYPE_CHECKING:
    from charlm.cli.input.records import Record
    from charlm.text.portions import Mapped


def tuned_weight(
    job: TextFilter,
    records: "Iterator[Record]",
    form: nbest.Hypotheses,
    references: str,
    wanted: Wanted,
    mapped: "Mapped",
) -> float:
    """The weight of fewest word errors; what it is worth is said.

    Hypotheses of ids that have no reference are left out. Raises UsageError if none has one.
    """
    from charlm.inference.pairs.rescoring import Hypothesis, errors_at, tuned, word_errors

    texts = _references(references)
    groups: list[list[Hypothesis]] = []
    words, without = 0, 0
    there = (group for group in nbest.groups(records, form) if group[0].text is not None)
    for group, scores in job.scored(there, form, mapped):
        reference = texts.get(form.group(group[0].line))
        if reference is None:
            without += 1
            continue
        words += len(reference.split())
        groups.append(
            [
                Hypothesis(
                    form.other(record.line),
                    score.total_log_prob / wanted.nats,
                    word_errors(record.text or "", reference),
                )
                for record, score in zip(group, scores, strict=True)
            ]
        )
    found = tuned(groups)
    rates = {"without": errors_at(groups, 0.0), "at 1": errors_at(groups, 1.0)}
    told = ", ".join(f"{name} {errors / max(1, words):.2%}" for name, errors in rates.items())
    say(
        f"weight: {found.weight:.4g}, word errors {found.errors / max(1, words):.2%} ({told}) of "
        f"{len(groups):,} ids{f', {without:,} have no reference' if without else ''}"
    )
    return found.weight


def _references(file: str) -> dict[str, str]:
    """What was said, by its id, as groups are called: lines of an id, white space and the text."""
    found: dict[str, str] = {}
    for number, line in enumerate(read_utf8(file).splitlines(), start=1):
        if not line.strip():
            continue
        name, *rest = line.split(maxsplit=1)
        if name in found:
            raise UsageError(f"{file}, line {number}: the id {name} has two references.")
        found[name] = found[repr(name)] = rest[0] if rest else ""
        if name.isdecimal():
            found.setdefault(str(int(name)), found[name])
    return found
