"""Copy on write for tables of many columns: one commit that puts files without the beaten rows in their files' place.

delta-rs plans a MERGE in time that grows with the square of the columns: 2,000 take half a minute, whatever the rows.
Which rows are beaten is decided here as it is for deletion vectors, and the files that they are in are written anew.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from pyroaring import BitMap64

from ddb_lake.replica.columns import KEY_HASH, ROW_METADATA, TIE_BREAK, WRITE_TIME, column_types
from ddb_lake.replica.commits import commit_on
from ddb_lake.replica.data_files import (
    POSITION,
    QUICK_LEVEL,
    DataFile,
    live_rows,
    partition_folder,
    prove,
    removed_on_failure,
    write_file,
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
from ddb_lake.replica.exact_names import arrange, columns, pick
from ddb_lake.replica.key_index import Candidates
from ddb_lake.replica.key_index.segment import Rows, join_rows, joined
from ddb_lake.replica.mark import Marks, decide, write_images
from ddb_lake.replica.merge import AppliedRows, Effort
from ddb_lake.replica.store import TableStore
from ddb_lake.replica.strategy import has_change_data_feed, refuse_change_data_feed
from ddb_lake.replica.written import values_of

WIDE = 250
"""From so many columns on MERGE is not asked: there it takes about as long as the rest of a window."""

_CHANGE = "number of the change"
"""A column of frames in memory. No table can have one of this name."""


def is_wide(metadata: Metadata) -> bool:
    """Tell whether windows are applied to a table without MERGE: a change data feed and constraints need it."""
    constrained = any(name.startswith("delta.constraints.") for name in metadata.configuration)
    if constrained or has_change_data_feed(metadata):
        return False
    return len(column_types(metadata.schema)) >= WIDE


def rewrite_changes(
    store: TableStore,
    snapshot: Snapshot,
    changes: pl.DataFrame,
    keys: Sequence[str],
    note: Note,
    metadata: Metadata | None = None,
) -> AppliedRows | None:
    """Update, delete and insert rows by the changes that beat them; None if no row changes: no commit then.

    One data file is in memory at a time.

    Args:
        store: The table's folder.
        snapshot: The table to change.
        changes: One change a key, with `_deleted` and the table's columns.
        keys: The key's columns.
        note: What the commit carries.
        metadata: The table's metadata from this commit on, if it has columns more.

    Raises:
        UnsupportedTable: If the table asks of its writers what can't be done here.
        DamagedDataFile: If a data file is absent or is not what the log tells.
        NotWritten: If the files have not the rows and values that they were made of.
        Conflict: If somebody else has committed since the snapshot was loaded.
    """
    require_writable(snapshot)
    require_no_constraints(snapshot)
    refuse_change_data_feed(snapshot)
    changes = changes.sort(KEY_HASH)
    files = list(snapshot.files.values())
    marks = decide(store, files, changes, _search(store, files, changes, keys), str(snapshot.location))
    if not marks.dead and not marks.upserts.any():
        return None
    with removed_on_failure(store) as paths:
        written = write_images(store, snapshot, changes, marks, keys, metadata, paths, indexed=False)
        written += _rewritten(store, snapshot, marks, metadata or snapshot.metadata, paths)
        now = now_ms()
        actions = [] if metadata is None else [metadata.to_json()]
        actions += [snapshot.files[path].remove(now, data_change=True) for path in marks.dead]
        actions += [each.add_file().add(data_change=True) for each in written]
        effort = Effort(files_written=len(written), data_bytes=sum(each.size for each in written))
        applied = marks.applied(snapshot.number + 1, effort)
        metrics = {
            "numTargetRowsInserted": applied.inserted,
            "numTargetRowsUpdated": applied.updated,
            "numTargetRowsDeleted": applied.deleted,
            "numOutputRows": sum(each.rows for each in written),
            "numTargetFilesAdded": len(written),
            "numTargetFilesRemoved": len(marks.dead),
            "numTargetBytesAdded": applied.effort.data_bytes,
        }
        commit_on(store, snapshot, actions, note, Operation("MERGE", {"strategy": "copy_on_write"}, metrics))
    return applied


def _search(store: TableStore, files: Sequence[AddFile], changes: pl.DataFrame, keys: Sequence[str]) -> Candidates:
    """Return the rows that have the changes' keys, by reading the key columns of the files that may have some."""
    searched = pick(changes, [KEY_HASH, *keys]).with_row_index(_CHANGE)
    types = {**ROW_METADATA, POSITION: pl.Int64(), **{name: changes[name].dtype for name in keys}}
    probes: list[npt.NDArray[np.int64]] = []
    numbers: list[npt.NDArray[np.int64]] = []
    found: list[Rows] = []
    for number, file in enumerate(files):
        if not _may_have(file, changes[KEY_HASH]):
            continue
        there = arrange(live_rows(store, file, None, [WRITE_TIME, TIE_BREAK, *keys]), types)
        rows = there.join(searched, on=columns([KEY_HASH, *keys]), nulls_equal=True)
        probes.append(rows[_CHANGE].to_numpy().astype(np.int64))
        numbers.append(np.full(rows.height, number, dtype=np.int64))
        found.append(Rows(*(rows[name].to_numpy() for name in (KEY_HASH, WRITE_TIME, TIE_BREAK, POSITION))))
    return Candidates(joined(probes), joined(numbers), join_rows(found))


def _may_have(file: AddFile, hashes: pl.Series) -> bool:
    """Tell whether the bounds that the log tells leave room for one of the hashes, which are in order."""
    least, most = (file.told.get(bounds, {}).get(KEY_HASH) for bounds in ("minValues", "maxValues"))
    return len(hashes) > 0 and (least is None or hashes[-1] >= least) and (most is None or hashes[0] <= most)


def _rewritten(
    store: TableStore, snapshot: Snapshot, marks: Marks, metadata: Metadata, paths: list[str]
) -> list[DataFile]:
    """Write the rows that each touched file keeps as a file of its partition."""
    partitions = frozenset(snapshot.metadata.partition_columns)
    types = {name: dtype for name, dtype in column_types(metadata.schema).items() if name not in partitions}
    made: list[DataFile] = []
    for path, dead in marks.dead.items():
        file = snapshot.files[path]
        kept = live_rows(store, file, marks.before.get(path, BitMap64()) | dead)
        if kept.height:
            folder = partition_folder(file.partition)
            made.append(write_file(store, folder, "part", arrange(kept, types), file.partition, QUICK_LEVEL))
            paths.append(made[-1].path)
            values = {name: count for name, count in values_of(kept).items() if name in types}
            prove(values, kept.height, made[-1:], str(snapshot.location))
    return made
