"""Tensors of safetensors files: their bytes, and the arrays that are read from them.

No file is a pickle, and none is believed: what its header says is compared with the bytes there
are before an array is made of them.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from charlm.checkpoints.files import Parts
from charlm.checkpoints.json_objects import parse_json
from charlm.equations.parameters import Arrays
from charlm.errors import CheckpointError

_LARGEST_HEADER = 2**22  # bytes
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "<u1",
    "BOOL": "|b1",
}
_KINDS = {np.dtype(code): kind for kind, code in _DTYPES.items()}
# In the order in which safetensors has them; it writes the last of them first.
_RANK = {
    kind: rank
    for rank, kind in enumerate(
        ("BOOL", "U8", "I8", "I16", "U16", "F16", "I32", "U32", "F32", "F64", "I64", "U64")
    )
}


def arrays_to_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The file of named arrays. Raises MemoryError where there is no memory to make it."""
    return b"".join(array_parts(arrays))


def array_parts(arrays: Mapping[str, NDArray[Any]]) -> Parts:
    """The same file, its tensors where they lie: the arrays must not change before it is written.

    It is, to the byte, what the library safetensors writes: wider types first, then by name.
    """
    order = sorted(arrays, key=lambda name: (-_RANK[_KINDS[arrays[name].dtype]], name))
    header, at, parts = {}, 0, []
    for name in order:
        array = np.ascontiguousarray(arrays[name])
        header[name] = {
            "dtype": _KINDS[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
        parts.append(array.reshape(-1).view(np.uint8).data)
    described = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    described += b" " * (-len(described) % 8)
    return Parts((len(described).to_bytes(8, "little") + described, *parts))


def parse_tensors(name: Path, data: bytes | bytearray) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, which share the memory of its bytes.

    The header is compared with the bytes there are before an array is made of them: tensors lie
    one behind the other and fill the file. Raises CheckpointError naming the file.
    (The format: https://huggingface.co/docs/safetensors, "Format".)
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_LARGEST_HEADER, len(data) - 8):
        raise CheckpointError(f"{name} is damaged: its header is cut short or too long.")
    header = parse_json(name, data[8 : 8 + length])
    header.pop("__metadata__", None)
    begins = 8 + length
    try:
        tensors = sorted((_Tensor.of(key, value) for key, value in header.items()), key=_place)
    except ValueError as error:
        raise CheckpointError(f"{name} is damaged: {error}.") from None
    at = 0
    for tensor in tensors:
        if tensor.begin != at:
            raise CheckpointError(f"{name} is damaged: {tensor.name!r:.60} is not in its place.")
        at = tensor.end
    if at != len(data) - begins:
        raise CheckpointError(f"{name} is damaged: its tensors do not fill the file.")
    arrays = {}
    for tensor in tensors:
        count = math.prod(tensor.shape)
        array = np.frombuffer(data, tensor.dtype, count, begins + tensor.begin)
        array = array if array.flags.aligned else array.copy()
        arrays[tensor.name] = array.reshape(tensor.shape)
    return {key: arrays[key] for key in header}


def check_arrays(
    name: Path, arrays: Mapping[str, NDArray[Any]], expected: Mapping[str, tuple[int, ...]]
) -> Arrays:
    """The arrays, if they are finite float32 of these shapes. Raises CheckpointError."""
    if expected.keys() != arrays.keys():
        raise CheckpointError(f"{name} does not hold the weights that its model.json describes.")
    for key, array in arrays.items():
        if array.shape != expected[key] or array.dtype != np.float32:
            raise CheckpointError(
                f"{name}: {key} is {array.shape} of {array.dtype}, expected {expected[key]} of "
                "float32."
            )
        if not np.isfinite(array).all():
            raise CheckpointError(f"{name}: {key} holds numbers that are not finite.")
    return arrays


def most_bytes(numbers: int) -> int:
    """What a file of so many float32 numbers has at most: a header, and four bytes each."""
    return 8 + _LARGEST_HEADER + 4 * numbers


class _Tensor(NamedTuple):
    """A tensor as the header of a file describes it, from byte ``begin`` to byte ``end``."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int

    @classmethod
    def of(cls, name: str, value: object) -> Self:
        """One entry of a header. Raises ValueError if it contradicts itself."""
        fields = value if isinstance(value, dict) else {}
        if fields.keys() != {"dtype", "shape", "data_offsets"}:
            raise ValueError(f"{name!r:.60} is not described")
        kind, shape, place = fields["dtype"], fields["shape"], fields["data_offsets"]
        if type(kind) is not str or kind not in _DTYPES:
            raise ValueError(f"{name!r:.60} is of the type {kind!r:.20}, which charlm never writes")
        if not _are_sizes(shape) or len(shape) > 8:
            raise ValueError(f"{name!r:.60} has no shape")
        if not _are_sizes(place) or len(place) != 2:
            raise ValueError(f"{name!r:.60} has no place")
        dtype = np.dtype(_DTYPES[kind])
        if math.prod(shape) * dtype.itemsize != place[1] - place[0]:  # whole numbers: no overflow
            raise ValueError(f"{name!r:.60} is not of the size of its shape")
        return cls(name, dtype, tuple(shape), *place)


def _place(tensor: _Tensor) -> tuple[int, int]:
    return tensor.begin, tensor.end


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)
