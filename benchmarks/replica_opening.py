"""How long a replica of many commits takes to open, beside delta-rs: `make bench-replica-opening`.

The log is made up, but by our own commit code: every commit is 15 minutes after the one before, marks rows in 20
files, adds one, and every 48th removes the small ones, as a fold does. Every 25th writes a checkpoint, as windows do.
Nothing is cleaned up until the end; then the maintenance's cleanup keeps 7 days of it, and the table is opened again.
Each opening is one of a new process, libraries imported, and the two take turns.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
from deltalake import DeltaTable
from replica_data import COLUMNS, DELETION_VECTORS, Place, T, items, window
from replica_measure import measured, told_of

from ddb_lake.replica.commits import commit_on
from ddb_lake.replica.coverage import Account, Bootstrap, commit_note
from ddb_lake.replica.delta_log import AddFile, Operation, Snapshot, now_ms
from ddb_lake.replica.delta_log.actions import DeletionVector
from ddb_lake.replica.spans import Spans, encode_spans
from ddb_lake.windows import to_us

FULL_FILES = 20
SMALL_FILES = 48
MARKED = 20
ROUNDS = 7
WINDOW_MS = 15 * 60 * 1000
OURS, THEIRS = "ddb_lake", "delta-rs"


@dataclass(frozen=True)
class Opening:
    """What was found."""

    commits: int
    cleaned_up: bool
    contender: str
    ms: float
    """Median of the openings."""
    cpu_ms: float
    log_files: int
    data_files: int


def bootstrap(place: Place) -> None:
    """Make a table of 20 files with a few rows each."""
    place.change_log().add_columns(COLUMNS)
    shards = (
        (f"{number}", iter([items(np.arange(100) + 100 * number, np.full(100, to_us(T) - 1), 0)]))
        for number in range(FULL_FILES)
    )
    replica = place.replica(DELETION_VECTORS)
    replica.stage_bootstrap("01", T, COLUMNS, shards)
    replica.commit_bootstrap("01")


def marked(file: AddFile, dead: int) -> AddFile:
    """A file with a new deletion vector, which nobody reads here."""
    vector = DeletionVector("u", f"_dv/{uuid.uuid4().hex[:20]}", 8 + 2 * dead, dead, 1)
    return replace(file, deletion_vector=vector)


def commit_windows(place: Place, first: int, last: int, commits: int) -> None:
    """Commit windows from the first to before the last; of all the commits the last one is of now.

    What the log tells of time is spread as it would be, so that checkpoints keep as many removed files as they would.
    """
    replica = place.replica(DELETION_VECTORS)
    snapshot = replica.snapshot()
    assert snapshot is not None
    files = dict(snapshot.files)
    account = Account(replica.table_id, bootstrap=Bootstrap("01", T))
    account = account.covering([window(number) for number in range(first)])
    template = next(iter(files.values()))
    begin = now_ms() - commits * WINDOW_MS
    for number in range(first, last):
        at = begin + number * WINDOW_MS
        actions: list[dict[str, object]] = []
        for path in list(files)[:MARKED]:
            actions.append(files[path].remove(at, data_change=True))
            files[path] = marked(files[path], 1 + number % 50)
            actions.append(files[path].add(data_change=True))
        new = replace(template, path=f"part-{uuid.uuid4()}.parquet", modification_time=at, deletion_vector=None)
        files[new.path] = new
        actions.append(new.add(data_change=True))
        if len(files) >= FULL_FILES + SMALL_FILES:
            for path in list(files)[FULL_FILES:-1]:
                actions.append(files.pop(path).remove(at, data_change=True))
        account = account.covering([window(number)])
        note = commit_note(account, {"did": "apply", "exports": encode_spans(Spans().adding([window(number)]))})
        version = commit_on(replica.store, snapshot, actions, note, Operation("MERGE"))
        since = 0 if snapshot.commits_since_checkpoint + 1 >= 25 else snapshot.commits_since_checkpoint + 1
        snapshot = replace(snapshot, number=version, commits_since_checkpoint=since)


def clean_up(place: Place, commits: int) -> None:
    """Clean the log up as the maintenance does, with the files as old as their commits are."""
    location = place.location(DELETION_VECTORS)
    now = time.time()
    for file in (Path(location.uri) / "_delta_log").glob("0*"):
        at = now - (commits - int(file.name[:20])) * WINDOW_MS / 1000
        os.utime(file, (at, at))
    DeltaTable(location.uri).cleanup_metadata()


def open_once(place: Place, contender: str) -> None:
    """Open the table in this very process, and tell what that took."""
    replica = place.replica(DELETION_VECTORS)
    replica.store.names("nothing")  # what a first call imports
    uri = replica.location.uri
    opened: Snapshot | DeltaTable | None
    with measured() as took:
        opened = replica.snapshot() if contender == OURS else DeltaTable(uri)
    assert opened is not None
    told_of(took)


def openings(place: Place, commits: int, cleaned_up: bool) -> Iterator[Opening]:
    """Open the table in turns."""
    snapshot = place.replica(DELETION_VECTORS).snapshot()
    assert snapshot is not None
    theirs = DeltaTable(place.location(DELETION_VECTORS).uri)
    assert (theirs.version(), len(theirs.file_uris())) == (snapshot.number, len(snapshot.files))
    found: dict[str, list[dict[str, float]]] = {OURS: [], THEIRS: []}
    for _ in range(ROUNDS):
        for contender, told in found.items():
            command = [sys.executable, __file__, "--folder", str(place.folder), "--open", contender]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            told.append(json.loads(done.stdout.splitlines()[-1]))
    for contender, told in found.items():
        yield Opening(
            commits=commits,
            cleaned_up=cleaned_up,
            contender=contender,
            ms=1000 * median(each["seconds"] for each in told),
            cpu_ms=1000 * median(each["cpu_seconds"] for each in told),
            log_files=sum(1 for _ in (Path(place.location(DELETION_VECTORS).uri) / "_delta_log").iterdir()),
            data_files=len(snapshot.files),
        )


def run(place: Place, sizes: list[int]) -> Iterator[Opening]:
    """Open a growing table without cleanup, and once with it at the end."""
    bootstrap(place)
    done = 0
    for commits in sorted(sizes):
        begin = time.perf_counter()
        commit_windows(place, done, commits, max(sizes))
        done = commits
        print(f"{commits:,} commits: {time.perf_counter() - begin:.0f} s more", file=sys.stderr, flush=True)
        yield from openings(place, commits, cleaned_up=False)
    clean_up(place, done)
    yield from openings(place, done, cleaned_up=True)


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", default="1000,10000,35000", help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--open", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        open_once(Place(options.folder), options.open)
        return 0
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'commits':>8} {'cleaned up':<10} {'contender':<10} {'ms':>8} {'CPU ms':>8} {'log files':>9} {'data':>5}")
    rows: list[Opening] = []
    with tempfile.TemporaryDirectory(prefix="ddb_lake_bench_") as temporary:
        for row in run(Place(Path(temporary)), [int(each) for each in options.commits.split(",")]):
            rows.append(row)
            cleaned = "yes" if row.cleaned_up else "no"
            print(
                f"{row.commits:>8,} {cleaned:<10} {row.contender:<10} {row.ms:>8.1f} {row.cpu_ms:>8.1f} "
                f"{row.log_files:>9,} {row.data_files:>5}",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
