"""What is told of a run by its files alone, without loading the model."""

import math
from pathlib import Path
from typing import Any

from charlm.checkpoints import directory
from charlm.checkpoints.step import StepFiles
from charlm.config import HEADS
from charlm.equations import heads, pairs, parameters
from charlm.errors import CheckpointError, UsageError
from charlm.network_config import CountsConfig, PairsConfig, head_config, language_config


def held_out(info: dict[str, Any], name: str) -> Any:
    """What model.json says of the text held out under that name, None if it says nothing."""
    text = info.get("text")
    side = text.get("valid") if isinstance(text, dict) else None
    return side.get(name) if isinstance(side, dict) else None


def nothing_is_held_out(info: dict[str, Any]) -> bool:
    """Whether a model's model.json says so."""
    return 0 in (held_out(info, "sequences"), held_out(info, "texts"))


def figures(info: dict[str, Any]) -> dict[str, Any]:
    """What model.json says, without best figures where nothing was held out.

    Older versions took those from the text that was trained on.
    """
    if not nothing_is_held_out(info):
        return info
    return {name: None if name.startswith("best_") else value for name, value in info.items()}


def summary(run: Path) -> dict[str, Any]:
    """What a list of runs tells of one; what cannot be read is None, and there is an error."""
    best, kind = directory.best_step(run), directory.kind_of(run)
    row: dict[str, Any] = {
        "name": run.name,
        "kind": kind,
        "best": str(best),
        "finished": directory.is_finished(run),
        "level": None,
        "parameters": None,
        "loss_nats": None,
    }
    try:
        files = StepFiles(best)
        info = figures(files.json("model.json"))
        if kind == directory.LANGUAGE_MODEL:
            config = language_config(info.get("model"))
            if isinstance(config, CountsConfig):
                shapes: dict[str, tuple[int, ...]] = {"counts": (config.num_ngrams,)}
            else:
                shapes = parameters.shapes(config)
        elif kind == "translator":
            shapes = pairs.shapes(PairsConfig.from_json(info.get("model")))
        else:
            shapes = heads.shapes(head_config(info.get("model")))
        row["parameters"] = sum(map(math.prod, shapes.values()))
        row["level"] = "word"
        if "tokenizer.json" in files:
            row["level"] = files.json("tokenizer.json").get("level")
    except (CheckpointError, UsageError) as error:
        return {**row, "error": str(error)}
    loss = info.get(f"best_loss_nats_per_{'label' if kind in HEADS else 'token'}")
    row["loss_nats"] = loss if isinstance(loss, float) and math.isfinite(loss) else None
    return row
