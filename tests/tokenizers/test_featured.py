"""Laws of sources with features: each feature is a token, and no feature is a character."""

import json

import numpy as np
import pytest

from charlm.errors import CheckpointError
from charlm.tokenizers import tokenizer_from_files, train_tokenizer
from charlm.tokenizers.featured import FeaturedTokenizer
from charlm.tokenizers.features import featured, parted

LEVELS = ("char", "word", "subword")
TEXT = "a song of A and B; so they sing|sang a"


def tokenizer_of(level: str) -> FeaturedTokenizer:
    """One that knows two features, spelled like characters of its text."""
    inner = train_tokenizer([TEXT] * 3, level=level)
    return FeaturedTokenizer(inner, ["A", "a"])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("line", [TEXT, f"{TEXT}\tA", f"{TEXT}\tA;a", "a\ta"])
def test_a_line_survives_the_round_trip(level: str, line: str) -> None:
    """decode(encode(line)) is the line, as it was before and after a visit to files."""
    tokenizer = tokenizer_of(level)
    again = tokenizer_from_files(tokenizer.to_files())
    ids = tokenizer.encode(line)
    assert tokenizer.decode(ids) == tokenizer.normalise(line) == line
    assert np.array_equal(again.encode(line), ids)
    assert again.vocab_size == tokenizer.vocab_size == tokenizer.inner.vocab_size + 2
    assert again.decode_with_offsets(ids)[0] == line
    assert len(tokenizer.pieces(ids)) == len(ids)


@pytest.mark.parametrize("level", LEVELS)
def test_a_feature_is_no_character_of_the_same_spelling(level: str) -> None:
    """Features stand first, with ids that no text has; offsets are those of the text alone."""
    tokenizer = tokenizer_of(level)
    ids, offsets = tokenizer.encode_with_offsets("a\ta;A")
    assert ids.tolist()[:2] == [tokenizer.inner.vocab_size, tokenizer.inner.vocab_size + 1]
    assert np.array_equal(ids[2:], tokenizer.inner.encode("a"))
    assert offsets[:2] == [(0, 0), (0, 0)]
    assert tokenizer.pieces(ids)[:2] == ["A", "a"]
    assert not set(ids[:2].tolist()) & set(tokenizer.encode(TEXT).tolist())


def test_neither_order_nor_number_nor_separator_of_features_counts() -> None:
    """UniMorph and CoNLL-U, with spaces, with one twice, with _ for none."""
    ways = ("V;PST;3", "3|PST|V", " PST ; V;3;V", "_|V|PST|3", ["V", "3", "PST"])
    assert {featured("a", way).line for way in ways} == {"a\t3;PST;V"}
    assert featured("a", "_") == featured("a", "") == parted("a") == parted("a\t")
    with pytest.raises(ValueError, match="tab"):
        featured("a\tb", "V")


def test_unseen_features_are_left_out_and_told() -> None:
    """What is known of the line is read."""
    tokenizer = tokenizer_of("char")
    assert np.array_equal(tokenizer.encode("a\tA;PST"), tokenizer.encode("a\tA"))
    assert tokenizer.unknown_features("a\tA;PST") == ["PST"]
    assert tokenizer.unknown("z\tA;PST") == ["z"]


@pytest.mark.parametrize("features", ["A", [1], ["A", "A"], ["A;B"], [""], ["_"]])
def test_features_that_cannot_be_are_refused(features: object) -> None:
    """Of a damaged tokenizer.json."""
    files = tokenizer_of("char").to_files()
    header = {**json.loads(files["tokenizer.json"]), "features": features}
    with pytest.raises(CheckpointError, match=r"tokenizer.json"):
        tokenizer_from_files({"tokenizer.json": json.dumps(header).encode()})
