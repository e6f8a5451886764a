"""Example material: what a classifier or tagger is trained on, as ids."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

from charlm.errors import CheckpointError
from charlm.nn.examples import Examples, encode_sentences, encode_texts, gathered
from charlm.text.conll import Sentence
from charlm.text.labelled import LabelledTexts
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.word_letters import SpelledWords
from charlm.training.request import Request
from charlm.training.texts.examples import ExampleTexts
from charlm.training.texts.material import Material


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleMaterial(Material):
    """What a classifier or tagger learns from; reader turns text into ids."""

    reader: Tokenizer | SpelledWords
    labels: tuple[str, ...]
    examples: Examples
    valid: Examples | None


def example_material(
    request: Request,
    texts: ExampleTexts,
    reader: Tokenizer | SpelledWords,
    labels: Sequence[str] | None = None,
) -> ExampleMaterial:
    """The texts as ids, with what the checkpoints will say of them.

    labels are those of a saved step. Raises CheckpointError if they are not those of the text.
    """
    if isinstance(texts.train, LabelledTexts):
        kinds = texts.train.labels
    else:
        kinds = [tag for sentence in texts.train for tag in sentence.tags or ()]
    names = tuple(sorted(set(kinds)))
    if labels is not None and tuple(labels) != names:
        raise CheckpointError(
            "the labels in model.json of the last step are not those of the text."
        )
    ids = {name: at for at, name in enumerate(names)}
    sides = [_encoded(side, reader, ids) for side in texts.sides]
    about = {
        "fingerprint": texts.fingerprint,
        "label_from": request.label_from,
        "split_on": texts.split_on,
        "train": {"texts": len(sides[0].starts) - 1, "tokens": len(sides[0].tokens)},
        "valid": {"texts": len(sides[1].starts) - 1, "tokens": len(sides[1].tokens)},
        "labels": dict(sorted(Counter(kinds).items())),
    }
    asked = {"token_column": request.token_column, "tag_column": request.tag_column}
    about |= {name: column for name, column in asked.items() if column is not None}
    for at, side in enumerate(texts.sides):
        if isinstance(side, LabelledTexts) and len(set(side.texts)) < len(side.texts):
            once, copies = gathered(side)
            sides[at] = _encoded(once, reader, ids)._replace(copies=copies)
    return ExampleMaterial(
        reader=reader,
        labels=names,
        examples=sides[0],
        valid=sides[1] if len(sides[1].labels) else None,
        about=about,
        split_on=texts.split_on if isinstance(texts.train, LabelledTexts) else None,
    )


def _encoded(
    side: LabelledTexts | list[Sentence], reader: Tokenizer | SpelledWords, ids: dict[str, int]
) -> Examples:
    if isinstance(side, LabelledTexts):
        assert not isinstance(reader, SpelledWords)
        return encode_texts(reader, side.texts, [ids[label] for label in side.labels])
    assert isinstance(reader, SpelledWords)
    tags = [[ids[tag] for tag in sentence.tags or ()] for sentence in side]
    return encode_sentences(reader, [sentence.tokens for sentence in side], tags)
