"""A classifier: which label a text has."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.config import LONGEST
from charlm.errors import UsageError
from charlm.network_config import ClassifierConfig
from charlm.nn.examples import Examples
from charlm.text.labelled import FORMS, LabelledTexts
from charlm.tokenizers import train_tokenizer
from charlm.tokenizers.word_letters import SpelledWords
from charlm.training import kinds
from charlm.training.request import Request, Say
from charlm.training.tasks.labelling import Figures, LabellingTask
from charlm.training.texts.example_material import ExampleMaterial, example_material
from charlm.training.texts.examples import ExampleTexts, read_examples
from charlm.training.texts.memory import TextsInMemory


class Classifier(LabellingTask):
    """P(label given text)."""

    declared = kinds.CLASSIFIER
    shape = ClassifierConfig
    kind = "classifier"
    epochs = 45.0

    def check(self, request: Request) -> None:
        """Raise UsageError for what cannot be, before anything is read."""
        if request.label_from is None:
            raise UsageError(
                f"a classifier needs labels: label_from says where they stand ({FORMS})."
            )
        _ = request.label_source
        self.shape(**{"vocab_size": 3, "num_labels": 2} | request.model)

    def read(self, request: Request, say: Say, given: TextsInMemory | None = None) -> ExampleTexts:
        """Texts with a label each."""
        return read_examples(request, say, given)

    def prepare(self, request: Request, texts: ExampleTexts, say: Say) -> ExampleMaterial:
        """Learn a tokenizer; and the texts as ids."""
        assert isinstance(texts.train, LabelledTexts)
        tokenizer = train_tokenizer(
            texts.train.texts,
            level=request.level or "char",
            vocab_size=request.vocab_size,
            min_count=request.min_count,
            lowercase=request.lowercase,
            pretokenized=request.pretokenized,
            subword_model=request.subword_model,
        )
        for note in tokenizer.notes:
            say(note)
        say(f"vocabulary: {tokenizer.vocab_size:,} types at {tokenizer.level} level")
        material = example_material(request, texts, tokenizer)
        if material.examples.copies is not None:
            number, different = material.about["train"]["texts"], len(material.examples.labels)
            say(
                f"copies: {different:,} of {number:,} texts are different; how frequent labels are "
                "is counted in all of them"
            )
        sides = [side for side in (material.examples, material.valid) if side is not None]
        if cut := sum(side.cut for side in sides):
            number = sum(len(side.starts) - 1 for side in sides)
            say(
                f"length: {cut:,} of {number:,} different texts are longer than {LONGEST:,} "
                f"tokens: only the first {LONGEST:,} of each are read"
            )
        return material

    def sizes(self, material: ExampleMaterial) -> tuple[dict[str, Any], dict[str, Any]]:
        """Words are told apart by larger embeddings, and faster."""
        assert not isinstance(material.reader, SpelledWords)
        words = material.reader.level != "char"
        shape = {
            "vocab_size": material.reader.vocab_size,
            "embedding_size": 128 if words else 64,
            "hidden_size": 128,
            "num_layers": 1,
            "dropout": 0.5,
            "input_dropout": 0.3 if words else 0.2,
        }
        return shape, {"batch_size": 64, "learning_rate": 8e-3 if words else 4e-3}

    def judged(
        self, found: Figures, valid: Examples, best: NDArray[np.int64], names: Sequence[str]
    ) -> Figures:
        """The standard error of the accuracy."""
        del names
        counts = None if valid.copies is None else valid.copies.counts
        return found._replace(error=standard_error(best == valid.labels, counts))


def standard_error(right: NDArray[np.bool_], counts: NDArray[np.int64] | None = None) -> float:
    """That of the share that is right, of texts (S,) which occur so often.

    The copies of a text are right or wrong together, so it is the texts that are drawn by chance.
    """
    weights = np.ones(len(right)) if counts is None else counts
    share = np.average(right, weights=weights)
    return float(np.linalg.norm(weights * (right - share)) / weights.sum())
