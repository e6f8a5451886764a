"""Options of commands: each is declared once, with its type, its default and its line of help.

A command takes an option as a parameter, ``show: int = option("Number to show.", 3)``, or several
as one object: a parameter of a class derived from Options.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import typer


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

    @property
    def are_asked(self) -> bool:
        """Whether one of them is other than where nothing is given."""
        return vars(self) != vars(type(self)())

    @classmethod
    def parameters(cls) -> list[inspect.Parameter]:
        """A parameter for each option, those of the classes that it is derived from first."""
        hints: dict[str, Any] = {}
        for base in reversed(cls.__mro__[: -len(Options.__mro__)]):
            hints |= base.__annotations__
        return [_named(name, hint, getattr(cls, name), cls.heading) for name, hint in hints.items()]


def expanded(function: Callable[..., None]) -> Callable[..., None]:
    """A command as the parser is to see it: with a parameter for each of its options."""
    objects: dict[str, type[Options]] = {}
    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(function).parameters.values():
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

    declaring(command, parameters)
    return command


def _named(name: str, hint: Any, default: Any, heading: str | None) -> inspect.Parameter:
    """The parameter of an option or argument; a switch has no opposite unless that is named."""
    if isinstance(default, typer.models.OptionInfo):
        default = copy.copy(default)
        default.rich_help_panel = heading or default.rich_help_panel
        if hint is bool and not default.param_decls:
            default.param_decls = (f"--{name.replace('_', '-')}",)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def declaring(function: Callable[..., None], parameters: Sequence[inspect.Parameter]) -> None:
    """Declare the parameters of a function to be these."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {one.name: one.annotation for one in parameters}
