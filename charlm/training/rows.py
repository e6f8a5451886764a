"""AdamW of the matrices of types, a row at a time, where a step reads few of very many rows.

Each row has an AdamW of its own, which goes a step when the row has a gradient: its moments and
what corrects their bias know of these steps alone, so a step costs what it reads, however many
types there are. Where every step has a gradient for every row, it is AdamW. (Known as "lazy" Adam;
that of torch, SparseAdam, corrects the bias by the steps of all rows.) Weight decay is due at every
step, and to all rows: it adds up and is done in every DECAY_EVERY-th step, in one go.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from charlm.config import TrainingConfig

DECAY_EVERY = 64  # steps: to go over a whole matrix takes about as long as a step
MATRICES = ("embedding.weight", "softmax.weight", "softmax.bias")  # a row for each type
_TAKEN, _DECAY = "taken", "decay"  # steps (V,) of each row; what is still to be multiplied (1,)


class RowAdamW(torch.optim.AdamW):
    """AdamW, and of matrices (V, ...) whose gradients are sparse, each row once, an AdamW of rows.

    Weight decay is for ``matrices``, not for ``others``; of_types says what it is of each that has
    a row for each type.
    """

    def __init__(
        self,
        matrices: Sequence[Tensor],
        others: Sequence[Tensor],
        of_types: Mapping[nn.Parameter, float],
        config: TrainingConfig,
    ) -> None:
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        betas = (config.beta1, config.beta2)
        super().__init__(groups, lr=config.learning_rate, betas=betas, fused=True)
        self.of_types = of_types

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Go a step with everything that has a gradient."""
        super().step(closure)
        for matrix, weight_decay in self.of_types.items():
            if matrix.grad is not None:
                self._step_rows(matrix, weight_decay)

    def _step_rows(self, matrix: nn.Parameter, weight_decay: float) -> None:
        assert matrix.grad is not None
        group, kept = self.param_groups[0], self.state[matrix]
        if not kept:
            kept.update(blank(matrix))
        kept["step"] += 1
        lr, (beta1, beta2) = group["lr"], group["betas"]
        if weight_decay:
            kept[_DECAY] *= 1 - lr * weight_decay
            if int(kept["step"]) % DECAY_EVERY == 0:
                matrix.mul_(kept[_DECAY])
                kept[_DECAY].fill_(1)
        if (gradient := matrix.grad).is_sparse:
            rows, gradient = gradient._indices()[0], gradient._values()
        else:
            rows = torch.arange(len(matrix), device=matrix.device)
        mean = kept["exp_avg"].index_select(0, rows).lerp_(gradient, 1 - beta1)
        square = kept["exp_avg_sq"].index_select(0, rows).mul_(beta2)
        square.addcmul_(gradient, gradient, value=1 - beta2)
        taken = kept[_TAKEN].index_select(0, rows).add_(1)
        for name, value in (("exp_avg", mean), ("exp_avg_sq", square), (_TAKEN, taken)):
            kept[name].index_copy_(0, rows, value)
        taken = taken.double().view(-1, *[1] * (gradient.dim() - 1))
        rate = (lr / (1 - beta1**taken)).float()
        scale = (1 - beta2**taken).rsqrt_().float()
        moved = mean.mul_(rate).div_(square.sqrt_().mul_(scale).add_(group["eps"]))
        matrix.index_copy_(0, rows, matrix.index_select(0, rows).sub_(moved))


def shapes(matrix: Tensor) -> dict[str, torch.Size]:
    """Those of what is kept of a matrix (V, ...) beside its steps, by name."""
    per_row, one = torch.Size([len(matrix)]), torch.Size([1])
    return {"exp_avg": matrix.shape, "exp_avg_sq": matrix.shape, _TAKEN: per_row, _DECAY: one}


def blank(matrix: Tensor) -> dict[str, Tensor]:
    """What is kept of a matrix before its first step."""
    zeros = {
        name: torch.zeros(shape, dtype=matrix.dtype, device=matrix.device)
        for name, shape in shapes(matrix).items()
    }
    return {"step": torch.tensor(0.0), **zeros, _DECAY: torch.ones(1, device=matrix.device)}


def clip(parameters: Sequence[Tensor], most: float) -> Tensor:
    """Scale gradients, dense or coalesced, to a norm of at most so much; the norm that it was."""
    gradients = []
    for parameter in parameters:
        if (grad := parameter.grad) is not None:
            gradients.append(grad._values() if grad.is_sparse else grad)
    norm = nn.utils.get_total_norm(gradients)
    scale = torch.clamp(most / (norm + 1e-6), max=1.0)
    for grad in gradients:
        grad.mul_(scale)
    return norm


def gradient_of(matrix: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """The sparse gradient of a matrix whose rows (n,), in order, have these values (n, ...)."""
    return torch.sparse_coo_tensor(
        rows[None], values, matrix.shape, is_coalesced=True, check_invariants=False
    )
