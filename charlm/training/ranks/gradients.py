"""The gradients of several processes, summed: one message per step, the loss in it.

A buffer holds the gradients of all parameters one after another, then for each parameter whether it
had one, then what the step made. So whoever sums it up, element by element, has done all that
processes have to tell each other about a step; and as every process gets the same sum, all take the
same step. The gradients are those of parts that add up to the loss of the whole batch
(nn/objectives.py), so nothing is to be divided.

Of the matrices of a large vocabulary a step touches few rows. They are not in the buffer: processes
tell each other which rows they have touched, and sum these.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from charlm.nn.objectives import StepLoss
from charlm.training.rows import gradient_of

_MADE = 5  # numbers: two losses, the number of targets, accuracy, and whether there is one
Reduce = Callable[[Tensor], None]  # in place, over all processes


class GradientSum:
    """Sums the gradients of a module, in its own memory, where they stay until the next step."""

    def __init__(
        self,
        module: nn.Module,
        few_rows: Sequence[Tensor],
        sum_up: Reduce,
        maximum: Reduce,
        *,
        row_wise: bool = False,
    ) -> None:
        self._sum, self._maximum = sum_up, maximum
        self._few_rows = {
            parameter: None if row_wise else torch.zeros_like(parameter) for parameter in few_rows
        }
        self._parameters = list(module.parameters())
        dense = [each for each in self._parameters if each not in self._few_rows]
        sizes = [parameter.numel() for parameter in dense]
        self._buffer = torch.zeros(
            sum(sizes) + len(self._parameters) + _MADE, device=self._parameters[0].device
        )
        *flat, self._tail = torch.split(self._buffer, [*sizes, len(self._parameters) + _MADE])
        views = zip(dense, flat, strict=True)
        self._views = {parameter: part.view_as(parameter) for parameter, part in views}

    def __call__(self, made: StepLoss | None, touched: Mapping[Tensor, Tensor]) -> StepLoss:
        """What the whole batch made; afterwards the gradients are those of the whole.

        A parameter that no part has a gradient of has none.
        """
        there = [parameter.grad is not None for parameter in self._parameters]
        for parameter, view in self._views.items():
            if parameter.grad is None:
                view.zero_()
            else:
                view.copy_(parameter.grad)
        summed_rows = {
            matrix: self._sum_sparse(matrix)
            if memory is None
            else self._sum_rows(matrix, memory, touched.get(matrix))
            for matrix, memory in self._few_rows.items()
        }
        counted: list[float] = [0, 0, False]
        if made is not None:
            counted = [made.num_targets, made.accuracy or 0.0, made.accuracy is not None]
        self._tail.copy_(torch.tensor([*there, 0, 0, *counted], dtype=torch.float32))
        if made is not None:
            self._tail[-5:-3] = torch.stack((made.loss, made.reported)).detach()
        self._sum(self._buffer)
        *any_there, _, _, num_targets, accuracy, is_accurate = self._tail.tolist()
        for parameter, has_grad in zip(self._parameters, any_there, strict=True):
            summed = summed_rows.get(parameter, self._views.get(parameter))
            parameter.grad = summed if has_grad else None
        loss, reported = self._tail[-5:-3].clone()
        state = None if made is None else made.state
        return StepLoss(
            loss, reported, round(num_targets), accuracy if is_accurate else None, state
        )

    def _sum_rows(self, matrix: Tensor, memory: Tensor, own: Tensor | None) -> Tensor:
        """Sum the gradient of a matrix (V, D), of whose rows this part has touched its own (n,)."""
        grad = matrix.grad
        if grad is None:
            memory.zero_()
        elif grad.data_ptr() != memory.data_ptr():
            memory.copy_(grad)
        if own is None:
            own = torch.arange(0 if grad is None else len(memory), device=memory.device)
        rows = self._all_rows(matrix, own)
        values = memory[rows]
        self._sum(values)
        memory[rows] = values
        return memory

    def _sum_sparse(self, matrix: Tensor) -> Tensor:
        """Sum the sparse gradient of a matrix (V, ...); it stays sparse."""
        grad = matrix.grad
        own = torch.arange(0, device=matrix.device) if grad is None else grad._indices()[0]
        rows = self._all_rows(matrix, own)
        values = matrix.new_zeros(len(rows), *matrix.shape[1:])
        if grad is not None:
            values[torch.searchsorted(rows, own)] = grad._values()
        self._sum(values)
        return gradient_of(matrix, rows, values)

    def _all_rows(self, matrix: Tensor, own: Tensor) -> Tensor:
        """The rows (n,) of a matrix (V, ...) that any part has touched, this one its own (m,)."""
        are_touched = torch.zeros(len(matrix), dtype=torch.uint8, device=matrix.device)
        are_touched[own] = 1
        self._maximum(are_touched)
        return torch.nonzero(are_touched).squeeze(1)
