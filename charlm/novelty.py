"""How much of a text is new, and how much of it stands in the text a model was trained on.

Figures are those of McCoy et al. 2023, "How much do language models copy from their training
data?": the share of n-grams that are new, and the longest copies; next to them stand those of the
held-out text, which nobody copied. They are taken from an index of the training text, a suffix
array (suffixes.py), which a run keeps beside its checkpoints:

    checkpoints/<run>/
        novelty.safetensors    the training text itself, its alphabet, the order of its suffixes
        novelty.json           SHA-256 and size of that, and the figures of the held-out text

What stands in the training text is told for texts as the tokenizer normalises them: in lower case
if the model reads them so. No span reaches over the end of a training sequence.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from charlm import runs, storage
from charlm.corpus import sequence_hash
from charlm.errors import CheckpointError, UsageError
from charlm.suffixes import END, Numbers, SuffixArray, is_order
from charlm.tokenizers.character import code_points

LIMIT = 64 * 2**20  # bytes of an index on disk
_LARGEST = 2**30  # that is read
CHARACTERS = (3, 5, 10, 20)  # the n of n-grams, if nothing else is asked for
WORDS = (1, 2, 3, 4)
FORMAT = 1
_FILE, _ABOUT = "novelty.safetensors", "novelty.json"
_HEADER = 1024  # bytes of a file that are no numbers, at most
_HELD_OUT = 2**16  # characters of the held-out text that are looked at
_HELD_OUT_CHARACTERS, _HELD_OUT_WORDS = range(1, 33), range(1, 9)
_PORTION = 2**20  # characters that are looked up at a time
_LAST_CODE_POINT = 0x10FFFF


class Source(NamedTuple):
    """What an index is made of: as much of the training text as fits into it.

    Attributes:
        sequences: those taken, normalised, in their order.
        numbers: (S,) which of all sequences they are, from 0.
        characters, total: how many characters all sequences have, and how many they are.
        held_out: sequences that are not trained on, some at least, normalised.
    """

    sequences: list[str]
    numbers: NDArray[np.uint32]
    characters: int
    total: int
    held_out: list[str]


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


class Index:
    """The training text, so ordered that a span of it is found at once.

    Attributes:
        array: its characters as symbols, and the order of their suffixes.
        alphabet: (A,) the code points that occur; symbol i is number i - 1.
        numbers: (S,) which of all training sequences are in it, from 0.
        characters, total: how many characters all training sequences have, and how many they are.
    """

    def __init__(
        self,
        array: SuffixArray,
        alphabet: NDArray[np.uint32],
        numbers: NDArray[np.uint32],
        characters: int,
        total: int,
    ) -> None:
        self.array = array
        self.alphabet = alphabet
        self.numbers = numbers
        self.characters = characters
        self.total = total
        self.held_out_characters: Mapping[int, float] = {}
        self.held_out_words: Mapping[int, float] = {}

    @classmethod
    def build(cls, source: Source) -> Self:
        """The index of a text: about a second for a million characters."""
        alphabet = np.unique(code_points("".join(source.sequences)))
        symbols = _symbols(source.sequences, alphabet).astype(_width(len(alphabet)))
        array = SuffixArray.build(symbols, len(alphabet))
        index = cls(array, alphabet, source.numbers, source.characters, source.total)
        if source.held_out:
            samples = [Sample(text) for text in source.held_out]
            found = measure(index, samples, characters=_HELD_OUT_CHARACTERS, words=_HELD_OUT_WORDS)
            index.held_out_characters = _shares(found.character_ngrams)
            index.held_out_words = _shares(found.word_ngrams)
        return index

    @property
    def indexed(self) -> float:
        """The share of the training text's characters that are in it."""
        here = len(self.array.symbols) - len(self.numbers)
        return here / self.characters if self.characters else 1.0

    @functools.cached_property
    def ends(self) -> NDArray[np.int64]:
        """Where the sequences (S,) end."""
        return np.flatnonzero(self.array.symbols == END)

    def sequences(self) -> list[str]:
        """The training sequences that are in it."""
        symbols = self.array.symbols[self.array.symbols != END]
        points = self.alphabet[symbols.astype(np.int64) - 1].astype("<u4")
        text = points.tobytes().decode("utf-32-le", "surrogatepass")
        ends = (self.ends - np.arange(len(self.ends))).tolist()
        return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    @functools.cached_property
    def words(self) -> tuple[dict[str, int], SuffixArray]:
        """The words of the text, numbered from 1, and the suffix array of its words."""
        numbers: dict[str, int] = {}
        symbols: list[int] = []
        for text in self.sequences():
            symbols += [numbers.setdefault(word, len(numbers) + 1) for word in text.split()]
            symbols.append(END)
        array = np.array(symbols, dtype=_width(len(numbers)))
        return numbers, SuffixArray.build(array, len(numbers))

    def place(self, at: int) -> tuple[int, int]:
        """The number, from 1, of the sequence that a place in the index is in, and the offset."""
        sequence = int(np.searchsorted(self.ends, at))
        begin = int(self.ends[sequence - 1]) + 1 if sequence else 0
        return int(self.numbers[sequence]) + 1, at - begin


def source_of(
    sequences: Sequence[str], held_out: Iterable[str] = (), *, limit: int = LIMIT
) -> Source:
    """What of a text, normalised, goes into an index of so many bytes at most.

    If not all fits, sequences are drawn at random, always the same, until it is full; the last one
    is cut.
    """
    characters = sum(map(len, sequences))
    some = _beginning(held_out, _HELD_OUT)
    alphabet: set[str] = set()
    for text in sequences:
        alphabet.update(text)
    width = _width(len(alphabet)).itemsize + np.dtype(np.int32).itemsize
    left = limit - _HEADER - 4 * len(alphabet)
    cost = np.array([width * (len(text) + 1) + 4 for text in sequences], dtype=np.int64)
    if cost.sum() <= left:
        numbers = np.arange(len(sequences), dtype=np.uint32)
        return Source(list(sequences), numbers, characters, len(sequences), some)
    order = np.random.default_rng(0).permutation(len(sequences))
    sums = np.cumsum(cost[order])
    whole = int(np.searchsorted(sums, left, side="right"))
    taken = dict.fromkeys(order[:whole].tolist(), None)
    left -= int(sums[whole - 1]) if whole else 0
    rest = (left - 4) // width - 1  # characters of the one that does not fit
    if rest > 0:
        taken[int(order[whole])] = rest
    numbers = np.array(sorted(taken), dtype=np.uint32)
    chosen = [sequences[i][: taken[i]] for i in numbers.tolist()]
    return Source(chosen, numbers, characters, len(sequences), some)


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


def save(run: Path, index: Index, fingerprint: str) -> int:
    """Write an index into a run's directory; how many bytes it takes.

    fingerprint is that of the run's texts (model.json), by which the index is known to be its own.
    Raises CheckpointError if the disk refuses.
    """
    data = safetensors.numpy.save(
        {
            "alphabet": index.alphabet,
            "symbols": index.array.symbols,
            "order": index.array.order,
            "numbers": index.numbers,
        }
    )
    about = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "characters": index.characters,
        "sequences": index.total,
        "held_out_unseen_character_ngrams": {
            str(n): x for n, x in index.held_out_characters.items()
        },
        "held_out_unseen_word_ngrams": {str(n): x for n, x in index.held_out_words.items()},
    }
    remove(run)
    runs.write_bytes(run / _FILE, data)
    runs.write_json(run / _ABOUT, about)
    return len(data)


def stands(run: Path) -> bool:
    """Whether a run has an index."""
    return (run / _ABOUT).exists()


def remove(run: Path) -> None:
    """Delete the index of a run, if it has one."""
    for name in (_ABOUT, _FILE):
        try:
            storage.DISK.unlink(run / name)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise CheckpointError(f"cannot delete {run / name}: {error.strerror}.") from None


def load(run: Path, fingerprint: object) -> Index:
    """The index of a run whose texts have this fingerprint.

    Raises CheckpointError saying what to do if there is none, or naming the file that is damaged.
    """
    if not stands(run):
        raise CheckpointError(
            f"{run} holds no index of its training text: it was trained with --no-index, or by an "
            "older charlm. Compare with a text that you name: charlm novelty SAMPLES --against FILE"
        )
    about = runs.read_json(run / _ABOUT)
    path = run / _FILE
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{run / _ABOUT} is of format {about.get('format')!r}; this charlm reads format "
            f"{FORMAT}."
        )
    if about.get("fingerprint") != fingerprint:
        raise CheckpointError(f"{run / _ABOUT} is of another training text than the model's.")
    data = storage.read_file(path, _LARGEST)
    if about.get("size") != len(data) or about.get("sha256") != hashlib.sha256(data).hexdigest():
        raise CheckpointError(
            f"{path} is damaged: it is not what was saved. Compare with a text that you name: "
            "charlm novelty SAMPLES --against FILE"
        )
    arrays = storage.parse_tensors(path, data)
    totals = about.get("characters"), about.get("sequences")
    if not _are_sound(arrays, totals):
        raise CheckpointError(f"{path} does not hold the index of a text.")
    alphabet = arrays["alphabet"]
    array = SuffixArray(arrays["symbols"], arrays["order"], len(alphabet))
    index = Index(array, alphabet, arrays["numbers"], *totals)  # type: ignore[arg-type]
    index.held_out_characters = _read_shares(run, about, "held_out_unseen_character_ngrams")
    index.held_out_words = _read_shares(run, about, "held_out_unseen_word_ngrams")
    return index


def _are_sound(arrays: Mapping[str, NDArray[Any]], totals: tuple[object, object]) -> bool:
    """Whether arrays are an index: of a text, and in the order that it has."""
    if arrays.keys() != {"alphabet", "symbols", "order", "numbers"}:
        return False
    alphabet, symbols = arrays["alphabet"], arrays["symbols"]
    order, numbers = arrays["order"], arrays["numbers"]
    characters, total = totals
    if any(array.ndim != 1 for array in arrays.values()):
        return False
    types = [array.dtype.name for array in (alphabet, numbers, order, symbols)]
    if types != ["uint32", "uint32", "int32", _width(len(alphabet)).name]:
        return False
    if not (type(characters) is int and type(total) is int):
        return False
    ends = int((symbols == END).sum())
    if len(symbols) and (symbols[-1] != END or int(symbols.max()) > len(alphabet)):
        return False
    if len(alphabet) and int(alphabet[-1]) > _LAST_CODE_POINT:
        return False
    rising = all((array[1:] > array[:-1]).all() for array in (alphabet, numbers))
    counted = len(numbers) == ends and len(symbols) - ends <= characters
    return (
        rising and counted and (not ends or int(numbers[-1]) < total) and is_order(order, symbols)
    )


def _read_shares(run: Path, about: Mapping[str, Any], name: str) -> dict[int, float]:
    try:
        return {int(n): float(share) for n, share in about[name].items()}
    except (LookupError, AttributeError, TypeError, ValueError):
        raise CheckpointError(f"{run / _ABOUT} is damaged: it has no {name}.") from None


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
    query = _symbols(texts, index.alphabet)
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


def _symbols(texts: Sequence[str], alphabet: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The symbols of texts, each ended by END; A + 1 for what is not in the alphabet (A,)."""
    points = code_points("".join(texts))
    at = np.searchsorted(alphabet, points)
    inside = np.append(alphabet, np.uint32(_LAST_CODE_POINT + 1))[at] == points
    symbols = np.where(inside, at + 1, len(alphabet) + 1)
    return np.insert(symbols, np.cumsum([len(text) for text in texts], dtype=np.int64), END)


def _width(largest: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The narrowest type that holds so many symbols, and END."""
    return np.min_scalar_type(largest)


def _beginning(texts: Iterable[str], characters: int) -> list[str]:
    """The first of some texts, so many characters in all, the last one cut."""
    taken: list[str] = []
    for text in texts:
        if characters <= 0:
            break
        taken.append(text[:characters])
        characters -= len(text)
    return taken


def _sums(parts: Iterable[Mapping[int, NGrams]]) -> dict[int, NGrams]:
    sums: dict[int, NGrams] = {}
    for part in parts:
        for n, of in part.items():
            so_far = sums.get(n, NGrams(0, 0))
            sums[n] = NGrams(so_far.number + of.number, so_far.unseen + of.unseen)
    return sums


def _shares(ngrams: Mapping[int, NGrams]) -> dict[int, float]:
    return {n: of.share for n, of in ngrams.items() if of.share is not None}
