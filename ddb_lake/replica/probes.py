"""How a table's storage behaves, seen by objects that are written for that and removed at once."""

import uuid
from contextlib import suppress
from datetime import UTC, datetime

from ddb_lake.replica.errors import StorageFailed, UnsafeStorage
from ddb_lake.replica.store import TableStore

PROBES = "_probe"
"""The folder of these objects; what a crash leaves there is vacuumed."""


def require_conditional_puts(store: TableStore) -> None:
    """Check that the storage refuses to write an object anew where that was asked for only if it is absent.

    All that keeps two writers from overwriting each other's commit is this: on S3 the header `If-None-Match: *` (AWS:
    "Prevent object overwrites with conditional writes"), locally a hard link.

    Raises:
        UnsafeStorage: If it does not.
        StorageFailed: If it can't be asked.
    """
    path = f"{PROBES}/put-if-absent-{uuid.uuid4()}"
    first, second = b"first", b"second"
    try:
        # Whatever this is answered: a client that repeats a put whose answer was lost meets its own first try.
        store.put_if_absent(path, first)
        overwritten = store.put_if_absent(path, second)
        kept = store.get(path)
    finally:
        with suppress(StorageFailed):
            store.delete([path])
    if overwritten or kept != first:
        raise UnsafeStorage(
            f"{store}: the storage overwrites an object that a put was to write only if it is absent (on S3: it "
            "ignores If-None-Match), so of two writers one would lose its commits; no table was created. Keep the "
            "lake on storage that honours conditional puts: Amazon S3, a local disk, or a version of this "
            "S3-compatible server that does"
        )


def storage_clock(store: TableStore) -> datetime:
    """Return the time by the clock that stamps the objects, or by ours if that is behind: the earlier is safe."""
    probe = f"{PROBES}/clock-{uuid.uuid4()}"
    store.put(probe, b"")
    (stamped,) = [each.modified for each in store.walk(PROBES) if each.path == probe]
    store.delete([probe])
    return min(stamped, datetime.now(UTC))
