"""The ARPA format of back-off models: what SRILM, KenLM and others read and write of n-grams.

A line is log10 P of the last word of an n-gram after the others, the n-gram, and, where longer
ones begin with it, log10 of its back-off weight. The format does not say how P was estimated, so
an interpolated model is written exactly: P is all of it, the weight γ (counts/backoff.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from charlm.counts.backoff import LONGEST, NEVER, BackOff, find, tables_of
from charlm.errors import TextError
from charlm.exchange.arpa_words import END

_LOG_NEVER = -99.0  # log10 P of what is never predicted, by custom
_GRAMS = 2**18  # looked at a time

Numbers = NDArray[np.int64]
Values = NDArray[np.float64]


class Read(NamedTuple):
    """What a file holds: comments in front, words and, of each order, n-grams with their figures.

    grams are (G, n) indices of words, log_probs and log_weights (G,) decimal logarithms.
    """

    comments: tuple[str, ...]
    words: tuple[str, ...]
    grams: tuple[Numbers, ...]
    log_probs: tuple[Values, ...]
    log_weights: tuple[Values, ...]


def write(model: BackOff, words: Sequence[str], comments: Iterable[str] = ()) -> Iterator[str]:
    """The lines of a model's file; words (V + 1,) are those of its ids, the last the mark's."""
    yield from (f"# {comment}" for comment in comments)
    yield "\\data\\"
    for n, table in enumerate(model.tables, start=1):
        yield f"ngram {n}={len(table.keys)}"
    grams = np.arange(model.vocab_size + 1)[:, None]
    texts = list(words)
    for n, table in enumerate(model.tables, start=1):
        yield ""
        yield f"\\{n}-grams:"
        if n > 1:
            contexts, tokens = np.divmod(table.keys, model.vocab_size + 1)
            grams = np.column_stack((grams[contexts], tokens))
            pairs = zip(contexts.tolist(), tokens.tolist(), strict=True)
            texts = [f"{texts[context]} {words[token]}" for context, token in pairs]
        logs = log10_probs(model, grams).tolist()
        if n == model.order:
            yield from (f"{log:.9g}\t{text}" for log, text in zip(logs, texts, strict=True))
            continue
        weights = np.log10(table.backoff).tolist()
        rows = zip(logs, texts, weights, strict=True)
        yield from (f"{log:.9g}\t{text}\t{weight or 0.0:.9g}" for log, text, weight in rows)
    yield ""
    yield "\\end\\"


def log10_probs(model: BackOff, grams: Numbers) -> Values:
    """log10 P (G,) of the last tokens of n-grams (G, n) after the others."""
    if grams.shape[1] == 1:
        never = grams[:, 0] == model.vocab_size  # the mark
        p = model.unigrams[np.where(never, 0, grams[:, 0])]
        return np.where(never, _LOG_NEVER, np.log10(p))
    return np.log10(probs(model, grams))


def probs(model: BackOff, grams: Numbers) -> Values:
    """P (G,) of the last tokens of n-grams (G, n), two tokens or more, after the others."""
    number, length = grams.shape
    found = np.empty(number)
    for first in range(0, number, _GRAMS):
        some = grams[first : first + _GRAMS]
        depth = np.tile(np.arange(length), len(some))
        found[first : first + _GRAMS] = model.probs(some.reshape(-1), depth)[0][
            length - 1 :: length
        ]
    return found


def read(name: str, lines: Iterable[bytes]) -> Read:
    """What stands in the lines of a file of this name. Raises TextError if it is no such file."""
    numbered = iter(enumerate(lines, start=1))
    comments, sizes = _header(name, numbered)
    words: dict[bytes, int] = {}
    grams, logs, weights = [], [], []
    for n, size in enumerate(sizes, start=1):
        found = _section(name, numbered, n, size, words)
        grams.append(found[0])
        logs.append(found[1])
        weights.append(found[2])
    return Read(comments, _decoded(name, words), tuple(grams), tuple(logs), tuple(weights))


def _header(name: str, numbered: Iterator[tuple[int, bytes]]) -> tuple[tuple[str, ...], list[int]]:
    """The comments, and how many n-grams of each order there are; it ends before \\1-grams:."""
    comments: list[str] = []
    sizes: list[int] = []
    begun = False
    for _, line in numbered:
        text = line.strip()
        if text == b"\\data\\":
            begun = True
        elif not begun and text.startswith(b"#"):
            comments.append(text[1:].strip().decode("utf-8", "replace"))
        elif begun and text.startswith(b"ngram "):
            order, _, size = text[6:].partition(b"=")
            if not (order.strip().isdigit() and size.strip().isdigit()):
                raise TextError(f"{name} is no ARPA file: it says {_shown(text)}.")
            if int(order) != len(sizes) + 1 or int(order) > LONGEST:
                raise TextError(
                    f"{name} counts n-grams of the orders 1 to {LONGEST} in a row alone."
                )
            sizes.append(int(size))
        elif begun and text == b"\\1-grams:" and sizes:
            return tuple(comments), sizes
        elif begun and text:
            raise TextError(f"{name} is no ARPA file: {_shown(text)} stands before \\1-grams:.")
    raise TextError(f"{name} is no ARPA file: it has no \\data\\ and \\1-grams:.")


def _section(
    name: str,
    numbered: Iterator[tuple[int, bytes]],
    n: int,
    size: int,
    words: dict[bytes, int],
) -> tuple[Numbers, Values, Values]:
    """The n-grams (G, n) of an order and their figures; it ends behind the next heading."""
    grams = np.empty((size, n), np.int64)
    logs, weights = np.empty(size), np.zeros(size)
    at = 0
    for number, line in numbered:
        parts = line.split()
        if not parts:
            continue
        if parts[0].startswith(b"\\") and len(parts) == 1:
            if parts[0] not in (b"\\end\\", f"\\{n + 1}-grams:".encode()):
                raise TextError(f"{name}, line {number}: {_shown(parts[0])} stands out of order.")
            break
        if len(parts) not in (n + 1, n + 2) or at >= size:
            what = "more n-grams than promised" if at >= size else "no n-gram"
            raise TextError(f"{name}, line {number}, holds {what} of order {n}: {_shown(line)}.")
        try:
            logs[at] = float(parts[0])
            weights[at] = float(parts[n + 1]) if len(parts) == n + 2 else 0.0
            gram = parts[1 : n + 1]
            grams[at] = (
                [words.setdefault(gram[0], at)] if n == 1 else [words[word] for word in gram]
            )
        except KeyError as error:
            told = _shown(error.args[0])
            raise TextError(f"{name}, line {number}: {told} is not among the unigrams.") from None
        except ValueError:
            raise TextError(f"{name}, line {number}, holds no numbers: {_shown(line)}.") from None
        if n == 1 and grams[at, 0] != at:
            raise TextError(f"{name}, line {number}: {_shown(gram[0])} is there twice.")
        at += 1
    if at < size:
        raise TextError(f"{name} promises {size:,} n-grams of order {n} and holds {at:,}.")
    if np.isnan(logs).any() or (logs > 1e-3).any() or not np.isfinite(weights).all():
        raise TextError(f"{name} holds n-grams of order {n} whose figures are no logarithms of P.")
    return grams, logs, weights


def _decoded(name: str, words: Mapping[bytes, int]) -> tuple[str, ...]:
    try:
        return tuple(word.decode() for word in words)
    except UnicodeDecodeError:
        raise TextError(f"{name} is not in UTF-8.") from None


def _shown(line: bytes) -> str:
    return repr(line.decode("utf-8", "replace").strip()[:40])


def model_of(found: Read, id_of: Mapping[str, int], vocab_size: int) -> BackOff:
    """The model of a file, its words given ids; n-grams of words that have none are left out.

    id_of knows <s> as vocab_size. An n-gram in which <s> is not the first, or </s> not the last,
    can never be met, and is left out, too. What has no P at all has NEVER.
    """
    ids = np.array([id_of.get(word, -1) for word in found.words], dtype=np.int64)
    grams, p, weights = [], [], []
    for known, logs, log_weights in zip(
        found.grams, found.log_probs, found.log_weights, strict=True
    ):
        told = ids[known]
        kept = (told >= 0).all(axis=1) & ~(told[:, 1:] == vocab_size).any(axis=1)
        kept &= ~(told[:, :-1] == id_of[END]).any(axis=1)
        grams.append(told[kept])
        p.append(np.power(10.0, np.minimum(logs[kept], 0.0)))
        weights.append(np.power(10.0, np.maximum(log_weights[kept], _LOG_NEVER)))
    _add_contexts(grams, p, weights)
    unigrams, first = np.full(vocab_size + 1, NEVER), np.ones(vocab_size + 1)
    unigrams[grams[0][:, 0]] = np.maximum(p[0], NEVER)
    first[grams[0][:, 0]] = weights[0]
    keys, own, gammas = [np.arange(vocab_size + 1)], [np.zeros(vocab_size + 1)], [first]
    for n in range(2, len(grams) + 1):
        shorter = BackOff(vocab_size, unigrams[:-1], tables_of(vocab_size, keys, own, gammas))
        contexts = index_of(shorter, grams[n - 1][:, :-1])
        numbers = contexts * (vocab_size + 1) + grams[n - 1][:, -1]
        order = np.argsort(numbers, kind="stable")
        if (np.diff(numbers[order]) == 0).any():
            raise TextError(f"an n-gram of order {n} is there twice.")
        tail = grams[n - 1][order, 1:]
        of_tail = unigrams[tail[:, 0]] if n == 2 else probs(shorter, tail)
        told = p[n - 1][order]
        beyond = told - gammas[-1][contexts[order]] * of_tail
        keys.append(numbers[order])
        own.append(np.where(np.isnan(told), 0.0, beyond))
        gammas.append(weights[n - 1][order])
    gammas[-1] = np.ones(len(keys[-1]))
    return BackOff(vocab_size, unigrams[:-1], tables_of(vocab_size, keys, own, gammas))


def index_of(model: BackOff, grams: Numbers) -> Numbers:
    """Where n-grams (G, n) of a model stand in the table of their order."""
    index = grams[:, 0]
    for table, tokens in zip(model.tables[1:], grams.T[1:], strict=False):
        index = find(table.keys, index * (model.vocab_size + 1) + tokens)
    return index


def _add_contexts(grams: list[Numbers], p: list[Values], weights: list[Values]) -> None:
    """Put in, without a P of their own, the contexts that a pruned model leaves out."""
    for n in range(len(grams), 2, -1):
        there, needed = _as_rows(grams[n - 2]), _as_rows(grams[n - 1][:, :-1])
        missing = np.setdiff1d(needed, there)
        if len(missing):
            rows = missing.view(np.int64).reshape(len(missing), n - 1)
            grams[n - 2] = np.concatenate((grams[n - 2], rows))
            p[n - 2] = np.concatenate((p[n - 2], np.full(len(rows), np.nan)))
            weights[n - 2] = np.concatenate((weights[n - 2], np.ones(len(rows))))


def _as_rows(grams: Numbers) -> NDArray[np.void]:
    """Each n-gram (G, n) as one value that can be compared."""
    kind = np.dtype((np.void, grams.shape[1] * grams.itemsize))
    return np.ascontiguousarray(grams).view(kind).reshape(-1)
