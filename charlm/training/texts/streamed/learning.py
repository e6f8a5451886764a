"""What a tokenizer and a speller are learned from in the first pass over a text.

Of words and characters that is how often each type occurs, exactly, however many types there are:
what grows too large for memory is written to disk in order, and merged when it is read. Of subwords
it is a sample of the text.
"""

import heapq
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from charlm.checkpoints.token_store import SIDES, Stores
from charlm.errors import CheckpointError
from charlm.inference.unknown import Speller, Unknown
from charlm.tokenizers import tokenizer_from_counts, train_tokenizer
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.character import CharacterCounter, CharacterTokenizer
from charlm.tokenizers.normalizing import normal_form, plain
from charlm.tokenizers.word import WordTokenizer
from charlm.tokenizers.word_chunks import UNKNOWN_WORD, TypeCounter
from charlm.training.request import Request, Say
from charlm.training.speller import said_of_speller, trained_on
from charlm.training.texts.rare_words import rare_words
from charlm.training.texts.streamed.sides import Part, limit, mixed

SAMPLE = 32_000_000  # characters that subwords are learned from
_SPELLED = 20_000  # unknown types that are spelled one by one: of more, a sample is
_TOGETHER = 4096  # types that are written, and spelled, at a time
_SALT = 1  # of the hashes that choose a sample, beside those that hold out

Counts = Callable[[], Iterable[tuple[str, int]]]  # all types in order, as often as one asks


class Spelled(NamedTuple):
    """The unknown tokens of a side: how many, and the nats that it takes to spell them."""

    tokens: int
    nats: float


class Learner(ABC):
    """Takes in a text, part by part, and gives what turns it into ids."""

    def __init__(self, request: Request) -> None:
        self._request = request

    @abstractmethod
    def add(self, part: Part) -> None:
        """Take in a part."""

    @abstractmethod
    def tokenizer(self, say: Say) -> Tokenizer:
        """The tokenizer of the side to train on. Raises TextError if that holds nothing."""

    def speller(self, tokenizer: Tokenizer, say: Say) -> Speller | None:
        """What spells unknown words, where there are such."""
        del tokenizer, say
        return None

    def spelled(self, side: str, tokenizer: Tokenizer, unknown: Unknown | None) -> Spelled:
        """What is unknown to a tokenizer on a side."""
        del side, tokenizer, unknown
        return Spelled(0, 0.0)

    def most_tokens(self, characters: int) -> int:
        """As many tokens as a text has at most."""
        return characters


def learner_of(request: Request, stores: Stores, scratch: Path) -> Learner:
    """What learns at the level that is asked for."""
    if request.level == "subword":
        return _OfSubwords(request)
    if request.level == "word":
        return _OfWords(request, stores, scratch)
    return _OfCharacters(request)


def divider(request: Request) -> Callable[[str], tuple[str, str]]:
    """Where a text can be cut at a level: Tokenizer.divide, for which no vocabulary matters."""
    tokenizer = train_tokenizer(
        ["a a"],
        level=request.level or "char",
        lowercase=request.lowercase,
        pretokenized=request.pretokenized,
        normalize=request.normalize,
    )
    return tokenizer.divide


class _OfCounts(Learner):
    """What is learned from how often each type occurs."""

    @abstractmethod
    def counts(self, side: str) -> Counts:
        """How often each type occurs on a side."""

    @abstractmethod
    def types_of(self, tokenizer: Tokenizer) -> Collection[str]:
        """The types that a tokenizer knows."""

    def tokenizer(self, say: Say) -> Tokenizer:
        """By the counts alone."""
        request = self._request
        tokenizer = tokenizer_from_counts(
            _Items(self.counts("train")),
            level=request.level or "char",
            vocab_size=request.vocab_size,
            min_count=request.min_count,
            lowercase=request.lowercase,
            pretokenized=request.pretokenized,
            normalize=request.normalize,
        )
        for note in tokenizer.notes:
            say(note)
        return tokenizer

    def spelled(self, side: str, tokenizer: Tokenizer, unknown: Unknown | None) -> Spelled:
        """Each unknown type once, times its number; of very many types every k-th token counts."""
        known = frozenset(self.types_of(tokenizer))
        counts = self.counts(side)

        def strange() -> Iterator[tuple[str, int]]:
            return (item for item in counts() if item[0] not in known)

        numbers = np.fromiter((number for _, number in strange()), dtype=np.int64)
        tokens, nats = int(numbers.sum()), 0.0
        if unknown is None or not tokens:
            return Spelled(tokens, 0.0)
        step = 1 if len(numbers) <= _SPELLED else -(-tokens // _SPELLED)
        taken = np.diff(np.cumsum(numbers) // step, prepend=0)  # of each type, so many tokens
        wanted = ((kind, n) for (kind, _), n in zip(strange(), taken.tolist(), strict=True) if n)
        while some := list(itertools.islice(wanted, _TOGETHER)):
            weights = np.array([number for _, number in some])
            nats -= float(unknown.log_probs([kind for kind, _ in some]) @ weights)
        return Spelled(tokens, nats * tokens / int(taken.sum()))

    def _folded(self) -> Callable[[str], str] | None:
        """What is done to a text before its types are counted."""
        form, lowercase = self._request.normalize, self._request.lowercase
        if form is not None:
            return lambda text: normal_form(text, form, lowercase=lowercase)
        return str.lower if lowercase else None


class _OfCharacters(_OfCounts):
    """There are few enough to count in memory."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._counters = {side: CharacterCounter() for side in SIDES}
        self._fold = self._folded()

    def add(self, part: Part) -> None:
        """Count its characters."""
        text = "".join(map(self._fold, part.texts) if self._fold else part.texts)
        self._counters[part.side].add(text)

    def counts(self, side: str) -> Counts:
        """In the order of code points."""
        found = self._counters[side].counts()
        return lambda: found.items()

    def types_of(self, tokenizer: Tokenizer) -> Collection[str]:
        """The characters."""
        characters = plain(tokenizer)
        assert isinstance(characters, CharacterTokenizer)
        return characters.types


class _OfWords(_OfCounts):
    """Counted in memory until that is full, then written down in order."""

    def __init__(self, request: Request, stores: Stores, scratch: Path) -> None:
        super().__init__(request)
        self._counters = {side: TypeCounter(request.pretokenized) for side in SIDES}
        self._sorted = {side: SortedCounts(stores, scratch, side) for side in SIDES}
        self._fold = self._folded()

    def add(self, part: Part) -> None:
        """Count its types."""
        counter = self._counters[part.side]
        counter.add(list(map(self._fold, part.texts)) if self._fold else part.texts)
        if counter.is_full:
            self._sorted[part.side].add(counter.take())

    def counts(self, side: str) -> Counts:
        """In the order of code points."""
        kept = self._sorted[side]
        if (last := self._counters[side].take()) or not kept.is_finished:
            kept.finish(last)
        return kept.items

    def speller(self, tokenizer: Tokenizer, say: Say) -> Speller:
        """One that has learned from the rare words of the side to train on."""
        words = plain(tokenizer)
        assert isinstance(words, WordTokenizer)
        named = {UNKNOWN_WORD} if words.pretokenized else frozenset()
        counts = self.counts("train")

        def spelled() -> Iterator[tuple[str, int]]:
            return (item for item in counts() if item[0] not in named)

        seed = self._request.seed
        with said_of_speller(say):
            return trained_on(rare_words(spelled, seed), words, seed)

    def most_tokens(self, characters: int) -> int:
        """As many as have been counted."""
        del characters
        return sum(number for side in SIDES for _, number in self.counts(side)())

    def types_of(self, tokenizer: Tokenizer) -> Collection[str]:
        """The words."""
        words = plain(tokenizer)
        assert isinstance(words, WordTokenizer)
        return words.types


class _OfSubwords(Learner):
    """A sample: the sequences of the lowest hashes, as many as fit."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._kept: list[tuple[int, str]] = []
        self._limit = limit(1.0)
        self._size = self._all = 0

    def add(self, part: Part) -> None:
        """Take some of it."""
        if part.side != "train":
            return
        self._all += part.sizes.characters
        hashes = part.hashes
        if hashes is None:
            number = hash_of_number(self._all)
            hashes = np.array([number], dtype=np.uint64)
        order = mixed(hashes, self._request.seed + _SALT)
        for place in np.flatnonzero(order <= self._limit).tolist():
            self._kept.append((int(order[place]), part.texts[place]))
            self._size += len(part.texts[place])
        if self._size > 1.25 * SAMPLE:
            self._shrink()

    def _shrink(self) -> None:
        """Let the sequences of the highest hashes go."""
        self._kept.sort(key=itemgetter(0))
        while self._size > SAMPLE and len(self._kept) > 1:
            self._size -= len(self._kept.pop()[1])
        self._limit = np.uint64(self._kept[-1][0])

    def tokenizer(self, say: Say) -> Tokenizer:
        """That of the sample, which is said if there is more."""
        if self._size > SAMPLE:
            self._shrink()
        if self._size < self._all:
            say(f"subwords are learned from a sample: {self._size:,} of {self._all:,} characters")
        request = self._request
        tokenizer = train_tokenizer(
            (text for _, text in self._kept),
            level="subword",
            vocab_size=request.vocab_size,
            subword_model=request.subword_model,
            normalize=request.normalize,
        )
        for note in tokenizer.notes:
            say(note)
        return tokenizer

    def most_tokens(self, characters: int) -> int:
        """Bytes spell what has no piece: four for a character."""
        return 4 * characters


class SortedCounts:
    """How often each type occurs; on disk where memory would not hold it."""

    def __init__(self, stores: Stores, scratch: Path, name: str) -> None:
        self._stores, self._scratch, self._name = stores, scratch, name
        self._runs: list[Path] = []
        self._last: list[tuple[str, int]] = []
        self.is_finished = False

    def add(self, counts: Mapping[str, int]) -> None:
        """Write down counts, in order. Raises CheckpointError if the disk refuses."""
        self._write(sorted(counts.items()))

    def finish(self, counts: Mapping[str, int]) -> None:
        """Take the last ones, and merge all there are into one."""
        self.is_finished = True
        if not self._runs:
            self._last = sorted(counts.items())
            return
        self.add(counts)
        if len(self._runs) > 1:
            before = self._runs
            self._write(_merged([_read(path) for path in before]))
            self._runs = self._runs[-1:]

    def items(self) -> Iterator[tuple[str, int]]:
        """Each type and its number, in the order of code points."""
        return _read(self._runs[0]) if self._runs else iter(self._last)

    def _write(self, items: Iterable[tuple[str, int]]) -> None:
        path = self._scratch / f"{self._name}-{len(self._runs)}"
        self._stores.spill(path, _lines(items))
        self._runs.append(path)


class _Items:
    """What is a function as what has items."""

    def __init__(self, counts: Counts) -> None:
        self.items = counts


def hash_of_number(number: int) -> int:
    """A number that stands for a part of a file, which has no hash."""
    return number * 0x9E3779B97F4A7C15 % 2**64


def _lines(items: Iterable[tuple[str, int]]) -> Iterator[bytes]:
    waiting = iter(items)
    while some := list(itertools.islice(waiting, _TOGETHER)):
        yield json.dumps(list(zip(*some, strict=True))).encode() + b"\n"


def _read(path: Path) -> Iterator[tuple[str, int]]:
    try:
        with path.open("rb") as file:
            for line in file:
                yield from zip(*json.loads(line), strict=True)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}.") from None


def _merged(runs: Iterable[Iterator[tuple[str, int]]]) -> Iterator[tuple[str, int]]:
    """What occurs in several is added up."""
    for kind, found in itertools.groupby(heapq.merge(*runs), key=itemgetter(0)):
        yield kind, sum(number for _, number in found)
