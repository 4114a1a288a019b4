"""Copy on write: one MERGE that brings the last changes of keys into a replica's rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable

from ddb_lake.replica import table as delta
from ddb_lake.replica.columns import CHANGE_METADATA, column_types
from ddb_lake.replica.delta_log import Note
from ddb_lake.replica.errors import SchemaConflict
from ddb_lake.replica.last_writer import delete_wins, insert_wins, same_key, update_wins
from ddb_lake.replica.location import Location


@dataclass(frozen=True)
class Effort:
    """What a window's commit cost, as far as it is known.

    Args:
        files_written: Data files.
        files_marked: Data files in which rows were marked as dead.
        data_bytes: Of the data files written.
        vector_bytes: Of the deletion vectors written.
        index_bytes: Of the key index's segments written.
        segments_made_again: Segments of the key index that were absent or damaged.
    """

    files_written: int = 0
    files_marked: int = 0
    data_bytes: int = 0
    vector_bytes: int = 0
    index_bytes: int = 0
    segments_made_again: int = 0

    @property
    def size(self) -> int:
        """All bytes written but the commit's own."""
        return self.data_bytes + self.vector_bytes + self.index_bytes


@dataclass(frozen=True)
class AppliedRows:
    """What bringing changes into a replica's rows did, by whatever strategy.

    Args:
        version: The Delta version that it made.
        inserted: How many rows are new.
        updated: How many rows were replaced.
        deleted: How many rows are gone.
        effort: What it cost.
    """

    version: int
    inserted: int
    updated: int
    deleted: int
    effort: Effort


def merge_changes(
    location: Location,
    table: DeltaTable,
    changes: pl.DataFrame,
    keys: Sequence[str],
    note: Note,
) -> AppliedRows | None:
    """Update, delete and insert rows by the changes that beat them; None if no row changes: no commit then.

    Args:
        location: Where the table is.
        table: The snapshot to change.
        changes: One change a key, with `_deleted` and the table's columns.
        keys: The key's columns.
        note: What the commit carries.

    Raises:
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    if not changes.height:
        return None
    version = table.version()
    present = frozenset(changes.columns)
    taken = {delta.quote(name): f"s.{delta.quote(name)}" for name in pl.Schema(table.schema()) if name in present}
    with delta.committing(location, version):
        told = (
            table.merge(
                changes,
                same_key(keys, changes),
                source_alias="s",
                target_alias="t",
                writer_properties=delta.WRITER,
                commit_properties=delta.properties_of(note),
            )
            .when_matched_delete(delete_wins())
            .when_matched_update(taken, update_wins())
            .when_not_matched_insert(taken, insert_wins())
            .execute()
        )
    if table.version() == version:
        return None
    return AppliedRows(
        version=table.version(),
        inserted=told["num_target_rows_inserted"],
        updated=told["num_target_rows_updated"],
        deleted=told["num_target_rows_deleted"],
        effort=Effort(files_written=told["num_target_files_added"]),
    )


def check_types(location: Location, schema: str, changes: pl.DataFrame) -> None:
    """Raise if a type differs: delta-rs casts silently, and a double 1.75 becomes the long 1.

    Raises:
        SchemaConflict: Naming the columns and both types.
    """
    types = {**CHANGE_METADATA, **column_types(schema)}
    wrong = [
        f"{name!r} is {dtype} in the changes and {types.get(name, 'absent')} in the table"
        for name, dtype in changes.schema.items()
        if types.get(name) != dtype
    ]
    if wrong:
        raise SchemaConflict(
            f"{location}: {'; '.join(wrong)}. Nothing was written; commit a new bootstrap whose columns follow "
            "the change log's"
        )
