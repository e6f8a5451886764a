"""Prose of any length, made of the bundled one: repeated, permuted, its vocabulary growing.

Lines come in random order. One word in five is replaced by one of endless many: the word of rank r
comes with a probability of about r^-1.3, so the number of types grows as the tokens to the power
1/1.3 (Heaps' law; of words of natural text the exponent is 0.5 to 0.8).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SOURCE = Path("data/prose.txt")
EXPONENT = 1.3
SHARE = 0.2  # of the words are replaced
_LINES = 40_000  # that are made at a time
_KNOWN = 2**20  # words of so many ranks are kept
_HIGHEST = 2**45
_SYLLABLES = [a + b for a in "bdfglmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "el", "is")]


def word(rank: int) -> str:
    """The word of a rank, from 0 on: each has its own."""
    number, parts = rank + len(_SYLLABLES), []
    while number:
        number, part = divmod(number, len(_SYLLABLES))
        parts.append(_SYLLABLES[part])
    return "".join(reversed(parts))


def blocks(seed: int = 0) -> Iterator[str]:
    """Text without an end, some megabytes at a time, each of whole lines."""
    rng = np.random.default_rng(seed)
    lines = [line.split(" ") for line in SOURCE.read_text().splitlines() if line.strip()]
    flat = np.array([part for line in lines for part in line], dtype=object)
    plain = np.array([part.isalpha() and part.islower() for part in flat])
    ends = np.cumsum([len(line) for line in lines])
    begins = ends - [len(line) for line in lines]
    known = np.array([word(rank) for rank in range(_KNOWN)], dtype=object)
    while True:
        order = rng.integers(len(lines), size=_LINES)
        lengths = (ends - begins)[order]
        last = np.cumsum(lengths)
        places = np.repeat(begins[order] - last + lengths, lengths) + np.arange(last[-1])
        words = flat[places]
        chosen = np.flatnonzero(plain[places] & (rng.random(len(places)) < SHARE / plain.mean()))
        words[chosen] = _words(_ranks(rng, len(chosen)), known)
        words[last - 1] += "\n"
        text = " ".join(words.tolist())
        yield text.replace("\n ", "\n")


def write(path: Path, megabytes: float, seed: int = 0) -> None:
    """So many MB of it, cut at the end of a line."""
    left = int(megabytes * 1e6)
    with path.open("wb") as file:
        for block in blocks(seed):
            data = block.encode()
            if len(data) > left:
                file.write(data[: data.rfind(b"\n", 0, left) + 1])
                return
            left -= file.write(data)


def _ranks(rng: np.random.Generator, number: int) -> NDArray[np.int64]:
    """Ranks (N,) from 0 on."""
    drawn = (1 - rng.random(number)) ** (-1 / (EXPONENT - 1)) - 1
    return np.minimum(drawn, _HIGHEST).astype(np.int64)


def _words(ranks: NDArray[np.int64], known: NDArray[np.object_]) -> NDArray[np.object_]:
    found: NDArray[np.object_] = known[np.minimum(ranks, len(known) - 1)]
    for place in np.flatnonzero(ranks >= len(known)).tolist():
        found[place] = word(int(ranks[place]))
    return found
