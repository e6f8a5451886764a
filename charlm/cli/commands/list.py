"""charlm list."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charlm.cli import options
from charlm.cli.output import held_out
from charlm.cli.output.terminal import out, out_json, say
from charlm.config import HEADS
from charlm.display.safe_text import safe_text
from charlm.errors import CheckpointError, UsageError

_COLUMNS = 80


def list_cli(
    *,
    runs: options.Runs,
    json: bool = options.JSON,
) -> None:
    """List all models, newest first.

    The loss is measured on held-out text, in nats per token (per label for classifiers and
    taggers).

    \b
    charlm list
    """
    from charlm.checkpoints import directory

    there = directory.below(runs.root)
    if not there:
        say(f"there is no model below {runs.root}/. Train one first: charlm train FILE")
    rows = [_row(path) for path in there]
    if json:
        for row in rows:
            out_json(row)
    elif rows:
        for line in _table(rows):
            out(f"{line}\n")


def _row(run: Path) -> dict[str, Any]:
    """What is told of a run, without loading its model; what cannot be read is None."""
    from charlm.checkpoints import directory
    from charlm.checkpoints.step import StepFiles
    from charlm.equations import heads, pairs, parameters
    from charlm.network_config import PairsConfig, head_config, language_config

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
        info = held_out.figures(files.json("model.json"))
        if kind == directory.LANGUAGE_MODEL:
            shapes = parameters.shapes(language_config(info.get("model")))
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
    unit = "label" if kind in HEADS else "token"
    loss = info.get(f"best_loss_nats_per_{unit}")
    row["loss_nats"] = loss if isinstance(loss, float) and math.isfinite(loss) else None
    return row


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A header and a line for each; a name too long for its column has a line of its own."""
    heads = ("name", "kind", "level", "parameters", "loss", "state")
    cells = [heads]
    for row in rows:
        size, loss = row["parameters"], row["loss_nats"]
        state = "finished" if row["finished"] else "not finished"
        cells.append(
            (
                safe_text(row["name"]),
                row["kind"],
                safe_text(str(row["level"] or "-")),
                "-" if size is None else f"{size:,}",
                "-" if loss is None else f"{loss:.4f}",
                "damaged" if "error" in row else state,
            )
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    widths[0] = min(widths[0], max(4, _COLUMNS - sum(widths[1:]) - 2 * (len(heads) - 1)))
    for name, kind, level, size, loss, state in cells:
        if len(name) > widths[0]:
            yield name
            name = ""
        yield (
            f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {level:<{widths[2]}}  "
            f"{size:>{widths[3]}}  {loss:>{widths[4]}}  {state}"
        )
