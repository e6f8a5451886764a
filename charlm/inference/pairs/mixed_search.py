"""Targets and scores of a network mixed with joint n-grams (counts/pair_partner.py).

What either finds by itself is scored by both, and ranked by the mixture. Sources and targets of a
network end in <EOS>, those of the n-grams do not.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.counts.pair_partner import PairPartner
from charlm.inference.pairs import beam, joint_search
from charlm.inference.pairs.beam import Hypothesis, Ids, Writer
from charlm.tokenizers.base import EOS_ID

Values = NDArray[np.float64]


class PairEngine(Writer, Protocol):
    """A network that writes targets, and scores them."""

    def token_log_probs(
        self, sources: Sequence[Ids], targets: Sequence[Ids]
    ) -> tuple[list[Values], list[Values]]:
        """log P (T,) of the tokens of each target given its source; attention's shares (T, S)."""


def search(
    engine: PairEngine,
    partner: PairPartner | None,
    sources: Sequence[Ids],
    *,
    beam: int = 5,
    n_best: int = 1,
    max_tokens: int,
    length_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """The n_best hypotheses of each source, best first (beam.search)."""
    found = _of_network(
        engine,
        sources,
        beam=beam,
        n_best=n_best if partner is None else beam,
        max_tokens=max_tokens,
        length_penalty=length_penalty,
        needed=partner is None or partner.share < 1,
    )
    if partner is None:
        return found
    options: dict[str, Any] = {"n_best": beam, "length_penalty": length_penalty}
    others = joint_search.search(partner.joint, [source[:-1] for source in sources], **options)
    mixed: list[list[Hypothesis]] = [[] for _ in sources]
    asked = []
    for at, several in enumerate(zip(found, others, strict=True)):
        both = {tuple(one.ids.tolist()) for side in several for one in side if one.ended}
        asked += [(at, ids) for ids in sorted(both) if len(ids) < max_tokens]
    log_probs = mixed_log_probs(
        engine,
        partner,
        [sources[at] for at, _ in asked],
        [np.array([*ids, EOS_ID]) for _, ids in asked],
    )
    for (at, ids), log_prob in zip(asked, log_probs.tolist(), strict=True):
        score = log_prob / (len(ids) + 1) ** length_penalty
        mixed[at].append(Hypothesis(np.array(ids, np.int64), log_prob, score, ended=True))
    return [
        sorted(several, key=lambda one: -one.score)[:n_best] or alone[:n_best]
        for several, alone in zip(mixed, found, strict=True)
    ]


def _of_network(
    engine: PairEngine, sources: Sequence[Ids], *, needed: bool, **options: Any
) -> list[list[Hypothesis]]:
    """What the network finds, or nothing where it has no say."""
    return beam.search(engine, sources, **options) if needed else [[] for _ in sources]


def mixed_log_probs(
    engine: PairEngine, partner: PairPartner, sources: Sequence[Ids], targets: Sequence[Ids]
) -> Values:
    """log P (N,) of targets given their sources."""
    if partner.share == 1:
        network = np.full(len(sources), -np.inf)
    else:
        by_token, _ = engine.token_log_probs(sources, targets)
        network = np.array([tokens.sum() for tokens in by_token])
    return partner.combine(network, joint_log_probs(partner, sources, targets))


def joint_log_probs(partner: PairPartner, sources: Sequence[Ids], targets: Sequence[Ids]) -> Values:
    """log P (N,) that the n-grams alone give."""
    return partner.joint.log_probs([s[:-1] for s in sources], [t[:-1] for t in targets])
