"""Targets and scores of a network mixed with joint n-grams (counts/pair_partner.py).

What either finds by itself is scored by both, and ranked. Sources and targets of a
network end in <EOS>, those of the n-grams do not.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.counts import joint_lattice
from charlm.counts.pair_partner import PairPartner
from charlm.inference.pairs import joint_search
from charlm.inference.pairs.beam import Hypothesis, Ids, Writer
from charlm.inference.pairs.beam import search as _beam_search
from charlm.inference.pairs.joint_search import Target
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
    targets: list[Target]
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
    for row, some in enumerate(several):
        if not some:
            some.append(_cut_off(engine, partner, sources[row], max_tokens, length_penalty))
    return [sorted(some, key=lambda one: -one.score)[:n_best] for some in several]


def _cut_off(
    engine: PairEngine,
    partner: PairPartner,
    source: Ids,
    max_tokens: int,
    length_penalty: float,
) -> Hypothesis:
    """The beginning of a target, where all that was found is longer than asked."""
    ((best,),) = joint_search.search(partner.joint, [source[:-1]])
    begun = np.append(best.ids[:max_tokens], EOS_ID)
    network = [np.full(len(begun), -np.inf)]
    if partner.share < 1:
        network, _ = engine.token_log_probs([source], [begun])
    (tokens,) = mixed_token_log_probs(partner, [source], [begun], network)
    log_prob = float(tokens[:-1].sum())
    score = log_prob / max_tokens**length_penalty
    return Hypothesis(best.ids[:max_tokens], log_prob, score, ended=False)


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
    of_network: list[dict[Target, float]] = [{} for _ in sources]
    if partner.share < 1:
        limits: dict[str, Any] = {"beam": beam, "max_tokens": max_tokens, "unknown": unknown}
        for row, several in enumerate(_beam_search(engine, sources, **options, **limits)):
            ids_of = {tuple(one.ids.tolist()): one for one in several if one.ended}
            of_network[row] = {
                ids: one.log_prob for ids, one in ids_of.items() if len(ids) < max_tokens
            }
    without = [source[:-1] for source in sources]
    of_ngrams = joint_search.beside(partner.joint, without, of_network, **options)
    found = [
        (row, ids)
        for row, several in enumerate(of_ngrams)
        for ids in sorted(several)
        if len(ids) < max_tokens
    ]
    network = np.full(len(found), -np.inf)
    if partner.share < 1:
        network = _completed(engine, sources, found, of_network)
    joint = np.array([of_ngrams[row][ids][0] for row, ids in found])
    mixed = partner.combine(network, joint)
    rows = np.array([row for row, _ in found], np.int64)
    return Candidates(rows, [ids for _, ids in found], network, mixed)


def _completed(
    engine: PairEngine,
    sources: Sequence[Ids],
    pairs: Sequence[tuple[int, Target]],
    told: Sequence[Mapping[Target, float]],
) -> Values:
    """log P (N,) that a network gives pairs, scored where it was not told."""
    missing = [(row, ids) for row, ids in pairs if ids not in told[row]]
    targets = [np.array([*ids, EOS_ID]) for _, ids in missing]
    scored = network_log_probs(engine, [sources[row] for row, _ in missing], targets)
    there = dict(zip(missing, scored.tolist(), strict=True))
    return np.array([told[row].get(ids, there.get((row, ids))) for row, ids in pairs], np.float64)


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


def network_log_probs(engine: PairEngine, sources: Sequence[Ids], targets: Sequence[Ids]) -> Values:
    """log P (N,) that the network alone gives."""
    by_token, _ = engine.token_log_probs(sources, targets)
    return np.array([tokens.sum() for tokens in by_token])


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
