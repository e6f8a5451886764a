"""The names of runs, for the completion of a command line."""

import os
from pathlib import Path

import typer

from charlm.config import RUNS


def completed(context: typer.Context, incomplete: str) -> list[str]:
    """The runs whose names begin so, the newest first."""
    from charlm.checkpoints import directory

    root = context.params.get("root") or os.environ.get("CHARLM_RUNS") or RUNS
    names = [path.name for path in directory.below(Path(root))]
    return [name for name in names if name.startswith(incomplete)]
