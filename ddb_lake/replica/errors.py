"""What can go wrong when windows become Delta commits."""

import numpy as np
import numpy.typing as npt

from ddb_lake.errors import DdbLakeError

ANEW = (
    "remove the folder and materialise what was in it again: a replica's initial load and windows, a change log's "
    "decoded_items"
)
"""What to do about a damaged table that nobody has a copy of, as the end of a message."""


class ReplicaError(DdbLakeError):
    """The root of the errors of change logs and replicas."""


class UnsupportedLocation(ReplicaError):
    """A table's URI is neither a local path nor s3://."""


class InvalidColumn(ReplicaError):
    """A declared column can't exist in a Delta table next to the others."""


class SchemaConflict(ReplicaError):
    """Two schemas give one column two meanings: learn the columns again from the table's own schema."""


class InvalidFrame(ReplicaError):
    """Rows handed over don't have the declared columns, types or write times; nothing was committed."""


class UnstorableValue(ReplicaError):
    """A value was decoded and can't be written to a file of the table; nothing was committed."""


class RepeatedKeys(InvalidFrame):
    """Two rows that were staged for one bootstrap have the same key; nothing of it was kept.

    Args:
        message: What is wrong and what to do next.
        hashes: The hashes of the keys that came more than once.
    """

    def __init__(self, message: str, hashes: npt.NDArray[np.int64]) -> None:
        super().__init__(message)
        self.hashes = hashes


class NotWritten(ReplicaError):
    """A file does not have what was to be written to it; no commit names it."""


class WrongSourceTable(ReplicaError):
    """The Delta table holds another source table, or nothing that ddb_lake wrote."""


class StorageFailed(ReplicaError):
    """The storage refused an object: the disk is full, S3 can't be reached. Nothing is half-committed."""


class UncertainCommit(StorageFailed):
    """The storage gave no answer to a commit, which may be there: what it names must stay."""


class UnsafeStorage(ReplicaError):
    """The storage does not honour conditional puts, so that writers would overwrite each other's commits."""


class UnclearRestore(ReplicaError):
    """The Delta table was restored to an older version, and what that one covered can't be told."""


class NotBootstrapped(ReplicaError):
    """The replica has no full export to build upon yet."""


class NotDecoded(ReplicaError):
    """The change log doesn't cover the window that is to be applied."""


class StagedBootstrapMissing(ReplicaError):
    """A bootstrap can't be committed because it was not staged, or not as a whole."""


class OutdatedBootstrap(ReplicaError):
    """A bootstrap starts before the one that the replica already builds upon."""


class TooManyConflicts(ReplicaError):
    """Other writers won every one of a bounded number of tries; nothing was committed."""


class UnsupportedTable(ReplicaError):
    """The Delta table asks of its readers or writers what ddb_lake does not do; nothing was written."""


class DamagedLog(ReplicaError):
    """The Delta log lacks a commit, or has one that can't be read."""


class DamagedDeletionVector(ReplicaError):
    """A deletion vector is absent or not what the log tells: which rows are deleted is unknown."""


class DamagedDataFile(ReplicaError):
    """A data file of the table is absent or can't be read."""


class BothFailed(ReplicaError):
    """The maintenance of a replica and that of its change log failed, each for a reason of its own."""


class LostFiles(DamagedDataFile):
    """Files that the log names are gone or have another size, and readers fail."""
