"""Laws of the character level."""

import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import TextError
from charlm.tokenizers.character import CharacterTokenizer, count_characters

any_text = st.text(st.characters(exclude_categories=()))


def test_golden_ids():
    """Ids go by count, then by code point, after <UNK> and <EOS>."""
    tokenizer = CharacterTokenizer.train(["hello", "ho"], min_count=1)
    assert tokenizer.vocab_size == 6
    assert tokenizer.encode("hello ho").tolist() == [2, 5, 3, 3, 4, 0, 2, 4]
    assert tokenizer.pieces([2, 3, 4, 5]) == ["h", "l", "o", "e"]
    assert tokenizer.decode([2, 0, 1, 4]) == "h\ufffdo"
    assert tokenizer.decode_with_offsets([2, 0, 1, 4])[1] == [(0, 1), (1, 2), (2, 2), (2, 3)]


@given(texts=st.lists(any_text))
@settings(max_examples=200, deadline=None)
def test_counting_agrees_with_counting_one_by_one(texts):
    """Array-speed counting equals collections.Counter, across the borders of texts."""
    assert count_characters(texts) == Counter(character for text in texts for character in text)


def test_counting_in_blocks(monkeypatch):
    """The counts do not depend on how texts fall into blocks."""
    texts = ["abc", "", "ab", "a" * 50, "\U0010ffff"]
    whole = count_characters(texts)
    monkeypatch.setattr("charlm.tokenizers.character._BLOCK_CHARACTERS", 4)
    assert count_characters(iter(texts)) == whole


@given(text=any_text)
@settings(max_examples=200, deadline=None)
def test_ids_agree_with_a_dictionary(text):
    """encode equals looking up each character, <UNK> where it is missing."""
    tokenizer = CharacterTokenizer.train(["the quick brown fox, été, 中文 \ud800 😀"])
    shown = tokenizer.pieces(range(tokenizer.vocab_size))
    ids = {piece: i for i, piece in enumerate(shown) if i >= 2}
    assert tokenizer.encode(text).tolist() == [ids.get(character, 0) for character in text]


def test_surrogates_stay_apart():
    """Two lone surrogates are two characters, and do not become one on the way."""
    tokenizer = CharacterTokenizer.train(["\ud83d\ude00"])
    assert len(tokenizer.encode("\ud83d\ude00")) == 2
    assert tokenizer.encode("😀").tolist() == [0]


def test_cuts():
    """vocab_size keeps the most frequent characters, min_count drops the rare ones."""
    assert CharacterTokenizer.train(["aaabbc"], vocab_size=4).pieces([2, 3]) == ["a", "b"]
    assert CharacterTokenizer.train(["aaabbc"], min_count=3).vocab_size == 3
    with pytest.raises(TextError, match=r"No token occurs 2 times .* a lower minimum count"):
        CharacterTokenizer.train(["abc"], min_count=2)


def test_a_prompt_keeps_its_space():
    """No character brings a space, so a prompt is encoded whole."""
    tokenizer = CharacterTokenizer.train(["a b"])
    np.testing.assert_array_equal(tokenizer.encode_prompt("a "), tokenizer.encode("a "))


def test_encoding_is_the_work_of_arrays():
    """However long a text is, as few functions are called: no loop of Python reads characters."""
    line = "the quick brown fox jumps over the lazy dog "
    tokenizer = CharacterTokenizer.train([line])

    def calls(text):
        seen = []
        sys.setprofile(lambda _, event, __: seen.append(event))
        try:
            ids = tokenizer.encode(text)
        finally:
            sys.setprofile(None)
        assert len(ids) == len(text)
        return len(seen)

    calls(line)
    assert calls(line * 50_000) == calls(line * 50) < 200


def test_characters_that_occur_once_are_unknown():
    """So that <UNK> is learned; said in a note, and not done where nothing occurs twice."""
    tokenizer = CharacterTokenizer.train(["hello", "ho"])
    assert tokenizer.pieces(range(tokenizer.vocab_size)) == ["<UNK>", "<EOS>", "h", "l", "o"]
    assert tokenizer.encode("hello").tolist() == [2, 0, 3, 3, 4]
    assert "1 of the characters occur once" in tokenizer.notes[0]
    tokenizer = CharacterTokenizer.train(["abc"])
    assert tokenizer.vocab_size == 5
    assert tokenizer.notes == ()
