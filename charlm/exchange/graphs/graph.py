"""A graph in the making: operators and weights, with names for what flows between them.

It is written directly, not traced: the operators of ONNX for recurrent layers are the equations
(layers.py), so the graph says what equations/ says, is the same whatever torch is installed, and
leaves batch and time open wherever they are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

OPSET, IR = 17, 8  # as old as can be, for many runtimes

Shape = Sequence[int | str]  # a name stands for a size that is open


class Port(NamedTuple):
    """An input or output of a graph: its name, the type of its numbers, and its shape."""

    name: str
    dtype: type[np.generic]
    shape: Shape


class Graph:
    """Operators in the order in which they run. Values are known by their names."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: dict[str, NDArray[Any]] = {}
        self._constants: dict[Any, str] = {}
        self._count = 0

    def op(self, kind: str, *inputs: str, called: str | None = None, **attributes: Any) -> str:
        """Put an operator at the end; the name of its output."""
        return self.ops(kind, *inputs, outputs=1, called=called, **attributes)[0]

    def ops(
        self, kind: str, *inputs: str, outputs: int, called: str | None = None, **attributes: Any
    ) -> tuple[str, ...]:
        """The same with several outputs."""
        from onnx import helper

        self._count += 1
        first = called or f"{kind.lower()}.{self._count}"
        names = (first, *(f"{first}.{i}" for i in range(1, outputs)))
        self._nodes.append(helper.make_node(kind, list(inputs), list(names), **attributes))
        return names

    def weight(self, name: str, values: NDArray[Any]) -> str:
        """Keep an array in the graph, in single precision if it is of fractions."""
        kind = np.float32 if np.issubdtype(values.dtype, np.floating) else values.dtype
        self._weights[name] = np.ascontiguousarray(values, dtype=kind)
        return name

    def whole(self, *numbers: int) -> str:
        """A small array of whole numbers."""
        return self._constant(np.array(numbers, dtype=np.int64), ("whole", *numbers))

    def scalar(self, number: float, dtype: type[np.generic] = np.float32) -> str:
        """A number without a shape."""
        return self._constant(np.array(number, dtype=dtype), ("scalar", number, dtype))

    def _constant(self, values: NDArray[Any], key: Any) -> str:
        if key not in self._constants:
            self._constants[key] = self.weight(f"constant.{len(self._constants)}", values)
        return self._constants[key]

    def affine(self, x: str, name: str, weight: NDArray[Any], bias: NDArray[Any]) -> str:
        """W x + b over the last axis."""
        product = self.op("MatMul", x, self.weight(f"{name}.weight", weight.T))
        return (
            product if bias is None else self.op("Add", product, self.weight(f"{name}.bias", bias))
        )

    def cast(self, x: str, dtype: type[np.generic]) -> str:
        """The same numbers of another type."""
        from onnx import helper

        return self.op("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def turned(self, x: str) -> str:
        """Batch and time, or time and batch, in the other order: (T, B, ...) -> (B, T, ...)."""
        return self.op("Transpose", x, perm=[1, 0, 2])

    def model(self, name: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> bytes:
        """The graph as a file, checked."""
        import onnx
        from onnx import helper, numpy_helper

        def info(port: Port) -> Any:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(port.dtype))
            return helper.make_tensor_value_info(port.name, kind, list(port.shape))

        weights = [numpy_helper.from_array(array, name=key) for key, array in self._weights.items()]
        graph = helper.make_graph(
            self._nodes, name, list(map(info, inputs)), list(map(info, outputs)), weights
        )
        made = helper.make_model(
            graph,
            producer_name="charlm",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR,
        )
        onnx.checker.check_model(made, full_check=True)
        return bytes(made.SerializeToString())
