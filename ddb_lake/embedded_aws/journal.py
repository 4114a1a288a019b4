"""The journal: every write of every table with its time, in SQLite, and all else that a restart brings back.

It stores and finds; it knows nothing of AWS's rules. Callers hold the embedded AWS's lock.
"""

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from pathlib import Path

from ddb_lake.embedded_aws.errors import JournalError
from ddb_lake.embedded_aws.file_lock import FileLock
from ddb_lake.embedded_aws.versions import Version, Versions

_FORMAT = 2
_CACHE_KIB = 64_000
_PAGE_BYTES = 16_384
_CHECKPOINT_PAGES = 4_000
_KEYS_AT_ONCE = 500
_KEY_AND_TIME = itemgetter(1, 2)

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
CREATE TABLE transaction_token (
    region TEXT NOT NULL, token TEXT NOT NULL, fingerprint BLOB NOT NULL, us INTEGER NOT NULL,
    PRIMARY KEY (region, token)
) STRICT, WITHOUT ROWID;
CREATE TABLE export (arn TEXT PRIMARY KEY, record BLOB NOT NULL) STRICT;
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), state BLOB NOT NULL) STRICT;
CREATE TABLE sequence (one INTEGER PRIMARY KEY CHECK (one = 1), newest INTEGER NOT NULL) STRICT;
INSERT INTO sequence VALUES (1, 0);
PRAGMA user_version = {_FORMAT};
"""


@dataclass(frozen=True)
class TableRequest:
    """An accepted request that shaped a table, to be sent again after a restart."""

    table_id: str
    operation: str
    body: bytes


@dataclass(frozen=True)
class TransactionToken:
    """A transaction that was done, as its ClientRequestToken names it.

    Attributes:
        region: The region that it was sent to.
        token: The ClientRequestToken.
        fingerprint: Equal for requests that ask for the same.
        us: When it was done, in µs since the epoch.
    """

    region: str
    token: str
    fingerprint: bytes
    us: int


class Journal(Versions):
    """The journal in a file.

    Args:
        path: The SQLite file, created if absent; None keeps the journal in a file that is removed at the end.

    Raises:
        JournalError: If the file is no journal or is of another format, or another process holds it.
    """

    def __init__(self, path: Path | None) -> None:
        self._temporary = None if path is not None else tempfile.TemporaryDirectory(prefix="embedded-aws-")
        self._path = Path(self._temporary.name, "aws.sqlite") if self._temporary else Path(path or "")
        # One process holds a journal: two would stamp writes without knowing of each other.
        try:
            self._lock = FileLock(self._path.with_name(f"{self._path.name}.lock"))
        except OSError as error:
            raise JournalError(
                f"{self._path} can't be used as the journal ({error}); stop the process that holds it, "
                "or name another file"
            ) from error
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise

    def _open(self) -> None:
        try:
            db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None, timeout=1)
            # Many versions a page: a history's rows lie all over the file, and each page touched is written anew.
            db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            # Survives the end of the process at any time; a power cut may cost the newest writes.
            db.execute(f"PRAGMA synchronous = {'OFF' if self._temporary else 'NORMAL'}")
            # Keys are in the order of hashes, so that each write of many touches pages all over the file.
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            (found,) = db.execute("PRAGMA user_version").fetchone()
            is_new = not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if is_new:
                db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
        except sqlite3.Error as error:
            raise JournalError(
                f"{self._path} can't be used as the journal ({error}); stop the process that holds it, "
                "or name another file"
            ) from error
        if not is_new and found != _FORMAT:
            db.close()
            raise JournalError(
                f"{self._path} is a database of format {found}, and a journal has format {_FORMAT}; name another file"
            )
        super().__init__(db, dict(db.execute("SELECT table_id, number FROM source_table")))

    def close(self) -> None:
        """Close the file; the journal can't be used any more."""
        self._db.close()
        self._lock.release()
        if self._temporary is not None:
            self._temporary.cleanup()

    @contextmanager
    def reader(self) -> Iterator[Versions]:
        """Open the journal once more, to read versions without the embedded AWS's lock."""
        db = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            yield Versions(db, self._table_numbers)
        finally:
            db.close()

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

    def has_indexes(self, table_id: str) -> bool:
        """Tell whether a request that shaped a table has spoken of secondary indexes."""
        return any(b"SecondaryIndex" in request.body for request in self.table_requests(table_id))

    # Versions

    def append(self, versions: Iterable[tuple[str, Version]]) -> None:
        """Record versions, each with its table's id, all or none of them; returns once they are committed."""
        with self._transaction():
            self._insert_versions(versions)

    def append_transaction(
        self, versions: Iterable[tuple[str, Version]], token: TransactionToken, outdated_us: int
    ) -> None:
        """Record the versions of a transaction together with its token, and forget tokens up to a time."""
        with self._transaction():
            self._insert_versions(versions)
            self._db.execute("DELETE FROM transaction_token WHERE us <= ?", (outdated_us,))
            self._db.execute(
                "INSERT OR REPLACE INTO transaction_token VALUES (?, ?, ?, ?)",
                (token.region, token.token, token.fingerprint, token.us),
            )

    def transaction_token(self, region: str, token: str) -> TransactionToken | None:
        """Return what is recorded of a ClientRequestToken."""
        row = self._db.execute(
            "SELECT region, token, fingerprint, us FROM transaction_token WHERE region = ? AND token = ?",
            (region, token),
        ).fetchone()
        return row and TransactionToken(*row)

    def _insert_versions(self, versions: Iterable[tuple[str, Version]]) -> None:
        (newest,) = self._db.execute("SELECT newest FROM sequence").fetchone()
        rows = [
            (self._table_numbers[table_id], each.key, each.us, sequence, each.image, each.size)
            for sequence, (table_id, each) in enumerate(versions, newest + 1)
        ]
        rows.sort(key=_KEY_AND_TIME)  # as they lie on disk
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

    def newest_of(self, table_id: str, keys: Iterable[bytes]) -> dict[bytes, Version]:
        """Return the newest versions, which may be deletes, of those keys that were ever written."""
        found: dict[bytes, Version] = {}
        pending = iter(sorted(keys))
        while some := list(islice(pending, _KEYS_AT_ONCE)):
            rows = self._db.execute(
                "SELECT key, max(us), image, size FROM version "
                f"WHERE table_number = ? AND key IN ({', '.join('?' * len(some))}) GROUP BY key",
                (self._table_numbers[table_id], *some),
            )
            found |= {row[0]: Version(*row) for row in rows}
        return found

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

    # Exports and clock

    def put_export(self, arn: str, record: bytes) -> None:
        """Record an export, or replace what is recorded of it."""
        self._db.execute("INSERT OR REPLACE INTO export VALUES (?, ?)", (arn, record))

    def exports(self) -> list[bytes]:
        """Return the records of all exports in the order of their ARNs."""
        return [record for (record,) in self._db.execute("SELECT record FROM export ORDER BY arn")]

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
