"""Finding and loading the model that a command is to use."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.cli.input.beginning import documents_of
from charlm.cli.options import Judged, Mixture, Model, PairsModel
from charlm.cli.output.terminal import say
from charlm.display.safe_text import safe_text
from charlm.errors import TextError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from charlm.checkpoints.head import HeadCheckpoint
    from charlm.checkpoints.language_model import Checkpoint
    from charlm.checkpoints.pairs import PairsCheckpoint
    from charlm.inference.evaluate import Summary
    from charlm.models.base import TextDistribution, TextModel, TokenDistribution
    from charlm.models.cloze_model import ClozeModel
    from charlm.models.language_model import LanguageModel
    from charlm.models.translator import Translator
    from charlm.text.portions import Mapped
    from charlm.text.streaming import Piece

_BOTH_SIDES = (
    "this model reads both sides of each token (--bidirectional), so it has no next token to draw "
    "or predict, and no probability of a text. Fill gaps with charlm fill, score with charlm score "
    "(pseudo-log-likelihood), or take a model trained without --bidirectional."
)
_NOT_MIXED = (
    "a bidirectional model cannot be mixed: it has no next token and no probability of a text. "
    "Give it alone, or models trained without --bidirectional."
)
_DIFFERENT = (
    "models of different vocabularies have no tokens or words in common, and spell all: leave out "
    "--per-token, --words, --heatmap, --html and --closed."
)


def load_model(asked: Model, *, alone: bool = False) -> "LanguageModel | ClozeModel":
    """Load a model of texts; where none was named, say on stderr which one was taken."""
    from charlm.models.load import load_text_model

    found = load_text_model(asked.model, alone=alone, root=asked.root)
    if asked.model is None:
        say_newest(found.checkpoint)
    return found


def say_newest(taken: "Checkpoint | HeadCheckpoint | PairsCheckpoint") -> None:
    """Say which model was taken where none was named."""
    say(f"model: {taken.path.parent.name} (step {taken.step:,})")


def load_any(asked: Mixture) -> "TextDistribution | ClozeModel":
    """Load one, or several as one; say on stderr which one was taken, and what was tuned.

    With a label those of them that know labels are given it.
    """
    from charlm.models.cloze_model import ClozeModel

    if isinstance(asked, Judged) and asked.ngram_only:
        raise UsageError("--ngram-only is about translators: leave it out.")
    models, label, tune = asked.model or [], asked.label, asked.tune
    asked_each = [Model(model=name, root=asked.root) for name in models] or [Model(root=asked.root)]
    loaded = [load_model(each, alone=asked.alone) for each in asked_each]
    if len(loaded) == 1 and isinstance(loaded[0], ClozeModel):
        if asked.adapt != "off":
            raise UsageError("a model that reads both sides does not adapt: leave out --adapt.")
        if label is not None:
            raise UsageError("this model knows no labels: train one with --label-from.")
        if tune is not None:
            raise UsageError("there is nothing to tune: one model, which was trained alone.")
        return loaded[0]
    causal: list[LanguageModel] = []
    for one in loaded:
        if isinstance(one, ClozeModel):
            raise UsageError(_NOT_MIXED)
        causal.append(one)
    if label is not None:
        knows = [one.labels is not None for one in causal]
        causal = [
            one.with_label(label) if one.labels is not None or not any(knows) else one
            for one in causal
        ]
    found: TextDistribution = causal[0]
    if asked.adapt != "off":
        if len(causal) > 1 and not asked.by_character:
            raise UsageError(
                "--adapt is about one model: give one with --model, or models of words beside it "
                "with --by-character."
            )
        if len(causal) == 1:
            found = causal[0].adapting(asked.adapt)
    if len(causal) > 1:
        from charlm.models.mixtures import TokenMixture, mix

        weights = _numbers(asked.weights) if asked.weights is not None else ()
        mixture = mix(causal, weights, by_character=asked.by_character)
        found = mixture
        if asked.adapt != "off":
            assert isinstance(mixture, TokenMixture)
            found = mixture.adapting(asked.adapt)
    return found if tune is None else _tuned(found, models, tune)


def load_models(asked: Mixture) -> "TextDistribution":
    """The same, of what has a probability of a text. Raises UsageError for others."""
    from charlm.models.base import TextDistribution

    found = load_any(asked)
    if not isinstance(found, TextDistribution):
        raise UsageError(_BOTH_SIDES)
    return found


def cloze_model(loaded: "LanguageModel | ClozeModel") -> "ClozeModel":
    """The same as what reads both sides of each token. Raises UsageError for others."""
    from charlm.models.cloze_model import ClozeModel

    if isinstance(loaded, ClozeModel):
        return loaded
    raise UsageError(
        "this model reads a text from left to right alone: gaps are filled, and texts scored from "
        "both sides, by one trained with --bidirectional."
    )


def is_translator(name: str | None, root: Path) -> bool:
    """Whether a run that was named is a translator."""
    from charlm.checkpoints import directory

    return name is not None and directory.kind_of(directory.find_any(name, root)) == "translator"


def named_translator(asked: Mixture, *, of_pairs: bool) -> PairsModel | None:
    """A translator that was named, or is asked for by what is done with it; None if neither.

    Raises CheckpointError if it is something else, UsageError if there are several.
    """
    names = asked.model or []
    if len(names) > 1 and of_pairs:
        raise UsageError("translators cannot be mixed: give one with --model.")
    name = names[0] if len(names) == 1 else None
    if of_pairs or is_translator(name, asked.root):
        only = isinstance(asked, Judged) and asked.ngram_only
        return PairsModel(model=name, root=asked.root, alone=asked.alone, ngram_only=only)
    return None


def translator(asked: PairsModel) -> "Translator":
    """Load a translator; where none was named, say on stderr which one was taken."""
    from charlm.models.load import load

    found = load(asked.model, task="translator", alone=asked.alone, root=asked.root)
    if asked.ngram_only:
        found = found.ngram_only()
    if asked.model is None:
        say_newest(found.checkpoint)
    return found


def models_of(loaded: "TextModel | Translator") -> list[dict[str, Any]]:
    """What tells the models of figures from others: run, step, label, and weight in a mixture."""
    models = getattr(loaded, "models", (loaded,))
    weights = getattr(loaded, "weights", (1.0,))
    return [
        {
            "name": one.name,
            "run_id": one.checkpoint.run_id,
            "step": one.checkpoint.step,
            "label": getattr(one, "label", None),
            "weight": float(weight),
        }
        for one, weight in zip(models, weights, strict=True)
    ]


def token_model(loaded: "TextDistribution | ClozeModel", why: str = "") -> "TokenDistribution":
    """The same as what has probabilities of tokens. Raises UsageError, saying why, for others."""
    from charlm.models.base import TextDistribution, TokenDistribution

    if isinstance(loaded, TokenDistribution):
        return loaded
    raise UsageError((why or _DIFFERENT) if isinstance(loaded, TextDistribution) else _BOTH_SIDES)


def language_model(loaded: "TextModel", why: str) -> "LanguageModel":
    """The same as one model. Raises UsageError, saying why, for a mixture."""
    from charlm.models.language_model import LanguageModel

    if isinstance(loaded, LanguageModel):
        return loaded
    raise UsageError(why)


def evaluator(
    loaded: "TextDistribution", *, closed: bool, mapped: "Mapped | None" = None
) -> "Callable[[Iterable[Piece]], Iterator[Summary]]":
    """What gives the figures of sequences in pieces, by ``mapped`` (text/portions.py)."""
    from charlm.models.base import TokenDistribution

    by: dict[str, Any] = {} if mapped is None else {"mapped": mapped}
    if isinstance(loaded, TokenDistribution):
        return functools.partial(loaded.evaluate_pieces, closed=closed, **by)
    if closed:
        raise UsageError("of models of different vocabularies there is only the plain figure.")
    return functools.partial(loaded.evaluate_pieces, **by)


def together(ignores: Sequence[str]) -> str | None:
    """What there is to say of figures that are of texts together; None if of each by itself."""
    if not ignores:
        return None
    *others, last = ignores
    what = f"{', '.join(others)} or {last}" if others else last
    return (
        f"texts that differ in {what} alone have one probability together: not to be compared with "
        "a model that tells them apart"
    )


def _numbers(weights: str) -> list[float]:
    try:
        return [float(weight) for weight in weights.split(",")]
    except ValueError:
        raise UsageError(f"--weights are numbers with commas, got {weights!r}.") from None


def _tuned(found: "TextDistribution", models: list[str], path: Path) -> "TextDistribution":
    """The model with what is mixed in it fitted to a file; say what that came to."""
    from charlm.text.corpus import split_sequences

    documents = documents_of([path])
    split_on = found.checkpoint.split_on
    texts = [text for document in documents for text in split_sequences(document.text, split_on)]
    if not texts:
        raise TextError(f"there is no text in {path} to tune on.")
    tuned = found.tuned(texts)
    if models[1:]:
        pairs = zip(models, tuned.weights, strict=True)  # type: ignore[attr-defined]
        said = ", ".join(f"{safe_text(name)} {weight:.3f}" for name, weight in pairs)
        say(f"weights: {said}")
    else:
        say(f"tuned on {safe_text(str(path))}")
    return tuned
