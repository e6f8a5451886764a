"""Files as people have them: whatever ends their lines (row I3), whatever they are (row I1)."""

import ast
import bz2
import gzip
import io
import json
import lzma
import os
import random
import shutil
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from charlm import cli
from charlm.errors import TextError, UsageError
from charlm.models.load import load
from charlm.text import corpus, files, formats, lines, streaming
from tests.support.cli import Ended, charlm, complaint
from tests.support.matrix import Tally

TINY = ("--steps", "2", "--hidden", "8", "--embedding", "4", "--batch-size", "4", "--quiet")
WORDS = ("bear", "pear", "jay", "apple", "plum", "badger", "salad")
SENTENCES = [f"The {one} and {other} sleep." for one in WORDS for other in WORDS]
PLAIN = "".join(f"{sentence}\n" for sentence in SENTENCES)
TABLE = "".join(f"{'ab'['pear' in line]}\t{line}\n" for line in SENTENCES)
TAGGED = "".join(
    "".join(f"{word}\t{'N' if word in WORDS else 'O'}\n" for word in line.split()) + "\n"
    for line in SENTENCES
)
MODELS = {
    "char": (PLAIN, ()),
    "word": (PLAIN, ("--level", "word")),
    "whole": (PLAIN, ("--split-on", "file")),
    "both": (PLAIN, ("--bidirectional",)),
    "counts": (PLAIN, ("--ngram", "3")),
    "kinds": (TABLE, ("--classifier", "--label-from", "column:1")),
    "tags": (TAGGED, ("--tagger",)),
    "pairs": (TABLE, ("--pairs",)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with a small model of each kind, which is the current one."""
    path = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        for name, (text, options) in MODELS.items():
            Path("corpus").write_text(text, newline="")
            ended = charlm("train", "corpus", *options, *TINY, "--name", name)
            assert ended.code == 0, ended.err
        yield path


# Where lines end


@given(st.text("ab\r\n\x0b\x85\u2028", max_size=30))
@example("a\r\r\nb\r\r\rc\r")
@example("\r" * 70_000 + "a" + "\r" * 70_000 + "\n")
def test_lines_end_alike_for_every_reader(text: str) -> None:
    """As a whole, in blocks and in bytes a text has the same lines, and bytes go out as they came.

    A run of CRs before a LF is one end with it; any other CR is one by itself.
    """
    expected = ""
    at = 0
    while at < len(text):
        end = at
        while end < len(text) and text[end] == "\r":
            end += 1
        run = end - at
        if run and text[end : end + 1] == "\n":
            expected, at = expected + "\n", end + 1
        elif run:
            expected, at = expected + "\n" * run, end
        else:
            expected, at = expected + text[at], at + 1
    assert lines.with_lf(text) == expected
    said: list[None] = []
    for size in (1, 2, 7, 10**6):
        if len(text) > 1000 and size < 1000:
            continue
        blocks = [(text[i : i + size], i) for i in range(0, len(text), size)]
        found = lines.ended_by_lf(blocks, lambda: said.append(None))
        assert "".join(block for block, _ in found) == expected
        data = text.encode()
        chunks = iter([data[i : i + size] for i in range(0, len(data), size)])
        raw = [one for one in lines.raw_lines(chunks) if one is not None]
        assert b"".join(raw) == data
        pairs = [lines.parted(one.decode()) for one in raw]
        assert "\n".join(line for line, _ in pairs) == expected.removesuffix("\n")
        assert all(end for _, end in pairs[:-1])
        assert lines.has_cr_alone(text) == any(end == "\r" for _, end in pairs) == bool(said)


def ended(text: str, ends: str) -> str:
    """The text with its lines ended otherwise: by CRLF, say, or each by another one in turn."""
    parts = text.split("\n")
    found = parts[0]
    rng = random.Random(ends)
    for number, part in enumerate(parts[1:]):
        end = ends
        if ends.startswith("mixed"):
            # A CR before an empty line would be one end with that line's own.
            all_of = ("\r\n", "\r", "\n", "\r\r\n")
            end = all_of[number % 4] if ends == "mixed" else rng.choice(all_of)
            end = end if part else "\n"
        found += end + part
    return found


def ends_of(text: str) -> list[str]:
    """What the lines of a text end with, in order."""
    raw = lines.raw_lines(iter([text.encode()]))
    return [lines.parted(line.decode())[1] for line in raw if line is not None]


ENDS = ("\r\n", "\r", "\r\r\n", "mixed")
JSONL = "".join(json.dumps({"text": line, "n": n}) + "\n" for n, line in enumerate(SENTENCES[:6]))
NBEST = "id\ttext\tscore\n" + "".join(
    f"{n // 3}\t{line}\t{-n}\n" for n, line in enumerate(SENTENCES[:9])
)
GAPS = "The [?]ear and jay sleep.\nThe bear and [?]ay sleep.\n"
PARAGRAPHS = "The pear\nand jay.\n\nThe bear\nand plum.\n\n\nA jay.\n"
# What is done with a file, the text in it, and whether its rows are written again.
JOBS: dict[str, tuple[tuple[str, ...], str, bool]] = {
    "score": (("score", "-m", "char", "--json", "--file", "f"), PLAIN[:200] + "\n\nx\n", False),
    "score paragraphs": (
        ("score", "-m", "char", "--json", "--split-on", "paragraph", "--file", "f"),
        PARAGRAPHS,
        False,
    ),
    "score --jsonl": (("score", "-m", "char", "--jsonl", "--file", "f"), JSONL, True),
    "score --column": (("score", "-m", "word", "--column", "2", "--file", "f"), TABLE, True),
    "score --nbest": (("score", "-m", "char", "--nbest", "--header", "--file", "f"), NBEST, True),
    "evaluate": (("evaluate", "-m", "char", "f", "--json"), PLAIN, False),
    "evaluate files": (("evaluate", "-m", "whole", "f", "--json"), PARAGRAPHS, False),
    "evaluate --dynamic": (("evaluate", "-m", "char", "f", "--dynamic", "--json"), PLAIN, False),
    "evaluate --tune": (("evaluate", "-m", "counts", "--tune", "f", "f", "--json"), PLAIN, False),
    "compare": (("compare", "char", "word", "f", "--json"), PLAIN, False),
    "compare files": (("compare", "char", "whole", "f", "--json"), PLAIN[:500], False),
    "novelty": (("novelty", "f", "-m", "char", "--json"), PLAIN[:300], False),
    "novelty --against": (("novelty", "f", "--against", "f", "--json"), PARAGRAPHS, False),
    "classify": (("classify", "-m", "kinds", "--file", "f", "--tsv"), PLAIN, False),
    "classify --column": (("classify", "-m", "kinds", "--column", "2", "--file", "f"), TABLE, True),
    "classify --labelled": (
        ("classify", "-m", "kinds", "--labelled", "column:1", "--file", "f"),
        TABLE,
        False,
    ),
    "tag --evaluate": (("tag", "f", "-m", "tags", "--evaluate"), TAGGED, False),
    "tag --json": (("tag", "f", "-m", "tags", "--json"), TAGGED, False),
    "fill": (("fill", "-m", "both", "--file", "f", "--json", "--top", "2"), GAPS, False),
    "score pairs": (("score", "-m", "pairs", "--file", "f"), TABLE, True),
    "score pairs, filtered": (
        ("score", "-m", "pairs", "--max-perplexity", "1e9", "--file", "f"),
        TABLE,
        True,
    ),
    "evaluate pairs": (
        ("evaluate", "-m", "pairs", "--max-tokens", "3", "f", "--json"),
        TABLE,
        False,
    ),
    "translate": (("translate", "-m", "pairs", "--max-tokens", "3", "-f", "f"), PLAIN[:90], False),
    "next": (("next", "-m", "char", "--file", "f", "--json"), PLAIN[:80], False),
    "sample": (
        ("sample", "-m", "char", "--prompt-file", "f", "--seed", "1", "--max-tokens", "9"),
        "The pear\nand ",
        False,
    ),
}


@pytest.mark.row("I3")
@pytest.mark.parametrize("job", JOBS)
def test_figures_do_not_depend_on_line_ends(job: str, folder: Path, tally: Tally) -> None:
    """LF, CRLF, CR, CR CR LF or all of them, with a last one or without: what comes out is the
    same, and rows that are written again end as they came.
    """
    command, text, writes = JOBS[job]
    number = tally.wanted(2 * len(ENDS)) // 2
    every = [*ENDS, *(f"mixed {seed}" for seed in range(len(ENDS), number))]
    for last in (True, False):
        whole = text if last else text.rstrip("\n")
        Path("f").write_text(whole, newline="")
        expected = charlm(*command)
        assert expected.code == 0, expected.err
        assert expected.stdout
        for ends in every:
            other = ended(whole, ends)
            Path("f").write_bytes(other.encode())
            found = charlm(*command)
            assert found.code == 0, found.err
            assert (b"a CR alone ends a line" in found.stderr) == ("\r" in ends_of(other))
            if not writes:
                assert found.stdout == expected.stdout
            else:
                assert ends_of(found.out) == ends_of(other)
                assert lines.with_lf(found.out) == expected.out
            tally.add()


@pytest.mark.parametrize("ends", ENDS)
def test_dropped_rows_leave_the_others_as_they_are(ends: str, folder: Path) -> None:
    """What a filter keeps, of plain lines or broken ones, goes out to the byte."""
    data = ended(PLAIN, ends).encode() + b"a\xffb"
    Path("f").write_bytes(data)
    bounds = ("--max-perplexity", "1e9", "--on-error", "keep")
    assert charlm("score", "-m", "char", "-f", "f", *bounds).stdout == data
    scores = charlm("score", "-m", "char", "--json", "-f", "f", "--on-error", "drop").stdout
    values = [json.loads(line)["perplexity_per_token"] for line in scores.splitlines()]
    bound = sorted(values)[len(values) // 2]
    kept = charlm("score", "-m", "char", "-f", "f", "--max-perplexity", repr(bound), *bounds[2:])
    rows = [one for one in lines.raw_lines(iter([data])) if one is not None]
    wanted = [row for row, value in zip(rows, values, strict=False) if value <= bound]
    assert 0 < len(wanted) < len(rows) - 1
    assert kept.stdout == b"".join([*wanted, b"a\xffb"])


@pytest.mark.slow
@pytest.mark.parametrize("split_on", ["line", "paragraph", "file"])
def test_a_corpus_is_the_same_whatever_ends_its_lines(
    split_on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training sees one text: the fingerprint that a run keeps is one."""
    text = PARAGRAPHS + PLAIN
    for ends in ("\n", *ENDS):
        (tmp_path / "f").write_bytes(ended(text, ends).encode())
        (document,) = corpus.read_documents([tmp_path / "f"])
        assert document.text == text
        sequences = corpus.split_sequences(document.text, split_on)
        assert sequences == corpus.split_sequences(text, split_on)
    monkeypatch.chdir(tmp_path)
    assert charlm("train", "f", "--split-on", split_on, *TINY, "--name", "x").code == 0
    about = load("x").checkpoint.info["text"]
    Path("f").write_text(text, newline="")
    assert charlm("train", "f", "--split-on", split_on, *TINY, "--name", "y").code == 0
    assert load("y").checkpoint.info["text"] == about


def test_tags_end_as_their_tokens_do(folder: Path) -> None:
    """A row that gets a tag keeps its CRLF."""
    Path("f").write_bytes(b"The\r\nbear\r\n\r\nsleeps\r\n")
    out = charlm("tag", "f", "-m", "tags").stdout
    assert out.count(b"\r\n") == out.count(b"\n") == 4


# What files are


def docx() -> bytes:
    """The beginnings of a Word document."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<w:document/>")
    return data.getvalue()


def archive_of(text: str) -> bytes:
    """A text in a zip archive."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text.txt", text)
    return data.getvalue()


CONLLU = "# text = The bear sleeps.\n" + "".join(
    f"{n}\t{form}\t{form.lower()}\t{tag}\t_\t_\t0\troot\t_\t_\n"
    for n, (form, tag) in enumerate((("The", "DET"), ("bear", "NOUN"), ("sleeps", "VERB")), 1)
)
BINARY = bytes(range(256)) * 8
# Each with what has to be said of it; None: it is text, or packed text, and is read.
FORMATS: dict[str, tuple[bytes, str | None]] = {
    "csv": (b'id,text\n1,"The pear, and jay."\n' * 5, None),
    "tsv": (TABLE.encode(), None),
    "tsv with a header": (b"label\ttext\n" + TABLE.encode(), None),
    "jsonl": (JSONL.encode(), None),
    "json": (json.dumps(SENTENCES[:5], indent=1).encode(), None),
    "conllu": ((CONLLU + "\n").encode() * 3, None),
    "conll": (TAGGED.encode(), None),
    "html": (b"<!DOCTYPE html>\n<html><body><p>The pear.</p></body></html>\n", None),
    "srt": (b"1\n00:00:01,000 --> 00:00:02,000\nThe pear.\n\n" * 3, None),
    "ini": (b"[section]\nkey = value\n" * 3, None),
    "empty": (b"", None),
    "xz": (lzma.compress(PLAIN.encode()), None),
    "bz2": (bz2.compress(PLAIN.encode()), None),
    "gz": (gzip.compress(PLAIN.encode()), None),
    "gz in two parts": (gzip.compress(b"The pear.\n") + gzip.compress(PLAIN.encode()), None),
    "zip": (archive_of(PLAIN), "zip archive"),
    "docx": (docx(), "Word document"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< >>\nendobj\n", "PDF"),
    "parquet": (b"PAR1\x15\x04\x15\x10" + BINARY + b"PAR1", "Parquet"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + BINARY, "PNG"),
    "elf": (b"\x7fELF\x02\x01\x01" + BINARY, "ELF"),
    "utf-16": (PLAIN.encode("utf-16-le"), "UTF-16-LE"),
    "utf-16 of the other kind": (PLAIN.encode("utf-16-be"), "UTF-16-BE"),
    "cp1252": ("naïve café, £5\n".encode("cp1252") * 5, "not "),
    "binary": (random.Random(1).randbytes(2000), "not "),
}
READERS: dict[str, tuple[str, ...]] = {
    "train": ("train", "f", *TINY, "--name", "new"),
    "score": ("score", "-m", "char", "--json", "--file", "f"),
    "evaluate": ("evaluate", "-m", "word", "f"),
    "compare": ("compare", "char", "word", "f"),
    "novelty": ("novelty", "f", "-m", "char"),
    "novelty --against": ("novelty", "corpus", "--against", "f"),
    "classify": ("classify", "-m", "kinds", "--file", "f"),
    "tag": ("tag", "f", "-m", "tags"),
    "score pairs": ("score", "-m", "pairs", "--file", "f"),
    "evaluate pairs": ("evaluate", "-m", "pairs", "--max-tokens", "3", "f"),
    "translate": ("translate", "-m", "pairs", "--max-tokens", "3", "--file", "f"),
    "fill": ("fill", "-m", "both", "--file", "f"),
    "next": ("next", "-m", "char", "--file", "f"),
    "sample": ("sample", "-m", "char", "--prompt-file", "f", "--max-tokens", "3"),
    "tune": ("evaluate", "-m", "counts", "--tune", "f", "corpus"),
}


@pytest.mark.row("I1")
@pytest.mark.parametrize("reader", READERS)
def test_formats_are_read_or_named(reader: str, folder: Path, tally: Tally) -> None:
    """Any file to any command: it works, or one sentence with 2 or 3 says what the file is.

    What is packed gives what its text gives, whatever its name; a file of the same name, and
    standard input where there is one, are read alike.
    """
    command = READERS[reader]
    wrong = []
    cases = list(FORMATS.items())
    rng = random.Random(reader)
    for number in range(len(cases), tally.wanted(len(cases))):
        name, (data, _) = cases[number % len(FORMATS)]
        at = rng.randrange(len(data) + 1)  # a part of it, a byte changed
        data = data[:at] + rng.randbytes(1) + data[at + 1 : at + rng.randrange(2000)]
        cases.append((f"{name}, changed {number}", (data, None)))
    for name, (data, named) in cases:
        Path("f").write_bytes(data)
        found = charlm(*command)
        shutil.rmtree("checkpoints/new", ignore_errors=True)
        problem = complaint(found)
        if problem is None and named is not None:
            said = found.err.splitlines()[-1]
            good = found.code in (2, 3) and named in said
            problem = None if good else f"does not name it: {found.code} {said}"
        if problem is None and name in ("xz", "bz2", "gz"):
            problem = unlike_plain(command, found)
        wrong += [] if problem is None else [f"{name}: {problem}"]
        tally.add(problem is None)
    assert not wrong, "\n".join(wrong)


def unlike_plain(command: tuple[str, ...], found: Ended) -> str | None:
    """What is wrong if a command did not do with packed text what it does with the text."""
    Path("f").write_text(PLAIN, newline="")
    plain = charlm(*command)
    shutil.rmtree("checkpoints/new", ignore_errors=True)
    same = (plain.code, plain.stdout) == (found.code, found.stdout) or command[0] == "sample"
    return None if same else f"not as plain text: {found.stdout!r:.80} {found.stderr!r:.200}"


@pytest.mark.parametrize("packed", formats.PACKED)
def test_packed_text_is_the_text(packed: str, tmp_path: Path) -> None:
    """In any blocks, several members one after another, zeros or other bytes behind them."""
    pack: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "bzip2": bz2.compress,
        "xz": lzma.compress,
        "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
        "zstd": zstandard.compress,
    }
    text = PLAIN.encode()
    member = pack[packed](text)
    for data, times, notes in (
        (member, 1, 0),
        (pack[packed](b""), 0, 0),
        (member + member, 2, 0),
        (member + bytes(8) + member + bytes(4), 2, 0),
        (member + b"trailing words", 1, 1),
        (member + b"\x1f", 1, 1),
    ):
        (tmp_path / "any").write_bytes(data)
        for block in (1, 7, 10**6):
            if block == 1 and len(data) > 300:
                continue
            said: list[str] = []
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(files, "_BLOCK", block)
                assert files.opened(tmp_path / "any", said.append).read() == text * times
            assert len(said) == notes
    for at in range(12, len(member) - 1, 13):
        (tmp_path / "any").write_bytes(member[:at])
        with pytest.raises(TextError, match="cannot read"):
            files.opened(tmp_path / "any", lambda _: None).read()
    (tmp_path / "any").write_bytes(pack[packed](member))
    with pytest.raises(TextError, match="packed twice"):
        files.opened(tmp_path / "any", lambda _: None)


def test_a_suffix_promises_what_is_inside(tmp_path: Path) -> None:
    """Plain text that is called .gz, .bz2 or .xz is damaged, or no such thing: it is refused."""
    for suffix in (".gz", ".bz2", ".xz"):
        (tmp_path / f"a{suffix}").write_bytes(b"plain\n")
        with pytest.raises(TextError, match="as its name says"):
            corpus.read_documents([tmp_path / f"a{suffix}"])


def test_packed_and_named_texts_on_standard_input(folder: Path) -> None:
    """A pipe is read as a file is: unpacked, its format named, its mark dropped and said."""
    plain = charlm("score", "-m", "char", "--json", stdin=PLAIN.encode())
    packed = charlm("score", "-m", "char", "--json", stdin=gzip.compress(PLAIN.encode()))
    assert (packed.code, packed.stdout) == (0, plain.stdout)
    refused = charlm("evaluate", "-", "-m", "char", stdin=docx())
    assert refused.code == 3
    assert b"standard input is a Word document" in refused.stderr
    reader, writer = os.pipe()
    os.write(writer, gzip.compress(b"one\ntwo\n"))
    os.close(writer)
    with os.fdopen(reader, "rb") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", type("In", (), {"buffer": stream}))
        found = [line.text for line in streaming.stream_lines("-") if line is not None]
    assert found == ["one", "two"]


def test_marks_that_are_read_as_text_are_told(folder: Path) -> None:
    """HTML, XML, a JSON array and subtitles are text, and work; readers say what they look like."""
    for name, data in (
        ("HTML", FORMATS["html"][0]),
        ("HTML", b"\xef\xbb\xbf\n<html lang=en>"),
        ("a JSON array", b'[\n {"text": "a"}]\n'),
        ("XML", b"<?xml version='1.0'?>\n<tei/>\n"),
        ("subtitles (SRT)", FORMATS["srt"][0].replace(b"\n", b"\r\n")),
    ):
        Path("f").write_bytes(data)
        for reader in ("score", "evaluate", "compare", "novelty", "classify", "next", "tune"):
            found = charlm(*READERS[reader])
            assert found.code == 0, found.err
            assert f"f: looks like {name}: ".encode() in found.stderr, reader
    for text in (b"a < html\n", b"1 plum\n2 pears --> 3\n", b"htmlhtml\n", b"[a]\n"):
        assert formats.said_of_marks(text) is None


def test_texts_that_begin_like_a_format_are_texts(tmp_path: Path) -> None:
    """Letters alone make no Parquet file, no program, no picture; nor do NULs make UTF-16."""
    for text in ("PAR1 is par one\n", "MZ\n", "GIF89a\n", "BZh9 and BZh\n", "ID3\n", "RIFF raff\n"):
        (tmp_path / "f").write_text(text)
        (document,) = corpus.read_documents([tmp_path / "f"])
        assert document.text == text
    for data in (b"a\0b\n\0\n\0\0c\n" * 10, b"\0" * 100, b"a\0" * 3):
        assert formats.wide_encoding(data) is None
    for word in ("cat", "né", "of us", "的", "кот и"):  # an odd number of bytes in most
        for data in (
            f"{word}\0".encode() * 2000,
            f"\0{word}".encode() * 5,
            b"x\0" * 9 + b"xyz\0" * 9,
        ):
            assert formats.wide_encoding(data[: formats.HEAD]) is None
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        for text in (
            PLAIN,
            "日本語 text, mostly Latin\n",
            "ひらがな, and words in Latin\n",
            "“Half” – of it – is кириллица\n",
            "the café of ελληνικά\n",
        ):
            data = (text * 200).encode(encoding)
            assert formats.wide_encoding(text.encode(encoding)) == encoding
            assert formats.wide_encoding(data[: formats.HEAD]) == encoding


@pytest.mark.slow
def test_a_bomb_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes that unpack to gigabytes are read in blocks, and given up when that is sure.

    That holds for gzip, bzip2, xz and zstd, whoever reads: also one who takes a text as a whole.
    """
    monkeypatch.setattr(files, "_FREE", 2**22)
    zeros = bytes(2**25)
    tracemalloc.start()
    try:
        for pack in (gzip.compress, bz2.compress, lzma.compress, zstandard.compress):
            data = pack(zeros)
            (tmp_path / "bomb").write_bytes(data)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(TextError, match="500 times its size"):
                for _ in files.opened(tmp_path / "bomb", lambda _: None).chunks:
                    pass
            assert (
                tracemalloc.get_traced_memory()[1] - before < 2**24
            )  # bzip2 and xz take some themselves
            for read in (
                lambda: corpus.read_documents([tmp_path / "bomb"]),
                lambda: list(streaming.stream_lines(tmp_path / "bomb")),
                lambda: list(streaming.read_sequences([tmp_path / "bomb"], "file")),
            ):
                with pytest.raises(TextError, match="500 times its size"):
                    read()
    finally:
        tracemalloc.stop()
    monkeypatch.undo()  # what is far from filling a memory is read, however well it is packed
    (tmp_path / "log").write_bytes(zlib.compress(b"the same line\n" * 2**19, wbits=31))
    assert sum(1 for _ in streaming.stream_lines(tmp_path / "log")) == 2**19


def test_xz_that_wants_too_much_memory_is_refused(tmp_path: Path) -> None:
    """A header may ask for gigabytes to unpack with: that is an error, not an allocation."""
    data = lzma.compress(b"text\n", format=lzma.FORMAT_ALONE)
    (tmp_path / "f").write_bytes(data[:1] + struct.pack("<I", 0xC000_0000) + data[5:])
    with pytest.raises(TextError, match="cannot read"):
        files.opened(tmp_path / "f", lambda _: None).read()


@pytest.mark.parametrize("encoding", ["hex", "rot13", "base64", "zip", "no-such"])
def test_what_is_no_encoding_of_text_is_refused(encoding: str, folder: Path) -> None:
    """Python has codecs that give bytes, or text from text: those are no encoding, exit 2."""
    Path("f").write_text(PLAIN)
    for command in (
        ("train", "f", *TINY),
        ("score", "-m", "char", "--file", "f"),
        ("evaluate", "-m", "char", "f"),
        ("compare", "char", "word", "f"),
        ("novelty", "f", "-m", "char"),
        ("classify", "-m", "kinds", "--file", "f"),
        ("tag", "f", "-m", "tags"),
        ("fill", "-m", "both", "--file", "f"),
    ):
        found = charlm(*command, "--encoding", encoding)
        assert found.code == 2, found.stderr
        assert encoding.encode() in found.stderr
    with pytest.raises(UsageError):
        corpus.decode("x", b"61", encoding)


# What is noticed is said


def test_every_command_says_that_it_dropped_a_mark(folder: Path) -> None:
    """One line on stderr, and the figures are those without the mark."""
    for job, (command, text, _) in JOBS.items():
        Path("f").write_text(text, newline="")
        plain = charlm(*command)
        Path("f").write_bytes(b"\xef\xbb\xbf" + text.encode())
        marked = charlm(*command)
        times = command.count("f")
        assert (marked.code, marked.stdout) == (0, plain.stdout), job
        assert marked.stderr.count(b"f: dropped the byte order mark at its start") == times, job
    Path("f").write_bytes(b"\xef\xbb\xbf" + PLAIN.encode())
    for reader in ("train", "novelty --against", "tune"):
        command = [part for part in READERS[reader] if part != "--quiet"]
        assert b"f: dropped the byte order mark" in charlm(*command).stderr, reader
    shutil.rmtree("checkpoints/new")


def test_commands_read_in_one_place() -> None:
    """No command asks the library for a file's text by itself: then what is noticed is unsaid."""
    command_line = Path(cli.__file__).parent
    readers = {"stream_lines", "stream_texts", "read_sequences", "read_documents", "read_labelled"}
    modules = list(command_line.rglob("*.py"))
    assert len(modules) > 30
    for module in modules:
        tree = ast.parse(module.read_bytes())
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not names & readers or module.parent.name == "input", module
        assert "buffer" not in names or module.name == "terminal.py", module


# Arguments


ARGUMENTS: tuple[tuple[str, ...], ...] = (
    ("score", "-m", "char", "*"),
    ("score", "-m", "char", "--context", "*", "x"),
    ("score", "-m", "char", "--label", "*", "x"),
    ("sample", "-m", "char", "--prompt", "*"),
    ("sample", "-m", "char", "--stop", "*"),
    ("sample", "-m", "char", "--label", "*"),
    ("next", "-m", "char", "*"),
    ("fill", "-m", "both", "*[?]"),
    ("classify", "-m", "kinds", "*"),
    ("tokenize", "-m", "char", "*"),
    ("novelty", "corpus", "-m", "char", "--prompt", "*"),
    ("score", "-m", "char", "--jsonl", "--field", "*", "--file", "corpus"),
    ("train", "corpus", "--label-from", "field:*"),
)


@pytest.mark.parametrize("command", ARGUMENTS)
def test_arguments_that_are_no_text_are_refused_alike(
    command: tuple[str, ...], folder: Path
) -> None:
    """One rule for every command and every text: exit 3, and the argument is named."""
    found = charlm(*(part.replace("*", "a\udcff") for part in command))
    assert found.code == 3, found.stderr
    said = found.err.splitlines()
    assert len(said) == 1
    assert "is not UTF-8. Convert it first" in said[0]


def test_names_of_files_may_be_any_bytes(folder: Path) -> None:
    """What the system calls a file is not text, and is opened as it is."""
    name = "a\udcffb"
    Path(name).write_text(PLAIN[:100])
    assert charlm("evaluate", "-m", "char", name).code == 0
    assert charlm("score", "-m", "char", "--file", name).code == 0
    assert charlm("sample", "-m", "char", "--prompt-file", name, "--max-tokens", "2").code == 0


def test_a_character_is_one_in_a_plain_locale(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the locale cannot read UTF-8, arguments come as bytes: they are read as UTF-8."""
    wanted = charlm("score", "-m", "char", "--json", "née").stdout
    escaped = "née".encode().decode("ascii", "surrogateescape")
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("ascii", "surrogateescape"))
    assert charlm("score", "-m", "char", "--json", escaped).stdout == wanted
    assert json.loads(wanted)["characters"] == 3
