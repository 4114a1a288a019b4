"""The proof that a file has what was to be written: counted in its footer, as that lies in the storage.

Parquet's footer tells of each column chunk how many values it has, and how many of them are null. What was to be
written is counted apart: by the decoder where it places values, or in the rows that were read before they were
arranged, split, sorted and written. No commit names a file whose counts differ. Parquet format: "Metadata",
`ColumnMetaData.num_values` and `Statistics.null_count`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

import polars as pl

from ddb_lake.decoded_rows import count_values
from ddb_lake.replica.errors import NotWritten
from ddb_lake.replica.footers import DamagedFooter, read_footer
from ddb_lake.replica.store import TableStore

REMEDY = (
    "nothing was committed, and what was written is removed. Run it again; if it stays, it is a fault of ddb_lake or "
    "of the storage: please report it"
)

Values = Mapping[str, int]
"""By column, how many values there are that are not null; of lists their members, which Parquet counts."""


def values_of(frame: pl.DataFrame) -> dict[str, int]:
    """Return the values of a frame's columns, without those that nobody counts (structs)."""
    return {series.name: count for series in frame.get_columns() if (count := _values_in(series)) is not None}


def values_among(frame: pl.DataFrame, chosen: pl.Series) -> dict[str, int]:
    """Return the values of the rows of a frame at which a series of booleans is true."""
    if chosen.all():
        return values_of(frame)
    found: dict[str, int] = {}
    for series in frame.get_columns():
        if not series.dtype.is_nested():
            # polars computes this by the series' name, and takes some names for patterns.
            present = series.alias("values").is_not_null()
            found[series.name] = int((present & chosen).sum())
        elif isinstance(series.dtype, pl.List):
            found[series.name] = _values_in(series.filter(chosen)) or 0
    return found


def total(counts: Iterable[Values]) -> dict[str, int]:
    """Return the sum of several counts."""
    found: Counter[str] = Counter()
    for each in counts:
        found.update(each)
    return dict(found)


def prove_file(store: TableStore, path: str, data: bytes, frame: pl.DataFrame) -> dict[str, int]:
    """Read a file's footer back and compare it with the rows that were written; return the values of its columns.

    Raises:
        NotWritten: If the object is not there as it was written, or has other rows or values.
    """
    length = int.from_bytes(data[-8:-4], "little") + 8
    try:
        tail, size = store.get_tail(path, length)
        rows, found = read_footer(tail)
    except (FileNotFoundError, DamagedFooter) as error:
        raise NotWritten(f"{store}/{path} can't be read back as it was written ({error}): {REMEDY}") from error
    if size != len(data):
        raise NotWritten(f"{store}/{path} has {size} bytes, but {len(data)} were written: {REMEDY}")
    if rows != frame.height:
        raise NotWritten(f"{store}/{path} has {rows} rows, but {frame.height} were to be written: {REMEDY}")
    compare(values_of(frame), found, f"{store}", [path])
    if tail != data[-length:]:
        raise NotWritten(f"{store}/{path} does not end with the bytes that were written: {REMEDY}")
    return found


def compare(expected: Values, found: Values, where: str, paths: Iterable[str]) -> None:
    """Compare what was to be written with what the files have.

    Raises:
        NotWritten: If a column has more or fewer values.
    """
    wrong = [name for name in {**expected, **found} if expected.get(name, 0) != found.get(name, 0)]
    if not wrong:
        return
    differences = "; ".join(
        f"the column {name!r} was to have {expected.get(name, 0)} values and has {found.get(name, 0)}"
        for name in wrong[:5]
    )
    more = f", and {len(wrong) - 5} columns more" if len(wrong) > 5 else ""
    files = list(paths)
    raise NotWritten(
        f"{where}: {differences}{more}, in {', '.join(files[:3]) or 'no file'}"
        f"{f' and {len(files) - 3} files more' if len(files) > 3 else ''}: {REMEDY}"
    )


def _values_in(series: pl.Series) -> int | None:
    if isinstance(series.dtype, pl.List):
        return None if isinstance(series.dtype.inner, pl.Struct) else count_values(series)
    return None if series.dtype.is_nested() else count_values(series)
