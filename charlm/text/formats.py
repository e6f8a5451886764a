"""What bytes are, told by the first of them: packed text, files of programs, or plain text.

Magic numbers are those of the formats' own descriptions: RFC 1952 (gzip), the .xz file format,
APPNOTE (zip), ISO 32000 (PDF), and so on.
"""

import codecs
import re
from typing import NamedTuple

HEAD = 4096  # bytes that are looked at, where they are there


class Format(NamedTuple):
    """A format that is no plain text: its name, and what to do with it."""

    name: str
    cure: str


_PACKED = (
    ("gzip", b"\x1f\x8b\x08"),
    ("bzip2", b"BZh"),
    ("xz", b"\xfd7zXZ\0"),
    ("lzma", b"\x5d\0\0"),
    ("zstd", b"\x28\xb5\x2f\xfd"),
)
PARQUET = "a Parquet file"
PACKED = tuple(name for name, _ in _PACKED)  # what can be read as it is
_BZIP2 = rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"  # its first block, or the end of an empty one

_UNPACK = "Unpack it first"
_NO_TEXT = "It holds no text that could be read"
_AS_TEXT = "Save it as plain text (UTF-8) first"
_TABLE = "Write its texts to a file of lines or JSON Lines first"

_ARCHIVES = (  # zip archives, by what stands in them near their beginning
    ("a Word document", b"word/", _AS_TEXT),
    ("an Excel workbook", b"xl/", "Save it as tab-separated text (UTF-8) first"),
    ("a PowerPoint presentation", b"ppt/", _AS_TEXT),
    ("an EPUB book", b"application/epub+zip", _AS_TEXT),
    ("an OpenDocument file", b"application/vnd.oasis.opendocument", _AS_TEXT),
)
_KNOWN = (
    ("lz4 data", b"\x04\x22\x4d\x18", f"{_UNPACK} (lz4 -d)"),
    ("compress data (.Z)", b"\x1f\x9d", f"{_UNPACK} (gzip -d)"),
    ("a 7z archive", b"7z\xbc\xaf\x27\x1c", f"{_UNPACK} (7z x)"),
    ("a RAR archive", b"Rar!\x1a\x07", f"{_UNPACK} (unrar x)"),
    ("a PDF", b"%PDF-", "Take the text out of it first (pdftotext)"),
    ("an old Office document", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", _AS_TEXT),
    ("an RTF document", b"{\\rtf", _AS_TEXT),
    ("a PNG picture", b"\x89PNG\r\n", _NO_TEXT),
    ("a JPEG picture", b"\xff\xd8\xff", _NO_TEXT),
    ("an HDF5 file", b"\x89HDF\r\n", _TABLE),
    ("a NumPy array", b"\x93NUMPY", _NO_TEXT),
    ("a program (ELF)", b"\x7fELF", _NO_TEXT),
    ("WebAssembly", b"\0asm", _NO_TEXT),
    ("a SQLite database", b"SQLite format 3\0", _TABLE),
)
# Names that a text could begin with, too: only where bytes that no text has come soon.
_KNOWN_IF_BINARY = (
    (PARQUET, b"PAR1", "Training alone reads it: give the column of the text (`text_field`)"),
    ("an Arrow file", b"ARROW1", _TABLE),
    ("an Avro file", b"Obj\x01", _TABLE),
    ("an ORC file", b"ORC", _TABLE),
    ("lzip data", b"LZIP", f"{_UNPACK} (lzip -d)"),
    ("a GIF picture", b"GIF8", _NO_TEXT),
    ("a RIFF file (sound, film, WebP)", b"RIFF", _NO_TEXT),
    ("sound (Ogg)", b"OggS", _NO_TEXT),
    ("sound (FLAC)", b"fLaC", _NO_TEXT),
    ("sound (MP3)", b"ID3", _NO_TEXT),
    ("a program (Windows)", b"MZ", _NO_TEXT),
    *(  # by its protocol, and from the fourth on by its first frame; \x80 alone is € in cp1252
        ("a pickle of Python", magic, _NO_TEXT)
        for magic in (b"\x80\x02", b"\x80\x03", b"\x80\x04\x95", b"\x80\x05\x95")
    ),
    ("a Java class", b"\xca\xfe\xba\xbe", _NO_TEXT),
)
# Text, but not all of it what a person would train on or score.
_MARKED = (
    ("HTML", rb"(?i)\s*<(!doctype\s+html|html\b)", "its marks are"),
    ("XML", rb"\s*<\?xml\s", "its marks are"),
    ("a JSON array", rb'\s*\[\s*\{\s*"', "names and brackets are"),
    ("subtitles (SRT)", rb"\s*\d+\s+\d+:\d\d:\d\d,\d+ +-->", "numbers and times are"),
)
_UTF8_MARK = b"\xef\xbb\xbf"
_CONTROL = rb"[\0-\x08\x0e-\x1a]"
_LONGEST = 16  # bytes of the names above


def packed_as(head: bytes) -> str | None:
    """What a text is packed with: gzip, bzip2, xz, lzma or zstd; None if it is not."""
    for name, magic in _PACKED:
        if head.startswith(magic):
            return name if name != "bzip2" or re.match(_BZIP2, head) else None
    return None


def format_of(head: bytes) -> Format | None:
    """The format that bytes begin as, None where it may be plain text."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        for name, inside, cure in _ARCHIVES:
            if inside in head:
                return Format(f"{name} (a zip archive)", cure)
        return Format("a zip archive", f"{_UNPACK} (unzip -p)")
    for name, magic, cure in _KNOWN:
        if head.startswith(magic):
            return Format(name, cure)
    if head[257:262] == b"ustar":
        return Format("a tar archive", f"{_UNPACK} (tar -x)")
    if re.search(_CONTROL, head):
        if head[4:8] == b"ftyp":
            return Format("a film (MP4)", _NO_TEXT)
        for name, magic, cure in _KNOWN_IF_BINARY:
            if head.startswith(magic):
                return Format(name, cure)
    return None


def said_of_marks(head: bytes) -> str | None:
    """What there is to say of text with more in it than its words: HTML, XML, subtitles."""
    for name, begins, what in _MARKED:
        if re.match(begins, head.removeprefix(_UTF8_MARK)):
            return f"looks like {name}: {what} read as text, too"
    return None


def may_be_begun(head: bytes) -> bool:
    """Whether there is too little to tell: it may be the beginning of some format's name."""
    if len(head) >= _LONGEST:
        return False
    names = [magic for _, magic in _PACKED] + [magic for _, magic, _ in _KNOWN]
    names += [b"BZh91AY&SY", b"PK\x03\x04", b"PK\x05\x06"]
    return any(len(head) < len(name) and name.startswith(head) for name in names)


def wide_encoding(head: bytes) -> str | None:
    """utf-16, utf-32, utf-16-le and the like if bytes begin as that, by a mark or by their zeros.

    Without a mark it is told by NULs at every other place, as ASCII has them there. That they stand
    there is not enough: words of three letters with a NUL behind each have them there, too.
    """
    # The mark of UTF-32 begins with that of UTF-16.
    for found, marks in (
        ("utf-32", (b"\xff\xfe\0\0", b"\0\0\xfe\xff")),
        ("utf-16", (b"\xff\xfe", b"\xfe\xff")),
    ):
        if head.startswith(marks):
            return found
    for found, width, zeros in (
        ("utf-32-le", 4, (2, 3)),
        ("utf-32-be", 4, (0, 1)),
        ("utf-16-le", 2, (1,)),
        ("utf-16-be", 2, (0,)),
    ):
        whole = head[: len(head) // width * width]
        shares = [whole[at::width].count(0) * width / max(1, len(whole)) for at in range(width)]
        letters = [shares[at] for at in range(width) if at not in zeros]
        most = 0.4 if width == 2 else 0.95
        if len(whole) >= 8 and min(shares[at] for at in zeros) >= most and min(letters) <= 0.05:
            return None if _has_nuls(head, whole[zeros[0] :: width]) else found
    return None


def _has_nuls(head: bytes, high: bytes) -> bool:
    """Whether bytes are text as they are, with NULs in it: UTF-8, and letters between the NULs.

    ``high`` is every other byte, which UTF-16 of letters has below those of ASCII. It has higher
    ones in kana and ideographs; but the bytes beside those are soon no UTF-8.
    """
    if sum(byte > 0x20 for byte in high) <= 0.05 * len(high):  # 0x20 is that of quotes and dashes
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # whose end may be cut
    except UnicodeDecodeError:
        return False
    return True
