"""POST /v1/curves: how the training of a model went, and goes on where it does."""

from collections.abc import Sequence
from typing import Any

from charlm.checkpoints import directory
from charlm.errors import CheckpointError
from charlm.fields.inside import curves_fields
from charlm.inspection.curves import curves
from charlm.serving.api.questions import Given, Question
from charlm.serving.api.schema import Field, Text
from charlm.serving.models import Served
from charlm.serving.problems import RequestError
from charlm.serving.settings import Limits


def _fields(limits: Limits) -> Sequence[Field]:
    del limits
    return (Field("model", Text(), "Name of the model; the first one without.", None),)


def _check(served: Served, given: Given) -> None:
    del served, given


def _answer(served: Served, several: Sequence[Given]) -> list[dict[str, Any]]:
    run = served.model.checkpoint.path.parent
    try:
        found = curves_fields(curves(run))
    except CheckpointError:
        raise RequestError(
            400,
            f"{served.name} has no curves: nothing was noted in its training, or the notes "
            "(metrics.jsonl) are gone or damaged.",
            param="model",
            code="no_curves",
        ) from None
    about = {"step": served.step, "finished": directory.is_finished(run)}
    return [{**about, "results": [found]} for _ in several]


CURVES = Question(
    "curves",
    "What was measured while the model was trained.",
    _fields,
    _check,
    lambda _: None,
    _answer,
)
