"""What may come next, and what may fill gaps, by the names of their figures."""

from typing import TYPE_CHECKING, Any

from charlm.metrics import UNITS

if TYPE_CHECKING:
    from charlm.inference.fill import Filling, Fillings
    from charlm.inference.next_token import NextToken


def token_fields(entry: "NextToken", unit: str) -> dict[str, Any]:
    """An entry as JSON."""
    return {
        "rank": entry.rank,
        "id": entry.token_id,
        "token": entry.piece,
        "text": entry.text,
        f"log_prob_{unit}": entry.log_prob / UNITS[unit],
        "probability": entry.probability,
    }


def filling_fields(found: "Fillings", unit: str) -> dict[str, Any]:
    """What may fill a text, as JSON."""
    return {
        "text": found.text,
        "gap_tokens": list(found.lengths),
        "oov_tokens": found.num_oov,
        "fillings": [
            {
                "rank": entry.rank,
                "text": entry.text,
                "gaps": list(entry.gaps),
                "tokens": [list(pieces) for pieces in entry.pieces],
                **figures(entry, unit),
            }
            for entry in found.entries
        ],
    }


def figures(entry: "Filling", unit: str) -> dict[str, float]:
    """log P and P of a filling."""
    return {
        f"log_prob_{unit}": entry.log_prob / UNITS[unit] + 0.0,
        "probability": entry.probability,
    }
