"""Texts that are given in memory, in place of files: with a label each, or with tags."""

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Self

from charlm.errors import FieldError, TextError
from charlm.models.arguments import several_sources
from charlm.text import corpus
from charlm.text.conll import Sentence
from charlm.text.labelled import Labelled
from charlm.text.pairs import Pair

# Of a tagger the tokens of a sentence, and its tags; of a translator also a text and its features.
Text = str | Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextsInMemory:
    """Texts to train on and to validate on, each with a label where there are any.

    What a training reads from files is asked of one of ``sequences``, ``labelled``, ``pairs``,
    ``sentences``.
    """

    texts: tuple[Text, ...]
    labels: tuple[Text, ...] | None = None
    valid_texts: tuple[Text, ...] = ()
    valid_labels: tuple[Text, ...] | None = None

    @classmethod
    def of(
        cls,
        texts: Iterable[Text],
        labels: Iterable[Text] | None = None,
        valid_texts: Iterable[Text] | None = None,
        valid_labels: Iterable[Text] | None = None,
    ) -> Self:
        """What was handed over. Raises FieldError for one text, and where labels do not fit."""
        given = {
            "texts": texts,
            "labels": labels,
            "valid_texts": valid_texts,
            "valid_labels": valid_labels,
        }
        found: dict[str, Any] = {}
        for name, values in given.items():
            if isinstance(values, (str, bytes)):
                raise FieldError(name, "must be a list, one entry per text, got one text.")
            found[name] = None if values is None else tuple(values)
        for name, beside in (("labels", "texts"), ("valid_labels", "valid_texts")):
            if found[name] is not None and len(found[name]) != len(found[beside] or ()):
                raise FieldError(
                    name,
                    f"must be as many as {beside}: there are {len(found[name]):,} for "
                    f"{len(found[beside] or ()):,}.",
                )
        if found["valid_texts"] and (found["labels"] is None) != (found["valid_labels"] is None):
            raise FieldError("valid_labels", "go with labels: give both, or neither.")
        return cls(**{**found, "valid_texts": found["valid_texts"] or ()})

    def sequences(self) -> tuple[list[str], list[str]]:
        """The texts to train on and to validate on; blank ones are left out."""
        return _plain(self.texts, "texts"), _plain(self.valid_texts, "valid_texts")

    @property
    def split_on(self) -> str:
        """What sequences are that look like these texts."""
        return corpus.split_of([*self.sequences()[0]])

    def labelled(self) -> tuple[list[Labelled], list[Labelled]]:
        """The same with a label each. Raises FieldError where there are none."""
        return (
            _with_labels(self.texts, self.labels, "texts", "labels"),
            _with_labels(self.valid_texts, self.valid_labels, "valid_texts", "valid_labels"),
        )

    def pairs(self) -> tuple[list[Pair], list[Pair]]:
        """Sources with a target each. Raises FieldError where there are none."""
        lines = dataclasses.replace(
            self,
            texts=tuple(several_sources(self.texts, "texts")),
            valid_texts=tuple(several_sources(self.valid_texts, "valid_texts")),
        )
        train, valid = lines.labelled()
        return [Pair(*one) for one in train], [Pair(*one) for one in valid]

    @property
    def has_features(self) -> bool:
        """Whether texts are pairs of a text and its features."""
        return any(isinstance(text, tuple) for text in self.texts)

    def sentences(self) -> tuple[list[Sentence], list[Sentence]]:
        """Sentences with the tags of their tokens. Raises FieldError where tags do not fit."""
        train = _sentences(self.texts, self.labels, "texts", "labels")
        if not train:
            raise TextError("there is no sentence: what was given is empty or blank.")
        valid = _sentences(self.valid_texts, self.valid_labels, "valid_texts", "valid_labels")
        return train, valid


def _plain(texts: Iterable[Text], name: str) -> list[str]:
    return [text for text in _checked(texts, name) if text.strip()]


def _checked(texts: Iterable[Text], name: str) -> Iterable[str]:
    for text in texts:
        if not isinstance(text, str):
            raise FieldError(name, f"must hold texts, got {text!r:.40} among them.")
        yield text


def _with_labels(
    texts: Sequence[Text], labels: Sequence[Text] | None, name: str, beside: str
) -> list[Labelled]:
    if labels is None and texts:
        raise FieldError(beside, f"are needed: one per text of {name}.")
    pairs = zip(_checked(texts, name), _checked(labels or (), beside), strict=True)
    found = [Labelled(text, label.strip()) for text, label in pairs if text.strip()]
    if not all(one.label for one in found):
        raise FieldError(beside, "must not be empty.")
    return found


def _sentences(
    texts: Sequence[Text], labels: Sequence[Text] | None, name: str, beside: str
) -> list[Sentence]:
    if labels is None and texts:
        raise FieldError(beside, f"are needed: the tags of each sentence of {name}.")
    found = []
    for tokens, tags in zip(texts, labels or (), strict=True):
        for what, values in ((name, tokens), (beside, tags)):
            if isinstance(values, str) or not all(isinstance(value, str) for value in values):
                raise FieldError(
                    what, f"of a tagger must hold lists of texts, got {values!r:.40} among them."
                )
        if len(tokens) != len(tags):
            raise FieldError(
                beside, f"must have a tag per token: {len(tags)} for {len(tokens)} tokens."
            )
        if tokens:
            found.append(Sentence(tuple(tokens), tuple(tags), tuple(repeat(0, len(tokens)))))
    return found
