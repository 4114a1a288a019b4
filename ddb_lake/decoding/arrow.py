# pyright: basic
# pyarrow has no types.
"""Buffers that the kernel has filled to polars series, without a copy: the Arrow columnar format's layouts.

Of each column are given how many rows it has and how many of them are not null, a bit a row that tells which, and
the buffers of its type. They must not be written to any more.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Array = npt.NDArray[Any]


def new_bitmap(height: int) -> Array:
    """Return a bitmap for rows that are all null so far."""
    return np.zeros((height + 7) // 8, np.uint8)


def new_views(height: int) -> Array:
    """Return the views (two words a row) of strings that are all empty so far."""
    return np.zeros(2 * height, np.uint64)


def strings(height: int, valid: int, bitmap: Array, views: Array, *data: Array) -> pl.Series:
    """Return strings: views into UTF-8."""
    return _series(pa.string_view(), height, valid, bitmap, views, *data)


def integers(height: int, valid: int, bitmap: Array, values: Array) -> pl.Series:
    """Return 64-bit integers."""
    return _series(pa.int64(), height, valid, bitmap, values)


def decimals(height: int, valid: int, bitmap: Array, values: Array, precision: int, scale: int) -> pl.Series:
    """Return decimals: pairs of 64 bits, the low half first."""
    return _series(pa.decimal128(precision, scale), height, valid, bitmap, values)


def lists(height: int, valid: int, bitmap: Array, offsets: Array, members: pl.Series) -> pl.Series:
    """Return lists: where each row's members begin, at the end their count, and all members."""
    values = members.to_arrow()
    dtype = pa.large_list(values.type)
    validity = None if valid == height else pa.py_buffer(bitmap)
    array = pa.Array.from_buffers(dtype, height, [validity, pa.py_buffer(offsets)], height - valid, children=[values])
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


def copied(texts: pl.Series) -> pl.Series:
    """Return texts, or lists of them, that are copied out of the buffers that they are views into."""
    series = pl.from_arrow(texts.to_arrow(compat_level=pl.CompatLevel.oldest()))
    assert isinstance(series, pl.Series)
    assert series.dtype == texts.dtype
    return series.alias(texts.name)


def _series(dtype: Any, height: int, valid: int, bitmap: Array, *buffers: Array) -> pl.Series:
    validity = None if valid == height else pa.py_buffer(bitmap)
    array = pa.Array.from_buffers(dtype, height, [validity, *map(pa.py_buffer, buffers)], height - valid)
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series
