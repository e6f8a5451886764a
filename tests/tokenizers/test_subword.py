"""Laws of the subword level."""

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import CheckpointError
from charlm.tokenizers import tokenizer_from_files
from charlm.tokenizers.subword import SubwordTokenizer

VERSE = (
    "The rain came down upon the town, and down upon the sea;\n"
    "the town lay still beneath the hill, the sea ran wild and free.\n"
)
MODELS = ("unigram", "bpe")
TRAINED = {model: SubwordTokenizer.train([VERSE] * 20, subword_model=model) for model in MODELS}
any_model = pytest.mark.parametrize("model", MODELS)


def without_surrogates(text):
    """The text as the level carries it."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


@any_model
@given(
    text=st.text(st.characters(exclude_categories=()))
    | st.text("\u2581\u2585 \0\x1fa\n", max_size=30)
)
@settings(max_examples=400, deadline=None)
def test_every_text_survives_the_round_trip(model, text):
    """decode(encode(x)) == x for every text, lone surrogates read as U+FFFD; never <UNK>."""
    ids = TRAINED[model].encode(text)
    assert TRAINED[model].decode(ids) == without_surrogates(text)
    assert not {0, 1} & set(ids.tolist())


@any_model
def test_every_character_survives_the_round_trip(model):
    """All 1,112,064 Unicode scalar values come back, pieces or bytes."""
    for start in range(0, 0x110000, 0x8000):
        text = without_surrogates("".join(map(chr, range(start, start + 0x8000))))
        assert TRAINED[model].decode(TRAINED[model].encode(text)) == text


def test_golden_pieces():
    """Frequent strings are pieces, what was never seen is spelled in bytes."""
    tokenizer = SubwordTokenizer.train(["low lower lowest " * 50], vocab_size=270)
    ids = tokenizer.encode("lower é")
    assert tokenizer.pieces(ids)[-3:] == ["▁", "<0xC3>", "<0xA9>"]
    assert ids.tolist()[-2:] == [2 + 0xC3, 2 + 0xA9]
    assert "▁low" in tokenizer.pieces(range(tokenizer.vocab_size))
    assert tokenizer.decode_with_offsets(ids)[1][-3:] == [(5, 6), (6, 7), (6, 7)]


@any_model
def test_bytes_that_are_no_character(model):
    """Each byte that belongs to no character becomes a U+FFFD of its own, in place."""
    a = TRAINED[model].encode("down").tolist()
    broken = [*a, 2 + 0xE2, 2 + 0x96, *a, 2 + 0xFF, 2 + 0xC3, 2 + 0xA9]
    text, offsets = TRAINED[model].decode_with_offsets(broken)
    assert text == TRAINED[model].decode(broken) == "down\ufffd\ufffddown\ufffdé"
    assert [text[start:stop] for start, stop in offsets[-3:]] == ["\ufffd", "é", "é"]


@any_model
@pytest.mark.parametrize(
    "text", ["a", "\n", "\0", " ", "\ud800", "\u2581", "\x1f", "\u2585", "中", "ab"]
)
@pytest.mark.parametrize("vocab_size", [None, 259, 260, 400])
def test_the_smallest_texts_can_be_learned(model, text, vocab_size):
    """One character is enough, at every size, and everything else is still spelled."""
    tokenizer = SubwordTokenizer.train([text], vocab_size=vocab_size, subword_model=model)
    assert 259 <= tokenizer.vocab_size <= 262
    probe = f"{text} \u2581 and\0the  rest\n"
    assert tokenizer.decode(tokenizer.encode(probe)) == without_surrogates(probe)


def test_a_lowered_vocabulary_is_noted():
    """A text too small for the vocabulary asked for says so."""
    tokenizer = SubwordTokenizer.train(["small"], vocab_size=500)
    assert tokenizer.notes == (
        f"vocabulary lowered from 500 to {tokenizer.vocab_size}: the text is too small for more",
    )


@any_model
@pytest.mark.parametrize("vocab_size", [259, 300, None, 6000])
def test_very_many_different_characters(model, vocab_size):
    """More characters than the vocabulary holds: the rarest are spelled in bytes, and noted."""
    rng = random.Random(0)
    characters = [chr(code) for code in range(0x4E00, 0x4E00 + 6000)]
    texts = ["".join(rng.choices(characters, k=60)) for _ in range(300)]
    tokenizer = SubwordTokenizer.train(texts, vocab_size=vocab_size, subword_model=model)
    assert tokenizer.vocab_size <= (vocab_size or 4000)
    assert "rarest characters are spelled in bytes" in tokenizer.notes[0]
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in texts)


@any_model
def test_literal_specials_are_learned_as_text(model):
    """A training text full of special names gives ordinary pieces."""
    text = "<unk> </s> <s> <0x41> <UNK> <EOS> "
    tokenizer = SubwordTokenizer.train([text * 200], subword_model=model)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert "<0x75>" not in tokenizer.pieces(ids), "the u of <unk> was cut out of the text"


@any_model
def test_long_texts_are_learned_and_segmented_piece_by_piece(model):
    """A text without line breaks is not skipped, and its middle is segmented as if alone."""
    sentence = VERSE.replace("\n", " ")
    long = sentence * 300
    tokenizer = SubwordTokenizer.train([long], subword_model=model)
    assert tokenizer.vocab_size > 290
    ids = tokenizer.encode(long).tolist()
    assert ids == tokenizer.encode(sentence[:-1]).tolist() + (
        tokenizer.encode(" " + sentence[:-1]).tolist() * 299 + tokenizer.encode(" ").tolist()
    )


@any_model
def test_a_space_only_begins_a_piece(model):
    """So a text may be cut before any space without changing its segmentation."""
    pieces = TRAINED[model].pieces(range(TRAINED[model].vocab_size))
    assert not [piece for piece in pieces if "▁" in piece[1:]]


@pytest.mark.parametrize(
    ("prompt", "encoded"),
    [("the ", "the"), ("the", "the"), ("the  ", "the "), (" ", " "), ("the\n ", "the\n")],
)
def test_a_prompt_leaves_out_the_space_that_the_next_piece_brings(prompt, encoded):
    """One trailing space is dropped, if there is text before it."""
    tokenizer = TRAINED["unigram"]
    assert tokenizer.encode_prompt(prompt).tolist() == tokenizer.encode(encoded).tolist()


def test_a_large_text_is_sampled(monkeypatch):
    """Over the limit every k-th stretch is learned from, and the same ones each time."""
    texts = [f"{VERSE}{number}" for number in range(500)]
    monkeypatch.setattr("charlm.tokenizers.subword._MAX_TRAINING_CHARACTERS", 10_000)
    first, second = (SubwordTokenizer.train(iter(texts)).to_files() for _ in range(2))
    assert first == second


def test_the_library_is_silent(capfd):
    """Nothing reaches the terminal, from success or from refusal."""
    SubwordTokenizer.train([VERSE, "\0", "\u2585"], vocab_size=300)
    null_piece = b"\n\x08\n\x01\x00\x15\x00\x00\x88\xc1"
    for model in (b"junk", TRAINED["bpe"].to_files()["tokenizer.model"] + null_piece):
        with pytest.raises(CheckpointError):
            SubwordTokenizer(model=model)
    assert capfd.readouterr() == ("", "")


def hostile_models():
    """Models that are no models, or models of another mind."""
    sound = TRAINED["unigram"].to_files()["tokenizer.model"]
    yield "empty", b""
    yield "junk", random.Random(1).randbytes(5000)
    yield "half", sound[: len(sound) // 2]
    yield "header of a huge field", b"\x0a\xff\xff\xff\xff\x0f"
    yield "a piece twice", sound + b"\n\x08\n\x01a\x15\x00\x00\x88\xc1" * 2
    yield "a piece not UTF-8", sound + b"\n\x08\n\x01\xff\x15\x00\x00\x88\xc1"
    yield "an empty piece", sound + b"\n\x07\n\x00\x15\x00\x00\x88\xc1"
    yield "a score not a number", sound + b"\n\x09\n\x02qq\x15" + struct.pack("<f", float("nan"))
    yield "one more control", sound + b"\n\x0b\n\x02qq\x15\x00\x00\x88\xc1\x18\x03"
    yield "no pieces", b"\x12\x00\x1a\x00"
    yield "a normalizer of random bytes", sound + b"\x1a\x14\x12\x12" + bytes(range(100, 118))


@pytest.mark.parametrize(("model"), dict(hostile_models()).values(), ids=dict(hostile_models()))
def test_hostile_models_are_refused(model):
    """A model that is not one of ours raises CheckpointError in one sentence."""
    header = TRAINED["unigram"].to_files()["tokenizer.json"]
    with pytest.raises(CheckpointError, match=r"^tokenizer\.model is [^\n]*\.$"):
        tokenizer_from_files({"tokenizer.json": header, "tokenizer.model": model})


def test_a_model_of_another_size_is_refused():
    """Header and model must agree."""
    other = SubwordTokenizer.train(["a"]).to_files()
    mixed = {**TRAINED["bpe"].to_files(), "tokenizer.model": other["tokenizer.model"]}
    with pytest.raises(CheckpointError, match="is not the model"):
        tokenizer_from_files(mixed)


@any_model
def test_a_model_cannot_bring_a_lossy_normalizer(model):
    """Whatever a model says about spaces and prefixes, text still survives."""
    lossy = b"\x1a\x06\x18\x01\x20\x01\x28\x00"  # dummy prefix, squeezed spaces, no escaping
    sound = TRAINED[model].to_files()["tokenizer.model"]
    tokenizer = SubwordTokenizer(model=sound + lossy)
    assert tokenizer.decode(tokenizer.encode("  the  sea ")) == "  the  sea "


@any_model
def test_damaged_models_never_crash(model):
    """Flipped bits and cuts are refused, or give a tokenizer that still carries text."""
    sound = TRAINED[model].to_files()["tokenizer.model"]
    rng = random.Random(2)
    for _ in range(200):
        data = bytearray(sound)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        data = data[: rng.choice([len(data), len(data), rng.randrange(len(data))])]
        try:
            tokenizer = SubwordTokenizer(model=bytes(data))
        except CheckpointError:
            continue
        tokenizer.decode(tokenizer.encode(VERSE + "\0 ▁ é"))
