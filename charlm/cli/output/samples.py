"""Samples as they are written: apart from each other, or as JSON."""

from typing import TYPE_CHECKING

from charlm.errors import TextError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from charlm.inference.sample import Sample
    from charlm.models.base import TextDistribution


def separator(loaded: "TextDistribution") -> str:
    """What stands between sequences: a blank line where one can hold several lines."""
    return "\n" if loaded.checkpoint.split_on == "line" else "\n\n"


def ended(text: str, end: str) -> str:
    """A sample with what is to end it. Raises TextError if a NUL is to, and it holds one."""
    if end == "\0" and "\0" in text:
        raise TextError(
            "a sample holds a NUL itself, so -0 cannot tell where it ends: take --json, which can."
        )
    return text + end


def fields(
    drawn: "Sample", loaded: "TextDistribution", models: "Sequence[str] | None" = None
) -> dict[str, object]:
    """A sample as JSON, with what it was drawn by where there are several: a label, or a model."""
    return {**figures(drawn), **_drawn_by(drawn, loaded, models or ())}


def figures(drawn: "Sample") -> dict[str, object]:
    """A sample as JSON."""
    return {
        "text": drawn.text,
        "total_log_prob_nats": drawn.total_log_prob,
        "tokens": drawn.num_tokens,
        "unknown_tokens": drawn.num_unknown,
        "ended": drawn.ended,
        "in_training_text": drawn.in_training_text,
        "seed": drawn.seed,
    }


def _drawn_by(
    drawn: "Sample", loaded: "TextDistribution", models: "Sequence[str]"
) -> dict[str, str]:
    from charlm.models.language_model import LanguageModel

    if isinstance(loaded, LanguageModel) and loaded.labels is not None:
        if loaded.label is not None:
            return {"label": loaded.label}
        assert drawn.drawn_by is not None
        return {"label": loaded.labels.names[drawn.drawn_by]}
    if drawn.drawn_by is not None and len(models) > 1:
        return {"model": models[drawn.drawn_by]}
    return {}
