"""A command of charlm's: rules for its options, headings in its help, errors that are a line."""

import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import typer
import typer.core

from charlm.cli.errors import behind_dashes, guarded, takes
from charlm.cli.input.arguments import as_text
from charlm.cli.input.option_rules import Rules, check
from charlm.errors import UsageError

_PLAIN = "Options"  # the heading of options that have none
_WIDEST = 76  # columns that the names of an option may take
_KINDS = {int: "INT", float: "FLOAT", str: "TEXT"}


def ruled(rules: Rules, unsaid: Mapping[str, str] | None = None) -> type[typer.core.TyperCommand]:
    """What a command is: its options keep to the rules, and its errors end in a line.

    ``unsaid`` are options whose value may be left out, each with what then stands for it.
    """

    class Command(typer.core.TyperCommand):
        """A command of charlm's."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            parameter: Any
            for parameter in self.params:
                parameter.min = parameter.max = None  # help says no ranges; errors do
                if parameter.param_type_name == "option" and not parameter.is_flag:
                    _name_value(parameter)

        def format_options(self, ctx: Any, formatter: Any) -> None:
            """Write arguments, then options below their headings."""
            for heading, rows in _sections(self.get_params(ctx), ctx).items():
                with formatter.section(heading):
                    formatter.write_dl(rows)

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """Put in what was left unsaid, and parse."""
            said = list(_said(args, unsaid or {}))
            if not ctx.resilient_parsing:  # as when a shell completes a line
                _refuse_dashed_texts(ctx, said)
            return super().parse_args(ctx, said)

        @guarded
        def invoke(self, ctx: Any) -> Any:
            """Look at what was given, then do the work."""
            check(ctx, rules)
            ctx.params = as_text(ctx.params)
            return super().invoke(ctx)

    return Command


def _said(arguments: list[str], unsaid: Mapping[str, str]) -> Iterator[str]:
    """The arguments with the values that were left out, before another option or the end."""
    for argument, following in zip(arguments, (*arguments[1:], "--"), strict=False):
        yield argument
        if argument in unsaid and following.startswith("-"):
            yield unsaid[argument]


def _refuse_dashed_texts(context: Any, arguments: list[str]) -> None:
    """Raise UsageError if a text stands where it would be read as an option, or as several.

    It is told by its white space, which names of options have none of.
    """
    if takes(context.command) != "a text":
        return
    valued = {
        name
        for option in context.command.params
        if option.param_type_name == "option" and not option.is_flag
        for name in option.opts
    }
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            return
        if argument in valued:
            next(left, None)
        elif argument.startswith("-") and re.search(r"^[^=]*\s|^-[^-].*\s", argument, re.DOTALL):
            raise UsageError(
                f"{argument!r} begins as an option does. "
                f"{behind_dashes(context.command_path, 'a text', argument)}."
            )


def _name_value(option: Any) -> None:
    """Say what the value of an option is: its choices, or its type in capitals."""
    described = option.type_descriptor
    if option.metavar is not None:
        return
    if described.choices is None:
        (kind,) = typing.get_args(described.annotation) or (described.annotation,)
        option.metavar = _KINDS.get(kind, "FILE")
        return
    option.metavar = f"[{'|'.join(described.choices)}]"
    if len(", ".join(option.opts)) + len(option.metavar) > _WIDEST:
        option.metavar = option.name.upper()
        told, _, default = option.help.partition("  [")
        option.help = f"{told} One of {', '.join(described.choices)}.  [{default}"


def _sections(parameters: list[Any], context: Any) -> dict[str, list[tuple[str, str]]]:
    """The rows of the help by their headings, in the order in which those come."""
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], _PLAIN: []}
    for parameter in parameters:
        record = parameter.get_help_record(context)
        if parameter.param_type_name == "argument":
            several = "..." if parameter.nargs != 1 else ""
            sections["Arguments"].append((f"{parameter.display_name_raw}{several}", record[1]))
        elif record is not None:
            sections.setdefault(parameter.rich_help_panel or _PLAIN, []).append(record)
    if len(sections[_PLAIN]) == 1:  # --help alone
        sections[_PLAIN] = sections.pop(_PLAIN)
    return {heading: rows for heading, rows in sections.items() if rows}
