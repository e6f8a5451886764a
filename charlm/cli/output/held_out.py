"""What is said where nothing is held out: that there are no figures, and the way out."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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


def size(info: dict[str, Any], name: str) -> Any:
    """What model.json says of the text held out under that name, None if it says nothing."""
    text = info.get("text")
    side = text.get("valid") if isinstance(text, dict) else None
    return side.get(name) if isinstance(side, dict) else None


def is_none(info: dict[str, Any]) -> bool:
    """Whether a model's model.json says that nothing was held out."""
    return 0 in (size(info, "sequences"), size(info, "texts"))


def figures(info: dict[str, Any]) -> dict[str, Any]:
    """What model.json says, without best figures where nothing was held out.

    Older versions took those from the text that was trained on.
    """
    if not is_none(info):
        return info
    return {name: None if name.startswith("best_") else value for name, value in info.items()}


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
