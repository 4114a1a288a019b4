"""From an export to the lake, for one source table: what each asset does, without Dagster.

Here the pure packages meet: exports are found or started, their files fetched and decoded, and the changes
written to the change log and applied to the replica. Every step is idempotent.
"""

import logging
import os
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, repeat
from typing import TypeVar

from ddb_lake.attribute_settings import rules_of
from ddb_lake.config import RecoveryPolicy, TableSettings
from ddb_lake.decoded_rows import DecodedRows
from ddb_lake.decoding import (
    ItemSchema,
    Rules,
    Tally,
    decode_change_files,
    decode_item_files,
    learn_changes,
    learn_items,
)
from ddb_lake.decoding.errors import ItemCountMismatch
from ddb_lake.errors import DdbLakeError
from ddb_lake.exports import (
    Export,
    ExportClient,
    ExportRequest,
    ExportStatus,
    FullExport,
    IncrementalExport,
    Manifest,
    RecordedExport,
    SourceTable,
    can_be_exported,
    require_files,
)
from ddb_lake.exports.errors import (
    ExportError,
    RecoveryDisabled,
    ServiceUnavailable,
    Throttled,
    TooManyExports,
    WindowNotClosed,
    WrongExport,
)
from ddb_lake.key_hashes import KeyHashes
from ddb_lake.local_copies import LocalCopies
from ddb_lake.repeated_items import require_single
from ddb_lake.replica import (
    BootstrapCommit,
    ChangeLog,
    ChangeLogCommit,
    ChangeLogSnapshot,
    Column,
    Location,
    Replica,
    ReplicaCommit,
    StagedBootstrap,
    StagedChanges,
    source_table_of,
)
from ddb_lake.replica.columns import KEY_HASH, key_names
from ddb_lake.replica.errors import RepeatedKeys, SchemaConflict, StorageFailed, WrongSourceTable
from ddb_lake.table_decoder import Decoding, TableDecoder, Target
from ddb_lake.windows import Window, format_time, missing, tile, to_us, touch

_T = TypeVar("_T")

Wait = Callable[[str, float], None]
"""What a run does before it asks again: it takes a line on the progress and the seconds to wait."""

_LOG = logging.getLogger(__name__)

_SCHEMA_TRIES = 10
"""How often an export is decoded while others add contradicting columns to the same change log."""
_POLL_SECONDS = (1, 2, 4, 8)
"""Between the first looks at a running export; empty tables are exported quickly by the embedded AWS."""
_LAST_POLL_SECONDS = 10
"""Between all later looks: an export takes minutes, and DescribeExport is throttled in bursts."""
_TRIES_AGAIN = 20
_TRY_AGAIN_SECONDS = 15
"""Tries after the first where a clock, a quota or a passing fault is in the way: five minutes together."""

_TRANSIENT = (Throttled, ServiceUnavailable)
"""What a call that only asks may fail with, and succeed a little later."""

Plan = tuple[tuple[IncrementalExport, Export | None], ...]
"""Requests that together contain a span, each with its export where that exists."""


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
    """What was written to the change log for a window, from which exports, and how each of them was decoded."""

    window: Window
    exports: tuple[VerifiedExport, ...]
    commits: tuple[ChangeLogCommit, ...]
    decodings: tuple[Decoding[StagedChanges], ...]


@dataclass(frozen=True)
class StagedItems:
    """The bootstrap's files in the replica's folder, not yet committed, and the export that they came from."""

    source: VerifiedExport
    decoding: Decoding[StagedBootstrap]

    @property
    def staged(self) -> StagedBootstrap:
        """The files."""
        return self.decoding.made


class Pipeline:
    """One source table's way into the lake.

    Args:
        settings: The table's part of lake.yaml.
        exports: The client for the table's region and destination.
        locate: Gives the location of the table's Delta table of a name (`change_log/<TableId>`, `replica`).
        recorded_id: The TableId that an earlier step has recorded, to be counted on: DynamoDB is not asked for it.
            The replica refuses it where it holds another table.

    Nothing is asked before it is needed: what exports asks DynamoDB for the table, and fails where that fails; what
    the lake can do by itself works without.
    """

    def __init__(
        self,
        settings: TableSettings,
        exports: ExportClient,
        locate: Callable[[str], Location],
        recorded_id: str | None = None,
    ) -> None:
        self.settings = settings
        self.exports = exports
        self._locate = locate
        self._recorded_id = recorded_id

    @property
    def table(self) -> SourceTable:
        """The source table as DynamoDB describes it; asked for once.

        Raises:
            ExportError: If it can't be described.
            ConfigError: If lake.yaml wants of the attributes what the table's key does not allow, or a hash
                without its key.
            WrongSourceTable: If it is not the recorded one that is counted on.
        """
        return self._source[0]

    @property
    def rules(self) -> Rules:
        """What lake.yaml wants of the attributes; raises as `table` does."""
        return self._source[1]

    @cached_property
    def _source(self) -> tuple[SourceTable, Rules]:
        table = self.exports.describe_table(self.settings.table)
        if self._recorded_id not in (None, table.table_id):
            raise WrongSourceTable(
                f"{table.name} is the table {table.table_id}, but {self._recorded_id} was recorded: "
                "was it re-created?"
            )
        return table, rules_of(self.settings.name, self.settings, table.key, os.environ)

    @cached_property
    def table_id(self) -> str:
        """The TableId of the table that the lake is to follow.

        It is the recorded one where that is counted on. Else, as long as DynamoDB describes the table its word
        counts, so that a table that was re-created under the same name is another one. Where it can't be asked (the
        table was deleted, the network is down, a permission is missing), what the lake holds goes on being used.

        Raises:
            ExportError: If it can't be described, and the lake holds nothing either.
        """
        if self._recorded_id is not None:
            return self._recorded_id
        try:
            return self.table.table_id
        except ExportError as error:
            known = source_table_of(self._locate("replica"), self.settings.start)
            if known is None:
                raise
            _LOG.warning("%s: %s The lake goes on with the table %s that it holds.", self.settings.name, error, known)
            return known

    @cached_property
    def change_log(self) -> ChangeLog:
        """The decoded changes of the source table."""
        return self._change_log_of(self.table_id)

    @cached_property
    def replica(self) -> Replica:
        """The source table's current state."""
        return self._replica_of(self.change_log)

    def held_replica(self) -> Replica | None:
        """Return the replica of whatever table the lake holds, without asking DynamoDB; None where it holds none."""
        known = source_table_of(self._locate("replica"), self.settings.start)
        return None if known is None else self._replica_of(self._change_log_of(known))

    def _change_log_of(self, table_id: str) -> ChangeLog:
        # By its id, so that a table that was re-created under the same name begins a change log of its own.
        return ChangeLog(self._locate(f"change_log/{table_id}"), table_id)

    def _replica_of(self, change_log: ChangeLog) -> Replica:
        return Replica(
            self._locate("replica"),
            change_log.table_id,
            change_log,
            self.settings.strategy,
            (rule.column for rule in self.settings.partition_by),
        )

    @cached_property
    def _decoder(self) -> TableDecoder:
        return TableDecoder(self.settings.name, self.table.key, self.rules, self.change_log)

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

    def require_source(self) -> None:
        """Check that DynamoDB describes the source table: who is to export it must not go by the lake's memory.

        Raises:
            ExportError: If it does not.
            ConfigError: As `table` says.
        """
        _ = self.table

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

    def plan(
        self,
        span: Window,
        claiming: Container[ExportStatus],
        claims: Collection[Window] = (),
        found: dict[Window, Export] | None = None,
    ) -> Plan:
        """Tile a span with the exports that exist, and with new ones where none does.

        Every window gets its changes from as few exports as possible, whoever has started them: an export that
        reaches beyond a window serves it too, as a whole.

        Args:
            span: What is to be covered; of what lies before the bootstrap's time nothing is.
            claiming: The states in which an export counts as existing.
            claims: Windows whose exports are known to have been started, but have perhaps written nothing yet.
            found: Gets the existing exports as they are found, so that they are known where an error ends this.
        """
        start = self.settings.start
        if span.start < start < span.end:
            span = Window(start, span.end)
        # One that begins before the bootstrap says nothing of items written before it and deleted after it.
        usable = {w for w in self.exports.find_windows(self.table, span) if w.start >= start}
        usable.update(claims)
        earliest = start if span.start >= start else None
        standing: dict[Window, Export] = {} if found is None else found
        while True:
            tiles = tile(span, usable, earliest)
            for window in sorted(usable.intersection(tiles).difference(standing)):
                request = self.window_request(window)
                export = self.exports.current(request)
                if export is None and window in claims:
                    export = self.exports.start(request)  # its token's answer: the export that was started
                if export is None or export.status not in claiming:
                    usable.discard(window)
                else:
                    standing[window] = export
            if tiles == tile(span, usable, earliest):
                return tuple((self.window_request(window), standing.get(window)) for window in tiles)

    def start_export(self, request: ExportRequest) -> Export:
        """Find the request's export, or start it."""
        export = self.exports.current(request)
        if export is not None and export.status is not ExportStatus.FAILED:
            return export
        self.prepare_recovery()
        return self.exports.ensure(request)

    def wait_for_exports(self, requests: Iterable[ExportRequest], wait: Wait) -> tuple[VerifiedExport, ...]:
        """Find the requests' exports or start them, wait until they have ended, and verify their manifests.

        Args:
            requests: What to export; all are started before the first is waited for.
            wait: Called between two looks with a line on the progress and the seconds to wait.

        Raises:
            ExportFailed: If one ends as FAILED; the next call starts a new attempt.
        """
        started = [(request, self._start_patiently(request, wait)) for request in requests]
        return tuple(self._wait_until_ended(request, export, wait) for request, export in started)

    def export_bootstrap(self, wait: Wait) -> VerifiedExport:
        """Bring about the completed full export that the replica starts from, by an existing one if there is one."""
        _patiently(self.require_source, wait)
        return self.wait_for_exports([self.bootstrap_request], wait)[0]

    def export_windows(self, window: Window, wait: Wait) -> tuple[VerifiedExport, ...]:
        """Bring about completed exports that together contain a window, by existing ones where there are any."""
        plan = _patiently(lambda: self.plan(window, {ExportStatus.COMPLETED, ExportStatus.IN_PROGRESS}), wait)
        try:
            return self.wait_for_exports((request for request, _ in plan), wait)
        except WindowNotClosed as error:
            until = max(request.window.end for request, _ in plan)
            if until <= window.end:
                raise
            raise NotExported(
                f"{window} is shorter than what DynamoDB exports, so its export reaches to {format_time(until)}, "
                f"which is in the future: materialise it after that, together with the next window. ({error})"
            ) from error

    def completed_exports(
        self, window: Window, wait: Wait | None = None
    ) -> tuple[tuple[IncrementalExport, Export], ...]:
        """Return the completed exports that together contain a window.

        Args:
            window: The window.
            wait: Outlasts faults that pass.

        Raises:
            NotExported: If a part of it has none.
        """
        plan = _patiently(lambda: self.plan(window, {ExportStatus.COMPLETED}), wait)
        exports = tuple((request, export) for request, export in plan if export is not None)
        if len(exports) < len(plan):
            lacking = ", ".join(str(request.window) for request, export in plan if export is None)
            raise NotExported(
                f"{self.table.name}: no completed export contains {lacking}; "
                f"materialise {self.settings.name}/raw_export first"
            )
        return exports

    def known_exports(self, window: Window) -> tuple[Export, ...]:
        """Return the completed exports that contain parts of a window; none where their files have been removed."""
        plan = self.plan(window, claiming={ExportStatus.COMPLETED})
        return tuple(export for _, export in plan if export is not None)

    def decode(
        self, window: Window, recorded: Collection[RecordedExport] = (), wait: Wait | None = None
    ) -> DecodedWindow:
        """Decode the completed exports that contain a window into the change log, each as a whole.

        Args:
            window: What is to be decoded.
            recorded: Exports that are known to contain it: if they do so, no others are looked for.
            wait: Outlasts faults that pass while the exports are found and verified.

        Raises:
            NotExported: If a part of the window has no completed export.
            DecodeError: If a file does not hold what it should; nothing is written then.
        """
        _patiently(self.require_source, wait)
        sources = self._as_recorded(recorded, lambda sources: self._require_window(sources, window), wait)
        if not sources:
            sources = [self._verify(*found, wait) for found in self.completed_exports(window, wait)]
        return self.decode_exports(window, sources)

    def _as_recorded(
        self,
        recorded: Collection[RecordedExport],
        require: Callable[[list[VerifiedExport]], None],
        wait: Wait | None,
    ) -> list[VerifiedExport]:
        """Return recorded exports once all of them are verified; none where one is wrong, damaged or gone.

        Args:
            recorded: The exports.
            require: Raises an ExportError where they are not those that are needed.
            wait: Outlasts faults that pass.
        """
        try:
            sources = [_patiently(partial(self._verify_recorded, each), wait) for each in recorded]
            require(sources)
            return sources
        except ExportError as error:
            _LOG.warning("%s: an export that was recorded is not used, but looked for: %s", self.settings.name, error)
            return []

    def _verify_recorded(self, recorded: RecordedExport) -> VerifiedExport:
        manifest = self.exports.read_recorded(recorded)
        if manifest.window is None:
            request = self.bootstrap_request
        elif can_be_exported(manifest.window):
            request = self.window_request(manifest.window)
        else:
            raise WrongExport(f"{manifest.uri} is over {manifest.window}, which DynamoDB does not export")
        export = self.exports.require_recorded(request, recorded, manifest)
        return VerifiedExport(request, export, manifest, require_files(self.exports.s3, manifest))

    def _require_window(self, sources: Sequence[VerifiedExport], window: Window) -> None:
        """Check that exports are incremental ones which together contain a window, each a part of it.

        Raises:
            WrongExport: If not.
        """
        start = self.settings.start
        for source in sources:
            span = source.manifest.window
            if span is None or span.start < start or not touch(span, window):
                raise WrongExport(f"{source.manifest.uri} says nothing of {window} from {format_time(start)} on")
        span = Window(start, window.end) if window.start < start < window.end else window
        if sources and (holes := missing(span, [_window_of(source) for source in sources])):
            raise WrongExport(f"the recorded exports lack {', '.join(map(str, holes))}")

    def decode_exports(self, window: Window, sources: Sequence[VerifiedExport]) -> DecodedWindow:
        """Decode incremental exports, which together contain a window, into the change log.

        All of them are fetched, verified and read to their ends before anything of the first is visible.

        Raises:
            DecodeError: If a file does not hold what it should; nothing is written then.
        """
        decodings: list[Decoding[StagedChanges]] = []
        commits: list[ChangeLogCommit] = []

        def attempt() -> None:
            """Stage what has not been committed yet, and commit it."""
            waiting: list[StagedChanges] = []
            del decodings[len(commits) :]
            log = self.change_log.snapshot()
            try:
                for source in sources[len(commits) :]:
                    pending = [column for staged in waiting for column in staged.columns]
                    decodings.append(self._stage_changes(source, pending, log))
                    waiting.append(decodings[-1].made)
            except BaseException:
                for staged in waiting:
                    with suppress(StorageFailed):  # nobody sees these files, and the first error counts
                        self.change_log.discard(staged)
                raise
            with self.change_log.discarded_on_failure(waiting):
                while waiting:
                    commits.append(self.change_log.commit(waiting[0]))
                    del waiting[0]

        self._until_columns_agree(attempt)
        return DecodedWindow(window, tuple(sources), tuple(commits), tuple(decodings))

    def _until_columns_agree(self, attempt: Callable[[], _T]) -> _T:
        """Decode, and again as long as others add columns meanwhile that contradict those of what was decoded.

        Raises:
            SchemaConflict: If they do so every time.
        """
        for _ in range(_SCHEMA_TRIES - 1):
            try:
                return attempt()
            except SchemaConflict as conflict:
                _LOG.info("%s: %s; decoding again", self.table.name, conflict)
        return attempt()

    def _stage_changes(
        self, source: VerifiedExport, pending: Collection[Column], log: ChangeLogSnapshot
    ) -> Decoding[StagedChanges]:
        """Decode an incremental export into files of the change log that nobody sees yet.

        Args:
            source: The export.
            pending: Columns of others that are to be committed before it.
            log: The change log as it is now.
        """
        window = _window_of(source)
        with LocalCopies(self.exports.s3, source.manifest) as copies:

            def frames(target: Target, tally: Tally) -> Iterator[DecodedRows]:
                files = decode_change_files(copies.read_once(), target.schema, self.settings.old_images)
                seen = 0
                with closing(files), KeyHashes() as hashes:
                    for _, decoded in files:
                        for rows in decoded.rows():
                            hashes.add(rows.frame[KEY_HASH].to_numpy())
                            yield rows
                        tally.add(decoded.tally)
                        seen += 1
                    repeated = hashes.repeated()
                _check_files(source.manifest, seen)
                if len(repeated):
                    with closing(decode_change_files(copies.read_and_keep(), target.schema)) as files:
                        require_single(files, repeated, key_names(target.columns, self.settings.name))

            def attempt(target: Target, tally: Tally) -> StagedChanges:
                rows = frames(target, tally)
                return self.change_log.stage(
                    window, rows, target.columns, old_images=self.settings.old_images, log=target.log
                )

            return self._decoder.decode(copies, window.start, learn_changes, attempt, pending, log)

    def apply(self, window: Window) -> ReplicaCommit:
        """Apply the decoded exports that contain a window to the replica, in one commit.

        Raises:
            NotBootstrapped: If the replica has no bootstrap to build upon.
            NotDecoded: If the window is not in the change log.
        """
        return self.replica.apply(window)

    def bootstrap_export(self, wait: Wait | None = None) -> Export:
        """Return the completed full export that the replica starts from; `wait` outlasts faults that pass.

        Raises:
            NotExported: If there is none.
        """
        request = self.bootstrap_request
        export = _patiently(lambda: self.exports.current(request), wait)
        if export is None or export.status is not ExportStatus.COMPLETED:
            raise NotExported(f"{request} has not completed; materialise {self.settings.name}/initial_export first")
        return export

    def stage_bootstrap(self, recorded: Collection[RecordedExport] = (), wait: Wait | None = None) -> StagedItems:
        """Decode the completed full export into Parquet files in the replica's folder, one shard a data file.

        Args:
            recorded: The export, where it is known: if it is the right one, none is looked for.
            wait: Outlasts faults that pass while the export is found and verified.

        Raises:
            NotExported: If it has not completed.
            DecodeError: If a file does not hold what it should; no column is kept then, and files that were decoded
                to their ends count for the next try.
        """
        _patiently(self.require_source, wait)
        known = self._as_recorded(recorded, self._require_bootstrap, wait)
        source = known[0] if known else self._verify(self.bootstrap_request, self.bootstrap_export(wait), wait)
        return self._until_columns_agree(lambda: StagedItems(source, self._stage_items(source)))

    def _require_bootstrap(self, sources: Sequence[VerifiedExport]) -> None:
        """Check that exports are a single full one.

        Raises:
            WrongExport: If not.
        """
        if any(source.manifest.window is not None for source in sources) or len(sources) > 1:
            raise WrongExport(f"{', '.join(source.manifest.uri for source in sources)}: not one full export")

    def _stage_items(self, source: VerifiedExport) -> Decoding[StagedBootstrap]:
        request = self.bootstrap_request
        write_time_us = to_us(request.time) - 1
        with LocalCopies(self.exports.s3, source.manifest) as copies:

            def shards(schema: ItemSchema, tally: Tally) -> Iterator[tuple[str, Iterator[DecodedRows]]]:
                seen = 0
                files = decode_item_files(copies.read_once(), schema, write_time_us)
                with closing(files):
                    for file, decoded in files:
                        yield file.name, decoded.rows()
                        tally.add(decoded.tally)
                        seen += 1
                _check_files(source.manifest, seen)

            def attempt(target: Target, tally: Tally) -> StagedBootstrap:
                try:
                    return self.replica.stage_bootstrap(
                        source.export.export_id,
                        request.time,
                        target.columns,
                        shards(target.schema, tally),
                        self.rules.fingerprint,
                    )
                except RepeatedKeys as error:
                    with closing(decode_item_files(copies.read_and_keep(), target.schema, write_time_us)) as files:
                        require_single(files, error.hashes, key_names(target.columns, self.settings.name))
                    raise

            return self._decoder.decode(copies, request.time, learn_items, attempt)

    def commit_bootstrap(self) -> BootstrapCommit:
        """Make the staged files the replica, in one commit.

        Raises:
            NotExported: If the full export has not completed.
        """
        return self.replica.commit_bootstrap(self._export_to_commit())

    def _export_to_commit(self) -> str:
        """Return the id of the full export that the replica is to start from.

        Where DynamoDB or the exports' bucket can't be asked, it is one that was staged for that time.
        """
        try:
            return self.bootstrap_export().export_id
        except ExportError:
            staged = self.replica.staged_exports(self.settings.start)
            if not staged:
                raise
            return staged[-1]

    def schema(self) -> ItemSchema:
        """Return the mapping of attributes to columns that the change log keeps."""
        return self._decoder.schema()

    def _start_patiently(self, request: ExportRequest, wait: Wait) -> Export:
        """Find or start an export, and try again for a while where only time is in the way."""
        return _patiently(lambda: self.start_export(request), wait, (WindowNotClosed, TooManyExports, *_TRANSIENT))

    def _wait_until_ended(self, request: ExportRequest, export: Export, wait: Wait) -> VerifiedExport:
        pauses = chain(_POLL_SECONDS, repeat(_LAST_POLL_SECONDS))
        while export.status is ExportStatus.IN_PROGRESS:
            since = format_time(export.started_at.replace(microsecond=0))
            wait(f"{request} runs since {since}; exports take about five minutes: {export.arn}", next(pauses))
            export = _patiently(partial(self.exports.describe, export.arn), wait)
        return self._verify(request, export, wait)

    def _verify(self, request: ExportRequest, export: Export, wait: Wait | None) -> VerifiedExport:
        def verify() -> VerifiedExport:
            manifest = self.exports.read_manifest(request, export)
            return VerifiedExport(request, export, manifest, require_files(self.exports.s3, manifest))

        return _patiently(verify, wait)


def _patiently(call: Callable[[], _T], wait: Wait | None, passing: tuple[type[Exception], ...] = _TRANSIENT) -> _T:
    """Return a call's result; repeat the call for a while where it fails for a reason that passes.

    Args:
        call: Idempotent.
        wait: Called between two tries with a line on the failure and the seconds to wait; None for one try only.
        passing: The errors that may pass; all others are raised at once.

    Raises:
        Exception: What the call raises, if it still does after all tries.
    """
    if wait is None:
        return call()
    for _ in range(_TRIES_AGAIN):
        try:
            return call()
        except passing as error:
            wait(f"{error} Trying again in {_TRY_AGAIN_SECONDS} s.", _TRY_AGAIN_SECONDS)
    return call()


def _check_files(manifest: Manifest, seen: int) -> None:
    """Check that every file of an export was decoded, whatever went on before: what is left out can't be told later.

    Raises:
        ItemCountMismatch: If not.
    """
    if seen != len(manifest.files):
        raise ItemCountMismatch(
            f"the export has {len(manifest.files)} data files, but {seen} were decoded: a fault of ddb_lake, please "
            "report it; nothing of the export was used",
            manifest.uri,
        )


def _window_of(source: VerifiedExport) -> Window:
    """Return the window of an incremental export."""
    assert source.manifest.window is not None
    return source.manifest.window
