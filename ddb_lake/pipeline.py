"""From an export to the lake, for one source table: what each asset does, without Dagster.

Here the pure packages meet: exports are found or started, their files fetched and decoded, and the changes
written to the change log and applied to the replica. Every step is idempotent.
"""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

import polars as pl

from ddb_lake.config import RecoveryPolicy, TableSettings
from ddb_lake.decoding import (
    ExportFile,
    ItemSchema,
    decode_changes,
    decode_items,
    learn_changes,
    learn_items,
)
from ddb_lake.errors import DdbLakeError
from ddb_lake.exports import (
    Export,
    ExportClient,
    ExportRequest,
    ExportStatus,
    FullExport,
    IncrementalExport,
    Manifest,
    SourceTable,
    download,
    require_files,
)
from ddb_lake.exports.errors import RecoveryDisabled
from ddb_lake.replica import (
    BootstrapCommit,
    ChangeLog,
    ChangeLogCommit,
    Column,
    Location,
    Replica,
    ReplicaCommit,
    StagedBootstrap,
)
from ddb_lake.replica.errors import SchemaConflict, WrongSourceTable
from ddb_lake.windows import Window, blocks, format_time, quarter_hours, to_us

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = (1, 2, 4, 8)
"""Between the first looks at a running export; empty tables are exported quickly by the embedded AWS."""
_LAST_POLL_SECONDS = 10
"""Between all later looks: an export takes minutes, and DescribeExport is throttled in bursts."""
_DOWNLOADS = 4
"""Data files fetched at once."""
_SCHEMA_TRIES = 10
"""Tries at adding columns while others add theirs to the same change log."""


class NotExported(DdbLakeError):
    """There is no completed export to decode."""


@dataclass(frozen=True)
class VerifiedExport:
    """A completed export whose manifest has been read and checked; `size` is its files' compressed bytes."""

    request: ExportRequest
    export: Export
    manifest: Manifest
    size: int


@dataclass(frozen=True)
class DecodedWindow:
    """What was written to the change log for a window, from which exports."""

    window: Window
    exports: tuple[VerifiedExport, ...]
    commits: tuple[ChangeLogCommit, ...]
    added_columns: tuple[str, ...]


@dataclass(frozen=True)
class StagedItems:
    """The bootstrap's files in the replica's folder, not yet committed, and the export that they came from."""

    source: VerifiedExport
    staged: StagedBootstrap
    added_columns: tuple[str, ...]


class Pipeline:
    """One source table's way into the lake.

    Args:
        settings: The table's part of lake.yaml.
        exports: The client for the table's region and destination.
        locate: Gives the location of the table's Delta table of a name (`change_log/<TableId>`, `replica`).
    """

    def __init__(self, settings: TableSettings, exports: ExportClient, locate: Callable[[str], Location]) -> None:
        self.settings = settings
        self.exports = exports
        self.table: SourceTable = exports.describe_table(settings.table)
        # By its id, so that a table that was re-created under the same name begins a change log of its own.
        self.change_log = ChangeLog(locate(f"change_log/{self.table.table_id}"), self.table.table_id)
        self.replica = Replica(locate("replica"), self.table.table_id, self.change_log)

    @property
    def bootstrap_request(self) -> FullExport:
        """The full export that the replica starts from."""
        return FullExport(self.table, self.settings.start)

    def window_request(self, window: Window) -> IncrementalExport:
        """The incremental export of a window of 15 minutes to 24 hours."""
        return IncrementalExport(self.table, window, self.settings.view)

    def is_bootstrapped(self) -> bool:
        """Tell whether the replica builds upon the full export of this very table at lake.yaml's `start`."""
        try:
            return self.replica.bootstrap_time() == self.settings.start
        except WrongSourceTable:
            return False  # of the table that had this name before

    def prepare_recovery(self) -> None:
        """Check that point-in-time recovery is on; turn it on where lake.yaml allows that.

        Raises:
            RecoveryDisabled: If it is off and lake.yaml says `recovery: check`.
        """
        if self.exports.recovery(self.table).enabled:
            return
        if self.settings.recovery is not RecoveryPolicy.ENABLE:
            raise RecoveryDisabled(
                f"point-in-time recovery of {self.table.name} is off, so DynamoDB can export nothing: turn it on "
                "(it is billed by the table's size), or let ddb_lake do so by `recovery: enable` in lake.yaml"
            )
        self.exports.enable_recovery(self.table)

    def ensure_export(self, request: ExportRequest) -> Export:
        """Find the request's export, or start it."""
        self.prepare_recovery()
        return self.exports.ensure(request)

    def wait_for_export(self, request: ExportRequest, wait: Callable[[str, float], None]) -> VerifiedExport:
        """Find the request's export or start it, wait until it has ended, and verify its manifest.

        Args:
            request: What to export.
            wait: Called between two looks at a running export with a line on its progress and the seconds to
                wait.

        Raises:
            ExportFailed: If it ends as FAILED; the next call starts a new attempt.
        """
        export = self.ensure_export(request)
        pauses = chain(_POLL_SECONDS, repeat(_LAST_POLL_SECONDS))
        while export.status is ExportStatus.IN_PROGRESS:
            since = format_time(export.started_at.replace(microsecond=0))
            wait(f"{request} runs since {since}; exports take about five minutes: {export.arn}", next(pauses))
            export = self.exports.describe(export.arn)
        return self._verify(request, export)

    def decode(self, window: Window) -> DecodedWindow:
        """Decode a window's completed exports into the change log, replacing what the log has of the window.

        Taken is the export of just this window; where there is none, the exports of its single quarter-hours,
        or of a wider window around them, of which only the changes in question are kept.

        Raises:
            NotExported: If a part of the window has no completed export.
        """
        exports: list[VerifiedExport] = []
        commits: list[ChangeLogCommit] = []
        added: list[str] = []
        for part, source in self._sources(window):
            with self._fetched(source.manifest) as files:
                schema, new_columns = self._learn(files.all, learn_changes)
                frames = (
                    frame.filter(pl.col("_write_time_us").is_between(part.start_us, part.end_us, closed="left"))
                    if source.manifest.window != part
                    else frame
                    for file in files.all
                    for frame in decode_changes(file, schema)
                )
                commits.append(self.change_log.replace(part, frames))
            exports.append(source)
            added += new_columns
        return DecodedWindow(window, tuple(exports), tuple(commits), tuple(added))

    def apply(self, window: Window) -> ReplicaCommit:
        """Apply a decoded window to the replica, in one commit.

        Raises:
            NotBootstrapped: If the replica has no bootstrap to build upon.
            NotDecoded: If the window is not in the change log.
        """
        return self.replica.apply(window)

    def stage_bootstrap(self) -> StagedItems:
        """Decode the completed full export into Parquet files in the replica's folder, one shard a data file."""
        request = self.bootstrap_request
        source = self._completed(request)
        if source is None:
            raise NotExported(f"{request} has not completed; materialise {self.settings.name}/initial_export first")
        with self._fetched(source.manifest) as files:
            schema, added = self._learn(files.all, learn_items)
            write_time_us = to_us(request.time) - 1
            staged = self.replica.stage_bootstrap(
                source.export.export_id,
                request.time,
                _table_columns(schema),
                ((file.path.name, decode_items(file, schema, write_time_us)) for file in files.all),
            )
        return StagedItems(source, staged, added)

    def commit_bootstrap(self) -> BootstrapCommit:
        """Make the staged files the replica, in one commit."""
        request = self.bootstrap_request
        source = self._completed(request)
        if source is None:
            raise NotExported(f"{request} has not completed; materialise {self.settings.name}/initial_export first")
        return self.replica.commit_bootstrap(source.export.export_id)

    def schema(self) -> ItemSchema:
        """Return the mapping of attributes to columns that the change log keeps."""
        return ItemSchema.from_fields(
            self.table.key,
            [(column.name, column.metadata) for column in self.change_log.columns()],
        )

    def _verify(self, request: ExportRequest, export: Export) -> VerifiedExport:
        manifest = self.exports.read_manifest(request, export)
        return VerifiedExport(request, export, manifest, require_files(self.exports.s3, manifest))

    def _completed(self, request: ExportRequest) -> VerifiedExport | None:
        for export in reversed(self.exports.find(request)):
            if export.status is ExportStatus.COMPLETED:
                return self._verify(request, export)
        return None

    def _sources(self, window: Window) -> Iterator[tuple[Window, VerifiedExport]]:
        """Yield the parts of a window, none longer than a day, each with the export to decode it from."""
        for block in blocks(quarter_hours(window)):
            whole = self._completed(self.window_request(block))
            if whole is not None:
                yield block, whole
                continue
            for part in quarter_hours(block):
                yield part, self._covering(part)

    def _covering(self, window: Window) -> VerifiedExport:
        """Return the completed export with the narrowest window that contains a quarter-hour."""
        wider = (
            w
            for w in self.exports.find_windows(self.table, window)
            if w.start <= window.start and window.end <= w.end
        )
        for candidate in sorted(wider, key=lambda w: w.duration):
            source = self._completed(self.window_request(candidate))
            if source is not None:
                return source
        raise NotExported(
            f"{self.table.name}: no completed export contains the window {window}; "
            f"materialise {self.settings.name}/raw_export first"
        )

    def _fetched(self, manifest: Manifest) -> "_FetchedFiles":
        return _FetchedFiles(self.exports, manifest)

    def _learn(
        self, files: Iterable[ExportFile], learn: Callable[[Iterable[ExportFile], ItemSchema], ItemSchema]
    ) -> tuple[ItemSchema, tuple[str, ...]]:
        """Widen the table's schema by what the files hold, and keep it in the change log before it is used.

        Returns:
            The schema to decode with, and the names of the columns that are new.
        """
        files = tuple(files)
        for _ in range(_SCHEMA_TRIES):
            known = {column.name for column in self.change_log.columns()}
            schema = learn(files, self.schema())
            new = tuple(column for column in _table_columns(schema) if column.name not in known)
            try:
                self.change_log.add_columns(new)
            except SchemaConflict:
                _LOG.info("%s: others added columns meanwhile; learning again", self.table.name)
                continue
            return schema, tuple(column.name for column in new)
        raise SchemaConflict(
            f"{self.table.name}: others kept adding columns to the change log, {_SCHEMA_TRIES} times over; try again"
        )


class _FetchedFiles:
    """An export's data files as verified local copies, for as long as the context lasts."""

    def __init__(self, exports: ExportClient, manifest: Manifest) -> None:
        self._exports = exports
        self._manifest = manifest
        self._folder = tempfile.TemporaryDirectory(prefix="ddb_lake_")
        self.all: tuple[ExportFile, ...] = ()

    def __enter__(self) -> "_FetchedFiles":
        folder = Path(self._folder.name)
        files = self._manifest.files
        try:
            with ThreadPoolExecutor(_DOWNLOADS) as pool:
                paths = pool.map(lambda file: download(self._exports.s3, file, self._manifest, folder), files)
                self.all = tuple(
                    ExportFile(file.uri, path, file.item_count) for file, path in zip(files, paths, strict=True)
                )
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _table_columns(schema: ItemSchema) -> tuple[Column, ...]:
    return tuple(Column(column.name, column.dtype, column.metadata) for column in schema.columns)
