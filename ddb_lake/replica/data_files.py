"""Writing a frame as a Parquet file of a Delta table, telling it as an add action with statistics, and reading it.

The files are invisible until a commit names them, so a failed or repeated commit never needs the rows again.
"""

import io
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast
from urllib.parse import quote

import numpy as np
import orjson
import polars as pl
from pyroaring import BitMap64

from ddb_lake.errors import DdbLakeError
from ddb_lake.replica.columns import KEY_HASH
from ddb_lake.replica.delta_log import AddFile, Conflict, log_path, now_ms
from ddb_lake.replica.delta_log.deletion_vectors import REMEDY as VECTOR_REMEDY
from ddb_lake.replica.errors import DamagedDeletionVector, NotWritten, StorageFailed, UncertainCommit
from ddb_lake.replica.exact_names import read_parquet
from ddb_lake.replica.key_index import read_data_file, reading, segment_path, write_segment
from ddb_lake.replica.store import TableStore, put_new
from ddb_lake.replica.written import REMEDY, Values, compare, prove_file, total

FILE_BYTES = 256 * 1024 * 1024
"""Uncompressed bytes of rows that are gathered in memory for a file at most."""

FILE_ROWS = 1_000_000

COMPRESSION_LEVEL = 3

QUICK_LEVEL = 1
"""For the files of windows and folds, which are written again and again: 40 to 60 % of the time, and at most a
twentieth more bytes."""

EXACT_TEXT = 32
"""Texts up to so many characters are told whole as a file's bounds; longer ones are left out."""


POSITION = "row of the file"
"""A column of frames in memory. No table can have one of this name."""

Bound = int | str | None

_BOUNDED = frozenset({pl.Int64(), pl.String()})

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
"""How the folder of a null partition is called."""


@dataclass(frozen=True)
class DataFile:
    """A Parquet file that lies in a table's folder, committed or not.

    Args:
        path: Relative to the table's folder.
        size: Bytes.
        rows: How many rows it has.
        stats: The statistics of Delta's add action as JSON.
        partition: The partition column's values.
        index_size: Bytes of its segment of the key index; 0 without one.
        values: By column, how many values its footer tells; kept in memory only.
    """

    path: str
    size: int
    rows: int
    stats: str
    partition: dict[str, str | None]
    index_size: int = 0
    values: Mapping[str, int] = field(default_factory=dict[str, int], compare=False, repr=False)

    def add_file(self) -> AddFile:
        """Return the file as a commit of our own names it."""
        return AddFile(log_path(self.path), self.size, now_ms(), self.partition, self.stats)

    def to_json(self) -> dict[str, Any]:
        """Return the file as JSON values."""
        told = asdict(self)
        del told["values"]
        return told


def partition_folder(partition: Mapping[str, str | None]) -> str:
    """Return the Hive folder of a partition, such as `_window=2026-11-24-18%3A15/`.

    The Delta log holds the partition's value, but polars (`scan_delta`) reads it from the folder's name and
    gives null where it does not stand there.
    """
    return "".join(
        f"{name}={HIVE_NULL if value is None else quote(value, safe='')}/" for name, value in partition.items()
    )


def write_file(
    store: TableStore,
    folder: str,
    name: str,
    frame: pl.DataFrame,
    partition: Mapping[str, str | None],
    compression_level: int = COMPRESSION_LEVEL,
) -> DataFile:
    """Write a frame as one Parquet file under a name that no other file has.

    Args:
        store: Whose root is the table's folder.
        folder: Relative to it, empty or with a slash at its end.
        name: How the file's name begins.
        frame: The rows without the partition's columns.
        partition: The partition column's values.
        compression_level: Zstandard's.

    Raises:
        NotWritten: If the file, read back from the store, does not have the frame's rows and values.
    """
    data, stats = encode(frame, compression_level)
    path = f"{folder}{name}-{uuid.uuid4()}.parquet"
    put_new(store, path, data)
    try:
        values = prove_file(store, path, data, frame)
    except Exception:
        with suppress(StorageFailed):  # the first error counts
            store.delete([path])
        raise
    return DataFile(path, len(data), frame.height, stats, dict(partition), values=values)


def prove(expected: Values, rows: int, files: Sequence[DataFile], where: str) -> None:
    """Compare what was to be written with what the footers of the files tell, column by column.

    Args:
        expected: By column, how many values were to be written, counted before the rows were arranged and split.
        rows: How many rows.
        files: The files.
        where: The table, for messages.

    Raises:
        NotWritten: If a column or the rows have lost or gained something.
    """
    paths = [each.path for each in files]
    found = sum(each.rows for each in files)
    if found != rows:
        raise NotWritten(f"{where}: {rows} rows were to be written, {found} are in {', '.join(paths[:3])}: {REMEDY}")
    compare(expected, total(each.values for each in files), where, paths)


def encode(frame: pl.DataFrame, compression_level: int = COMPRESSION_LEVEL) -> tuple[bytes, str]:
    """Return a frame as the bytes of a Parquet file, and its statistics for the log as JSON."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=compression_level, statistics=True)
    return buffer.getvalue(), orjson.dumps(statistics(frame)).decode()


def write_indexed_file(
    store: TableStore,
    folder: str,
    name: str,
    frame: pl.DataFrame,
    partition: Mapping[str, str | None],
    keys: Sequence[str],
    compression_level: int = COMPRESSION_LEVEL,
) -> DataFile:
    """Write a frame as `write_file` does, sorted by key hash, with its segment of the key index beside it.

    Both are there before any commit names the file; a segment that is absent is made again anyway.
    """
    frame = frame.sort(KEY_HASH, maintain_order=True)  # rows that are in order stay where their writer has them
    file = write_file(store, folder, name, frame, partition, compression_level)
    try:
        return replace(file, index_size=write_segment(store, file.path, frame, keys))
    except Exception:
        with suppress(StorageFailed):  # the first error counts
            store.delete([file.path, segment_path(file.path)])
        raise


@contextmanager
def removed_on_failure(store: TableStore) -> Generator[list[str]]:
    """Yield a list for the paths of objects that are written for a commit: they go if it fails.

    They stay where the commit may be there all the same.
    """
    written: list[str] = []
    try:
        yield written
    except UncertainCommit:
        raise
    except (Conflict, DdbLakeError):
        with suppress(StorageFailed):  # the first error counts, and nobody sees these objects
            store.delete(written)
        raise


def live_rows(
    store: TableStore, file: AddFile, dead: BitMap64 | None = None, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return the rows of a data file that are not dead, with their positions in the column `POSITION`.

    Args:
        store: The table's folder.
        file: What the log tells of the file.
        dead: The positions of its deleted rows.
        columns: Which columns are read beside the key hash, as far as the file has them; all by default.

    Raises:
        DamagedDataFile: If the file is absent or is not what the log tells.
        DamagedDeletionVector: If it has fewer rows than are dead.
    """
    data = read_data_file(store, file)
    with reading(store, file):
        if columns is not None:
            columns = [KEY_HASH, *columns]
        frame = read_parquet(data, columns, POSITION).with_columns(pl.col(POSITION).cast(pl.Int64()))
    if not dead:
        return frame
    if dead.max() >= frame.height:
        raise DamagedDeletionVector(
            f"the deletion vector of {store}/{file.object_path} marks row {dead.max()} of {frame.height}; "
            f"{VECTOR_REMEDY}"
        )
    alive = np.ones(frame.height, dtype=bool)
    alive[np.array(dead.to_array(), dtype=np.int64)] = False
    return frame.filter(pl.Series(alive))


def statistics(frame: pl.DataFrame) -> dict[str, Any]:
    """Return Delta's per-file statistics (Delta protocol: "Per-file Statistics"): all of them exact.

    Bounds are told for integers, and for texts where both are short; nulls for all columns but lists.
    """
    least: dict[str, Bound] = {}
    most: dict[str, Bound] = {}
    nulls: dict[str, int] = {}
    for series in frame.get_columns():
        name, dtype = series.name, series.dtype
        if dtype.is_nested():
            continue
        nulls[name] = series.null_count()
        if dtype in _BOUNDED and nulls[name] < frame.height:
            bounds = cast(Bound, series.min()), cast(Bound, series.max())
            if all(map(_is_exact, bounds)):
                least[name], most[name] = bounds
    return {"numRecords": frame.height, "minValues": least, "maxValues": most, "nullCount": nulls}


def _is_exact(bound: Bound) -> bool:
    return bound is not None and (isinstance(bound, int) or len(bound) <= EXACT_TEXT)
