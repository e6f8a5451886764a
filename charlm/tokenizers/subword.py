"""Subword level: SentencePiece unigram or BPE pieces, without loss.

Every character that is not part of a piece is spelled in its UTF-8 bytes, for which there are
256 types; so <UNK> never comes out of a text. SentencePiece writes a space as U+2581; a literal
U+2581 never reaches it but is spelled in bytes. A lone surrogate has no UTF-8 and is read as
U+FFFD.
"""

import bisect
import functools
import io
import math
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import sentencepiece

from charlm.errors import CheckpointError, TextError
from charlm.tokenizers.base import (
    EOS_ID,
    EOS_PIECE,
    NUM_BYTES,
    NUM_SPECIALS,
    UNK_ID,
    UNK_PIECE,
    UNK_TEXT,
)
from charlm.tokenizers.beginning import Beginning
from charlm.tokenizers.character import count_characters
from charlm.tokenizers.files import (
    HEADER_NAME,
    MODEL_NAME,
    check_fields,
    read_file,
    write_header,
)
from charlm.tokenizers.ids import IdArray, Ids, checked_ids

DEFAULT_VOCAB_SIZE = 4000
_FIRST_PIECE_ID = NUM_SPECIALS + NUM_BYTES  # after the specials come the bytes, in order

_SPACE_MARK = "\u2581"
_SPACE_MARK_IDS = [NUM_SPECIALS + byte for byte in _SPACE_MARK.encode()]
_UNCARRIED = "\0\x1f\u2581\u2585"  # characters that SentencePiece drops, or skips the sentence for
_SURROGATE = re.compile("[\ud800-\udfff]")

# A stretch of text of at most 1,000 characters, cut before a space where there is one: no piece
# holds a space but at its start, so such a cut changes no segmentation. Left whole, a long text
# would be segmented by scores summed in float32 over all of it, and skipped in training.
_STRETCH = re.compile(r".{1,500}[^ ]{0,500}", re.DOTALL)
_MAX_TRAINING_CHARACTERS = 32_000_000
_MAX_CHARACTER_SHARE = 0.75  # of the pieces may be single characters

# A normalizer and a denormalizer that leave text alone, as fields 3 and 5 of the model's protocol
# buffer. Appended, they override what the model says.
_LOSSLESS = b"\x1a\x12\n\x08identity\x12\x00\x18\x00\x20\x00\x28\x01*\x02\x12\x00"
_ERRORS_ONLY = 2
_THREADS = 1  # the pieces depend on it; two spin on a busy machine and take five times as long


class SubwordTokenizer:
    """Pieces and bytes <-> ids. Lossless for every text without lone surrogates."""

    level = "subword"
    ignores: tuple[str, ...] = ()
    unk_id = UNK_ID
    eos_id = EOS_ID

    def __init__(self, *, model: bytes, notes: tuple[str, ...] = ()) -> None:
        """Read a SentencePiece model. Raises CheckpointError if it is damaged or unsuitable."""
        self.notes = notes
        self._model = model
        self._processor = _load(model)
        self.vocab_size = self._processor.get_piece_size()
        self._pieces = [
            UNK_PIECE,
            EOS_PIECE,
            *map(self._processor.id_to_piece, range(NUM_SPECIALS, self.vocab_size)),
        ]
        self._spellings = [  # UTF-8, or a part of it
            UNK_TEXT.encode(),
            b"",
            *(bytes([byte]) for byte in range(NUM_BYTES)),
            *(piece.replace(_SPACE_MARK, " ").encode() for piece in self._pieces[_FIRST_PIECE_ID:]),
        ]

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        vocab_size: int | None = None,
        subword_model: str = "unigram",
    ) -> Self:
        """Learn the pieces of ``texts``: at most vocab_size types, fewer if the text is small.

        None stands for DEFAULT_VOCAB_SIZE. Raises TextError if there is no text.
        """
        wanted = vocab_size or DEFAULT_VOCAB_SIZE
        stretches = [part for text in texts for part in _STRETCH.findall(_without_surrogates(text))]
        if not stretches:
            raise TextError("There is no text to learn subword pieces from.")
        rare = _rare_characters(count_characters(stretches), wanted)
        model = _learn(_sentences(_sample(stretches), rare), wanted, subword_model)
        tokenizer = cls(model=model)
        tokenizer.notes = tuple(_notes(len(rare), wanted, tokenizer.vocab_size))
        return tokenizer

    def normalise(self, text: str) -> str:
        """The text, lone surrogates as U+FFFD: bytes stand in for what has no piece."""
        return _without_surrogates(text)

    def encode(self, text: str) -> IdArray:
        """The ids (N,) of the N pieces and bytes of a text."""
        parts = iter(_without_surrogates(text).split(_SPACE_MARK))
        ids = self._encode_part(next(parts))
        for part in parts:
            ids += _SPACE_MARK_IDS
            ids += self._encode_part(part)
        return np.array(ids, dtype=np.int32)

    def encode_with_offsets(self, text: str) -> tuple[IdArray, list[tuple[int, int]]]:
        """The ids (N,) of a text, and for each the range of the characters it is part of."""
        ids = self.encode(text)
        return ids, self.decode_with_offsets(ids)[1]  # a lone surrogate is U+FFFD: as long

    def unknown(self, text: str) -> list[str]:
        """Nothing: bytes spell whatever has no piece."""
        del text
        return []

    def is_unknown(self, kind: str) -> bool:
        """Nothing is."""
        del kind
        return False

    def openers(self) -> IdArray:
        """The ids (K,) of the pieces that begin with white space, and <EOS>."""
        opens = (text.decode("utf-8", "ignore")[:1].isspace() for text in self._spellings)
        return np.array([EOS_ID, *(i for i, is_one in enumerate(opens) if is_one)], dtype=np.int32)

    def divide(self, text: str) -> tuple[str, str]:
        """A text is divided before its last stretch, which is all that more text can change."""
        part = text[text.rfind(_SPACE_MARK) + 1 :]
        begin = len(text)
        for match in _STRETCH.finditer(part):
            begin = len(text) - len(part) + match.start()
        return text[:begin], text[begin:]

    def encode_prompt(self, text: str) -> IdArray:
        """As encode, but without one trailing space, which the next piece will bring."""
        return self.encode(text[:-1] if len(text) > 1 and text.endswith(" ") else text)

    def beginnings(self, text: str) -> list[Beginning]:
        """The last piece may reach beyond the end, from any place it may begin at.

        A way is one if the tokenizer cuts its own text that way: a beginning, at the end of a
        piece, of what it cuts is cut alike.
        """
        head, tail = self.divide(_without_surrogates(text))
        space = tail.rfind(" ")
        if space > 0:  # no piece has a space but at its start
            head, tail = head + tail[:space], tail[space:]
        settled, ids = self.encode(head).tolist(), self.encode(tail).tolist()
        if not ids:
            return [Beginning(np.array(settled, dtype=np.int32))]
        ways = {tuple(ids[:-1]): [ids[-1]]}
        texts, pieces = self._sorted_pieces
        for at in range(max(0, len(tail) - max(map(len, texts))), len(tail)):
            begun = tail[at:]
            low = bisect.bisect_right(texts, begun)
            high = bisect.bisect_left(texts, begun + chr(sys.maxunicode))
            for piece, longer in zip(pieces[low:high], texts[low:high], strict=True):
                *before, last = self.encode(tail[:at] + longer).tolist()
                if last == piece:
                    ways.setdefault(tuple(before), []).append(piece)
        return [
            Beginning(
                np.array([*settled, *before], dtype=np.int32),
                following=np.array(last, dtype=np.int32),
            )
            for before, last in ways.items()
        ]

    @functools.cached_property
    def _sorted_pieces(self) -> tuple[list[str], list[int]]:
        """The texts of all pieces, in order, and their ids."""
        pairs = sorted(
            (spelling.decode(), i)
            for i, spelling in enumerate(self._spellings[_FIRST_PIECE_ID:], _FIRST_PIECE_ID)
        )
        return [text for text, _ in pairs], [i for _, i in pairs]

    def decode(self, ids: Ids, unknown: Sequence[str] = ()) -> str:
        """The text of ids (N,); each byte that belongs to no character becomes U+FFFD.

        ``unknown`` has nothing to tell here. Raises UsageError if an id is outside the vocabulary.
        """
        del unknown
        return _SURROGATE.sub(UNK_TEXT, _decode_bytes(self._spell(ids)))

    def decode_with_offsets(self, ids: Ids) -> tuple[str, list[tuple[int, int]]]:
        """The text of ids (N,), and for each id the range of the characters it is part of.

        Raises UsageError if an id is outside the vocabulary.
        """
        spelled = self._spell(ids)
        text = _decode_bytes(spelled)
        sizes = [len(_encode_bytes(character)) for character in text]
        owner = np.repeat(np.arange(len(text)), sizes).tolist()  # byte -> its character
        offsets = []
        byte, end = 0, 0
        for spelling in spelled:
            if spelling:
                start, byte = owner[byte], byte + len(spelling)
                end = owner[byte - 1] + 1
                offsets.append((start, end))
            else:
                offsets.append((end, end))
        return _SURROGATE.sub(UNK_TEXT, text), offsets

    def pieces(self, ids: Ids) -> list[str]:
        """The pieces, with ▁ for a space; bytes as <0x41>.

        Raises UsageError if an id is outside the vocabulary.
        """
        return [self._pieces[i] for i in checked_ids(ids, self.vocab_size).tolist()]

    def to_files(self) -> dict[str, bytes]:
        """Two files: tokenizer.json, and tokenizer.model as SentencePiece reads it."""
        header = write_header(self.level, vocab_size=self.vocab_size)
        return {HEADER_NAME: header, MODEL_NAME: self._model}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], files: Mapping[str, bytes]) -> Self:
        """The tokenizer whose fields stand in tokenizer.json.

        Raises CheckpointError if they, or the model beside them, are damaged.
        """
        check_fields(fields, {"vocab_size": int})
        tokenizer = cls(model=read_file(files, MODEL_NAME))
        if tokenizer.vocab_size != fields["vocab_size"]:
            raise CheckpointError(f"{MODEL_NAME} is not the model {HEADER_NAME} describes.")
        return tokenizer

    def _encode_part(self, part: str) -> list[int]:
        """The ids of a text without U+2581 and lone surrogates."""
        return [i for stretch in _STRETCH.findall(part) for i in self._processor.encode(stretch)]

    def _spell(self, ids: Ids) -> list[bytes]:
        """The bytes that each id adds to the text."""
        return [self._spellings[i] for i in checked_ids(ids, self.vocab_size).tolist()]


def _without_surrogates(text: str) -> str:
    return _SURROGATE.sub(UNK_TEXT, text)


def _encode_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decode_bytes(spelled: list[bytes]) -> str:
    """The text of the bytes, in which each byte that is not UTF-8 is a lone surrogate."""
    return b"".join(spelled).decode("utf-8", "surrogateescape")


def _rare_characters(counts: Mapping[str, int], vocab_size: int) -> set[str]:
    """The characters that are left to their bytes so that pieces fit in the vocabulary too."""
    room = math.ceil(_MAX_CHARACTER_SHARE * (vocab_size - _FIRST_PIECE_ID))
    # The space comes first: it must be a piece, for its bytes would be those of U+2581.
    ranked = [" ", *sorted(counts.keys() - " ", key=lambda kind: (-counts[kind], kind))]
    return set(ranked[room:])


def _notes(num_rare: int, wanted: int, vocab_size: int) -> Iterator[str]:
    if num_rare:
        yield f"the {num_rare} rarest characters are spelled in bytes"
    if vocab_size < wanted:
        reason = "the text is too small for more"
        yield f"vocabulary lowered from {wanted} to {vocab_size}: {reason}"


def _sample(stretches: list[str]) -> list[str]:
    """Every k-th stretch, so that training takes under a minute."""
    step = math.ceil(sum(map(len, stretches)) / _MAX_TRAINING_CHARACTERS)
    return stretches[::step]


def _sentences(stretches: Iterable[str], rare: set[str]) -> list[str]:
    """The stretches cut at the characters that are not to become pieces, and a space."""
    cuts = str.maketrans(dict.fromkeys(rare.union(_UNCARRIED), "\0"))
    cut = [part for stretch in stretches for part in stretch.translate(cuts).split("\0") if part]
    return [*cut, " "]


def _learn(sentences: Iterable[str], vocab_size: int, subword_model: str) -> bytes:
    """A SentencePiece model with at most vocab_size types."""
    model = io.BytesIO()
    learn = functools.partial(
        sentencepiece.SentencePieceTrainer.train,
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type=subword_model,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        character_coverage=1.0,
        byte_fallback=True,
        unk_id=UNK_ID,
        eos_id=EOS_ID,
        bos_id=-1,
        pad_id=-1,
        # Names that hold an uncarried character cannot be met in a text; <unk> would be cut out.
        unk_piece="\u2585unk",
        eos_piece="\u2585eos",
        num_threads=_THREADS,
        minloglevel=_ERRORS_ONLY,
    )
    _beside(learn)
    return model.getvalue()


def _beside(work: Callable[[], object]) -> None:
    """Do it in a thread and wait: while C++ is at work signals are heard here all the same."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    if failed:
        raise failed[0]


def _load(model: bytes) -> Any:
    """The SentencePieceProcessor of a model that has been looked over.

    Raises CheckpointError.
    """
    sentencepiece.set_min_log_level(_ERRORS_ONLY)
    try:
        # First alone, so that a model cut short cannot swallow what is appended to it.
        sentencepiece.SentencePieceProcessor().load_from_serialized_proto(model)
        processor = sentencepiece.SentencePieceProcessor()
        processor.load_from_serialized_proto(model + _LOSSLESS)
        suitable = _has_specials(processor) and _has_bytes(processor) and _has_pieces(processor)
    except (RuntimeError, ValueError) as error:  # ValueError: a piece that is not UTF-8
        raise CheckpointError(f"{MODEL_NAME} is damaged: SentencePiece refuses it.") from error
    if not suitable:
        raise CheckpointError(f"{MODEL_NAME} is not a model that charlm has made.")
    return processor


def _has_specials(processor: Any) -> bool:
    return bool(
        (processor.unk_id(), processor.eos_id()) == (UNK_ID, EOS_ID)
        and processor.bos_id() == processor.pad_id() == -1
    )


def _has_bytes(processor: Any) -> bool:
    ids = range(NUM_SPECIALS, _FIRST_PIECE_ID)
    return processor.get_piece_size() >= _FIRST_PIECE_ID and all(
        processor.id_to_piece(i) == f"<0x{i - NUM_SPECIALS:02X}>" and processor.is_byte(i)
        for i in ids
    )


def _has_pieces(processor: Any) -> bool:
    """Whether the space and all further types are ordinary pieces, their scores finite."""
    ids = range(_FIRST_PIECE_ID, processor.get_piece_size())
    return processor.piece_to_id(_SPACE_MARK) in ids and all(
        processor.id_to_piece(i)
        and math.isfinite(processor.get_score(i))
        and not (processor.is_control(i) or processor.is_byte(i) or processor.is_unused(i))
        for i in ids
    )
