"""Finding and loading the model that a command is to use."""

from typing import TYPE_CHECKING, Annotated

import typer

from charlm.cli.terminal import say

if TYPE_CHECKING:
    from charlm.api import LanguageModel

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A run's name below checkpoints/, or a path.  [default: the newest finished run]",
    ),
]


def load_model(model: str | None) -> "LanguageModel":
    """Load it; where none was named, say on stderr which one was taken."""
    from charlm import api

    loaded = api.load(model)
    if model is None:
        step = loaded.checkpoint.step
        say(f"model: {loaded.checkpoint.path.parent.name} (step {step:,})")
    return loaded
