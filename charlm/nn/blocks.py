"""Scores of very many types, a block of types at a time: no (N, V) matrix, no copy of the weights.

What a softmax needs of all scores is the log of a sum, and that can run: where a larger score
comes, the sum so far is scaled down. Letters: N positions, D the width that the softmax reads, V
types.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.network_config import LanguageConfig
from charlm.nn.linear import Product
from charlm.nn.network import Network

_BLOCK = 8192  # types
_PORTION = 256  # positions: their scores of a block stay in the cache
_WORTH_PACKING = 64  # positions: for fewer the weights are used where they lie


class Blocks:
    """What is to be known of x W^T + b (N, V) for W (V, D) and b (V,), which must not change."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self._weight, self._bias = weight.detach(), bias.detach()
        self.num_outputs = len(weight)

    def __call__(self, x: Tensor) -> Tensor:
        """All scores (N, V)."""
        return F.linear(x, self._weight, self._bias)

    def target_log_probs(
        self,
        features: Tensor,
        targets: Tensor,
        *,
        details: bool = False,
        openers: Tensor | None = None,
    ) -> list[Tensor]:
        """log P (N,) of targets (N,) given what the softmax reads (N, D); with details three more.

        Those are the rank of the target, the entropy in nats, and log P of the ``openers`` together
        where there are some.
        """
        chosen = (features * self._weight[targets]).sum(1).add_(self._bias[targets])
        sums = _Sums(chosen, targets, details, openers if details else None)
        for begin in range(0, self.num_outputs, _BLOCK):
            span = slice(begin, begin + _BLOCK)
            weight, bias = self._weight[span], self._bias[span]
            packed = Product(weight, bias) if len(features) >= _WORTH_PACKING else None
            for at in range(0, len(features), _PORTION):
                some = features[at : at + _PORTION]
                scores = F.linear(some, weight, bias) if packed is None else packed(some)
                sums.add(slice(at, at + _PORTION), begin, scores)
        return sums.columns()


class _Sums:
    """Running sums over types, of exp(score - largest), for each position."""

    def __init__(
        self, chosen: Tensor, targets: Tensor, details: bool, openers: Tensor | None
    ) -> None:
        self._chosen, self._targets, self._details = chosen, targets, details
        self._openers = openers
        self._largest = chosen.clone()
        self._norm = torch.zeros_like(chosen)
        self._weighted = torch.zeros_like(chosen)  # of exp(…) (score - largest)
        self._together = torch.full_like(chosen, -torch.inf)  # log of the sum of the openers
        self._above = torch.zeros_like(targets)

    def add(self, rows: slice, begin: int, scores: Tensor) -> None:
        """Take in the scores (n, block) of the types from ``begin`` on, and overwrite them."""
        if self._openers is not None:
            end = begin + scores.shape[1]
            here = self._openers[(self._openers >= begin) & (self._openers < end)] - begin
            some = scores[:, here].logsumexp(1)
            self._together[rows] = torch.logaddexp(self._together[rows], some)
        before = self._largest[rows]
        largest = torch.maximum(before, scores.amax(1))
        shrunk = (before - largest).exp()
        if self._details:
            self._above[rows] += self._count_above(rows, begin, scores)
            moved = self._weighted[rows] + (before - largest) * self._norm[rows]
            self._weighted[rows] = moved * shrunk
        scores.sub_(largest[:, None])
        powers = scores.exp() if self._details else scores.exp_()
        self._norm[rows] = self._norm[rows] * shrunk + powers.sum(1)
        self._largest[rows] = largest
        if self._details:
            self._weighted[rows] += powers.mul_(scores).sum(1)

    def _count_above(self, rows: slice, begin: int, scores: Tensor) -> Tensor:
        """How many other types (n,) have a higher score than the target."""
        chosen = self._chosen[rows, None]
        above = (scores > chosen).sum(1)
        own = self._targets[rows, None] - begin
        is_here = ((own >= 0) & (own < scores.shape[1])).squeeze(1)
        own_score = scores.gather(1, own.clamp(0, scores.shape[1] - 1))
        return above - (is_here & (own_score > chosen).squeeze(1)).long()

    def columns(self) -> list[Tensor]:
        """What they come to: log P, and rank, entropy and log P of the openers if asked."""
        log_norm = self._norm.log()
        found = [self._chosen - self._largest - log_norm]
        if self._details:
            found += [self._above + 1, log_norm - self._weighted / self._norm]
        if self._openers is not None:
            found.append(self._together - self._largest - log_norm)
        return found


def softmax_of(model: Network[Any]) -> Product | Blocks:
    """What makes the scores of a network: of many types in blocks."""
    return softmax_with(model.config, model.softmax_weight, model.softmax.bias)


def softmax_with(config: LanguageConfig, weight: Tensor, bias: Tensor) -> Product | Blocks:
    """The same with weight (V, D) and bias (V,) in the place of its own."""
    return Blocks(weight, bias) if config.has_many_types else Product(weight, bias)
