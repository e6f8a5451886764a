"""Text <-> token ids: the only package that knows what a token is.

Importing this package is cheap: the tokenizers are imported when one is trained or loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charlm.errors import CheckpointError, FieldError, must_be_one_of
from charlm.tokenizers.base import (
    LEVELS,
    NORMAL_FORMS,
    NUM_BYTES,
    NUM_SPECIALS,
    SUBWORD_MODELS,
    Tokenizer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from charlm.tokenizers.vocabulary import HasItems

__all__ = ["Tokenizer", "tokenizer_from_counts", "tokenizer_from_files", "train_tokenizer"]


def train_tokenizer(
    texts: Iterable[str],
    *,
    level: str,
    vocab_size: int | None = None,
    min_count: int | None = None,
    lowercase: bool = False,
    pretokenized: bool = False,
    subword_model: str = "unigram",
    normalize: str | None = None,
) -> Tokenizer:
    """A tokenizer for the training split, given as its sequences; each is read once.

    vocab_size counts <UNK> and <EOS>; None is no limit at char level, 50,000 at word level and
    4,000 at subword level. min_count (char and word level) leaves rarer types out; None is 2, so
    that <UNK> is trained. lowercase and pretokenized (words are what stands between spaces)
    are for words, subword_model (unigram or bpe) for subwords. ``normalize`` is the form of Unicode
    (NFC, NFD, NFKC or NFKD) in which every text is read; None leaves it as it is. The same texts
    and options give the same tokenizer.

    Raises FieldError for an option that makes no sense for the level, TextError if the texts
    hold nothing to learn from.
    """
    _check_options(level, vocab_size, min_count, lowercase, pretokenized, subword_model)
    if normalize is not None:
        if normalize not in NORMAL_FORMS:
            raise FieldError("normalize", must_be_one_of(NORMAL_FORMS, normalize))
        from charlm.tokenizers.normalizing import NormalizingTokenizer, normal_form

        inner = train_tokenizer(
            (normal_form(text, normalize, lowercase=lowercase) for text in texts),
            level=level,
            vocab_size=vocab_size,
            min_count=min_count,
            lowercase=lowercase,
            pretokenized=pretokenized,
            subword_model=subword_model,
        )
        return NormalizingTokenizer(inner, normalize)
    if level == "char":
        from charlm.tokenizers.character import CharacterTokenizer

        return CharacterTokenizer.train(texts, vocab_size=vocab_size, min_count=min_count)
    if level == "word":
        from charlm.tokenizers.word import WordTokenizer

        return WordTokenizer.train(
            texts,
            vocab_size=vocab_size,
            min_count=min_count,
            lowercase=lowercase,
            pretokenized=pretokenized,
        )
    from charlm.tokenizers.subword import SubwordTokenizer

    return SubwordTokenizer.train(texts, vocab_size=vocab_size, subword_model=subword_model)


def tokenizer_from_counts(
    counts: HasItems,
    *,
    level: str,
    vocab_size: int | None = None,
    min_count: int | None = None,
    lowercase: bool = False,
    pretokenized: bool = False,
    normalize: str | None = None,
) -> Tokenizer:
    """The same from how often each type occurs, of words or characters.

    They have been counted in lower case and in the normal form that are asked for.
    """
    _check_options(level, vocab_size, min_count, lowercase, pretokenized, "unigram")
    tokenizer: Tokenizer
    if level == "char":
        from charlm.tokenizers.character import CharacterTokenizer

        tokenizer = CharacterTokenizer.from_counts(
            counts, vocab_size=vocab_size, min_count=min_count
        )
    else:
        from charlm.tokenizers.word import WordTokenizer

        tokenizer = WordTokenizer.from_counts(
            counts,
            vocab_size=vocab_size,
            min_count=min_count,
            lowercase=lowercase,
            pretokenized=pretokenized,
        )
    if normalize is None:
        return tokenizer
    from charlm.tokenizers.normalizing import NormalizingTokenizer

    return NormalizingTokenizer(tokenizer, normalize)


def tokenizer_from_files(files: Mapping[str, bytes]) -> Tokenizer:
    """The tokenizer whose to_files() gave these bytes; files of other names are ignored.

    Runs no code from the files. Raises CheckpointError if one is missing or damaged.
    """
    from charlm.tokenizers.files import read_header

    level, fields = read_header(files)
    if "features" in fields:
        from charlm.tokenizers.featured import FeaturedTokenizer, features_in

        features = features_in(fields.pop("features"))
        return FeaturedTokenizer(_plain(level, fields, files), features)
    return _plain(level, fields, files)


def _plain(level: str, fields: dict[str, Any], files: Mapping[str, bytes]) -> Tokenizer:
    """The tokenizer of these fields, which reads texts without features. Raises CheckpointError."""
    if "normalize" in fields:
        form = fields.pop("normalize")
        if form not in NORMAL_FORMS:
            raise CheckpointError(f"The tokenizer normalizes to {form!r:.40}, which charlm lacks.")
        from charlm.tokenizers.normalizing import NormalizingTokenizer

        return NormalizingTokenizer(_of_level(level, fields, files), form)
    return _of_level(level, fields, files)


def _of_level(level: str, fields: Mapping[str, Any], files: Mapping[str, bytes]) -> Tokenizer:
    """The tokenizer of these fields. Raises CheckpointError."""
    if level == "char":
        from charlm.tokenizers.character import CharacterTokenizer

        return CharacterTokenizer.from_fields(fields)
    if level == "word":
        from charlm.tokenizers.word import WordTokenizer

        return WordTokenizer.from_fields(fields)
    if level == "subword":
        from charlm.tokenizers.subword import SubwordTokenizer

        return SubwordTokenizer.from_fields(fields, files)
    raise CheckpointError(f"The tokenizer has the level {level!r:.40}, which charlm lacks.")


def _check_options(
    level: str,
    vocab_size: int | None,
    min_count: int | None,
    lowercase: bool,
    pretokenized: bool,
    subword_model: str,
) -> None:
    """Refuse options that are out of range or mean nothing at the level: FieldError."""
    if level not in LEVELS:
        raise FieldError("level", must_be_one_of(LEVELS, level))
    smallest = NUM_SPECIALS + 1 + (NUM_BYTES if level == "subword" else 0)
    if vocab_size is not None and vocab_size < smallest:
        raise FieldError(
            "vocab_size", f"must be at least {smallest} at {level} level, got {vocab_size}."
        )
    if min_count is not None and (level == "subword" or min_count < 1):
        raise FieldError("min_count", "must be at least 1, and means nothing at subword level.")
    for name, wanted in (("lowercase", lowercase), ("pretokenized", pretokenized)):
        if wanted and level != "word":
            raise FieldError(name, f"is for word level, not {level} level.")
    if subword_model not in SUBWORD_MODELS:
        raise FieldError("subword_model", must_be_one_of(SUBWORD_MODELS, subword_model))
    if subword_model != "unigram" and level != "subword":
        raise FieldError("subword_model", f"is for subword level, not {level} level.")
