"""What one window costs, by either strategy and beside what else could keep the table: `make bench-replica`.

Every contender has a table of the same rows in a folder of its own, and is given the same windows of random keys: of
ten changes eight replace an item, one inserts and one deletes. Each window is applied by a new process, so that
opening the table counts; importing libraries does not. Contenders take turns, and the median of the rounds counts. At
the end the rows of all tables are compared, every column but the tie-break, with what they have to be.

`bytes_written` is all that the process has written (the log, vectors and the index included), or put where the tables
are on S3; `amplification` divides it by the changes themselves, as one Parquet file of the compression that
data files have after a fold.
`ratio_to_merge` is how many times as long as the contender delta-rs's MERGE takes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
import replica_s3
from replica_contenders import OUTSIDERS
from replica_data import (
    COLUMNS,
    COPY_ON_WRITE,
    DELETION_VECTORS,
    MERGE,
    TAKEN,
    Place,
    T,
    bootstrap_rows,
    decode,
    scan,
    window,
    window_changes,
)
from replica_measure import measured, told_of

HERE = Path(__file__).parent
BENCH_PYTHON = HERE.parent / ".venv-bench/bin/python"
OWN = [DELETION_VECTORS, COPY_ON_WRITE, MERGE]
ROUNDS = 3
SEED = 11
COMPARED = ["_write_time_us", *(column.name for column in COLUMNS)]


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
    rounds: int
    store: str
    note: str = ""
    requests: int | None = None
    """Of S3."""
    bytes_read: int | None = None
    """From S3."""
    ratio_to_merge: float | None = None
    cpu_ratio_to_merge: float | None = None


State = tuple[int, int, int]
"""The number of a table's rows, and the sums of the two halves of their hashes: the rows' order doesn't matter."""


def state_of(rows: pl.LazyFrame) -> State:
    """Return what tells a table's rows apart from others."""
    hashed = rows.select(pl.struct(COMPARED).hash(seed=SEED).alias("hash"))
    low, high = pl.col("hash") & 0xFFFFFFFF, pl.col("hash") // 2**32
    found = hashed.select(pl.len(), low.sum().alias("low"), high.sum().alias("high")).collect(engine="streaming")
    count, first, second = found.row(0)
    return int(count), int(first), int(second)


def expected(place: Place, windows: int) -> State:
    """Return what the tables have to hold after the windows, by a way of its own: plain joins."""
    changes = pl.concat(pl.read_parquet(place.changes_file(number)) for number in range(windows))
    last = changes.sort("_write_time_us").unique("id", keep="last")
    kept = pl.scan_parquet(place.rows_files()).join(last.lazy().select("id"), on="id", how="anti")
    return state_of(pl.concat([kept.select(COMPARED), last.lazy().filter(~pl.col("_deleted")).select(COMPARED)]))


def state(place: Place, contender: str) -> State:
    """Return what a contender's table holds."""
    if contender in OWN:
        return state_of(scan(place.location(contender)))
    with tempfile.TemporaryDirectory(dir=place.folder) as target:
        outsider(place, contender, "state", target)
        return state_of(pl.scan_parquet(f"{target}/**/*.parquet"))


def in_new_process(*command: str) -> dict[str, Any]:
    """Run Python with some arguments; return the JSON of the last line that it prints."""
    environment = {"RUST_LOG": "error", **os.environ}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def outsider(place: Place, contender: str, verb: str, *files: str) -> dict[str, Any]:
    """Let a contender of `replica_contenders.py` do something."""
    script, folder = str(HERE / "replica_contenders.py"), str(place.folder / contender.replace("/", "-"))
    return in_new_process(str(BENCH_PYTHON), "-W", "ignore", script, contender, verb, folder, *files)


def why_not(contender: str, rows: int, changes: int, store: str) -> str:
    """Return why a contender is left out, "" if it is not."""
    if contender in OWN:
        return ""
    kind = OUTSIDERS[contender]
    if store != "disk":
        return "measured on the disk alone"
    if rows > kind.largest_rows or changes > kind.largest_changes:
        return f"with over {kind.largest_rows:,} rows or {kind.largest_changes:,} changes it takes too long"
    if not BENCH_PYTHON.exists():
        return "there is no .venv-bench; run it by make"
    script = str(HERE / "replica_contenders.py")
    command = [str(BENCH_PYTHON), "-W", "ignore", script, contender, "check", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, env={"RUST_LOG": "error", **os.environ})
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def build(place: Place, rows: int, contenders: list[str]) -> None:
    """Make each contender's table."""
    (place.folder / "rows").mkdir()
    (place.folder / "windows").mkdir()
    for number, (_, frames) in enumerate(bootstrap_rows(rows)):
        for frame in frames:
            target = place.folder / "rows" / f"{number:05}.parquet"
            frame.select(TAKEN).write_parquet(target, compression="zstd", compression_level=3)
    place.change_log().add_columns(COLUMNS)
    files = place.rows_files()
    for contender in contenders:
        begin = time.perf_counter()
        if contender in OWN:
            in_new_process(*this_script(place, contender, "--build"))
        else:
            outsider(place, contender, "build", *files)
        print(f"built {contender}: {time.perf_counter() - begin:.1f} s", file=sys.stderr, flush=True)


def this_script(place: Place, contender: str, *arguments: str) -> list[str]:
    """The command of a process that does something with one of the Delta tables of our own."""
    where = ["--folder", str(place.folder), "--endpoint", place.endpoint]
    return [sys.executable, __file__, *where, "--contender", contender, *arguments]


def build_own(place: Place, contender: str) -> None:
    """Make a table by a bootstrap of ours, in this very process."""
    replica = place.replica(contender)
    files = place.rows_files()
    shards = [(Path(file).stem, iter([file])) for file in files]
    with measured() as took:
        rows = ((name, map(pl.read_parquet, each)) for name, each in shards)
        replica.stage_bootstrap("01", T, COLUMNS, rows)
        replica.commit_bootstrap("01")
    told_of(took)


def apply_own(place: Place, contender: str, number: int) -> None:
    """Apply a window in this very process, and tell what that took."""
    replica = place.replica(contender)
    source = pl.read_parquet(place.changes_file(number)) if contender == MERGE else None
    from deltalake import DeltaTable, WriterProperties

    values = {name: f"s.{name}" for name in TAKEN}
    newer = "s._write_time_us > t._write_time_us"
    with measured() as took:
        if source is None:
            replica.apply(window(number))
        else:
            (
                DeltaTable(replica.location.uri, storage_options=replica.location.options)
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
    told_of(took)


def apply(place: Place, contender: str, number: int) -> dict[str, Any]:
    """Let a contender apply a window; tell what that took, with what S3 was asked."""
    before = replica_s3.counts(place.endpoint) if place.endpoint else None
    if contender in OWN:
        told = in_new_process(*this_script(place, contender, "--apply", str(number)))
    else:
        told = outsider(place, contender, "apply", str(place.changes_file(number)))
    if before is not None:
        counted = replica_s3.counts(place.endpoint) - before
        told |= {name: counted[name] for name in ("requests", "bytes_written", "bytes_read")}
    return told


def compare(place: Place, rows: int, changes: int, contenders: list[str], windows: range) -> list[Row]:
    """Apply some windows by every contender in turns."""
    found: dict[str, list[tuple[dict[str, Any], int]]] = {each: [] for each in contenders}
    log = place.change_log()
    for number in windows:
        frame = window_changes(number, rows, changes)
        frame.write_parquet(place.changes_file(number))
        changed = decode(log, number, frame)
        del frame
        for contender in contenders:
            told = apply(place, contender, number)
            found[contender].append((told, changed))
            print(f"  window {number} {contender}: {told}", file=sys.stderr, flush=True)
    made = [
        Row(
            rows=rows,
            changes=changes,
            contender=contender,
            seconds=median(told["seconds"] for told, _ in each),
            cpu_seconds=median(told["cpu_seconds"] for told, _ in each),
            bytes_written=int(median(told["bytes_written"] for told, _ in each)),
            amplification=median(told["bytes_written"] / changed for told, changed in each),
            peak_mb=max(told["peak_mb"] for told, _ in each),
            rounds=len(windows),
            store="s3" if place.endpoint else "disk",
            note=OUTSIDERS[contender].note if contender in OUTSIDERS else "",
            requests=int(median(told["requests"] for told, _ in each)) if place.endpoint else None,
            bytes_read=int(median(told["bytes_read"] for told, _ in each)) if place.endpoint else None,
        )
        for contender, each in found.items()
    ]
    merge = next((row for row in made if row.contender == MERGE), None)
    return [with_ratios(row, merge) for row in made]


def with_ratios(row: Row, merge: Row | None) -> Row:
    """Set a contender beside MERGE, if that was measured."""
    if merge is None:
        return row
    return replace(
        row,
        ratio_to_merge=merge.seconds / row.seconds,
        cpu_ratio_to_merge=merge.cpu_seconds / row.cpu_seconds,
    )


def compare_states(place: Place, contenders: list[str], windows: int) -> bool:
    """Tell whether all tables hold what they have to; print those that don't."""
    wanted = expected(place, windows)
    wrong = {contender: found for contender in contenders if (found := state(place, contender)) != wanted}
    for contender, found in wrong.items():
        print(f"{contender} holds other rows than it has to: {found} instead of {wanted}")
    if not wrong:
        print(f"All hold the same {wanted[0]:,} rows, as they have to.")
    return not wrong


def show(rows: list[Row]) -> None:
    """Print a table."""
    titles = f"{'contender':<28} {'s':>9} {'CPU s':>9} {'MB':>9} {'× changed':>10} {'peak MB':>8} {'× MERGE':>9}"
    print(f"{titles} {'(CPU)':>8}{'  requests' if rows[0].store == 's3' else ''}")
    for row in rows:
        ratios = [f"{each:,.1f}" if each else "" for each in (row.ratio_to_merge, row.cpu_ratio_to_merge)]
        requests = "" if row.requests is None else f" {row.requests:>9}"
        print(
            f"{row.contender:<28} {row.seconds:>9.3f} {row.cpu_seconds:>9.3f} {row.bytes_written / 1e6:>9.2f} "
            f"{row.amplification:>10.2f} {row.peak_mb:>8.0f} {ratios[0]:>9}{ratios[1]:>9}{requests}"
        )


def run(place: Place, rows: int, sizes: list[int], wanted: list[str], rounds: int) -> tuple[list[Row], bool]:
    """Measure windows of several sizes on the same tables, the smaller first."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {rows:,} rows", flush=True)
    reasons = {each: why_not(each, rows, min(sizes), "s3" if place.endpoint else "disk") for each in wanted}
    for contender, reason in reasons.items():
        if reason:
            print(f"left out: {contender}: {reason}")
    contenders = [each for each in wanted if not reasons[each]]
    build(place, rows, contenders)
    made: list[Row] = []
    alike = True
    done = 0
    for changes in sorted(sizes):
        for contender in list(contenders):
            reason = why_not(contender, rows, changes, "s3" if place.endpoint else "disk")
            if reason:
                # It has seen all windows so far, and will see none any more: its rows are compared now.
                alike &= compare_states(place, [contender], done)
                print(f"left out: {contender}: {reason}")
                contenders.remove(contender)
        print(f"{changes:,} changes a window, {rounds} windows:", flush=True)
        found = compare(place, rows, changes, contenders, range(done, done + rounds))
        done += rounds
        show(found)
        made += found
    alike &= compare_states(place, contenders, done)
    return made, alike


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table (default: %(default)s)")
    parser.add_argument("--changes", default="10000", help="changes of a window; may be several: 1000,10000")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="windows (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--contenders", default=",".join([*OWN, *OUTSIDERS]), help="(default: %(default)s)")
    parser.add_argument("--without", default="", help="those of them to leave out")
    parser.add_argument("--store", choices=["disk", "s3"], default="disk", help="where the tables are")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", default="", help=argparse.SUPPRESS)
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--apply", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build_own(Place(options.folder, options.endpoint), options.contender)
        return 0
    if options.apply is not None:
        apply_own(Place(options.folder, options.endpoint), options.contender, options.apply)
        return 0
    wanted = [each for each in options.contenders.split(",") if each not in options.without.split(",")]
    unknown = set(wanted) - {*OWN, *OUTSIDERS}
    if unknown:
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory(prefix="ddb_lake_bench_") as temporary:
        folder = Path(temporary)
        # Each run has its own copies of the key index's segments, which tables on S3 have.
        os.environ["DDB_LAKE_CACHE"] = str(folder / "cache")
        with replica_s3.server() if options.store == "s3" else nullcontext("") as endpoint:
            sizes = [int(each) for each in options.changes.split(",")]
            rows, alike = run(Place(folder, endpoint), options.rows, sizes, wanted, options.rounds)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
