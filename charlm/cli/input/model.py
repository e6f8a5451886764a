"""Finding and loading the model that a command is to use."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charlm.cli.input.beginning import documents_of
from charlm.cli.output.terminal import safe_text, say
from charlm.errors import TextError, UsageError

if TYPE_CHECKING:
    from charlm.models.language_model import LanguageModel


def load_model(model: str | None, root: Path) -> "LanguageModel":
    """Load it; where none was named, say on stderr which one was taken."""
    return load_models(None if model is None else [model], root)


def load_models(
    models: list[str] | None,
    root: Path,
    weights: str | None = None,
    tune: Path | None = None,
    *,
    alone: bool = False,
    label: str | None = None,
) -> "LanguageModel":
    """Load one, or several as one; say on stderr which one was taken, and what was tuned.

    With a ``label`` those of them that know labels are given it.
    """
    from charlm.models.language_model import load

    loaded = (
        [load(model, alone=alone, root=root) for model in models]
        if models
        else [load(alone=alone, root=root)]
    )
    if not models:
        step = loaded[0].checkpoint.step
        say(f"model: {loaded[0].checkpoint.path.parent.name} (step {step:,})")
    if label is not None:
        knows = [one.labels is not None for one in loaded]
        loaded = [
            one.with_label(label) if one.labels is not None or not any(knows) else one
            for one in loaded
        ]
    found = loaded[0]
    if len(loaded) > 1:
        from charlm.models.mixtures import mixed

        found = mixed(loaded, _numbers(weights) if weights is not None else ())
    if tune is not None:
        found = _tuned(found, models or [], tune)
    return found


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


def _tuned(found: "LanguageModel", models: list[str], path: Path) -> "LanguageModel":
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
