"""What stands beside a network: counts of its training text, and of the sequence that it reads.

An n-gram model (ngram.py) knows by heart what the network only knows by and large; a cache
(cache.py) knows what has just been said. The three make one distribution,

    p(w) = cache(s_m ngram(w) + (1 - s_m) network(w))

where m is how many of the tokens before w the n-gram model has seen together: each m has its
share s_m. The shares and the strengths of the cache are fitted to text that was held out.

Letters: N tokens, V types, B rows, K lengths of the cache, P parameters.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from charlm.counts import ngram
from charlm.counts.cache import Cache, Counts
from charlm.counts.ngram import NGram
from charlm.errors import CheckpointError

Ids = NDArray[np.integer[Any]]
Values = NDArray[np.float64]

WINDOW = 4_000
LENGTHS = {"char": (3, 4, 5, 6, 7), "word": (0, 1, 2, 3), "subword": (0, 1, 2, 3)}
_LONGEST, _LARGEST_WINDOW, _LARGEST_PARAMETER = 16, 100_000, 50.0

# Where nothing is known yet: what came out, roughly, for Tiny Shakespeare and WikiText-2.
_SHARE = -0.85
_STRENGTH = {0: 5.0, 1: 2.5, 2: 2.3}  # log a
_STRENGTH_OF_OTHERS = 2.3
_GROWTH = 0.5

_MOST_ROUNDS = 500  # it takes 5 to 50
_SHORTEST = 1e-6  # of a step
_GAIN = 1e-2  # nats, of all tokens together: below that it is done
_MOST_TOKENS = 50_000  # that are fitted to
_CERTAINTY = 1.0  # of the values before, in tokens


class Evidence(NamedTuple):
    """What the partner makes of N tokens, whatever the network says."""

    ngram: Values | None  # (N,) log P (nats)
    matched: NDArray[np.int8] | None  # (N,)
    counts: Counts | None  # (K, N)

    def take(self, places: NDArray[np.int64]) -> "Evidence":
        """That of some of the tokens."""
        counts = self.counts
        return Evidence(
            None if self.ngram is None else self.ngram[places],
            None if self.matched is None else self.matched[places],
            None if counts is None else Counts(counts.seen[:, places], counts.total[:, places]),
        )


@dataclasses.dataclass(frozen=True)
class Partner:
    """An n-gram model, a cache, or both, and the parameters (P,) by which they are mixed.

    Of the n-gram model the parameters are the logits of its shares for m = 0, 1, …; of the cache
    log a for each length, then the logits of b.
    """

    ngram: NGram | None
    cache: Cache | None
    parameters: Values

    @classmethod
    def new(cls, ngram: NGram | None, cache: Cache | None) -> Self:
        """With parameters that are often good."""
        shares = [_SHARE] * ngram.order if ngram is not None else []
        lengths = cache.lengths if cache is not None else ()
        strengths = [_STRENGTH.get(k, _STRENGTH_OF_OTHERS) for k in lengths]
        return cls(ngram, cache, np.array([*shares, *strengths, *[_GROWTH] * len(lengths)]))

    def with_parameters(self, parameters: Values | Sequence[float]) -> Self:
        """The same with other parameters."""
        return dataclasses.replace(self, parameters=np.array(parameters, dtype=np.float64))

    @property
    def reach(self) -> int:
        """So many tokens before the next one matter, a mark among them."""
        of_ngram = self.ngram.order if self.ngram is not None else 0
        return max(of_ngram, self.cache.reach + 1 if self.cache is not None else 0)

    @property
    def shares(self) -> Values:
        """Of the n-gram model, for each number of tokens that match (order,)."""
        return _sigmoid(self.parameters[: self.ngram.order if self.ngram is not None else 0])

    @property
    def log_shares(self) -> tuple[Values, Values]:
        """The logarithms of the shares (order,), and of what they leave to the network."""
        logits = self.parameters[: self.ngram.order if self.ngram is not None else 0]
        return -np.logaddexp(0, -logits), -np.logaddexp(0, logits)

    @property
    def strengths(self) -> tuple[Values, Values]:
        """a and b of the cache (K,)."""
        if self.cache is None:
            return np.empty(0), np.empty(0)
        number = len(self.cache.lengths)
        of_cache = self.parameters[len(self.parameters) - 2 * number :]
        return np.exp(of_cache[:number]), _sigmoid(of_cache[number:])

    def evidence(self, sequences: Sequence[Ids]) -> Evidence:
        """Of every token of sequences that end in <EOS>, one after another."""
        look = self.ngram.look(sequences) if self.ngram is not None else None
        counts = self.cache.count(sequences) if self.cache is not None else None
        return Evidence(look and look.log_probs, look and look.matched, counts)

    def evidence_on(self, before: Ids, ids: Ids) -> Evidence:
        """Of ids (T,), the next of a sequence; before them its mark, or ``reach`` tokens."""
        look = self.ngram.look_on(before, ids) if self.ngram is not None else None
        counts = self.cache.count_on(before, ids) if self.cache is not None else None
        return Evidence(look and look.log_probs, look and look.matched, counts)

    def combine(self, log_probs: Values, evidence: Evidence) -> Values:
        """log P (N,) of tokens, from those that the network gives (N,)."""
        return _forward(self, log_probs, evidence)[-1]

    def rows(self, log_probs: NDArray[Any], histories: Ids) -> NDArray[Any]:
        """log P (B, V) of all types after histories (B, L), from what the network gives (B, V).

        A history ends at the right with the token just read and has the mark of its sequence,
        left of that -1, or its last ``reach`` tokens.
        """
        if self.ngram is None:
            return self.beside(log_probs, None, histories)
        return self.beside(log_probs, self.ngram.rows(histories, log_probs.dtype.type), histories)

    def beside(
        self,
        log_probs: NDArray[Any],
        of_ngram: tuple[NDArray[Any], NDArray[Any]] | None,
        histories: Ids,
    ) -> NDArray[Any]:
        """The same, given what the n-gram model says: P (B, V), and how many tokens match (B,)."""
        mixed = log_probs
        if of_ngram is not None:
            rows, matched = of_ngram
            with_it, without = (one[matched][:, None] for one in self.log_shares)
            mixed = _log_sum(
                np.log(rows) + with_it.astype(log_probs.dtype),
                log_probs + without.astype(log_probs.dtype),
            )
        if self.cache is not None:
            mixed = self.cache.rows(mixed, histories, *self.strengths)
        return mixed

    def to_json(self) -> dict[str, Any]:
        """All but the counts of the n-gram model."""
        cache = self.cache
        about = None if cache is None else {"lengths": list(cache.lengths), "window": cache.window}
        order = 0 if self.ngram is None else self.ngram.order
        return {"order": order, "cache": about, "parameters": self.parameters.tolist()}

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The counts of the n-gram model; none without one."""
        return ngram.to_arrays(self.ngram) if self.ngram is not None else {}

    @classmethod
    def from_json(cls, values: object, arrays: Mapping[str, NDArray[Any]], vocab_size: int) -> Self:
        """What these wrote. Raises CheckpointError for anything else."""
        if not isinstance(values, dict) or set(values) != {"order", "cache", "parameters"}:
            raise CheckpointError("partner.json does not describe a partner.")
        counts = ngram.from_arrays(vocab_size, arrays) if arrays else None
        if values["order"] != (0 if counts is None else counts.order):
            raise CheckpointError("partner.json is not of the n-gram model beside it.")
        cache = None if values["cache"] is None else _cache(values["cache"], vocab_size)
        partner = cls.new(counts, cache)
        given = values["parameters"]
        if not isinstance(given, list) or len(given) != len(partner.parameters):
            raise CheckpointError("partner.json has the wrong number of parameters.")
        if not all(type(v) is float and abs(v) <= _LARGEST_PARAMETER for v in given):
            raise CheckpointError("partner.json has parameters that cannot be.")
        return partner.with_parameters(given)


def fit(partner: Partner, log_probs: Values, evidence: Evidence) -> Partner:
    """The parameters by which tokens that neither was trained on are likeliest.

    From log P (N,) that the network gives and the evidence of the same tokens. The method of
    Berndt, Hall, Hall & Hausman 1974: Newton's, the curvature taken from the gradients of single
    tokens. What few tokens bear on stays near what is usual. It ends where a step gains next to
    nothing, and would gain as little if the curvature were right.
    """
    number = len(log_probs)
    if not number or not len(partner.parameters):
        return partner
    if number > _MOST_TOKENS:
        places = (np.arange(_MOST_TOKENS) * number) // _MOST_TOKENS
        log_probs, evidence = log_probs[places], evidence.take(places)
    number = len(log_probs)
    prior = _CERTAINTY / number
    usual = Partner.new(partner.ngram, partner.cache).parameters

    def value_of(parameters: Values) -> float:
        found = partner.with_parameters(parameters).combine(log_probs, evidence)
        return float(found.mean()) - 0.5 * prior * float(((parameters - usual) ** 2).sum())

    parameters = partner.parameters
    value, scale = value_of(parameters), 1.0
    for _ in range(_MOST_ROUNDS):
        slopes = _slopes(partner.with_parameters(parameters), log_probs, evidence)  # (N, P)
        slope = slopes.mean(axis=0) - prior * (parameters - usual)
        curvature = slopes.T @ slopes / len(slopes) + prior * np.eye(len(parameters))
        step = np.linalg.solve(curvature, slope)
        scale = min(1.0, 2 * scale)
        while True:  # uphill all the same, if it is short enough
            tried = np.clip(parameters + scale * step, -_LARGEST_PARAMETER, _LARGEST_PARAMETER)
            better = value_of(tried)
            if better > value or scale < _SHORTEST:
                break
            scale /= 2
        gained = better - value
        if gained > 0:
            parameters, value = tried, better
        if gained <= 0 or max(gained, float(slope @ step) / 2) * number < _GAIN:
            break
    return partner.with_parameters(parameters)


def _forward(partner: Partner, log_probs: Values, evidence: Evidence) -> list[Values]:
    """log P (N,) before the cache and after each of its lengths."""
    log_p = log_probs
    if evidence.ngram is not None and evidence.matched is not None:
        with_it, without = (one[evidence.matched] for one in partner.log_shares)
        log_p = np.logaddexp(with_it + evidence.ngram, without + log_p)
    found = [log_p]
    for seen, log_alpha, log_sum in _lengths(partner, evidence):
        with np.errstate(divide="ignore"):  # what has not been seen adds nothing
            log_p = np.logaddexp(np.log(seen), log_alpha + log_p) - log_sum
        found.append(log_p)
    return found


def _lengths(partner: Partner, evidence: Evidence) -> Iterator[tuple[NDArray[Any], Values, Values]]:
    """Of each length of the cache c, log α and log(N + α), all (N,)."""
    if evidence.counts is not None:
        for seen, total, a, b in zip(*evidence.counts, *partner.strengths, strict=True):
            log_alpha = np.log(a) + b * np.log1p(total)
            with np.errstate(divide="ignore"):
                yield seen, log_alpha, np.logaddexp(np.log(total), log_alpha)


def _slopes(partner: Partner, log_probs: Values, evidence: Evidence) -> Values:
    """How log P of each token changes with each parameter (N, P)."""
    found = _forward(partner, log_probs, evidence)
    slopes = np.zeros((len(log_probs), len(partner.parameters)))
    down = np.ones(len(log_probs))  # d log P / d log p of the length at hand
    lengths = list(_lengths(partner, evidence))
    if evidence.counts is not None:
        number, (_, b) = len(lengths), partner.strengths
        first = len(partner.parameters) - 2 * number
        for k in range(number - 1, -1, -1):
            _, log_alpha, log_sum = lengths[k]
            left = np.exp(log_alpha - log_sum)  # what α leaves of every p
            own = left * np.exp(found[k] - found[k + 1])  # how much of the token's p is of that
            of_alpha = down * (own - left)
            slopes[:, first + k] = of_alpha
            growth = np.log1p(evidence.counts.total[k]) * b[k] * (1 - b[k])
            slopes[:, first + number + k] = of_alpha * growth
            down = down * own
    if evidence.ngram is not None and evidence.matched is not None:
        share = partner.shares[evidence.matched]
        log_share = partner.log_shares[0][evidence.matched]
        own = np.exp(log_share + evidence.ngram - found[0])
        slopes[np.arange(len(log_probs)), evidence.matched] = down * (own - share)
    return slopes


def _log_sum(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """log(exp(one) + exp(other)), as logaddexp and five times as fast."""
    larger: NDArray[Any] = np.maximum(one, other)
    smaller = np.minimum(one, other, out=other)
    smaller -= larger
    np.exp(smaller, out=smaller)
    smaller += 1
    larger += np.log(smaller, out=smaller)
    return larger


def _cache(values: object, vocab_size: int) -> Cache:
    """The cache of partner.json. Raises CheckpointError."""
    error = CheckpointError("partner.json describes a cache that cannot be.")
    if not isinstance(values, dict) or set(values) != {"lengths", "window"}:
        raise error
    lengths, window = values["lengths"], values["window"]
    if not isinstance(lengths, list) or not all(type(k) is int for k in lengths):
        raise error
    fits = bool(lengths) and lengths[0] >= 0 and lengths[-1] <= _LONGEST
    if not fits or sorted(set(lengths)) != lengths:
        raise error
    if type(window) is not int or not 1 <= window <= _LARGEST_WINDOW:
        raise error
    return Cache(vocab_size, lengths, window)


def _sigmoid(x: Values) -> Values:
    return np.exp(-np.logaddexp(0, -x))
