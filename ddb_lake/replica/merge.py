"""Copy on write: one MERGE that brings the last changes of keys into a replica's rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from deltalake import CommitProperties, DeltaTable

from ddb_lake.replica import table as delta
from ddb_lake.replica.columns import CHANGE_METADATA
from ddb_lake.replica.errors import SchemaConflict
from ddb_lake.replica.last_writer import delete_wins, insert_wins, same_key, update_wins
from ddb_lake.replica.location import Location


@dataclass(frozen=True)
class MergedRows:
    """What a MERGE did.

    Args:
        version: The Delta version that it made.
        rows: The table's rows after it.
        inserted: How many rows are new.
        updated: How many rows were replaced.
        deleted: How many rows are gone.
    """

    version: int
    rows: int
    inserted: int
    updated: int
    deleted: int


def merge_changes(
    location: Location,
    table: DeltaTable,
    changes: pl.DataFrame,
    keys: Sequence[str],
    properties: CommitProperties,
) -> MergedRows | None:
    """Update, delete and insert rows by the changes that beat them; None if no row changes: no commit then.

    Args:
        location: Where the table is.
        table: The snapshot to change.
        changes: One change a key, with `_deleted` and the table's columns.
        keys: The key's columns.
        properties: What the commit carries.

    Raises:
        SchemaConflict: If a change's column has another type than the table's.
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    check_types(location, table, changes)
    if not changes.height:
        return None
    version = table.version()
    taken = {
        delta.quote(name): f"s.{delta.quote(name)}" for name in pl.Schema(table.schema()) if name in changes.columns
    }
    with delta.committing(location, version):
        told = (
            table.merge(
                changes,
                same_key(keys),
                source_alias="s",
                target_alias="t",
                writer_properties=delta.WRITER,
                commit_properties=properties,
            )
            .when_matched_delete(delete_wins())
            .when_matched_update(taken, update_wins())
            .when_not_matched_insert(taken, insert_wins())
            .execute()
        )
    if table.version() == version:
        return None
    return MergedRows(
        version=table.version(),
        rows=delta.count_rows(table),
        inserted=told["num_target_rows_inserted"],
        updated=told["num_target_rows_updated"],
        deleted=told["num_target_rows_deleted"],
    )


def check_types(location: Location, table: DeltaTable, changes: pl.DataFrame) -> None:
    """Raise if a type differs: delta-rs casts silently, and a double 1.75 becomes the long 1.

    Raises:
        SchemaConflict: Naming the columns and both types.
    """
    types = {**CHANGE_METADATA, **pl.Schema(table.schema())}
    wrong = [
        f"{name!r} is {dtype} in the changes and {types.get(name, 'absent')} in the table"
        for name, dtype in changes.schema.items()
        if types.get(name) != dtype
    ]
    if wrong:
        raise SchemaConflict(
            f"{location}: {'; '.join(wrong)}. Nothing was merged; commit a new bootstrap whose columns follow "
            "the change log's"
        )
