"""Keeping a replica quick for years, and noticing what it has lost; all safe beside windows.

Folds, a checkpoint, the log's cleanup, a vacuum, and whether all files are there that the log names.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

from ddb_lake.replica import table as delta
from ddb_lake.replica.columns import EXPORT
from ddb_lake.replica.commits import clean_up_log, write_checkpoint
from ddb_lake.replica.coverage import Account
from ddb_lake.replica.delta_log import Snapshot
from ddb_lake.replica.errors import LostFiles, ReplicaError, StorageFailed, UncertainCommit
from ddb_lake.replica.fold import Overtaken, commit_folded, discard, write_folded
from ddb_lake.replica.folding import Fold, FoldPolicy, plan_folds
from ddb_lake.replica.inventory import LostFile, lost_files, named
from ddb_lake.replica.location import Location
from ddb_lake.replica.spans import export_window
from ddb_lake.replica.store import TableStore
from ddb_lake.replica.vacuum import Vacuumed, vacuum
from ddb_lake.windows import format_time, listed

LEAST_RETENTION_OF_CHANGES = timedelta(days=1)
"""What a change log's `delta.deletedFileRetentionDuration` can't go below: a staging commits at its very end."""


@dataclass(frozen=True)
class Folded:
    """What the folds of a maintenance did.

    Args:
        folds: How many were committed.
        overtaken: How many were void, because others had removed their files.
        files_removed: Data files that were folded.
        files_added: Data files that have taken their place.
        bytes_read: Of the files folded.
        bytes_written: Of the new files and their segments of the key index.
        reasons: Why, each once.
        errors: What has kept folds from being done.
    """

    folds: int = 0
    overtaken: int = 0
    files_removed: int = 0
    files_added: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    reasons: tuple[str, ...] = ()
    errors: tuple[ReplicaError, ...] = ()


@dataclass(frozen=True)
class ChangeLogUpkeep:
    """What the maintenance of a change log did.

    Args:
        files: Data files that the log names.
        vacuumed: What was removed for good.
        log_files_removed: Files of the Delta log that were cleaned up.
        lost: Files that the log names and that are not there as it has them.
    """

    files: int
    vacuumed: Vacuumed
    log_files_removed: int
    lost: tuple[LostFile, ...] = ()


@dataclass(frozen=True)
class MaintenanceReport:
    """What a maintenance did and what it cost.

    Args:
        version: The table's version after it.
        files: Data files after it.
        live_rows: Rows after it.
        dead_rows: Dead rows in the data files after it.
        folded: What the folds did.
        vacuumed: What was removed for good.
        checkpoint: Whether a checkpoint was written.
        log_files_removed: Files of the log that were cleaned up.
        lost: Files that the log names and that are not there as it has them.
        change_log: What the maintenance of the change log did.
        seconds: How long each part took.
    """

    version: int
    files: int
    live_rows: int
    dead_rows: int
    folded: Folded
    vacuumed: Vacuumed
    checkpoint: bool
    log_files_removed: int
    lost: tuple[LostFile, ...] = ()
    change_log: ChangeLogUpkeep | None = None
    seconds: dict[str, float] = field(default_factory=dict[str, float])


def fold_all(
    store: TableStore,
    location: Location,
    read: Callable[[], tuple[Snapshot, Account]],
    keys: list[str],
    policy: FoldPolicy,
) -> Folded:
    """Do the folds that are due, one commit each, until none is. One that fails keeps none of the others back.

    Args:
        store: The table's folder.
        location: Where it is, for messages.
        read: Returns the table as it is now, and what it holds.
        keys: The key's columns.
        policy: When files are folded.
    """
    done = Folded()
    failed: dict[str, ReplicaError] = {}
    while due := plan_folds(read()[0].files.values(), policy):
        before = done.folds
        for fold in due:
            if failed.keys() & set(fold.paths):
                continue
            try:
                done = _fold(store, location, read, keys, fold, done)
            except ReplicaError as error:
                failed.update(dict.fromkeys(fold.paths, error))
        if done.folds == before:
            break  # others are folding the same files, or all that are left have failed
    return replace(done, errors=tuple(dict.fromkeys(failed.values())))


def _fold(
    store: TableStore,
    location: Location,
    read: Callable[[], tuple[Snapshot, Account]],
    keys: list[str],
    fold: Fold,
    done: Folded,
) -> Folded:
    snapshot, _ = read()
    sources = [snapshot.files[path] for path in fold.paths if path in snapshot.files]
    if len(sources) < len(fold.paths):
        return replace(done, overtaken=done.overtaken + 1)
    folded = write_folded(store, snapshot, sources, keys)

    def attempt() -> int:
        newest, account = read()
        return commit_folded(store, newest, account, folded, fold.reason)

    try:
        delta.repeat_on_conflict(location, attempt)
    except Overtaken:
        discard(store, folded)
        return replace(done, overtaken=done.overtaken + 1)
    except UncertainCommit:
        raise
    except ReplicaError:
        with suppress(StorageFailed):  # the first error counts
            discard(store, folded)
        raise
    return replace(
        done,
        folds=done.folds + 1,
        files_removed=done.files_removed + len(sources),
        files_added=done.files_added + (folded.file is not None),
        bytes_read=done.bytes_read + folded.bytes_read,
        bytes_written=done.bytes_written + folded.bytes_written,
        reasons=tuple(dict.fromkeys((*done.reasons, fold.reason))),
    )


def maintain(
    store: TableStore,
    location: Location,
    read: Callable[[], tuple[Snapshot, Account]],
    read_with_tombstones: Callable[[], tuple[Snapshot, Account]],
    keys: list[str],
    policy: FoldPolicy,
) -> MaintenanceReport:
    """Fold, write a checkpoint, clean the log up, vacuum, and look whether all files are there.

    Args:
        store: The table's folder.
        location: Where it is.
        read: Returns the table as it is now, and what it holds.
        read_with_tombstones: The same, with the files that were removed lately.
        keys: The key's columns.
        policy: When files are folded.

    Returns:
        The report; what has kept folds from being done is in it, and so is what is lost.
    """
    seconds: dict[str, float] = {}

    def timed(name: str, begin: float) -> float:
        now = time.perf_counter()
        seconds[name] = round(now - begin, 3)
        return now

    at = time.perf_counter()
    folded = fold_all(store, location, read, keys, policy)
    at = timed("fold", at)
    snapshot, _ = read()
    checkpoint = snapshot.commits_since_checkpoint > 0 and write_checkpoint(location)
    at = timed("checkpoint", at)
    removed = clean_up_log(store, location)
    at = timed("cleanup", at)
    snapshot, account = read_with_tombstones()
    found = store.walk()
    lost = lost_files(snapshot, found)
    at = timed("verification", at)
    vacuumed = vacuum(store, snapshot, account, found, damaged=bool(lost))
    timed("vacuum", at)
    files = snapshot.files.values()
    return MaintenanceReport(
        version=snapshot.number,
        files=len(files),
        live_rows=sum((each.rows or 0) - each.dead for each in files),
        dead_rows=sum(each.dead for each in files),
        folded=folded,
        vacuumed=vacuumed,
        checkpoint=checkpoint,
        log_files_removed=removed,
        lost=lost,
        seconds=seconds,
    )


def maintain_change_log(
    store: TableStore, location: Location, read: Callable[[], tuple[Snapshot, Account]]
) -> ChangeLogUpkeep:
    """Clean the log up, vacuum, and look whether all files are there.

    Args:
        store: The table's folder.
        location: Where it is.
        read: Returns the table as it is now, with the files that were removed lately, and what it holds.
    """
    removed = clean_up_log(store, location)
    snapshot, account = read()
    found = store.walk()
    lost = lost_files(snapshot, found)
    return ChangeLogUpkeep(
        files=len(snapshot.files),
        vacuumed=vacuum(store, snapshot, account, found, LEAST_RETENTION_OF_CHANGES),
        log_files_removed=removed,
        lost=lost,
    )


def refuse_losses(
    replica: Location, account: Account, lost: tuple[LostFile, ...], changes: Location, upkeep: ChangeLogUpkeep | None
) -> None:
    """Check that nothing is lost.

    Raises:
        LostFiles: If something is, with what brings it back.
    """
    said: list[str] = []
    if lost and account.bootstrap is not None:
        said.append(
            f"{replica}: {named(lost)}. Restore what is lost as it was, from a backup or the bucket's versions; or "
            "materialise initial_items and initial_table again, which brings the state of "
            f"{format_time(account.bootstrap.time)} back, and the windows since, whose exports and decoded changes "
            "are taken again; or, if that is long ago, move start in lake.yaml to a later quarter-hour for a new "
            "initial load"
        )
    if upkeep is not None and upkeep.lost:
        names = {name for each in upkeep.lost if (name := each.file.partition.get(EXPORT)) is not None}
        exports = sorted(map(export_window, names))
        said.append(
            f"{changes}: {named(upkeep.lost)}. Restore what is lost as it was, or materialise raw_export and "
            f"decoded_items of {listed(exports)} again"
        )
    if said:
        raise LostFiles("; and ".join(said) + ". All else of the maintenance is done")
