"""POST /v1/gates and /v1/units: what gates and units do along a text, as charlm inspect says it.

Features that units may follow are charlm's own: a regular expression from elsewhere could keep a
server busy for hours.
"""

import re
from collections.abc import Sequence
from typing import Any

from charlm.errors import UsageError
from charlm.fields.inside import following_rows, gates_fields, unit_rows
from charlm.inspection import gates, units
from charlm.models.language_model import LanguageModel
from charlm.serving.api.questions import Given, Question
from charlm.serving.api.schema import Choice, Field, Text, Whole
from charlm.serving.models import Served, unsuited
from charlm.serving.problems import RequestError
from charlm.serving.settings import Limits

_MOST_CHARACTERS = 10_000
_MOST_TOKENS = 1_000  # the equations read them one after another, and others wait meanwhile
_MODEL = Field("model", Text(), "Name of the model; the first one without.", None)
_TEXT = Field("text", Text(), "Text to read.")
_LABEL = Field("label", Text(), "Label of the text, which a model with labels needs.", None)
_LAYER = Field("layer", Whole(1, 1_000), "Layer, 1 is the lowest; all without.", None)


def _check(served: Served, given: Given) -> None:
    model = served.language_model()
    if model.checkpoint.counts is not None:
        raise unsuited(served, "is counts alone, and has no network to look into")
    if given["label"] is None and model.labels is not None:
        names = ", ".join(model.labels.names[:5])
        raise RequestError(
            400,
            f"{served.name} is one network for each label: choose one, such as {names}.",
            param="label",
        )
    if given["label"] is not None and model.labels is None:
        raise RequestError(400, f"{served.name} knows no labels.", param="label")
    if given["layer"] is not None and given["layer"] > model.shape.num_layers:
        raise RequestError(
            400, f"{served.name} has layers 1 to {model.shape.num_layers}.", param="layer"
        )
    if not given["text"]:
        raise RequestError(400, "there is no text to look at.", param="text")
    if len(given["text"]) > _MOST_CHARACTERS:
        raise _too_long(f"{_MOST_CHARACTERS:,} characters")


def _model_of(served: Served, given: Given) -> LanguageModel:
    """The model of a question. Raises RequestError if its text has too many tokens."""
    model = served.language_model(given["label"])
    if len(model.tokenizer.encode(given["text"])) > _MOST_TOKENS:
        raise _too_long(f"{_MOST_TOKENS:,} tokens")
    return model


def _too_long(most: str) -> RequestError:
    return RequestError(
        400,
        f"a text to look inside at may have up to {most}.",
        param="text",
        code="context_length_exceeded",
    )


# Gates


def _gates_fields(limits: Limits) -> Sequence[Field]:
    del limits
    return (_MODEL, _TEXT, _LAYER, _LABEL)


def _gates(served: Served, several: Sequence[Given]) -> list[dict[str, Any]]:
    answers = []
    for given in several:
        model = _model_of(served, given)
        found = gates.gates(model, given["text"])
        layers = range(model.shape.num_layers)
        chosen = layers if given["layer"] is None else [given["layer"] - 1]
        answers.append({"results": [gates_fields(found, chosen)]})
    return answers


# Units


def _units_fields(limits: Limits) -> Sequence[Field]:
    del limits
    return (
        _MODEL,
        _TEXT,
        Field("unit", Text(), "Tell of this unit at each token: h1.37; without, find some.", None),
        Field("top", Whole(1, 100), "Number of units to find for each feature.", 3),
        Field("state", Choice("h", "c"), "State whose units are looked at; all without.", None),
        _LAYER,
        _LABEL,
    )


def _units(served: Served, several: Sequence[Given]) -> list[dict[str, Any]]:
    answers = []
    for given in several:
        found = units.read(_model_of(served, given), [given["text"]])
        if given["unit"] is not None:
            along = units.unit_along(found, _unit(given["unit"]))
            results = list(unit_rows(along))
        else:
            layer = None if given["layer"] is None else given["layer"] - 1
            best = units.following(found, top=given["top"], state=given["state"], layer=layer)
            results = following_rows(best)
        answers.append({"results": results})
    return answers


def _unit(text: str) -> units.Unit:
    """The unit of h1.37. Raises UsageError."""
    parts = re.fullmatch(r"([hc])([1-9][0-9]{0,3})\.([0-9]{1,6})", text)
    if parts is None:
        raise UsageError(f"unit is a state, a layer and a number, such as h1.37, got {text!r:.40}.")
    return units.Unit(parts[1], int(parts[2]) - 1, int(parts[3]))


GATES = Question(
    "gates",
    "How open the gates are at each token of a text.",
    _gates_fields,
    _check,
    lambda _: object(),
    _gates,
)
UNITS = Question(
    "units",
    "The units that follow features of a text, or one unit along it.",
    _units_fields,
    _check,
    lambda _: object(),
    _units,
)
