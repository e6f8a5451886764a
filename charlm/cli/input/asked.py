"""Options of a training, made of the fields that its request declares."""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Annotated, Any, NamedTuple, TypeVar

import typer

from charlm.cli.input.declared import declaring

F = TypeVar("F", bound=Callable[..., None])


def taking(
    groups: Mapping[str, type], flags: Mapping[str, "Flag"] | None = None
) -> Callable[[F], F]:
    """Give a command, which takes any further keywords, an option for each field of the groups.

    A group is a dataclass, and a heading of the help. What was not given is None, or False of a
    switch. ``flags`` are options that are not called as their field is, or are written otherwise.
    """

    def declared(function: F) -> F:
        own = inspect.signature(function).parameters.values()
        parameters = [one for one in own if one.kind is not one.VAR_KEYWORD]
        for heading, group in groups.items():
            hints = typing.get_type_hints(group)
            for field in _fields(group):
                flag = (flags or {}).get(field.name, Flag())
                parameters.append(_parameter(field, hints[field.name], heading, flag))
        declaring(function, parameters)
        return function

    return declared


def given(values: Mapping[str, Any], groups: Mapping[str, type]) -> dict[str, Any]:
    """The fields of the groups that were given an option for; lists as tuples."""
    defaults = {field.name: field.default for group in groups.values() for field in _fields(group)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if not (value in (None, ()) or (value is False and defaults[name] is False))
    }


def _fields(group: Any) -> "tuple[dataclasses.Field[Any], ...]":
    return dataclasses.fields(group)


class Flag(NamedTuple):
    """How an option is written: its name where it is not the field's, and what reads its value."""

    name: str | None = None
    metavar: str | None = None
    read: Callable[[str | None], Any] | None = None


def _parameter(
    field: "dataclasses.Field[Any]", hint: Any, heading: str, flag: Flag
) -> inspect.Parameter:
    """The parameter that typer makes an option of."""
    name = flag.name or f"--{field.name.replace('_', '-')}"
    is_switch = hint is bool
    told = typer.Option(
        name,
        help=_help(field, is_switch=is_switch),
        metavar=flag.metavar,
        callback=flag.read,
        case_sensitive=False,
        show_default=False,
        rich_help_panel=heading,
    )
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if is_switch else None,
        annotation=Annotated[_type(hint, flag), told],
    )


def _type(hint: Any, flag: Flag) -> Any:
    """What an option that may be left out is parsed as."""
    if hint is bool:
        return bool
    if flag.read is not None:
        return str | None
    if typing.get_origin(hint) is tuple:
        return list[str] | None
    words: list[str] = []
    others: list[Any] = []
    for part in _parts(hint):
        if typing.get_origin(part) is typing.Literal:
            words += typing.get_args(part)
        else:
            others.append(part)
    (one,) = others or (typing.Literal[tuple(words)],)
    return one | None


def _parts(hint: Any) -> list[Any]:
    """The types of a union without None, or the one type."""
    if typing.get_origin(hint) in (None, typing.Literal):
        return [hint]
    return [part for part in typing.get_args(hint) if part is not NoneType]


def _help(field: "dataclasses.Field[Any]", *, is_switch: bool) -> str:
    """The line of help with what stands where nothing is given."""
    told: str = field.metadata["help"]
    chosen = field.metadata["chosen"]
    if chosen is None and field.default is not None and not is_switch:
        chosen = field.default
    return told if chosen is None else f"{told}  [default: {chosen}]"
