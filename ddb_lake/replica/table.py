"""The only place that calls delta-rs to open, create and commit: small verbs, each with its conflicts told.

The change log is written by it alone; of a replica only MERGE and reading come by here.
"""

import contextlib
import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

import polars as pl
from deltalake import CommitProperties, DeltaTable, Field, Schema, Transaction, WriterProperties
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions

from ddb_lake.replica.delta_log import Conflict, Note
from ddb_lake.replica.errors import TooManyConflicts
from ddb_lake.replica.location import Location

TRIES = 16
"""How often an operation is planned again after other writers' commits before it gives up."""

LONGEST_PAUSE = 1.0
"""Seconds that a loser waits at most before it plans again; the wait is random, so that writers spread."""

CONFIGURATION = {"delta.checkpointInterval": "50"}
"""A table of 96 commits a day stays quick to open with a checkpoint twice a day."""

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


def create_table(
    location: Location,
    fields: Sequence[Field],
    partition_by: Sequence[str],
    files: Sequence[AddAction],
    note: Note,
) -> int:
    """Create the table, with some files at once, and return its version, which is 0.

    Raises:
        Conflict: If somebody else has just created it.
    """
    try:
        create_table_with_add_actions(
            location.uri,
            Schema(list(fields)),
            list(files),
            mode="error",
            partition_by=list(partition_by),
            configuration=CONFIGURATION,
            storage_options=location.options,
            commit_properties=properties_of(note),
        )
    except DeltaError as error:
        if open_table(location) is not None:
            raise Conflict from error
        raise
    return 0


@contextlib.contextmanager
def committing(location: Location, version: int) -> Generator[None]:
    """Turn a refused commit on top of `version` into a Conflict if the table has moved on."""
    try:
        yield
    except DeltaError as error:
        newest = open_table(location)
        if newest is not None and newest.version() > version:
            raise Conflict from error
        raise


def add_columns(location: Location, table: DeltaTable, fields: Sequence[Field], note: Note) -> DeltaTable:
    """Add columns in a commit of their own and return the snapshot after it.

    ALTER ADD COLUMNS keeps the fields' metadata. Evolving within MERGE (`merge_schema`) does not serve: a
    struct that gains a field there is set to null in all rows that do not match.

    Raises:
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    version = table.version()
    with committing(location, version):
        table.alter.add_columns(list(fields), commit_properties=properties_of(note))
    return at_version(location, version + 1)


def replace_partitions(
    location: Location,
    table: DeltaTable,
    partition: tuple[str, str],
    files: Sequence[AddAction],
    note: Note,
) -> int:
    """Replace all partitions with a value of a partition column by the files; return the new version.

    The partitions' old files are left to delta-rs to find: a RemoveAction needs the path once decoded,
    while `get_add_actions` tells it encoded, and removing an unknown path is accepted silently.

    Raises:
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    version = table.version()
    column, value = partition
    with committing(location, version):
        table.create_write_transaction(
            list(files),
            mode="overwrite",
            schema=table.schema(),
            partition_by=table.metadata().partition_columns,
            partition_filters=[(column, "=", value)],
            commit_properties=properties_of(note),
        )
    return version + 1


def scan(table: DeltaTable, columns: Sequence[str], predicate: str | None = None) -> Iterator[pl.DataFrame]:
    """Yield the snapshot's rows that meet an SQL predicate, in blocks, in no order."""
    for batch in table.scan(columns=list(columns), predicate=predicate):
        yield pl.DataFrame(batch)


def read(table: DeltaTable, columns: Sequence[str], predicate: str | None = None) -> pl.DataFrame:
    """Return the snapshot's rows that meet an SQL predicate as one frame, in no order."""
    schema = pl.Schema(table.schema())
    empty = pl.DataFrame(schema={name: schema[name] for name in columns})
    return pl.concat([empty, *scan(table, columns, predicate)])


def partition_values(table: DeltaTable, column: str) -> set[str]:
    """Return the values of a partition column that the snapshot's files have."""
    actions = pl.DataFrame(table.get_add_actions(flatten=True))
    return set(actions[f"partition.{column}"]) if actions.height else set()


def quote(name: str) -> str:
    """Return a column's name as an SQL identifier of delta-rs."""
    return "`" + name.replace("`", "``") + "`"


def at_version(location: Location, version: int) -> DeltaTable:
    """Return a snapshot of the table at a version."""
    return DeltaTable(location.uri, version=version, storage_options=location.options)
