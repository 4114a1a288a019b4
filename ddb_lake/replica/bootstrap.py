"""Staging a full export: Parquet files beside the replica's own, and a manifest that lists them, written last.

Nothing is visible until one commit names the files. Shards can be written by any process; only the manifest
and the commit are central.
"""

import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from pathlib import PurePosixPath
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl
from deltalake import Schema

from ddb_lake.decoded_rows import DecodedRows
from ddb_lake.key_hashes import KeyHashes
from ddb_lake.replica.columns import (
    KEY_HASH,
    ROW_METADATA,
    WRITE_TIME,
    Column,
    added,
    attribute_columns,
    conform,
    fields,
    key_names,
    metadata_columns,
)
from ddb_lake.replica.data_files import (
    FILE_BYTES,
    FILE_ROWS,
    DataFile,
    encode,
    partition_folder,
    prove,
    write_file,
    write_indexed_file,
)
from ddb_lake.replica.errors import InvalidFrame, RepeatedKeys, StagedBootstrapMissing, StorageFailed
from ddb_lake.replica.exact_names import pick, read_parquet
from ddb_lake.replica.key_index import read_data_file, reading, segment_path
from ddb_lake.replica.location import Location
from ddb_lake.replica.partitioning import PartitionColumn, partition_fields, partitioning_of, split
from ddb_lake.replica.store import TableStore, put_new
from ddb_lake.replica.strategy import Strategy
from ddb_lake.replica.unstorable import naming_the_value
from ddb_lake.replica.written import Values, total, values_of
from ddb_lake.windows import format_time, parse_time, to_us

FORMAT = 1
"""The manifest's format; another number means that this program can't read it."""

FOLDER = "_bootstrap"
"""Where the accounts of stagings are; a folder with an underscore is left alone by other tools' vacuums."""

HASHES_END = ".hashes"
"""How the names of objects end that hold the key hashes of a staged shard, until all of its export is staged."""

_NO_HASHES = np.zeros(0, dtype="<i8")

EXPORT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MANIFEST = re.compile(rf"_bootstrap/{EXPORT_ID.pattern}\.json")


@dataclass(frozen=True)
class StagedShard:
    """The files of one shard of a full export.

    Args:
        name: The export's data file.
        files: What was written of it.
    """

    name: str
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class Staging:
    """What all shards of a full export have in common while they are staged.

    Args:
        table_id: The source table's TableId.
        export_id: The export's identity.
        bootstrap_time: Everything written before this time is in the export.
        columns: The attribute columns.
        strategy: What the files are for: deletion vectors need them sorted and indexed.
        partitioning: The partition columns.
        where: The table, for messages.
        rules: What else decides how rows are made of the export, as a fingerprint: files of other rules don't count.

    Raises:
        ValueError: If the export's identity can't be a folder's name.
    """

    table_id: str
    export_id: str
    bootstrap_time: datetime
    columns: tuple[Column, ...]
    strategy: Strategy
    partitioning: tuple[PartitionColumn, ...]
    where: str
    rules: str = ""

    def __post_init__(self) -> None:
        check_export_id(self.export_id)


@dataclass(frozen=True)
class StagedBootstrap:
    """A full export that waits to be committed.

    Args:
        table_id: The source table's TableId.
        export_id: The export's identity.
        bootstrap_time: Everything written before this time is in the export.
        columns: The attribute columns.
        files: The Parquet files.
        partitioning: The partition columns.
    """

    table_id: str
    export_id: str
    bootstrap_time: datetime
    columns: tuple[Column, ...]
    files: tuple[DataFile, ...]
    partitioning: tuple[PartitionColumn, ...] = ()

    @property
    def rows(self) -> int:
        """How many items there are."""
        return sum(each.rows for each in self.files)

    @property
    def size(self) -> int:
        """The files' bytes."""
        return sum(each.size for each in self.files)

    def to_json(self) -> str:
        """Return the manifest's text."""
        return json.dumps(
            {
                "format": FORMAT,
                "table_id": self.table_id,
                "export_id": self.export_id,
                "bootstrap_time": format_time(self.bootstrap_time),
                "rows": self.rows,
                "schema": json.loads(Schema([*fields(self.columns), *partition_fields(self.partitioning)]).to_json()),
                "partition_columns": [each.name for each in self.partitioning],
                "files": [each.to_json() for each in self.files],
            },
            ensure_ascii=False,
            indent=1,
        )

    @staticmethod
    def from_json(text: str, where: str) -> "StagedBootstrap":
        """Read a manifest back.

        Raises:
            StagedBootstrapMissing: If this program can't read it.
        """
        with _reading(where):
            told: dict[str, Any] = json.loads(text)
        if told.get("format") != FORMAT:
            raise StagedBootstrapMissing(
                f"{where} has the format {told.get('format')!r}, this program reads {FORMAT}: stage it again"
            )
        schema = json.dumps(told["schema"])
        return StagedBootstrap(
            table_id=told["table_id"],
            export_id=told["export_id"],
            bootstrap_time=parse_time(told["bootstrap_time"]),
            columns=attribute_columns(schema),
            files=tuple(DataFile(**each) for each in told["files"]),
            partitioning=partitioning_of(schema, told.get("partition_columns", ())),
        )


def check_columns(columns: Iterable[Column], where: str) -> tuple[Column, ...]:
    """Return the columns of a bootstrap once they are shown to fit into one table with a key.

    Raises:
        InvalidColumn: If one is unfit for Delta, or none is a key.
        SchemaConflict: If two of them contradict each other.
    """
    checked = added((), columns, where)
    fields(checked)
    key_names(checked, where)
    return checked


def write_shard(
    store: TableStore,
    staging: Staging,
    name: str,
    frames: Iterator[pl.DataFrame | DecodedRows],
) -> StagedShard:
    """Write one shard's rows to files of bounded size under the table's folder, or find that this was done.

    A shard that was written to its end leaves a note, so that a staging that breaks off goes on where it stopped:
    the frames of such a shard are not asked for.

    Args:
        store: The table's folder.
        staging: What all shards have in common.
        name: The export's data file.
        frames: Its rows.

    Raises:
        InvalidFrame: If rows have other columns or types than declared, or were written after the export; like
            whatever the frames raise, with no file of this shard left behind.
        UnstorableValue: If a value can't be written to a file; likewise.
        NotWritten: If the files have not the rows and values that the frames had; likewise.
    """
    where = f"{staging.where}, bootstrap {staging.export_id}, shard {name}"
    done = _read_note(store, staging, name)
    if done is not None:
        return done
    stem = re.sub(r"[^A-Za-z0-9_-]", "-", PurePosixPath(name).name.split(".")[0]) or "shard"
    files: list[DataFile] = []
    hashes: list[npt.NDArray[Any]] = []
    waiting: list[DecodedRows] = []
    placed: list[Values] = []
    size = rows = taken_rows = 0

    def write() -> None:
        nonlocal size, rows
        if waiting:
            with naming_the_value(waiting, staging.columns, encode, where):
                for file in _write_files(store, staging, stem, pl.concat(each.frame for each in waiting)):
                    files.append(file)
        waiting.clear()
        size = rows = 0

    def take(taken: DecodedRows) -> None:
        nonlocal size, rows, taken_rows
        frame = taken.frame
        place = f"{where} ({taken.where()})" if taken.source else where
        present = frozenset(frame.columns)
        absent = [column.name for column in staging.columns if column.name not in present]
        if absent:
            raise InvalidFrame(f"{place}: the declared columns {absent} are not in the rows")
        frame = conform(frame, ROW_METADATA, staging.columns, place)
        latest = cast(int, frame[WRITE_TIME].max())
        if latest >= to_us(staging.bootstrap_time):
            raise InvalidFrame(
                f"{place}: a row was written at {latest} µs, which is not before the export's time "
                f"{format_time(staging.bootstrap_time)} ({to_us(staging.bootstrap_time)} µs)"
            )
        placed.append(taken.values or values_of(taken.frame))
        taken_rows += taken.frame.height
        waiting.append(replace(taken, frame=frame))
        hashes.append(frame[KEY_HASH].to_numpy())
        size += int(frame.estimated_size())
        rows += frame.height
        if size >= FILE_BYTES or rows >= FILE_ROWS:
            write()

    try:
        for frame in map(DecodedRows.of, frames):
            if frame.frame.height:
                take(frame)
        write()
        prove(total(placed), taken_rows, files, where)
        shard = StagedShard(name, tuple(files))
        told = np.concatenate([_NO_HASHES, *hashes]).tobytes()
        put_new(store, _hashes_path(staging.export_id, name), told)
        put_new(store, _note_path(staging.export_id, name), json.dumps(_note(staging, shard)).encode())
    except BaseException:
        with suppress(StorageFailed):  # the first error counts
            discard_shards(store, [StagedShard(name, tuple(files))])
            store.delete([_hashes_path(staging.export_id, name)])
        raise
    return shard


def discard_shards(store: TableStore, shards: Iterable[StagedShard]) -> None:
    """Delete the files of shards that no manifest lists, and their segments of the key index."""
    paths = [each.path for shard in shards for each in shard.files]
    store.delete([*paths, *map(segment_path, paths)])


def _write_files(store: TableStore, staging: Staging, stem: str, frame: pl.DataFrame) -> Iterator[DataFile]:
    folder = f"bootstrap-{staging.export_id}/"
    for partition, rows in split(frame, staging.partitioning, staging.columns):
        within = folder + partition_folder(partition)
        if staging.strategy is Strategy.DELETION_VECTORS:
            yield write_indexed_file(store, within, stem, rows, partition, key_names(staging.columns, staging.where))
        else:
            yield write_file(store, within, stem, rows, partition)


def _note(staging: Staging, shard: StagedShard) -> dict[str, Any]:
    """Return what tells that a shard was staged, and of what it must be staged anew."""
    return {
        "format": FORMAT,
        "table_id": staging.table_id,
        "bootstrap_time": format_time(staging.bootstrap_time),
        "schema": json.loads(Schema(fields(staging.columns)).to_json()),
        "partitioning": [each.rule() for each in staging.partitioning],
        "strategy": staging.strategy.value,
        "rules": staging.rules,
        "shard": shard.name,
        "files": [each.to_json() for each in shard.files],
        "key_hashes": sum(each.rows for each in shard.files),
    }


def _read_note(store: TableStore, staging: Staging, name: str) -> StagedShard | None:
    """Return a shard that was staged to its end, of the same columns, and whose files are all there."""
    try:
        told: dict[str, Any] = json.loads(store.get(_note_path(staging.export_id, name)))
    except (FileNotFoundError, ValueError):
        return None
    shard = StagedShard(name, tuple(DataFile(**each) for each in told.get("files", ())))
    present = {each.path: each.size for each in store.walk(f"bootstrap-{staging.export_id}")}
    whole = all(present.get(each.path) == each.size for each in shard.files)
    if told == _note(staging, shard) and whole and _read_hashes(store, staging.export_id, shard) is not None:
        return shard
    if told.get("format") == FORMAT and not is_finished(store, staging.export_id):
        discard_shards(store, [shard])  # of columns that have been widened since
    return None


def _read_hashes(store: TableStore, export_id: str, shard: StagedShard) -> npt.NDArray[np.int64] | None:
    """Return the key hashes of a staged shard's rows; None if they are not there."""
    try:
        data = store.get(_hashes_path(export_id, shard.name))
    except FileNotFoundError:
        return None
    return np.frombuffer(data, dtype="<i8") if len(data) == 8 * sum(each.rows for each in shard.files) else None


def require_single_keys(
    store: TableStore, export_id: str, shards: Sequence[StagedShard], keys: Sequence[str], where: str
) -> None:
    """Check that no two rows of a staged export have the same key; if they do, nothing of the staging is kept.

    Raises:
        RepeatedKeys: If two rows have one.
        StagedBootstrapMissing: If what a shard has noted of its keys is gone.
    """
    with KeyHashes() as gathered:
        for shard in shards:
            hashes = _read_hashes(store, export_id, shard)
            if hashes is None:
                raise StagedBootstrapMissing(f"{where}: the shard {shard.name} is not staged whole: stage it again")
            gathered.add(hashes)
        suspects = gathered.repeated()
    if not len(suspects):
        return
    met: list[pl.DataFrame] = []
    for file in (each.add_file() for shard in shards for each in shard.files):
        with reading(store, file):
            rows = read_parquet(read_data_file(store, file), [KEY_HASH, *keys])
        met.append(rows.filter(rows[KEY_HASH].is_in(pl.Series(suspects).implode())))
    rows = pl.concat(met)
    repeated = rows.filter(rows.is_duplicated())
    if repeated.height:
        forget_notes(store, export_id)
        discard_shards(store, shards)
        first = {name: value for name, value in pick(repeated, keys).row(0, named=True).items() if value is not None}
        raise RepeatedKeys(
            f"{where}: {repeated.height} rows share their keys with others of the export, one of them {first}; an "
            "export has each item once. Nothing was committed: stage it again from files as DynamoDB wrote them",
            repeated[KEY_HASH].unique().to_numpy(),
        )


def _note_path(export_id: str, shard: str) -> str:
    return f"{_notes(export_id)}/{_note_name(shard)}.json"


def _hashes_path(export_id: str, shard: str) -> str:
    return f"{_notes(export_id)}/{_note_name(shard)}{HASHES_END}"


def _note_name(shard: str) -> str:
    return blake2b(shard.encode(), digest_size=16).hexdigest()


def _notes(export_id: str) -> str:
    return f"_bootstrap/{check_export_id(export_id)}"


def is_finished(store: TableStore, export_id: str) -> bool:
    """Tell whether an export was staged to its end."""
    check_export_id(export_id)
    return f"{export_id}.json" in store.names("_bootstrap")


def forget_notes(store: TableStore, export_id: str) -> None:
    """Delete the notes on an export's shards: the next staging of it begins anew."""
    store.delete(f"{_notes(export_id)}/{name}" for name in store.names(_notes(export_id)))


def write_manifest(store: TableStore, staged: StagedBootstrap, keep_columns: Callable[[], None]) -> None:
    """Write the manifest, which makes the staged files a whole; an older one of the export is replaced.

    Args:
        store: The table's folder.
        staged: What it lists.
        keep_columns: Makes the columns those of the source table, as the last step. If it fails, the manifest goes.
    """
    path = manifest_path(staged.export_id)
    try:
        store.put(path, staged.to_json().encode())
        keep_columns()
    except Exception:
        with suppress(StorageFailed):  # the first error counts, and no commit is made without the columns
            store.delete([path])
        raise
    with suppress(StorageFailed):  # they are of no use any more, and no harm
        forget_notes(store, staged.export_id)


def read_manifest(store: TableStore, location: Location, export_id: str) -> StagedBootstrap:
    """Return what was staged of an export, once all of its files are shown to be there.

    Raises:
        StagedBootstrapMissing: If nothing was staged, or a file is absent or has another size.
    """
    path = manifest_path(export_id)
    try:
        text = store.get(path).decode()
    except FileNotFoundError as error:
        raise StagedBootstrapMissing(
            f"{location}/{path} does not exist: the export {export_id} was not staged, or not to its end; "
            "stage it first"
        ) from error
    staged = StagedBootstrap.from_json(text, f"{location}/{path}")
    _check_files(location, store, staged)
    return staged


def read_manifests(store: TableStore, location: Location) -> list[StagedBootstrap]:
    """Return what was staged as a whole, of all exports whose manifests this program can read."""
    paths = [each.path for each in store.walk("_bootstrap") if MANIFEST.fullmatch(each.path)]
    found: list[StagedBootstrap] = []
    for path, data in zip(paths, store.get_many(paths), strict=True):
        with suppress(
            StagedBootstrapMissing, UnicodeDecodeError
        ):  # of another version, or damaged: as good as not staged
            found.append(StagedBootstrap.from_json(data.decode(), f"{location}/{path}"))
    return found


def staged_files(store: TableStore, committed: datetime | None, *, damaged: bool = False) -> set[str]:
    """Return the paths of all files that stagings have written for a commit that may still come.

    Args:
        store: The table's folder.
        committed: The time of the full export that the replica builds upon: no earlier one will be committed again,
            and that one itself only to repair the replica.
        damaged: Whether files of the replica are lost, so that it may have to be repaired.

    Raises:
        StagedBootstrapMissing: If what a staging has noted can't be read, so that its files can't be told.
    """
    paths = [each.path for each in store.walk("_bootstrap") if each.path.endswith(".json")]
    found: set[str] = set()
    for path, data in zip(paths, store.get_many(paths), strict=True):
        with _reading(f"{store}/{path}"):
            told: dict[str, Any] = json.loads(data)
            time = parse_time(told["bootstrap_time"])
            if committed is None or time > committed or (damaged and time == committed):
                names = [each["path"] for each in told["files"]]
                found.update(names, map(segment_path, names), [path.removesuffix(".json") + HASHES_END])
    return found


@contextmanager
def _reading(where: str) -> Generator[None]:
    """Tell which account of a staging is damaged."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise StagedBootstrapMissing(
            f"{where} can't be read ({error!r}): remove it if the initial load is committed, else stage that again"
        ) from error


def _check_files(location: Location, store: TableStore, staged: StagedBootstrap) -> None:
    present = {each.path: each.size for each in store.walk(f"bootstrap-{staged.export_id}")}
    for each in staged.files:
        if present.get(each.path) != each.size:
            found = f"has {present[each.path]} bytes" if each.path in present else "does not exist"
            raise StagedBootstrapMissing(
                f"{location}/{each.path} {found}, but {each.size} bytes were staged: "
                f"stage the export {staged.export_id} again"
            )


def table_columns(columns: Iterable[Column]) -> tuple[Column, ...]:
    """Return all columns of a replica: the reserved ones, then the attributes'."""
    return (*metadata_columns(ROW_METADATA), *columns)


def manifest_path(export_id: str) -> str:
    """Return where an export's manifest is; a folder with an underscore is left alone by vacuum."""
    return f"_bootstrap/{check_export_id(export_id)}.json"


def check_export_id(export_id: str) -> str:
    """Return the identity if it can be a folder's name.

    Raises:
        ValueError: If not; the last part of the export's ARN can.
    """
    if not EXPORT_ID.fullmatch(export_id):
        raise ValueError(
            f"{export_id!r} can't name a folder: give the last part of the export's ARN, "
            "such as 01700000000000-1a2b3c4d"
        )
    return export_id
