"""What a replica costs over thousands of windows, folds and all: `make bench-replica-cycles`.

One table with deletion vectors gets window after window of random keys (see `replica.py`), with a maintenance every
few windows. A full fold cycle is over when so many rows have died that every file has been rewritten once.
`bytes_written` counts every object that was put: the index, the log and the checkpoints included. A window's time is
that of its application, opening included; windows don't wait for a maintenance, so that its time is told apart, and
only the means have each window's part of it. At the end the table is scanned beside a freshly compacted copy, and
opened.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median

import numpy as np
import polars as pl
import replica_s3
from deltalake import DeltaTable
from replica_data import (
    COLUMNS,
    DELETION_VECTORS,
    TABLE_ID,
    Place,
    T,
    bootstrap_rows,
    decode,
    scan,
    window,
    window_changes,
)
from replica_measure import peak_mb

from ddb_lake.replica import Location, Replica
from ddb_lake.replica.folding import FoldPolicy
from ddb_lake.replica.maintenance import MaintenanceReport
from ddb_lake.replica.store import ObjectTableStore

SCANS = 3


class CountingStore(ObjectTableStore):
    """Counts the bytes that are put."""

    def __init__(self, location: Location) -> None:
        super().__init__(location)
        self.written: dict[str, int] = {}

    def put(self, path: str, data: bytes) -> None:
        """Put and count."""
        self._count(path, data)
        super().put(path, data)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Put and count."""
        self._count(path, data)
        return super().put_if_absent(path, data)

    def _count(self, path: str, data: bytes) -> None:
        kind = path.split("/")[0] if path.startswith("_") else "data"
        self.written[kind] = self.written.get(kind, 0) + len(data)


@dataclass(frozen=True)
class Cycles:
    """What was found."""

    contender: str
    rows: int
    changes: int
    windows: int
    cycles: float
    seconds: float
    """Mean of a window, with its part of the maintenances."""
    seconds_median: float
    """Of a window's application, as the two below."""
    seconds_p99: float
    seconds_worst: float
    maintenance_seconds: float
    """Mean of a maintenance."""
    maintenance_seconds_worst: float
    cpu_seconds: float
    """Mean of a window, with its part of the maintenances."""
    bytes_written: int
    amplification: float
    peak_mb: float
    scan_ratio: float
    open_ms: float
    files: int
    store: str
    requests: float | None = None
    """Of S3: mean of a window, with its part of the maintenances."""


def scan_seconds(location: Location) -> float:
    """The median time to read all columns of all rows."""
    times: list[float] = []
    for _ in range(SCANS):
        begin = time.perf_counter()
        texts = [each.name for each in COLUMNS if each.dtype == pl.String()]
        columns = [pl.col(texts).hash().sum(), pl.col("amount").sum()]
        scan(location).select(columns).collect()
        times.append(time.perf_counter() - begin)
    return median(times)


def run(place: Place, rows: int, changes: int, windows: int, every: int, seconds: float, first: int) -> Cycles:
    """Apply the windows, and measure."""
    log, replica = place.change_log(), place.replica(DELETION_VECTORS)
    log.add_columns(COLUMNS)
    if replica.snapshot() is None:
        replica.stage_bootstrap("01", T, COLUMNS, bootstrap_rows(rows))
        replica.commit_bootstrap("01")
        DeltaTable(replica.location.uri, storage_options=replica.location.options).alter.set_table_properties(
            {
                "delta.deletedFileRetentionDuration": "interval 1 minutes",
                "delta.logRetentionDuration": "interval 1 minutes",
            }
        )
    store = CountingStore(replica.location)
    replica = Replica(replica.location, TABLE_ID, log, store=store)
    folded = FoldPolicy()
    times: list[float] = []
    maintenances: list[float] = []
    report: MaintenanceReport | None = None
    cpu = 0.0
    changed = checkpoints = requests = 0
    stop = time.monotonic() + seconds
    seen = set(checkpoint_sizes(store))
    for number in range(first, first + windows):
        changed += decode(log, number, window_changes(number, rows, changes))
        asked = requests_of(place)
        begin, began = time.perf_counter(), time.process_time()
        replica.apply(window(number))
        times.append(time.perf_counter() - begin)
        if number % every == every - 1:
            middle = time.perf_counter()
            report = replica.maintain(folded)
            maintenances.append(time.perf_counter() - middle)
        cpu += time.process_time() - began
        requests += requests_of(place) - asked
        for name, size in checkpoint_sizes(store).items():
            if name not in seen:
                seen.add(name)
                checkpoints += size
        if number % 50 == 49 and report is not None:
            total = sum(store.written.values()) + checkpoints
            told = {kind: round(size / changed, 2) for kind, size in store.written.items()}
            print(
                f"{len(times)} windows: {total / changed:.2f} × changed ({told}), "
                f"{mean(times) + sum(maintenances) / len(times):.3f} s, CPU {cpu / len(times):.3f} s a window, "
                f"{report.files} files, {report.dead_rows / (report.live_rows + report.dead_rows):.0%} dead",
                flush=True,
            )
        if time.monotonic() > stop:
            break
    begin = time.perf_counter()
    snapshot = replica.snapshot()
    opening = time.perf_counter() - begin
    assert snapshot is not None
    peak = peak_mb()
    scanned = scan_seconds(replica.location)
    compact = place.location("compact")
    options = compact.options or None
    scan(replica.location).collect().write_delta(compact.uri, mode="overwrite", storage_options=options)
    DeltaTable(compact.uri, storage_options=options).optimize.compact()
    done = len(times)
    return Cycles(
        contender=f"{DELETION_VECTORS} with folds",
        rows=rows,
        changes=changes,
        windows=done,
        cycles=done * changes * 0.9 / (folded.dead_share * rows),
        seconds=mean(times) + sum(maintenances) / done,
        seconds_median=median(times),
        seconds_p99=float(np.percentile(times, 99)),
        seconds_worst=max(times),
        maintenance_seconds=mean(maintenances or [0.0]),
        maintenance_seconds_worst=max(maintenances, default=0.0),
        cpu_seconds=cpu / done,
        bytes_written=sum(store.written.values()) + checkpoints,
        amplification=(sum(store.written.values()) + checkpoints) / changed,
        peak_mb=peak,
        scan_ratio=scanned / scan_seconds(compact),
        open_ms=1000 * opening,
        files=len(snapshot.files),
        store="s3" if place.endpoint else "disk",
        requests=requests / done if place.endpoint else None,
    )


def checkpoint_sizes(store: ObjectTableStore) -> dict[str, int]:
    """The checkpoints that are there; delta-rs writes them, past the store that counts."""
    return {each.path: each.size for each in store.walk("_delta_log") if each.path.endswith(".checkpoint.parquet")}


def requests_of(place: Place) -> int:
    """How many requests the local S3 has had."""
    return replica_s3.counts(place.endpoint)["requests"] if place.endpoint else 0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--windows", type=int, default=150)
    parser.add_argument(
        "--every", type=int, default=8, help="windows between two maintenances (default: %(default)s)"
    )
    parser.add_argument("--store", choices=["disk", "s3"], default="disk", help="where the table is")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, help="also write what was found to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ddb_lake_bench_") as temporary:
        folder = options.folder or Path(temporary)
        os.environ["DDB_LAKE_CACHE"] = str(folder / "cache")
        with replica_s3.server() if options.store == "s3" else nullcontext("") as endpoint:
            found = run(
                Place(folder, endpoint),
                options.rows,
                options.changes,
                options.windows,
                options.every,
                options.seconds,
                options.first,
            )
    for name, value in asdict(found).items():
        print(f"{name:<20} {value:,.3f}" if isinstance(value, float) else f"{name:<20} {value}")
    if options.json:
        options.json.write_text(json.dumps([asdict(found)], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
