"""Beam search: the likeliest sequences that a model writes, given what it has read.

The search goes by what any model can do that writes token by token (``Writer``), and needs no
torch itself. Letters: B sources, K live hypotheses of each (the beam), V types.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from charlm.errors import FieldError
from charlm.tokenizers.base import EOS_ID, UNK_ID

Ids = NDArray[np.integer[Any]]


class Writer(Protocol):
    """A model that has read sources and writes a target for each, a token at a time."""

    @property
    def vocab_size(self) -> int:
        """The types of targets; the id of what is read before the first token."""

    def begin(self, sources: Sequence[Ids]) -> Any:
        """The state of N rows after reading the sources (N,), their <EOS> included."""

    def step(self, state: Any, tokens: Ids) -> tuple[NDArray[np.floating[Any]], Any]:
        """Read tokens (N,): log P (N, V) of the next ones, and the state after."""

    def take(self, state: Any, index: NDArray[np.int64]) -> Any:
        """The state of rows (M,), which may come several times."""

    def put(self, state: Any, index: NDArray[np.int64], one: Any) -> Any:
        """The state with the one row of another in the place of rows (M,)."""


class Hypothesis(NamedTuple):
    """A target as ids without <EOS>, and its log P in nats, that of <EOS> included.

    score is what hypotheses are ranked by. One that ran into the limit of tokens has not ended, and
    its log P is that of all targets that begin with it.
    """

    ids: NDArray[np.int64]
    log_prob: float
    score: float
    ended: bool


def search(
    writer: Writer,
    sources: Sequence[Ids],
    *,
    beam: int = 5,
    n_best: int = 1,
    max_tokens: int,
    length_penalty: float = 0.0,
    unknown: bool = False,
) -> list[list[Hypothesis]]:
    """The n_best hypotheses of each source, best first, no more than the beam finds.

    A beam of 1 is greedy. Hypotheses are ranked by log P / T ** length_penalty, T their tokens with
    <EOS> (Wu et al. 2016 use a like form): 0 ranks by probability alone, more is kinder to long
    ones. <UNK> is never written, unless ``unknown`` allows it. A source is done when none of its
    live hypotheses can become better than its n_best finished ones.
    """
    if not 1 <= n_best <= beam:
        raise FieldError("n_best", f"must be from 1 to the beam ({beam}), got {n_best}.")
    if not sources:
        return []
    found: list[list[Hypothesis]] = [[] for _ in sources]
    unended: list[list[Hypothesis]] = [[] for _ in sources]
    rows = np.arange(len(sources))  # which source each row of the arrays below is of
    state = writer.begin(sources)
    totals = np.zeros((len(rows), 1))  # (B, K)
    tokens = np.full((len(rows), 1), writer.vocab_size)
    written = np.empty((len(rows), 1, 0), np.int64)  # (B, K, T)
    for length in range(1, max_tokens + 1):
        log_probs, state = writer.step(state, tokens.reshape(-1))
        live = totals.shape[1]
        sums = totals[:, :, None] + log_probs.reshape(len(rows), live, -1)  # (B, K, V)
        if not unknown:
            sums[:, :, UNK_ID] = -np.inf
        # An end counts if it is among the best that there are.
        flat = sums.reshape(len(rows), -1)
        kept = min(beam, flat.shape[1])
        least = np.partition(flat, -kept, axis=1)[:, -kept]
        ends = sums[:, :, EOS_ID]
        for row, slot in np.argwhere((least <= ends.T).T & np.isfinite(ends)):
            total = float(sums[row, slot, EOS_ID])
            score = total / length**length_penalty
            _keep(found[rows[row]], Hypothesis(written[row, slot], total, score, True), n_best)
        sums[:, :, EOS_ID] = -np.inf
        best = np.argpartition(-flat, kept - 1, axis=1)[:, :kept]  # (B, K)
        totals = np.take_along_axis(flat, best, axis=1)
        slots, tokens = np.divmod(best, writer.vocab_size)
        written = np.take_along_axis(written, slots[:, :, None], axis=1)
        written = np.concatenate((written, tokens[:, :, None]), axis=2)
        most = totals.max(axis=1) / max_tokens**length_penalty  # that a live one can come to
        worst = np.array(
            [found[row][-1].score if len(found[row]) == n_best else -np.inf for row in rows]
        )
        going = np.flatnonzero(most > worst)
        if not len(going):
            break
        state = writer.take(state, (going[:, None] * live + slots[going]).reshape(-1))
        rows, totals, tokens, written = rows[going], totals[going], tokens[going], written[going]
    else:
        for row, slot in np.argwhere(np.isfinite(totals)):  # take the places that none has taken
            total = float(totals[row, slot])
            one = Hypothesis(written[row, slot], total, total / max_tokens**length_penalty, False)
            _keep(unended[rows[row]], one, n_best)
    return [[*best, *rest][:n_best] for best, rest in zip(found, unended, strict=True)]


def longest(sources: Sequence[Ids]) -> int:
    """The tokens that a target may have where no limit is given: ten times its source, and 100."""
    return 10 * max(map(len, sources)) + 100


def _keep(best: list[Hypothesis], one: Hypothesis, most: int) -> None:
    """Put a hypothesis in its place among the best."""
    best.append(one)
    best.sort(key=lambda hypothesis: -hypothesis.score)
    del best[most:]
