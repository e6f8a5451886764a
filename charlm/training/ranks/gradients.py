"""The gradients of several processes, summed: one message per step, the loss in it.

A buffer holds the gradients of all parameters one after another, then for each parameter whether it
had one, then what the step made. So whoever sums it up, element by element, has done all that
processes have to tell each other about a step; and as every process gets the same sum, all take the
same step. The gradients are those of parts that add up to the loss of the whole batch
(nn/objectives.py), so nothing is to be divided.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from charlm.nn.objectives import StepLoss

_MADE = 5  # numbers: two losses, the number of targets, accuracy, and whether there is one


class GradientSum:
    """Sums the gradients of a module by ``reduce``, which sums a tensor over all processes.

    They stay in its memory until the next step.
    """

    def __init__(self, module: nn.Module, reduce: Callable[[Tensor], None]) -> None:
        self._parameters = list(module.parameters())
        sizes = [parameter.numel() for parameter in self._parameters]
        one = self._parameters[0]
        self._buffer = torch.zeros(sum(sizes) + len(sizes) + _MADE, device=one.device)
        *flat, self._tail = torch.split(self._buffer, [*sizes, len(sizes) + _MADE])
        self._views = [
            part.view_as(parameter) for part, parameter in zip(flat, self._parameters, strict=True)
        ]
        self._reduce = reduce

    def __call__(self, made: StepLoss | None) -> StepLoss:
        """What the whole batch made; afterwards the gradients are those of the whole.

        A parameter that no part has a gradient of has none. None is what a part without rows made.
        """
        grads = [parameter.grad for parameter in self._parameters]
        for view, grad in zip(self._views, grads, strict=True):
            if grad is None:
                view.zero_()
            elif grad.data_ptr() != view.data_ptr():  # sparse ones are spread out in it already
                view.copy_(grad)
        there = [grad is not None for grad in grads]
        counted: list[float] = [0, 0, False]
        if made is not None:
            counted = [made.num_targets, made.accuracy or 0.0, made.accuracy is not None]
        self._tail.copy_(torch.tensor([*there, 0, 0, *counted], dtype=torch.float32))
        if made is not None:
            self._tail[-5:-3] = torch.stack((made.loss, made.reported)).detach()
        self._reduce(self._buffer)
        *any_there, _, _, num_targets, accuracy, is_accurate = self._tail.tolist()
        for parameter, view, has_grad in zip(self._parameters, self._views, any_there, strict=True):
            parameter.grad = view if has_grad else None
        loss, reported = self._tail[-5:-3].clone()
        state = None if made is None else made.state
        return StepLoss(
            loss, reported, round(num_targets), accuracy if is_accurate else None, state
        )
