"""Gates, units and curves by the names of their figures."""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charlm.inspection.curves import Curves
    from charlm.inspection.gates import GatesOfText
    from charlm.inspection.units import Following, UnitAlong


def gates_fields(found: "GatesOfText", layers: Iterable[int]) -> dict[str, Any]:
    """The gates of some layers, from 0, along one text."""
    inside, layers = found.activations, list(layers)
    return {
        "text": inside.text,
        "tokens": list(inside.pieces),
        "starts": [start for start, _ in inside.ranges],
        "ends": [end for _, end in inside.ranges],
        "gates": [
            {
                "gate": gate.name,
                "layer": layer + 1,
                "mean": gate.mean[:, layer].tolist(),
                "share_below_0.1": gate.left[:, layer].tolist(),
                "share_above_0.9": gate.right[:, layer].tolist(),
            }
            for gate in found.gates
            for layer in layers
        ],
    }


def unit_rows(found: "UnitAlong") -> Iterator[dict[str, Any]]:
    """The value of a unit at each token of texts."""
    for number, one in enumerate(found.found, start=1):
        columns = zip(one.pieces, one.ranges, found.unit.of(one).tolist(), strict=True)
        for at, (piece, (start, end), value) in enumerate(columns):
            yield {
                "text_number": number,
                "token_number": at,
                "token": piece,
                "start": start,
                "end": end,
                "unit": str(found.unit),
                "value": value,
            }


def following_rows(found: "Following") -> list[dict[str, Any]]:
    """The units that follow features."""
    return [
        {
            "feature": one.feature,
            "unit": str(one.unit),
            "state": one.unit.state,
            "layer": one.unit.layer + 1,
            "number": one.unit.number,
            "correlation": one.correlation,
        }
        for one in found.ranked
    ]


def curves_fields(found: "Curves") -> dict[str, Any]:
    """All that was noted in a run; None where something was not."""
    run, unit, *columns = found
    names = found._fields[2:]
    rows = [
        [_counted(name, value) for value in column.tolist()]
        for name, column in zip(names, columns, strict=True)
    ]
    return {"run": run, "unit": unit, **dict(zip(names, rows, strict=True))}


def curves_rows(found: "Curves") -> Iterator[dict[str, Any]]:
    """A row for each time that something was noted in a run."""
    run, unit, *columns = found
    names = found._fields[2:]
    for values in zip(*(column.tolist() for column in columns), strict=True):
        counted = (_counted(name, value) for name, value in zip(names, values, strict=True))
        yield {"run": run, "unit": unit, **dict(zip(names, counted, strict=True))}


def _counted(name: str, value: float) -> float | int | None:
    """A number of steps or tokens as what it is, None for what is no number."""
    if not math.isfinite(value):
        return None
    return int(value) if name in ("step", "tokens") else value
