"""Laws of the corpus: what a sequence is, what is held out, what is counted, what is refused."""

import gzip
import hashlib
import io
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import TextError, UsageError
from charlm.text import corpus

# Characters that str.splitlines takes for the end of a line and charlm does not are among them.
CHARACTERS = st.sampled_from("ab é中🙂\t\x0b\x0c\x1c\x85\u2028<")
LINES = st.lists(st.text(CHARACTERS, max_size=6), max_size=12)
SEQUENCES = st.lists(st.text(st.sampled_from("abc"), min_size=1, max_size=3), max_size=40)


def test_reads_files_directories_and_gz_alike(tmp_path: Path) -> None:
    """A text is the same in a file, in a .gz and below a directory; hidden files are left out."""
    (tmp_path / "sub" / ".hidden").mkdir(parents=True)
    (tmp_path / "b.txt").write_bytes(b"zwei\n")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("eins ß\n".encode()))
    (tmp_path / "sub" / "c.txt").write_bytes(b"drei")
    (tmp_path / "sub" / ".secret").write_bytes(b"no")
    (tmp_path / "sub" / ".hidden" / "d.txt").write_bytes(b"no")
    documents = corpus.read_documents([tmp_path])
    assert [d.text for d in documents] == ["eins ß\n", "zwei\n", "drei"]
    assert [Path(d.name).name for d in documents] == ["a.txt.gz", "b.txt", "c.txt"]
    one_by_one = corpus.read_documents(
        [tmp_path / "a.txt.gz", str(tmp_path / "b.txt"), tmp_path / "sub" / "c.txt"]
    )
    assert one_by_one == documents


def test_a_hidden_directory_can_be_asked_for(tmp_path: Path) -> None:
    """Hidden is only what is hidden below the directory that was named."""
    (tmp_path / ".mine").mkdir()
    (tmp_path / ".mine" / "a.txt").write_text("x")
    assert [d.text for d in corpus.read_documents([tmp_path / ".mine"])] == ["x"]


def test_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash reads bytes from standard input and decodes them like a file, lines ended by LF."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("naïve\r\n".encode("cp1252"))))
    (document,) = corpus.read_documents(["-"], encoding="cp1252")
    assert document.text == "naïve\n"


def test_nothing_to_read_is_an_error(tmp_path: Path) -> None:
    """No path, a missing file and an empty directory each are a TextError that says so."""
    with pytest.raises(TextError, match="no file to read"):
        corpus.read_documents([])
    with pytest.raises(TextError, match=r"no file .*missing\.txt"):
        corpus.read_documents([tmp_path / "missing.txt"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TextError, match="empty holds no file"):
        corpus.read_documents([tmp_path / "empty"])


def test_every_damaged_gz_is_a_text_error(tmp_path: Path) -> None:
    """A .gz cut short or with any one byte changed is refused in a line or reads as it was."""
    text = "the quick brown fox jumps over the lazy dog\n" * 3
    whole = gzip.compress(text.encode(), mtime=0)
    path = tmp_path / "a.gz"
    refused = 0
    for at in range(len(whole)):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]):
            path.write_bytes(data)
            try:
                (document,) = corpus.read_documents([path])
            except TextError:
                refused += 1
            else:
                assert document.text in (text, "")  # an empty file is an empty archive
    assert refused > len(whole)


def test_decode_error_names_offset_line_and_cure() -> None:
    """What is not in the encoding is refused with the byte, its offset and its line from 1."""
    with pytest.raises(TextError) as caught:
        corpus.decode("poem.txt", b"one\ntwo\nna\xefve\n")
    message = str(caught.value)
    assert "poem.txt is not utf-8: byte 0xef at offset 10 (line 3)" in message
    assert "`encoding=" in message
    assert "`errors=replace`" in message
    assert corpus.decode("p", b"na\xefve", errors="replace").text == "na\ufffdve"
    assert corpus.decode("p", b"na\xefve", "cp1252").text == "naïve"


def test_offsets_count_from_the_first_byte_of_the_file() -> None:
    """A byte order mark that the codec strips does not shift the offset in the error."""
    with pytest.raises(TextError, match=r"byte 0xff at offset 6 \(line 2\)"):
        corpus.decode("x", b"\xef\xbb\xbfab\n\xff", "utf-8-sig")


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
@pytest.mark.parametrize("name", ["utf-8", "UTF-8", "utf8", "utf_8"])
def test_utf_16_is_recognised(mark: bytes, name: str) -> None:
    """A file that begins with UTF-16's mark is not read as UTF-8: the error says what to do."""
    with pytest.raises(TextError, match="`encoding=utf-16"):
        corpus.decode("x", mark + b"a\0", name)


def test_utf_16_is_read_when_asked() -> None:
    """With --encoding utf-16 the text comes out as it is, the mark not part of it."""
    assert corpus.decode("x", "añ\n".encode("utf-16"), "utf-16").text == "añ\n"
    assert corpus.decode("x", b"\xff\xfe" + "añ".encode("utf-16-le"), "utf-16-le").text == "añ"


def test_one_byte_order_mark_is_dropped_and_reported() -> None:
    """A BOM at the start goes, with a note; a second one, or one further on, is text."""
    document = corpus.decode("x", b"\xef\xbb\xbf\xef\xbb\xbfa\xef\xbb\xbf")
    assert document.text == "\ufeffa\ufeff"
    assert len(document.notes) == 1
    assert "byte order mark" in document.notes[0]
    assert corpus.decode("x", b"plain").notes == ()


def test_unknown_encodings_are_usage_errors() -> None:
    """An encoding, or a way to treat errors, that does not exist is the caller's mistake."""
    with pytest.raises(UsageError, match="klingon"):
        corpus.decode("x", b"a", "klingon")
    with pytest.raises(UsageError, match="shrug"):
        corpus.decode("x", b"\xff", "utf-8", "shrug")


@settings(max_examples=150, deadline=None)
@given(lines=LINES, ends=st.data())
def test_lines(lines: list[str], ends: st.DataObject) -> None:
    """Lines end at LF or CRLF, the last with or without; every line not blank is a sequence."""
    text = ""
    for index, line in enumerate(lines):
        last = index == len(lines) - 1
        text += line + ends.draw(st.sampled_from(["\n", "\r\n", *([""] if last else [])]))
    assert corpus.split_sequences(text, "line") == [line for line in lines if line.strip()]


@settings(max_examples=100, deadline=None)
@given(
    blocks=st.lists(st.lists(st.text("ab c", min_size=1).filter(str.strip), min_size=1)),
    data=st.data(),
)
def test_paragraphs(blocks: list[list[str]], data: st.DataObject) -> None:
    """Blank lines, however many and whatever white space they hold, only separate paragraphs."""
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    blank = st.lists(st.sampled_from(["", " ", "\t "]), min_size=1, max_size=3)
    lines = data.draw(st.lists(st.just(""), max_size=2))
    for block in blocks:
        lines = lines + block + data.draw(blank)
    if data.draw(st.booleans()):  # no blank line and no newline at the end
        while lines and not lines[-1].strip():
            lines.pop()
    text = end.join(lines)
    assert corpus.split_sequences(text, "paragraph") == ["\n".join(block) for block in blocks]


def test_a_file_is_kept_whole() -> None:
    """Split on file, a text is one sequence with every character of it; an empty one is none."""
    assert corpus.split_sequences("\r\na\n\n", "file") == ["\r\na\n\n"]
    assert corpus.split_sequences("", "file") == []
    with pytest.raises(UsageError, match="line, paragraph or file"):
        corpus.split_sequences("a", "page")


@pytest.mark.parametrize(
    ("text", "split_on"),
    [
        ("", "line"),
        ("anna\nbert\ncarl\n", "line"),
        ("anna\n\nbert\n\ncarl\n", "line"),
        ("one block\nof two lines\n", "line"),
        ("a verse\nof two\n\na verse\r\nof two\n", "paragraph"),
        ("Title\n\na verse\nof two\n\nanother\nof\nthree\n", "paragraph"),
        ("a\nb\n\nc\n\nd\n\ne\n", "line"),
    ],
)
def test_choose_split(text: str, split_on: str) -> None:
    """Paragraphs where blank lines mostly separate blocks of several lines, else lines.

    That holds whatever ends the lines, and of many such files as of one.
    """
    assert corpus.choose_split([text]) == split_on
    assert corpus.choose_split([text, text.replace("\n", "\r\n")] * 5) == split_on


@settings(max_examples=150, deadline=None)
@given(
    sequences=SEQUENCES,
    share=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 2**32),
)
def test_hold_out_is_a_partition(sequences: list[str], share: float, seed: int) -> None:
    """Every sequence goes to one side, all its copies with it, in order; train is never emptied."""
    split = corpus.hold_out(sequences, split_on="line", share=share, seed=seed)
    assert Counter(split.train) + Counter(split.valid) == Counter(sequences)
    assert not set(split.train) & set(split.valid)
    for side in (split.train, split.valid):
        assert side == [text for text in sequences if text in set(side)]
    distinct = len(set(sequences))
    if share == 0 or distinct < 5:
        assert split.valid == []
        assert len(split.notes) == 1
    else:
        assert split.notes == ()
        assert split.train
        assert split.valid
        assert abs(len(set(split.valid)) - share * distinct) <= 1
    assert corpus.hold_out(sequences, split_on="line", share=share, seed=seed) == split


def test_hold_out_is_drawn_by_seed_from_everywhere() -> None:
    """Another seed holds others out, and over many seeds every sequence is held out about alike."""
    sequences = [f"line {i}" for i in range(20)]
    held = [corpus.hold_out(sequences, split_on="line", seed=seed).valid for seed in range(400)]
    times = Counter(text for valid in held for text in valid)
    assert all(len(valid) == 2 for valid in held)
    assert set(times) == set(sequences)
    assert max(times.values()) < 80  # 40 expected, standard deviation 6
    assert min(times.values()) > 10


def test_hold_out_of_a_file_is_its_last_part() -> None:
    """Of each file the last contiguous share is held out; together the parts are the file."""
    files = ["abcdefghij" * 10, "x" * 40]
    split = corpus.hold_out(files, split_on="file", share=0.25, seed=1)
    assert split.train == [files[0][:75], "x" * 30]
    assert split.valid == [files[0][75:], "x" * 10]
    assert corpus.hold_out(files, split_on="file", share=0.25, seed=2) == split


def test_too_small_a_file_is_kept_whole() -> None:
    """Where nothing worth measuring would be held out, all is trained on, and a note says so."""
    split = corpus.hold_out(["abc"], split_on="file")
    assert split.train == ["abc"]
    assert split.valid == []
    assert "too little" in split.notes[0]


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_impossible_shares_are_refused(share: float) -> None:
    """A share held out is from 0 to below 1."""
    with pytest.raises(UsageError, match="share"):
        corpus.hold_out(["a"] * 9, split_on="line", share=share)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=20)))
def test_counts_agree_with_counting_by_hand(sequences: list[str]) -> None:
    """Characters are code points, bytes those of UTF-8, words the runs between white space."""
    characters = num_bytes = words = 0
    for text in sequences:
        between = True
        for character in text:
            code = ord(character)
            characters += 1
            num_bytes += 1 + (code > 0x7F) + (code > 0x7FF) + (code > 0xFFFF)
            words += between and not character.isspace()
            between = character.isspace()
    assert corpus.count(sequences) == (len(sequences), characters, num_bytes, words)


def test_lone_surrogates_are_counted_and_hashed() -> None:
    """What --errors surrogateescape lets in breaks nothing later."""
    text = corpus.decode("x", b"a\xff", errors="surrogateescape").text
    assert corpus.count([text]) == (1, 2, 4, 1)
    assert corpus.sequence_hash(text) != corpus.sequence_hash("a")
    assert corpus.fingerprint([text]) != corpus.fingerprint(["a"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("ab", max_size=3), max_size=4), st.lists(st.text("ab", max_size=3)))
def test_fingerprints_tell_texts_and_boundaries_apart(one: list[str], other: list[str]) -> None:
    """Two corpora have the same fingerprint if and only if they are the same sequences."""
    assert (corpus.fingerprint(one) == corpus.fingerprint(other)) == (one == other)
    joined = ["".join(one)]
    assert (corpus.fingerprint(one) == corpus.fingerprint(joined)) == (one == joined)


def test_hashes_are_the_same_on_every_machine() -> None:
    """A checkpoint knows its training text again anywhere: the figures are fixed for ever."""
    by_hand = b"\3\0\0\0\0\0\0\0a\xc3\xa9" + b"\0" * 8
    assert corpus.fingerprint(["aé", ""]) == hashlib.sha256(by_hand).hexdigest()
    assert corpus.sequence_hash("aé") == 0xD0C1_8962_D48B_ECED


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=4)), st.text(max_size=4))
def test_known_sequences_are_found_again(sequences: list[str], other: str) -> None:
    """The hashes are sorted, one for each different sequence, and hold those and no others."""
    hashes = corpus.sequence_hashes(sequences)
    assert hashes.dtype == np.uint64
    assert len(hashes) == len(set(sequences))
    assert np.all(hashes[:-1] < hashes[1:])
    for text in [*sequences, other]:
        hashed = np.uint64(corpus.sequence_hash(text))
        at = int(np.searchsorted(hashes, hashed))
        assert (at < len(hashes) and hashes[at] == hashed) == (text in sequences)
