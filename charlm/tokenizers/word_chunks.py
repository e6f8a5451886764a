"""Chunks: what stands between spaces, and the types that each is cut into.

No token reaches over two chunks, and most chunks of a text are chunks seen before. So what is done
with types is done once for each chunk, and many texts are gone through at the speed of arrays.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from charlm.tokenizers.ids import IdArray
from charlm.tokenizers.word_pattern import find_chunks, token_pattern

JOIN_LEFT = 1
JOIN_RIGHT = 2

# In a text that somebody has cut: not a word, but the name of all that are unknown.
UNKNOWN_WORD = "0<unk>"
_FEW = 64  # texts that are looked at together once those of a block are not alike


class ChunkIds(dict[str, list[int]]):
    """A bounded memory of the ids of chunks: most of a text is chunks seen before."""

    MAX_CHUNKS = 100_000
    MAX_LENGTH = 50  # characters; a longer chunk hardly comes twice

    def __init__(self, id_of: Callable[[str], int], pretokenized: bool) -> None:
        super().__init__()
        self._id_of = id_of
        self.types = _whole if pretokenized else types_in

    def __missing__(self, chunk: str) -> list[int]:
        ids = list(map(self._id_of, self.types(chunk)))
        if len(chunk) <= self.MAX_LENGTH:
            if len(self) >= self.MAX_CHUNKS:
                self.clear()
            self[chunk] = ids
        return ids


class _Numbers(dict[str, int]):
    """Chunks, numbered from 0 in the order in which they come; ``new`` are those last numbered."""

    def __init__(self) -> None:
        super().__init__()
        self.new: list[str] = []

    def __missing__(self, chunk: str) -> int:
        number = self[chunk] = len(self)
        self.new.append(chunk)
        return number


class TypeCounter:
    """Counts types in many texts, until it holds so much that it had better be emptied."""

    MOST_BYTES = 100_000_000  # about, of the chunks that are held
    _BESIDE = 160  # bytes that a chunk takes beside its characters

    def __init__(self, pretokenized: bool) -> None:
        self._pretokenized = pretokenized
        self._begin()

    def _begin(self) -> None:
        self._numbers = _Numbers()
        self._counts = np.zeros(2**16, dtype=np.int64)
        self._bytes = 0

    def add(self, texts: Sequence[str]) -> None:
        """Count the types of texts."""
        found, _ = chunks_of_all(texts, self._pretokenized)
        places = np.fromiter(map(self._numbers.__getitem__, found), np.int64, len(found))
        counts = np.bincount(places)
        if len(counts) > len(self._counts):
            self._counts = np.pad(self._counts, (0, max(len(counts), len(self._counts))))
        self._counts[: len(counts)] += counts
        new = self._numbers.new
        self._bytes += sum(map(len, new)) + self._BESIDE * len(new)
        new.clear()

    @property
    def is_full(self) -> bool:
        """Whether it is time to take what it has counted."""
        return self._bytes >= self.MOST_BYTES

    def take(self) -> Counter[str]:
        """How often each type has occurred since it was last asked; nothing is held any more."""
        types = _whole if self._pretokenized else types_in
        counts: Counter[str] = Counter()
        for chunk, number in zip(self._numbers, self._counts.tolist(), strict=False):
            for kind in types(chunk):
                counts[kind] += number
        self._begin()
        return counts


class BulkIds:
    """The ids of many texts at once, by a vocabulary's ``id_of``."""

    MAX_CHUNKS = 400_000

    def __init__(self, id_of: Callable[[str], int], pretokenized: bool) -> None:
        self._id_of, self._pretokenized = id_of, pretokenized
        self._begin()

    def _begin(self) -> None:
        self._numbers = _Numbers()
        self._ids = np.empty(0, dtype=np.int32)  # of all chunks, one after another
        self._ends = np.zeros(1, dtype=np.int64)  # where those of each chunk end; 0 in front

    def encode(self, texts: Sequence[str]) -> tuple[IdArray, NDArray[np.int64]]:
        """The ids (N,) of texts, one after another, and how many each (S,) has."""
        if len(self._numbers) > self.MAX_CHUNKS:
            self._begin()
        found, sizes = chunks_of_all(texts, self._pretokenized)
        places = np.fromiter(map(self._numbers.__getitem__, found), np.int64, len(found))
        self._learn()
        ends = self._ends[1:][places]
        lengths = ends - self._ends[places]
        sums = np.cumsum(lengths)
        total = int(sums[-1]) if len(sums) else 0
        ids = self._ids[np.repeat(ends - sums, lengths) + np.arange(total)]
        before = np.concatenate([[0], sums])
        stops = np.cumsum(sizes)
        return ids, before[stops] - before[stops - sizes]

    def _learn(self) -> None:
        """Cut what came for the first time."""
        types = _whole if self._pretokenized else types_in
        cut = [list(map(self._id_of, types(chunk))) for chunk in self._numbers.new]
        self._numbers.new.clear()
        if cut:
            lengths = np.fromiter(map(len, cut), np.int64, len(cut))
            new = np.fromiter(chain.from_iterable(cut), np.int32, int(lengths.sum()))
            self._ids = np.concatenate([self._ids, new])
            self._ends = np.concatenate([self._ends, self._ends[-1] + np.cumsum(lengths)])


def count_types(texts: Iterable[str], pretokenized: bool = False) -> Counter[str]:
    """How often each type occurs in the texts."""
    chunk_counts: Counter[str] = Counter()
    for text in texts:
        chunk_counts.update(chunks(text, pretokenized))
    counts: Counter[str] = Counter()
    for chunk, count in chunk_counts.items():
        for kind in _whole(chunk) if pretokenized else types_in(chunk):
            counts[kind] += count
    return counts


def words_of(text: str) -> list[str]:
    """The words, numbers and punctuation of a text, white space left out."""
    kinds = (kind[1:] for chunk in chunks(text, False) for kind in types_in(chunk))
    return [kind for kind in kinds if not kind.isspace()]


def chunks(text: str, pretokenized: bool) -> Iterator[str]:
    """The text without its implicit spaces, cut where no token can touch another."""
    return map(itemgetter(0), find_chunks(text, pretokenized))


def chunks_of_all(texts: Sequence[str], pretokenized: bool) -> tuple[list[str], NDArray[np.int64]]:
    """The chunks of texts, one after another, and how many each (S,) has.

    Where all white space is lone spaces and ends of lines, as in most text, they are what stands
    between the spaces, which is found far sooner than by a pattern.
    """
    joined = " ".join(texts)
    spaced = joined.replace("\n", " ")
    found = spaced.split()
    if texts and " ".join(found) == spaced and all(texts):
        sizes = np.fromiter((text.count(" ") for text in texts), np.int64, len(texts)) + 1
        if "\n" in joined:
            found = joined.replace("\n", " \n ").split(" ")
            sizes += 2 * np.fromiter((text.count("\n") for text in texts), np.int64, len(texts))
        return found, sizes
    if len(texts) > _FEW:
        several = [
            chunks_of_all(texts[at : at + _FEW], pretokenized) for at in range(0, len(texts), _FEW)
        ]
        found = list(chain.from_iterable(parts for parts, _ in several))
        return found, np.concatenate([sizes for _, sizes in several])
    each = [list(chunks(text, pretokenized)) for text in texts]
    sizes = np.fromiter(map(len, each), np.int64, len(each))
    return list(chain.from_iterable(each)), sizes


def _whole(chunk: str) -> Iterator[str]:
    """The type of a chunk that is one token."""
    yield f"0{chunk}"


def types_in(chunk: str) -> Iterator[str]:
    """The types of a chunk: its tokens, with a joining flag for each pair that touches."""
    surface, is_word, flag = "", False, 0
    for match in token_pattern().finditer(chunk):
        next_is_word = match.lastindex is not None
        next_flag = 0
        if surface:
            if next_is_word and not is_word:
                flag |= JOIN_RIGHT
            else:
                next_flag = JOIN_LEFT
            yield f"{flag}{surface}"
        surface, is_word, flag = match[0], next_is_word, next_flag
    yield f"{flag}{surface}"
