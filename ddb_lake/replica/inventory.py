"""Whether all files that a table's log names are there: a lost one is otherwise noticed by its first reader alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ddb_lake.replica.delta_log import AddFile, Snapshot
from ddb_lake.replica.delta_log.deletion_vectors import file_of
from ddb_lake.replica.store import StoredObject

_VECTOR_FRAME = 8
"""Bytes around a vector: its size and its checksum (Delta protocol: "Deletion Vector File Storage Format")."""


@dataclass(frozen=True)
class LostFile:
    """A file that the log names and that is gone or has another size.

    Args:
        path: Where it should be in the table's folder.
        file: The data file that it is, or whose deletion vector it holds.
        size: How many bytes it should have; of a file of deletion vectors, at least.
        found: How many it has; None where it is gone.
    """

    path: str
    file: AddFile
    size: int
    found: int | None

    def __str__(self) -> str:
        if self.found is None:
            return f"{self.path} ({self.size:,} bytes) is gone"
        return f"{self.path} has {self.found:,} bytes instead of {self.size:,}"


def lost_files(snapshot: Snapshot, found: Iterable[StoredObject]) -> tuple[LostFile, ...]:
    """Return the data files and deletion vectors of a version that are not there as the log has them.

    Files elsewhere than in the table's folder are not looked for.

    Args:
        snapshot: The version, read before the listing: so whatever it names was written by then.
        found: All objects in the table's folder.
    """
    sizes = {each.path: each.size for each in found}
    lost: list[LostFile] = []
    for file in snapshot.files.values():
        path = file.object_path
        if "://" not in path and not path.startswith("/") and sizes.get(path) != file.size:
            lost.append(LostFile(path, file, file.size, sizes.get(path)))
        lost += _lost_vector(file, sizes)
    return tuple({each.path: each for each in lost}.values())


def _lost_vector(file: AddFile, sizes: Mapping[str, int]) -> Iterable[LostFile]:
    vector = file.deletion_vector
    path = None if vector is None else file_of(vector)
    if vector is None or path is None:
        return
    least = (vector.offset or 0) + vector.size + _VECTOR_FRAME
    found = sizes.get(path)
    if found is None or found < least:
        yield LostFile(path, file, least, found)


def named(lost: tuple[LostFile, ...], most: int = 5) -> str:
    """Return what is lost for a message, the first few of many."""
    more = f", and {len(lost) - most} more" if len(lost) > most else ""
    return ", ".join(map(str, lost[:most])) + more
