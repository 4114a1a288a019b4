"""The journal: every write of every table with its time, in SQLite, and all else that a restart brings back.

It stores and finds; it knows nothing of AWS's rules. Callers hold the embedded AWS's lock.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ddb_lake.embedded_aws.errors import JournalError

_FORMAT = 1

# The versions of a table lie on disk in the order of their keys, and those of a key in the order of time:
# a full export is one pass over them. The index by time finds the keys that an incremental export is about.
_SCHEMA = f"""
CREATE TABLE source_table (
    number INTEGER PRIMARY KEY, table_id TEXT NOT NULL UNIQUE, record BLOB NOT NULL
) STRICT;
CREATE TABLE table_request (
    number INTEGER PRIMARY KEY, table_id TEXT NOT NULL, operation TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE TABLE version (
    table_number INTEGER NOT NULL, key BLOB NOT NULL, us INTEGER NOT NULL,
    sequence INTEGER NOT NULL, image BLOB, size INTEGER NOT NULL,
    PRIMARY KEY (table_number, key, us)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_by_time ON version (table_number, us);
CREATE TABLE export (arn TEXT PRIMARY KEY, record BLOB NOT NULL) STRICT;
CREATE TABLE bucket (name TEXT PRIMARY KEY, region TEXT NOT NULL) STRICT;
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), state BLOB NOT NULL) STRICT;
CREATE TABLE sequence (one INTEGER PRIMARY KEY CHECK (one = 1), newest INTEGER NOT NULL) STRICT;
INSERT INTO sequence VALUES (1, 0);
PRAGMA user_version = {_FORMAT};
"""


@dataclass(frozen=True)
class Version:
    """What a key's item became at one time.

    Attributes:
        key: The encoded primary key.
        us: The write time in µs since the epoch.
        image: The item as DynamoDB JSON, or None for a delete.
        size: The item's size in bytes; 0 for a delete.
    """

    key: bytes
    us: int
    image: bytes | None
    size: int


@dataclass(frozen=True)
class Change:
    """A key that was written in a window: its images before the window and at the window's end.

    Attributes:
        key: The encoded primary key.
        us: The time of the last write in the window, in µs since the epoch.
        old: The item before the window as DynamoDB JSON, or None if there was none.
        new: The item at the window's end, or None if there was none.
        size: The bytes of both images.
    """

    key: bytes
    us: int
    old: bytes | None
    new: bytes | None
    size: int


@dataclass(frozen=True)
class TableRequest:
    """An accepted request that shaped a table, to be sent again after a restart."""

    table_id: str
    operation: str
    body: bytes


@dataclass(frozen=True)
class Bucket:
    """A bucket that exists."""

    name: str
    region: str


class Journal:
    """The journal in a file, or in memory only.

    Args:
        path: The SQLite file, created if absent; None keeps the journal in memory.

    Raises:
        JournalError: If the file is no journal or is of another format, or another process holds it.
    """

    def __init__(self, path: Path | None) -> None:
        self._name = str(path or ":memory:")
        try:
            self._db = sqlite3.connect(self._name, check_same_thread=False, isolation_level=None, timeout=1)
            # One process holds a journal: two would stamp writes without knowing of each other.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            # Survives the end of the process at any time; a power cut may cost the newest writes.
            self._db.execute("PRAGMA synchronous = NORMAL")
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            is_new = not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if is_new:
                self._db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
            with self._transaction():
                pass  # takes the exclusive lock now, not with the first write
        except sqlite3.Error as error:
            raise JournalError(
                f"{self._name} can't be used as the journal ({error}); stop the process that holds it, "
                "or name another file"
            ) from error
        if not is_new and found != _FORMAT:
            self._db.close()
            raise JournalError(
                f"{self._name} is a database of format {found}, and a journal has format {_FORMAT}; name another file"
            )
        self._table_numbers: dict[str, int] = dict(self._db.execute("SELECT table_id, number FROM source_table"))

    def close(self) -> None:
        """Close the file; the journal can't be used any more."""
        self._db.close()

    # Tables

    def add_table(self, table_id: str, record: bytes, request: TableRequest) -> None:
        """Record a new table and the request that has created it."""
        with self._transaction():
            cursor = self._db.execute("INSERT INTO source_table (table_id, record) VALUES (?, ?)", (table_id, record))
            self._insert_request(request)
        assert cursor.lastrowid is not None
        self._table_numbers[table_id] = cursor.lastrowid

    def replace_table(self, table_id: str, record: bytes) -> None:
        """Replace what is recorded of a table."""
        self._db.execute("UPDATE source_table SET record = ? WHERE table_id = ?", (record, table_id))

    def add_table_request(self, request: TableRequest) -> None:
        """Record a request that has changed a table's settings."""
        self._insert_request(request)

    def tables(self) -> list[bytes]:
        """Return the records of all tables, deleted ones included, in the order of their creation."""
        return [record for (record,) in self._db.execute("SELECT record FROM source_table ORDER BY number")]

    def table_requests(self, table_id: str) -> list[TableRequest]:
        """Return the requests that shaped a table, oldest first."""
        rows = self._db.execute(
            "SELECT table_id, operation, body FROM table_request WHERE table_id = ? ORDER BY number", (table_id,)
        )
        return [TableRequest(*row) for row in rows]

    # Versions

    def append(self, versions: Iterable[tuple[str, Version]]) -> None:
        """Record versions, each with its table's id, all or none of them; returns once they are committed."""
        with self._transaction():
            (newest,) = self._db.execute("SELECT newest FROM sequence").fetchone()
            rows = [
                (self._table_numbers[table_id], each.key, each.us, sequence, each.image, each.size)
                for sequence, (table_id, each) in enumerate(versions, newest + 1)
            ]
            self._db.executemany("INSERT INTO version VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._db.execute("UPDATE sequence SET newest = ?", (newest + len(rows),))

    def sequence(self) -> int:
        """Return the number of the newest version: together with a time it names a snapshot for ever."""
        (newest,) = self._db.execute("SELECT newest FROM sequence").fetchone()
        return newest

    def newest(self, table_id: str, key: bytes) -> Version | None:
        """Return the newest version of a key, which may be a delete, or None if it was never written."""
        row = self._db.execute(
            "SELECT key, us, image, size FROM version WHERE table_number = ? AND key = ? ORDER BY us DESC LIMIT 1",
            (self._table_numbers[table_id], key),
        ).fetchone()
        return row and Version(*row)

    def newest_us(self) -> int:
        """Return the time of the newest write of all, in µs since the epoch; 0 if there is none."""
        newest = self._db.execute(
            "SELECT max((SELECT max(us) FROM version WHERE table_number = number)) FROM source_table"
        ).fetchone()[0]
        return newest or 0

    def oldest_us(self, table_id: str) -> int | None:
        """Return the time of a table's oldest write, in µs since the epoch, or None if there is none."""
        return self._db.execute(
            "SELECT min(us) FROM version WHERE table_number = ?", (self._table_numbers[table_id],)
        ).fetchone()[0]

    def items(self, table_id: str, before_us: int, sequence: int) -> Iterator[Version]:
        """Yield a table's items as they were just before a time, in the order of their keys.

        Args:
            table_id: The table.
            before_us: Writes at or after this time, in µs since the epoch, don't count.
            sequence: Versions with a greater number than this don't count either.
        """
        # SQLite takes the bare columns of such a query from the row that holds the maximum.
        rows = self._db.execute(
            "SELECT key, max(us), image, size FROM version WHERE table_number = ? AND us < ? AND sequence <= ? "
            "GROUP BY key ORDER BY key",
            (self._table_numbers[table_id], before_us, sequence),
        )
        return (Version(*row) for row in rows if row[2] is not None)

    def changes(self, table_id: str, start_us: int, end_us: int, sequence: int) -> Iterator[Change]:
        """Yield the keys that were written in `[start_us, end_us)`, in their order, at most once each.

        A key that existed neither before the window nor at its end is left out.
        """
        rows = self._db.execute(
            """
            SELECT latest.key, latest.us, earlier.image, latest.image, latest.size + coalesce(earlier.size, 0)
            FROM (
                SELECT key, max(us) AS us, image, size FROM version INDEXED BY version_by_time
                WHERE table_number = :table AND us >= :start AND us < :end AND sequence <= :sequence GROUP BY key
            ) AS latest
            LEFT JOIN version AS earlier ON earlier.table_number = :table AND earlier.key = latest.key
                AND earlier.us = (
                    SELECT max(us) FROM version AS before WHERE before.table_number = :table
                    AND before.key = latest.key AND before.us < :start AND before.sequence <= :sequence
                )
            ORDER BY latest.key
            """,
            {
                "table": self._table_numbers[table_id],
                "start": start_us,
                "end": end_us,
                "sequence": sequence,
            },
        )
        return (Change(*row) for row in rows if row[2] is not None or row[3] is not None)

    # Exports, buckets, clock

    def put_export(self, arn: str, record: bytes) -> None:
        """Record an export, or replace what is recorded of it."""
        self._db.execute("INSERT OR REPLACE INTO export VALUES (?, ?)", (arn, record))

    def exports(self) -> list[bytes]:
        """Return the records of all exports in the order of their ARNs."""
        return [record for (record,) in self._db.execute("SELECT record FROM export ORDER BY arn")]

    def put_bucket(self, bucket: Bucket) -> None:
        """Record that a bucket exists."""
        self._db.execute("INSERT OR REPLACE INTO bucket VALUES (?, ?)", (bucket.name, bucket.region))

    def remove_bucket(self, name: str) -> None:
        """Record that a bucket exists no more."""
        self._db.execute("DELETE FROM bucket WHERE name = ?", (name,))

    def buckets(self) -> list[Bucket]:
        """Return the buckets that exist."""
        return [Bucket(*row) for row in self._db.execute("SELECT name, region FROM bucket ORDER BY name")]

    def put_clock(self, state: bytes) -> None:
        """Record the state of the clock."""
        self._db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?)", (state,))

    def clock(self) -> bytes | None:
        """Return the recorded state of the clock, if there is one."""
        row = self._db.execute("SELECT state FROM clock").fetchone()
        return row and row[0]

    def _insert_request(self, request: TableRequest) -> None:
        self._db.execute(
            "INSERT INTO table_request (table_id, operation, body) VALUES (?, ?, ?)",
            (request.table_id, request.operation, request.body),
        )

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._db)


class _Transaction:
    """Commits at the end of the block, or rolls back if the block or the commit fails."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, exception_type: object, *_: object) -> None:
        if exception_type is None:
            self._db.execute("COMMIT")
        else:
            self._db.execute("ROLLBACK")
