"""The help of every command as a page: python -m charlm.cli.reference > docs/cli.md."""

from collections.abc import Iterator
from typing import Any

import typer

from charlm.cli.app import COMMANDS, VIEWS, app, subcommand
from charlm.cli.output.terminal import out

_WIDTH = 78  # of a terminal of 80 columns


def reference() -> str:
    """The page."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    group: Any = typer.main.get_command(app)
    settings = {**group.context_settings, "terminal_width": _WIDTH}
    context = typer.Context(group, info_name="charlm", **settings)
    yield "# Commands"
    yield ""
    yield "The help of every command. `make docs` writes this page, a test checks it."
    yield ""
    yield "`charlm --install-completion` lets the shell (bash, zsh, fish, PowerShell) complete"
    yield "commands, options, choices and names of runs."
    yield from _section(group.get_help(context))
    for name in (*COMMANDS, *VIEWS):
        about = typer.Context(subcommand(name), info_name=name, parent=context)
        yield ""
        yield f"## charlm {name}"
        yield from _section(subcommand(name).get_help(about))
    yield ""


def _section(told: str) -> Iterator[str]:
    yield ""
    yield "```text"
    yield from map(str.rstrip, told.splitlines())
    yield "```"


if __name__ == "__main__":
    out(reference())
