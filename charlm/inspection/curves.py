"""How a training went, from metrics.jsonl: losses, learning rate and gradient norms; clipping."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints import directory
from charlm.errors import CheckpointError
from charlm.inspection.views import curves as views

AXES = ("step", "seconds", "tokens")
Values = NDArray[np.float64]


class Curves(NamedTuple):
    """What was measured in a run, by name, (S,) each; nan where something was not.

    ``training_loss`` and ``validation_loss`` are in nats per token, or per label of a model of
    labels, as ``unit`` says.
    """

    run: str
    unit: str
    step: Values
    seconds: Values
    tokens: Values
    training_loss: Values
    validation_loss: Values
    learning_rate: Values
    gradient_norm: Values

    def _repr_html_(self) -> str:
        return together(self)._repr_html_()


class Trainings(NamedTuple):
    """Several runs in one picture."""

    runs: tuple[Curves, ...]

    def _repr_html_(self) -> str:
        return views.view(self.runs).html


def together(*runs: Curves) -> Trainings:
    """Curves that are to stand in one picture."""
    return Trainings(runs)


class Clipping(NamedTuple):
    """What clipping did in a training, as far as its norms were noted.

    ``share`` of the noted norms exceeded ``limit``, and were scaled down to it.
    """

    limit: float
    noted: int
    share: float
    median: float
    largest: float


def curves(run: Path) -> Curves:
    """The curves of a run. Raises CheckpointError if it has none."""
    rows = _rows(run / "metrics.jsonl")
    names = {name for row in rows for name in row}
    losses = {side: _loss(names, side) for side in ("train", "valid")}

    def column(name: str | None) -> Values:
        values = [row.get(name) if name is not None else None for row in rows]
        return np.array([_number(value) for value in values], dtype=np.float64)

    return Curves(
        run=run.name,
        unit="label" if any(str(loss).endswith("label") for loss in losses.values()) else "token",
        step=column("step"),
        seconds=column("seconds"),
        tokens=column("tokens"),
        training_loss=column(losses["train"]),
        validation_loss=column(losses["valid"]),
        learning_rate=column("learning_rate"),
        gradient_norm=column("grad_norm"),
    )


def clipping(run: Path) -> Clipping | None:
    """What clipping did, or None where no norms were noted."""
    try:
        norms = curves(run).gradient_norm
        about = directory.read_json(run / "run.json").get("training")
    except CheckpointError:
        return None
    norms = norms[np.isfinite(norms)]
    limit = about.get("max_grad_norm") if isinstance(about, dict) else None
    if not len(norms) or not isinstance(limit, (int, float)):
        return None
    return Clipping(
        float(limit),
        len(norms),
        float((norms > limit).mean()),
        float(np.median(norms)),
        float(norms.max()),
    )


def _rows(path: Path) -> list[dict[str, object]]:
    """The lines of metrics.jsonl; one that is still being written is left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise CheckpointError(
            f"{path} cannot be read: it is not there. (A model of counts alone is counted at once, "
            "and has no curves.)"
        ) from None
    except (OSError, UnicodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            if number == len(lines):
                continue
            raise CheckpointError(f"{path}: line {number} is damaged.") from None
        if not isinstance(row, dict):
            raise CheckpointError(f"{path}: line {number} is damaged.")
        rows.append(row)
    if not rows:
        raise CheckpointError(f"{path} holds nothing: the run has measured nothing yet.")
    return rows


def _loss(names: set[str], side: str) -> str | None:
    """The name of a loss in metrics.jsonl, be it per token or per label."""
    return next((name for name in sorted(names) if name.startswith(f"{side}_loss_nats_per_")), None)


def _number(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return float("nan")
