"""Versions of items as the journal keeps them, and reading a table as it was at any time."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


class Versions:
    """The versions in a journal, by one connection to it.

    Args:
        db: The connection.
        table_numbers: The number of each table in the journal, by its id.
    """

    def __init__(self, db: sqlite3.Connection, table_numbers: dict[str, int]) -> None:
        self._db = db
        self._table_numbers = table_numbers

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
