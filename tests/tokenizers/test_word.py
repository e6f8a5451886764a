"""Laws of the word level."""

import random
import tracemalloc
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import TextError
from charlm.tokenizers import tokenizer_from_files
from charlm.tokenizers.word import DEFAULT_VOCAB_SIZE, WordTokenizer
from charlm.tokenizers.word_chunks import ChunkIds, TypeCounter, count_types

# Characters among which every rule of splitting meets every other.
MIXED = st.text(
    st.sampled_from(
        "aZéñ'’\u200d\u200c.,-_￭01٣²½Ⅳ中々〇かカー・。한ไ\u0301\u093f\ufe0f👍+<> \n\t\u00a0"
    )
)
any_text = MIXED | st.text(st.characters(exclude_categories=["Cn"]))


def learned(*texts, **options):
    """A tokenizer that knows all types of the texts."""
    return WordTokenizer.train(texts, min_count=1, **options)


def split(text):
    """The readable tokens of a text."""
    tokenizer = learned(text)
    return tokenizer.pieces(tokenizer.encode(text))


def is_ideograph_or_kana(character):
    """Whether the Unicode name says so."""
    name = unicodedata.name(character, "")
    kana = ("HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "HENTAIGANA")
    ideographs = ("CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH")
    is_letter = unicodedata.category(character)[0] == "L"
    return (is_letter and name.startswith((*ideographs, *kana))) or character in "々〆〇"


def slow_surfaces(text):
    """Tokens by the rules, one character after the other, and whether each is a word."""

    def category(i):
        return unicodedata.category(text[i])[0] if 0 <= i < len(text) else " "

    def is_letter(i):
        return category(i) == "L" and not is_ideograph_or_kana(text[i])

    def is_digit(i):
        return 0 <= i < len(text) and text[i].isdecimal()

    i = 0
    while i < len(text):
        start = i
        i += 1
        if text[start].isspace():
            yield text[start], None
            continue
        wordlike = True
        if is_letter(start):
            while (
                is_letter(i)
                or category(i) == "M"
                or (i < len(text) and text[i] in "'’\u200c\u200d" and is_letter(i + 1))
            ):
                i += 1
        elif is_digit(start):
            while is_digit(i) or (i < len(text) and text[i] in ".," and is_digit(i + 1)):
                i += 1
        else:
            wordlike = is_ideograph_or_kana(text[start])
            while category(i) == "M":
                i += 1
        yield text[start:i], wordlike


def slow_pieces(text):
    """The readable tokens of a text by the rules: surfaces, spaces, then joiners."""
    tokens = list(slow_surfaces(text))
    explicit = []
    for i, (surface, wordlike) in enumerate(tokens):
        inside = 0 < i < len(tokens) - 1
        lone = surface == " " and inside and tokens[i - 1][1] is not None is not tokens[i + 1][1]
        explicit.append(("", False) if lone else (surface, wordlike))
    left, right = [""] * len(tokens), [""] * len(tokens)
    for i in range(1, len(tokens)):
        x, y = explicit[i - 1][1], explicit[i][1]
        if not explicit[i - 1][0] or not explicit[i][0] or x is None or y is None:
            continue
        if y and not x:
            right[i - 1] = "￭"
        else:
            left[i] = "￭"
    return [left[i] + surface + right[i] for i, (surface, _) in enumerate(explicit) if surface]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        (
            "Cats average 15 hours of sleep a day.",
            ["Cats", "average", "15", "hours", "of", "sleep", "a", "day", "￭."],
        ),
        ("don't rock’n’roll dogs'", ["don't", "rock’n’roll", "dogs", "￭'"]),
        ("well-known", ["well", "￭-￭", "known"]),
        ("(see p. 3)", ["(￭", "see", "p", "￭.", "3", "￭)"]),
        ('"Hi!"', ['"￭', "Hi", "￭!", '￭"']),
        ("1,000 3.14. 1..2", ["1,000", "3.14", "￭.", "1", "￭.", "￭.￭", "2"]),
        ("abc123def", ["abc", "￭123", "￭def"]),
        ("$5 snake_case", ["$￭", "5", "snake", "￭_￭", "case"]),
        ("中文，かな", ["中", "￭文", "￭，￭", "か", "￭な"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("e\u0301te\u0301 ❤️ か\u3099", ["e\u0301te\u0301", "❤️", "か\u3099"]),
        ("a  b", ["a", " ", " ", "b"]),
        (" a\r\nb ", [" ", "a", "\r", "\n", "b", " "]),
        ("a \n b", ["a", " ", "\n", " ", "b"]),
        ("￭ a￭b", ["￭", "a", "￭￭￭", "b"]),
    ],
)
def test_golden_splits(text, pieces):
    """Words, numbers, punctuation and white space come apart as the rules say."""
    assert split(text) == pieces


@given(text=any_text)
@settings(max_examples=500, deadline=None)
def test_splitting_agrees_with_the_slow_reference(text):
    """The regular expressions split as the rules do when read character by character."""
    if text:
        assert split(text) == slow_pieces(text)


@given(text=any_text)
@settings(max_examples=300, deadline=None)
def test_known_text_survives_the_round_trip(text):
    """decode(encode(x)) == x where all types are known, whatever else was learned with them."""
    tokenizer = learned(text, "some other text")
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_golden_ids():
    """Ids go by count, then by type, after <UNK> and <EOS>."""
    tokenizer = learned("the cat, the dog.", "the end.")
    assert tokenizer.pieces(range(tokenizer.vocab_size)) == [
        "<UNK>", "<EOS>", "the", "￭.", "cat", "dog", "end", "￭,",
    ]  # fmt: skip
    assert tokenizer.encode("the dog, the cow.").tolist() == [2, 5, 7, 2, 0, 3]


def test_unknown_words_keep_their_spacing():
    """<UNK> is one token, spaced from words and touched by punctuation that joins."""
    tokenizer = learned("a (b), c.")
    assert tokenizer.decode(tokenizer.encode("a (zebra), zoo.")) == "a (\ufffd), \ufffd."
    assert tokenizer.decode([0, 0]) == "\ufffd \ufffd"


def test_implicit_spaces_belong_to_no_token():
    """The ranges leave the implicit spaces out."""
    tokenizer = learned("a bc, d")
    assert tokenizer.decode_with_offsets(tokenizer.encode("a bc, d")) == (
        "a bc, d",
        [(0, 1), (2, 4), (4, 5), (6, 7)],
    )


def test_lowercase():
    """With lowercase, decode(encode(x)) is x.lower() and case makes no new types."""
    text = "The THE the İSTANBUL ΟΔΟΣ"
    tokenizer = learned(text, lowercase=True)
    assert tokenizer.decode(tokenizer.encode(text)) == text.lower()
    assert len(set(tokenizer.encode("The THE the").tolist())) == 1


@pytest.mark.parametrize(
    ("prompt", "encoded"),
    [("the ", "the"), ("the", "the"), ("the  ", "the  "), (" ", " "), ("the\n ", "the\n ")],
)
def test_a_prompt_leaves_out_the_space_that_the_next_word_brings(prompt, encoded):
    """One lone trailing space is dropped; a space that is a token stays."""
    tokenizer = learned("the  \n the ", " ", "the\n the")
    assert tokenizer.encode_prompt(prompt).tolist() == tokenizer.encode(encoded).tolist()


def test_rare_types_are_cut():
    """By default a type must occur twice, unless none does, which is noted."""
    assert WordTokenizer.train(["a b a"]).vocab_size == 3
    tokenizer = WordTokenizer.train(["all words differ"])
    assert tokenizer.vocab_size == 5
    assert tokenizer.notes == ("min_count lowered from 2 to 1: no word occurs twice",)
    assert WordTokenizer.train(["c c b b a"], vocab_size=3).pieces([2]) == ["b"]
    with pytest.raises(TextError, match="lower minimum count"):
        WordTokenizer.train(["all words differ"], min_count=2)


def test_the_vocabulary_is_capped():
    """No more than DEFAULT_VOCAB_SIZE ids unless asked for."""
    text = " ".join(f"{number}" for number in range(DEFAULT_VOCAB_SIZE + 10))
    assert WordTokenizer.train([text, text]).vocab_size == DEFAULT_VOCAB_SIZE


def test_the_cache_is_bounded(monkeypatch):
    """Chunks are forgotten when they are many or long; the ids stay right."""
    monkeypatch.setattr(ChunkIds, "MAX_CHUNKS", 10)
    text = " ".join(f"x{number}" for number in range(100)) + " " + "long" * 100
    tokenizer = learned(text)
    for _ in range(2):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer._chunk_ids) <= 10
    assert max(map(len, tokenizer._chunk_ids)) <= ChunkIds.MAX_LENGTH


@pytest.mark.slow
def test_a_long_chunk_without_spaces():
    """A million characters without a space are encoded exactly and in little memory."""
    tokenizer = learned("a.b a", "中文中")
    text = "a.b" * 100_000 + "中文" * 100_000
    tracemalloc.start()
    ids = tokenizer.encode(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(ids) == 400_001  # b and the next a are one word
    assert peak < 40e6
    known = "a" + ".b" * 5
    assert split(known) == ["a", *["￭.￭", "b"] * 5]


# Words that somebody has cut already


SPACES = " \n\t\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029\u3000"
CUT = st.text(st.sampled_from(f"aB.<>İς\u0301\u200b\ufeff {SPACES}"))
cut_text = CUT | st.text(st.characters(exclude_categories=()))


def cut(*texts, **options):
    """A tokenizer that knows all types of texts that are cut already."""
    return learned(*texts, pretokenized=True, **options)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("do n't  stop .", ["do", "n't", "stop", "."]),
        (" (see p.3) \t中文 1,000 ", ["(see", "p.3)", "中文", "1,000"]),
        ("a\n\n b \n", ["a", "\n", "\n", "b", "\n"]),
        ("a\r\nb\rc", ["a", "\n", "b", "c"]),
        ("a\u2028b\x1cc\x85d\xa0e\u3000f", ["a", "b", "c", "d", "e", "f"]),
        ("zero\u200bwidth \ufeffmark", ["zero\u200bwidth", "\ufeffmark"]),
        ("￭a a￭", ["￭a", "a￭"]),
    ],
)
def test_golden_cuts(text, pieces):
    """Where the text is cut already, a token is what stands between white space, or a line end."""
    tokenizer = cut(text)
    assert tokenizer.pieces(tokenizer.encode(text)) == pieces


@given(text=cut_text, lowercase=st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_cut_text_comes_back_normalised(text, lowercase):
    """decode(encode(x)) == normalise(x): its lines, in each one space between two words."""
    text = text.replace("<unk>", "unk")
    tokenizer = cut(text, "some other text", lowercase=lowercase)
    lines = (text.lower() if lowercase else text).split("\n")
    expected = "\n".join(" ".join(line.split()) for line in lines)
    assert tokenizer.normalise(text) == expected
    assert tokenizer.decode(tokenizer.encode(text)) == expected


@given(text=cut_text)
@settings(max_examples=200, deadline=None)
def test_the_vocabulary_of_a_cut_text_is_its_words(text):
    """The types are the different words and, where there are lines, the line end; not <unk>."""
    tokenizer = cut(f"{text} <unk> word")
    types = tokenizer.pieces(range(2, tokenizer.vocab_size))
    assert len(set(types)) == len(types)
    ends = {"\n"} if "\n" in text else set()
    assert set(types) == ({*text.split(), "word"} | ends) - {"<unk>"}


@given(words=st.lists(st.sampled_from(["<unk>", "<UNK>", "a", "<unk>.", "<eos>", "\n"])))
@settings(max_examples=100, deadline=None)
def test_unk_in_a_cut_text_is_the_unknown_word(words):
    """`<unk>` alone between spaces has the id of <UNK>; whatever else looks like it has its own."""
    text = " ".join(words)
    tokenizer = cut("a <UNK> <unk>. <eos> \n")
    ids = tokenizer.encode(text).tolist()
    assert [i == tokenizer.unk_id for i in ids] == [word == "<unk>" for word in words]
    assert tokenizer.eos_id not in ids
    assert tokenizer.decode(ids) == tokenizer.normalise(
        " ".join("\ufffd" if word == "<unk>" else word for word in words)
    )
    assert "<unk>" not in tokenizer.pieces(range(tokenizer.vocab_size))
    # In lower case <UNK> is <unk> too; where nothing is cut, neither is anything but text.
    lower = cut("a <unk>. <eos> \n", lowercase=True).encode(text).tolist()
    assert [i == 0 for i in lower] == [word in ("<unk>", "<UNK>") for word in words]
    assert 0 not in learned("<unk> <UNK> a <unk>. <eos>", text).encode(text)


def test_where_rare_words_are_unk_already_none_is_too_rare():
    """By default a word must occur twice, but once where `<unk>` stands in the text."""

    def words(*texts, **options):
        tokenizer = WordTokenizer.train(texts, pretokenized=True, **options)
        assert tokenizer.notes == () or "min_count lowered" in tokenizer.notes[0]
        return tokenizer.pieces(range(2, tokenizer.vocab_size))

    assert words("a b a") == ["a"]
    assert words("a b a", "<unk>") == ["a", "b"]
    assert words("a b a <unk>.") == ["a"]
    assert words("a b a <UNK>", lowercase=True) == ["a", "b"]
    assert words("a b a <unk> <unk> <unk>", min_count=2) == ["a"]
    assert words("<unk> <unk> <unk> a b a", vocab_size=3) == ["a"]
    assert words("b a") == ["a", "b"]  # with a note
    assert cut("b a <unk>").notes == ()
    assert WordTokenizer.train(["a <unk> b"], pretokenized=True).notes == ()
    for texts in (["<unk> <unk>"], [" \t\u2028"], []):
        with pytest.raises(TextError):
            WordTokenizer.train(texts, pretokenized=True)
    # Where the text is not cut, <unk> is no word that tells of others.
    assert WordTokenizer.train(["a b a <unk>"]).pieces([2]) == ["a"]
    assert WordTokenizer.train(["a b a <unk>"]).vocab_size == 3


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("pretokenized", [False, True])
def test_flags_are_kept_in_the_file(lowercase, pretokenized):
    """A saved tokenizer reads texts as it did: as they are or cut, in lower case or not."""
    text = "The cat 's  the\tCat's <unk>\n"
    saved = learned(text, lowercase=lowercase, pretokenized=pretokenized)
    loaded = tokenizer_from_files(saved.to_files())
    assert (loaded.lowercase, loaded.pretokenized) == (lowercase, pretokenized)
    assert loaded.to_files() == saved.to_files()
    for each in (text, "THE  cat", "cat's <UNK>"):
        assert loaded.encode(each).tolist() == saved.encode(each).tolist()
        assert loaded.normalise(each) == saved.normalise(each)
    assert (0 in loaded.encode(text)) == pretokenized


@pytest.mark.parametrize("prompt", ["the", "the ", "the  ", "the\t", " the\u3000 "])
def test_spaces_around_a_cut_prompt_do_not_matter(prompt):
    """However a prompt ends, the next word brings one space; a line end stays."""
    tokenizer = cut("the cat\n")
    assert tokenizer.encode_prompt(prompt).tolist() == tokenizer.encode("the").tolist()
    assert tokenizer.encode_prompt(f"{prompt}\n ").tolist() == tokenizer.encode("the\n").tolist()


# Spaces between words

WORDS = {
    "Thai": "บ้าน เขา กิน และ ข้าว ของ ทุก วัน สวย ชอบ มาก ฉัน",
    "Lao": "ບ້ານ ກິນ ເຂົ້າ ຂອງ ທຸກ ວັນ ງາມ ຫຼາຍ ຂ້ອຍ",
    "Khmer": "ផ្ទះ ស៊ី បាយ របស់ រាល់ ថ្ងៃ ស្អាត ណាស់ ខ្ញុំ",
    "Burmese": "အိမ် စား ထမင်း နေ့ လှ များ ကျွန်တော် သူ",
    "Javanese": "ꦲꦺꦴꦩꦃ ꦩꦔꦤ꧀ ꦱꦼꦒ ꦢꦶꦤ ꦲꦪꦸ ꦄꦏꦸ",
    "Balinese": "ᬳᬸᬫᬄ ᬗᬚᭂᬂ ᬦᬲᬶ ᬭᬵᬳᬶ ᬚᭂᬕᬾᬕ᭄",
    "Yi": "ꀁꀂ ꀃꀄ ꀅꀆ ꀇꀈ ꀉꀊ",
    "Tangut": "𗀀𗀁 𗀂𗀃 𗀄 𗀅𗀆",
}


def unparted(script: str, spaces: bool) -> list[str]:
    """Lines of words of a script, with spaces between them or without."""
    words = WORDS[script].split()
    rng = random.Random(script)
    parted = " " if spaces else ""
    return [parted.join(rng.choices(words, k=8)) for _ in range(40)]


@pytest.mark.parametrize("pretokenized", [False, True])
@pytest.mark.parametrize("script", WORDS)
def test_words_that_no_space_parts_are_told(script: str, pretokenized: bool) -> None:
    """A line of such a script is one word: that is said, with the levels that help, also where it
    stands among twice as much text of another; where spaces part the words nothing is said.
    """
    for more in ([], ["a pear and an apple fell from the tree by the old stone wall"] * 40):
        notes = WordTokenizer.train(
            unparted(script, spaces=False) + more, pretokenized=pretokenized
        ).notes
        assert notes[0].startswith(f"{script} is written without spaces between words")
        assert "subword and char" in notes[0]
    parted = WordTokenizer.train(unparted(script, spaces=True), pretokenized=pretokenized)
    assert parted.notes == ()


@pytest.mark.parametrize(
    "line",
    [
        "丑么乬书乡丈丠丏丿乡丹丼。",
        "林檎と梨のサラダを食べましたね。",
        "사과와 배가 나무에서 떨어졌습니다",
        "Epäjärjestelmällistyttämättömyydellänsäkään hän ei yllättänyt lentokonesuihkuturbiinia",
        "A pera e a maçã caíram da árvore, e não foi à toa.",
        "བོད་ཀྱི་སྐད་ཡིག་ནི་བོད་མི་རིགས་ཀྱི་སྐད་ཡིག་རེད།",
        "https://example.org/a/very/long/path/to/something-or-other 12345678901234567890",
        "",
    ],
)
def test_words_that_something_parts_are_not_told(line: str) -> None:
    """Ideographs and kana are tokens, syllables of Tibetan have marks, long words are words."""
    assert WordTokenizer.train([f"{line} x", "x"] * 3).notes == ()


def test_a_few_words_of_such_a_script_are_let_be() -> None:
    """A phrase of Thai in a book of English is one unknown word, and no reason to speak."""
    english = ["a pear and an apple fell from the tree by the old stone wall"] * 100
    assert WordTokenizer.train([*english, *unparted("Thai", spaces=False)[:2] * 2]).notes == ()


def test_any_text_without_spaces_is_asked_about() -> None:
    """Whatever its script: nobody's words have so many letters."""
    (note,) = WordTokenizer.train(["apearandanapplefellfromthetreebythewall"] * 3).notes
    assert note.startswith("words have 39 characters on average")


@given(st.lists(any_text | st.text("ab. \n", max_size=20), max_size=90), st.booleans())
def test_many_texts_at_once_are_each_by_itself(texts, pretokenized):
    """Ids, and counts of types, are those of the texts one by one."""
    if not any(text.strip() for text in texts):
        texts = [*texts, "ab"]
    some = [*texts[: len(texts) // 2], "b"]
    tokenizer = WordTokenizer.train(some, pretokenized=pretokenized)
    bulk = tokenizer.bulk()
    counter = TypeCounter(pretokenized)
    for some in (texts, texts[::-1], []):
        ids, sizes = bulk.encode(some)
        ends = np.cumsum(sizes).tolist()
        assert len(ids) == sum(sizes)
        for text, end, size in zip(some, ends, sizes.tolist(), strict=True):
            assert ids[end - size : end].tolist() == tokenizer.encode(text).tolist()
        counter.add(some)
    assert counter.take() == count_types([*texts, *texts], pretokenized)
    assert counter.take() == {}
