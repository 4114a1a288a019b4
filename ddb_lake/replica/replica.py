"""The replica: a plain Delta table with a source table's current state, kept by either strategy."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NoReturn

import polars as pl

from ddb_lake.decoded_rows import DecodedRows
from ddb_lake.replica import bootstrap as staging
from ddb_lake.replica import commits
from ddb_lake.replica import table as delta
from ddb_lake.replica.bootstrap import StagedBootstrap, StagedShard, Staging
from ddb_lake.replica.change_log import ChangeLog, ChangeLogSnapshot
from ddb_lake.replica.columns import (
    ROW_METADATA,
    Column,
    added,
    attribute_columns,
    column_types,
    fields,
    key_names,
)
from ddb_lake.replica.conversion import Conversion, Converted
from ddb_lake.replica.coverage import (
    Account,
    Bootstrap,
    commit_note,
    read_account,
    require_account,
    tables_of_transactions,
)
from ddb_lake.replica.decision import decide
from ddb_lake.replica.delta_log import Conflict, Metadata, Note, Snapshot, read_snapshot
from ddb_lake.replica.errors import (
    BothFailed,
    NotBootstrapped,
    NotDecoded,
    OutdatedBootstrap,
    ReplicaError,
    SchemaConflict,
    StagedBootstrapMissing,
    WrongSourceTable,
)
from ddb_lake.replica.exact_names import arrange
from ddb_lake.replica.folding import FoldPolicy
from ddb_lake.replica.inventory import lost_files
from ddb_lake.replica.location import Location
from ddb_lake.replica.maintenance import MaintenanceReport, maintain, refuse_losses
from ddb_lake.replica.mark import mark_changes
from ddb_lake.replica.merge import AppliedRows, Effort, check_types, merge_changes
from ddb_lake.replica.partitioning import (
    PartitionColumn,
    check_partitioning,
    partition_fields,
    partitioning_of,
    with_partitions,
)
from ddb_lake.replica.rewrite import is_wide, rewrite_changes
from ddb_lake.replica.spans import Spans, encode_spans
from ddb_lake.replica.store import ObjectTableStore, TableStore
from ddb_lake.replica.strategy import Strategy, strategy_of
from ddb_lake.windows import Window, format_time, listed, merge, missing

REMEDY = "commit a bootstrap of the new source table, which replaces all rows, or choose another folder"


@dataclass(frozen=True)
class ReplicaState:
    """What a replica is and holds at one version; of one read of its log, so that all of it belongs together.

    Args:
        version: The Delta version.
        strategy: How windows are applied.
        columns: The attribute columns, in the schema's order.
        bootstrap: The full export that it builds upon.
        coverage: What was applied since the bootstrap, as disjoint windows in order.
        spans: The windows of the exports that were applied since the bootstrap, in order. After the log's cleanup
            of all our commits they are not known for the time that `coverage` has then.
    """

    version: int
    strategy: Strategy
    columns: tuple[Column, ...]
    bootstrap: Bootstrap | None
    coverage: tuple[Window, ...]
    spans: tuple[Window, ...]

    @classmethod
    def of(cls, version: int, strategy: Strategy, columns: Iterable[Column], account: Account) -> "ReplicaState":
        """Return the state of a table that holds what an account says."""
        return cls(
            version=version,
            strategy=strategy,
            columns=tuple(columns),
            bootstrap=account.bootstrap,
            coverage=account.coverage,
            spans=account.spans.all(),
        )


@dataclass(frozen=True)
class BootstrapCommit:
    """What the commit of a bootstrap did.

    Args:
        version: The Delta version that holds it (or held it already).
        export_id: The full export.
        bootstrap_time: Everything written before this time is in it.
        rows_before: How many items the replica had, of any bootstrap; 0 without a table, or with a damaged one.
        rows: How many items it has.
        files: How many files were committed; 0 if it was already.
        outcome: Whether the table was created, its rows were replaced, or the same export was there already
            and everything applied since was left alone.
        state: The replica at that version.
    """

    version: int
    export_id: str
    bootstrap_time: datetime
    rows_before: int
    rows: int
    files: int
    outcome: Literal["created", "replaced", "already_committed"]
    state: ReplicaState


@dataclass(frozen=True)
class ReplicaCommit:
    """What the application of a window did.

    Args:
        version: The Delta version that covers the window.
        window: What was asked for.
        spans: The windows of the exports that were applied, in order, each as a whole.
        rows_before: The replica's rows before.
        rows_after: The replica's rows after.
        inserted: New keys.
        updated: Keys whose row was replaced.
        deleted: Keys that are gone, those included of which an export tells it only by having no record.
        ignored: Changes without effect: beaten by later ones, contradicted by an export that knows no such
            item, or deletes of keys that were not there.
        changes: How many changes the exports have, each one's counted.
        strategy: How the window was applied.
        effort: What it cost.
        path: `merge` if rows changed, `coverage_only` if the commit only says that the window is covered,
            `before_bootstrap` if the window is in the full export, so that there was nothing to commit.
        state: The replica at that version.
    """

    version: int
    window: Window
    spans: tuple[Window, ...]
    rows_before: int
    rows_after: int
    inserted: int
    updated: int
    deleted: int
    ignored: int
    changes: int
    strategy: Strategy
    effort: Effort
    path: Literal["merge", "coverage_only", "before_bootstrap"]
    state: ReplicaState


class Replica:
    """The Delta table that holds one source table's current state.

    Args:
        location: The Delta table's folder.
        table_id: The source table's TableId.
        change_log: The same source table's changes.
        strategy: How windows are applied to a table that a bootstrap makes; one that exists tells by itself.
        partitioning: The partition columns of a table that a bootstrap makes.
        store: Reaches the folder; by default as `location` says.
    """

    def __init__(
        self,
        location: Location,
        table_id: str,
        change_log: ChangeLog,
        strategy: Strategy = Strategy.DELETION_VECTORS,
        partitioning: Iterable[PartitionColumn] = (),
        store: TableStore | None = None,
    ) -> None:
        if change_log.table_id != table_id:
            raise WrongSourceTable(
                f"{location} is to hold source table {table_id}, but {change_log.location} has the changes of "
                f"{change_log.table_id}; give both the same id"
            )
        self.location = location
        self.table_id = table_id
        self.change_log = change_log
        self.wanted_strategy = strategy
        self.wanted_partitioning = tuple(partitioning)
        self.store = ObjectTableStore(location) if store is None else store

    # What the replica holds

    def snapshot(self) -> Snapshot | None:
        """Return the Delta table as it is now; None without a table."""
        return read_snapshot(self.store, self.location)

    def state(self) -> ReplicaState | None:
        """Return what the replica is and holds now, by one read of its log; None without a table.

        The other accessors read the log each: for one question, not for several.
        """
        snapshot = self.snapshot()
        return None if snapshot is None else self._state(snapshot, self._account(snapshot))

    def coverage(self) -> tuple[Window, ...]:
        """Return the state's `coverage`; () without a table."""
        state = self.state()
        return () if state is None else state.coverage

    def spans(self) -> tuple[Window, ...]:
        """Return the state's `spans`; () without a table."""
        state = self.state()
        return () if state is None else state.spans

    def bootstrap_time(self) -> datetime | None:
        """Return the time of the full export that the replica builds upon, or None without one."""
        state = self.state()
        return None if state is None or state.bootstrap is None else state.bootstrap.time

    def version(self) -> int | None:
        """Return the Delta table's version, or None without a table."""
        snapshot = self.snapshot()
        return None if snapshot is None else snapshot.number

    def strategy(self) -> Strategy:
        """Return how windows are applied: as the table tells, or as is wanted of one that is to be made."""
        snapshot = self.snapshot()
        return self.wanted_strategy if snapshot is None else strategy_of(snapshot)

    def columns(self) -> tuple[Column, ...]:
        """Return the attribute columns in the schema's order; () without a table."""
        snapshot = self.snapshot()
        return () if snapshot is None else attribute_columns(snapshot.metadata.schema)

    def count(self) -> int:
        """Return how many items there are; 0 without a table."""
        snapshot = self.snapshot()
        return 0 if snapshot is None else commits.count_rows(self.store, snapshot)

    def scan(self) -> pl.LazyFrame:
        """Return the rows to query: `_key_hash`, `_write_time_us`, `_tie_break` and the attributes.

        Raises:
            NotBootstrapped: If there is no table yet.
        """
        table = delta.open_table(self.location)
        if table is None:
            raise self._not_bootstrapped()
        place = self.location
        if place.credentials is None:
            return pl.scan_delta(table, storage_options=place.polars_options or None)
        # polars asks for keys itself only where it has opened the table.
        return pl.scan_delta(
            place.uri,
            version=table.version(),
            storage_options=place.polars_options,
            credential_provider=place.credentials.for_polars,
        )

    # Keeping it

    def maintain(self, policy: FoldPolicy | None = None) -> MaintenanceReport:
        """Fold files, write a checkpoint, clean the logs up and vacuum: safe beside windows that run.

        Whether all files are there that the logs of the replica and of the change log name is looked at as well.

        Raises:
            NotBootstrapped: If there is no table yet.
            LostFiles: If not; all else is done.
            DamagedDataFile: If a data file that is to be folded is damaged.
            TooManyConflicts: If others win every try at a fold's commit.
            BothFailed: If the maintenance of the replica and that of the change log fail; the first is its cause.
        """
        keys = key_names(self.columns() or self._raise_not_bootstrapped(), str(self.location))
        try:
            report = maintain(
                self.store,
                self.location,
                self._read,
                lambda: self._read(with_tombstones=True),
                keys,
                policy or FoldPolicy(),
            )
        except Exception as error:
            try:
                self.change_log.maintain()
            except Exception as second:  # noqa: BLE001 (it is reported with the first)
                raise BothFailed(
                    f"the maintenance of {self.location} failed ({type(error).__name__}: {error}), and that of "
                    f"{self.change_log.location} too ({type(second).__name__}: {second})"
                ) from error
            raise
        upkeep = self.change_log.maintain()
        refuse_losses(self.location, self._read()[1], report.lost, self.change_log.location, upkeep)
        if report.folded.errors:
            raise report.folded.errors[0]
        return replace(report, change_log=upkeep)

    def convert(self, strategy: Strategy) -> Converted:
        """Move the table to a strategy, in one commit.

        Raises:
            NotBootstrapped: If there is no table yet.
            UnsupportedTable: If the table has a change data feed, and is to have deletion vectors.
            TooManyConflicts: If others win every try; the table is as it was.
        """
        keys = key_names(self.columns() or self._raise_not_bootstrapped(), str(self.location))
        conversion = Conversion(self.store, strategy, keys)
        return delta.repeat_on_conflict(self.location, lambda: conversion.attempt(*self._read()))

    def _read(self, *, with_tombstones: bool = False) -> tuple[Snapshot, Account]:
        """Return the table as it is now, and what it holds."""
        snapshot = read_snapshot(self.store, self.location, with_tombstones=with_tombstones)
        if snapshot is None:
            raise self._not_bootstrapped()
        return snapshot, self._account(snapshot)

    def _raise_not_bootstrapped(self) -> NoReturn:
        raise self._not_bootstrapped()

    # The bootstrap

    def stage_bootstrap(
        self,
        export_id: str,
        bootstrap_time: datetime,
        columns: Iterable[Column],
        shards: Iterable[tuple[str, Iterator[pl.DataFrame | DecodedRows]]],
        rules: str = "",
    ) -> StagedBootstrap:
        """Write a full export's rows beside the table, where nobody sees them yet.

        A staging that broke off goes on where it stopped: shards that were written to their end are not asked
        for their rows again. Staging an export again once it was staged as a whole is harmless: it writes new
        files and a new manifest, and never touches files that a commit may name by now. What was written before
        and not committed is removed by the maintenance.

        Args:
            export_id: The last part of the export's ARN.
            bootstrap_time: The export's time T.
            columns: The attribute columns, with the key's marked.
            shards: Each data file's name and its rows: `_key_hash`, `_write_time_us` (T in µs minus 1),
                `_tie_break` and exactly the columns.
            rules: What else decides how rows are made of the export, as a fingerprint: shards that were written by
                other rules are written again.

        Raises:
            InvalidColumn: If a column is unfit for Delta, or none is a key.
            SchemaConflict: If one contradicts those of the change log, perhaps by now: read its `columns()` again,
                decode with them and stage anew. The change log is as it was.
            UnstorableValue: If a value can't be written to a file.
            InvalidFrame: If rows have other columns or types than declared. As with whatever the shards raise, those
                that are done need not be given again: the next staging of the export goes on behind them.
            RepeatedKeys: If two rows have the same key; then nothing that was staged is kept.
        """
        checked = staging.check_columns(columns, str(self.location))
        check_partitioning(self.wanted_partitioning, checked, str(self.location))
        if staging.is_finished(self.store, export_id):
            staging.forget_notes(self.store, export_id)
        done = [self.stage_shard(export_id, bootstrap_time, checked, name, frames, rules) for name, frames in shards]
        return self.finish_staging(export_id, bootstrap_time, checked, done)

    def stage_shard(
        self,
        export_id: str,
        bootstrap_time: datetime,
        columns: Iterable[Column],
        name: str,
        frames: Iterator[pl.DataFrame | DecodedRows],
        rules: str = "",
    ) -> StagedShard:
        """Write one data file's rows; for many processes at once, each with shards of its own.

        The result is small and can be pickled: hand all of them to `finish_staging`.
        """
        common = Staging(
            table_id=self.table_id,
            export_id=export_id,
            bootstrap_time=bootstrap_time,
            columns=tuple(columns),
            strategy=self.wanted_strategy,
            partitioning=self.wanted_partitioning,
            where=str(self.location),
            rules=rules,
        )
        return staging.write_shard(self.store, common, name, frames)

    def finish_staging(
        self,
        export_id: str,
        bootstrap_time: datetime,
        columns: Iterable[Column],
        shards: Iterable[StagedShard],
    ) -> StagedBootstrap:
        """Write the manifest that makes the shards a whole, so that they can be committed.

        From now on their columns are the change log's: windows that are decoded before the commit keep to them.

        Raises:
            RepeatedKeys: If two rows have the same key; then nothing that was staged is kept.
            StagedBootstrapMissing: If a shard is not staged whole.
            SchemaConflict: If windows that were decoded meanwhile have given attributes other columns: decode with
                those, and stage anew.
        """
        checked = staging.check_columns(columns, str(self.location))
        shards = tuple(shards)
        where = f"{self.location}, bootstrap {export_id}"
        staging.require_single_keys(self.store, export_id, shards, key_names(checked, where), where)
        staged = StagedBootstrap(
            table_id=self.table_id,
            export_id=export_id,
            bootstrap_time=bootstrap_time,
            columns=checked,
            files=tuple(each for shard in shards for each in shard.files),
            partitioning=self.wanted_partitioning,
        )
        log = self.change_log.snapshot()
        added(log.columns, staged.columns, str(self.change_log.location))
        staging.write_manifest(self.store, staged, lambda: self.change_log.add_columns(staged.columns, log))
        return staged

    def staged_exports(self, bootstrap_time: datetime) -> list[str]:
        """Return the ids of this source table's full exports of a time that were staged as a whole, in order."""
        found = staging.read_manifests(self.store, self.location)
        fits = [each for each in found if (each.table_id, each.bootstrap_time) == (self.table_id, bootstrap_time)]
        return sorted(each.export_id for each in fits)

    def commit_bootstrap(self, export_id: str) -> BootstrapCommit:
        """Create the table from a staged export, or replace all of its rows and columns, in one commit.

        The coverage starts anew at the export's time. Committing the export that the replica already builds
        upon changes nothing, so that the windows applied since are kept; unless files of the table are lost: then
        its rows are replaced as well, and the windows are to be applied again; they must be in the change log.

        Raises:
            StagedBootstrapMissing: If the export was not staged, or a file of it is gone.
            NotDecoded: If files of the table are lost, and the change log lacks changes of windows that would have to
                be applied again.
            WrongSourceTable: If it was staged for another source table.
            OutdatedBootstrap: If the replica builds upon a later export: going back would lose what is
                known of the time between.
            TooManyConflicts: If others win every try; the table is as it was.
        """

        def attempt() -> BootstrapCommit:
            snapshot = self.snapshot()
            account = None if snapshot is None else read_account(self.location, snapshot.number, snapshot.infos)
            if snapshot is not None and account is None:
                account = self._account(snapshot)
            same = account is not None and account.table_id == self.table_id
            bootstrap = None if account is None else account.bootstrap
            is_whole = True
            if snapshot is not None and account and same and bootstrap and bootstrap.export_id == export_id:
                is_whole = not lost_files(snapshot, self.store.walk())
                if is_whole:
                    return self._already_committed(snapshot, account, export_id)
            staged = staging.read_manifest(self.store, self.location, export_id)
            if staged.table_id != self.table_id:
                raise WrongSourceTable(
                    f"{self.location}: the export {export_id} was staged for source table {staged.table_id}, "
                    f"not {self.table_id}; stage the right one"
                )
            if snapshot is not None and account is not None and bootstrap is not None:
                if same and bootstrap == Bootstrap(None, staged.bootstrap_time):
                    is_whole = not lost_files(snapshot, self.store.walk())
                    if is_whole:
                        return self._already_committed(snapshot, account, export_id)
                names = {each.path for each in staged.files}
                if not is_whole and names & {each.object_path for each in snapshot.files.values()}:
                    raise StagedBootstrapMissing(
                        f"{self.location} has lost files, and the export {export_id} is staged in files that are "
                        "part of it: stage it again (materialise initial_items, then initial_table)"
                    )
                if not is_whole:
                    self._require_windows_since(account, staged)
                if staged.bootstrap_time < bootstrap.time:
                    raise OutdatedBootstrap(
                        f"{self.location} builds upon the full export of "
                        f"{format_time(bootstrap.time)}; the export {export_id} is of "
                        f"{format_time(staged.bootstrap_time)}. To go back, give the replica another folder"
                    )
            self._keep_columns(staged)
            holds = Account(self.table_id, bootstrap=Bootstrap(export_id, staged.bootstrap_time))
            note = commit_note(
                holds,
                {"did": "bootstrap", "rows": staged.rows},
                retired_table_id=None if account is None else account.table_id,
            )
            rows_before = 0 if snapshot is None or not is_whole else commits.count_rows(self.store, snapshot)
            made = [*fields(staging.table_columns(staged.columns)), *partition_fields(staged.partitioning)]
            partitions = [each.name for each in staged.partitioning]
            files = [each.add_file() for each in staged.files]
            strategy = self.wanted_strategy
            if snapshot is None:
                version = commits.create_table(self.store, strategy, made, partitions, files, note)
            else:
                version = commits.replace_table(self.store, snapshot, strategy, made, partitions, files, note)
            return BootstrapCommit(
                version=version,
                export_id=export_id,
                bootstrap_time=staged.bootstrap_time,
                rows_before=rows_before,
                rows=staged.rows,
                files=len(files),
                outcome="created" if snapshot is None else "replaced",
                state=ReplicaState.of(version, strategy, staged.columns, holds),
            )

        return delta.repeat_on_conflict(self.location, attempt)

    def _require_windows_since(self, account: Account, staged: StagedBootstrap) -> None:
        """Check that what was applied since a bootstrap can be applied again.

        Raises:
            NotDecoded: If the change log has no longer all of it.
        """
        log = self.change_log.snapshot()
        start = staged.bootstrap_time
        lost: list[Window] = []
        for each in account.coverage:
            if each.end <= start:
                continue
            since = Window(max(each.start, start), each.end)
            exports = [export for export in log.exports(since) if export.start >= start]
            lost += [*missing(since, exports), *log.incomplete(exports)]
        if lost:
            raise NotDecoded(
                f"{self.location} has lost files and would go back to the full export of {format_time(start)}, but "
                f"{log.store} no longer has all changes of {listed(merge(lost))}, which could not be applied again. "
                "The replica was left as it is: decode those windows again first (materialise raw_export and "
                "decoded_items of them), then materialise initial_table; or move start in lake.yaml to a later "
                "quarter-hour for a new initial load; or restore the lost files"
            )

    def _keep_columns(self, staged: StagedBootstrap) -> None:
        """Make sure that the change log has the staged columns: the staging may have died just before that.

        Raises:
            SchemaConflict: If it has others since.
        """
        try:
            self.change_log.add_columns(staged.columns)
        except SchemaConflict as error:
            raise SchemaConflict(
                f"the export {staged.export_id} was staged with other columns than its source table has by now, so "
                f"it was not committed: stage it again (materialise initial_items). {error}"
            ) from error

    def _already_committed(self, snapshot: Snapshot, account: Account, export_id: str) -> BootstrapCommit:
        rows = commits.count_rows(self.store, snapshot)
        assert account.bootstrap is not None
        return BootstrapCommit(
            version=snapshot.number,
            export_id=export_id,
            bootstrap_time=account.bootstrap.time,
            rows_before=rows,
            rows=rows,
            files=0,
            outcome="already_committed",
            state=self._state(snapshot, account),
        )

    # The windows

    def apply(self, window: Window) -> ReplicaCommit:
        """Apply the decoded exports that touch `window`, each as a whole, and record them, in one commit.

        Exports may come in any order, overlapped, split differently and repeatedly: a change counts only if it
        is newer than what the table and the applied deletes know of its key, and only if no applied export
        tells, by having no record of the key, that the item was gone. Where the covered windows have no gap and
        each was applied as decoded, the table is the source table at the last one's end. The exports' changes
        are held in memory.

        An export that begins before the bootstrap's time and ends after it is never applied: of an item of the
        full export that it has no record of, it can't tell whether it was untouched or created before that time
        and deleted after it.

        Raises:
            NotBootstrapped: If no full export was committed yet.
            NotDecoded: If the change log's exports don't cover the window from the bootstrap's time on.
            SchemaConflict: If the change log and the replica give one column two types or meanings.
            WrongSourceTable: If the table or the change log holds another source table.
            TooManyConflicts: If others win every try; the table is as it was.
        """
        return delta.repeat_on_conflict(self.location, lambda: self._apply(window))

    def _apply(self, window: Window) -> ReplicaCommit:
        # The replica first, then the log: whatever was applied to this snapshot is in the log by now, and
        # whatever is applied later makes this attempt's commit a conflict.
        snapshot = self.snapshot()
        account = None if snapshot is None else self._account(snapshot)
        if snapshot is None or account is None or account.bootstrap is None:
            raise self._not_bootstrapped()
        rows_before = commits.count_rows(self.store, snapshot)
        strategy = strategy_of(snapshot)
        if window.end <= account.bootstrap.time:
            return ReplicaCommit(
                version=snapshot.number,
                window=window,
                spans=(),
                rows_before=rows_before,
                rows_after=rows_before,
                inserted=0,
                updated=0,
                deleted=0,
                ignored=0,
                changes=0,
                strategy=strategy,
                effort=Effort(),
                path="before_bootstrap",
                state=self._state(snapshot, account),
            )
        since = Window(max(window.start, account.bootstrap.time), window.end)
        log = self.change_log.snapshot()
        batch = self._exports_to_apply(log, since, account.bootstrap.time)
        self._require_later_changes(log, account, batch)
        keys = key_names(log.columns, str(self.change_log.location))
        decision = decide(account, log, batch, keys, self._reader_of(snapshot, log.columns))
        holds = account.covering(batch)
        note = commit_note(
            holds,
            {"did": "apply", "exports": encode_spans(Spans().adding(batch)), "changes": decision.told},
        )
        done, changed, columns = self._write(snapshot, account, log, decision.changes, keys, note)
        effective = done.inserted + done.updated + done.deleted - (decision.implied if changed else 0)
        return ReplicaCommit(
            version=done.version,
            window=window,
            spans=batch,
            rows_before=rows_before,
            rows_after=rows_before + done.inserted - done.deleted,
            inserted=done.inserted,
            updated=done.updated,
            deleted=done.deleted,
            ignored=decision.told - effective,
            changes=decision.told,
            strategy=strategy,
            effort=done.effort,
            path="merge" if changed else "coverage_only",
            state=ReplicaState.of(done.version, strategy, columns, holds),
        )

    def _write(
        self,
        snapshot: Snapshot,
        account: Account,
        log: ChangeLogSnapshot,
        changes: pl.DataFrame,
        keys: list[str],
        note: Note,
    ) -> tuple[AppliedRows, bool, tuple[Column, ...]]:
        """Bring changes into the rows as the table's strategy does.

        The change log's columns that the replica lacks are added: in the same commit, or in one before a MERGE.

        Returns:
            What that did, whether it changed any row, and the attribute columns after it.
        """
        there = attribute_columns(snapshot.metadata.schema)
        new = added(there, log.columns, str(self.location))
        metadata = commits.with_columns(snapshot.metadata, fields(new)) if new else None
        schema = (metadata or snapshot.metadata).schema
        check_types(self.location, schema, changes)
        if strategy_of(snapshot) is Strategy.DELETION_VECTORS:
            applied = mark_changes(self.store, snapshot, changes, keys, note, metadata)
        elif is_wide(metadata or snapshot.metadata):
            applied = rewrite_changes(self.store, snapshot, changes, keys, note, metadata)
        else:
            if metadata is not None:
                did = {"did": "add columns", "columns": [column.name for column in new]}
                before = snapshot.metadata
                snapshot = commits.change_columns(self.store, snapshot, metadata, commit_note(account, did))
                metadata = None
            else:
                before = None
            partitioning = partitioning_of(schema, snapshot.metadata.partition_columns)
            changes = with_partitions(changes, partitioning, attribute_columns(schema))
            with self._columns_taken_back(snapshot, account, before):
                table = delta.at_version(self.location, snapshot.number)
                applied = merge_changes(self.location, table, changes, keys, note)
        if applied is not None:
            return applied, True, (*there, *new)
        version = commits.commit_nothing(self.store, snapshot, note, metadata)
        return AppliedRows(version, 0, 0, 0, Effort()), False, (*there, *new)

    @contextmanager
    def _columns_taken_back(self, snapshot: Snapshot, account: Account, before: Metadata | None) -> Generator[None]:
        """Take the columns back that were added for a MERGE, where that fails and nobody has committed since."""
        try:
            yield
        except BaseException:  # a panic in delta-rs, a canceled run
            if before is not None:
                note = commit_note(account, {"did": "take columns back"})
                with suppress(Conflict, ReplicaError):  # the first error counts; columns without values harm nobody
                    commits.change_columns(self.store, snapshot, before, note)
            raise

    def _reader_of(
        self, snapshot: Snapshot, log_columns: Iterable[Column]
    ) -> Callable[[list[str], str], pl.DataFrame]:
        """Return what reads the snapshot's rows, through delta-rs; columns that only the change log has are null."""
        types = {**ROW_METADATA, **{each.name: each.dtype for each in log_columns}}

        def read_rows(columns: list[str], predicate: str) -> pl.DataFrame:
            present = column_types(snapshot.metadata.schema)
            known = [name for name in columns if name in present]
            rows = delta.read(delta.at_version(self.location, snapshot.number), known, predicate)
            return arrange(rows, {name: types[name] for name in columns})

        return read_rows

    def _exports_to_apply(
        self, log: ChangeLogSnapshot, window: Window, bootstrap_time: datetime
    ) -> tuple[Window, ...]:
        """Return the log's exports that touch the window, once they are shown to cover it.

        Raises:
            NotDecoded: If they don't.
        """
        touching = log.exports(window)
        batch = tuple(each for each in touching if each.start >= bootstrap_time)
        holes = missing(window, batch)
        if holes:
            told = listed(holes)
            unfit = listed(each for each in touching if each.start < bootstrap_time)
            raise NotDecoded(
                f"{log.store} has no changes of {told} of the window {window}: "
                + (
                    f"the export of {unfit} begins before the full export of {format_time(bootstrap_time)}, so it "
                    "can't tell what became of that one's items; decode an export that begins with it or later"
                    if unfit
                    else "decode its export first"
                )
            )
        return batch

    def _require_later_changes(self, log: ChangeLogSnapshot, account: Account, batch: tuple[Window, ...]) -> None:
        """Check that the log still tells what the replica contains from the batch's time on.

        Only the log knows of the deletes that may beat the batch's changes.

        Raises:
            NotDecoded: If it does not: parts of the log have been removed.
        """
        later = [
            Window(max(each.start, batch[0].start), each.end)
            for each in account.coverage
            if each.end > batch[0].start
        ]
        lost = [hole for each in later for hole in log.lacking(each)]
        # What an applied export leaves out counts against the batch, so that its records must be there.
        met = {other for each in batch for other in account.spans.overlapping(each)}
        lost += sorted(each for each in met if each not in log.exports(each))
        if lost:
            told = listed(lost)
            raise NotDecoded(
                f"{log.store} no longer has the changes of {told}, which {self.location} contains: a delete among "
                "them may beat a change that is to be applied now. Decode their exports again first, or replace the "
                "replica by a later bootstrap"
            )

    def _state(self, snapshot: Snapshot, account: Account) -> ReplicaState:
        columns = attribute_columns(snapshot.metadata.schema)
        return ReplicaState.of(snapshot.number, strategy_of(snapshot), columns, account)

    def _account(self, snapshot: Snapshot) -> Account:
        return require_account(self.location, snapshot, self.table_id, REMEDY, snapshot.infos)

    def _not_bootstrapped(self) -> NotBootstrapped:
        return NotBootstrapped(
            f"{self.location} has no full export to build upon: commit the bootstrap of source table "
            f"{self.table_id} first"
        )


def source_table_of(location: Location, bootstrap_time: datetime) -> str | None:
    """Return the TableId that the lake itself knows of a replica; None where it knows none, or not which one.

    It is in the replica's own commits. Before the first of them it is in what was staged.

    Args:
        location: The replica's folder.
        bootstrap_time: Of which time's full export the first commit is to be.

    Raises:
        UnclearRestore: If the table was restored to a version that can't be told.
    """
    store = ObjectTableStore(location)
    snapshot = read_snapshot(store, location)
    if snapshot is not None:
        account = read_account(location, snapshot.number, snapshot.infos)
        known = set(tables_of_transactions(snapshot.transactions)) if account is None else {account.table_id}
    else:
        staged = staging.read_manifests(store, location)
        known = {each.table_id for each in staged if each.bootstrap_time == bootstrap_time}
    return known.pop() if len(known) == 1 else None
