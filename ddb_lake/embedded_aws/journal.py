"""The journal: every write of every table with its time, in SQLite, and all else that a restart brings back.

It stores and finds; it knows nothing of AWS's rules. Callers hold the embedded AWS's lock.
"""

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ddb_lake.embedded_aws.checkpoints import Checkpoints
from ddb_lake.embedded_aws.errors import JournalError
from ddb_lake.embedded_aws.file_lock import FileLock
from ddb_lake.embedded_aws.versions import Version, Versions

_FORMAT = 3
_CACHE_KIB = 64_000
_READER_CACHE_KIB = 32_000
_PAGE_BYTES = 8_192
_LONGEST_LOG_PAGES = 64_000
"""Of SQLite's write-ahead log, until a commit copies it into the file if its own thread couldn't."""

_ROWS_AT_ONCE = 2_000
_NOTHING = (-1, -1)
_INSERT = "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_EXPIRY = "INSERT OR IGNORE INTO expiry VALUES (?, ?, ?)"

# Versions lie on disk in the order in which they came, so that new ones touch the end of the file alone. A full
# export is one pass over the index by key; the index by time finds the keys that an incremental export is about.
# `unfinished` names the versions of a history that is being written: until it is whole, nobody sees them.
# `expiry` tells when items may expire; what it says of a key may be outdated, but no item's end is missing.
_SCHEMA = f"""
CREATE TABLE source_table (
    number INTEGER PRIMARY KEY, table_id TEXT NOT NULL UNIQUE, record BLOB NOT NULL
) STRICT;
CREATE TABLE table_request (
    number INTEGER PRIMARY KEY, table_id TEXT NOT NULL, operation TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE TABLE version (
    sequence INTEGER PRIMARY KEY, table_number INTEGER NOT NULL, key BLOB NOT NULL, us INTEGER NOT NULL,
    image BLOB, size INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX version_by_key ON version (table_number, key, us);
CREATE INDEX version_by_time ON version (table_number, us);
CREATE TABLE unfinished (first INTEGER NOT NULL, last INTEGER NOT NULL) STRICT;
CREATE TABLE expiry (
    table_number INTEGER NOT NULL, us INTEGER NOT NULL, key BLOB NOT NULL, PRIMARY KEY (table_number, us, key)
) STRICT, WITHOUT ROWID;
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
            # Many keys a page: a history's keys lie all over their index, and each page touched is written anew.
            db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            # Survives the end of the process at any time; a power cut may cost the newest writes.
            synchronous = "OFF" if self._temporary else "NORMAL"
            db.execute(f"PRAGMA synchronous = {synchronous}")
            # Keys are in the order of hashes, so that each write of many touches pages all over their index.
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            db.execute(f"PRAGMA wal_autocheckpoint = {_LONGEST_LOG_PAGES}")
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
        self._hidden: tuple[int, int] = db.execute("SELECT first, last FROM unfinished").fetchone() or _NOTHING
        self._watched: set[bytes] | None = None
        while self.hides and not self.drop_some_of_history():
            pass  # a history that the last process has not finished
        self.checkpoints = Checkpoints(self._path, synchronous, lambda: db.total_changes)

    def close(self) -> None:
        """Close the file; the journal can't be used any more."""
        self.checkpoints.close()
        self._db.close()
        self._lock.release()
        if self._temporary is not None:
            self._temporary.cleanup()

    @contextmanager
    def reader(self) -> Iterator[Versions]:
        """Open the journal once more, to read versions without the embedded AWS's lock."""
        db = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
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
        numbered = [(self._table_numbers[table_id], version) for table_id, version in versions]
        rows = [
            (sequence, number, key, us, image, size)
            for sequence, (number, (key, us, image, size, _)) in enumerate(numbered, self.sequence() + 1)
        ]
        self._db.executemany(_INSERT, rows)
        expiries = [(number, each.expires_us, each.key) for number, each in numbered if each.expires_us is not None]
        if expiries:
            self._db.executemany(_INSERT_EXPIRY, expiries)
        if rows:
            self._db.execute("UPDATE sequence SET newest = ?", (rows[-1][0],))
        if self._watched is not None:
            self._watched |= {row[2] for row in rows}

    # Histories: many versions of one table, written in short transactions, but seen all at once or never

    def watch(self) -> None:
        """Note which keys are written from now on, until the history that follows has ended."""
        self._watched = set()

    def written_meanwhile(self) -> set[bytes]:
        """Return the keys that were written since `watch`."""
        return self._watched or set()

    def begin_history(self, count: int) -> int:
        """Reserve the sequence numbers of so many versions, and return the first one.

        Raises:
            JournalError: If an earlier history was neither finished nor dropped: it would no longer be hidden.
        """
        if self.hides:
            raise JournalError(
                f"{self._path} still has rows of a history that failed; restart the embedded AWS, which removes them"
            )
        first = self.sequence() + 1
        last = first + count - 1
        with self._transaction():
            self._db.execute("UPDATE sequence SET newest = ?", (last,))
            self._db.execute("INSERT INTO unfinished VALUES (?, ?)", (first, last))
        self._hidden = (first, last)
        return first

    def append_hidden(self, table_id: str, first: int, rows: Iterable[tuple[bytes, int, bytes | None, int]]) -> None:
        """Record key, time, image and size of some versions of a history under the numbers from `first` on.

        Nobody sees them before the history is finished.
        """
        number = self._table_numbers[table_id]
        with self._transaction():
            self._db.executemany(
                _INSERT,
                [
                    (sequence, number, key, us, image, size)
                    for sequence, (key, us, image, size) in enumerate(rows, first)
                ],
            )

    def finish_history(self) -> None:
        """Let everybody see the history that was begun; returns once that is committed."""
        self._db.execute("DELETE FROM unfinished")
        self._hidden = _NOTHING

    def drop_some_of_history(self) -> bool:
        """Delete some of the history that was begun, and tell whether there is nothing left of it."""
        first, last = self._hidden
        with self._transaction():
            self._db.execute(
                "DELETE FROM version WHERE sequence IN "
                "(SELECT sequence FROM version WHERE sequence BETWEEN ? AND ? LIMIT ?)",
                (first, last, _ROWS_AT_ONCE),
            )
            (is_left,) = self._db.execute(
                "SELECT count(*) FROM (SELECT 1 FROM version WHERE sequence BETWEEN ? AND ? LIMIT 1)", (first, last)
            ).fetchone()
            if not is_left:
                self._db.execute("DELETE FROM unfinished")
        if not is_left:
            self._hidden = _NOTHING
        return not is_left

    def end_watch(self) -> None:
        """Note no longer which keys are written."""
        self._watched = None

    @property
    def hides(self) -> bool:
        """Whether a history is being written."""
        return self._hidden != _NOTHING

    # Times to live

    def add_expiries(self, table_id: str, expiries: Iterable[tuple[int, bytes]]) -> None:
        """Note when items may expire: times in µs since the epoch, and encoded keys."""
        with self._transaction():
            number = self._table_numbers[table_id]
            self._db.executemany(_INSERT_EXPIRY, [(number, us, key) for us, key in expiries])

    def due(self, table_id: str, until_us: int, most: int) -> list[tuple[int, bytes]]:
        """Return so many at most of the times up to one, and the keys that may expire then; the oldest first."""
        return self._db.execute(
            "SELECT us, key FROM expiry WHERE table_number = ? AND us <= ? ORDER BY us, key LIMIT ?",
            (self._table_numbers[table_id], until_us, most),
        ).fetchall()

    def first_expiry_us(self, table_id: str) -> int | None:
        """Return before which time nothing of a table expires; None if nothing does."""
        return self._db.execute(
            "SELECT min(us) FROM expiry WHERE table_number = ?", (self._table_numbers[table_id],)
        ).fetchone()[0]

    def append_expired(
        self, table_id: str, versions: Iterable[Version], settled: Iterable[tuple[int, bytes]]
    ) -> None:
        """Record the deletes of expired items, and forget the times that were looked at for them."""
        with self._transaction():
            self._insert_versions((table_id, version) for version in versions)
            number = self._table_numbers[table_id]
            self._db.executemany(
                "DELETE FROM expiry WHERE table_number = ? AND us = ? AND key = ?",
                [(number, us, key) for us, key in settled],
            )

    def newest(self, table_id: str, key: bytes) -> Version | None:
        """Return the newest version of a key, which may be a delete, or None if it was never written."""
        row = self._db.execute(
            "SELECT key, us, image, size FROM version WHERE table_number = ? AND key = ? "
            "AND sequence NOT BETWEEN ? AND ? ORDER BY us DESC LIMIT 1",
            (self._table_numbers[table_id], key, *self._hidden),
        ).fetchone()
        return row and Version(*row)

    def newest_image(self, table_id: str, key: bytes) -> bytes:
        """Return the newest item of a key that has had one, though it may have been deleted since."""
        return self._db.execute(
            "SELECT image FROM version WHERE table_number = ? AND key = ? AND image IS NOT NULL "
            "ORDER BY us DESC LIMIT 1",
            (self._table_numbers[table_id], key),
        ).fetchone()[0]

    def page(self, table_id: str, after: bytes, most: int) -> list[Version]:
        """Return the newest versions, which may be deletes, of so many keys at most after one, in their order."""
        rows = self._db.execute(
            "SELECT version.key, version.us, image, size FROM ("
            "SELECT max(us), sequence FROM version INDEXED BY version_by_key "
            "WHERE table_number = ? AND key > ? AND sequence NOT BETWEEN ? AND ? GROUP BY key ORDER BY key LIMIT ?"
            ") AS latest CROSS JOIN version ON version.sequence = latest.sequence",
            (self._table_numbers[table_id], after, *self._hidden, most),
        )
        return [Version(*row) for row in rows]

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
