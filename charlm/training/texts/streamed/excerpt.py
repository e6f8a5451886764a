"""What the second pass over a text keeps of it beside its ids, within bounds.

That is the hashes of the training sequences, by which a sample is known to be one of them, where
there are not too many; and as much of the text as an index of it may hold (novelty/text_index.py).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints.tensors import arrays_to_bytes
from charlm.checkpoints.token_store import TokenStore
from charlm.errors import CheckpointError
from charlm.novelty.text_index import HELD_OUT, LIMIT, Source, source_of
from charlm.text.corpus import Counts, sequence_hash
from charlm.training.request import Say
from charlm.training.texts.streamed.sides import Hashes, Part, limit, mixed

MOST_KNOWN = 2**22  # sequences whose hashes are kept: 32 MiB
_CHARACTERS = LIMIT // 5  # a character takes five bytes of an index at least
_SALT = 2  # of the random choice of sequences, beside those of other choices
_KNOWN, _SOURCE = "known.safetensors", "excerpt.safetensors"


class Excerpt(NamedTuple):
    """The hashes of the training sequences, None where they are too many, or files; the source."""

    known: Hashes | None
    source: Source

    def to_files(self) -> dict[str, bytes]:
        """As the files of a token store."""
        source = self.source
        encoded = [
            text.encode("utf-8", "surrogatepass") for text in (*source.sequences, *source.held_out)
        ]
        arrays: dict[str, NDArray[Any]] = {
            "text": np.frombuffer(b"".join(encoded), dtype=np.uint8),
            "sizes": np.array(list(map(len, encoded)), dtype=np.int64),
            "numbers": source.numbers,
            "totals": np.array([source.characters, source.total], dtype=np.int64),
        }
        files = {_SOURCE: arrays_to_bytes(arrays)}
        if self.known is not None:
            files[_KNOWN] = arrays_to_bytes({"sequence_hashes": self.known})
        return files

    @classmethod
    def from_store(cls, store: TokenStore) -> Self:
        """What ``to_files`` wrote. Raises CheckpointError for anything else."""
        try:
            arrays = store.arrays(_SOURCE)
            data, ends = arrays["text"].tobytes(), np.cumsum(arrays["sizes"]).tolist()
            texts = [
                data[begin:end].decode("utf-8", "surrogatepass")
                for begin, end in zip([0, *ends], ends, strict=False)
            ]
            numbers = arrays["numbers"].astype(np.uint32)
            characters, total = arrays["totals"].tolist()
            known = None
            if _KNOWN in store:
                known = store.arrays(_KNOWN)["sequence_hashes"].astype(np.uint64)
        except (KeyError, ValueError):
            raise CheckpointError(
                f"{store.path / _SOURCE} does not hold a part of a text."
            ) from None
        some, held = texts[: len(numbers)], texts[len(numbers) :]
        return cls(known, Source(some, numbers, characters, total, held))


class Taking:
    """Takes an excerpt of a text while it is read.

    sizes are those of the side to train on; lengths, where sequences are files, those of each in
    characters, and empty where they are not.
    """

    def __init__(self, sizes: Counts, lengths: Sequence[int]) -> None:
        self._share = min(1.0, _CHARACTERS / max(1, sizes.characters))
        self._quotas = [math.ceil(self._share * length) for length in lengths]
        self._of_files = bool(lengths)
        self._total = sizes.sequences
        self._known: list[Hashes] | None = []
        if self._of_files or sizes.sequences > MOST_KNOWN:
            self._known = None
        self._texts: list[str] = []
        self._numbers: list[int] = []
        self._held: list[str] = []
        self._held_size = self._characters = self._sequences = 0
        self._begun: list[str] = []  # of a file

    def add(self, part: Part, texts: Sequence[str]) -> None:
        """Take some of a part whose texts have been normalised."""
        if part.side == "valid":
            self._hold(texts)
            return
        self._characters += sum(map(len, texts))
        if self._of_files:
            self._of_file(part, texts[0])
            return
        if self._known is not None:
            same = part.hashes is not None and texts is part.texts
            hashes = part.hashes if same else np.fromiter(map(sequence_hash, texts), np.uint64)
            assert hashes is not None
            self._known.append(hashes)
        numbers = np.arange(self._sequences, self._sequences + len(texts), dtype=np.uint64)
        self._sequences += len(texts)
        for place in np.flatnonzero(mixed(numbers, _SALT) <= limit(self._share)).tolist():
            self._texts.append(texts[place])
            self._numbers.append(int(numbers[place]))

    def _of_file(self, part: Part, text: str) -> None:
        quota = self._quotas[self._sequences]
        left = quota - sum(map(len, self._begun))
        if left > 0:
            self._begun.append(text[:left])
        if part.ends:
            self._texts.append("".join(self._begun))
            self._numbers.append(self._sequences)
            self._begun = []
            self._sequences += 1

    def _hold(self, texts: Sequence[str]) -> None:
        for text in texts:
            if self._held_size >= HELD_OUT:
                return
            self._held.append(text[: HELD_OUT - self._held_size])
            self._held_size += len(self._held[-1])

    def excerpt(self, say: Say) -> Excerpt:
        """What has been taken."""
        found = source_of(self._texts, self._held)
        numbers: NDArray[np.uint32] = np.array(self._numbers, dtype=np.uint32)[found.numbers]
        source = found._replace(numbers=numbers, characters=self._characters, total=self._sequences)
        known = None
        if self._known is not None:
            known = np.unique(np.concatenate([np.empty(0, np.uint64), *self._known]))
        elif not self._of_files:
            say(
                f"more than {MOST_KNOWN:,} sequences: which samples stand among them is told by "
                "charlm novelty alone, for the part of the text that its index holds"
            )
        return Excerpt(known, source)
