"""How windows become commits: the two strategies, and what a table's protocol and properties say of each."""

from collections.abc import Mapping
from enum import StrEnum

from ddb_lake.replica.delta_log import Metadata, Snapshot, TableProtocol
from ddb_lake.replica.errors import UnsupportedTable


class Strategy(StrEnum):
    """How a window's changes are brought into the replica."""

    DELETION_VECTORS = "deletion_vectors"
    """Append the new images and mark the rows that they replace: a window costs what changed."""
    COPY_ON_WRITE = "copy_on_write"
    """Rewrite the files that a window's keys are in, by MERGE: any reader of Delta can read the table."""


ENABLED = "delta.enableDeletionVectors"

CHANGE_DATA_FEED = "delta.enableChangeDataFeed"

PROTOCOLS = {
    Strategy.COPY_ON_WRITE: TableProtocol(1, 2),
    Strategy.DELETION_VECTORS: TableProtocol(
        3, 7, ("deletionVectors",), ("appendOnly", "deletionVectors", "invariants")
    ),
}
"""The protocol of a new table. Writer version 7 names one by one what version 2 implies."""

PROPERTIES: Mapping[Strategy, Mapping[str, str]] = {
    Strategy.COPY_ON_WRITE: {"delta.checkpointInterval": "50"},
    Strategy.DELETION_VECTORS: {
        ENABLED: "true",
        "delta.checkpointInterval": "25",
        # Each window removes the former account of every file that it marks rows in: a week of those, which is
        # Delta's default, would be most of every checkpoint.
        "delta.deletedFileRetentionDuration": "interval 2 days",
        "delta.logRetentionDuration": "interval 7 days",
    },
}
"""The properties of a new table; a table of 96 commits a day stays quick to open with frequent checkpoints."""

_LEGACY_WRITER_FEATURES = {
    2: ("appendOnly", "invariants"),
    3: ("appendOnly", "checkConstraints", "invariants"),
    4: ("appendOnly", "changeDataFeed", "checkConstraints", "generatedColumns", "invariants"),
}
"""What the older writer versions imply (Delta protocol: "Table Features for New and Existing Tables")."""


def strategy_of(snapshot: Snapshot) -> Strategy:
    """Return how a table's windows are applied: the table itself tells."""
    return Strategy.DELETION_VECTORS if snapshot.has_deletion_vectors else Strategy.COPY_ON_WRITE


def has_change_data_feed(metadata: Metadata) -> bool:
    """Tell whether the table's changes are to be recorded for readers."""
    return metadata.configuration.get(CHANGE_DATA_FEED, "").lower() == "true"


def refuse_change_data_feed(snapshot: Snapshot) -> None:
    """Check that nobody counts on the table's change data feed.

    Raises:
        UnsupportedTable: If somebody does.
    """
    if has_change_data_feed(snapshot.metadata):
        raise UnsupportedTable(
            f"{snapshot.location} has a change data feed ({CHANGE_DATA_FEED}), which only the strategy copy_on_write "
            "writes; unset the property (the change log tells all changes), or move the table to copy_on_write"
        )


def protocol_for(protocol: TableProtocol, strategy: Strategy) -> TableProtocol:
    """Return a table's protocol once the strategy is this one; whatever else the table asks for stays."""
    if strategy is Strategy.DELETION_VECTORS:
        implied = _LEGACY_WRITER_FEATURES.get(protocol.writer, ())
        return TableProtocol(
            3,
            7,
            tuple(sorted({*protocol.reader_features, "deletionVectors"})),
            tuple(sorted({*protocol.writer_features, *implied, "deletionVectors"})),
        )
    readers = tuple(each for each in protocol.reader_features if each != "deletionVectors")
    writers = tuple(each for each in protocol.writer_features if each != "deletionVectors")
    if readers:
        return TableProtocol(3, 7, readers, writers)
    for version, implied in _LEGACY_WRITER_FEATURES.items():
        if set(writers) <= set(implied):
            return TableProtocol(1, version)
    return TableProtocol(1, 7, (), writers)


def properties_for(configuration: Mapping[str, str], strategy: Strategy) -> dict[str, str]:
    """Return a table's properties once the strategy is this one.

    What people have set stays; what the other strategy has set to its own default gives way.
    """
    other = next(each for each in Strategy if each is not strategy)
    kept = {name: value for name, value in configuration.items() if PROPERTIES[other].get(name) != value}
    return {**PROPERTIES[strategy], **kept}
