"""How much of a text is new, and how much of it stands in the text a model was trained on.

Figures are those of McCoy et al. 2023, "How much do language models copy from their training
data?": the share of n-grams that are new, and the longest copies; next to them stand those of the
held-out text, which nobody copied. They are taken from an index of the training text
(text_index.py), for texts as the tokenizer normalises them. No span reaches over the end of a
training sequence.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from charlm.errors import UsageError
from charlm.novelty.suffix_array import END, Numbers
from charlm.novelty.text_index import Index, Source
from charlm.text.corpus import sequence_hash

CHARACTERS = (3, 5, 10, 20)  # the n of n-grams, if nothing else is asked for
WORDS = (1, 2, 3, 4)
_HELD_OUT_CHARACTERS, _HELD_OUT_WORDS = range(1, 33), range(1, 9)
_PORTION = 2**20  # characters that are looked up at a time


class Copy(NamedTuple):
    """The longest span of a text that also stands in one sequence of the training text.

    It is text[start:start + len(span)]. The first of its ``times`` places in the training text is
    at ``offset`` in sequence number ``sequence``, counted from 1.
    """

    span: str
    start: int
    sequence: int
    offset: int
    times: int


class NGrams(NamedTuple):
    """Running n-grams, and how many of them stand nowhere in the training text."""

    number: int
    unseen: int

    @property
    def share(self) -> float | None:
        """Of those unseen; None if there are no n-grams."""
        return self.unseen / self.number if self.number else None


class Sample(NamedTuple):
    """A text to look at. What stands before ``begin`` was given, and is not counted."""

    text: str
    begin: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleNovelty:
    """What was found of one sample, the text as it was normalised.

    characters and words (those that white space separates) are what is counted of it: what begins
    behind what was given. copy is None if no character of it is known; in_training_text is None
    where the training sequences are not known. ngrams of characters and of words go by n.
    """

    text: str
    begin: int
    characters: int
    words: int
    in_training_text: bool | None
    copy: Copy | None
    character_ngrams: Mapping[int, NGrams]
    word_ngrams: Mapping[int, NGrams]

    @property
    def copied(self) -> int:
        """Characters of the longest copy."""
        return len(self.copy.span) if self.copy is not None else 0

    @property
    def is_copied_whole(self) -> bool:
        """Whether all that is counted stands in one training sequence, which may be longer."""
        return 0 < self.characters == self.copied


@dataclasses.dataclass(frozen=True, kw_only=True)
class Novelty:
    """What was found of many samples, and what is known of the text they were compared with.

    indexed is the share of the training text's characters that the index holds: if it is below 1
    copies may be longer than they seem, and fewer n-grams new. held_out_* are the shares of unseen
    n-grams of the held-out text, by n, where they are known.
    """

    samples: tuple[SampleNovelty, ...]
    indexed: float
    held_out_characters: Mapping[int, float]
    held_out_words: Mapping[int, float]

    def judged(self, stand: Iterable[bool | None]) -> Self:
        """The same, told of each sample whether it is a sequence of the training text."""
        samples = tuple(
            dataclasses.replace(sample, in_training_text=known)
            for sample, known in zip(self.samples, stand, strict=True)
        )
        return dataclasses.replace(self, samples=samples)

    @property
    def characters(self) -> int:
        """Of all samples."""
        return sum(sample.characters for sample in self.samples)

    @property
    def words(self) -> int:
        """Of all samples."""
        return sum(sample.words for sample in self.samples)

    @property
    def different(self) -> int:
        """How many samples there are, each text counted once."""
        return len({sample.text for sample in self.samples})

    @property
    def in_training_text(self) -> int | None:
        """How many are a sequence of the training text; None where those are not known."""
        stands = [sample.in_training_text for sample in self.samples]
        return None if None in stands else sum(map(bool, stands))

    @property
    def copied_whole(self) -> int:
        """How many stand in the training text, as a sequence of it or as a part of one."""
        return sum(sample.is_copied_whole for sample in self.samples)

    @property
    def copied(self) -> list[int]:
        """The characters of the longest copy of each sample."""
        return [sample.copied for sample in self.samples]

    @property
    def median_copied(self) -> float | None:
        """Of the longest copies' lengths; None without samples."""
        return float(np.median(self.copied)) if self.samples else None

    @property
    def mean_copied(self) -> float | None:
        """Of the longest copies' lengths; None without samples."""
        return float(np.mean(self.copied)) if self.samples else None

    @property
    def share_in_training(self) -> float | None:
        """Of the samples that stand in the training text; of those copied whole where its
        sequences are not known. None without samples.
        """
        if not self.samples:
            return None
        known = self.in_training_text
        return (self.copied_whole if known is None else known) / len(self.samples)

    @property
    def character_ngrams(self) -> dict[int, NGrams]:
        """Of all samples together, by n."""
        return _sums(sample.character_ngrams for sample in self.samples)

    @property
    def word_ngrams(self) -> dict[int, NGrams]:
        """Of all samples together, by n."""
        return _sums(sample.word_ngrams for sample in self.samples)

    def most_copied(self, number: int) -> list[SampleNovelty]:
        """The samples with the longest copies, the longest first."""
        return sorted(self.samples, key=lambda sample: -sample.copied)[:number]


def index_of(source: Source) -> Index:
    """The index of a text, with the figures of the text that was held out from it."""
    index = Index.build(source)
    if source.held_out:
        samples = [Sample(text) for text in source.held_out]
        found = measure(index, samples, characters=_HELD_OUT_CHARACTERS, words=_HELD_OUT_WORDS)
        index.held_out_characters = _shares(found.character_ngrams)
        index.held_out_words = _shares(found.word_ngrams)
    return index


def measure(
    index: Index,
    samples: Sequence[Sample],
    *,
    known: NDArray[np.uint64] | None = None,
    characters: Iterable[int] = CHARACTERS,
    words: Iterable[int] = WORDS,
) -> Novelty:
    """What of samples, normalised as the training text was, is new.

    ``known`` are the hashes (S,) of the training sequences, sorted; ``characters`` and ``words``
    the n of n-grams. Raises UsageError if one is below 1.
    """
    sizes = sorted(set(characters)), sorted(set(words))
    if any(n < 1 for of in sizes for n in of):
        raise UsageError("the n of n-grams must be 1 or more.")
    found: list[SampleNovelty] = []
    for portion in _portions(samples):
        found += _measure(index, portion, known, *sizes)
    return Novelty(
        samples=tuple(found),
        indexed=index.indexed,
        held_out_characters=index.held_out_characters,
        held_out_words=index.held_out_words,
    )


def samples_of(
    texts: Iterable[str], normalise: Callable[[str], str] = str, prompt: str = ""
) -> list[Sample]:
    """Samples of texts, normalised; a prompt that they begin with was given, and is not counted."""
    begin = len(normalise(prompt))
    found = []
    for text in texts:
        normal = normalise(text)
        found.append(Sample(normal, min(begin, len(normal)) if text.startswith(prompt) else 0))
    return found


def _measure(
    index: Index,
    samples: Sequence[Sample],
    known: NDArray[np.uint64] | None,
    characters: list[int],
    words: list[int],
) -> list[SampleNovelty]:
    """The same of samples that are looked up together."""
    texts = [sample.text for sample in samples]
    begins = np.array([sample.begin for sample in samples], dtype=np.int64)
    query = index.query(texts)
    lengths = index.array.lengths(query)
    grams = [_ngrams(lengths, query == END, begins, n) for n in characters]

    numbers, array = index.words
    other = array.largest + 1
    split = [text.split() for text in texts]
    given = np.array([len(sample.text[: sample.begin].split()) for sample in samples])
    word_query = np.array(
        [symbol for line in split for symbol in (*(numbers.get(w, other) for w in line), END)]
    )
    word_lengths = array.lengths(word_query)
    word_grams = [_ngrams(word_lengths, word_query == END, given, n) for n in words]

    ends = np.flatnonzero(query == END)
    starts = np.concatenate(([0], ends[:-1] + 1)) + begins
    longest = np.array(
        [a + int(lengths[a:b].argmax()) if a < b else b for a, b in zip(starts, ends, strict=True)]
    )
    first, times = index.array.locate(query, longest, lengths[longest])
    stand = _in_training(texts, known)
    found = []
    for i, sample in enumerate(samples):
        copy = None
        if times[i]:
            start = int(longest[i] - starts[i]) + sample.begin
            span = sample.text[start : start + int(lengths[longest[i]])]
            copy = Copy(span, start, *index.place(int(first[i])), int(times[i]))
        found.append(
            SampleNovelty(
                text=sample.text,
                begin=sample.begin,
                characters=len(sample.text) - sample.begin,
                words=len(split[i]) - int(given[i]),
                in_training_text=stand[i],
                copy=copy,
                character_ngrams={n: of[i] for n, of in zip(characters, grams, strict=True)},
                word_ngrams={n: of[i] for n, of in zip(words, word_grams, strict=True)},
            )
        )
    return found


def _ngrams(
    lengths: NDArray[np.int64], is_end: NDArray[np.bool_], begins: Numbers, n: int
) -> list[NGrams]:
    """The n-grams of each of S sequences, from their matches (M,), counted from begins (S,) on."""
    ends = np.flatnonzero(is_end)
    low = np.concatenate(([0], ends[:-1] + 1)) + begins
    high = np.maximum(low, ends - n + 1)  # where the last n-gram begins, and one more
    unseen = np.concatenate(([0], np.cumsum(lengths < n)))
    pairs = zip((high - low).tolist(), (unseen[high] - unseen[low]).tolist(), strict=True)
    return [NGrams(*pair) for pair in pairs]


def _in_training(texts: Sequence[str], known: NDArray[np.uint64] | None) -> Sequence[bool | None]:
    """Whether texts are training sequences, by their hashes."""
    if known is None:
        return [None] * len(texts)
    hashes = np.fromiter(map(sequence_hash, texts), dtype=np.uint64)
    stand: list[bool] = np.isin(hashes, known).tolist()
    return stand


def _portions(samples: Sequence[Sample]) -> Iterator[Sequence[Sample]]:
    """Samples in portions of so many characters, or of one sample."""
    begin = size = 0
    for i, sample in enumerate(samples):
        if size and size + len(sample.text) > _PORTION:
            yield samples[begin:i]
            begin, size = i, 0
        size += len(sample.text) + 1
    if begin < len(samples):
        yield samples[begin:]


def _sums(parts: Iterable[Mapping[int, NGrams]]) -> dict[int, NGrams]:
    sums: dict[int, NGrams] = {}
    for part in parts:
        for n, of in part.items():
            so_far = sums.get(n, NGrams(0, 0))
            sums[n] = NGrams(so_far.number + of.number, so_far.unseen + of.unseen)
    return sums


def _shares(ngrams: Mapping[int, NGrams]) -> dict[int, float]:
    return {n: of.share for n, of in ngrams.items() if of.share is not None}
