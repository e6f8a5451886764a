"""Any text in: a right answer or one clear sentence, at every level (rows T1 and T2)."""

import itertools
import json
import os
import random
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import LEVELS
from charlm.errors import CheckpointError, UsageError
from charlm.models.load import load
from charlm.tokenizers import tokenizer_from_files, train_tokenizer
from charlm.tokenizers.base import NORMAL_FORMS, Tokenizer
from charlm.tokenizers.normalizing import _begins, normal_form, plain
from charlm.tokenizers.word_chunks import UNKNOWN_WORD
from charlm.training import speller
from tests.support.cli import charlm, complaint
from tests.support.matrix import Tally
from tests.support.odd_corpora import odd_corpora

TINY = ("--steps", "3", "--hidden", "8", "--embedding", "4", "--batch-size", "2")
SHORT = ("--bptt-length", "8", "--precision", "fp32", "--quiet")
LARGE = 1_000_000  # bytes; a text of more is scored as a whole, not line by line
# Bytes of such a text that are scored, but for the nightly run, where subwords score it all.
PARTS = {"char": 200_000, "word": 200_000, "subword": 1_000_000}


@pytest.mark.row("T1")
@pytest.mark.parametrize("level", LEVELS)
def test_odd_corpora_work_or_are_refused(
    level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally
) -> None:
    """Training on any text, scoring it and going on with it works, or one sentence says why not.

    Where a text cannot be trained on, a model of prose scores it and takes it for a prompt.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(speller, "_CHARACTERS", 2_000)  # spellers that are soon trained
    monkeypatch.setattr(speller, "_FEWEST_EPOCHS", 0.02)
    corpora = list(odd_corpora())
    assert len(corpora) == len(dict(corpora)) == 60
    train = ("train", "odd.txt", "--level", level, *TINY, *SHORT, "--name")
    Path("odd.txt").write_bytes(dict(corpora)["prose"])
    assert charlm(*train, "prose").code == 0
    rounds = tally.wanted(180) // 180
    for seed in range(1, rounds):
        corpora += mixed([data for _, data in corpora[:60]], seed)
    wrong = []
    for number, (name, data) in enumerate(corpora):
        Path("odd.txt").write_bytes(data)
        once = ("--no-index",) if len(data) > LARGE and level != "subword" else ()
        trained = charlm(*train, f"odd-{number}", *once)
        model = ("--model", "prose" if trained.code else f"odd-{number}")
        score = ("score", "--file", "odd.txt")
        if len(data) > LARGE:
            score = ("evaluate", "odd.txt")
            is_whole = level == "subword" and rounds > 1
            Path("odd.txt").write_bytes(data if is_whole else data[: PARTS[level]])
        prompt = os.fsdecode(data[:200].replace(b"\0", b"")).split("\n")[0]
        sample = ("sample", "--prompt", prompt, "--n", "2", "--max-tokens", "5")
        for action, ended in (
            ("train", trained),
            ("score", charlm(*score, *model)),
            ("sample", charlm(*sample, *model)),
        ):
            problem = complaint(ended)
            wrong += [] if problem is None else [f"{action} {name}: {problem}"]
            tally.add(problem is None)
    assert not wrong, "\n".join(wrong)


def mixed(corpora: list[bytes], seed: int) -> Iterator[tuple[str, bytes]]:
    """As many corpora more: parts of these put together, a byte here and there another one."""
    rng = random.Random(seed)
    for number in range(len(corpora)):
        data = bytearray()
        for part in rng.choices(corpora, k=3):
            at = rng.randrange(len(part) + 1)
            data += part[at : at + rng.randrange(400)]
        for _ in range(rng.randrange(3) if data else 0):
            data[rng.randrange(len(data))] = rng.randrange(256)
        yield f"mixture {seed}.{number}", bytes(data)


# Characters that decompose, compose, move, vanish, are special to a tokenizer, or are no text.
NASTY = (
    *"aeijoJKΣσςİſéÅ \n\t\r\0.,'’-019_<>▁￭\x0b\x1c\x85\u2028\xa0\u2002\u200b\u200c\u200d\ufeff",
    *"\u0301\u0323\u030c\u0344\u0345ᾳﷺ¨ﬁ½™가각\u1100\u1161\u11a8ﾊﾞは\u3099\u0bc6\u0bbe\u0958",
    *"的𠀀\ufffd\ufffe\ue000\U0010ffff\ud800\udfff",
    *("  ", "<unk>", "<UNK>", "</s>", "<0x41>", "🏳️‍🌈", "👍🏽", "don't", "3.14", "\r\n", "the cat"),
)
KINDS: dict[str, tuple[dict[str, object], ...]] = {
    "char": ({},),
    "word": ({}, {"lowercase": True}, {"pretokenized": True}),
    "subword": ({"vocab_size": 330}, {"vocab_size": 330, "subword_model": "bpe"}),
}


def nasty_text(rng: random.Random, most: int = 24) -> str:
    """A random text of nasty characters."""
    return "".join(rng.choices(NASTY, k=rng.randrange(most)))


def tokenizers(level: str) -> list[Tokenizer]:
    """Tokenizers of a level that know some of the nasty characters, in every normal form."""
    rng = random.Random(3)
    texts = [nasty_text(rng) for _ in range(120)] + ["the cat sat on the mat"] * 2
    trained = [
        train_tokenizer(texts, level=level, normalize=form, **options)  # type: ignore[arg-type]
        for options in KINDS[level]
        for form in (None, *NORMAL_FORMS)
    ]
    return [tokenizer_from_files(tokenizer.to_files()) for tokenizer in trained]


TOKENIZERS = {level: tokenizers(level) for level in LEVELS}


def check_round_trip(tokenizer: Tokenizer, text: str, more: str) -> None:
    """The laws of one tokenizer on one text and what may come after it."""
    normalised = tokenizer.normalise(text)
    ids, unknown = tokenizer.encode(text).tolist(), tokenizer.unknown(text)
    assert tokenizer.decode(ids, unknown) == normalised == tokenizer.normalise(normalised)
    assert tokenizer.encode(normalised).tolist() == ids
    again, ranges = tokenizer.encode_with_offsets(text)
    assert again.tolist() == ids
    assert len(ranges) == len(ids)
    assert all(0 <= begin < end <= len(text) for begin, end in ranges)
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(ranges))
    covered = {at for begin, end in ranges for at in range(begin, end)}
    assert all(text[at].isspace() for at in set(range(len(text))) - covered)
    begin, rest = tokenizer.divide(text)
    parts = [*tokenizer.encode(begin).tolist(), *tokenizer.encode(rest + more).tolist()]
    assert parts == tokenizer.encode(text + more).tolist()
    unknown_parts = [*tokenizer.unknown(begin), *tokenizer.unknown(rest + more)]
    assert unknown_parts == tokenizer.unknown(text + more)
    # Of words cut already <unk> names all that are unknown, and is none of them itself.
    cut = getattr(plain(tokenizer), "pretokenized", False)
    named = [kind for kind in unknown if cut and kind == UNKNOWN_WORD]
    assert len(named) == (tokenizer.normalise(text).split().count("<unk>") if cut else 0)
    assert not any(map(tokenizer.is_unknown, named))
    assert all(tokenizer.is_unknown(kind) for kind in unknown if kind not in named)


@pytest.mark.row("T2")
@pytest.mark.parametrize("level", LEVELS)
def test_round_trips(level: str, tally: Tally) -> None:
    """decode(encode(x), unknown(x)) is x as far as the tokens keep it, in every normal form.

    And so in two pieces; ranges follow one another in the text as it was given, and leave out
    nothing but spaces.
    """
    rng = random.Random(9)
    count = tally.wanted(10_000)
    for number in range(count):
        tokenizer = TOKENIZERS[level][number % len(TOKENIZERS[level])]
        check_round_trip(tokenizer, nasty_text(rng), nasty_text(rng, 4))
        tally.add()


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=())), more=st.text(max_size=3))
def test_round_trips_of_any_text(level: str, text: str, more: str) -> None:
    """The same for what hypothesis finds, made as small as it can be where it fails."""
    for tokenizer in TOKENIZERS[level]:
        check_round_trip(tokenizer, text, more)


@settings(max_examples=200, deadline=None)
@given(text=st.lists(st.sampled_from(NASTY)).map("".join), form=st.sampled_from(NORMAL_FORMS))
def test_a_range_holds_what_became_the_token(text: str, form: str) -> None:
    """The normal form of a range holds its tokens; where nothing changes, each is its own."""
    tokenizer = train_tokenizer(["ab"], level="char", normalize=form)
    _, ranges = tokenizer.encode_with_offsets(text)
    normalised = unicodedata.normalize(form, text)  # type: ignore[arg-type]
    assert len(ranges) == len(normalised)
    for (begin, end), char in zip(ranges, normalised, strict=True):
        assert char in unicodedata.normalize(form, text[begin:end])  # type: ignore[arg-type]
    for range_, group in itertools.groupby(zip(ranges, normalised, strict=True), lambda x: x[0]):
        became = "".join(char for _, char in group)
        if range_[1] - range_[0] > 1:
            assert became == unicodedata.normalize(form, text[slice(*range_)])  # type: ignore[arg-type]


def test_texts_are_taken_apart_where_nothing_composes() -> None:
    """What takes part in a composition, or is put in order, is never taken for a beginning.

    And a text in lower case and normal form is that of itself.
    """
    for char in map(chr, range(0x110000)):
        parts = unicodedata.decomposition(char).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            assert not _begins(chr(int(parts[1], 16))) or unicodedata.normalize("NFC", char) != char
        assert not (unicodedata.combining(char) and _begins(char))
        if not char.isascii() and char.lower() != char:
            for form in NORMAL_FORMS:
                once = normal_form(char, form, lowercase=True)
                assert once == once.lower() == normal_form(once, form, lowercase=True)
    assert normal_form("J\u030c", "NFC", lowercase=True) == "\u01f0"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a model that reads NFC, trained on text in NFD, and one that reads all."""
    monkeypatch.chdir(tmp_path)
    prose = unicodedata.normalize("NFD", "das Café öffnet\nder Bär schläft\n")
    Path("nfd.txt").write_text(prose * 9, encoding="utf-8")
    for name, options in (("nfc", ("--normalize", "NFC")), ("plain", ())):
        ended = charlm("train", "nfd.txt", *options, *TINY, *SHORT, "--name", name)
        assert ended.code == 0, ended.err
    return tmp_path


def told(*arguments: str, stdin: bytes = b"") -> tuple[list[Any], str]:
    """The JSON Lines that a command writes, and what it says."""
    ended = charlm(*arguments, "--json", stdin=stdin)
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in ended.stdout.splitlines()], ended.err


def test_a_normal_form_is_kept_and_applied_everywhere(folder: Path) -> None:
    """To scores, evaluation, prompts, stop strings and prefixes; not where nobody asked for it.

    Denominators and ranges are those of the text as it was given.
    """
    nfc = "das Café öffnet"
    nfd = unicodedata.normalize("NFD", nfc)
    assert len(nfd) == len(nfc) + 2
    model = ("--model", "nfc")
    (of_nfc, of_nfd), _ = told("score", *model, nfc, nfd, "--per-token")
    assert of_nfc["total_log_prob_nats"] == of_nfd["total_log_prob_nats"]
    assert of_nfc["oov_tokens"] == of_nfd["oov_tokens"] == 0
    assert (of_nfc["characters"], of_nfd["characters"]) == (len(nfc), len(nfd))
    assert of_nfd["bits_per_character"] == pytest.approx(
        of_nfc["bits_per_character"] * len(nfc) / len(nfd)
    )
    places = [(row["start"], row["end"]) for row in of_nfd["per_token"]]
    assert places[6:10] == [(6, 7), (7, 9), (9, 10), (10, 12)]
    assert places[-1] == (len(nfd), len(nfd))
    (one, other), _ = told("score", "--model", "plain", nfc, nfd)
    assert one["oov_tokens"] == 2
    assert other["oov_tokens"] == 0
    figures = []
    for text in (nfc, nfd):
        Path("held.txt").write_text(f"{text}\n" * 3, encoding="utf-8")
        figures += told("evaluate", *model, "held.txt")[0]
        assert figures[-1]["characters"] == 3 * len(text)
    assert figures[0]["total_log_prob_nats"] == figures[1]["total_log_prob_nats"]
    assert told("next", *model, nfd[:9])[0] == told("next", *model, nfc[:8])[0]
    drawn = [
        told("sample", *model, "--n", "9", "--prompt", prompt, "--stop", stop, "--seed", "3")[0]
        for prompt, stop in ((nfc[:8], "ä"), (nfd[:9], "a\u0308"))
    ]
    for one, other in zip(*drawn, strict=True):
        assert one["text"][8:] == other["text"][9:]
        assert one["ended"] == other["ended"]
    assert "of text read as NFC" in charlm("info", *model).out
    more = ("--resume", "--steps", "6", "-q")
    assert charlm("train", "--name", "nfc", "--normalize", "NFD", *more).code == 2
    assert charlm("train", "--name", "nfc", *more).code == 0
    assert charlm("train", "nfd.txt", "--normalize", "nfc", *TINY, "--name", "lower").code == 0
    assert "of text read as NFC" in charlm("info", "--model", "lower").out
    (meant,), _ = told("score", "--model", "lower", nfd)
    assert meant["oov_tokens"] == 0
    ended = charlm("train", "nfd.txt", "--normalize", "nfx", *TINY, "--name", "wrong")
    assert ended.code == 2
    assert "NFC, NFD, NFKC or NFKD" in ended.err
    assert not Path("checkpoints", "wrong").exists()


@pytest.mark.parametrize("level", ["word", "subword"])
def test_other_levels_read_a_normal_form_too(folder: Path, level: str) -> None:
    """A word model with its speller and a subword model: twins cost the same, checks pass."""
    options = ("--normalize", "NFKC", "--level", level, *TINY, *SHORT, "--name", level)
    assert charlm("train", "nfd.txt", *options).code == 0
    twins = ("ﬁnal Café\u00a0½", unicodedata.normalize("NFKD", "ﬁnal Café\u00a0½"))
    (one, other), _ = told("score", "--model", level, *twins)
    assert one["total_log_prob_nats"] == other["total_log_prob_nats"]
    ended = charlm("evaluate", "nfd.txt", "--check", "--model", level)
    assert ended.code == 0, ended.err
    ended = charlm("score", "--model", level, "--words", "--heatmap", *twins)
    assert ended.code == 0, ended.err


def test_a_long_sequence_in_another_form_takes_no_more_memory(folder: Path) -> None:
    """Figures of one line in pieces are those of the whole; it is never normalised as a whole."""
    model = load("nfc")
    text = unicodedata.normalize("NFD", "das Café öffnet, der Bär schläft ") * 9_000
    tokenizer = model.tokenizer
    rest, ids = "", []
    for at in range(0, len(text), 50_001):
        begin, rest = tokenizer.divide(rest + text[at : at + 50_001])
        assert len(rest) < 100
        ids += tokenizer.encode(begin).tolist()
    ids += tokenizer.encode(rest).tolist()
    assert ids == tokenizer.encode(text).tolist()


def test_a_byte_order_mark_is_dropped_and_mentioned(folder: Path) -> None:
    """One, by every command that reads a file; a second one is text."""
    Path("marked.txt").write_bytes("\ufeffdas Café\n".encode())
    Path("bare.txt").write_bytes("das Café\n".encode())
    Path("twice.txt").write_bytes("\ufeff\ufeffdas Café\n".encode())
    mention = "marked.txt: dropped the byte order mark at its start"
    model = ("--model", "plain")
    for command in (
        ("score", *model, "--file"),
        ("evaluate", *model),
        ("compare", "plain", "nfc"),
        ("next", *model, "--file"),
        ("sample", *model, "--seed", "0", "--prompt-file"),
    ):
        marked, said = told(*command, "marked.txt")
        bare, nothing = told(*command, "bare.txt")
        for values in (*marked, *bare):
            values.pop("files", None)
        assert mention in said
        assert mention not in nothing
        assert marked == bare, command
    assert told("score", *model, "--file", "twice.txt")[0][0]["text"] == "\ufeffdas Café"
    ended = charlm("train", "marked.txt", *TINY, "--name", "marked")
    assert mention in ended.err
    Path("wide.txt").write_bytes("\ufeffdas Café\n".encode("utf-16-le"))
    wide, said = told("score", *model, "--file", "wide.txt", "--encoding", "utf-16-le")
    assert wide[0]["text"] == "das Café"
    assert "dropped the byte order mark" in said


def test_what_is_no_text_is_named_by_byte_line_and_cure(folder: Path) -> None:
    """Every command that reads a file says where it is no text, and what to do."""
    Path("bad.txt").write_bytes(b"das\nCaf\xe9 auf\n")
    for command in (
        ("score", "--file"),
        ("evaluate",),
        ("train",),
        ("compare", "plain", "nfc"),
        ("next", "--file"),
        ("sample", "--prompt-file"),
        ("tokenize",),
    ):
        given = {"stdin": Path("bad.txt").read_bytes()} if command == ("tokenize",) else {}
        ended = charlm(*command, "-" if given else "bad.txt", **given)
        said = ended.err.splitlines()[-1]
        assert ended.code == 3
        assert "byte 0xe9 at offset 7 (line 2)" in said
        assert "cp1252" in said
    for encoding in ("utf-16", "utf-32"):
        Path("bad.txt").write_bytes("das Café\n".encode(encoding))
        ended = charlm("evaluate", "bad.txt")
        assert ended.code == 3
        assert re.search(rf"--encoding {encoding}[ .]", ended.err)
        assert charlm("evaluate", "bad.txt", "--encoding", encoding).code == 0


def test_a_tokenizer_file_with_an_unknown_form_is_refused() -> None:
    """Only the four forms of Unicode; an older charlm would refuse them all."""
    files = TOKENIZERS["char"][1].to_files()
    assert b'"normalize": "NFC"' in files["tokenizer.json"]
    for form in (b'"NFX"', b"null", b"[]", b"1"):
        data = files["tokenizer.json"].replace(b'"NFC"', form)
        with pytest.raises(CheckpointError, match="normalizes to"):
            tokenizer_from_files({"tokenizer.json": data})
    with pytest.raises(UsageError, match="NFKD"):
        train_tokenizer(["a"], level="char", normalize="nfc")


def test_a_run_begun_before_there_were_forms_goes_on(folder: Path) -> None:
    """What run.json does not say was not asked for."""
    path = Path("checkpoints", "plain", "run.json")
    asked = json.loads(path.read_text())
    assert asked["request"].pop("normalize") is None
    path.write_text(json.dumps(asked))
    assert charlm("train", "--resume", "--name", "plain", "--steps", "6", "-q").code == 0


def test_nul_is_text_and_mentioned_in_training(folder: Path) -> None:
    """Whoever trains on NULs may want to know; UTF-16 without its mark is another thing.

    That has a NUL at every other place, and is named and refused, though it were UTF-8, too.
    """
    texts = ("das\0Café\n" * 9, "das\0" * 9, "the bear sees\n" * 90 + "\0\n")
    for name, text in zip(("lines", "words", "one"), texts, strict=True):
        Path("nul.txt").write_text(text, encoding="utf-8")
        ended = charlm("train", "nul.txt", *TINY, "--name", name)
        assert ended.code == 0, ended.err
        assert "nul.txt: holds NUL characters" in ended.err
        found, _ = told("score", "--model", name, "--file", "nul.txt")
        assert [row["text"] for row in found] == text.splitlines()
    Path("nul.txt").write_bytes("das Cafe\n".encode("utf-16-le") * 9)
    ended = charlm("train", "nul.txt", *TINY, "--name", "wide")
    assert ended.code == 3
    assert "nul.txt looks like UTF-16-LE" in ended.err
    assert "--encoding utf-16-le." in ended.err
    ended = charlm("train", "nul.txt", *TINY, "--name", "wide", "--encoding", "utf-16-le")
    assert ended.code == 0, ended.err
    assert "NUL" not in ended.err
