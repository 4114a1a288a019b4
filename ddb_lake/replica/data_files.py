"""Writing a frame as a Parquet file of a Delta table, and telling it as an add action with statistics.

The files are invisible until a commit names them, so a failed or repeated commit never needs the rows again.
"""

import io
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

import obstore
import polars as pl
from deltalake.transaction import AddAction
from obstore.store import LocalStore, S3Store

FILE_BYTES = 256 * 1024 * 1024
"""Uncompressed bytes of rows that are gathered in memory for a file at most."""

FILE_ROWS = 1_000_000

COMPRESSION_LEVEL = 3

EXACT_TEXT = 32
"""Texts up to so many characters are told whole as a file's bounds; longer ones are left out."""


@dataclass(frozen=True)
class DataFile:
    """A Parquet file that lies in a table's folder, committed or not.

    Args:
        path: Relative to the table's folder.
        size: Bytes.
        rows: How many rows it has.
        stats: The statistics of Delta's add action as JSON.
        partition: The partition column's values.
    """

    path: str
    size: int
    rows: int
    stats: str
    partition: dict[str, str]

    def add_action(self) -> AddAction:
        """Return what a commit says to make the file part of the table."""
        return AddAction(self.path, self.size, self.partition, int(time.time() * 1000), True, self.stats)

    def to_json(self) -> dict[str, Any]:
        """Return the file as JSON values."""
        return asdict(self)


def partition_folder(partition: Mapping[str, str]) -> str:
    """Return the Hive folder of a partition, such as `_window=2026-11-24-18%3A15/`.

    The Delta log holds the partition's value, but polars (`scan_delta`) reads it from the folder's name and
    gives null where it does not stand there.
    """
    return "".join(f"{name}={quote(value, safe='')}/" for name, value in partition.items())


def write_file(
    store: LocalStore | S3Store, folder: str, name: str, frame: pl.DataFrame, partition: Mapping[str, str]
) -> DataFile:
    """Write a frame as one Parquet file under a name that no other file has.

    Args:
        store: Whose root is the table's folder.
        folder: Relative to it, empty or with a slash at its end.
        name: How the file's name begins.
        frame: The rows without the partition's columns.
        partition: The partition column's values.
    """
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=COMPRESSION_LEVEL, statistics=True)
    size = buffer.tell()
    buffer.seek(0)
    path = f"{folder}{name}-{uuid.uuid4()}.parquet"
    obstore.put(store, path, buffer)
    return DataFile(path, size, frame.height, json.dumps(statistics(frame)), dict(partition))


def statistics(frame: pl.DataFrame) -> dict[str, Any]:
    """Return Delta's per-file statistics (Delta protocol: "Per-file Statistics"): all of them exact.

    Bounds are told for integers, and for texts where both are short; nulls for all columns but lists.
    """
    plain = [name for name, dtype in frame.schema.items() if not dtype.is_nested()]
    bounded = [name for name in plain if frame.schema[name] in (pl.Int64(), pl.String())]
    least = frame.select(pl.col(bounded).min()).row(0, named=True) if bounded else {}
    most = frame.select(pl.col(bounded).max()).row(0, named=True) if bounded else {}
    told = [name for name in bounded if _is_exact(least[name]) and _is_exact(most[name])]
    return {
        "numRecords": frame.height,
        "minValues": {name: least[name] for name in told},
        "maxValues": {name: most[name] for name in told},
        "nullCount": {name: frame[name].null_count() for name in plain},
    }


def _is_exact(bound: int | str | None) -> bool:
    return bound is not None and (isinstance(bound, int) or len(bound) <= EXACT_TEXT)
