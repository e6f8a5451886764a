"""Targets and scores of a network mixed with joint n-grams (counts/pair_partner.py).

What either finds by itself is scored by both, and ranked. Sources and targets of a
network end in <EOS>, those of the n-grams do not.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.counts import joint_lattice
from charlm.counts.pair_partner import PairPartner
from charlm.inference.pairs import joint_search
from charlm.inference.pairs.beam import Hypothesis, Ids, Writer
from charlm.inference.pairs.beam import search as _beam_search
from charlm.tokenizers.base import EOS_ID

Values = NDArray[np.float64]


class PairEngine(Writer, Protocol):
    """A network that writes targets, and scores them."""

    def token_log_probs(
        self, sources: Sequence[Ids], targets: Sequence[Ids]
    ) -> tuple[list[Values], list[Values]]:
        """log P (T,) of the tokens of each target given its source; attention's shares (T, S)."""


class Candidates(NamedTuple):
    """Targets (N,) that were found: of which source, as ids without <EOS>, and log P of them."""

    rows: NDArray[np.int64]
    targets: list[tuple[int, ...]]
    network: Values
    mixed: Values


def search(
    engine: PairEngine,
    partner: PairPartner | None,
    sources: Sequence[Ids],
    *,
    beam: int = 5,
    n_best: int = 1,
    max_tokens: int,
    length_penalty: float = 0.0,
    unknown: bool = False,
) -> list[list[Hypothesis]]:
    """The n_best hypotheses of each source, best first (beam.search); log P is the mixture's.

    ``unknown`` lets the network write <UNK>.
    """
    limits: dict[str, Any] = {"beam": beam, "max_tokens": max_tokens, "unknown": unknown}
    if partner is None:
        return _beam_search(engine, sources, n_best=n_best, length_penalty=length_penalty, **limits)
    found = candidates(engine, partner, sources, length_penalty=length_penalty, **limits)
    several: list[list[Hypothesis]] = [[] for _ in sources]
    scores = partner.rank(found.network, found.mixed)
    for row, ids, log_prob, score in zip(
        found.rows.tolist(), found.targets, found.mixed.tolist(), scores.tolist(), strict=True
    ):
        score /= (len(ids) + 1) ** length_penalty
        several[row].append(Hypothesis(np.array(ids, np.int64), log_prob, score, ended=True))
    return [sorted(some, key=lambda one: -one.score)[:n_best] for some in several]


def candidates(
    engine: PairEngine,
    partner: PairPartner,
    sources: Sequence[Ids],
    *,
    beam: int = 5,
    max_tokens: int,
    length_penalty: float = 0.0,
    unknown: bool = False,
) -> Candidates:
    """What the network and the n-grams find by themselves, as many as the beam each."""
    options: dict[str, Any] = {"n_best": beam, "length_penalty": length_penalty}
    found = [joint_search.search(partner.joint, [source[:-1] for source in sources], **options)]
    if partner.share < 1:
        options |= {"beam": beam, "max_tokens": max_tokens, "unknown": unknown}
        found.append(_beam_search(engine, sources, **options))
    pairs = []
    for row, sides in enumerate(zip(*found, strict=True)):
        both = {tuple(one.ids.tolist()): one.ended for side in sides for one in side}
        pairs += [(row, ids) for ids in sorted(both) if both[ids] and len(ids) < max_tokens]
    asked = [sources[row] for row, _ in pairs]
    targets = [np.array([*ids, EOS_ID]) for _, ids in pairs]
    network = np.full(len(pairs), -np.inf)
    if partner.share < 1:
        by_token, _ = engine.token_log_probs(asked, targets)
        network = np.array([tokens.sum() for tokens in by_token])
    mixed = partner.combine(network, joint_log_probs(partner, asked, targets))
    rows = np.array([row for row, _ in pairs], np.int64)
    return Candidates(rows, [ids for _, ids in pairs], network, mixed)


def with_weight(
    engine: PairEngine,
    partner: PairPartner,
    sources: Sequence[Ids],
    references: Sequence[Collection[tuple[int, ...]]],
    *,
    max_tokens: int,
) -> PairPartner:
    """The partner with the weight that suits sources best which have these targets."""
    if partner.share == 1:
        return partner.only()
    found = candidates(engine, partner, sources, max_tokens=max_tokens)
    is_right = [ids in references[row] for row, ids in zip(found.rows, found.targets, strict=True)]
    return partner.weighted(found.rows, found.network, found.mixed, np.array(is_right, bool))


def joint_log_probs(partner: PairPartner, sources: Sequence[Ids], targets: Sequence[Ids]) -> Values:
    """log P (N,) that the n-grams alone give."""
    without = [target[:-1] for target in targets]
    return joint_lattice.log_probs(partner.joint, [source[:-1] for source in sources], without)


def mixed_token_log_probs(
    partner: PairPartner,
    sources: Sequence[Ids],
    targets: Sequence[Ids],
    network: Sequence[Values],
) -> list[Values]:
    """log P (T,) of each token of targets after those before it, from the network's (T,).

    It is what the mixture gives all that begins so, over what it gives all that begins with one
    token less: they add up to log P of the target.
    """
    without = [target[:-1] for target in targets]
    of_ngrams = joint_lattice.prefix_log_probs(
        partner.joint, [source[:-1] for source in sources], without
    )
    found = []
    for tokens, begun in zip(network, of_ngrams, strict=True):
        mixed = partner.combine(np.cumsum(tokens), begun)
        with np.errstate(invalid="ignore"):
            steps = np.diff(mixed, prepend=0.0)
        found.append(np.where(np.isneginf(mixed), -np.inf, steps))
    return found
