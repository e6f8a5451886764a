"""POST /v1/copied: which spans of texts stand in the text that a model was trained on."""

from collections.abc import Sequence
from typing import Any

from charlm.models.base import TextDistribution
from charlm.novelty import text_index
from charlm.novelty.measure import samples_of
from charlm.novelty.spans import remarkable, spans
from charlm.serving.api.questions import Given, Question
from charlm.serving.api.schema import Field, Text, Texts, Whole
from charlm.serving.models import Served, unsuited
from charlm.serving.problems import RequestError
from charlm.serving.settings import Limits


def _fields(limits: Limits) -> Sequence[Field]:
    return (
        Field("model", Text(), "Name of the model; the first one without.", None),
        Field("texts", Texts(1, limits.texts), "Text to look up, or a list."),
        Field("prompt", Text(), "What they begin with, which is not looked up.", ""),
        Field(
            "least",
            Whole(1, 1_000_000),
            "Characters of a copy at least; without, more than chance makes alike.",
            None,
        ),
    )


def _check(served: Served, given: Given) -> None:
    del given
    if not isinstance(served.model, TextDistribution):
        raise unsuited(served, "draws no texts that could be copies")
    if not text_index.stands(served.model.checkpoint.path.parent):
        raise RequestError(
            400,
            f"{served.name} keeps no index of its training text, so copies cannot be found: it "
            "was trained without one, or it was deleted.",
            param="model",
            code="no_index",
        )


def _answer(served: Served, several: Sequence[Given]) -> list[dict[str, Any]]:
    return [_one(served.model, given) for given in several]


def _one(model: TextDistribution, given: Given) -> dict[str, Any]:
    index = model.index  # read once
    least = given["least"] or remarkable(index)
    samples = samples_of(given["texts"], model.normalise, given["prompt"])
    found = spans(index, samples, least=least)
    return {
        "least": least,
        "indexed_share_of_training_text": index.indexed,
        "results": [
            {
                "text": sample.text,
                "in_training_text": model.stands_in_training(text),
                "copies": [
                    {
                        "start": one.start,
                        "end": one.end,
                        "training_sequence": one.sequence,
                        "training_offset": one.offset,
                        "times_in_training_text": one.times,
                    }
                    for one in copies
                ],
            }
            for text, sample, copies in zip(given["texts"], samples, found, strict=True)
        ],
    }


COPIED = Question(
    "copied",
    "The spans of texts, as the model reads them, that stand in its training text.",
    _fields,
    _check,
    lambda _: object(),
    _answer,
)
