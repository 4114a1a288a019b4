"""A small source table to write histories of: its columns, its changes as frames, and where its tables lie."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from pathlib import Path

import polars as pl
from deltalake import CommitProperties, DeltaTable

from ddb_lake.replica import ChangeLog, Column, Location, PartitionColumn, Replica
from ddb_lake.replica.strategy import Strategy
from ddb_lake.windows import Window, to_us

TABLE_ID = "b6a1c7f0-0000-4000-8000-000000000001"
T = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)
"""The time of the full export that the tests bootstrap from."""

DECIMAL = pl.Decimal(38, 18)


def told(attribute: str, arm: str, key: str | None = None) -> dict[str, str]:
    return {"ddb_lake.attribute": attribute, "ddb_lake.arm": arm} | ({"ddb_lake.key": key} if key else {})


ID = Column("id", pl.String(), told("id", "string", "HASH"))
SEQUENCE = Column("seq", pl.Int64(), told("seq", "int64", "RANGE"))
SEQUENCE_DECIMAL = Column("seq__decimal", DECIMAL, told("seq", "decimal", "RANGE"))
VALUE = Column("value", pl.String(), told("value", "string"))
COLUMNS = (ID, SEQUENCE, SEQUENCE_DECIMAL, VALUE)


def minute(minutes: float) -> datetime:
    return T + timedelta(minutes=minutes)


def us(minutes: float) -> int:
    return to_us(minute(minutes))


def window(start: float, end: float) -> Window:
    """The window of some minutes after T."""
    return Window(minute(start), minute(end))


@dataclass(frozen=True)
class Key:
    id: str
    seq: int | Decimal = 0

    @property
    def hash(self) -> int:
        """Few values, so that different keys collide; of ids that begin with ~ spread ones, as real hashes are."""
        if self.id.startswith("~"):
            digest = blake2b(f"{self.id} {self.seq}".encode(), digest_size=8).digest()
            return int.from_bytes(digest, "little", signed=True)
        return len(self.id) + (1 if isinstance(self.seq, Decimal) else 0)

    def row(self) -> dict[str, object]:
        whole = isinstance(self.seq, int)
        return {"id": self.id, "seq": self.seq if whole else None, "seq__decimal": None if whole else self.seq}


@dataclass(frozen=True)
class Change:
    """A put of a value, or a delete where the value is None."""

    key: Key
    time_us: int
    value: str | None
    tie: int = 0

    @property
    def order(self) -> tuple[int, bool, int]:
        return (self.time_us, self.value is None, self.tie)


def put(key: str, minutes: float, value: str, tie: int = 0) -> Change:
    return Change(Key(key), us(minutes), value, tie)


def delete(key: str, minutes: float) -> Change:
    return Change(Key(key), us(minutes), None)


METADATA = {"_key_hash": pl.Int64, "_write_time_us": pl.Int64, "_tie_break": pl.Int64}


def change_frame(changes: Iterable[Change], columns: Iterable[Column] = COLUMNS, **more: object) -> pl.DataFrame:
    """Changes as the decoder hands them over; `more` are values of further columns for every put."""
    schema: dict[str, object] = {**METADATA, "_deleted": pl.Boolean, **{c.name: c.dtype for c in columns}}
    rows = [
        {
            "_key_hash": each.key.hash,
            "_write_time_us": each.time_us,
            "_tie_break": each.tie,
            "_deleted": each.value is None,
            **each.key.row(),
            **({} if each.value is None else {"value": each.value, **more}),
        }
        for each in changes
    ]
    return pl.DataFrame(rows, schema=schema, orient="row")  # type: ignore[arg-type]


def item_frame(items: dict[Key, str], time: datetime = T, columns: Iterable[Column] = COLUMNS) -> pl.DataFrame:
    """Items of a full export as the decoder hands them over."""
    changes = [Change(key, to_us(time) - 1, value) for key, value in items.items()]
    return change_frame(changes, columns).drop("_deleted")


@dataclass(frozen=True)
class Lake:
    """A source table's change log and replica in a folder."""

    log: ChangeLog
    replica: Replica

    def bootstrap(self, items: dict[Key, str], export_id: str = "01-export", time: datetime = T) -> None:
        self.log.add_columns(COLUMNS)
        self.stage(items, export_id, time)
        self.replica.commit_bootstrap(export_id)

    def stage(self, items: dict[Key, str], export_id: str = "01-export", time: datetime = T) -> None:
        """Stage the items in two shards."""
        shards: list[dict[Key, str]] = [{}, {}]
        for number, (key, value) in enumerate(items.items()):
            shards[number % 2][key] = value
        self.replica.stage_bootstrap(
            export_id,
            time,
            self.log.columns() or COLUMNS,
            [(f"data/{n}.json.gz", self._blocks(shard, time)) for n, shard in enumerate(shards)],
        )

    def _blocks(self, items: dict[Key, str], time: datetime) -> Iterator[pl.DataFrame]:
        yield item_frame({}, time, self.log.columns() or COLUMNS)
        yield item_frame(items, time, self.log.columns() or COLUMNS)

    def decode(self, span: Window, changes: Iterable[Change]) -> None:
        self.log.add_columns(COLUMNS)
        self.log.replace(span, [change_frame(changes)])

    def items(self) -> dict[Key, str]:
        """What the replica holds, read as any user would."""
        rows = self.replica.scan().collect().to_dicts()
        items = {
            Key(row["id"], row["seq"] if row["seq__decimal"] is None else row["seq__decimal"]): row["value"]
            for row in rows
        }
        assert len(items) == len(rows), f"keys occur twice: {rows}"
        return items


class Wanted:
    """How the replicas of `lake` are written where a test does not say: conftest runs every module both ways."""

    strategy = Strategy.DELETION_VECTORS


def lake(
    folder: Path,
    table_id: str = TABLE_ID,
    strategy: Strategy | None = None,
    partitioning: Iterable[PartitionColumn] = (),
) -> Lake:
    log = ChangeLog(Location(str(folder / "changes")), table_id)
    location = Location(str(folder / "replica"))
    return Lake(log, Replica(location, table_id, log, strategy or Wanted.strategy, partitioning))


def writes(history: Iterable[Change], items: dict[Key, str] | None = None) -> list[Change]:
    """The history in order, without deletes of keys that are not there: DynamoDB writes nothing then."""
    alive = set(items or {})
    written: list[Change] = []
    for change in sorted(history, key=lambda each: each.order):
        if change.value is not None:
            alive.add(change.key)
        elif change.key in alive:
            alive.remove(change.key)
        else:
            continue
        written.append(change)
    return written


def exported(history: Iterable[Change], span: Window, items: dict[Key, str] | None = None) -> list[Change]:
    """What an incremental export shows of a window: net effects.

    It has each key's last change, unless the key was neither there before nor after. `items` were there before
    the history began.
    """
    before = set(items or {})
    last: dict[Key, Change] = {}
    for change in writes(history, items):
        if change.time_us < span.start_us:
            (before.discard if change.value is None else before.add)(change.key)
        elif change.time_us < span.end_us:
            last[change.key] = change
    return [change for key, change in last.items() if key in before or change.value is not None]


def state(items: dict[Key, str], history: Iterable[Change], until: datetime) -> dict[Key, str]:
    """The model: what the source table holds just before a time, by the changes from T on."""
    held = dict(items)
    for change in sorted(history, key=lambda each: each.order):
        if us(0) <= change.time_us < to_us(until):
            if change.value is None:
                held.pop(change.key, None)
            else:
                held[change.key] = change.value
    return held


def foreign_commit(location: Location) -> None:
    """What another tool might commit: it says nothing of coverage."""
    table = DeltaTable(location.uri)
    table.create_write_transaction(
        [],
        mode="append",
        schema=table.schema(),
        partition_by=table.metadata().partition_columns,
        commit_properties=CommitProperties(custom_metadata={"userMetadata": "nightly maintenance"}),
    )


def forget_commits(location: Location) -> None:
    """A checkpoint, and the cleanup of everything before it, with somebody else's commit on top."""
    table = DeltaTable(location.uri)
    table.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
    foreign_commit(location)
    table = DeltaTable(location.uri)
    table.create_checkpoint()
    table.cleanup_metadata()
    kept = sorted((Path(location.uri) / "_delta_log").glob("*.json"))
    assert [int(path.stem) for path in kept] == [table.version()], "only the foreign commit is left"
