"""charlm's own endpoints: what a model says of texts, as JSON that the command line prints, too.

Each is declared once: its body, the models that it suits, and how several that are alike are
answered together.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

from charlm.config import ADAPTS_ALONE
from charlm.fields.candidates import filling_fields, token_fields
from charlm.fields.labels import label_fields
from charlm.fields.pairs import PairWanted, named, target_fields
from charlm.fields.scores import Wanted, rank
from charlm.inference.fill import split_gaps
from charlm.metrics import UNITS
from charlm.models.cloze_model import ClozeModel
from charlm.models.heads import Classifier
from charlm.models.language_model import LanguageModel
from charlm.models.posterior import ByBayes, likeliest
from charlm.models.translator import Translator
from charlm.serving.api.completions import MOST_GAP
from charlm.serving.api.schema import Body, Choice, Field, Flag, Number, Text, Texts, Whole
from charlm.serving.models import Served, unsuited
from charlm.serving.problems import RequestError
from charlm.serving.settings import Limits

_MODEL = Field("model", Text(), "Name of the model; the first one without.", None)
_LABEL = Field("label", Text(), "Label of the texts, of a model with labels.", None)
_ADAPT = Field(
    "adapt",
    Choice(*ADAPTS_ALONE),
    "Mix in contexts of the training text; sequence: go on learning within each text.",
    "off",
)
_UNIT = Field("unit", Choice(*UNITS), "Unit of log-probabilities.", "nats")
_MOST_FILLINGS = 100
_LONGEST_SOURCE = 2_000  # characters that a translator reads, and tokens that it writes
_TIMES_LONGER = 10  # than its source a target may be, and 100 tokens
_WIDEST_BEAM = 50

Given = dict[str, Any]


class Question(NamedTuple):
    """An endpoint ``/v1/<name>``.

    ``check`` raises RequestError for a model that it does not suit, or for what makes no sense
    beside another; ``answer`` answers several at once, of which ``alike`` says the same.
    """

    name: str
    told: str
    fields: Callable[[Limits], Sequence[Field]]
    check: Callable[[Served, Given], None]
    alike: Callable[[Given], Hashable]
    answer: Callable[[Served, Sequence[Given]], Sequence[dict[str, Any]]]

    def body(self, limits: Limits) -> Body:
        """What a request may hold."""
        return Body(self.name.capitalize(), self.told, self.fields(limits))


# Scores


def _score_fields(limits: Limits) -> Sequence[Field]:
    return (
        _MODEL,
        Field("texts", Texts(1, limits.texts), "Text to score, or a list; several are ranked.", ()),
        Field("context", Text(), "Text in front of each text; it is not scored.", ""),
        Field("source", Text(), "Source of the targets, of a translator.", None),
        Field("features", Text(), "Features of the source.", None),
        Field("targets", Texts(1, limits.texts), "Targets to score, of a translator.", ()),
        Field("per_token", Flag(), "Tell of every token.", False),
        Field("words", Flag(), "Tell of every word.", False),
        Field("closed", Flag(), "Score <UNK> as one symbol, without its spelling.", False),
        _LABEL,
        _ADAPT,
        _UNIT,
    )


def _check_score(served: Served, given: Given) -> None:
    is_translator = isinstance(served.model, Translator)
    if is_translator:
        if given["source"] is None or not given["targets"]:
            raise RequestError(
                400, "give a source and targets: this is a translator.", param="source"
            )
        refuse(
            given,
            "texts",
            "context",
            "words",
            "closed",
            "label",
            because="of pairs it says nothing",
        )
        served.check_told(given)
        return
    if not isinstance(served.model, (LanguageModel, ClozeModel)):
        raise unsuited(served, "gives no text a probability")
    refuse(given, "source", "targets", "features", because="they are for a translator")
    if not given["texts"]:
        raise RequestError(400, "texts is missing.", param="texts")
    served.check_told(given)


def _score(served: Served, several: Sequence[Given]) -> list[dict[str, Any]]:
    model, first = served.model, several[0]
    if isinstance(model, Translator):
        return [_score_pairs(model, given) for given in several]
    texts = [text for given in several for text in given["texts"]]
    how = {name: first[name] for name in ("context", "per_token", "words", "closed")}
    if isinstance(model, ClozeModel):
        found = [one.sums for one in model.pseudo_score_all(texts, **how)]
    else:
        found = served.language_model(first["label"], first["adapt"]).score_all(texts, **how)
    wanted = Wanted(
        first["unit"], first["per_token"], first["words"], pseudo=isinstance(model, ClozeModel)
    )
    scores = iter(found)
    answers = []
    for given in several:
        own = [next(scores) for _ in given["texts"]]
        results = [{"text": score.text, **wanted.results(score)} for score in own]
        answers.append(_ranked(results, [score.total_log_prob for score in own]))
    return answers


def _score_pairs(model: Translator, given: Given) -> dict[str, Any]:
    source = _source(model, given["source"], given["features"])
    scores = model.score_all([(source, target) for target in given["targets"]])
    wanted = PairWanted(given["unit"], given["per_token"])
    results = [
        {**named(model.parts(source)), "target": one.target, **wanted.results(one)}
        for one in scores
    ]
    return _ranked(results, [one.total_log_prob for one in scores])


def _ranked(results: list[dict[str, Any]], log_probs: Sequence[float]) -> dict[str, Any]:
    if len(results) > 1:
        for result, place in zip(results, rank(log_probs), strict=True):
            result["rank"] = place
    return {"results": results}


# What comes next


def _next_fields(limits: Limits) -> Sequence[Field]:
    del limits
    return (
        _MODEL,
        Field("prefix", Text(), "Text in front.", ""),
        Field("top", Whole(0, 10_000_000), "Number of tokens to tell; 0 is all.", 20),
        _LABEL,
        _ADAPT,
        _UNIT,
    )


def _check_next(served: Served, given: Given) -> None:
    served.language_model()
    served.check_told(given)


def _next(served: Served, several: Sequence[Given]) -> list[dict[str, Any]]:
    answers = []
    for given in several:
        model = served.language_model(given["label"], given["adapt"])
        found = model.next_tokens(given["prefix"], top=given["top"] or None)
        answers.append(
            {
                "prefix": found.prefix,
                "oov_tokens": found.num_oov,
                "types": found.num_types,
                "entropy_bits": found.entropy,
                "perplexity": found.perplexity,
                "results": [token_fields(entry, given["unit"]) for entry in found.entries],
            }
        )
    return answers


# Gaps


def _fill_fields(limits: Limits) -> Sequence[Field]:
    return (
        _MODEL,
        Field("texts", Texts(1, limits.texts), "Text with gaps, [?] or [?5], or a list."),
        Field("top", Whole(1, _MOST_FILLINGS), "Number of fillings for each text.", 10),
        Field("unk", Choice("resample", "keep"), "Leave out <UNK>, or keep it.", "resample"),
        _UNIT,
    )


def _check_fill(served: Served, given: Given) -> None:
    if not isinstance(served.model, ClozeModel):
        raise unsuited(served, "reads from left to right alone and fills no gaps")
    if sum(sum(split_gaps(text)[1]) for text in given["texts"]) > MOST_GAP:
        raise RequestError(400, f"gaps may have up to {MOST_GAP} tokens in all.", param="texts")


def _fill(served: Served, several: Sequence[Given]) -> list[dict[str, Any]]:
    return [
        {
            "results": [
                filling_fields(
                    served.model.fill(text, top=given["top"], unk=given["unk"]), given["unit"]
                )
                for text in given["texts"]
            ]
        }
        for given in several
    ]


# Labels


def _classify_fields(limits: Limits) -> Sequence[Field]:
    return (
        _MODEL,
        Field("texts", Texts(1, limits.texts), "Text to classify, or a list."),
        Field("top", Whole(1, 10_000_000), "Number of labels to tell for each text.", 3),
    )


def _check_classify(served: Served, given: Given) -> None:
    del given
    if not isinstance(served.model, Classifier) and served.labels is None:
        raise unsuited(served, "knows no labels")


def _classify(served: Served, several: Sequence[Given]) -> list[dict[str, Any]]:
    model = served.model if isinstance(served.model, Classifier) else ByBayes(served.model)
    texts = [text for given in several for text in given["texts"]]
    found = likeliest(model, texts, min(several[0]["top"], len(model.names)))
    return [
        {"results": [{"text": text, **label_fields(next(found))} for text in given["texts"]]}
        for given in several
    ]


# Targets of sources


def _translate_fields(limits: Limits) -> Sequence[Field]:
    longest = min(limits.max_tokens, _LONGEST_SOURCE)
    return (
        _MODEL,
        Field("sources", Texts(1, limits.texts), "Source to write a target for, or a list."),
        Field("features", Text(), "Features of the sources (V;PST).", None),
        Field("beam", Whole(1, _WIDEST_BEAM), "Hypotheses that are kept at each token.", 5),
        Field("n_best", Whole(1, _WIDEST_BEAM), "Number of targets for each source.", 1),
        Field("max_tokens", Whole(1, longest), "Most tokens of a target.", None),
        Field("length_penalty", Number(-10, 10), "Rank by log P / tokens ** this.", 0.0),
        Field("copy", Flag(), "Put in the source's token where the target's is unknown.", False),
    )


def _check_translate(served: Served, given: Given) -> None:
    if not isinstance(served.model, Translator):
        raise unsuited(served, "writes no targets for sources")
    if any(len(source) > _LONGEST_SOURCE for source in given["sources"]):
        raise RequestError(
            400,
            f"a source may have up to {_LONGEST_SOURCE:,} characters.",
            param="sources",
            code="context_length_exceeded",
        )


def _translate(served: Served, several: Sequence[Given]) -> list[dict[str, Any]]:
    model, first = served.model, several[0]
    assert isinstance(model, Translator)
    lines = [
        _source(model, source, given["features"])
        for given in several
        for source in given["sources"]
    ]
    long = max(map(len, lines)) * _TIMES_LONGER + 100 > _LONGEST_SOURCE
    found = model.translate_all(
        lines,
        beam=max(first["beam"], first["n_best"]),
        n_best=first["n_best"],
        max_tokens=first["max_tokens"] or (_LONGEST_SOURCE if long else None),
        length_penalty=first["length_penalty"],
        copy=first["copy"],
    )
    told = iter(
        [
            target_fields(model.parts(line), targets)
            for line, targets in zip(lines, found, strict=True)
        ]
    )
    return [{"results": [next(told) for _ in given["sources"]]} for given in several]


def _source(model: Translator, source: str, features: str | None) -> str:
    """A source as a line, its features behind a tab."""
    return model.line(source if features is None else (source, features))


def _by(*names: str) -> Callable[[Given], Hashable]:
    """Questions are alike where these fields are equal; without any, none are."""
    return lambda given: tuple(given[name] for name in names) or object()


def refuse(given: Given, *names: str, because: str) -> None:
    """Raise RequestError if one of these fields was given."""
    for name in names:
        if given[name]:
            raise RequestError(400, f"{name}: {because}.", param=name)


QUESTIONS = (
    Question(
        "score",
        "The log-probability of texts, the end of each included; of targets given their source.",
        _score_fields,
        _check_score,
        _by("context", "per_token", "words", "closed", "label", "adapt", "unit"),
        _score,
    ),
    Question("next", "The likeliest next tokens.", _next_fields, _check_next, _by(), _next),
    Question(
        "fill",
        "The likeliest ways to fill the gaps of texts.",
        _fill_fields,
        _check_fill,
        _by(),
        _fill,
    ),
    Question(
        "classify",
        "The likeliest labels of texts.",
        _classify_fields,
        _check_classify,
        _by("top"),
        _classify,
    ),
    Question(
        "translate",
        "The likeliest targets of sources.",
        _translate_fields,
        _check_translate,
        _by("beam", "n_best", "max_tokens", "length_penalty", "copy"),
        _translate,
    ),
)
