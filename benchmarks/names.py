"""What attribute names cost: one changed item, and a bootstrap, of tables of ever more names: `make bench-names`.

Each table has 200 items, among which the names are spread: of 10,000 names each item has 50 of its own. Half the
names hold text, half numbers. A window with one changed item is decoded and applied by either strategy; a bootstrap
is learned, decoded, staged and committed. Each measurement is one of a new process, in which all code has run once
on a table of a few names before.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from replica_measure import Took, measured, told_of

from ddb_lake.decoding import (
    ExportFile,
    ItemSchema,
    decode_change_files,
    decode_item_files,
    learn_changes,
    learn_items,
)
from ddb_lake.field_metadata import SINCE
from ddb_lake.keys import KeyAttribute
from ddb_lake.replica import ChangeLog, Column, Replica, Strategy
from ddb_lake.replica.location import Location
from ddb_lake.windows import Window, format_time, to_us

T = datetime(2026, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
TABLE_ID = "11111111-2222-3333-4444-555555555555"
KEY = (KeyAttribute("id", "S", "HASH"),)
ITEMS = 200
WINDOW, BOOTSTRAP = "window", "bootstrap"


@dataclass(frozen=True)
class Row:
    """What was measured.

    Attributes:
        work: A window or a bootstrap.
        strategy: How the replica is written.
        names: Of attributes besides the key.
        seconds: Median of the rounds.
        cpu_seconds: Likewise, of all threads.
        peak_mb: Likewise, the process's highest resident size.
        ratio: How many times the CPU seconds of the first number of names.
    """

    work: str
    strategy: str
    names: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    ratio: float = 1


def item(number: int, names: int, value: int) -> dict[str, object]:
    """An item in DynamoDB JSON with its share of the names."""
    attributes = {
        f"attribute_{name}": {"S": f"value {value}"} if name % 2 else {"N": str(value)}
        for name in range(number * names // ITEMS, (number + 1) * names // ITEMS)
    }
    return {"id": {"S": f"item {number}"}, **attributes}


def export_file(path: Path, lines: Iterable[object]) -> ExportFile:
    """Write a data file of an export."""
    texts = [json.dumps(line) + "\n" for line in lines]
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.writelines(texts)
    return ExportFile(path.name, path, len(texts))


class Table:
    """A table of some names, from its full export on."""

    def __init__(self, folder: Path, names: int, strategy: str, shards: int) -> None:
        folder.mkdir()
        self.names = names
        self.log = ChangeLog(Location(str(folder / "changes")), TABLE_ID)
        self.replica = Replica(Location(str(folder / "replica")), TABLE_ID, self.log, Strategy(strategy))
        lines = [{"Item": item(number, names, 0)} for number in range(ITEMS)]
        self.full = [export_file(folder / f"full-{n}.json.gz", lines[n::shards]) for n in range(shards)]
        self.change = export_file(folder / "change.json.gz", [_changed(item(0, names, 1))])
        self.schema = ItemSchema.empty(KEY)

    def columns(self) -> list[Column]:
        """The columns of the schema, as the lake keeps them."""
        since = {SINCE: format_time(T)}
        return [Column(each.name, each.dtype, {**each.metadata, **since}) for each in self.schema.columns]

    def bootstrap(self) -> None:
        """Learn, decode, stage and commit the full export."""
        self.schema = learn_items(self.full, self.schema)
        with closing(decode_item_files(self.full, self.schema, to_us(T) - 1)) as files:
            shards = ((file.name, decoded.rows()) for file, decoded in files)
            self.replica.stage_bootstrap("01-names", T, self.columns(), shards)
        self.replica.commit_bootstrap("01-names")

    def window(self) -> None:
        """Decode and apply a window with one changed item."""
        self.schema = ItemSchema.from_fields(KEY, [(each.name, each.metadata) for each in self.log.columns()])
        span = Window(T, T + QUARTER)
        with closing(decode_change_files([self.change], self.schema)) as files:
            rows = (rows for _, decoded in files for rows in decoded.rows())
            self.log.commit(self.log.stage(span, rows, self.log.columns()))
        self.replica.apply(span)


def _changed(new: dict[str, object]) -> dict[str, object]:
    metadata = {"WriteTimestampMicros": {"N": str(to_us(T) + 1)}}
    return {"Metadata": metadata, "Keys": {"id": new["id"]}, "NewImage": new}


def measure(work: str, strategy: str, names: int, shards: int) -> None:
    """Measure one piece of work in this process, and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        warm = Table(Path(folder) / "warm", ITEMS, strategy, 2)
        learn_changes([warm.change], warm.schema)
        warm.bootstrap()
        warm.window()
        table = Table(Path(folder) / "table", names, strategy, shards)
        if work == WINDOW:
            table.bootstrap()
        with measured() as took:
            table.window() if work == WINDOW else table.bootstrap()
    told_of(took)


def in_new_process(work: str, strategy: str, names: int, shards: int) -> Took:
    """Measure one piece of work in a process of its own."""
    command = [sys.executable, __file__, "--measure", work, strategy, str(names), str(shards)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Took(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--names", default="200,1000,2000,5000,10000", help="of the tables that a window is applied to"
    )
    parser.add_argument("--bootstraps", default="200,10000,50000", help="of the tables that are bootstrapped")
    parser.add_argument("--shards", type=int, default=4, help="data files of a full export")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="also write the rows there")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        work, strategy, names, shards = options.measure
        measure(work, strategy, int(names), int(shards))
        return
    rows: list[Row] = []
    for work, numbers in ((WINDOW, options.names), (BOOTSTRAP, options.bootstraps)):
        for strategy in (each.value for each in Strategy):
            first: Row | None = None
            for names in map(int, filter(None, numbers.split(","))):
                took = [in_new_process(work, strategy, names, options.shards) for _ in range(options.rounds)]
                values = {name: median(asdict(each)[name] for each in took) for name in ("seconds", "cpu_seconds")}
                row = Row(work, strategy, names, **values, peak_mb=median(each.peak_mb for each in took))
                first = first or row
                row = Row(**{**asdict(row), "ratio": row.cpu_seconds / first.cpu_seconds})
                rows.append(row)
                print(
                    f"{work:9}  {strategy:16}  {names:6} names  {row.seconds:7.2f} s  {row.cpu_seconds:7.2f} s CPU  "
                    f"{row.peak_mb:6.0f} MB  {row.ratio:5.1f} ×",
                    flush=True,
                )
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
