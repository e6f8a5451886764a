"""Loading what tells the labels of texts: a classifier, or a conditional language model."""

from typing import TYPE_CHECKING

from charlm.cli.input.model import load_model, say_newest
from charlm.cli.options import LabelledModel
from charlm.cli.output.terminal import say
from charlm.config import LONGEST, SPLITS

if TYPE_CHECKING:
    from charlm.models.posterior import Classifier


def say_cut(cut: int, texts: int) -> None:
    """How many of some texts were read to their LONGEST token and no further, if any."""
    if cut:
        say(
            f"{cut:,} of {texts:,} {'text is' if texts == 1 else 'texts are'} longer than "
            f"{LONGEST:,} tokens: only the first {LONGEST:,} of each are read"
        )


def classifier_of(asked: LabelledModel) -> "tuple[Classifier, str | None]":
    """What classifies with a model, and what its sequences are in files (None: it read tables).

    The newest finished run is taken where none is named, be it a classifier or a language model.
    Raises UsageError if it knows no labels.
    """
    from charlm.checkpoints import directory

    model, root = asked.model, asked.root
    path = directory.find_any(model, root)
    if directory.kind_of(path) == "classifier":
        from charlm.models.load import load
        from charlm.text.labelled import OF_FILES

        found = load(path.parent.name if model is None else model, task="classifier", root=root)
        if model is None:
            say_newest(found.checkpoint)
        text = found.checkpoint.info.get("text")
        about = text if isinstance(text, dict) else {}
        split_on = about.get("split_on") if about.get("label_from") in OF_FILES else None
        return found, split_on if split_on in SPLITS else None
    from charlm.models.posterior import ByBayes

    loaded = load_model(asked, alone=asked.alone)
    classifier = ByBayes(loaded)
    if classifier.labels.temperature is None:
        say("not calibrated: nothing was held out, or its training has not come to its end")
    return classifier, loaded.checkpoint.split_on
