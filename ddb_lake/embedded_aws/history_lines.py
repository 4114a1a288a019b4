"""The lines of a history while it is being written: on disk, found by their keys.

A history may be larger than memory. Its lines come in any order of keys, and are needed key by key.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ddb_lake.embedded_aws.errors import ControlError

_CACHE_KIB = 16_000

_SCHEMA = """
CREATE TABLE line (
    number INTEGER PRIMARY KEY, key BLOB NOT NULL, us INTEGER NOT NULL, image BLOB, size INTEGER NOT NULL
) STRICT;
CREATE TABLE idle (number INTEGER PRIMARY KEY) STRICT;
"""


class HistoryLine(NamedTuple):
    """A line: its number from 1, encoded key, time in µs, the item as JSON (None for a delete) and its size (0)."""

    number: int
    key: bytes
    us: int
    image: bytes | None
    size: int


class HistoryLines:
    """Holds lines in a temporary file, which SQLite removes at the end; a short history stays in its cache.

    Every method raises ControlError if the file can't be written.
    """

    def __init__(self) -> None:
        with _writing():
            self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            # Nobody ever reads this file again: nothing needs to survive.
            self._db.execute("PRAGMA journal_mode = OFF")
            self._db.execute("PRAGMA synchronous = OFF")
            self._db.executescript(_SCHEMA)
            self._db.execute("BEGIN")

    def close(self) -> None:
        """Remove the file."""
        self._db.close()

    def add(self, lines: Iterable[HistoryLine]) -> None:
        """Take in lines in the order of their numbers."""
        with _writing():
            self._db.executemany("INSERT INTO line VALUES (?, ?, ?, ?, ?)", lines)

    def sort(self) -> None:
        """Make lines be found by their keys; none are added any more."""
        with _writing():
            self._db.execute("CREATE INDEX line_by_key ON line (key, number, us, size)")

    def mark_idle(self, numbers: Iterable[int]) -> None:
        """Take note of lines that change nothing."""
        with _writing():
            self._db.executemany("INSERT INTO idle VALUES (?)", [(number,) for number in numbers])

    def first_before(self, us: int) -> tuple[int, int] | None:
        """Return number and time of the first line that is of a time before this one."""
        with _writing():
            return self._db.execute(
                "SELECT number, us FROM line INDEXED BY line_by_key WHERE us < ? ORDER BY number LIMIT 1", (us,)
            ).fetchone()

    def outlines(self) -> Iterator[tuple[bytes, int, int, int]]:
        """Yield key, number, time and size of every line, in the order of keys and numbers."""
        with _writing():
            yield from self._db.execute(
                "SELECT key, number, us, size FROM line INDEXED BY line_by_key ORDER BY key, number"
            )

    def effective(self) -> Iterator[tuple[bytes, int, bytes | None, int]]:
        """Yield key, time, image and size of the lines that are not idle, in the order of keys and numbers."""
        with _writing():
            yield from self._db.execute(
                "SELECT key, us, image, size FROM line INDEXED BY line_by_key "
                "WHERE number NOT IN (SELECT number FROM idle) ORDER BY key, number"
            )

    def keys(self) -> Iterator[bytes]:
        """Yield every key once, in their order."""
        with _writing():
            for (key,) in self._db.execute("SELECT DISTINCT key FROM line INDEXED BY line_by_key ORDER BY key"):
                yield key

    def of_key(self, key: bytes) -> list[tuple[int, int]]:
        """Return number and time of the lines of a key, in their order."""
        with _writing():
            return self._db.execute("SELECT number, us FROM line WHERE key = ? ORDER BY number", (key,)).fetchall()

    def image_of(self, key: bytes) -> bytes | None:
        """Return an image of a key, None if it has nothing but deletes."""
        with _writing():
            row = self._db.execute("SELECT image FROM line WHERE key = ? AND size > 0 LIMIT 1", (key,)).fetchone()
        return row and row[0]


@contextmanager
def _writing() -> Iterator[None]:
    """Refuse the history if its file can't be written; the journal is not harmed."""
    try:
        yield
    except sqlite3.Error as error:
        raise ControlError(
            f"the history can't be held in a temporary file ({error}); make room in the folder that SQLITE_TMPDIR or "
            "TMPDIR names, or send it in parts; nothing was written"
        ) from error
