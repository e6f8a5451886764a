"""Small adaptive mixtures; one by its definition: dense, token by token, in double precision."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from charlm.counts import ngram
from charlm.counts.adaptive import Adaptive
from charlm.counts.cache import Cache
from charlm.counts.contexts import CHAIN, CONTEXTS, LONG, NOW, REACH, WORDS
from charlm.counts.interpolation import Partner
from charlm.counts.mixer import Weights

DECAY, DISCOUNT, PRIOR, MOST, BLOCK = 1 - 1 / 30, 0.5, 0.05, 48, 16
RATES = {"char": 5e-4, "word": 1e-4}
EDGES = (0.5, 1.5, 2.5, 4.5, 9.0, 18.0)
Network = Callable[[list[int]], NDArray[np.float64]]


EOS, V = 1, 9
LETTERS = [0, 0, 5, 5, 6, 7, 0, 8, 0]  # 2 and 3 are one letter in two cases


def drawn(lengths: list[int], seed: int) -> list[NDArray[np.int64]]:
    """Sequences with much that comes again."""
    rng = np.random.default_rng(seed)
    phrases = [rng.integers(2, V, size=n) for n in (2, 3, 5, 9, 24)]
    found = []
    for length in lengths:
        ids: list[int] = []
        while len(ids) < length:
            ids += phrases[rng.integers(5)].tolist() if rng.random() < 0.8 else [rng.integers(2, V)]
        found.append(np.array([*ids[:length], EOS]))
    return found


TRAINING = drawn([40, 3, 0, 90, 12, 7], seed=0)
SEQUENCES = drawn([50, 0, 1, 16, 15, 33, 120], seed=0)


def adaptive_of(level: str = "char", *, random: bool = True) -> Adaptive:
    """Of a few sequences, for characters with a cache; weights random, or those of the start."""
    cache = Cache(V, (0, 1, 2), REACH + 16) if level == "char" else None
    partner = Partner.new(ngram.train(TRAINING, V, 4), cache)
    text = np.concatenate(TRAINING)
    adaptive = Adaptive.new(level, np.array(LETTERS), partner, EOS, text)
    if not random:
        return adaptive
    rng = np.random.default_rng(1)
    fields = {}
    for name in ("frozen", "learning"):
        shapes = [table.shape for table in getattr(adaptive, name)]
        fields[name] = Weights(*(rng.normal(0.05, 0.05, size=shape) for shape in shapes))
    return adaptive.with_weights(**fields)


class SlowReader:
    """Predicts and learns one token after another. Histories begin with the mark, the id V.

    network gives log P (V,) after a history.
    """

    def __init__(
        self,
        adaptive: Adaptive,
        letters: Sequence[int],
        networks: Sequence[Network],
        *,
        learns: bool,
    ) -> None:
        self.adaptive, self.letters, self.networks = adaptive, [*letters, 0], networks
        self.learns, self.V = learns, adaptive.vocab_size
        chosen = adaptive.learning if learns else adaptive.frozen
        self.by_confidence, self.by_place = chosen.by_confidence.copy(), chosen.by_place.copy()
        self.memory: dict[tuple, list[int]] = defaultdict(list)
        self.waiting: list[tuple] = []
        history = [self.V]
        for token in adaptive.remembered.tolist():
            self.remember(history, token)
            history = [self.V] if token == adaptive.eos else [*history, token]

    def word_begins(self, history: list[int]) -> list[int]:
        """Where in a history the word at its end begins, the one before it, and one more."""
        begins, end = [], len(history)
        while end and self.letters[history[end - 1]]:
            end -= 1
        begins.append(end)
        for _ in range(2):
            begin = begins[-1]
            while begin and not self.letters[history[begin - 1]]:
                begin -= 1
            if begin == 0:
                begins.append(begins[-1])
                continue
            while begin and self.letters[history[begin - 1]]:
                begin -= 1
            begins.append(begin)
        return begins

    def keys(self, history: list[int]) -> list[tuple | None]:
        """What each context is at the end of a history."""
        history = history[-REACH:]
        begins, found = self.word_begins(history), []
        for name in self.adaptive.contexts.names:
            context = CONTEXTS[name]
            key: list = [name]
            if context.tokens is not None:
                first, last = context.tokens
                if len(history) < first:
                    found.append(None)
                    continue
                key.append(tuple(history[len(history) - first : len(history) - last]))
            for i, j in context.words:
                end = len(history) if j == NOW else begins[j]
                folded = [max(1, self.letters[token]) for token in history[begins[i] : end]]
                key.append(tuple(folded))
            found.append(tuple(key))
        return found

    def remember(self, history: list[int], token: int) -> None:
        """What came after a history."""
        for key in self.keys(history):
            if key is not None:
                self.memory[key].append(token)

    def rows(self, history: list[int]) -> tuple[NDArray[np.float64], list[int], list[int]]:
        """log p (K, V) of all inputs, the confidence of each (K,), and the rows of weights."""
        partner = self.adaptive.partner
        padded = np.array([([-1] * 100 + history)[-100:]])
        assert partner.ngram is not None
        base = partner.ngram.rows(padded)[0][0]
        found = [network(history) for network in self.networks]
        found += [partner.rows(found[0][None], padded)[0], np.log(base)]
        confidences = [0] * len(found)
        for key in self.keys(history):
            counts = np.zeros(self.V)
            for age, token in enumerate(reversed(self.memory[key][-MOST:]) if key else ()):
                counts[token] += DECAY**age
            kept = np.minimum(counts, DISCOUNT).sum()
            over = np.maximum(counts - DISCOUNT, 0)
            p = (over + (PRIOR + kept) * base) / (counts.sum() + PRIOR)
            assert math.isclose(p.sum(), 1)
            found.append(np.log(p))
            one = (counts > 0).sum() == 1
            level = sum(counts.sum() > edge for edge in EDGES)
            confidences.append(2 * level + one if counts.any() else 0)
        return np.array(found), confidences, self.places(history, confidences)

    def places(self, history: list[int], confidences: list[int]) -> list[int]:
        """The rows of weights that are added up."""
        names = self.adaptive.contexts.names
        seen = dict(zip(names, confidences[-len(names) :], strict=True))
        chain, long, words = ([n for n in some if n in names] for some in (CHAIN, LONG, WORDS))
        longest = max((at for at, name in enumerate(chain, start=1) if seen[name]), default=0)
        of_long, of_words = (sum(seen[n] > 0 for n in some) for some in (long, words))
        first = (longest * (len(long) + 1) + of_long) * (len(words) + 1) + of_words
        offset = (len(chain) + 1) * (len(long) + 1) * (len(words) + 1)
        tokens = min(self.V + 1, 1024)
        history = history[-REACH:]
        in_word = min(len(history) - self.word_begins(history)[0], 9)
        return [first, offset + history[-1] % tokens, offset + tokens + in_word]

    def read(self, history: list[int], token: int) -> NDArray[np.float64]:
        """log q (V,) after a history, and what there is to learn from the token that comes."""
        rows, confidences, places = self.rows(history)
        weights = [
            self.by_confidence[c, k] + sum(self.by_place[r, k] for r in places)
            for k, c in enumerate(confidences)
        ]
        log_q = np.array(weights) @ rows
        log_q -= np.log(np.exp(log_q - log_q.max()).sum()) + log_q.max()
        if self.learns:
            slope = rows[:, token] - rows @ np.exp(log_q)
            self.waiting.append((slope, confidences, places))
            if len(self.waiting) == BLOCK:
                rate = RATES["char" if "word" in self.adaptive.contexts.names else "word"]
                for slope, confidences, places in self.waiting:
                    for k, confidence in enumerate(confidences):
                        self.by_confidence[confidence, k] += rate * slope[k]
                        for row in places:
                            self.by_place[row, k] += rate * slope[k]
                self.waiting = []
            self.remember(history, token)
        return log_q
