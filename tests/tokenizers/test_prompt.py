"""Laws of a text that tokens continue: as they come one by one, it is what they are at once."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charlm.tokenizers.base import NUM_SPECIALS, UNK_ID, UNK_TEXT, Tokenizer
from charlm.tokenizers.normalizing import NormalizingTokenizer
from charlm.tokenizers.prompt import Prompt
from charlm.tokenizers.word import WordTokenizer
from tests.support.tiny import tokenizer_of

TEXTS = ["the cat sat (on) the mat, the é\n", "a cat? ☃ 😀 \ufffd no. the cat's"]
TOKENIZERS: dict[str, Tokenizer] = {
    **{level: tokenizer_of(level, TEXTS) for level in ("char", "word", "subword")},
    "cut": WordTokenizer.train(["the cat <unk> .\nso"], pretokenized=True, min_count=1),
    "normal": NormalizingTokenizer(tokenizer_of("char", TEXTS), "NFD"),
}
MOST = 16  # ids that are decoded at a time, however long the text


def grown(prompt: Prompt, ids: Sequence[int], unknown: Sequence[str] = ()) -> list[str]:
    """The pieces of a text whose ids come one by one."""
    growing, spelled = prompt.growing(), iter(unknown)
    return [growing.add(i, next(spelled, None) if i == UNK_ID else None) for i in ids]


BYTES = st.sampled_from([NUM_SPECIALS + byte for byte in b"\xf0\x9f\x98\x80\xef\xbf\xbda\xe2"])
EXPLICIT = [NUM_SPECIALS + byte for byte in "\ufffd".encode() * 9]


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(TOKENIZERS)),
    prompt=st.sampled_from(["", "the", "the ", "the é", " ", "x\ufffd", "😀", "(the\n"]),
    data=st.data(),
)
def test_pieces_are_the_text(name: str, prompt: str, data: st.DataObject) -> None:
    """Joined they are the whole, but for the bytes of half a character at its end."""
    tokenizer = TOKENIZERS[name]
    some = st.integers(0, tokenizer.vocab_size - 1)
    ids = data.draw(st.lists(some | BYTES if name == "subword" else some, max_size=80))
    check(tokenizer, prompt, ids)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=5)))
    growing, pieces = Prompt(tokenizer, prompt).growing(), ""
    for begin, end in zip([0, *cuts], [*cuts, len(ids)], strict=True):
        pieces += growing.add_all(ids[begin:end])
    assert pieces == "".join(grown(Prompt(tokenizer, prompt), ids))


@example(ids=EXPLICIT)
@example(ids=EXPLICIT[1:])
@example(ids=[*EXPLICIT[:1] * 14, *EXPLICIT])
@settings(max_examples=300, deadline=None)
@given(ids=st.lists(BYTES, max_size=60))
def test_pieces_of_bytes_are_the_text(ids: list[int]) -> None:
    """The same where bytes make up characters, U+FFFD among them, or none."""
    check(TOKENIZERS["subword"], "", ids)


def check(tokenizer: Tokenizer, prompt: str, ids: list[int]) -> None:
    """That the pieces are settled text, and all of it."""
    begun = Prompt(tokenizer, prompt)
    pieces = grown(begun, ids)
    for end in range(len(ids) + 1):
        whole, settled = begun.continuation(ids[:end]), "".join(pieces[:end])
        assert whole.startswith(settled)
        assert len(whole) - len(settled) <= 3
        assert not whole[len(settled) :].strip(UNK_TEXT)


@pytest.mark.parametrize("prompt", ["", "xyzzy", "the xyzzy "])
def test_pieces_of_spelled_words_are_the_text(prompt: str) -> None:
    """Each <UNK> is what it was spelled as, after a prompt that ends in one, too."""
    begun = Prompt(TOKENIZERS["word"], prompt)
    ids = [UNK_ID, 5, UNK_ID, UNK_ID, 4, 3] * 8
    unknown = [f"{i % 4}new{i}" for i in range(ids.count(UNK_ID))]
    assert "".join(grown(begun, ids, unknown)) == begun.continuation(ids, unknown)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_no_more_is_decoded_late_than_early(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each token a bounded number of ids is decoded, also of what could be half characters."""
    tokenizer = TOKENIZERS[name]
    decode, lengths = tokenizer.decode, []

    def counted(ids: Any, unknown: Sequence[str] = ()) -> str:
        lengths.append(len(ids))
        return decode(ids, unknown)

    begun = Prompt(tokenizer, "the")
    monkeypatch.setattr(tokenizer, "decode", counted)
    begins = NUM_SPECIALS + 0xF0 if name == "subword" else UNK_ID  # a byte of four
    for ids in ([3] * 500, [begins] * 500, [begins, begins, 3] * 200):
        lengths.clear()
        grown(begun, ids)
        assert max(lengths) <= MOST
        assert len(lengths) < 3 * len(ids)
