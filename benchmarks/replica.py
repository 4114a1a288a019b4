"""What one window costs, by either strategy and beside delta-rs's MERGE: `make bench-replica`.

Every contender has a table of the same rows in a folder of its own, and is given the same windows of random keys: of
ten changes eight replace an item, one inserts and one deletes. Each window is applied by a new process, so that
opening the table counts; importing libraries does not. Rounds take turns, and the median counts.

`bytes_written` is all that the table's folder has gained (the log, vectors and the index included), and
`amplification` divides it by the changes themselves, as one Parquet file of the compression that the table has.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from ddb_lake.replica import ChangeLog, Column, Location, Replica, Strategy
from ddb_lake.windows import Window, to_us

T = datetime(2026, 11, 24, 18, tzinfo=UTC)
TABLE_ID = "b6a1c7f0-0000-4000-8000-000000000001"
SHARD_ROWS = 1_000_000
ROUNDS = 3
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
STATUSES = ["new", "paid", "packed", "sent", "delivered", "returned"]

DELETION_VECTORS, COPY_ON_WRITE, MERGE = "ddb_lake/deletion_vectors", "ddb_lake/copy_on_write", "delta-rs/merge"


@dataclass(frozen=True)
class Row:
    """What one contender needs for one window."""

    rows: int
    changes: int
    contender: str
    seconds: float
    cpu_seconds: float
    bytes_written: int
    amplification: float
    peak_mb: float
    ratio_to_merge: float | None = None


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
    """A window's changes: random keys, in ten eight updates, an insert and a delete."""
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


def tables(folder: Path, contender: str) -> tuple[ChangeLog, Replica]:
    """A contender's replica, and the change log that all share."""
    log = ChangeLog(Location(str(folder / "changes")), TABLE_ID)
    strategy = Strategy.COPY_ON_WRITE if contender == COPY_ON_WRITE else Strategy.DELETION_VECTORS
    return log, Replica(Location(str(folder / contender.replace("/", "-"))), TABLE_ID, log, strategy)


def build(folder: Path, rows: int, contenders: list[str]) -> None:
    """Make each contender's table."""
    for contender in contenders:
        log, replica = tables(folder, contender)
        log.add_columns(COLUMNS)
        if contender == MERGE:
            shutil.copytree(tables(folder, COPY_ON_WRITE)[1].location.uri, replica.location.uri, dirs_exist_ok=True)
            continue
        begin = time.perf_counter()
        staged = replica.stage_bootstrap("01", T, COLUMNS, bootstrap_rows(rows))
        replica.commit_bootstrap("01")
        print(f"bootstrap {contender}: {time.perf_counter() - begin:.1f} s, {staged.size / 1e6:.0f} MB", flush=True)


def decode(folder: Path, number: int, rows: int, changes: int) -> int:
    """Write a window's changes to the change log; return their bytes."""
    frame = window_changes(number, rows, changes)
    log, _ = tables(folder, DELETION_VECTORS)
    log.replace(window(number), [frame.with_columns(
        pl.when(~pl.col("_deleted")).then(pl.col(name)).alias(name) for name in (c.name for c in COLUMNS[1:])
    )])  # fmt: skip
    return bytes_of(frame)


def apply(folder: Path, contender: str, number: int, rows: int, changes: int) -> dict[str, Any]:
    """Apply a window in this very process, and tell what that took."""
    _, replica = tables(folder, contender)
    taken = ["_key_hash", "_write_time_us", "_tie_break", *(column.name for column in COLUMNS)]
    values = {name: f"s.{name}" for name in taken}
    source = window_changes(number, rows, changes) if contender == MERGE else None
    from deltalake import DeltaTable, WriterProperties

    Path("/proc/self/clear_refs").write_text("5")  # the highest resident size counts from here on
    begin, cpu = time.perf_counter(), time.process_time()
    if source is not None:
        newer = "s._write_time_us > t._write_time_us"
        (
            DeltaTable(replica.location.uri)
            .merge(
                source,
                "t.id = s.id",
                source_alias="s",
                target_alias="t",
                writer_properties=WriterProperties(compression="ZSTD", compression_level=3),
            )
            .when_matched_delete(f"s._deleted AND {newer}")
            .when_matched_update(values, newer)
            .when_not_matched_insert(values, "NOT s._deleted")
            .execute()
        )  # fmt: skip
    else:
        replica.apply(window(number))
    return {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mb": peak_mb(),
    }


def peak_mb() -> float:
    """The highest resident size of this process."""
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def size_of(folder: Path) -> int:
    """All bytes under a folder."""
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def in_new_process(*arguments: str) -> dict[str, Any]:
    """Run this module with some arguments; return the JSON that it prints."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def compare(folder: Path, rows: int, changes: int, contenders: list[str], rounds: int) -> list[Row]:
    """Apply some windows by every contender in turns."""
    found: dict[str, list[tuple[dict[str, Any], int, int]]] = {each: [] for each in contenders}
    for number in range(rounds):
        changed = decode(folder, number, rows, changes)
        for contender in contenders:
            place = Path(tables(folder, contender)[1].location.uri)
            before = size_of(place)
            arguments = ["--apply", str(number), "--folder", str(folder), "--contender", contender]
            told = in_new_process(*arguments, "--rows", str(rows), "--changes", str(changes))
            found[contender].append((told, size_of(place) - before, changed))
            print(f"  round {number} {contender}: {told}", file=sys.stderr, flush=True)
    made = [
        Row(
            rows=rows,
            changes=changes,
            contender=contender,
            seconds=median(told["seconds"] for told, _, _ in each),
            cpu_seconds=median(told["cpu_seconds"] for told, _, _ in each),
            bytes_written=int(median(written for _, written, _ in each)),
            amplification=median(written / changed for _, written, changed in each),
            peak_mb=max(told["peak_mb"] for told, _, _ in each),
        )
        for contender, each in found.items()
    ]
    merge = next((row.seconds for row in made if row.contender == MERGE), None)
    return [Row(**{**asdict(row), "ratio_to_merge": merge and merge / row.seconds}) for row in made]


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table (default: %(default)s)")
    parser.add_argument("--changes", type=int, default=10_000, help="changes of a window (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="windows (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--contenders", default=f"{DELETION_VECTORS},{COPY_ON_WRITE},{MERGE}")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--apply", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.apply is not None:
        print(json.dumps(apply(options.folder, options.contender, options.apply, options.rows, options.changes)))
        return 0
    contenders = options.contenders.split(",")
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.rows:,} rows, {options.changes:,} changes"
    )
    with tempfile.TemporaryDirectory(prefix="ddb_lake_bench_") as temporary:
        folder = options.folder or Path(temporary)
        build(folder, options.rows, contenders)
        rows = compare(folder, options.rows, options.changes, contenders, options.rounds)
    print(f"{'contender':<28} {'s':>9} {'CPU s':>9} {'MB':>9} {'× changed':>10} {'peak MB':>8} {'× MERGE':>9}")
    for row in rows:
        ratio = "" if row.ratio_to_merge is None else f"{row.ratio_to_merge:,.1f}"
        print(
            f"{row.contender:<28} {row.seconds:>9.3f} {row.cpu_seconds:>9.3f} {row.bytes_written / 1e6:>9.2f} "
            f"{row.amplification:>10.2f} {row.peak_mb:>8.0f} {ratio:>9}"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
