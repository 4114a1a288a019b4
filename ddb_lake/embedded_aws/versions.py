"""Versions of items as the journal keeps them, and reading a table as it was at any time."""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

_KEYS_AT_ONCE = 500


class Version(NamedTuple):
    """What a key's item became at one time.

    Attributes:
        key: The encoded primary key.
        us: The write time in µs since the epoch.
        image: The item as DynamoDB JSON, or None for a delete.
        size: The item's size in bytes; 0 for a delete.
        expires_us: When it expires, if its table has time to live; told to the journal, and not told by it.
    """

    key: bytes
    us: int
    image: bytes | None
    size: int
    expires_us: int | None = None


class Change(NamedTuple):
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


# SQLite takes the bare columns of such a query from the row that holds the maximum. The index alone answers it,
# in the order of the keys.
_LATEST = (
    "SELECT max(us), sequence FROM version INDEXED BY version_by_key "
    "WHERE table_number = :table AND us < :before AND sequence <= :sequence GROUP BY key ORDER BY key"
)


class Versions:
    """The versions in a journal, by one connection to it.

    Args:
        db: The connection.
        table_numbers: The number of each table in the journal, by its id.
    """

    def __init__(self, db: sqlite3.Connection, table_numbers: dict[str, int]) -> None:
        self._db = db
        self._table_numbers = table_numbers

    def sequence(self) -> int:
        """Return the number of the newest version: together with a time it names a snapshot for ever."""
        (newest,) = self._db.execute("SELECT newest FROM sequence").fetchone()
        return newest

    def items(self, table_id: str, before_us: int, sequence: int) -> Iterator[Version]:
        """Yield a table's items as they were just before a time, in the order of their keys.

        Args:
            table_id: The table.
            before_us: Writes at or after this time, in µs since the epoch, don't count.
            sequence: Versions with a greater number than this don't count either.
        """
        rows = self._db.execute(
            f"SELECT version.key, version.us, image, size FROM ({_LATEST}) AS latest "
            "CROSS JOIN version ON version.sequence = latest.sequence",
            {"table": self._table_numbers[table_id], "before": before_us, "sequence": sequence},
        )
        return (Version(*row) for row in rows if row[2] is not None)

    def extent(self, table_id: str, before_us: int, sequence: int) -> tuple[int, int]:
        """Return how many items `items` would yield, and their size in bytes."""
        return self._db.execute(
            f"SELECT count(image), coalesce(sum(size), 0) FROM ({_LATEST}) AS latest "
            "CROSS JOIN version ON version.sequence = latest.sequence",
            {"table": self._table_numbers[table_id], "before": before_us, "sequence": sequence},
        ).fetchone()

    def newest_sizes(self, table_id: str, keys: Iterable[bytes]) -> dict[bytes, tuple[int, int]]:
        """Return time and size of the newest version of those keys that were ever written; a delete's size is 0.

        Args:
            table_id: The table.
            keys: Encoded keys, best in their order.
        """
        found: dict[bytes, tuple[int, int]] = {}
        pending = iter(keys)
        while some := list(islice(pending, _KEYS_AT_ONCE)):
            # The newest of each key by the index alone; its row only where there is one.
            rows = self._db.execute(
                "SELECT version.key, version.us, size FROM ("
                "SELECT max(us), sequence FROM version INDEXED BY version_by_key "
                f"WHERE table_number = ? AND key IN ({', '.join('?' * len(some))}) GROUP BY key"
                ") AS latest CROSS JOIN version ON version.sequence = latest.sequence",
                (self._table_numbers[table_id], *some),
            )
            found |= {key: (us, size) for key, us, size in rows}
        return found

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
