"""The two sides of a text that is read in passes: what is trained on, and what is held out.

A sequence goes to a side by its hash, so each pass decides alike, and one that occurs several times
goes to one side as a whole. Where a sequence is a file, the last part of each file is held out.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.errors import TextError
from charlm.text.corpus import Counts
from charlm.text.files import Note
from charlm.text.passes import MOST, SequenceFiles

Hashes = NDArray[np.uint64]
_PORTION = 2**20  # characters of a file that are given out together, about
_END = b"\xff"  # no byte of UTF-8: ends a file in what is hashed


class Part(NamedTuple):
    """What has been read of one side: whole sequences, or, of a file, a part of one.

    Attributes:
        side: train or valid.
        texts: the sequences; where the last one goes on (``ends`` is false), cut where no token is.
        hashes: (S,) of whole sequences, corpus.sequence_hash; none of files.
        sizes: of what was read.
        digest: what makes the text's fingerprint.
        end: bytes that have been read in all.
    """

    side: str
    texts: list[str]
    hashes: Hashes | None
    sizes: Counts
    digest: bytes
    ends: bool
    end: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sides:
    """A text as both sides of it: held out are the files ``valid``, or a share of ``train``.

    divide cuts a text that goes on where no token can be (Tokenizer.divide).
    """

    train: SequenceFiles
    valid: SequenceFiles | None
    share: float
    seed: int
    divide: Callable[[str], tuple[str, str]]

    @property
    def is_of_files(self) -> bool:
        """Whether a sequence is a file."""
        return self.train.split_on == "file"

    def parts(self, note: Note = lambda _: None) -> Iterator[Part]:
        """All of it, once; as often as it is asked for it is the same."""
        end = 0
        share = 0.0 if self.valid is not None else self.share
        sides = [(self.train, "train", share)]
        if self.valid is not None:
            sides.append((self.valid, "valid", 0.0))
        for files, side, held in sides:
            before = end
            read = self._files if self.is_of_files else self._sequences
            for part in read(files, side, held, note):
                end = before + part.end
                yield part._replace(end=end)

    def _sequences(
        self, files: SequenceFiles, side: str, share: float, note: Note
    ) -> Iterator[Part]:
        for texts, end in files.blocks(note):
            encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
            digests = [hashlib.blake2b(data, digest_size=8).digest() for data in encoded]
            hashes = np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
            is_held = mixed(hashes, self.seed) < limit(share)
            for name, index in ((side, ~is_held), ("valid", is_held)):
                chosen = np.flatnonzero(index).tolist()
                if chosen:
                    yield _part(name, texts, encoded, hashes, chosen, end)

    def _files(self, files: SequenceFiles, side: str, share: float, note: Note) -> Iterator[Part]:
        lengths = _lengths(files) if share else []
        cuts = [int(length * (1 - share)) for length in lengths]
        if not sum(cuts) or sum(lengths) - sum(cuts) < 2:  # too little to hold any out
            cuts = []
        number = at = 0
        reader = _FileReader(self.divide)
        for text, ends, end in files.pieces(note):
            length = min(len(text), max(0, cuts[number] - at)) if cuts else len(text)
            at += length
            if length:
                stops = at == cuts[number] if cuts else ends
                yield from reader.read(side, text[:length], stops, end)
            if length < len(text):
                yield from reader.read("valid", text[length:], ends, end)
            if ends:
                number, at = number + 1, 0


class _FileReader:
    """Gives out a file's text in portions that end between two tokens."""

    def __init__(self, divide: Callable[[str], tuple[str, str]]) -> None:
        self._divide = divide
        self._waiting: list[str] = []
        self._characters = self._bytes = self._length = 0
        self._digest = b""
        self._size = 0

    def read(self, side: str, text: str, ends: bool, end: int) -> Iterator[Part]:
        """What can be given out once this text has been read."""
        data = text.encode("utf-8", "surrogatepass")
        self._waiting.append(text)
        self._size += len(text)
        self._length += len(data)
        self._characters += len(text)
        self._bytes += len(data)
        self._digest += data
        if not ends and self._size < _PORTION:
            return
        whole, rest = "".join(self._waiting), ""
        if ends:
            self._digest += _END + self._length.to_bytes(8, "little")
            self._length = 0
        else:
            whole, rest = self._divide(whole)
            if not whole and len(rest) > MOST:
                raise TextError(
                    f"a file has more than {MOST:,} characters without a space: it cannot be cut "
                    "into words. Train at another `level`."
                )
        sizes = Counts(int(ends), self._characters, self._bytes, len(whole.split()))
        yield Part(side, [whole], None, sizes, self._digest, ends, end)
        self._waiting, self._size = [rest], len(rest)
        self._characters = self._bytes = 0
        self._digest = b""


def mixed(hashes: Hashes, seed: int) -> Hashes:
    """Other hashes (S,) of the same sequences, for each seed as if drawn anew (SplitMix64)."""
    begun = np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    z = hashes + begun
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: Hashes = z ^ (z >> np.uint64(31))
    return found


def limit(share: float) -> np.uint64:
    """Below this lies that share of all hashes."""
    return np.uint64(min(int(share * 2.0**64), 2**64 - 1))


def _part(
    side: str,
    texts: list[str],
    encoded: list[bytes],
    hashes: Hashes,
    chosen: list[int],
    end: int,
) -> Part:
    """The sequences of a block that are on one side."""
    own = [texts[i] for i in chosen] if len(chosen) < len(texts) else texts
    sizes = Counts(
        len(own),
        sum(map(len, own)),
        sum(len(encoded[i]) for i in chosen),
        len(" ".join(own).split()),
    )
    found = hashes[chosen]
    return Part(side, own, found, sizes, found.astype("<u8").tobytes(), True, end)


def _lengths(files: SequenceFiles) -> list[int]:
    """The characters of each file that holds any."""
    lengths, length = [], 0
    for text, ends, _ in files.pieces():
        length += len(text)
        if ends:
            lengths.append(length)
            length = 0
    return lengths
