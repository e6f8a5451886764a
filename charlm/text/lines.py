"""Where lines end: the one place that decides it, for every reader.

A line ends at LF, the CRs directly before it included (LF, CRLF, CR CR LF), or at a CR with
neither behind it. Nothing else ends one: U+0085, U+2028 and the like are characters.
"""

import re
from collections.abc import Callable, Iterable, Iterator

_PORTION = 2**16  # line ends that are given out at a time
_SLICE = 2**15  # bytes that are cut into lines at a time
_RUN = re.compile(r"\r+\n?")
_ALONE = re.compile(r"\r(?![\r\n])")


def with_lf(text: str) -> str:
    """The text with each line end as one LF."""
    if "\r" not in text:
        return text
    text = text.replace("\r\n", "\n")  # the usual ones, fast
    return _RUN.sub(_as_lf, text) if "\r" in text else text


def _as_lf(run: re.Match[str]) -> str:
    found = run.group()
    return "\n" if found[-1] == "\n" else "\n" * len(found)


def has_cr_alone(text: str) -> bool:
    """Whether some line of a text ends at a CR alone."""
    return "\r" in text and _ALONE.search(text) is not None


def said_of_cr(name: str) -> str:
    """What there is to say of a text in which a CR alone ends a line."""
    return f"{name}: a CR alone ends a line here, as LF does"


def ended_by_lf(
    blocks: Iterable[tuple[str, int]], on_cr_alone: Callable[[], None]
) -> Iterator[tuple[str, int]]:
    """with_lf of a text that comes in blocks, each with its place, which is passed on.

    ``on_cr_alone`` is called where a CR alone has ended a line.
    """
    held = end = 0  # CRs that may yet belong to a LF; the place of the last block
    for block, end in blocks:
        whole = block.rstrip("\r")
        inner = whole.lstrip("\r")
        held += len(whole) - len(inner)
        if inner:
            if inner[0] != "\n":
                yield from _ends(held, end, on_cr_alone)
            if has_cr_alone(inner):
                on_cr_alone()
            yield with_lf(inner), end
            held = 0
        held += len(block) - len(whole)
    yield from _ends(held, end, on_cr_alone)


def _ends(number: int, end: int, on_cr_alone: Callable[[], None]) -> Iterator[tuple[str, int]]:
    """So many line ends that are CRs alone."""
    if number:
        on_cr_alone()
    for begun in range(0, number, _PORTION):
        yield "\n" * min(_PORTION, number - begun), end


def raw_lines(chunks: Iterable[bytes | None]) -> Iterator[bytes | None]:
    """The lines of bytes, each with its end; None is passed on.

    For encodings in which CR and LF are a byte each, as in ASCII. No more than a line and a chunk
    is held; a line that a CR ends comes when the byte after that is known.
    """
    begun: list[bytes] = []  # of a line whose end has not come yet
    held = 0  # CRs behind that, which may yet belong to a LF
    for chunk in chunks:
        if chunk is None:
            yield None
            continue
        for piece in _pieces(chunk):
            if piece == b"\r":
                held += 1
                continue
            if held and piece not in (b"\n", b"\r\n"):
                yield from _ended_by_cr(begun, held)
                begun, held = [], 0
            if piece.endswith(b"\n"):
                if begun or held:
                    piece = b"".join((*begun, b"\r" * held, piece))
                    begun, held = [], 0
                yield piece
            elif piece.endswith(b"\r"):
                begun.append(piece[:-1])
                held = 1
            else:
                begun.append(piece)
    if held:
        yield from _ended_by_cr(begun, held)
    elif begun:
        yield b"".join(begun)


def _pieces(chunk: bytes) -> Iterator[bytes]:
    for at in range(0, len(chunk), _SLICE):
        yield from chunk[at : at + _SLICE].splitlines(keepends=True)  # at CR, LF, CRLF alone


def _ended_by_cr(begun: list[bytes], held: int) -> Iterator[bytes]:
    yield b"".join((*begun, b"\r"))
    for _ in range(held - 1):
        yield b"\r"


def raw_until_nul(chunks: Iterable[bytes | None]) -> Iterator[bytes | None]:
    """Texts of bytes, each with the NUL that ends it; None is passed on."""
    begun: list[bytes] = []  # of a text whose end has not come yet
    for chunk in chunks:
        if chunk is None:
            yield None
            continue
        *whole, rest = chunk.split(b"\0")
        for text in whole:
            yield b"".join((*begun, text, b"\0"))
            begun.clear()
        if rest:
            begun.append(rest)
    if begun:
        yield b"".join(begun)


def parted(line: str, ends: str = "\r\n") -> tuple[str, str]:
    """What raw_lines gave, or with NUL the other, without its end, and that ("" if it has none)."""
    text = line.rstrip(ends) if ends != "\0" else line.removesuffix(ends)
    return text, line[len(text) :]
