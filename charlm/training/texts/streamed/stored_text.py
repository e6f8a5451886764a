"""StoredText: a text to train on whose ids are on disk, some megabytes of them read at a time.

It is cut into segments of as many tokens each, which an epoch takes in random order: some dozens
of them, from all over the text, are a part, which is read as a text of its own is. So what follows
what is random over the whole text, and memory does not grow with it.

Letters: N tokens in all, V types, S sequences of a part.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints.token_store import StoredIds
from charlm.text.tokens import TokenizedText
from charlm.tokenizers.base import EOS_ID

SEGMENT = 2**16  # tokens
SEGMENTS = 64  # of a part
_READ = 2**22  # tokens that are counted at a time


class StoredText:
    """The ids of a text on disk, as a training reads them."""

    labels: None = None

    def __init__(self, ids: StoredIds, segment: int = SEGMENT, segments: int = SEGMENTS) -> None:
        self._ids, self._segment = ids, segment
        self.vocab_size = ids.vocab_size
        self.num_tokens, self.num_sequences = ids.num_tokens, ids.num_sequences
        self._num_segments = -(-self.num_tokens // segment)
        self.num_parts = max(1, -(-self._num_segments // segments))

    def part(self, seed: int, number: int) -> TokenizedText:
        """Part ``number`` of all that are read, epoch after epoch: a function of (seed, number)."""
        epoch, place = divmod(number, self.num_parts)
        rng = np.random.default_rng((seed, epoch, self._num_segments))
        order = rng.permutation(self._num_segments)
        return self._joined(np.sort(np.array_split(order, self.num_parts)[place]).tolist())

    def whole(self) -> TokenizedText:
        """All of it, in memory."""
        return self._joined(range(self._num_segments))

    def frequencies(self) -> NDArray[np.int64]:
        """How often each type (V,) occurs."""
        return self._frequencies

    @functools.cached_property
    def _frequencies(self) -> NDArray[np.int64]:
        counts = np.zeros(self.vocab_size, dtype=np.int64)
        for begin in range(0, self.num_tokens, _READ):
            some = self._ids.read(begin, min(begin + _READ, self.num_tokens))
            counts += np.bincount(some, minlength=self.vocab_size)
        return counts

    def _joined(self, segments: "list[int] | range") -> TokenizedText:
        """Some segments as a text; where a sequence goes on in one, it knows the token before."""
        ids, starts, before = [], [], []
        at = 0
        for segment in segments:
            begin = segment * self._segment
            end = min(begin + self._segment, self.num_tokens)
            last = int(self._ids.read(begin - 1, begin)[0]) if begin else EOS_ID
            here = self._ids.read(begin, end).astype(np.int32)
            ends = np.flatnonzero(here == EOS_ID) + 1
            first = np.concatenate([[0], ends[ends < len(here)]])
            entered = np.full(len(first), self.vocab_size, dtype=np.int64)
            if last != EOS_ID:
                entered[0] = last
            ids.append(here)
            starts.append(at + first)
            before.append(entered)
            at += len(here)
        return TokenizedText(
            np.concatenate(ids),
            np.concatenate([*starts, [at]]),
            self.vocab_size,
            before=np.concatenate(before),
        )


def in_memory(ids: StoredIds) -> TokenizedText:
    """A text that is read as a whole."""
    found = ids.read(0, ids.num_tokens).astype(np.int32)
    starts = np.concatenate([[0], np.flatnonzero(found == EOS_ID) + 1])
    return TokenizedText(found, starts, ids.vocab_size)
