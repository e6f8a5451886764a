"""Character level: each Unicode code point is a token."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CheckpointError
from charlm.tokenizers.base import EOS_ID, EOS_PIECE, NUM_SPECIALS, UNK_ID, UNK_PIECE, UNK_TEXT
from charlm.tokenizers.beginning import Beginning
from charlm.tokenizers.files import HEADER_NAME, check_fields, write_header
from charlm.tokenizers.ids import IdArray, Ids, checked_ids
from charlm.tokenizers.vocabulary import HasItems, Vocabulary

_NUM_CODE_POINTS = 0x110000
_BLOCK_CHARACTERS = 1 << 20  # texts are counted together in blocks of about this many characters


DEFAULT_MIN_COUNT = 2  # so that the model meets <UNK> while it learns


class CharacterTokenizer:
    """Characters <-> ids. Lossless for text whose characters are all known."""

    level = "char"
    ignores: tuple[str, ...] = ()
    unk_id = UNK_ID
    eos_id = EOS_ID

    def __init__(self, *, vocabulary: Vocabulary, notes: tuple[str, ...] = ()) -> None:
        self.notes = notes
        self.vocab_size = len(vocabulary)
        self._vocabulary = vocabulary
        known = code_points("".join(vocabulary.types))
        self._id_of = np.zeros(_NUM_CODE_POINTS, dtype=np.int32)  # 0 is <UNK>
        self._id_of[known] = np.arange(NUM_SPECIALS, self.vocab_size, dtype=np.int32)
        specials = np.array([ord(UNK_TEXT), 0], dtype=np.uint32)  # <EOS> is never looked up
        self._code_point_of = np.concatenate([specials, known])

    @classmethod
    def train(
        cls, texts: Iterable[str], *, vocab_size: int | None = None, min_count: int | None = None
    ) -> Self:
        """The tokenizer of the characters of ``texts``, cut as Vocabulary.from_counts cuts.

        min_count None is DEFAULT_MIN_COUNT, or 1 where no character occurs so often. Raises
        TextError if no character is left.
        """
        return cls.from_counts(count_characters(texts), vocab_size=vocab_size, min_count=min_count)

    @classmethod
    def from_counts(
        cls, counts: HasItems, *, vocab_size: int | None = None, min_count: int | None = None
    ) -> Self:
        """The same from how often each character occurs."""
        notes: tuple[str, ...] = ()
        if min_count is None:
            numbers = [count for _, count in counts.items()]
            min_count = DEFAULT_MIN_COUNT if max(numbers, default=0) > 1 else 1
            once = sum(count < min_count for count in numbers)
            if once:
                note = (
                    f"{once} of the characters occur once and become <UNK>, so that the model "
                    "learns what is rare; keep them with `min_count=1`"
                )
                notes = (note,)
        vocabulary = Vocabulary.from_counts(counts, vocab_size=vocab_size, min_count=min_count)
        return cls(vocabulary=vocabulary, notes=notes)

    @property
    def types(self) -> tuple[str, ...]:
        """The characters of the vocabulary; character i has the id i + 2."""
        return self._vocabulary.types

    def normalise(self, text: str) -> str:
        """The text itself: characters keep all of it."""
        return text

    def encode(self, text: str) -> IdArray:
        """The ids (N,) of the N characters of a text."""
        return self._id_of[code_points(text)]

    def encode_with_offsets(self, text: str) -> tuple[IdArray, list[tuple[int, int]]]:
        """The ids (N,) of a text, and the range of each character."""
        return self.encode(text), [(i, i + 1) for i in range(len(text))]

    def unknown(self, text: str) -> list[str]:
        """The characters that have no id, in order."""
        return [text[i] for i in np.flatnonzero(self.encode(text) == UNK_ID).tolist()]

    def is_unknown(self, kind: str) -> bool:
        """Whether it is one character that has no id."""
        return self.unknown(kind) == [kind]

    def openers(self) -> IdArray:
        """The ids (K,) of white space and <EOS>."""
        spaces = [
            i for i, kind in enumerate(self._vocabulary.types, NUM_SPECIALS) if kind.isspace()
        ]
        return np.array([EOS_ID, *spaces], dtype=np.int32)

    def divide(self, text: str) -> tuple[str, str]:
        """Anywhere: before the last word, or if there is but one at the end of the text."""
        last = text.rsplit(None, 1)[-1:]
        begin = text.rindex(last[0]) if last else 0
        return (text[:begin], text[begin:]) if begin else (text, "")

    def encode_prompt(self, text: str) -> IdArray:
        """The same as encode: no character brings a space of its own."""
        return self.encode(text)

    def beginnings(self, text: str) -> list[Beginning]:
        """One: no character depends on those that follow."""
        return [Beginning(self.encode(text), tuple(self.unknown(text)))]

    def decode(self, ids: Ids, unknown: Sequence[str] = ()) -> str:
        """The text of ids (N,), the first <UNK> as ``unknown``.

        Raises UsageError if an id is outside the vocabulary.
        """
        array = checked_ids(ids, self.vocab_size)
        array = array[array != EOS_ID]
        visible: NDArray[np.uint32] = self._code_point_of[array]
        places = np.flatnonzero(array == UNK_ID)[: len(unknown)]
        visible[places] = code_points("".join(unknown))[: len(places)]
        return visible.tobytes().decode("utf-32-le", "surrogatepass")

    def decode_with_offsets(self, ids: Ids) -> tuple[str, list[tuple[int, int]]]:
        """The text of ids (N,), and for each id the range of its character in it.

        Raises UsageError if an id is outside the vocabulary.
        """
        ends = np.cumsum(checked_ids(ids, self.vocab_size) != EOS_ID).tolist()
        return self.decode(ids), list(zip([0, *ends], ends, strict=False))

    def pieces(self, ids: Ids) -> list[str]:
        """The characters themselves. Raises UsageError if an id is outside the vocabulary."""
        shown = (UNK_PIECE, EOS_PIECE, *self._vocabulary.types)
        return [shown[i] for i in checked_ids(ids, self.vocab_size).tolist()]

    def to_files(self) -> dict[str, bytes]:
        """One file, tokenizer.json: the characters in the order of their ids."""
        return {HEADER_NAME: write_header(self.level, types=self._vocabulary.to_json())}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """The tokenizer whose fields stand in tokenizer.json.

        Raises CheckpointError if they are not those of a character vocabulary.
        """
        check_fields(fields, {"types": list})
        vocabulary = Vocabulary.from_json(fields["types"])
        if any(len(kind) != 1 for kind in vocabulary.types):
            raise CheckpointError(f"{HEADER_NAME} is damaged: a type is not one character.")
        return cls(vocabulary=vocabulary)


def code_points(text: str) -> NDArray[np.uint32]:
    """The code points (N,) of a text, lone surrogates among them."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def count_characters(texts: Iterable[str]) -> dict[str, int]:
    """How often each character occurs in the texts."""
    counter = CharacterCounter()
    for block in _blocks(texts):
        counter.add(block)
    return counter.counts()


class CharacterCounter:
    """Counts characters; memory does not grow with the text."""

    def __init__(self) -> None:
        self._totals = np.zeros(_NUM_CODE_POINTS, dtype=np.int64)

    def add(self, text: str) -> None:
        """Count those of a text."""
        counts = np.bincount(code_points(text))
        self._totals[: len(counts)] += counts

    def counts(self) -> dict[str, int]:
        """How often each has occurred, in the order of their code points."""
        there = np.flatnonzero(self._totals)
        return {chr(code): int(self._totals[code]) for code in there.tolist()}


def _blocks(texts: Iterable[str]) -> Iterator[str]:
    """The texts joined into blocks, so that many short ones are counted at array speed."""
    waiting: list[str] = []
    size = 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size >= _BLOCK_CHARACTERS:
            yield "".join(waiting)
            waiting, size = [], 0
    yield "".join(waiting)
