"""Products with a matrix that stays the same: laid out for the processor once, used many times.

torch multiplies single-precision matrices on a CPU by a library that knows only some processors
well (on others it was measured at 2.4 times the time oneDNN takes, bench/RESULTS.md), and lays
them out anew at every call. oneDNN is in torch too, behind operators that torch.compile uses.
Where they are missing or fail, torch's own product serves.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor


class Product:
    """x (N, I) -> x W^T + b (N, O), in single precision. W (O, I) and b (O,) are copied."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.num_outputs = len(weight)
        self._bias = None if bias is None else bias.detach().clone()
        self._packed = _onednn_works() and _fits(weight)
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
        else:
            self._weight = weight.detach().clone()

    def __call__(self, x: Tensor) -> Tensor:
        """The product (N, O)."""
        if not self._packed:
            return F.linear(x, self._weight, self._bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, "none", [], ""
        )
        return product

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """The product and ``other`` (N, O) added."""
        if not self._packed:
            return F.linear(x, self._weight, self._bias).add_(other)
        total: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, other, self._weight, self._bias, "add"
        )
        return total


def exact_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W^T + b (N, O), made anew: x (N, I), W (O, I) and b (O,) of one dtype; no gradient."""
    if _fits(weight) and _onednn_works():
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product
    return F.linear(x, weight, bias)


def _fits(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32


@functools.cache
def _onednn_works() -> bool:
    """Whether the operators are there and give what they should: they promise nothing."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        x, weight, other = torch.randn(3, 5), torch.randn(7, 5), torch.randn(3, 7)
        bias = torch.randn(7)
        expected = F.linear(x, weight, bias)
        try:
            packed = torch.ops.mkldnn._reorder_linear_weight(weight)
            plain = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
            unpacked = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
            added = torch.ops.mkldnn._linear_pointwise.binary(x, other, packed, bias, "add")
        except (AttributeError, RuntimeError, TypeError):
            return False
    pairs = ((plain, expected), (unpacked, expected), (added, expected + other))
    return all(torch.allclose(found, right, atol=1e-5) for found, right in pairs)
