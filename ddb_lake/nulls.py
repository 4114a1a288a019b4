"""Columns of nothing but nulls: thousands of them cost little."""

from collections.abc import Iterable

import polars as pl


def null_columns(types: Iterable[tuple[str, pl.DataType]], height: int) -> list[pl.Series]:
    """Return a series of nulls for each name and type; those of one type share their memory."""
    made: dict[pl.DataType, pl.Series] = {}
    columns: list[pl.Series] = []
    for name, dtype in types:
        if dtype not in made:
            made[dtype] = pl.Series([None], dtype=dtype).new_from_index(0, height)
        columns.append(made[dtype].alias(name))
    return columns
