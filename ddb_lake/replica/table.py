"""What delta-rs is asked for MERGE and for reads, with the conflicts of commits told, and the tries after them."""

import contextlib
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties
from deltalake.exceptions import DeltaError, TableNotFoundError

from ddb_lake.replica.delta_log import Conflict, Note
from ddb_lake.replica.errors import StorageFailed, TooManyConflicts
from ddb_lake.replica.location import Location

TRIES = 16
"""How often an operation is planned again after other writers' commits before it gives up."""

LONGEST_PAUSE = 1.0
"""Seconds that a loser waits at most before it plans again; the wait is random, so that writers spread."""

WRITER = WriterProperties(compression="ZSTD", compression_level=3)

Result = TypeVar("Result")


def properties_of(note: Note) -> CommitProperties:
    """Return a commit's note as delta-rs takes it.

    delta-rs is told not to rebase the commit onto others' (`max_commit_retries=0`): a commit counts on the
    exact version that it was planned from.
    """
    return CommitProperties(
        custom_metadata={"userMetadata": note.user_metadata},
        max_commit_retries=0,
        app_transactions=[Transaction(app_id, number) for app_id, number in note.transactions.items()],
    )


def repeat_on_conflict(location: Location, attempt: Callable[[], Result]) -> Result:
    """Run an attempt, which loads a snapshot, plans and commits, until no other writer interferes.

    Raises:
        TooManyConflicts: If others win `TRIES` times.
    """
    last: Conflict | None = None
    for number in range(TRIES):
        try:
            return attempt()
        except Conflict as conflict:
            last = conflict
            time.sleep(random.uniform(0, min(LONGEST_PAUSE, 0.01 * 2**number)))
    raise TooManyConflicts(
        f"{location}: other writers committed first {TRIES} times in a row; nothing was committed here, "
        "run it again when fewer write to this table"
    ) from last


def open_table(location: Location, version: int | None = None) -> DeltaTable | None:
    """Return a snapshot of the table, or None if there is no table."""
    try:
        return DeltaTable(location.uri, version=version, storage_options=location.options)
    except TableNotFoundError:
        return None


@contextlib.contextmanager
def committing(location: Location, version: int) -> Generator[None]:
    """Turn a refused commit on top of `version` into a Conflict if the table has moved on.

    Raises:
        Conflict: If it has.
        StorageFailed: If delta-rs fails otherwise, as where a data file is gone.
    """
    try:
        yield
    except DeltaError as error:
        newest = open_table(location)
        if newest is not None and newest.version() > version:
            raise Conflict from error
        raise _failed(location.uri, "changed", error) from error


def _failed(uri: str, doing: str, error: DeltaError) -> StorageFailed:
    """Return what is said where delta-rs fails at a table, with what to do."""
    reason = " ".join(str(error).split())
    return StorageFailed(
        f"{uri} could not be {doing} by delta-rs: {reason}; nothing is half-committed. If a file is gone or damaged, "
        "materialise the table's maintenance, which says what brings it back; else see to the storage (space, "
        "permissions, whether it can be reached), and run it again"
    )


def scan(table: DeltaTable, columns: Sequence[str], predicate: str | None = None) -> Iterator[pl.DataFrame]:
    """Yield the snapshot's rows that meet an SQL predicate, in blocks, in no order.

    Raises:
        StorageFailed: If delta-rs can't read them, as where a data file is gone.
    """
    try:
        for batch in table.scan(columns=list(columns), predicate=predicate):
            yield pl.DataFrame(batch)
    except DeltaError as error:
        raise _failed(table.table_uri, "read", error) from error


def read(table: DeltaTable, columns: Sequence[str], predicate: str | None = None) -> pl.DataFrame:
    """Return the snapshot's rows that meet an SQL predicate as one frame, in no order."""
    schema = pl.Schema(table.schema())
    empty = pl.DataFrame(schema={name: schema[name] for name in columns})
    return pl.concat([empty, *scan(table, columns, predicate)])


def quote(name: str) -> str:
    """Return a column's name as an SQL identifier of delta-rs."""
    return "`" + name.replace("`", "``") + "`"


def at_version(location: Location, version: int) -> DeltaTable:
    """Return a snapshot of the table at a version."""
    return DeltaTable(location.uri, version=version, storage_options=location.options)
