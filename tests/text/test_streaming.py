"""Laws of files that are read as they come: the same as of the whole text, in bounded memory."""

import gzip
import io
import pickle
import sys
import tempfile
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import TextError, UsageError
from charlm.text import corpus, files, streaming


def read_lines(path: str | Path, **options: Any) -> Iterator[streaming.Line]:
    """The lines, as one who cannot do with a broken one reads them."""
    for line in streaming.stream_lines(path, **options):
        assert line is not None
        if line.problem is not None:
            raise TextError(line.problem)
        yield line


@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n\r"), max_size=8)),
    end=st.sampled_from(["\n", "\r\n"]),
    closed=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32"]),
)
def test_lines_are_read_one_at_a_time(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    end: str,
    closed: bool,
    encoding: str,
) -> None:
    """Every line without its end, empty ones too; a last one counts with or without an end."""
    lines = [line.encode("utf-8", "replace").decode().removeprefix("\ufeff") for line in lines]
    path = tmp_path_factory.mktemp("lines") / "text"
    text = end.join(lines) + (end if closed and lines else "")
    path.write_bytes(text.encode(encoding))
    expected = lines if closed or not lines or lines[-1] else lines[:-1]
    read = list(read_lines(path, encoding=encoding))
    assert [line.text for line in read] == expected
    if encoding == "utf-8":
        assert [line.end for line in read][-1:] == ([path.stat().st_size] if read else [])


def test_lines_of_gz_and_of_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are read as the file itself would be, a byte order mark left out."""
    plain, packed = tmp_path / "a.txt", tmp_path / "a.gz"
    plain.write_bytes(b"\xef\xbb\xbfone\n\ntwo")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert [line.text for line in read_lines(plain)] == ["one", "", "two"]
    assert list(read_lines(packed)) == list(read_lines(plain))
    with plain.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert list(read_lines("-")) == list(read_lines(plain))
        assert not stdin.buffer.closed
    assert [line.text for line in read_lines(tmp_path)] == ["one", "", "two"] * 2


def test_lines_before_a_broken_one_are_given() -> None:
    """The error comes where the line is, with its number and offset."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"fine\nalso fine\nbr\xffken\n")
        file.flush()
        lines = read_lines(file.name)
        assert [next(lines).text, next(lines).text] == ["fine", "also fine"]
        with pytest.raises(TextError, match=r"byte 0xff at offset 17 \(line 3\)"):
            next(lines)
        assert [line.text for line in read_lines(file.name, errors="replace")][2] == "br\ufffdken"
        only_encodes = {"errors": "xmlcharrefreplace"}
        for reads in (
            lambda: list(read_lines(file.name, **only_encodes)),
            lambda: list(streaming.read_sequences([file.name], "line", **only_encodes)),
            lambda: corpus.read_documents([file.name], **only_encodes),
        ):
            with pytest.raises(UsageError, match="error callback"):
                reads()


def test_what_has_no_lines_is_refused(tmp_path: Path) -> None:
    """No file, an empty directory, a damaged .gz, UTF-16 read as UTF-8, an unknown encoding."""
    (tmp_path / "bad.gz").write_bytes(gzip.compress(b"text " * 100)[:-9])
    (tmp_path / "wide").write_text("a", encoding="utf-16")
    (tmp_path / "empty").mkdir()
    for name, says in (
        ("none", "no file"),
        ("empty", "no file"),
        ("bad.gz", "cannot read"),
        ("wide", "UTF-16"),
    ):
        with pytest.raises(TextError, match=says):
            list(read_lines(tmp_path / name))
    with pytest.raises(UsageError):
        list(read_lines(tmp_path / "wide", encoding="no-such"))


@pytest.mark.slow
def test_lines_need_no_more_memory_than_a_line(tmp_path: Path) -> None:
    """8 MB of short lines are read within a small part of that."""
    path = tmp_path / "long.txt"
    path.write_bytes(b"a short line\n" * 600_000)
    tracemalloc.start()
    number = sum(1 for _ in read_lines(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert number == 600_000
    assert peak < 1_000_000


def whole(pieces: Iterable[streaming.Piece]) -> list[str]:
    """The sequences that pieces make; the last piece ends the last."""
    sequences, parts = [], []
    ends = True
    for piece in pieces:
        parts.append(piece.text)
        ends = piece.ends
        if ends:
            sequences.append("".join(parts))
            parts = []
    assert ends
    return sequences


ODD_LINES = st.lists(st.text("ab é🙂\r\n\t\x0b\x85\u2028\ufeff", max_size=8), max_size=12)


@pytest.mark.slow
@given(lines=ODD_LINES, block=st.sampled_from([1, 2, 3, 7, 1000]), times=st.integers(1, 5))
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("split_on", ["line", "paragraph", "file"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_sequences_in_pieces_are_the_sequences(
    split_on: str, encoding: str, lines: list[str], block: int, times: int
) -> None:
    """Read in blocks of whatever size, a file has the sequences that its text has as a whole."""
    text = "\n".join(line * times for line in lines)
    data = text.encode(encoding)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "a.txt"
        path.write_bytes(data)
        patch.setattr(streaming, "_BLOCK", block)
        patch.setattr(files, "_BLOCK", block)
        pieces = list(streaming.read_sequences([path, path], split_on, encoding=encoding))
    expected = corpus.split_sequences(corpus.decode("a.txt", data, encoding).text, split_on)
    assert whole(pieces) == 2 * expected
    ends = [piece.end for piece in pieces]
    assert ends == sorted(ends)
    assert not ends or ends[-1] <= 2 * len(data)


@given(data=st.binary(max_size=40), block=st.sampled_from([1, 2, 3, 1000]))
@settings(max_examples=300, deadline=None)
def test_broken_text_is_refused_or_replaced_alike(data: bytes, block: int) -> None:
    """In blocks or as a whole: the same complaint, or the same replacement characters."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "a.txt"
        path.write_bytes(data)
        patch.setattr(files, "_BLOCK", block)
        for errors in ("strict", "replace"):
            outcomes = []
            for read in (
                lambda errors=errors: "".join(
                    d.text for d in corpus.read_documents([path], errors=errors)
                ),
                lambda errors=errors: "".join(
                    p.text for p in streaming.read_sequences([path], "file", errors=errors)
                ),
            ):
                try:
                    outcomes.append(read())
                except TextError as error:
                    outcomes.append(str(error))
            assert outcomes[0] == outcomes[1]


def test_sequences_come_from_gz_directories_and_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As read_documents finds them; a file that is missing is told before any is read."""
    (tmp_path / "b.txt").write_bytes(b"zwei\ndrei")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("eins ß\n".encode()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"vier\r\n")))
    pieces = streaming.read_sequences([tmp_path, "-"], "line")
    assert whole(pieces) == ["eins ß", "zwei", "drei", "vier"]
    with pytest.raises(TextError, match="no file"):
        streaming.read_sequences([tmp_path / "b.txt", tmp_path / "c.txt"], "line")
    with pytest.raises(TextError, match="no file"):
        streaming.read_sequences([], "line")
    with pytest.raises(UsageError, match="line, paragraph or file"):
        streaming.read_sequences([tmp_path], "page")
    with pytest.raises(UsageError, match="unknown encoding"):
        list(streaming.read_sequences([tmp_path / "b.txt"], "line", encoding="klingon"))
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"eins" * 99)[:20])
    with pytest.raises(TextError, match="cannot read"):
        list(streaming.read_sequences([tmp_path], "line"))


@pytest.mark.slow
@pytest.mark.parametrize("split_on", ["line", "paragraph", "file"])
@pytest.mark.parametrize("line", [b"a word and another\n", b"a word and another "])
def test_sequences_need_no_more_memory_than_a_block(
    tmp_path: Path, split_on: str, line: bytes
) -> None:
    """Many lines, one paragraph or a single line of 8 MB: pieces are small, and so is memory."""
    path = tmp_path / "a.txt"
    path.write_bytes(line * (2**23 // len(line)))
    tracemalloc.start()
    try:
        longest = max(len(piece.text) for piece in streaming.read_sequences([path], split_on))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert longest < 2**20
    assert peak < 2**23


@pytest.mark.parametrize(("text", "encoding"), [("\x80\n", "utf-16-le"), ("€\x01\n", "cp1252")])
def test_a_text_that_begins_as_old_pickles_do_is_a_text(
    tmp_path: Path, text: str, encoding: str
) -> None:
    """Its first byte alone makes it none; a pickle of any protocol since is named."""
    path = tmp_path / "text"
    path.write_bytes(text.encode(encoding))
    assert [line.text for line in read_lines(path, encoding=encoding)] == [text[:-1]]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps([text] * 99, protocol))
        with pytest.raises(TextError, match="a pickle of Python"):
            list(read_lines(path, encoding=encoding))
