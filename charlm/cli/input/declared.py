"""Options of commands: each is declared once, with its type, its default and its line of help.

A command takes an option as a parameter, ``show: int = option("Number to show.", 3)``, or several
as one object: a parameter of a class derived from Options. Those of a training are made of the
fields that its request declares.
"""

import copy
import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, NamedTuple, TypeVar

import typer

F = TypeVar("F", bound=Callable[..., None])


def option(
    told: str,
    default: Any = None,
    *names: str,
    heading: str | None = None,
    metavar: str | None = None,
    least: int | None = None,
    envvar: str | None = None,
    completed: Callable[[typer.Context, str], list[str]] | None = None,
) -> Any:
    """An option: its line of help, its default, and its names where they are not the field's."""
    return typer.Option(
        default,
        *names,
        help=told,
        rich_help_panel=heading,
        metavar=metavar,
        min=least,
        envvar=envvar,
        autocompletion=completed,
        case_sensitive=False,
    )


class Options:
    """Options that a command takes as one object, declared as attributes.

    They stand below the ``heading`` of their class, or each below its own. An object holds what was
    given, and the default of what was not.
    """

    heading: str | None = None

    def __init_subclass__(cls, *, heading: str | None = None) -> None:
        cls.heading = heading or cls.heading

    def __init__(self, **given: Any) -> None:
        defaults = {one.name: one.default.default for one in type(self).parameters()}
        vars(self).update(defaults | given)

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """A parameter for each option, those of the classes that it is derived from first."""
        hints: dict[str, Any] = {}
        for base in reversed(cls.__mro__[: -len(Options.__mro__)]):
            hints |= base.__annotations__
        return [_named(name, hint, getattr(cls, name), cls.heading) for name, hint in hints.items()]


def expanded(function: Callable[..., None]) -> Callable[..., None]:
    """A command as the parser is to see it: with a parameter for each of its options."""
    own = inspect.signature(function)
    objects: dict[str, type[Options]] = {}
    parameters: list[inspect.Parameter] = []
    for one in own.parameters.values():
        if isinstance(one.annotation, type) and issubclass(one.annotation, Options):
            objects[one.name] = one.annotation
            parameters += one.annotation.parameters()
        else:
            parameters.append(_named(one.name, one.annotation, one.default, None))

    @functools.wraps(function)
    def command(**values: Any) -> None:
        given = {
            name: group(**{one.name: values.pop(one.name) for one in group.parameters()})
            for name, group in objects.items()
        }
        function(**given, **values)

    return _declaring(command, own, parameters)


def _named(name: str, hint: Any, default: Any, heading: str | None) -> inspect.Parameter:
    """The parameter of an option or argument; a switch has no opposite unless that is named."""
    if isinstance(default, typer.models.OptionInfo):
        default = copy.copy(default)
        default.rich_help_panel = heading or default.rich_help_panel
        if hint is bool and not default.param_decls:
            default.param_decls = (f"--{name.replace('_', '-')}",)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _declaring(function: F, own: inspect.Signature, parameters: Sequence[inspect.Parameter]) -> F:
    """The function, its parameters declared as these."""
    function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {one.name: one.annotation for one in parameters}
    return function


def taking(
    groups: Mapping[str, type], flags: Mapping[str, "Flag"] | None = None
) -> Callable[[F], F]:
    """Give a command, which takes any further keywords, an option for each field of the groups.

    A group is a dataclass, and a heading of the help. What was not given is None, or False of a
    switch. ``flags`` are options that are not called as their field is, or are written otherwise.
    """

    def declared(function: F) -> F:
        own = inspect.signature(function)
        parameters = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
        for heading, group in groups.items():
            hints = typing.get_type_hints(group)
            for field in _fields(group):
                flag = (flags or {}).get(field.name, Flag())
                parameters.append(_parameter(field, hints[field.name], heading, flag))
        return _declaring(function, own, parameters)

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
