"""Deletion vectors: one commit that appends the new images and marks the rows that they replace.

Nothing of the table is rewritten: a window costs its own rows, the key index's entries of its keys, and the
vectors of the files that those are in. Delta protocol: "Deletion Vectors", "Writer Requirement for Deletion Vectors".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from pyroaring import BitMap64

from ddb_lake.replica.columns import DELETED, KEY_HASH, TIE_BREAK, WRITE_TIME, attribute_columns, column_types
from ddb_lake.replica.commits import commit_on, physical_rows
from ddb_lake.replica.data_files import (
    QUICK_LEVEL,
    DataFile,
    partition_folder,
    prove,
    removed_on_failure,
    write_file,
    write_indexed_file,
)
from ddb_lake.replica.delta_log import (
    AddFile,
    Metadata,
    Note,
    Operation,
    Snapshot,
    now_ms,
    require_no_constraints,
    require_writable,
)
from ddb_lake.replica.delta_log.deletion_vectors import file_of, read_vectors, write_vectors
from ddb_lake.replica.exact_names import arrange
from ddb_lake.replica.key_index import Candidates, KeyIndex, KeyTexts, segment_path
from ddb_lake.replica.last_writer import beats
from ddb_lake.replica.merge import AppliedRows, Effort
from ddb_lake.replica.partitioning import partitioning_of, split
from ddb_lake.replica.store import TableStore
from ddb_lake.replica.strategy import refuse_change_data_feed
from ddb_lake.replica.written import values_among


@dataclass(frozen=True)
class Marks:
    """What a window does to the rows that are there.

    Args:
        dead: The positions of the rows that are beaten, by the data file's path in the log.
        before: The vectors that those files have so far.
        upserts: Which of the changes are written as new rows.
        inserted: How many of them are of keys that had no row.
        deleted: How many keys lose their row.
    """

    dead: Mapping[str, BitMap64]
    before: Mapping[str, BitMap64]
    upserts: npt.NDArray[np.bool_]
    inserted: int
    deleted: int

    def applied(self, version: int, effort: Effort) -> AppliedRows:
        """Return what the commit of a version that does this has done."""
        return AppliedRows(
            version=version,
            inserted=self.inserted,
            updated=int(self.upserts.sum()) - self.inserted,
            deleted=self.deleted,
            effort=effort,
        )


def mark_changes(
    store: TableStore,
    snapshot: Snapshot,
    changes: pl.DataFrame,
    keys: Sequence[str],
    note: Note,
    metadata: Metadata | None = None,
) -> AppliedRows | None:
    """Update, delete and insert rows by the changes that beat them; None if no row changes: no commit then.

    Args:
        store: The table's folder.
        snapshot: The table to change.
        changes: One change a key, with `_deleted` and the table's columns.
        keys: The key's columns.
        note: What the commit carries.
        metadata: The table's metadata from this commit on, if it has columns more.

    Raises:
        UnsupportedTable: If the table asks of its writers what can't be done here.
        DamagedDeletionVector: If it can't be told which rows are deleted.
        NotWritten: If the files have not the rows and values of the changes that become rows.
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    require_writable(snapshot)
    require_no_constraints(snapshot)
    refuse_change_data_feed(snapshot)
    index = KeyIndex(store, keys)
    changes = changes.sort(KEY_HASH)
    files = list(snapshot.files.values())
    candidates = index.find(files, changes[KEY_HASH].to_numpy(), KeyTexts.of(changes, keys))
    marks = decide(store, files, changes, candidates, str(snapshot.location))
    if not marks.dead and not marks.upserts.any():
        return None
    with removed_on_failure(store) as paths:
        written = write_images(store, snapshot, changes, marks, keys, metadata, paths)
        actions, vector_bytes = mark_actions(store, snapshot, marks, paths)
        if metadata is not None:
            actions.insert(0, metadata.to_json())
        actions += [each.add_file().add(data_change=True) for each in written]
        effort = Effort(
            files_written=len(written),
            files_marked=len(marks.dead),
            data_bytes=sum(each.size for each in written),
            vector_bytes=vector_bytes,
            index_bytes=sum(each.index_size for each in written),
            segments_made_again=index.made_again,
        )
        applied = marks.applied(snapshot.number + 1, effort)
        commit_on(store, snapshot, actions, note, _operation(applied))
    return applied


def decide(
    store: TableStore, files: Sequence[AddFile], changes: pl.DataFrame, candidates: Candidates, where: str
) -> Marks:
    """Tell which rows are beaten and which changes become rows, given the rows that have the changes' keys.

    A change becomes a row if it is no delete and beats every live row of its key.
    """
    touched = [files[int(number)] for number in np.unique(candidates.files)]
    vectors = {each.path: each.deletion_vector for each in touched if each.deletion_vector is not None}
    before = read_vectors(store, vectors, where)
    alive = np.ones(len(candidates.probes), dtype=bool)
    for number, file in enumerate(files):
        if file.path in before:
            mine = np.flatnonzero(candidates.files == number)
            vector = before[file.path]
            alive[mine] = [row not in vector for row in candidates.rows.rows[mine].tolist()]
    probes, numbers, rows = candidates.probes[alive], candidates.files[alive], candidates.rows.take(alive)
    times, ties = changes[WRITE_TIME].to_numpy(), changes[TIE_BREAK].to_numpy()
    deletes = changes[DELETED].to_numpy()
    won = beats(times[probes], deletes[probes], ties[probes], rows.times, rows.ties)
    held = np.zeros(changes.height, dtype=bool)
    held[probes[~won]] = True
    had = np.zeros(changes.height, dtype=bool)
    had[probes[won]] = True
    dead = {
        files[int(number)].path: BitMap64(rows.rows[won & (numbers == number)].astype(np.uint64))
        for number in np.unique(numbers[won])
    }
    upserts = ~deletes & ~held
    return Marks(
        dead=dead,
        before=before,
        upserts=upserts,
        inserted=int((upserts & ~had).sum()),
        deleted=int((had & ~upserts).sum()),
    )


def write_images(
    store: TableStore,
    snapshot: Snapshot,
    changes: pl.DataFrame,
    marks: Marks,
    keys: Sequence[str],
    metadata: Metadata | None,
    paths: list[str],
    *,
    indexed: bool = True,
) -> list[DataFile]:
    """Write the changes that become rows as data files, one a partition, sorted by key hash, and prove the files.

    Each gets a segment of the key index beside it if wanted. To `paths` is added what has been written.

    Raises:
        NotWritten: If rows or values are missing in the files, or there are more.
    """
    if not marks.upserts.any():
        return []
    images = changes.filter(pl.Series(marks.upserts)).drop(DELETED)
    schema = (metadata or snapshot.metadata).schema
    partitioning = partitioning_of(schema, snapshot.metadata.partition_columns)
    columns = {name: t for name, t in column_types(schema).items() if name not in snapshot.metadata.partition_columns}
    images = arrange(images, columns)
    files: list[DataFile] = []
    for partition, rows in split(images, partitioning, attribute_columns(schema)):
        folder = partition_folder(partition)
        if indexed:
            file = write_indexed_file(store, folder, "part", rows, partition, keys, QUICK_LEVEL)
            paths += [file.path, segment_path(file.path)]
        else:
            file = write_file(store, folder, "part", rows, partition, QUICK_LEVEL)
            paths.append(file.path)
        files.append(file)
    expected = values_among(changes, pl.Series(marks.upserts))
    del expected[DELETED]
    prove(expected, int(marks.upserts.sum()), files, str(snapshot.location))
    return files


def mark_actions(
    store: TableStore, snapshot: Snapshot, marks: Marks, paths: list[str]
) -> tuple[list[dict[str, object]], int]:
    """Write the vectors of the touched files; return the actions, and the bytes that were written.

    To `paths` is added what has been written.

    Each file that keeps live rows is removed with its old vector and added with its new one; one that has none left
    is removed for good.
    """
    now = now_ms()
    after = {path: marks.before.get(path, BitMap64()) | dead for path, dead in marks.dead.items()}
    rows = {path: physical_rows(store, snapshot.files[path]) for path in after}
    kept = {path: vector for path, vector in after.items() if len(vector) != rows[path]}
    told, size = write_vectors(store, kept)
    paths += {path for each in told.values() if (path := file_of(each)) is not None}
    actions: list[dict[str, object]] = []
    for path in after:
        file = snapshot.files[path]
        actions.append(file.remove(now, data_change=True))
        if path in kept:
            marked = replace(file, deletion_vector=told[path], stats=loose(file, rows[path]))
            actions.append(marked.add(data_change=True))
    return actions, size


def loose(file: AddFile, rows: int) -> str:
    """Return a file's statistics as bounds that need not be met (Delta protocol: "Per-file Statistics").

    They stay those of all physical rows: `tightBounds` tells readers that no live row need have them. The number of
    rows is there even if another writer has told no statistics: a file with a deletion vector must have it.
    """
    if file.stats is not None and file.told.get("tightBounds") is False and file.rows is not None:
        return file.stats
    return orjson.dumps({"numRecords": rows, **file.told, "tightBounds": False}).decode()


def _operation(applied: AppliedRows) -> Operation:
    """Return what the history shows of a window, in the words that Spark and delta-rs have for a MERGE."""
    effort = applied.effort
    return Operation(
        "MERGE",
        {"strategy": "deletion_vectors"},
        {
            "numTargetRowsInserted": applied.inserted,
            "numTargetRowsUpdated": applied.updated,
            "numTargetRowsDeleted": applied.deleted,
            "numOutputRows": applied.inserted + applied.updated,
            "numTargetFilesAdded": effort.files_written,
            "numTargetFilesRemoved": 0,
            "numTargetDeletionVectorsUpdated": effort.files_marked,
            "numTargetBytesAdded": effort.data_bytes,
            "numDeletionVectorBytesAdded": effort.vector_bytes,
            "numIndexBytesAdded": effort.index_bytes,
        },
    )
