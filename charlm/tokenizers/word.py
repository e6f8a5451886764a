"""Word level: words, numbers, punctuation and white space apart, with the spacing kept.

A type is a flag digit followed by the surface. Between two tokens stands one space unless a
flag says otherwise: bit 1 joins a token to the one on its left, bit 2 to the one on its right.
Where two tokens touch in the text, the joining is marked on punctuation rather than on words:
``(see p.`` is "2(", "0see", "0p", "1.". White space other than a lone space between two other
characters is a token of its own, one per character, and no implicit space stands beside it.

A text that somebody has cut already (``pretokenized``) is taken at its word: a token is what
stands between two spaces, or the end of a line, and ``<unk>`` is the unknown word, whichever it
may be. How many spaces there were is then forgotten.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Self

import numpy as np

from charlm.errors import CheckpointError
from charlm.tokenizers.base import (
    CASE,
    EOS_ID,
    EOS_PIECE,
    NUM_SPECIALS,
    SPACING,
    UNK_ID,
    UNK_PIECE,
    UNK_TEXT,
)
from charlm.tokenizers.beginning import Beginning
from charlm.tokenizers.files import HEADER_NAME, check_fields, write_header
from charlm.tokenizers.ids import IdArray, Ids, checked_ids
from charlm.tokenizers.spacing import note_on_spacing
from charlm.tokenizers.vocabulary import HasItems, Vocabulary
from charlm.tokenizers.word_chunks import (
    JOIN_LEFT,
    JOIN_RIGHT,
    UNKNOWN_WORD,
    BulkIds,
    ChunkIds,
    chunks,
    count_types,
    types_in,
)
from charlm.tokenizers.word_pattern import begins_with_word, find_chunks

DEFAULT_MIN_COUNT = 2  # so that the model meets <UNK> while it learns
DEFAULT_VOCAB_SIZE = 50_000
JOINER = "￭"
_TYPE = re.compile(r"0\s|[0-3]\S+")
_TYPE_OF_CUT = re.compile(r"0(?:\n|\S+)")

_IDEOGRAPH, _DIGIT = "\u4e00", "1"  # neighbours that any token can touch: the one or the other


class WordTokenizer:
    """Words, numbers, punctuation and white space <-> ids.

    decode(encode(text)) is normalise(text) wherever every type is known.
    """

    level = "word"
    unk_id = UNK_ID
    eos_id = EOS_ID

    def __init__(
        self,
        *,
        vocabulary: Vocabulary,
        lowercase: bool = False,
        pretokenized: bool = False,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.notes = notes
        self.vocab_size = len(vocabulary)
        self._vocabulary = vocabulary
        self.lowercase = lowercase
        self.pretokenized = pretokenized
        self._chunk_ids = ChunkIds(vocabulary.id_of, pretokenized)
        self._surfaces = (UNK_TEXT, "", *(kind[1:] for kind in vocabulary.types))
        # <EOS> and white space take no space on either side.
        self._flags = (0, JOIN_LEFT | JOIN_RIGHT, *map(_spacing_flags, vocabulary.types))

    @property
    def ignores(self) -> tuple[str, ...]:
        """Case, spacing, both or neither."""
        return (CASE,) * self.lowercase + (SPACING,) * self.pretokenized

    @property
    def types(self) -> tuple[str, ...]:
        """The types of the vocabulary, a joining flag in front of each; type i has the id i + 2."""
        return self._vocabulary.types

    def id_of(self, kind: str) -> int:
        """The id of a type; that of <UNK> if it is not in the vocabulary."""
        return self._vocabulary.id_of(kind)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        vocab_size: int | None = None,
        min_count: int | None = None,
        lowercase: bool = False,
        pretokenized: bool = False,
    ) -> Self:
        """The tokenizer of the types of ``texts``, cut as Vocabulary.from_counts cuts.

        None stands for DEFAULT_VOCAB_SIZE and DEFAULT_MIN_COUNT; the latter gives way, with a
        note, where no type occurs so often, and to 1 where rare words are ``<unk>`` already. A note
        is made, too, of words that spaces do not seem to part.
        Raises TextError if no type is left.
        """
        counts = count_types(map(str.lower, texts) if lowercase else texts, pretokenized)
        return cls.from_counts(
            counts,
            vocab_size=vocab_size,
            min_count=min_count,
            lowercase=lowercase,
            pretokenized=pretokenized,
        )

    @classmethod
    def from_counts(
        cls,
        counts: HasItems,
        *,
        vocab_size: int | None = None,
        min_count: int | None = None,
        lowercase: bool = False,
        pretokenized: bool = False,
    ) -> Self:
        """The same from how often each type occurs, read several times; lower case already."""
        unspaced = note_on_spacing((kind[1:], number) for kind, number in counts.items())
        notes: tuple[str, ...] = () if unspaced is None else (unspaced,)
        named = {UNKNOWN_WORD} if pretokenized else set()
        if min_count is None:
            numbers = [0, 0]  # the most that a type occurs, of words and of what names the unknown
            for kind, number in counts.items():
                numbers[kind in named] = max(numbers[kind in named], number)
            min_count = 1 if numbers[True] else DEFAULT_MIN_COUNT
            if 0 < numbers[False] < min_count:
                notes += (f"min_count lowered from {min_count} to 1: no word occurs twice",)
                min_count = 1
        vocabulary = Vocabulary.from_counts(
            counts,
            vocab_size=vocab_size or DEFAULT_VOCAB_SIZE,
            min_count=min_count,
            without=named,
        )
        return cls(
            vocabulary=vocabulary, lowercase=lowercase, pretokenized=pretokenized, notes=notes
        )

    def normalise(self, text: str) -> str:
        """Lower case with ``lowercase``; single spaces, none at the ends, with ``pretokenized``."""
        if self.lowercase:
            text = text.lower()
        if self.pretokenized:
            text = "\n".join(" ".join(line.split()) for line in text.split("\n"))
        return text

    def encode(self, text: str) -> IdArray:
        """The ids (N,) of the N tokens of a text."""
        found = chunks(text.lower() if self.lowercase else text, self.pretokenized)
        ids = chain.from_iterable(map(self._chunk_ids.__getitem__, found))
        return np.fromiter(ids, dtype=np.int32)

    def bulk(self) -> BulkIds:
        """What gives the ids of many texts at once, lower case already."""
        return BulkIds(self._vocabulary.id_of, self.pretokenized)

    def encode_with_offsets(self, text: str) -> tuple[IdArray, list[tuple[int, int]]]:
        """The ids (N,) of a text, and the range of each surface in it."""
        source = text.lower() if self.lowercase else text
        offsets = []
        for match in find_chunks(source, self.pretokenized):
            at = match.start()
            for kind in self._chunk_ids.types(match[0]):
                offsets.append((at, at + len(kind) - 1))
                at = offsets[-1][1]
        if len(source) != len(text):  # in lower case a character may become two
            owner = np.repeat(np.arange(len(text)), [len(char.lower()) for char in text]).tolist()
            offsets = [(owner[begin], owner[end - 1] + 1) for begin, end in offsets]
        return self.encode(text), offsets

    def unknown(self, text: str) -> list[str]:
        """The types that have no id, in order."""
        found = chunks(text.lower() if self.lowercase else text, self.pretokenized)
        types = chain.from_iterable(map(self._chunk_ids.types, found))
        return [kind for kind in types if self._vocabulary.id_of(kind) == UNK_ID]

    def is_unknown(self, kind: str) -> bool:
        """Whether a type has no id, and some text is cut into it.

        "0cats" can be one; "0two words", "0end." and "2cats" (words join on their left) cannot, nor
        can the name of all unknown words in a text cut already.
        """
        right_form = (_TYPE_OF_CUT if self.pretokenized else _TYPE).fullmatch(kind)
        if not right_form or self._vocabulary.id_of(kind) != UNK_ID:
            return False
        if self.lowercase and kind != kind.lower():
            return False
        return kind != UNKNOWN_WORD if self.pretokenized else _is_yielded(kind)

    def openers(self) -> IdArray:
        """The ids (K,) of white space, of what a space stands before, and <EOS>.

        <UNK> is taken for a word, as when it is decoded.
        """
        types = enumerate(self.types, NUM_SPECIALS)
        opening = (i for i, kind in types if kind[1:].isspace() or not self._flags[i] & JOIN_LEFT)
        return np.array([UNK_ID, EOS_ID, *opening], dtype=np.int32)

    def divide(self, text: str) -> tuple[str, str]:
        """A text is divided before its last chunk; what is lower case depends on no other."""
        last = text.rsplit(None, 1)[-1:]
        begin = text.rindex(last[0]) if last else 0
        implicit = begin > 1 and text[begin - 1] == " " and not text[begin - 2].isspace()
        return text[: begin - implicit], text[begin:]

    def encode_prompt(self, text: str) -> IdArray:
        """As encode, but without a lone trailing space, which the next word will bring.

        A space at the very start or after other white space is a token and stays.
        """
        return self.encode(text[:-1] if re.search(r"\S \Z", text) else text)

    def beginnings(self, text: str) -> list[Beginning]:
        """The last token may go on, and the last two may be one yet: "don'" and "3." do.

        After a lone space comes what brings one, or white space that is a token; <UNK> is taken
        for a word.
        """
        text = text.lower() if self.lowercase else text
        if not self.pretokenized and re.search(r"\S \Z", text):
            kinds = self._types_in(text[:-1])
            return [Beginning(*self._known_of(kinds), self.after_space())]
        kinds = self._types_in(text)
        if not text or text[-1].isspace():
            return [Beginning(*self._known_of(kinds))]
        return [self._last_of(*way) for way in self.ways(kinds)]

    def after_space(self) -> IdArray:
        """The ids (K,) of what may come after a lone space: what brings one, or it is a token."""
        lone = self._vocabulary.id_of("0 ")
        types = enumerate(self._vocabulary.types, NUM_SPECIALS)
        opening = (i for i, kind in types if not _spacing_flags(kind) & JOIN_LEFT)
        return np.fromiter({UNK_ID, lone, *opening}, dtype=np.int32)

    def _types_in(self, text: str) -> list[str]:
        """The types of a text, known or not."""
        found = chunks(text, self.pretokenized)
        return list(chain.from_iterable(map(self._chunk_ids.types, found)))

    def _known_of(self, kinds: Sequence[str]) -> tuple[IdArray, tuple[str, ...]]:
        """The ids (N,) of types, and those that have none."""
        ids = np.fromiter(map(self._vocabulary.id_of, kinds), dtype=np.int32)
        return ids, tuple(kinds[i] for i in np.flatnonzero(ids == UNK_ID).tolist())

    def _settled(self, kinds: Sequence[str]) -> int:
        """How many of the types of a text that ends in a token no more text can change."""
        if self.pretokenized or len(kinds) < 2:
            return len(kinds) - 1
        both = kinds[-2][1:] + kinds[-1][1:]
        touches = int(kinds[-1][0]) & JOIN_LEFT
        one = any(next(types_in(both + more))[1:] == both + more for more in ("a", _DIGIT))
        return len(kinds) - (2 if touches and one else 1)

    def ways(self, kinds: Sequence[str]) -> Iterator[tuple[Sequence[str], tuple[str, ...]]]:
        """How a text that ends in a token may be cut, from the types of what is there of it.

        Each way is the types before the last one, and the beginnings that the last one may have.
        """
        for at in range(len(kinds) - 1, self._settled(kinds) - 1, -1):
            begun = "".join(kind[1:] for kind in kinds[at:])
            left = int(kinds[at][0]) & JOIN_LEFT
            last: tuple[str, ...] = (f"{left}{begun}",)
            if not (self.pretokenized or begins_with_word(begun)):  # more may join it on its right
                last += (f"{left | JOIN_RIGHT}{begun}",)
            yield kinds[:at], last

    def _last_of(self, before: Sequence[str], spellings: tuple[str, ...]) -> Beginning:
        """That the last token begins so, after types."""
        found = {
            i: kind
            for i, kind in enumerate(self._vocabulary.types, NUM_SPECIALS)
            if kind.startswith(spellings)
        }
        following = np.fromiter(found, dtype=np.int32)
        return Beginning(*self._known_of(before), following, spellings, tuple(found.values()))

    def decode(self, ids: Ids, unknown: Sequence[str] = ()) -> str:
        """The text of ids (N,), the first <UNK> as the types ``unknown``, joined by their flags.

        Raises UsageError if an id is outside the vocabulary.
        """
        return "".join(self._spellings(ids, unknown))

    def decode_with_offsets(self, ids: Ids) -> tuple[str, list[tuple[int, int]]]:
        """The text of ids (N,), and for each id the range of its surface in it.

        An implicit space lies in no range. Raises UsageError if an id is outside the vocabulary.
        """
        parts = list(self._spellings(ids))  # space, surface, space, surface, ...
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64).tolist()
        return "".join(parts), list(zip(ends[0::2], ends[1::2], strict=True))

    def pieces(self, ids: Ids) -> list[str]:
        """The surfaces, with ￭ on each side where the token joins its neighbour.

        Raises UsageError if an id is outside the vocabulary.
        """
        shown = (UNK_PIECE, EOS_PIECE, *map(_shown, self._vocabulary.types))
        return [shown[i] for i in checked_ids(ids, self.vocab_size).tolist()]

    def to_files(self) -> dict[str, bytes]:
        """One file, tokenizer.json: the types in the order of their ids, and the two flags."""
        fields = {
            "lowercase": self.lowercase,
            "pretokenized": self.pretokenized,
            "types": self._vocabulary.to_json(),
        }
        return {HEADER_NAME: write_header(self.level, **fields)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """The tokenizer whose fields stand in tokenizer.json.

        Raises CheckpointError if they are not those of a word vocabulary.
        """
        check_fields(fields, {"lowercase": bool, "pretokenized": bool, "types": list})
        vocabulary = Vocabulary.from_json(fields["types"])
        if not all(map(_TYPE.fullmatch, vocabulary.types)):
            raise CheckpointError(f"{HEADER_NAME} is damaged: a type is not a flag and a word.")
        flags = {name: fields[name] for name in ("lowercase", "pretokenized")}
        return cls(vocabulary=vocabulary, **flags)

    def _spellings(self, ids: Ids, unknown: Sequence[str] = ()) -> Iterator[str]:
        """For each id two strings: the implicit space before it, if any, and its surface."""
        after_join = True
        spelled = iter(unknown)
        for i in checked_ids(ids, self.vocab_size).tolist():
            flags, surface = self._flags[i], self._surfaces[i]
            if i == UNK_ID and (kind := next(spelled, None)) is not None:
                flags, surface = _spacing_flags(kind), kind[1:]
            yield "" if after_join or flags & JOIN_LEFT else " "
            yield surface
            after_join = bool(flags & JOIN_RIGHT)


def _is_yielded(kind: str) -> bool:
    """Whether some text that is not cut already has this type, a flag and a surface, among its own.

    Whether it has depends on the surface and on what touches it, and that can be an ideograph,
    but for a stray mark, which an ideograph would take to itself and a number does not.
    """
    flag, surface = int(kind[0]), kind[1:]
    right = _IDEOGRAPH if flag & JOIN_RIGHT else ""
    for left in (_IDEOGRAPH, _DIGIT) if flag & JOIN_LEFT else ("",):
        expected = [f"0{left}"] * bool(left) + [kind] + [f"0{right}"] * bool(right)
        if list(types_in(left + surface + right)) == expected:
            return True
    return False


def _spacing_flags(kind: str) -> int:
    """The sides of a type on which no implicit space stands."""
    return JOIN_LEFT | JOIN_RIGHT if kind[1:].isspace() else int(kind[0])


def _shown(kind: str) -> str:
    """A type as a person reads it."""
    flag = int(kind[0])
    left = JOINER if flag & JOIN_LEFT else ""
    right = JOINER if flag & JOIN_RIGHT else ""
    return f"{left}{kind[1:]}{right}"
