"""Folding files: their live rows become one new file, and a commit that changes no row puts it in their place.

A window that is applied meanwhile marks rows in the old files. The fold knows where each of their rows has gone, and
marks the same rows in the new file: it never waits for windows, nor makes them wait. Delta protocol: "Add File and
Remove File" (`dataChange` false: the rows are only rearranged).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from pyroaring import BitMap64

from ddb_lake.replica.columns import KEY_HASH, column_types
from ddb_lake.replica.commits import commit_on
from ddb_lake.replica.coverage import Account, commit_note
from ddb_lake.replica.data_files import (
    POSITION,
    QUICK_LEVEL,
    DataFile,
    live_rows,
    partition_folder,
    prove,
    removed_on_failure,
    write_file,
    write_indexed_file,
)
from ddb_lake.replica.delta_log import AddFile, Operation, Snapshot, now_ms, require_writable
from ddb_lake.replica.delta_log.deletion_vectors import read_vectors, write_vectors
from ddb_lake.replica.errors import ANEW, DamagedDataFile
from ddb_lake.replica.exact_names import pick
from ddb_lake.replica.key_index import segment_path
from ddb_lake.replica.key_index.filter import I64
from ddb_lake.replica.mark import loose
from ddb_lake.replica.store import TableStore
from ddb_lake.replica.written import Values, total, values_of

_FILE = "folded file"
"""Which file a row of a fold comes from, while it is in memory. No table can have a column of this name."""


class Overtaken(Exception):
    """A file that was folded is no longer part of the table: the fold is void. Never seen outside."""


@dataclass(frozen=True)
class FoldedFile:
    """The file that a fold has written, not yet committed.

    Args:
        sources: The files that it takes the place of, as they were.
        dead: The dead rows that each of them had then, by its path.
        file: The new file; None if no row is alive.
        origin_files: For each of its rows, the number of the source.
        origin_rows: For each of its rows, the row in the source.
        bytes_read: Of the sources.
    """

    sources: tuple[AddFile, ...]
    dead: dict[str, BitMap64]
    file: DataFile | None
    origin_files: I64
    origin_rows: I64
    bytes_read: int

    @property
    def bytes_written(self) -> int:
        """Of the new file and its segment of the key index."""
        return 0 if self.file is None else self.file.size + self.file.index_size


def write_folded(
    store: TableStore, snapshot: Snapshot, sources: Sequence[AddFile], keys: Sequence[str]
) -> FoldedFile:
    """Write the live rows of some files of one partition as one file, sorted by key hash.

    Raises:
        DamagedDataFile: If a file is absent or is not what the log tells.
        DamagedDeletionVector: If it can't be told which rows are dead.
        NotWritten: If the file has not the rows and values that were read.
    """
    dead = read_dead(store, sources, str(snapshot.location))
    rows, values = _gather(store, snapshot, sources, dead)
    origin_files, origin_rows = rows[_FILE].to_numpy(), rows[POSITION].to_numpy()
    rows = rows.drop(_FILE, POSITION)
    file = None
    if rows.height:
        partition = sources[0].partition
        folder = partition_folder(partition)
        if snapshot.has_deletion_vectors:
            file = write_indexed_file(store, folder, "fold", rows, partition, keys, QUICK_LEVEL)
        else:
            file = write_file(store, folder, "fold", rows, partition, QUICK_LEVEL)
        with removed_on_failure(store) as written:
            written += [file.path, segment_path(file.path)]
            prove(values, len(origin_rows), [file], str(snapshot.location))
    return FoldedFile(tuple(sources), dead, file, origin_files, origin_rows, sum(each.size for each in sources))


def _gather(
    store: TableStore, snapshot: Snapshot, sources: Sequence[AddFile], dead: Mapping[str, BitMap64]
) -> tuple[pl.DataFrame, Values]:
    """Return the live rows of some files by key hash, in the columns of the table, with where they come from.

    Besides, by column, how many values they had when they were read.
    """
    partitions = set(snapshot.metadata.partition_columns)
    types = {name: dtype for name, dtype in column_types(snapshot.metadata.schema).items() if name not in partitions}
    columns = {**types, _FILE: pl.Int64(), POSITION: pl.Int64()}
    read = [live_rows(store, file, dead[file.path]) for file in sources]
    for file, frame in zip(sources, read, strict=True):
        if file.rows is not None and frame.height != file.rows - len(dead[file.path]):
            raise DamagedDataFile(
                f"{store}/{file.object_path} has {frame.height} live rows, the log tells "
                f"{file.rows - len(dead[file.path])}: {ANEW}"
            )
    values = total({name: count for name, count in values_of(frame).items() if name in types} for frame in read)
    frames = [frame.with_columns(pl.lit(number, pl.Int64()).alias(_FILE)) for number, frame in enumerate(read)]
    rows = pl.concat([pl.DataFrame(schema=columns), *frames], how="diagonal").pipe(pick, columns).sort(KEY_HASH)
    return rows, values


def commit_folded(store: TableStore, snapshot: Snapshot, account: Account, folded: FoldedFile, reason: str) -> int:
    """Put a folded file in its sources' place, with the rows marked that were marked in them meanwhile.

    Args:
        store: The table's folder.
        snapshot: The table as it is now, perhaps later than what was folded.
        account: What the table holds.
        folded: What was folded.
        reason: Why, for people.

    Returns:
        The new version.

    Raises:
        Overtaken: If no source is part of the table any more, or rows of one are alive again.
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    require_writable(snapshot)
    actions, vector_bytes = fold_actions(store, snapshot, folded)
    metrics = {
        "numRemovedFiles": len(folded.sources),
        "numAddedFiles": 0 if folded.file is None else 1,
        "numRemovedBytes": folded.bytes_read,
        "numAddedBytes": 0 if folded.file is None else folded.file.size,
        "numDeletionVectorBytesAdded": vector_bytes,
    }
    note = commit_note(account, {"did": "fold", "reason": reason})
    # delta-rs lets its own OPTIMIZE, if planned before, pass over commits that change no data, and would add the rows
    # of the files that are folded here once more. Metadata, changed or not, it takes for a conflict.
    actions.append(snapshot.metadata.to_json())
    return commit_on(store, snapshot, actions, note, Operation("OPTIMIZE", {"reason": reason}, metrics))


def fold_actions(store: TableStore, snapshot: Snapshot, folded: FoldedFile) -> tuple[list[dict[str, Any]], int]:
    """Return the actions that put a folded file in its sources' place, and the bytes of vectors written for it.

    Raises:
        Overtaken: If no source is part of the table any more, or rows of one are alive again.
    """
    now = now_ms()
    current = {each.path: each for source in folded.sources if (each := snapshot.files.get(source.path))}
    if not current or (len(current) < len(folded.sources) and not snapshot.has_deletion_vectors):
        raise Overtaken
    actions = [file.remove(now, data_change=False) for file in current.values()]
    if folded.file is None:
        return actions, 0
    if [each.key for each in current.values()] == [each.key for each in folded.sources]:
        return [*actions, folded.file.add_file().add(data_change=False)], 0
    changed = [source.path for source in folded.sources if source.path in current and current[source.path] != source]
    dead_now = read_dead(store, [current[path] for path in changed], str(snapshot.location))
    marked = np.zeros(len(folded.origin_rows), dtype=bool)
    for number, source in enumerate(folded.sources):
        mine = folded.origin_files == number
        if source.path not in current:
            marked |= mine  # a window has left no row of it, or another fold has taken them
        elif source.path in dead_now:
            if not folded.dead[source.path] <= dead_now[source.path]:
                raise Overtaken  # rows that were dead are alive again: somebody has restored an older version
            newly = np.array((dead_now[source.path] - folded.dead[source.path]).to_array(), dtype=np.int64)
            marked |= mine & np.isin(folded.origin_rows, newly)
    file, size = folded.file.add_file(), 0
    if marked.all():
        return actions, 0
    if marked.any():
        told, size = write_vectors(store, {"": BitMap64(np.flatnonzero(marked).astype(np.uint64))})
        file = replace(file, deletion_vector=told[""], stats=loose(file, folded.file.rows))
    return [*actions, file.add(data_change=False)], size


def without_origins(folded: FoldedFile) -> FoldedFile:
    """Return what need be kept of a folded file that is only committed while its sources are as they were."""
    none = np.zeros(0, dtype=np.int64)
    return replace(folded, dead={}, origin_files=none, origin_rows=none)


def discard(store: TableStore, folded: FoldedFile) -> None:
    """Delete what a void fold has written."""
    if folded.file is not None:
        store.delete([folded.file.path, segment_path(folded.file.path)])


def read_dead(store: TableStore, files: Sequence[AddFile], where: str) -> dict[str, BitMap64]:
    """Return the dead rows of some files by their paths; empty sets for those without a vector."""
    vectors = {each.path: each.deletion_vector for each in files if each.deletion_vector is not None}
    known = read_vectors(store, vectors, where)
    return {each.path: known.get(each.path, BitMap64()) for each in files}
