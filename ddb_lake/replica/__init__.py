"""Delta tables that follow a DynamoDB table: the log of its changes, and the replica of its current state.

Pure of Dagster and of how exports are made or decoded: windows, frames and columns come in, commits go out.
"""

from ddb_lake.replica.bootstrap import StagedBootstrap, StagedShard
from ddb_lake.replica.change_log import ChangeLog, ChangeLogCommit, ChangeLogSnapshot, StagedChanges
from ddb_lake.replica.columns import Column
from ddb_lake.replica.location import Location, SessionCredentials
from ddb_lake.replica.maintenance import MaintenanceReport
from ddb_lake.replica.partitioning import DatePart, HashBucket, PartitionColumn
from ddb_lake.replica.replica import BootstrapCommit, Replica, ReplicaCommit, ReplicaState, source_table_of
from ddb_lake.replica.strategy import Strategy

__all__ = [
    "BootstrapCommit",
    "ChangeLog",
    "ChangeLogCommit",
    "ChangeLogSnapshot",
    "Column",
    "DatePart",
    "HashBucket",
    "Location",
    "MaintenanceReport",
    "PartitionColumn",
    "Replica",
    "ReplicaCommit",
    "ReplicaState",
    "SessionCredentials",
    "StagedBootstrap",
    "StagedChanges",
    "StagedShard",
    "Strategy",
    "source_table_of",
]
