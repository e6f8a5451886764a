"""Batches of columns: dicts of lists or arrays, data frames of pandas, tables of Arrow.

Whoever hands one over has imported what it is made with; nothing is imported here but that.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from charlm.errors import UsageError

Values = dict[str, tuple[type, list[Any]]]  # columns by name: the type of their values, and them


def column(batch: Any, name: str) -> list[Any]:
    """The values of a column, None where there is none. Raises UsageError if it is not there."""
    names = names_of(batch)
    if name not in names:
        there = ", ".join(map(repr, names[:20])) or "none"
        raise UsageError(f"there is no column {name!r}; there are {there}.")
    if _is(batch, "pandas", "DataFrame"):
        values = batch[name]
        return [None if gone else value for value, gone in zip(values, values.isna(), strict=True)]
    if _is(batch, "pyarrow", "Table") or _is(batch, "pyarrow", "RecordBatch"):
        return list(batch.column(name).to_pylist())
    return as_list(batch[name])


def as_list(values: Any) -> list[Any]:
    """The values of a list or an array, None for NaN."""
    found = values.tolist() if hasattr(values, "tolist") else list(values)
    return [None if isinstance(value, float) and math.isnan(value) else value for value in found]


def names_of(batch: Any) -> list[str]:
    """The names of a batch's columns. Raises UsageError if it is none."""
    if _is(batch, "pandas", "DataFrame"):
        return list(batch.columns)
    if _is(batch, "pyarrow", "Table") or _is(batch, "pyarrow", "RecordBatch"):
        return list(batch.schema.names)
    if isinstance(batch, Mapping):
        return list(batch)
    raise UsageError(
        "a batch is a dict of columns, a DataFrame of pandas, or a Table or RecordBatch of "
        f"pyarrow, got {type(batch).__module__}.{type(batch).__name__}."
    )


def with_columns(batch: Any, added: Values) -> Any:
    """The same batch with further columns, as a batch of the same kind.

    A value that there is not is null, NaN or None, as is usual there.
    """
    if _is(batch, "pandas", "DataFrame"):
        pandas = sys.modules["pandas"]
        return batch.assign(
            **{
                name: pandas.Series(values, index=batch.index, dtype=_pandas_type(kind, values))
                for name, (kind, values) in added.items()
            }
        )
    if _is(batch, "pyarrow", "Table") or _is(batch, "pyarrow", "RecordBatch"):
        return _with_arrow(batch, added)
    make = _array if any(hasattr(values, "dtype") for values in batch.values()) else _plain
    return {**batch, **{name: make(kind, values) for name, (kind, values) in added.items()}}


def arrays(added: Values) -> dict[str, Any]:
    """The columns alone as arrays of NumPy."""
    return {name: _array(kind, values) for name, (kind, values) in added.items()}


def _plain(kind: type, values: list[Any]) -> list[Any]:
    del kind
    return values


def _array(kind: type, values: list[Any]) -> Any:
    """An array; where a number is missing, of floats with NaN."""
    import numpy as np

    if kind is str:
        return np.array(values, dtype=object)
    if kind is int and None not in values:
        return np.array(values, dtype=np.int64)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _pandas_type(kind: type, values: Sequence[Any]) -> str:
    if kind is int:
        return "Int64" if None in values else "int64"
    return "float64" if kind is float else "object"


def _with_arrow(batch: Any, added: Values) -> Any:
    import pyarrow  # is there: the batch is of it

    kinds = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    new = [pyarrow.array(values, type=kinds[kind]) for kind, values in added.values()]
    fields = [pyarrow.field(name, kinds[kind]) for name, (kind, _) in added.items()]
    schema = pyarrow.schema([*batch.schema, *fields], metadata=batch.schema.metadata)
    return type(batch).from_arrays([*batch.columns, *new], schema=schema)


def _is(batch: Any, module: str, name: str) -> bool:
    """Whether a batch is of a class of a module that someone has imported."""
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(batch, kind)
