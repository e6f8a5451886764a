"""tokenizer.json of the library tokenizers, where that can cut a text exactly as charlm does.

It can for characters, for words that stand between spaces, and for subwords where it comes to the
same pieces (it sums scores otherwise, so that is tried on a thousand texts). It cannot for words
with joints, and what is read in lower case or a normal form is left to the Unicode of Python. The
specials have a space in their names, so no text is ever taken for one. Two texts are cut otherwise
there, of subwords: a literal U+2581, which charlm spells in bytes, is a space, and a literal
<0x41>, the name of a byte, is that byte.
"""

import importlib.util
import json
import random
import string
from typing import Any

from charlm.tokenizers.base import NUM_BYTES, NUM_SPECIALS, Tokenizer
from charlm.tokenizers.character import CharacterTokenizer
from charlm.tokenizers.subword import SubwordTokenizer
from charlm.tokenizers.word import WordTokenizer

UNKNOWN, END = "<UNK> ", "<EOS> "
_SPACE_MARK = "\u2581"
_TEXTS = 1_000  # on which subwords are compared
_WHITE = "".join(c for c in map(chr, range(0x3001)) if c.isspace())  # all that Python knows
_ODD = [
    "",
    " ",
    "  ",
    "\n",
    "a\tb",
    "naïve 你好 ☃",
    "<UNK><EOS>",
    "\u200d\ufeff",
    "é e\u0301",
]


def tokenizer_json(tokenizer: Tokenizer | None) -> tuple[dict[str, Any] | None, str]:
    """What the file holds, or None, and a sentence that says which of the two and why."""
    if isinstance(tokenizer, CharacterTokenizer):
        return _of_types(tokenizer.types, _split(r"[\s\S]", inverted=False), "Fuse"), _EXACT
    if isinstance(tokenizer, WordTokenizer):
        if not tokenizer.pretokenized or tokenizer.lowercase:
            return None, f"{_LEFT_OUT} words with joints, or in lower case"
        types = [kind[1:] for kind in tokenizer.types]
        outside = "".join(f"\\x{{{ord(c):x}}}" for c in _WHITE)
        return _of_types(types, _split(f"\\n|[^{outside}]+", inverted=True), None), _EXACT
    if isinstance(tokenizer, SubwordTokenizer):
        return _of_subwords(tokenizer)
    return None, f"{_LEFT_OUT} tokens of this kind"


_EXACT = "tokenizer.json cuts as charlm does"
_LEFT_OUT = "no tokenizer.json: the library tokenizers cannot express"


def _whole(model: dict[str, Any], **parts: Any) -> dict[str, Any]:
    """A file of this model; parts that are not named are not there."""
    absent = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    empty: dict[str, Any] = dict.fromkeys(absent)
    return {"version": "1.0", **empty, "added_tokens": [], **parts, "model": model}


def _split(pattern: str, *, inverted: bool) -> dict[str, Any]:
    """Each match is a token; inverted, all that is none is dropped."""
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Removed" if inverted else "Isolated",
        "invert": inverted,
    }


def _of_types(
    types: tuple[str, ...] | list[str], cut: dict[str, Any], decoder: str | None
) -> dict[str, Any]:
    """Types that are looked up as they are."""
    vocabulary = {UNKNOWN: 0, END: 1} | {kind: i for i, kind in enumerate(types, NUM_SPECIALS)}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN}
    return _whole(model, pre_tokenizer=cut, decoder=decoder and {"type": decoder})


def _of_subwords(tokenizer: SubwordTokenizer) -> tuple[dict[str, Any] | None, str]:
    """Pieces of either algorithm: the one that comes to the same ids."""
    if importlib.util.find_spec("tokenizers") is None:
        return None, "no tokenizer.json: the package tokenizers, which compares it, is not here"
    import sentencepiece
    import tokenizers

    data = tokenizer.to_files()["tokenizer.model"]
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    numbers = range(processor.get_piece_size())
    pieces = [UNKNOWN, END, *(processor.id_to_piece(i) for i in numbers[NUM_SPECIALS:])]
    scores = [processor.get_score(i) for i in numbers]
    texts = _texts(pieces[NUM_SPECIALS + NUM_BYTES :])
    right = [tokenizer.encode(text).tolist() for text in texts]
    for model in (_unigram(pieces, scores), _merges(pieces)):
        found = _whole(
            model,
            normalizer={"type": "Replace", "pattern": {"String": " "}, "content": _SPACE_MARK},
            decoder={
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": _SPACE_MARK}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"},
                ],
            },
        )
        made = tokenizers.Tokenizer.from_str(json.dumps(found))
        if [one.ids for one in made.encode_batch(texts)] == right:
            return found, _EXACT
    return None, f"{_LEFT_OUT} these subwords: it cuts some texts otherwise"


def _texts(pieces: list[str]) -> list[str]:
    """Texts to compare on: pieces in a row, and characters."""
    draw = random.Random(0)
    spelled = [piece.replace(_SPACE_MARK, " ") for piece in pieces]
    letters = sorted({c for piece in spelled for c in piece}) + list(string.printable)
    rows = ["".join(draw.choices(spelled, k=draw.randint(1, 20))) for _ in range(_TEXTS // 2)]
    rows += ["".join(draw.choices(letters, k=draw.randint(1, 40))) for _ in range(_TEXTS // 2)]
    return [*_ODD, *spelled, *rows]


def _unigram(pieces: list[str], scores: list[float]) -> dict[str, Any]:
    """The likeliest pieces."""
    first = NUM_SPECIALS + NUM_BYTES
    least = min(scores[first:], default=0.0)  # what is unknown costs so much and more
    vocabulary = [
        [piece, score if i >= first else least]
        for i, (piece, score) in enumerate(zip(pieces, scores, strict=True))
    ]
    return {"type": "Unigram", "unk_id": 0, "vocab": vocabulary, "byte_fallback": True}


def _merges(pieces: list[str]) -> dict[str, Any]:
    """Pairs that are merged, those of the first pieces first."""
    ids = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for piece in pieces[NUM_SPECIALS + NUM_BYTES :]:
        halves = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        there = [pair for pair in halves if pair[0] in ids and pair[1] in ids]
        merges += sorted(there, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
    return {
        "type": "BPE",
        "vocab": ids,
        "merges": [list(pair) for pair in merges],
        "unk_token": UNKNOWN,
        "byte_fallback": True,
        "fuse_unk": False,
    }
