"""An index of a training text, in which a span of it is found at once: a suffix array.

A run keeps it beside its checkpoints, for measure.py:

    checkpoints/<run>/
        novelty.safetensors    the training text itself, its alphabet, the order of its suffixes
        novelty.json           SHA-256 and size of that, and the figures of the held-out text

The text is that which the tokenizer has normalised: in lower case if the model reads it so.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from charlm.checkpoints import directory
from charlm.checkpoints.disk import DISK
from charlm.checkpoints.files import read_file
from charlm.checkpoints.tensors import parse_tensors
from charlm.errors import CheckpointError
from charlm.novelty.suffix_array import END, SuffixArray, is_order
from charlm.tokenizers.character import code_points

LIMIT = 64 * 2**20  # bytes of an index on disk
FORMAT = 1
_LARGEST = 2**30  # that is read
_FILE, _ABOUT = "novelty.safetensors", "novelty.json"
_HEADER = 1024  # bytes of a file that are no numbers, at most
HELD_OUT = 2**16  # characters of the held-out text that are looked at
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


class Index:
    """The training text, so ordered that a span of it is found at once.

    Attributes:
        array: its characters as symbols, and the order of their suffixes.
        alphabet: (A,) the code points that occur; symbol i is number i - 1.
        numbers: (S,) which of all training sequences are in it, from 0.
        characters, total: how many characters all training sequences have, and how many they are.
        held_out_characters, held_out_words: the shares of n-grams of the held-out text that are
            not in it, by n, where they are known (measure.index_of).
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
        return cls(array, alphabet, source.numbers, source.characters, source.total)

    @property
    def indexed(self) -> float:
        """The share of the training text's characters that are in it."""
        return _held(self) / self.characters if self.characters else 1.0

    def query(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The symbols (M,) of texts, each ended by END; A + 1 for what is not in the alphabet."""
        return _symbols(texts, self.alphabet)

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


def united(indexes: Sequence[Index], normalise: Callable[[str], str]) -> Index:
    """One index of several training texts, each sequence normalised; of one text, its own.

    Sequences are numbered through, text after text. What was held out from several has no figures.
    """
    texts: list[list[str]] = []
    sources: list[Index] = []
    for index in indexes:
        sequences = list(map(normalise, index.sequences()))
        if sequences not in texts:
            texts.append(sequences)
            sources.append(index)
    if len(sources) == 1 and texts[0] == sources[0].sequences():
        return sources[0]
    begins = np.cumsum([0, *(index.total for index in sources)])
    numbers = [index.numbers + begin for index, begin in zip(sources, begins, strict=False)]
    left_out = sum(index.characters - _held(index) for index in sources)
    joined = [text for sequences in texts for text in sequences]
    return Index.build(
        Source(
            sequences=joined,
            numbers=np.concatenate(numbers).astype(np.uint32),
            characters=sum(map(len, joined)) + left_out,
            total=int(begins[-1]),
            held_out=[],
        )
    )


def _held(index: Index) -> int:
    """The characters that are in an index."""
    return len(index.array.symbols) - len(index.numbers)


def source_of(
    sequences: Sequence[str], held_out: Iterable[str] = (), *, limit: int = LIMIT
) -> Source:
    """What of a text, normalised, goes into an index of so many bytes at most.

    If not all fits, sequences are drawn at random, always the same, until it is full; the last one
    is cut.
    """
    characters = sum(map(len, sequences))
    some = _beginning(held_out, HELD_OUT)
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
    directory.write_bytes(run / _FILE, data)
    directory.write_json(run / _ABOUT, about)
    return len(data)


def stands(run: Path) -> bool:
    """Whether a run has an index."""
    return (run / _ABOUT).exists()


def remove(run: Path) -> None:
    """Delete the index of a run, if it has one."""
    for name in (_ABOUT, _FILE):
        try:
            DISK.unlink(run / name)
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
            f"{run} holds no index of its training text: it was trained with `index=False`, or by "
            "an older charlm. Name a text to compare with (`against`)."
        )
    about = directory.read_json(run / _ABOUT)
    path = run / _FILE
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"{run / _ABOUT} is of format {about.get('format')!r}; this charlm reads format "
            f"{FORMAT}."
        )
    if about.get("fingerprint") != fingerprint:
        raise CheckpointError(f"{run / _ABOUT} is of another training text than the model's.")
    data = read_file(path, _LARGEST)
    if about.get("size") != len(data) or about.get("sha256") != hashlib.sha256(data).hexdigest():
        raise CheckpointError(
            f"{path} is damaged: it is not what was saved. Name a text to compare with (`against`)."
        )
    arrays = parse_tensors(path, data)
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
