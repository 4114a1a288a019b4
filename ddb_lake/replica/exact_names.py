"""Columns of a frame or a file by their exact names.

polars takes a text for a pattern wherever an expression may stand (`pl.col`, `select`, `drop`, `sort`, `unique`,
`join`, `group_by`, `read_parquet(columns=)`): `*` is all columns, and `^…$` a regular expression. Attributes may be
called so. Names that are not this package's own constants therefore go through here.
"""

import io
from collections.abc import Iterable, Mapping

import polars as pl
import polars.selectors as cs

from ddb_lake.nulls import null_columns


def column(name: str) -> pl.Expr:
    """Return the expression of the column with this very name."""
    return cs.by_name(name).as_expr()


def columns(names: Iterable[str]) -> cs.Selector:
    """Return the selector of the columns with these very names, wherever polars takes one."""
    return cs.by_name(*names)


def pick(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """Return the columns with these very names, in this order.

    Raises:
        ColumnNotFoundError: If one is absent.
    """
    return frame[list(names)]


def arrange(frame: pl.DataFrame, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return exactly the columns of these names, in this order; those that the frame lacks are null.

    Args:
        frame: The rows; columns that are there keep the type they have.
        types: The wanted columns, and the types of those that are made here.
    """
    present = frozenset(frame.columns)
    absent = [(name, dtype) for name, dtype in types.items() if name not in present]
    if absent:
        frame = frame.hstack(null_columns(absent, frame.height))
    return pick(frame, types)


def read_parquet(data: bytes, names: Iterable[str] | None = None, row_index: str | None = None) -> pl.DataFrame:
    """Read a Parquet file.

    Args:
        data: The file.
        names: Which columns to read, in the order of the file, as far as it has them; all by default.
        row_index: The name of a further column with each row's position.
    """
    scan = pl.scan_parquet(io.BytesIO(data), hive_partitioning=False, row_index_name=row_index)
    if names is not None:
        wanted = {*names, *(() if row_index is None else (row_index,))}
        scan = scan.select(columns(name for name in scan.collect_schema() if name in wanted))
    return scan.collect()
