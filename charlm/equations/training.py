"""The equations of training in NumPy: backpropagation through time, and a step of AdamW.

Training itself runs in torch; the tests hold its gradients and its optimizer against this file.

Letters: T time, H hidden.
"""

from typing import NamedTuple

import numpy as np

from charlm.equations.language_model import Array, LayerWeights


def through_time(weights: LayerWeights[Array], a: Array, last: Array) -> Array:
    """d loss<T> / d a<t> (T, H) of a layer of plain recurrence, from its outputs a (T, H).

    ``last`` is d loss<T> / d a<T> (H,), what the layers above and the softmax send down.
    """
    found = np.empty_like(a)
    found[-1] = last
    for t in range(len(a) - 1, 0, -1):
        dz = found[t] * (1 - a[t] ** 2)
        found[t - 1] = dz @ weights.weight_hh
    return found


def terms(a: Array, found: Array, first: Array) -> Array:
    """The terms (T, H, H) of d loss<T> / d W_aa, one for each step; their sum is the gradient.

    ``found`` is what ``through_time`` gave, ``first`` the state a<0> (H,).
    """
    dz = found * (1 - a**2)
    before = np.concatenate((first[None], a[:-1]))
    each: Array = dz[:, :, None] * before[:, None, :]
    return each


class Moments(NamedTuple):
    """Running means of a gradient and of its square, shaped as the weights."""

    mean: Array
    square: Array


def adamw(
    weights: Array,
    gradient: Array,
    moments: Moments,
    step: int,
    *,
    rate: float,
    beta1: float,
    beta2: float,
    decay: float,
    epsilon: float = 1e-8,
) -> tuple[Array, Moments]:
    """Weights and moments after a step, of which the first has number 1 (Loshchilov & Hutter 2019).

    Moments begin at zero, and are divided by what that takes from their mean.
    """
    mean = beta1 * moments.mean + (1 - beta1) * gradient
    square = beta2 * moments.square + (1 - beta2) * gradient**2
    direction = mean / (1 - beta1**step)
    size = np.sqrt(square / (1 - beta2**step)) + epsilon
    return weights - rate * (direction / size + decay * weights), Moments(mean, square)
