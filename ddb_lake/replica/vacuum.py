"""Removing the objects that no version of the table needs any more: data files, deletion vectors, index segments.

An object goes only if the newest version does not name it, the log does not tell that it was removed a short while
ago, no bootstrap waits for it, and it is older than the retention: a writer that is at work names what it has written
within that time. So this is safe beside anything else that runs. Replicas and change logs are vacuumed alike.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ddb_lake.replica.bootstrap import FOLDER as STAGINGS
from ddb_lake.replica.bootstrap import HASHES_END, staged_files
from ddb_lake.replica.coverage import Account
from ddb_lake.replica.delta_log import DeletionVector, Snapshot, require_writable
from ddb_lake.replica.delta_log.deletion_vectors import FOLDER as VECTORS
from ddb_lake.replica.delta_log.deletion_vectors import file_of
from ddb_lake.replica.delta_log.intervals import parse_interval
from ddb_lake.replica.key_index import FOLDER as SEGMENTS
from ddb_lake.replica.key_index import segment_path
from ddb_lake.replica.probes import PROBES, storage_clock
from ddb_lake.replica.store import StoredObject, TableStore

RETENTION = timedelta(days=7)
"""How long removed files stay where the table has no `delta.deletedFileRetentionDuration`; Delta's default."""

LEAST_RETENTION = timedelta(hours=1)
"""What the property can't go below: a window that is at work names what it has written within that time."""


@dataclass(frozen=True)
class Vacuumed:
    """What was removed.

    Args:
        files: How many objects.
        size: Their bytes.
    """

    files: int
    size: int


def vacuum(
    store: TableStore,
    snapshot: Snapshot,
    account: Account,
    found: Collection[StoredObject],
    least: timedelta = LEAST_RETENTION,
    *,
    damaged: bool = False,
) -> Vacuumed:
    """Delete what no version within the retention needs.

    Args:
        store: The table's folder.
        snapshot: The newest version, with its tombstones.
        account: What the table holds.
        found: All objects in the folder, listed after the snapshot was read.
        least: What the table's own retention can't go below.
        damaged: Whether files of that version are lost: what was staged to repair it is kept then.

    Raises:
        UnsupportedTable: If the table asks its writers for what this program does not know.
    """
    require_writable(snapshot)
    told = parse_interval(snapshot.property("delta.deletedFileRetentionDuration"), RETENTION)
    retention = max(told, least)
    before = storage_clock(store) - retention
    kept = needed(snapshot, before) | staged_files(
        store, account.bootstrap and account.bootstrap.time, damaged=damaged
    )
    gone = [each for each in found if is_ours(each) and each.path not in kept and each.modified < before]
    store.delete(each.path for each in gone)
    return Vacuumed(len(gone), sum(each.size for each in gone))


def needed(snapshot: Snapshot, before: datetime) -> set[str]:
    """Return the paths of all objects that the newest version names, or versions after a time named."""
    kept: set[str] = set()
    for file in snapshot.files.values():
        kept |= {file.object_path, segment_path(file.object_path)} | _vector_files([file.deletion_vector])
    for tombstone in snapshot.tombstones:
        if datetime.fromtimestamp(tombstone.deleted_ms / 1000, UTC) >= before:
            kept |= {tombstone.object_path} | _vector_files([tombstone.deletion_vector])
    return kept


def is_ours(found: StoredObject) -> bool:
    """Tell whether an object is of a kind that is vacuumed: nobody else's files, and nothing of the log."""
    folder = found.path.split("/", 1)[0]
    if folder == VECTORS:
        return found.path.partition("#")[0].endswith(".bin")
    if folder in (SEGMENTS, PROBES):
        return True
    if folder == STAGINGS:
        return found.path.partition("#")[0].endswith(HASHES_END)
    hidden = folder.startswith("_") and "=" not in folder
    # What is behind a # is the rest of a local put that was broken off.
    return not hidden and found.path.partition("#")[0].endswith(".parquet")


def _vector_files(vectors: Iterable[DeletionVector | None]) -> set[str]:
    return {path for each in vectors if each is not None and (path := file_of(each)) is not None}
