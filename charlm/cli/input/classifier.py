"""What tells the labels of texts: a trained classifier, or a conditional language model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from charlm.cli.input.model import load_model
from charlm.cli.output.terminal import say
from charlm.config import LONGEST, SPLITS
from charlm.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from charlm.models.cloze_model import ClozeModel
    from charlm.models.language_model import LanguageModel


class Classifier(Protocol):
    """What tells the labels of texts."""

    names: tuple[str, ...]

    def log_posteriors(self, texts: Sequence[str]) -> "NDArray[np.float64]":
        """log P(label given text) (N, L), in nats, of the labels ``names``."""

    def is_cut(self, text: str) -> bool:
        """Whether a text is longer than what is read of it."""


class ByBayes:
    """A conditional language model, turned round by Bayes' rule."""

    def __init__(self, loaded: "LanguageModel | ClozeModel") -> None:
        from charlm.models.language_model import LanguageModel

        if not isinstance(loaded, LanguageModel) or loaded.labels is None:
            raise UsageError(
                f"{loaded.name} knows no labels to classify by: train a model with --label-from."
            )
        if loaded.labels.temperature is None:
            say("not calibrated: nothing was held out, or its training has not come to its end")
        self.names = loaded.labels.names
        self._loaded = loaded

    def log_posteriors(self, texts: Sequence[str]) -> "NDArray[np.float64]":
        """log P(label given text) (N, L)."""
        return self._loaded.log_posteriors(texts)

    def is_cut(self, text: str) -> bool:
        """Never: language models read on."""
        del text
        return False


def say_cut(cut: int, texts: int) -> None:
    """How many of some texts were read to their LONGEST token and no further, if any."""
    if cut:
        say(
            f"{cut:,} of {texts:,} {'text is' if texts == 1 else 'texts are'} longer than "
            f"{LONGEST:,} tokens: only the first {LONGEST:,} of each are read"
        )


def classifier_of(model: str | None, root: Path, *, alone: bool) -> tuple[Classifier, str | None]:
    """What classifies with a model, and what its sequences are in files (None: it read tables).

    The newest finished run is taken where none is named, be it a classifier or a language model.
    Raises UsageError if it knows no labels.
    """
    from charlm.checkpoints import directory

    path = directory.find_any(model, root)
    if directory.kind_of(path) == "classifier":
        from charlm.models.load import load
        from charlm.text.labelled import OF_FILES

        found = load(path.parent.name if model is None else model, task="classifier", root=root)
        if model is None:
            say(f"model: {path.parent.name} (step {found.checkpoint.step:,})")
        text = found.checkpoint.info.get("text")
        about = text if isinstance(text, dict) else {}
        split_on = about.get("split_on") if about.get("label_from") in OF_FILES else None
        return found, split_on if split_on in SPLITS else None
    loaded = load_model(model, root, alone=alone)
    return ByBayes(loaded), loaded.checkpoint.split_on
