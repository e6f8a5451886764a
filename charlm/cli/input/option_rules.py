"""Which options go together: declared beside each command, checked at once.

What was really given on the command line counts, not what an option is where it was left out. A
term names something given: ``--jsonl``, an argument (``TEXTS``), an option with a value
(``--format kenlm``, ``--labelled column:*``), or one that was given twice (``--model --model``).
"""

import fnmatch
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import typer

from charlm.errors import UsageError

Terms: TypeAlias = str | tuple[str, ...]


class Given:
    """The options and arguments that were given, by all their names, each with its value."""

    def __init__(self, context: typer.Context) -> None:
        self.values: dict[str, Any] = {}
        for parameter in context.command.params:
            name = parameter.name or ""
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                is_argument = parameter.param_type_name == "argument"
                names = (name.upper(),) if is_argument else parameter.opts
                self.values |= dict.fromkeys(names, context.params[name])

    def has(self, term: str) -> bool:
        """Whether what the term names was given."""
        name, _, wanted = term.partition(" ")
        if name not in self.values:
            return False
        value = self.values[name]
        if wanted == name:
            return isinstance(value, Sequence) and len(value) > 1
        return not wanted or fnmatch.fnmatchcase(str(value), wanted)

    def of(self, terms: Terms) -> Iterator[str]:
        """Those of the terms that were given."""
        return filter(self.has, _tuple(terms))


class Rule(Protocol):
    """Something that the given options have to keep to."""

    def problem(self, given: Given) -> str | None:
        """A sentence about what is wrong, naming what it is about; None if all is well."""

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The terms that depend on each other, or contradict each other."""


class Needs(NamedTuple):
    """Each of the options means nothing without one of the others."""

    options: Terms
    others: Terms

    def problem(self, given: Given) -> str | None:
        """A sentence if one was given alone."""
        option = next(given.of(self.options), None)
        if option is None or any(given.of(self.others)):
            return None
        others = _listed(self.others, "or")
        name, _, wanted = option.partition(" ")
        other = f"give {name} once" if wanted == name else f"leave {shown(option)} out"
        return f"{shown(option)} goes with {others}: give that too, or {other}."

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Each option with each of the others."""
        return itertools.product(_tuple(self.options), _tuple(self.others))


class Apart(NamedTuple):
    """None of ``ones`` goes with any of ``others``, for this reason; unless there is more given."""

    ones: Terms
    others: Terms
    because: str
    unless: Terms = ()

    def problem(self, given: Given) -> str | None:
        """A sentence if two were given."""
        one, other = next(given.of(self.ones), None), next(given.of(self.others), None)
        if one is None or other is None or any(given.of(self.unless)):
            return None
        rest = f", but with {_listed(self.unless, 'or')}" if self.unless else ""
        return (
            f"{shown(one)} and {shown(other)} do not go together{rest}: {self.because}. "
            f"Leave out {shown(one)} or {shown(other)}."
        )

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Each of the ones with each of the others."""
        return itertools.product(_tuple(self.ones), _tuple(self.others))


class OneOf:
    """Of these only one can be given."""

    def __init__(self, *options: str) -> None:
        self.options = options

    def problem(self, given: Given) -> str | None:
        """A sentence if more were given."""
        found = list(given.of(self.options))
        if len(found) < 2:
            return None
        return f"give {shown(found[0])} or {shown(found[1])}, not both."

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Each with each."""
        return itertools.combinations(self.options, 2)


class Ordered(NamedTuple):
    """The first, a number, must not be more than the second."""

    low: str
    high: str

    def problem(self, given: Given) -> str | None:
        """A sentence if it is."""
        low, high = given.values.get(self.low), given.values.get(self.high)
        if low is None or high is None or low <= high:
            return None
        return f"{self.low} {low:g} is more than {self.high} {high:g}: nothing is both."

    def pairs(self) -> Iterator[tuple[str, str]]:
        """The two."""
        yield self.low, self.high


Rules: TypeAlias = tuple[Rule, ...]


def check(context: typer.Context, rules: Rules) -> None:
    """Raise UsageError if a number is none, or if what was given does not keep to the rules."""
    given = Given(context)
    for name, value in given.values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{name} must be a number that is finite, got {value}.")
    for rule in sorted(rules, key=lambda rule: isinstance(rule, Needs)):  # what has to go needs
        if (problem := rule.problem(given)) is not None:  # nothing more
            raise UsageError(problem)


def shown(term: str) -> str:
    """A term for a person to read: ``TEXTS`` are texts, ``--model --model`` is --model twice."""
    name, _, wanted = term.partition(" ")
    if wanted == name:
        return f"{name} twice"
    return term.replace("*", "...") if name.startswith("-") else term.lower()


def _tuple(terms: Terms) -> tuple[str, ...]:
    return (terms,) if isinstance(terms, str) else terms


def _listed(terms: Terms, word: str) -> str:
    *first, last = map(shown, _tuple(terms))
    return f"{', '.join(first)} {word} {last}" if first else last
