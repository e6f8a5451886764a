"""What samples are compared with: a model's training text, or any files."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from charlm.errors import TextError
from charlm.novelty.text_index import Index, source_of
from charlm.text.corpus import sequence_hashes, split_sequences

if TYPE_CHECKING:
    from charlm.text.corpus import Document


class Origin(NamedTuple):
    """A file that samples are compared with, and the number, from 1, of its first sequence."""

    name: str
    first: int


@dataclasses.dataclass(frozen=True)
class Reference:
    """The index of a text, the hashes of its sequences where those are known, and its files."""

    index: Index
    known: NDArray[np.uint64] | None
    origins: tuple[Origin, ...] = ()

    @classmethod
    def of_files(
        cls, documents: "Iterable[Document]", split_on: str, normalise: Callable[[str], str]
    ) -> Self:
        """The texts of files, each sequence normalised. Raises TextError if there is none."""
        sequences: list[str] = []
        origins = []
        for document in documents:
            origins.append(Origin(document.name, len(sequences) + 1))
            sequences += map(normalise, split_sequences(document.text, split_on))
        if not sequences:
            raise TextError("there is no text to compare with: it is empty or blank.")
        known = sequence_hashes(sequences) if split_on != "file" else None
        return cls(Index.build(source_of(sequences)), known, tuple(origins))


def samples_in(documents: "Iterable[Document]", split_on: str) -> Iterator[str]:
    """The samples in texts: the sequences, but of lines the blank ones too, as they were drawn."""
    for document in documents:
        if split_on == "line" and document.text:
            yield from document.text.removesuffix("\n").split("\n")
        else:
            yield from split_sequences(document.text, split_on)
