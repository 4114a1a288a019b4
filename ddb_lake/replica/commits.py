"""The commits of replicas and change logs that concern a table as a whole: creation, replacement, columns, upkeep."""

import io
import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
from deltalake import DeltaTable, Field, Schema
from deltalake.exceptions import DeltaError

from ddb_lake.replica.delta_log import (
    AddFile,
    Metadata,
    Note,
    Operation,
    Snapshot,
    now_ms,
    require_no_constraints,
    require_writable,
    write_commit,
)
from ddb_lake.replica.delta_log.snapshot import LOG
from ddb_lake.replica.errors import DamagedLog
from ddb_lake.replica.key_index import read_data_file
from ddb_lake.replica.location import Location
from ddb_lake.replica.probes import require_conditional_puts
from ddb_lake.replica.store import TableStore
from ddb_lake.replica.strategy import (
    PROPERTIES,
    PROTOCOLS,
    Strategy,
    properties_for,
    protocol_for,
    refuse_change_data_feed,
)

_LOG = logging.getLogger(__name__)

CHECKPOINT_INTERVAL = 100
"""After how many commits a checkpoint is written where the table does not tell; Delta's default."""


def create_table(
    store: TableStore,
    strategy: Strategy,
    fields: Sequence[Field],
    partition_columns: Sequence[str],
    files: Sequence[AddFile],
    note: Note,
) -> int:
    """Create the table, with some files at once, and return its version, which is 0.

    Raises:
        UnsafeStorage: If the storage would let one writer overwrite another's commit.
        Conflict: If somebody else has just created it.
    """
    require_conditional_puts(store)
    metadata = Metadata(
        id=str(uuid.uuid4()),
        schema=Schema(list(fields)).to_json(),
        partition_columns=tuple(partition_columns),
        configuration=PROPERTIES[strategy],
        created_ms=now_ms(),
    )
    actions = [
        PROTOCOLS[strategy].to_json(),
        metadata.to_json(),
        *(each.add(data_change=True) for each in files),
    ]
    operation = Operation("CREATE TABLE AS SELECT", {"strategy": strategy.value}, _written(files))
    write_commit(store, 0, actions, note, operation)
    return 0


def replace_table(
    store: TableStore,
    snapshot: Snapshot,
    strategy: Strategy,
    fields: Sequence[Field],
    partition_columns: Sequence[str],
    files: Sequence[AddFile],
    note: Note,
) -> int:
    """Replace all of a table, its rows, schema, partitioning and strategy, by the files; return the new version.

    Raises:
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    require_writable(snapshot)
    require_no_constraints(snapshot)
    if strategy is Strategy.DELETION_VECTORS:
        refuse_change_data_feed(snapshot)
    now = now_ms()
    metadata = replace(
        snapshot.metadata,
        schema=Schema(list(fields)).to_json(),
        partition_columns=tuple(partition_columns),
        configuration=properties_for(snapshot.metadata.configuration, strategy),
    )
    actions = [
        protocol_for(snapshot.protocol, strategy).to_json(),
        metadata.to_json(),
        *(each.remove(now, data_change=True) for each in snapshot.files.values()),
        *(each.add(data_change=True) for each in files),
    ]
    metrics = {**_written(files), "numRemovedFiles": len(snapshot.files)}
    operation = Operation("WRITE", {"mode": "Overwrite", "strategy": strategy.value}, metrics)
    return commit_on(store, snapshot, actions, note, operation)


def with_columns(metadata: Metadata, fields: Iterable[Field]) -> Metadata:
    """Return a table's metadata with some columns more at the schema's end."""
    schema = Schema.from_json(metadata.schema)
    return replace(metadata, schema=Schema([*schema.fields, *fields]).to_json())


def change_columns(store: TableStore, snapshot: Snapshot, metadata: Metadata, note: Note) -> Snapshot:
    """Commit a schema with columns more by itself; return the snapshot after it.

    Evolving within MERGE (`merge_schema`) does not serve: a struct that gains a field there is set to null in all
    rows that do not match.

    Raises:
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    require_writable(snapshot)
    version = commit_on(store, snapshot, [metadata.to_json()], note, Operation("ADD COLUMNS"))
    return replace(
        snapshot,
        number=version,
        metadata=metadata,
        commits_since_checkpoint=snapshot.commits_since_checkpoint + 1,
    )


def replace_partition(
    store: TableStore,
    snapshot: Snapshot,
    partition: tuple[str, str],
    files: Sequence[AddFile],
    note: Note,
    metadata: Metadata | None = None,
) -> int:
    """Replace all files with a value of a partition column by others, and perhaps add columns, in one commit.

    Args:
        store: The table's folder.
        snapshot: The table to change.
        partition: The partition column and its value.
        files: What takes the place of the files with that value.
        note: What the commit carries.
        metadata: The table's metadata from this commit on, if it has columns more.

    Returns:
        The new version.

    Raises:
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    require_writable(snapshot)
    require_no_constraints(snapshot)
    now = now_ms()
    column, value = partition
    there = snapshot.files_between(column, value, value)
    # Committed already: a file may not be removed and added at once.
    kept = there.keys() & {each.path for each in files}
    removed = [each for path, each in there.items() if path not in kept]
    actions = [
        *([] if metadata is None else [metadata.to_json()]),
        *(each.remove(now, data_change=True) for each in removed),
        *(each.add(data_change=True) for each in files if each.path not in kept),
    ]
    metrics = {**_written(files), "numRemovedFiles": len(removed)}
    return commit_on(store, snapshot, actions, note, Operation("WRITE", {"mode": "Overwrite"}, metrics))


def commit_nothing(store: TableStore, snapshot: Snapshot, note: Note, metadata: Metadata | None = None) -> int:
    """Commit only the note, and perhaps columns more; return the new version.

    A window without effect is covered all the same.

    Raises:
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    require_writable(snapshot)
    actions = [] if metadata is None else [metadata.to_json()]
    return commit_on(store, snapshot, actions, note, Operation("MERGE", metrics={"numOutputRows": 0}))


def commit_on(
    store: TableStore,
    snapshot: Snapshot,
    actions: Sequence[Mapping[str, Any]],
    note: Note,
    operation: Operation,
) -> int:
    """Commit on top of a snapshot, and write a checkpoint when it is time; return the new version.

    Raises:
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    write_commit(store, snapshot.number + 1, actions, note, operation)
    told = snapshot.property("delta.checkpointInterval") or ""
    interval = int(told) if told.isdecimal() else CHECKPOINT_INTERVAL
    if snapshot.commits_since_checkpoint + 1 >= interval:
        write_checkpoint(snapshot.location)
    return snapshot.number + 1


def write_checkpoint(location: Location) -> bool:
    """Write a checkpoint of the newest version; tell whether that worked. Without it opening is slower, not wrong."""
    try:
        DeltaTable(location.uri, storage_options=location.options).create_checkpoint()
    except BaseException as error:
        # A panic of delta-rs is no Exception. The commit before it stands, and the next one tries again.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        _LOG.warning("%s: the checkpoint could not be written", location, exc_info=True)
        return False
    return True


def clean_up_log(store: TableStore, location: Location) -> int:
    """Remove what the log needs no more; return how many files that were.

    By the table's own `delta.logRetentionDuration`, and never beyond the newest checkpoint.

    Raises:
        DamagedLog: If delta-rs can't read the log.
    """
    before = len(store.names(LOG))
    try:
        DeltaTable(location.uri, storage_options=location.options).cleanup_metadata()
    except DeltaError as error:
        raise DamagedLog(
            f"{location}/{LOG} can't be cleaned up by delta-rs ({error}): restore what is missing; if only a "
            "checkpoint is, remove _last_checkpoint"
        ) from error
    return max(0, before - len(store.names(LOG)))


def count_rows(store: TableStore, snapshot: Snapshot) -> int:
    """Return the number of rows, from what the log tells; a file that it tells nothing of is asked itself."""
    return sum(physical_rows(store, each) - each.dead for each in snapshot.files.values())


def physical_rows(store: TableStore, file: AddFile) -> int:
    """Return how many rows a data file has, dead ones included."""
    if file.rows is not None:
        return file.rows
    return int(pl.scan_parquet(io.BytesIO(read_data_file(store, file))).select(pl.len()).collect().item())


def _written(files: Sequence[AddFile]) -> dict[str, int]:
    return {
        "numFiles": len(files),
        "numOutputRows": sum(each.rows or 0 for each in files),
        "numOutputBytes": sum(each.size for each in files),
    }
