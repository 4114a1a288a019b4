"""Commits: a version's file is put if it is absent, and a lost answer is told from a lost race.

Delta protocol: "Requirements for Writers", "Commit Provenance Information", "Transaction Identifiers".
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from ddb_lake import __version__
from ddb_lake.replica.delta_log.snapshot import ACTIONS, Snapshot, commit_path
from ddb_lake.replica.errors import ANEW, StorageFailed, UncertainCommit, UnsupportedTable
from ddb_lake.replica.store import TableStore

WRITABLE = frozenset(
    {"appendOnly", "invariants", "checkConstraints", "changeDataFeed", "deletionVectors", "timestampNtz"}
    | {"generatedColumns", "v2Checkpoint", "vacuumProtocolCheck", "variantType"}
)
"""The writer features whose rules are kept here; those that would bind rows are refused by `require_writable`."""

BINDING = frozenset({"delta.invariants", "delta.generationExpression"})
"""Field metadata that binds the values of a column."""


class Conflict(Exception):
    """Another writer has committed since the snapshot was loaded: a signal to plan again, never seen outside."""


@dataclass(frozen=True)
class Note:
    """What a commit tells besides its actions.

    Args:
        user_metadata: The text of `userMetadata`.
        transactions: App transactions' versions.
    """

    user_metadata: str
    transactions: Mapping[str, int]


@dataclass(frozen=True)
class Operation:
    """What a commit does, for people who read the history.

    Args:
        name: Such as MERGE or OPTIMIZE.
        parameters: Of the operation.
        metrics: Counts, as Spark and delta-rs name them.
    """

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    metrics: Mapping[str, int] = field(default_factory=dict[str, int])


def now_ms() -> int:
    """Return the time in ms since the epoch."""
    return int(time.time() * 1000)


def write_commit(
    store: TableStore,
    version: int,
    actions: Sequence[Mapping[str, Any]],
    note: Note,
    operation: Operation,
) -> int:
    """Make a commit the version's; return the bytes of its file.

    A put whose answer is lost may have succeeded, and one that a client repeated by itself may meet its own first
    try. So whatever the answer, the version is read back and its commit's identity compared.

    Raises:
        Conflict: If another commit is the version's.
        UncertainCommit: If the storage refused the put, and it can't be told whether the commit is there or may still
            come: what it names must stay.
        Exception: What a local disk raised, where no commit is the version's: nothing was committed.
    """
    identity = str(uuid.uuid4())
    info: dict[str, Any] = {
        "timestamp": now_ms(),
        "operation": operation.name,
        "operationParameters": dict(operation.parameters),
        "operationMetrics": {name: str(count) for name, count in operation.metrics.items()},
        "isBlindAppend": False,
        "engineInfo": f"ddb_lake/{__version__}",
        "txnId": identity,
        "userMetadata": note.user_metadata,
    }
    transactions = [
        {"txn": {"appId": app_id, "version": number, "lastUpdated": now_ms()}}
        for app_id, number in note.transactions.items()
    ]
    info[ACTIONS] = 1 + len(transactions) + len(actions)
    lines = [orjson.dumps(action) for action in ({"commitInfo": info}, *transactions, *actions)]
    data = b"\n".join(lines) + b"\n"
    path = commit_path(version)
    try:
        if store.put_if_absent(path, data):
            return len(data)
    except Exception as error:
        if _has_arrived(store, path, identity, error):
            return len(data)
        raise
    if _is_ours(store, path, identity):
        return len(data)
    raise Conflict


def _has_arrived(store: TableStore, path: str, identity: str, error: Exception) -> bool:
    """Tell whether a commit is there although the put of it failed.

    Raises:
        Conflict: If another's is.
        UncertainCommit: If none is, and that may change, since a remote storage may still be at work on the put.
    """
    uncertain = UncertainCommit(
        f"{store}/{path}: the storage did not say whether it took the commit ({error}); run it again: a commit that "
        "is there is found"
    )
    try:
        if _is_ours(store, path, identity):
            return True
    except StorageFailed:
        raise uncertain from error
    if store.local_path(path) is None:
        raise uncertain from error
    return False


def _is_ours(store: TableStore, path: str, identity: str) -> bool:
    """Tell whether the version's commit is the one of this identity.

    Raises:
        Conflict: If it is another's.
    """
    try:
        found = store.get(path)
    except FileNotFoundError:
        return False
    first = cast("Mapping[str, Any]", orjson.loads(found.partition(b"\n")[0]))
    if first.get("commitInfo", {}).get("txnId") == identity:
        return True
    raise Conflict


def require_writable(snapshot: Snapshot) -> None:
    """Check that commits of ours keep every rule that the table binds its writers to.

    Raises:
        UnsupportedTable: If the table asks for more.
    """
    where = snapshot.location
    protocol, configuration = snapshot.protocol, snapshot.metadata.configuration
    unknown = sorted(set(protocol.writer_features) - WRITABLE)
    if unknown or protocol.writer > 7 or 4 < protocol.writer < 7:
        raise UnsupportedTable(
            f"{where} asks its writers for {', '.join(unknown) or f'version {protocol.writer}'}, which this program "
            "does not know; nothing was written"
        )
    if configuration.get("delta.appendOnly", "").lower() == "true":
        raise UnsupportedTable(f"{where} is append-only (delta.appendOnly), so no row can be replaced; unset that")
    bound = [
        field["name"]
        for field in orjson.loads(snapshot.metadata.schema)["fields"]
        if not field["nullable"] or BINDING & field.get("metadata", {}).keys()
    ]
    if bound:
        raise UnsupportedTable(
            f"{where}: the columns {bound} may not be null, are generated, or have an invariant, which is not kept "
            f"here; alter them, or {ANEW}"
        )


def require_no_constraints(snapshot: Snapshot) -> None:
    """Check that no rows need be looked at before they are written.

    Raises:
        UnsupportedTable: If the table has constraints.
    """
    constraints = [name for name in snapshot.metadata.configuration if name.startswith("delta.constraints.")]
    if constraints:
        raise UnsupportedTable(
            f"{snapshot.location} has the constraints {constraints}, which are not checked here; drop them"
            " (a replica may move to the strategy copy_on_write instead, whose MERGE checks them)"
        )
