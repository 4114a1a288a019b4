"""Which value it is that can't be written to a file: one item is the problem then, not the table."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import polars as pl

from ddb_lake.decoded_rows import DecodedRows
from ddb_lake.errors import DdbLakeError
from ddb_lake.field_metadata import ATTRIBUTE
from ddb_lake.replica.columns import Column
from ddb_lake.replica.errors import UnstorableValue

REMEDY = (
    "nothing was committed; correct the item and export again, leave the attribute out (`drop` in lake.yaml), or "
    "give it another type there (`types: string`), and please report it"
)


@contextmanager
def naming_the_value(
    gathered: Sequence[DecodedRows],
    columns: Sequence[Column],
    encode: Callable[[pl.DataFrame], object],
    where: str,
) -> Generator[None]:
    """Name the attribute, file and line of the value that makes the writing of rows fail.

    Args:
        gathered: The rows that are written.
        columns: Their attribute columns.
        encode: What fails for rows that can't be written, and does nothing else.
        where: The table, for messages.

    Raises:
        UnstorableValue: In place of whatever was raised that ddb_lake does not explain itself.
    """
    rows = tuple(gathered)
    try:
        yield
    except (DdbLakeError, OSError, MemoryError):
        raise
    except Exception as error:
        value = _locate(rows, columns, encode)
        raise UnstorableValue(f"{where}: {value} can't be written: {error}; {REMEDY}") from error


def _locate(
    gathered: Sequence[DecodedRows], columns: Sequence[Column], encode: Callable[[pl.DataFrame], object]
) -> str:
    """Return which value can't be written, as closely as that can be found out."""
    attributes = {column.name: column.metadata.get(ATTRIBUTE, column.name) for column in columns}
    for rows in gathered:
        if not _fails(rows.frame, encode):
            continue
        for name in rows.frame.columns:
            column = rows.frame.select(rows.frame.get_column(name))
            if _fails(column, encode):
                row = _first_that_fails(column, encode)
                value = f"the value of the attribute {attributes[name]!r}" if name in attributes else f"{name}"
                return f"{value} (column {name!r}) in {rows.where(row) or f'row {row}'}"
        return f"something in {rows.where() or 'the rows'}"
    places = ", ".join(dict.fromkeys(rows.source for rows in gathered if rows.source))
    return f"something in {places or 'the rows'}"


def _first_that_fails(column: pl.DataFrame, encode: Callable[[pl.DataFrame], object]) -> int:
    """Return a row that fails by itself; 0 if rows fail only together."""
    start, count = 0, column.height
    while count > 1:
        half = count // 2
        if _fails(column.slice(start, half), encode):
            count = half
        elif _fails(column.slice(start + half, count - half), encode):
            start, count = start + half, count - half
        else:
            return 0
    return start


def _fails(frame: pl.DataFrame, encode: Callable[[pl.DataFrame], object]) -> bool:
    try:
        encode(frame)
    except Exception:  # noqa: BLE001 - the error that counts has been raised already
        return True
    return False
