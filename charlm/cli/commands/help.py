"""charlm help."""

from typing import Annotated, Any

import typer

from charlm.cli.output.terminal import out
from charlm.errors import UsageError, did_you_mean


def help_cli(
    context: typer.Context,
    command: Annotated[
        str | None, typer.Argument(help="Name of a command.  [default: all]", show_default=False)
    ] = None,
) -> None:
    """Show the help of a command.

    \b
    charlm help train
    """
    group: Any = context.parent and context.parent.command
    if command is None:
        out(f"{group.get_help(context.parent)}\n")
    elif command in group.commands:
        _, wanted, _ = group.resolve_command(context.parent, [command])
        about = type(context)(wanted, info_name=command, parent=context.parent)
        out(f"{wanted.get_help(about)}\n")
    else:
        raise UsageError(
            f"there is no command {command!r}.{did_you_mean(command, group.commands)} "
            "See charlm --help."
        )
