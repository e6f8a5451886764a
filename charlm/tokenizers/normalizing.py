"""A tokenizer that reads every text in a normal form of Unicode, where a person has asked for it.

Tokens are cut from the normalised text; their ranges are those of the text as it was given. For
that a text is taken apart before characters that neither become one with what stands before them
nor change places with it (Unicode Standard Annex 15): the parts can be normalised one by one, and
together they are the normalised text. What becomes of a part has the range of the whole part,
unless the part stays as it is.
"""

import functools
import json
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from charlm.tokenizers.base import FORMS, Tokenizer
from charlm.tokenizers.beginning import Beginning
from charlm.tokenizers.files import HEADER_NAME
from charlm.tokenizers.ids import IdArray, Ids
from charlm.tokenizers.word import WordTokenizer

_Form: TypeAlias = Literal["NFC", "NFD", "NFKC", "NFKD"]

_BLOCK = 4096  # characters that are normalised together: where none changes, one look is enough
# Letters that become one with what stands before them: vowels and finals of Hangul, vowel signs of
# Kirat Rai. All else that does is a mark; a test looks at every composition that Python knows.
_COMPOSING = frozenset(map(chr, (*range(0x1160, 0x1200), *range(0xD7B0, 0xD800), 0x16D67)))


class NormalizingTokenizer:
    """The tokens of another tokenizer, cut from text in a normal form.

    With ``lowercase`` (word level) that is the normal form of the text in lower case.
    """

    def __init__(self, inner: Tokenizer, form: str) -> None:
        self.inner = inner
        self.form = form
        self.level, self.vocab_size = inner.level, inner.vocab_size
        self.unk_id, self.eos_id = inner.unk_id, inner.eos_id
        self.notes = inner.notes
        self.ignores = (*inner.ignores, FORMS[form])
        self._lowercase = isinstance(inner, WordTokenizer) and inner.lowercase

    def normalise(self, text: str) -> str:
        """The text in its normal form, as far as the tokens keep it."""
        return self.inner.normalise(self._folded(text))

    def encode(self, text: str) -> IdArray:
        """The ids (N,) of the normalised text."""
        return self.inner.encode(self._folded(text))

    def encode_with_offsets(self, text: str) -> tuple[IdArray, list[tuple[int, int]]]:
        """The ids (N,) of the normalised text, and for each its range in the text as given."""
        folded = self._folded(text)
        ids, offsets = self.inner.encode_with_offsets(folded)
        if folded == text or not offsets:
            return ids, offsets
        begins, ends = self._origins(text)
        ranges = np.array(offsets)
        pairs = zip(begins[ranges[:, 0]].tolist(), ends[ranges[:, 1] - 1].tolist(), strict=True)
        return ids, list(pairs)

    def unknown(self, text: str) -> list[str]:
        """What is unknown in the normalised text, in order."""
        return self.inner.unknown(self._folded(text))

    def is_unknown(self, kind: str) -> bool:
        """Whether it is unknown and can stand in a normalised text."""
        return self.inner.is_unknown(kind) and self._folded(kind) == kind

    def openers(self) -> IdArray:
        """The ids (K,) of the types that come only once a word has ended."""
        return self.inner.openers()

    def divide(self, text: str) -> tuple[str, str]:
        """Where the normalised text can be divided, and the text itself at the same place."""
        begun = len(text)  # of the last part, which more text could change
        while begun and (begun == len(text) or not _begins(text[begun])):
            begun -= 1
        head = text[:begun]
        folded = self._folded(head)
        stop = len(folded)
        while folded:
            before = folded
            folded, rest = self.inner.divide(before)
            # An implicit space (word level) stands between the two.
            begin, end = self._origin(head, len(folded)), self._origin(head, stop - len(rest))
            if begin is not None and end is not None:
                return text[:begin], text[end:]
            if folded == before:  # one long word: only characters can be divided anywhere
                return (head, text[begun:]) if self.level == "char" else ("", text)
            stop = len(folded)
        return "", text

    def encode_prompt(self, text: str) -> IdArray:
        """The ids (N,) of a text that is to be continued."""
        return self.inner.encode_prompt(self._folded(text))

    def beginnings(self, text: str) -> list[Beginning]:
        """Those of the normalised text: what its last character may yet become is left out."""
        return self.inner.beginnings(self._folded(text))

    def decode(self, ids: Ids, unknown: Sequence[str] = ()) -> str:
        """The text of ids (N,), in its normal form as far as the ids are those of such a text.

        Raises UsageError if an id is outside the vocabulary.
        """
        return self.inner.decode(ids, unknown)

    def decode_with_offsets(self, ids: Ids) -> tuple[str, list[tuple[int, int]]]:
        """The same, and for each id the range of its characters in it. Raises UsageError."""
        return self.inner.decode_with_offsets(ids)

    def pieces(self, ids: Ids) -> list[str]:
        """Each token of ids (N,) in a readable form. Raises UsageError."""
        return self.inner.pieces(ids)

    def to_files(self) -> dict[str, bytes]:
        """The files of the other tokenizer, the form in tokenizer.json."""
        files = self.inner.to_files()
        header = {**json.loads(files[HEADER_NAME]), "normalize": self.form}
        return {**files, HEADER_NAME: json.dumps(header).encode("ascii") + b"\n"}

    def _folded(self, text: str) -> str:
        return normal_form(text, self.form, lowercase=self._lowercase)

    def _origins(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where what each character (M,) of the normalised text comes from begins and ends."""
        begins, ends = [], []
        for part in self._parts(text):
            if part.stays:
                places = np.arange(part.begin, part.end)
                begins.append(places)
                ends.append(places + 1)
            else:
                begins.append(np.full(part.length, part.begin))
                ends.append(np.full(part.length, part.end))
        return np.concatenate(begins), np.concatenate(ends)

    def _origin(self, text: str, place: int) -> int | None:
        """The place in the text of one in its normal form; None if it is inside of what changed."""
        at = 0
        for begin, end in _blocks(text):
            length = len(self._folded(text[begin:end]))
            if at + length < place:
                at += length
                continue
            for part in self._parts(text[begin:end]):
                if place == at:
                    return begin + part.begin
                if place < at + part.length:
                    return begin + part.begin + place - at if part.stays else None
                at += part.length
            return end
        return 0

    def _parts(self, text: str) -> "Iterator[_Part]":
        """The text in parts that are normalised each by itself."""
        for begin, end in _blocks(text):
            block = text[begin:end]
            if self._folded(block) == block:
                yield _Part(begin, end, end - begin, True)
                continue
            stops = [begin + i for i in range(1, len(block)) if _begins(block[i])]
            for first, stop in zip([begin, *stops], [*stops, end], strict=True):
                part = text[first:stop]
                folded = self._folded(part)
                yield _Part(first, stop, len(folded), folded == part)


class _Part(NamedTuple):
    """A part text[begin:end], ``length`` characters in the normal form; whether it is the same."""

    begin: int
    end: int
    length: int
    stays: bool


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer that cuts the text, whatever is done to the text before."""
    return tokenizer.inner if isinstance(tokenizer, NormalizingTokenizer) else tokenizer


def folded(tokenizer: Tokenizer, text: str) -> str:
    """The text in the normal form that a tokenizer reads it in, if it has one."""
    if isinstance(tokenizer, NormalizingTokenizer):
        return normal_form(text, tokenizer.form)
    return text


def normal_form(text: str, form: str, *, lowercase: bool = False) -> str:
    """The text in a normal form, or that of what it is in lower case."""
    name = cast(_Form, form)
    text = unicodedata.normalize(name, text)
    # What composes in lower case need not do so in upper case: a caron on j, but not on J.
    return unicodedata.normalize(name, text.lower()) if lowercase else text


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """The ranges of blocks of a text, between which nothing composes."""
    begin = 0
    while begin < len(text):
        end = min(begin + _BLOCK, len(text))
        while end < len(text) and not _begins(text[end]):
            end += 1
        yield begin, end
        begin = end


@functools.lru_cache(maxsize=2**16)
def _begins(char: str) -> bool:
    """Whether no character before this one has to do with what becomes of it."""
    first = unicodedata.normalize("NFKD", char)[0]
    return unicodedata.category(first)[0] != "M" and first not in _COMPOSING
