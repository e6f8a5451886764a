r"""The types of a vocabulary as words of an ARPA file, which stand between spaces, and back.

A type is written as it is, but for what a word cannot hold: white space, controls and lone
surrogates are \x20, \u3000 or \U000e0001, a backslash is two. What would be read as <s>, </s> or
<unk> begins with \x3c. At word level ￭ stands where a token joins its neighbour without a space
(``charlm tokenize`` shows it so); one that is typed is \uffed.
"""

import unicodedata
from collections.abc import Sequence

from charlm.counts.joint import JointNGram
from charlm.display.safe_text import escape
from charlm.errors import UsageError
from charlm.tokenizers.base import NUM_SPECIALS, Tokenizer
from charlm.tokenizers.character import CharacterTokenizer
from charlm.tokenizers.normalizing import plain
from charlm.tokenizers.word import JOINER, WordTokenizer
from charlm.tokenizers.word_chunks import JOIN_LEFT, JOIN_RIGHT

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
_NAMES = frozenset((BEGIN, END, UNKNOWN))
_WRITES, _AND, _NOTHING = "}", "|", "_"  # of a chunk of a pair: a}b|c


def words_of(tokenizer: Tokenizer) -> list[str]:
    """The words (V + 1,) of all ids, that of the mark at which a sequence begins the last."""
    return [UNKNOWN, END, *_types(tokenizer), BEGIN]


def words_of_chunks(joint: JointNGram, source: Tokenizer, target: Tokenizer) -> list[str]:
    """The words (K + 2,) of the chunks of pairs, of the end and of the mark: a}b|c writes bc for a.

    A chunk that writes nothing is a}_. In a symbol }, | and _ are \\x7d, \\x7c and \\x5f.
    """
    sources, targets = (
        [_symbol(word) for word in words_of(side)[:-1]] for side in (source, target)
    )
    chunks = joint.chunks
    written = [
        _AND.join(targets[i] for i in row if i >= 0) or _NOTHING for row in chunks.target.tolist()
    ]
    taken = [sources[i] for i in chunks.source.tolist()]
    return [*map(_WRITES.join, zip(taken, written, strict=True)), END, BEGIN]


def sentence_of(tokenizer: Tokenizer, text: str) -> str:
    """A text as a program that counts words would read it, the words of its tokens in a row."""
    words = words_of(tokenizer)
    return " ".join(words[i] for i in tokenizer.encode(text).tolist())


def escaped(text: str, also: str = "") -> str:
    """A type, or a part of one, as it may stand in a word."""
    return "".join(_character(c) if _is_special(c) or c in also else c for c in text)


def _types(tokenizer: Tokenizer) -> list[str]:
    """The words of all types but <UNK> and <EOS>."""
    inner = plain(tokenizer)
    if isinstance(inner, WordTokenizer):
        written = [_surface(kind, inner.pretokenized) for kind in inner.types]
    elif isinstance(inner, CharacterTokenizer):
        written = [escaped(kind) for kind in inner.types]
    else:
        pieces = inner.pieces(range(NUM_SPECIALS, inner.vocab_size))
        written = [escaped(piece) for piece in pieces]
    words = [_character(word[0]) + word[1:] if word.lower() in _NAMES else word for word in written]
    if len(set(words)) < len(words):
        raise UsageError("two types of this vocabulary would be one word of the file.")
    return words


def _surface(kind: str, pretokenized: bool) -> str:
    """A word or its like, with its joints."""
    if pretokenized:
        return escaped(kind[1:])
    flag = int(kind[0])
    left, right = (JOINER if flag & side else "" for side in (JOIN_LEFT, JOIN_RIGHT))
    return f"{left}{escaped(kind[1:], JOINER)}{right}"


def _symbol(word: str) -> str:
    return "".join(_character(c) if c in (_WRITES, _AND, _NOTHING) else c for c in word)


def _is_special(c: str) -> bool:
    return c == "\\" or c.isspace() or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp", "Zs")


def _character(c: str) -> str:
    return "\\\\" if c == "\\" else escape(c)


def ids_of(words: Sequence[str]) -> dict[str, int]:
    """The id of each word."""
    return {word: i for i, word in enumerate(words)}
