"""Staging a full export: Parquet files beside the replica's own, and a manifest that lists them, written last.

Nothing is visible until one commit names the files. Shards can be written by any process; only the manifest
and the commit are central.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, cast

import obstore
import polars as pl
from deltalake import Schema
from obstore.store import LocalStore, S3Store

from ddb_lake.replica.columns import (
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
from ddb_lake.replica.data_files import FILE_BYTES, FILE_ROWS, DataFile, write_file
from ddb_lake.replica.errors import InvalidFrame, StagedBootstrapMissing
from ddb_lake.replica.location import Location
from ddb_lake.windows import format_time, parse_time, to_us

FORMAT = 1
"""The manifest's format; another number means that this program can't read it."""

EXPORT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
class StagedBootstrap:
    """A full export that waits to be committed.

    Args:
        table_id: The source table's TableId.
        export_id: The export's identity.
        bootstrap_time: Everything written before this time is in the export.
        columns: The attribute columns.
        files: The Parquet files.
    """

    table_id: str
    export_id: str
    bootstrap_time: datetime
    columns: tuple[Column, ...]
    files: tuple[DataFile, ...]

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
                "schema": json.loads(Schema(fields(self.columns)).to_json()),
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
        told: dict[str, Any] = json.loads(text)
        if told.get("format") != FORMAT:
            raise StagedBootstrapMissing(
                f"{where} has the format {told.get('format')!r}, this program reads {FORMAT}: stage it again"
            )
        return StagedBootstrap(
            table_id=told["table_id"],
            export_id=told["export_id"],
            bootstrap_time=parse_time(told["bootstrap_time"]),
            columns=attribute_columns(Schema.from_json(json.dumps(told["schema"]))),
            files=tuple(DataFile(**each) for each in told["files"]),
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
    location: Location,
    export_id: str,
    bootstrap_time: datetime,
    columns: Sequence[Column],
    name: str,
    frames: Iterator[pl.DataFrame],
) -> StagedShard:
    """Write one shard's rows to files of bounded size under the table's folder.

    Raises:
        InvalidFrame: If rows have other columns or types than declared, or were written after the export; like
            whatever the frames raise, with no file left behind.
        ValueError: If the export's identity can't be a folder's name.
    """
    where = f"{location}, bootstrap {export_id}, shard {name}"
    store = location.store()
    folder = f"bootstrap-{check_export_id(export_id)}/"
    stem = re.sub(r"[^A-Za-z0-9_-]", "-", PurePosixPath(name).name.split(".")[0]) or "shard"
    files: list[DataFile] = []
    waiting: list[pl.DataFrame] = []
    size = rows = 0

    def write() -> None:
        nonlocal size, rows
        if waiting:
            files.append(write_file(store, folder, stem, pl.concat(waiting), {}))
        waiting.clear()
        size = rows = 0

    def take(frame: pl.DataFrame) -> None:
        nonlocal size, rows
        absent = [column.name for column in columns if column.name not in frame.columns]
        if absent:
            raise InvalidFrame(f"{where}: the declared columns {absent} are not in the rows")
        frame = conform(frame, ROW_METADATA, columns, where)
        latest = cast(int, frame[WRITE_TIME].max())
        if latest >= to_us(bootstrap_time):
            raise InvalidFrame(
                f"{where}: a row was written at {latest} µs, which is not before the export's time "
                f"{format_time(bootstrap_time)} ({to_us(bootstrap_time)} µs)"
            )
        waiting.append(frame)
        size += int(frame.estimated_size())
        rows += frame.height
        if size >= FILE_BYTES or rows >= FILE_ROWS:
            write()

    try:
        for frame in frames:
            if frame.height:
                take(frame)
        write()
    except BaseException:
        discard_shards(location, [StagedShard(name, tuple(files))])
        raise
    return StagedShard(name, tuple(files))


def discard_shards(location: Location, shards: Iterable[StagedShard]) -> None:
    """Delete the files of shards that no manifest lists."""
    paths = [each.path for shard in shards for each in shard.files]
    if paths:
        obstore.delete(location.store(), paths)


def write_manifest(location: Location, staged: StagedBootstrap) -> None:
    """Write the manifest, which makes the staged files a whole; an older one of the export is replaced."""
    obstore.put(location.store(), manifest_path(staged.export_id), staged.to_json().encode())


def read_manifest(location: Location, export_id: str) -> StagedBootstrap:
    """Return what was staged of an export, once all of its files are shown to be there.

    Raises:
        StagedBootstrapMissing: If nothing was staged, or a file is absent or has another size.
    """
    store = location.store()
    path = manifest_path(export_id)
    try:
        text = bytes(obstore.get(store, path).bytes()).decode()
    except FileNotFoundError as error:
        raise StagedBootstrapMissing(
            f"{location}/{path} does not exist: the export {export_id} was not staged, or not to its end; "
            "stage it first"
        ) from error
    staged = StagedBootstrap.from_json(text, f"{location}/{path}")
    _check_files(location, store, staged)
    return staged


def _check_files(location: Location, store: LocalStore | S3Store, staged: StagedBootstrap) -> None:
    present = {
        meta["path"]: meta["size"] for chunk in obstore.list(store, f"bootstrap-{staged.export_id}") for meta in chunk
    }
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
