"""A tagger: which tag each token of a sentence has."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.network_config import TaggerConfig
from charlm.nn.examples import Examples
from charlm.text.conll import Sentence, are_chunks, score_spans
from charlm.tokenizers.word_letters import SpelledWords
from charlm.training import kinds
from charlm.training.request import Request, Say
from charlm.training.tasks.labelling import Figures, LabellingTask
from charlm.training.texts.example_material import ExampleMaterial, example_material
from charlm.training.texts.examples import ExampleTexts, read_sentences
from charlm.training.texts.memory import TextsInMemory

_MOST_WORDS = 50_000
_MUCH = 200_000  # tokens, read a few times in the default budget: nothing is learned by heart


class Tagger(LabellingTask):
    """P(tag given sentence), of each token."""

    declared = kinds.TAGGER
    shape = TaggerConfig
    kind = "tagger"
    targets = "tags"
    default_level = None
    epochs = 30.0

    def check(self, request: Request) -> None:
        """Raise UsageError for what cannot be, before anything is read."""
        if request.level not in (None, "word"):
            raise UsageError("a tagger reads words: leave out level, or give word.")
        _ = request.places
        self.shape(**{"vocab_size": 3, "num_labels": 2, "num_letters": 1} | request.model)

    def read(self, request: Request, say: Say, given: TextsInMemory | None = None) -> ExampleTexts:
        """Sentences with a tag for each token."""
        return read_sentences(request, say, given)

    def prepare(self, request: Request, texts: ExampleTexts, say: Say) -> ExampleMaterial:
        """Learn which words and letters there are; and the sentences as ids."""
        sentences: list[Sentence] = texts.train  # type: ignore[assignment]
        words = SpelledWords.train(
            (token for sentence in sentences for token in sentence.tokens),
            vocab_size=request.vocab_size or _MOST_WORDS,
            min_count=request.min_count or 2,
        )
        say(f"vocabulary: {words.vocab_size:,} types of words, {words.num_letters:,} of letters")
        return example_material(request, texts, words)

    def sizes(self, material: ExampleMaterial) -> tuple[dict[str, Any], dict[str, Any]]:
        """Where there are many sentences, less dropout and a faster start."""
        assert isinstance(material.reader, SpelledWords)
        much = len(material.examples.tokens) >= _MUCH
        shape = {
            "vocab_size": material.reader.vocab_size,
            "num_letters": material.reader.num_letters,
            "embedding_size": 100,
            "hidden_size": 128,
            "dropout": 0.15 if much else 0.5,
            "input_dropout": 0.05 if much else 0.3,
        }
        return shape, {"batch_size": 16, "learning_rate": 8e-3 if much else 4e-3}

    def judged(
        self, found: Figures, valid: Examples, best: NDArray[np.int64], names: Sequence[str]
    ) -> Figures:
        """F1 of whole spans, where tags are of such."""
        return found._replace(f1=span_f1(valid, best, names) if are_chunks(names) else None)


def span_f1(valid: Examples, best: NDArray[np.int64], names: Sequence[str]) -> float:
    """F1 of whole spans, given the label (N,) that is thought of each token."""
    meant, found = (
        [[names[at] for at in labels[begin:end]] for begin, end in pairwise(valid.starts)]
        for labels in (valid.labels, best)
    )
    return score_spans(meant, found)[""].f1
