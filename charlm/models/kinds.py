"""What kind a model is of."""

from charlm.models.cloze_model import ClozeModel
from charlm.models.heads import Classifier, Tagger
from charlm.models.language_model import LanguageModel
from charlm.models.load import AnyModel
from charlm.models.translator import Translator

_KINDS: dict[type, str] = {
    LanguageModel: "language-model",
    ClozeModel: "cloze",
    Classifier: "classifier",
    Tagger: "tagger",
    Translator: "translator",
}


def kind_of(model: AnyModel) -> str:
    """The kind of a model, as ``load`` calls it."""
    return _KINDS[type(model)]
