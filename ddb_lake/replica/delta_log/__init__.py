"""A Delta log, read and written to the letter of the protocol, through the table's store and nothing else."""

from ddb_lake.replica.delta_log.actions import AddFile, DeletionVector, Metadata, TableProtocol, Tombstone, log_path
from ddb_lake.replica.delta_log.commit import (
    Conflict,
    Note,
    Operation,
    now_ms,
    require_no_constraints,
    require_writable,
    write_commit,
)
from ddb_lake.replica.delta_log.snapshot import Snapshot, commit_path, read_snapshot

__all__ = [
    "AddFile",
    "Conflict",
    "DeletionVector",
    "Metadata",
    "Note",
    "Operation",
    "Snapshot",
    "TableProtocol",
    "Tombstone",
    "commit_path",
    "log_path",
    "now_ms",
    "read_snapshot",
    "require_no_constraints",
    "require_writable",
    "write_commit",
]
