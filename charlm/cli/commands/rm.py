"""charlm rm."""

import sys

import typer

from charlm.cli import options
from charlm.cli.input.declared import option
from charlm.cli.input.run_names import completed
from charlm.cli.output.terminal import say
from charlm.display.safe_text import safe_text
from charlm.errors import UsageError


def rm_cli(
    *,
    names: list[str] = typer.Argument(
        help="Names of runs (charlm list).", autocompletion=completed
    ),
    runs: options.Runs,
    yes: bool = option("Delete without asking.", False, "--yes", "-y"),
) -> None:
    """Delete runs, with all their checkpoints.

    On a terminal it asks first. A run in training is refused, and so is a link, or a directory
    that holds anything but a run.

    \b
    charlm rm old --yes
    """
    from charlm.checkpoints import directory, removal

    paths = [runs.root / directory.check_name(name) for name in names]
    for path in paths:  # all of them before the first is deleted
        removal.check_removable(path)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("nobody is there to be asked: give --yes to delete.")
        for path in paths:
            say(f"{path}: {directory.size(path) / 1e6:,.1f} MB")
        sys.stderr.write("delete? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            say("nothing deleted")
            return
    for path in paths:
        removal.remove(path)
        say(f"deleted {safe_text(str(path))}")
