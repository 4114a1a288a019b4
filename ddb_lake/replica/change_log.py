"""The change log: every decoded change of a source table, in a Delta table of quarter-hours and exports."""

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property

import polars as pl
from deltalake import Field

from ddb_lake.decoded_rows import DecodedRows
from ddb_lake.errors import DdbLakeError
from ddb_lake.replica import commits
from ddb_lake.replica import table as delta
from ddb_lake.replica.columns import (
    CHANGE_METADATA,
    DELETED,
    EXPORT,
    OLD_IMAGE,
    PARTITION_METADATA,
    WINDOW,
    WRITE_TIME,
    Column,
    added,
    attribute_columns,
    column_types,
    conform,
    fields,
    metadata_columns,
)
from ddb_lake.replica.coverage import Account, commit_note, require_account
from ddb_lake.replica.data_files import (
    FILE_BYTES,
    FILE_ROWS,
    DataFile,
    encode,
    live_rows,
    partition_folder,
    prove,
    write_file,
)
from ddb_lake.replica.delta_log import AddFile, Note, Snapshot, read_snapshot
from ddb_lake.replica.delta_log.deletion_vectors import read_vectors
from ddb_lake.replica.errors import InvalidFrame, NotDecoded, StorageFailed, UncertainCommit
from ddb_lake.replica.exact_names import arrange, pick
from ddb_lake.replica.location import Location
from ddb_lake.replica.maintenance import ChangeLogUpkeep, maintain_change_log
from ddb_lake.replica.spans import Spans, encode_spans, export_name, export_window
from ddb_lake.replica.store import ObjectTableStore, TableStore
from ddb_lake.replica.strategy import Strategy
from ddb_lake.replica.unstorable import naming_the_value
from ddb_lake.replica.written import Values, total, values_of
from ddb_lake.windows import (
    KEY_FORMAT,
    LONGEST_EXPORT,
    QUARTER_HOUR,
    Window,
    floor_quarter_hour,
    format_time,
    from_us,
    listed,
    missing,
    touch,
)

QUARTER_HOUR_US = QUARTER_HOUR // timedelta(microseconds=1)

PARTITIONS = "ddb_lake.partitions"
"""The tag of a file (Delta protocol: "Add File and Remove File") that says in how many quarter-hours its export has
changes. The account says so too, but forgets it of old exports; checkpoints keep tags."""

_DECODE_AGAIN = "decode them again first (materialise decoded_items of their windows)"

REMEDY = "give each source table a change log of its own, in another folder"


@dataclass(frozen=True)
class ChangeLogCommit:
    """What the replacement of an export did.

    Args:
        version: The Delta version that holds it.
        window: The export's.
        changes: How many changes the export has now.
        deletes: How many of them are deletes.
        partitions: How many quarter-hours have changes.
        files: How many files were written.
        size: Their bytes.
        columns: The log's attribute columns at that version, in the schema's order.
    """

    version: int
    window: Window
    changes: int
    deletes: int
    partitions: int
    files: int
    size: int
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class StagedChanges:
    """All changes of an export in files that no commit names yet.

    Args:
        window: The export's.
        columns: The attribute columns that they were written with: the log's, and those that it lacks so far.
        changes: How many there are.
        deletes: How many of them are deletes.
        files: The files, in the log's folder.
        old_images: Whether the log is to have old images.
    """

    window: Window
    columns: tuple[Column, ...]
    changes: int
    deletes: int
    files: tuple[DataFile, ...]
    old_images: bool = False


@dataclass(frozen=True)
class ChangeLogSnapshot:
    """A change log as it was at one version.

    Args:
        table: The Delta table at that version, or None if there is none yet.
        account: What it covers.
        store: Where its files are.
    """

    table: Snapshot | None
    account: Account
    store: TableStore

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The attribute columns, in the schema's order."""
        return () if self.table is None else attribute_columns(self.table.metadata.schema)

    def exports(self, window: Window) -> tuple[Window, ...]:
        """Return the windows of the decoded exports that touch a window, in order.

        Of time long ago only those that have changes may be known: the rows name their exports.
        """
        return tuple(sorted({*self.account.spans.touching(window), *self._named_by_files(window)}))

    def lacking(self, window: Window) -> tuple[Window, ...]:
        """Return the parts of a window that no decoded export is known to cover, in order.

        Those are holes, and of time long ago also exports that had no change or whose rows were removed: decoded
        again it shows.
        """
        return missing(window, (*self.account.spans.union(), *self._named_by_files(window)))

    def _named_by_files(self, window: Window) -> set[Window]:
        """Return the exports touching a window that files name, where the account does not know them one by one."""
        if self.table is None or not any(touch(each, window) for each in self.account.unknown):
            return set()
        around = Window(window.start - LONGEST_EXPORT, window.end + LONGEST_EXPORT)
        files = self.table.files_between(WINDOW, *_quarters_of(around)).values()
        named = map(export_window, {name for file in files if (name := file.partition.get(EXPORT)) is not None})
        return {each for each in named if touch(each, window)}

    def read(self, window: Window) -> pl.DataFrame:
        """Return the changes written in `window`: the metadata columns but the partitions', then the attributes'.

        Where exports overlap, each one's changes are told.

        Raises:
            NotDecoded: If the log doesn't cover the window, or changes of an export that touches it were removed.
        """
        holes = self.lacking(window)
        if holes or self.table is None:
            raise NotDecoded(
                f"{self.store} has no changes of {listed(holes)} of the window {window}: decode its export first"
            )
        names = [*CHANGE_METADATA, *(column.name for column in self.columns)]
        first, last = _quarters_of(window)
        files = [
            file for file in self._files_of(self.exports(window)) if first <= (file.partition[WINDOW] or "") <= last
        ]
        within = pl.col(WRITE_TIME).is_between(window.start_us, window.end_us, closed="left")
        empty = pl.DataFrame(schema=self._types(names))
        return pl.concat([empty, *(block.filter(within) for block in self._scan(files, names))])

    def read_exports(self, spans: Collection[Window], names: Sequence[str]) -> pl.DataFrame:
        """Return `_export` and the named columns of all changes of some exports."""
        if self.table is None:
            return pl.DataFrame()
        empty = pl.DataFrame(schema=self._types([EXPORT, *names]))
        return pl.concat([empty, *self._scan(self._files_of(spans), [EXPORT, *names])])

    def read_deletes(self, spans: Collection[Window], names: Sequence[str], since_us: int) -> Iterator[pl.DataFrame]:
        """Yield the named columns of some exports' deletes written at a time or later, in blocks."""
        wanted = list(dict.fromkeys([*names, DELETED, WRITE_TIME]))
        for block in self._scan(self._files_of(spans), wanted):
            yield pick(block.filter(pl.col(DELETED), pl.col(WRITE_TIME) >= since_us), names)

    def incomplete(self, spans: Collection[Window]) -> tuple[Window, ...]:
        """Return those of some exports of which changes were removed, or may have been, in order."""
        _, lost, doubtful = self._look_at(spans)
        return tuple(sorted({*lost, *doubtful}))

    def _files_of(self, spans: Collection[Window]) -> list[AddFile]:
        """Return the files of some exports.

        Raises:
            NotDecoded: If an export had changes that are there no more, or nothing shows that it has all of them:
                what it leaves out would count.
        """
        files, lost, doubtful = self._look_at(spans)
        if lost:
            raise NotDecoded(
                f"{self.store} no longer has all changes of the exports of {listed(lost)}: {_DECODE_AGAIN}"
            )
        if doubtful:
            raise NotDecoded(
                f"{self.store} does not record in how many quarter-hours the exports of {listed(doubtful)} have "
                f"changes, so that some may be gone: {_DECODE_AGAIN}"
            )
        return files

    def _look_at(self, spans: Collection[Window]) -> tuple[list[AddFile], list[Window], list[Window]]:
        """Return the files of some exports, those exports that lack some, and those of which nothing shows it."""
        if self.table is None or not spans:
            return [], [], []
        hull = Window(min(each.start for each in spans), max(each.end for each in spans))
        names = {export_name(each) for each in spans}
        there = self.table.files_between(WINDOW, *_quarters_of(hull)).values()
        files = [file for file in there if file.partition.get(EXPORT) in names]
        found = {(file.partition.get(EXPORT), file.partition.get(WINDOW)) for file in files}
        quarters = Counter(export for export, _ in found)
        recorded = {
            name: count
            for file in files
            if (count := _recorded_partitions(file)) is not None and (name := file.partition.get(EXPORT)) is not None
        }
        lost: list[Window] = []
        doubtful: list[Window] = []
        for each in sorted(set(spans)):
            name = export_name(each)
            if each in self.account.spans:
                count = self.account.contents.of(each)
            else:  # forgotten: only its files are left to say
                first, last = _quarters_of(each)
                count = 1 if first == last or not quarters[name] else recorded.get(name)
            if count is None:
                doubtful.append(each)
            elif quarters[name] < count:
                lost.append(each)
        return files, lost, doubtful

    def _scan(self, files: Sequence[AddFile], names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the rows of some files, one after the other."""
        if not files:
            return
        vectors = {each.path: each.deletion_vector for each in files if each.deletion_vector is not None}
        dead = read_vectors(self.store, vectors, str(self.store))
        types = self._types(names)
        for file in sorted(files, key=lambda each: each.path):
            rows = live_rows(self.store, file, dead.get(file.path), names)
            export = pl.lit(file.partition.get(EXPORT), pl.String()).alias(EXPORT)
            yield arrange(rows.with_columns(export), types)

    def _types(self, names: Sequence[str]) -> dict[str, pl.DataType]:
        assert self.table is not None
        types = column_types(self.table.metadata.schema)
        return {name: types[name] for name in names}


class ChangeLog:
    """The decoded changes of one source table.

    Its Delta schema is the authority of which attribute's values are in which column.

    Args:
        location: The Delta table's folder.
        table_id: The source table's TableId.
        store: Reaches the folder; by default as `location` says.
    """

    def __init__(self, location: Location, table_id: str, store: TableStore | None = None) -> None:
        self.location = location
        self.table_id = table_id
        self.store: TableStore = ObjectTableStore(location) if store is None else store

    def snapshot(self) -> ChangeLogSnapshot:
        """Return the log as it is now.

        Raises:
            WrongSourceTable: If the folder holds another source table's log.
        """
        table = read_snapshot(self.store, self.location)
        account = Account(self.table_id) if table is None else self._account(table)
        return ChangeLogSnapshot(table, account, self.store)

    def columns(self) -> tuple[Column, ...]:
        """Return the attribute columns in the schema's order; () when the table does not exist yet."""
        return self.snapshot().columns

    def coverage(self) -> tuple[Window, ...]:
        """Return the time of which exports were decoded, as disjoint windows in order."""
        return self.snapshot().account.coverage

    def spans(self) -> tuple[Window, ...]:
        """Return the windows of the decoded exports that are known one by one, in order; they may overlap."""
        snapshot = self.snapshot()
        coverage = snapshot.account.coverage
        return snapshot.exports(Window(coverage[0].start, coverage[-1].end)) if coverage else ()

    def read(self, window: Window) -> pl.DataFrame:
        """Return the changes written in `window`, in no order; where exports overlap, each one's.

        Raises:
            NotDecoded: If the log doesn't cover the window.
        """
        return self.snapshot().read(window)

    def add_columns(self, columns: Iterable[Column], log: ChangeLogSnapshot | None = None) -> None:
        """Add those columns that the table lacks, in one commit; create the table if it is absent.

        Columns that exist alike are left alone, so that all learned columns may be handed over.

        Args:
            columns: The columns.
            log: The log, where it has just been read: what others have committed since is a conflict like any other.

        Raises:
            InvalidColumn: If a column can't exist in Delta under its name or type.
            SchemaConflict: If a column exists with another type or meaning, perhaps since a moment ago by a
                concurrent writer: read `columns()` again and learn on top of them.
            WrongSourceTable: If the folder holds another source table's log.
            TooManyConflicts: If others win every try.
        """
        wanted = tuple(columns)
        read = [] if log is None else [log]

        def attempt() -> None:
            snapshot = read.pop() if read else self.snapshot()
            new = added(snapshot.columns, wanted, str(self.location))
            made = fields(new)
            note = commit_note(snapshot.account, {"did": "add columns", "columns": [column.name for column in new]})
            if snapshot.table is None:
                self._create(made, [], note)
            elif made:
                commits.change_columns(
                    self.store, snapshot.table, commits.with_columns(snapshot.table.metadata, made), note
                )

        delta.repeat_on_conflict(self.location, attempt)

    def replace(
        self,
        window: Window,
        frames: Iterable[pl.DataFrame | DecodedRows],
        columns: Iterable[Column] = (),
        *,
        old_images: bool = False,
    ) -> ChangeLogCommit:
        """Replace all changes of the export of `window` by those of the frames, in one commit.

        It is `stage` and `commit`; what they raise, and with nothing left behind.
        """
        staged = self.stage(window, frames, columns, old_images=old_images)
        with self.discarded_on_failure([staged]):
            return self.commit(staged)

    def stage(
        self,
        window: Window,
        frames: Iterable[pl.DataFrame | DecodedRows],
        columns: Iterable[Column] = (),
        *,
        old_images: bool = False,
        log: ChangeLogSnapshot | None = None,
    ) -> StagedChanges:
        """Write all changes of the export of `window` to files that nobody sees yet: to be committed or discarded.

        The frames are written as they come (about 256 MB of rows are held in memory). The log itself is not touched:
        columns that it lacks come with the commit.

        Args:
            window: Exactly the export's, `exportFromTime` to `exportToTime`.
            frames: `_key_hash`, `_write_time_us`, `_tie_break`, `_deleted`, attribute columns, and perhaps
                `_old_image` where the log keeps it.
            columns: The frames' attribute columns, as far as the log may lack them.
            old_images: Whether the log is to keep old images from this export on.
            log: The log that the columns were decided from, where it was read for that; it is read anew by default.

        Raises:
            InvalidColumn: If a column can't exist in Delta under its name or type.
            SchemaConflict: If one contradicts those of the log: read `columns()` again and learn on top of them.
            InvalidFrame: If a frame has other columns or types than the log, or changes that were not
                written in the window; like whatever the frames raise, with no file left behind.
            UnstorableValue: If a value can't be written to a file; likewise.
            NotWritten: If the files have not the rows and values that the frames had; likewise.
            WrongSourceTable: If the folder holds another source table's log.
        """
        snapshot = log or self.snapshot()
        new = added(snapshot.columns, columns, str(self.location))
        fields(new)
        all_columns = (*snapshot.columns, *new)
        kept = old_images or (snapshot.table is not None and _has_old_images(snapshot.table))
        spool = _Spool(self.store, window, all_columns, str(self.location), old_images=kept)
        try:
            for frame in frames:
                spool.take(DecodedRows.of(frame))
            spool.finish()
        except BaseException:
            spool.discard()
            raise
        return StagedChanges(window, all_columns, spool.changes, spool.deletes, tuple(spool.files), kept)

    def discard(self, staged: StagedChanges) -> None:
        """Delete the files of changes that were staged and are not to be committed."""
        self.store.delete(each.path for each in staged.files)

    @contextmanager
    def discarded_on_failure(self, waiting: Sequence[StagedChanges]) -> Generator[None]:
        """Discard what is still waiting for its commit when one fails, unless that one may be there all the same."""
        try:
            yield
        except DdbLakeError as error:
            maybe_committed = waiting[:1] if isinstance(error, UncertainCommit) else ()
            for staged in waiting[len(maybe_committed) :]:
                with suppress(StorageFailed):  # nobody sees these files, and the first error counts
                    self.discard(staged)
            raise

    def commit(self, staged: StagedChanges) -> ChangeLogCommit:
        """Replace all changes of an export by the staged ones, which become visible at once.

        The same commit adds the columns that the log lacks. The changes of exports of other windows stay, even where
        they overlap: what an export leaves out says as much as what it shows, so each is kept apart and as a whole.

        Raises:
            SchemaConflict: If somebody has added columns since that contradict the staged ones: read `columns()`
                again, decode with them and stage anew.
            WrongSourceTable: If the folder holds another source table's log.
            TooManyConflicts: If others win every try; the log is as it was.
            UncertainCommit: If the storage did not say whether it took the commit.
        """

        def attempt() -> ChangeLogCommit:
            snapshot = self.snapshot()
            new = added(snapshot.columns, staged.columns, str(self.location))
            made = fields(new)
            if staged.old_images and (snapshot.table is None or not _has_old_images(snapshot.table)):
                made += fields([_OLD_IMAGE_COLUMN])
            window = staged.window
            note = commit_note(
                _with_contents(snapshot.account.covering([window]), staged),
                {"did": "replace", "exports": encode_spans(Spans().adding([window])), "changes": staged.changes},
            )
            tags = {"tags": {PARTITIONS: str(_partitions(staged))}}
            files = [replace(each.add_file(), more=tags) for each in staged.files]
            table = snapshot.table
            if table is None:
                version = self._create(made, files, note)
            else:
                metadata = commits.with_columns(table.metadata, made) if made else None
                partition = (EXPORT, export_name(window))
                version = commits.replace_partition(self.store, table, partition, files, note, metadata)
            return ChangeLogCommit(
                version=version,
                window=window,
                changes=staged.changes,
                deletes=staged.deletes,
                partitions=_partitions(staged),
                files=len(staged.files),
                size=sum(each.size for each in staged.files),
                columns=(*snapshot.columns, *new),
            )

        return delta.repeat_on_conflict(self.location, attempt)

    def _create(self, made: Sequence[Field], files: Sequence[AddFile], note: Note) -> int:
        """Create the table with some columns and files; return its version."""
        columns = [*fields(metadata_columns({**PARTITION_METADATA, **CHANGE_METADATA})), *made]
        # An export's files are replaced as a whole, so readers need know no more than Delta's first version.
        return commits.create_table(
            self.store, Strategy.COPY_ON_WRITE, columns, list(PARTITION_METADATA), files, note
        )

    def maintain(self) -> ChangeLogUpkeep | None:
        """Clean the Delta log up, vacuum, and look whether all files are there; do nothing without a table.

        Files that were replaced, or that a staging left which was broken off, go once they are as old as
        `delta.deletedFileRetentionDuration` says: 7 days where it says nothing, and a day at least.
        """
        if self.snapshot().table is None:
            return None

        def read() -> tuple[Snapshot, Account]:
            table = read_snapshot(self.store, self.location, with_tombstones=True)
            assert table is not None
            return table, self._account(table)

        return maintain_change_log(self.store, self.location, read)

    def _account(self, table: Snapshot) -> Account:
        return require_account(self.location, table, self.table_id, REMEDY, table.infos)


class _Spool:
    """Changes of an export on their way into files of quarter-hours."""

    def __init__(
        self, store: TableStore, window: Window, columns: Sequence[Column], where: str, *, old_images: bool
    ) -> None:
        self.files: list[DataFile] = []
        self.changes = 0
        self.deletes = 0
        self._store = store
        self._window = window
        self._columns = (*columns, *([_OLD_IMAGE_COLUMN] if old_images else []))
        self._where = f"{where}, window {window}"
        self._waiting: list[DecodedRows] = []
        self._bytes = 0
        self._rows = 0
        self._strays = 0
        self._stray = ""
        self._placed: list[Values] = []

    def take(self, rows: DecodedRows) -> None:
        place = f" ({rows.where()})" if rows.source else ""
        frame = conform(rows.frame, CHANGE_METADATA, self._columns, f"{self._where}{place}")
        times = frame[WRITE_TIME]
        strays = (times < self._window.start_us) | (times >= self._window.end_us)
        count = int(strays.sum())
        if count and not self._strays:
            row = int(strays.arg_max() or 0)
            place = f" ({rows.where(row)})" if rows.source else ""
            self._stray = f"{_shown_time(int(times[row]))}{place}"
        self.changes += frame.height
        self.deletes += int(frame[DELETED].sum())
        self._strays += count
        if self._strays or not frame.height:
            return  # counting on for the message, but writing no more
        self._placed.append(rows.values or values_of(rows.frame))
        self._waiting.append(replace(rows, frame=frame))
        self._bytes += int(frame.estimated_size())
        self._rows += frame.height
        if self._bytes >= FILE_BYTES or self._rows >= FILE_ROWS:
            self._write()

    def finish(self) -> None:
        if self._strays:
            raise InvalidFrame(
                f"{self._where}: {self._strays} of {self.changes} changes were not written in the window, "
                f"one of them at {self._stray}: is it the manifest of another window?"
            )
        self._write()
        prove(total(self._placed), self.changes, self.files, self._where)

    def discard(self) -> None:
        """Delete the files, which no commit names; nothing was lost if that fails too."""
        with suppress(StorageFailed):
            self._store.delete(each.path for each in self.files)

    def _write(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting, self._bytes, self._rows = self._waiting, [], 0, 0
        with naming_the_value(waiting, self._columns, encode, self._where):
            self._write_quarters(pl.concat(rows.frame for rows in waiting))

    def _write_quarters(self, frame: pl.DataFrame) -> None:
        starts = pl.col(WRITE_TIME) // QUARTER_HOUR_US * QUARTER_HOUR_US
        for (start_us,), part in frame.group_by(starts.alias(WINDOW)):
            key = from_us(int(str(start_us))).strftime(KEY_FORMAT)
            self.files.append(self._write_partition(key, part.sort(WRITE_TIME)))

    def _write_partition(self, key: str, changes: pl.DataFrame) -> DataFile:
        partition = {WINDOW: key, EXPORT: export_name(self._window)}
        return write_file(self._store, partition_folder(partition), "changes", changes, partition)


def _shown_time(time_us: int) -> str:
    """Return a write time for a message, whatever number stands for it."""
    try:
        return f"{format_time(from_us(time_us))} ({time_us} µs)"
    except (OverflowError, ValueError):
        return f"{time_us} µs"


_OLD_IMAGE_COLUMN = Column(OLD_IMAGE, pl.String())


def _with_contents(account: Account, staged: StagedChanges) -> Account:
    """Return the account with what is known of an export's changes once they are committed."""
    return replace(account, contents=account.contents.having(staged.window, _partitions(staged)))


def _partitions(staged: StagedChanges) -> int:
    """Return in how many quarter-hours an export has changes."""
    return len({each.partition[WINDOW] for each in staged.files})


def _recorded_partitions(file: AddFile) -> int | None:
    """Return in how many quarter-hours a file's export has changes; None where the file does not say."""
    told = file.tags.get(PARTITIONS)
    return int(told) if told is not None and told.isdecimal() else None


def _has_old_images(table: Snapshot) -> bool:
    return OLD_IMAGE in column_types(table.metadata.schema)


def _quarters_of(window: Window) -> tuple[str, str]:
    """Return the partitions of a window's first and last quarter-hour."""
    return _key(window.start), _key(from_us(window.end_us - 1))


def _key(time: datetime) -> str:
    return floor_quarter_hour(time).strftime(KEY_FORMAT)
