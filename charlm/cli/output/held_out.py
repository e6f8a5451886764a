"""What is said where nothing is held out: that there are no figures, and the way out."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charlm.checkpoints.run import Run
    from charlm.config import TrainingConfig


def ways(run: "Run", split_on: str | None) -> str:
    """The options by which something would be held out of this run's text.

    split_on is what a sequence is, None where that cannot be chosen.
    """
    asked = run.asked().get("request", {})
    found = ["--valid FILE"]
    source = asked.get("label_from")
    if asked.get("valid_share") == 0:
        found.insert(0, "--valid-share 0.1")
    elif split_on not in (None, "file") and source in (None, "file"):
        found.insert(0, "--split-on file")
    return " or ".join(found)


def say_none(
    run: "Run", config: "TrainingConfig", split_on: str | None, say: Callable[[str], None]
) -> None:
    """Say before the training that no step of it can be told to be the best."""
    say(
        "nothing is held out, so no step is known to be the best: the last one is used. "
        f"{ways(run, split_on)} holds some of the text out"
    )
    if config.patience:
        say(f"--patience {config.patience} has nothing to go by, and never ends this training")
