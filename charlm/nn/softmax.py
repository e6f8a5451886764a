"""The loss of the softmax layer, made with its gradients in one go, for all types or for a sample.

A product with the softmax matrix costs as much as all the rest of the network where the
vocabulary is large, and its scores fill memory. So they are made a portion of positions at a
time and turned into gradients while they are in the cache; and where the vocabulary is large,
training sums over a sample of the types only (Jean et al. 2015, "On Using Very Large Target
Vocabulary for Neural Machine Translation"). The most frequent types are in every sample with
weight 1; of the others each is in it with the same probability pi and then stands for 1/pi of
its kind, so the sum over the sample is an unbiased estimate of the sum over all types. What is
learned is a plain softmax: nothing but training knows of it.

Letters: N positions, D the width that the softmax reads, V vocabulary, M types of a sample.
"""

import math
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from charlm.nn.linear import exact_linear

_SCORES = 2**21  # made at a time: they stay in the cache


class Sample(NamedTuple):
    """The types that a step computes scores of."""

    ids: Tensor  # (M,)
    log_weights: Tensor  # (M,) what each stands for in the sum; -inf for a target not drawn
    targets: Tensor  # (N,) where each position's target is among them


class TypeSampler:
    """Draws types: the ``head`` most frequent of them always, ``size`` of the others each time.

    frequencies (V,) say how often each type occurs in the training text. With ``few`` no step
    goes over all types: the others are drawn with replacement, and one that is drawn twice
    counts twice.
    """

    def __init__(self, frequencies: Tensor, head: int, size: int, *, few: bool = False) -> None:
        order = torch.argsort(frequencies, descending=True, stable=True)
        self._head, self._tail = order[:head], order[head:]
        self._size, self._few = size, few
        self._place = torch.empty_like(order)  # of a type among those of the sample
        self._drawn = torch.zeros(len(order), dtype=torch.bool, device=order.device)

    def draw(self, targets: Tensor, generator: torch.Generator | None) -> Sample:
        """A sample that holds every target (N,)."""
        device = targets.device
        drawn, log_weights = self._others(generator)
        ids = torch.cat((self._head, drawn))
        self._drawn[ids] = True
        others = torch.unique(targets[~self._drawn[targets]])
        self._drawn[ids] = False
        head = torch.zeros(len(self._head), device=device)
        not_drawn = torch.full((len(others),), float("-inf"), device=device)
        log_weights = torch.cat((head, log_weights, not_drawn))
        ids = torch.cat((ids, others))
        self._place[ids] = torch.arange(len(ids), device=device)
        return Sample(ids, log_weights, self._place[targets])

    def _others(self, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Some of the types that are not in every sample, and what each stands for (log)."""
        number, device = len(self._tail), self._tail.device
        if self._few:
            places = torch.randint(number, (self._size,), generator=generator, device=device)
            places, counts = torch.unique(places, return_counts=True)
            return self._tail[places], (counts * (number / self._size)).log()
        mixed = torch.randperm(number, generator=generator, device=device)
        drawn = self._tail[mixed[: self._size]]
        return drawn, torch.full((len(drawn),), math.log(number / self._size), device=device)


class _TakeNumbers(Function):
    """Some numbers of a vector; its gradient is sparse, as that of an embedding can be."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, ids: Tensor) -> Tensor:
        """(M,)."""
        ctx.size = vector.shape
        ctx.save_for_backward(ids)
        return vector[ids]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Of these numbers alone."""
        (ids,) = ctx.saved_tensors
        return torch.sparse_coo_tensor(ids[None], grad, ctx.size, check_invariants=False), None


def take_numbers(vector: Tensor, ids: Tensor) -> Tensor:
    """The numbers (M,) of a vector (V,) at ids (M,); its gradient is of these alone (sparse)."""
    function: Any = _TakeNumbers
    taken: Tensor = function.apply(vector, ids)
    return taken


class Softening(NamedTuple):
    """What else could have stood at each position, and how much of the target that is."""

    others: Tensor  # (N, V), each row adds up to 1
    share: float


def cross_entropy(
    vectors: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    log_weights: Tensor | None = None,
) -> Tensor:
    """-log P of the targets in nats, summed.

    vectors (N, D), weight (V, D), bias (V,), targets (N,); of a sample of types the rows of it
    alone (M in place of V), with its log_weights and targets. Scores are made in the precision of
    the weight; the products of gradients run in autocast's dtype.
    """
    is_small = log_weights is None and len(vectors) * len(weight) <= _SCORES
    if is_small and _dtype(weight) == weight.dtype:  # one portion, kept
        return F.cross_entropy(F.linear(vectors, weight, bias), targets, reduction="sum")
    return _summed(vectors, weight, bias, targets, log_weights, None)[0]


def softened_cross_entropy(
    vectors: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, softening: Softening
) -> tuple[Tensor, Tensor]:
    """What is to be minimised, and -log P of the targets alone, both in nats, summed.

    The former is -Σv t(v) log P(v), where t is a mixture of the target and what else could have
    stood there: (1 - share) [v = target] + share others(v).
    """
    return _summed(vectors, weight, bias, targets, None, softening)


def _summed(*given: Tensor | Softening | None) -> tuple[Tensor, Tensor]:
    """_CrossEntropy, in the dtype of autocast."""
    weight = given[1]
    assert isinstance(weight, Tensor)
    dtype, function = _dtype(weight), cast(Any, _CrossEntropy)
    # A score that is rounded to bf16 is off by as much as 0.03.
    with torch.autocast(weight.device.type, enabled=False):
        total, of_targets = function.apply(*given, dtype)
    return total, of_targets


def _dtype(weight: Tensor) -> torch.dtype:
    """What products run in."""
    device = weight.device.type
    autocast = torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if autocast else weight.dtype


class _CrossEntropy(Function):
    """Scores, loss and gradients, a portion of the positions at a time; no score is kept."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        weight: Tensor,
        bias: Tensor,
        targets: Tensor,
        log_weights: Tensor | None,
        softening: Softening | None,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """The summed losses (): of softened targets, where they are, and of plain ones."""
        narrow = weight.to(dtype)
        d_vectors = torch.empty_like(vectors, dtype=dtype)
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        total, of_targets = bias.new_zeros(()), bias.new_zeros(())
        portion = min(len(vectors), max(1, _SCORES // len(weight)))
        for at in range(0, len(vectors), portion):
            some = vectors[at : at + portion]  # (n, D)
            target = targets[at : at + portion, None]  # (n, 1)
            scores = exact_linear(some.to(weight.dtype), weight, bias)  # (n, M)
            own = scores.gather(1, target)
            if log_weights is not None:  # a target counts once, whatever it would stand for
                scores.add_(log_weights).scatter_(1, target, own)
            wanted, share = own, 1.0  # by the mixture of targets
            if softening is not None:
                others = softening.others[at : at + portion]
                share = 1 - softening.share
                by_others = torch.linalg.vecdot(others, scores)[:, None]
                wanted = share * own + softening.share * by_others
            largest = scores.amax(1, keepdim=True)
            norm = scores.sub_(largest).exp_().sum(1, keepdim=True)
            log_norm = norm.log() + largest
            total += (log_norm - wanted).sum()
            of_targets += (log_norm - own).sum()
            # Softmax minus the target is the gradient of the scores.
            scores.div_(norm).scatter_add_(1, target, torch.full_like(own, -share))
            if softening is not None:
                scores.sub_(others, alpha=softening.share)
            d_bias += scores.sum(0)
            product = scores.to(dtype)
            torch.mm(product, narrow, out=d_vectors[at : at + portion])
            d_weight += product.t() @ some.to(dtype)
        ctx.dtype = vectors.dtype
        ctx.save_for_backward(d_vectors, d_weight, d_bias)
        ctx.mark_non_differentiable(of_targets)
        return total, of_targets

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of vectors, weight and bias."""
        d_vectors, d_weight, d_bias = ctx.saved_tensors
        gradients = (
            d_vectors.to(ctx.dtype) * grad_total,
            d_weight * grad_total,
            d_bias * grad_total,
        )
        return *gradients, None, None, None, None
