"""The tables and windows that the benchmarks of the replica measure: made up, the same in every run."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import replica_s3

from ddb_lake.replica import ChangeLog, Column, Location, Replica, Strategy
from ddb_lake.windows import Window, to_us

T = datetime(2026, 11, 24, 18, tzinfo=UTC)
TABLE_ID = "b6a1c7f0-0000-4000-8000-000000000001"
SHARD_ROWS = 1_000_000
SAMPLE_SEED = 7

KEY = Column("id", pl.String(), {"ddb_lake.attribute": "id", "ddb_lake.arm": "string", "ddb_lake.key": "HASH"})
COLUMNS = (
    KEY,
    *(
        Column(name, dtype, {"ddb_lake.attribute": name, "ddb_lake.arm": arm})
        for name, dtype, arm in [
            ("customer", pl.String(), "string"),
            ("status", pl.String(), "string"),
            ("amount", pl.Int64(), "int64"),
            ("created_at", pl.String(), "string"),
            ("note", pl.String(), "string"),
        ]
    ),
)
TAKEN = ["_key_hash", "_write_time_us", "_tie_break", *(column.name for column in COLUMNS)]
STATUSES = ["new", "paid", "packed", "sent", "delivered", "returned"]

DELETION_VECTORS, COPY_ON_WRITE, MERGE = "ddb_lake/deletion_vectors", "ddb_lake/copy_on_write", "delta-rs/merge"
STRATEGIES = {
    DELETION_VECTORS: Strategy.DELETION_VECTORS,
    COPY_ON_WRITE: Strategy.COPY_ON_WRITE,
    MERGE: Strategy.COPY_ON_WRITE,
}


@dataclass(frozen=True)
class Place:
    """Where a run keeps everything: a folder, and for the tables perhaps a local S3.

    Args:
        folder: On the disk.
        endpoint: The server's URL, "" where the tables are on the disk too.
    """

    folder: Path
    endpoint: str = ""

    def location(self, name: str) -> Location:
        """The folder of a table."""
        plain = name.replace("/", "-")
        return replica_s3.location(self.endpoint, plain) if self.endpoint else Location(str(self.folder / plain))

    def change_log(self) -> ChangeLog:
        """The change log that all replicas share."""
        return ChangeLog(self.location("changes"), TABLE_ID)

    def replica(self, contender: str) -> Replica:
        """A contender's table, if it is one that a bootstrap of ours makes."""
        return Replica(self.location(contender), TABLE_ID, self.change_log(), STRATEGIES[contender])

    def rows_files(self) -> list[str]:
        """The Parquet files of the rows at the beginning."""
        return sorted(str(each) for each in (self.folder / "rows").glob("*.parquet"))

    def changes_file(self, number: int) -> Path:
        """The Parquet file of a window's changes."""
        return self.folder / "windows" / f"{number:05}.parquet"


def mix(numbers: np.ndarray) -> np.ndarray:
    """Scatter item numbers over 64 bits, as a hash does: one to one."""
    mixed = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def notes(random: np.random.Generator, count: int) -> pl.Series:
    """Texts that hardly compress."""
    parts = pl.DataFrame({f"{part}": random.integers(0, 2**62, count) for part in range(6)})
    return parts.select(pl.concat_str(pl.all(), separator=" "))["0"]


def items(numbers: np.ndarray, time_us: np.ndarray, seed: int) -> pl.DataFrame:
    """Items of about 200 bytes, 90 compressed, with the reserved columns."""
    random = np.random.default_rng(seed)
    count = len(numbers)
    hashes = mix(numbers)
    return pl.DataFrame(
        {
            "_key_hash": hashes.view(np.int64),
            "_write_time_us": time_us,
            "_tie_break": random.integers(-(2**62), 2**62, count) if seed else np.zeros(count, np.int64),
            "id": pl.Series(hashes).cast(pl.String()) + pl.Series(numbers % 97).cast(pl.String()).str.zfill(4),
            "customer": "customer-" + pl.Series(random.integers(0, 50_000, count)).cast(pl.String()).str.zfill(8),
            "status": pl.Series(np.array(STATUSES)[random.integers(0, len(STATUSES), count)]),
            "amount": random.integers(0, 100_000, count),
            "created_at": "2026-11-" + pl.Series(random.integers(1, 29, count)).cast(pl.String()).str.zfill(2)
            + pl.Series(["T12:00:00.000Z"] * count),
            "note": notes(random, count),
        }
    )  # fmt: skip


def bootstrap_rows(rows: int) -> Iterator[tuple[str, Iterator[pl.DataFrame]]]:
    """The full export's shards."""
    for start in range(0, rows, SHARD_ROWS):
        numbers = np.arange(start, min(start + SHARD_ROWS, rows))
        yield f"data/{start}.json.gz", iter([items(numbers, np.full(len(numbers), to_us(T) - 1), 0)])


def window(number: int) -> Window:
    """The n-th window after the bootstrap."""
    return Window(T + number * timedelta(minutes=15), T + (number + 1) * timedelta(minutes=15))


def window_changes(number: int, rows: int, changes: int) -> pl.DataFrame:
    """A window's changes: random keys, in ten eight updates, an insert and a delete.

    The keys that are inserted are new as long as later windows are not smaller.
    """
    random = np.random.default_rng(SAMPLE_SEED + number)
    inserts = changes // 10
    known = random.choice(rows, changes - inserts, replace=False)
    new = rows + number * inserts + np.arange(inserts)
    numbers = np.concatenate([known, new])
    span = window(number)
    times = random.integers(span.start_us, span.end_us, changes)
    frame = items(numbers, times, SAMPLE_SEED + number)
    return frame.with_columns(pl.Series("_deleted", np.arange(changes) < changes // 10))


def bytes_of(frame: pl.DataFrame) -> int:
    """The changes as one Parquet file."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=3)
    return buffer.tell()


def decode(log: ChangeLog, number: int, frame: pl.DataFrame) -> int:
    """Write a window's changes to the change log; return their bytes."""
    log.replace(window(number), [frame.with_columns(
        pl.when(~pl.col("_deleted")).then(pl.col(name)).alias(name) for name in (c.name for c in COLUMNS[1:])
    )])  # fmt: skip
    return bytes_of(frame)


def scan(location: Location) -> pl.LazyFrame:
    """The live rows of a Delta table."""
    return pl.scan_delta(location.uri, storage_options=location.options or None)
