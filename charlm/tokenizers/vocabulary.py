"""Vocabulary: types <-> ids, with the two special tokens first."""

import heapq
from collections.abc import Collection, Iterable
from typing import Protocol, Self

from charlm.errors import CheckpointError, TextError
from charlm.tokenizers.base import NUM_SPECIALS, UNK_ID
from charlm.tokenizers.files import HEADER_NAME


class HasItems(Protocol):
    """What tells how often each type occurs, as often as it is asked: a dict does."""

    def items(self) -> Iterable[tuple[str, int]]:
        """Each type once, and its number."""


class Vocabulary:
    """The types a tokenizer knows, and their ids.

    Ids 0 and 1 are <UNK> and <EOS>. They have no string, so no type can collide with them;
    type i of ``types`` has the id i + 2.
    """

    def __init__(self, types: Iterable[str]) -> None:
        self.types = tuple(types)
        self._ids = {kind: i for i, kind in enumerate(self.types, NUM_SPECIALS)}

    def __len__(self) -> int:
        """Number of ids: the types and the two specials."""
        return NUM_SPECIALS + len(self.types)

    def id_of(self, kind: str) -> int:
        """The id of a type; that of <UNK> if it is not here."""
        return self._ids.get(kind, UNK_ID)

    @classmethod
    def from_counts(
        cls,
        counts: HasItems,
        *,
        vocab_size: int | None,
        min_count: int,
        without: Collection[str] = (),
    ) -> Self:
        """The most frequent types, equally frequent ones in the order of their code points.

        vocab_size limits the number of ids, specials included (None is off); types that occur
        fewer than min_count times are left out, and so are those ``without``. No more types are
        held than are taken. Raises TextError if no type is left.
        """
        frequent = (
            (-count, kind)
            for kind, count in counts.items()
            if count >= min_count and kind not in without
        )
        if vocab_size is None:
            ranked = sorted(frequent)
        else:
            ranked = heapq.nsmallest(vocab_size - NUM_SPECIALS, frequent)
        if not ranked:
            raise TextError(
                f"No token occurs {min_count} times in the training text: "
                "give more text or a lower minimum count."
            )
        return cls(kind for _, kind in ranked)

    def to_json(self) -> list[str]:
        """The types in the order of their ids, specials left out."""
        return list(self.types)

    @classmethod
    def from_json(cls, values: object) -> Self:
        """The vocabulary that to_json wrote.

        Raises CheckpointError unless ``values`` is a list of distinct strings, none empty.
        """
        if type(values) is not list or not all(type(kind) is str and kind for kind in values):
            raise CheckpointError(f"{HEADER_NAME} is damaged: types must be a list of strings.")
        if len(set(values)) != len(values):
            raise CheckpointError(f"{HEADER_NAME} is damaged: a type is listed twice.")
        return cls(values)
