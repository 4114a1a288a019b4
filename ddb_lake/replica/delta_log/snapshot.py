"""A table as it is at one version, from its newest checkpoint and the commits after it.

Delta protocol: "Action Reconciliation", "Checkpoints", "Last Checkpoint File". Cost: one checkpoint and the few
commits after it, however long the table has lived.
"""

import contextlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import orjson
import polars as pl
from deltalake import Schema

from ddb_lake.replica.delta_log.actions import AddFile, FileKey, Metadata, TableProtocol, Tombstone, key_of
from ddb_lake.replica.errors import ANEW, DamagedLog, UnsupportedTable
from ddb_lake.replica.exact_names import pick, read_parquet
from ddb_lake.replica.location import Location
from ddb_lake.replica.store import TableStore

LOG = "_delta_log"

ACTIONS = "ddb_lake.actions"
"""What our commits tell in their commitInfo: how many lines they have, so that one that is cut off is noticed."""

READS = 4
"""How often a table is read anew whose log is being cleaned up meanwhile."""

LAST_CHECKPOINT = f"{LOG}/_last_checkpoint"

COMMIT = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.(\d{10})\.(\d{10}))?\.parquet")

READABLE = frozenset({"deletionVectors", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "variantType"})
"""The reader features that this package understands; of V2 checkpoints only the classic ones.

No column of ours is a variant. But delta-rs (1.6) adds the feature to any table with deletion vectors whose
properties it alters.
"""


@dataclass(frozen=True)
class LoggedFiles:
    """The data files of a version as the log tells them. Most tables' are few; a change log's are read as needed.

    Args:
        checkpoint: The checkpoint's add actions, as columns, in its parts.
        since: What the commits after it say of files: an add action, or None where the file was removed.
    """

    checkpoint: tuple[pl.Series, ...] = ()
    since: Mapping[FileKey, Mapping[str, Any] | None] = field(default_factory=dict[FileKey, Mapping[str, Any] | None])

    def read(self) -> Iterator[AddFile]:
        """Yield all files."""
        return self._read(self.checkpoint)

    def between(self, column: str, first: str, last: str) -> Iterator[AddFile]:
        """Yield the files with a value of a partition column from `first` to `last`."""
        parts = (
            part.filter(part.struct.field("partitionValues").map.get(column).is_between(first, last))
            for part in self.checkpoint
        )
        for file in self._read(parts):
            value = file.partition.get(column)
            if value is not None and first <= value <= last:
                yield file

    def _read(self, parts: Iterable[pl.Series]) -> Iterator[AddFile]:
        for part in parts:
            for told in map(_plain, part.to_list()):
                if key_of(told) not in self.since:
                    yield AddFile.from_json(_with_stats(told))
        yield from (AddFile.from_json(told) for told in self.since.values() if told is not None)


@dataclass(frozen=True)
class Snapshot:
    """A table at one version.

    Args:
        location: Where it is.
        number: The version.
        protocol: What it asks of readers and writers.
        metadata: Its schema and properties.
        logged: The data files.
        transactions: The app transactions' versions.
        infos: What the commits since the checkpoint tell of themselves, by version.
        tombstones: The removed files that the log still tells of; only where they were asked for.
        commits_since_checkpoint: How many commits were read one by one.
    """

    location: Location
    number: int
    protocol: TableProtocol
    metadata: Metadata
    logged: LoggedFiles = field(default_factory=LoggedFiles, compare=False, repr=False)
    transactions: Mapping[str, int] = field(default_factory=dict[str, int])
    infos: Mapping[int, Mapping[str, Any]] = field(default_factory=dict[int, Mapping[str, Any]])
    tombstones: tuple[Tombstone, ...] = ()
    commits_since_checkpoint: int = 0

    @cached_property
    def files(self) -> Mapping[str, AddFile]:
        """The data files by their paths in the log.

        Raises:
            DamagedLog: If one is there twice.
        """
        return self._by_path(self.logged.read())

    def files_between(self, column: str, first: str, last: str) -> Mapping[str, AddFile]:
        """Return the files with a value of a partition column from `first` to `last`, by their paths in the log.

        Raises:
            DamagedLog: If one is there twice.
        """
        return self._by_path(self.logged.between(column, first, last))

    def _by_path(self, told: Iterable[AddFile]) -> Mapping[str, AddFile]:
        read = list(told)
        files = {each.path: each for each in read}
        if len(files) != len(read):
            raise DamagedLog(
                f"{self.location}: the log up to version {self.number} has a file twice, with different deletion "
                f"vectors: a commit before it is damaged; restore that, or {ANEW}"
            )
        return files

    def version(self) -> int:
        """Return the version, as delta-rs's tables do."""
        return self.number

    def transaction_version(self, app_id: str) -> int | None:
        """Return an app transaction's version, as delta-rs's tables do."""
        return self.transactions.get(app_id)

    def schema(self) -> Schema:
        """Return the schema with its fields' metadata."""
        return Schema.from_json(self.metadata.schema)

    @property
    def has_deletion_vectors(self) -> bool:
        """Whether writers may write deletion vectors: the feature is there, and switched on."""
        return (
            "deletionVectors" in self.protocol.writer_features
            and self.metadata.configuration.get("delta.enableDeletionVectors", "").lower() == "true"
        )

    def property(self, name: str) -> str | None:
        """Return a table property."""
        return self.metadata.configuration.get(name)


def commit_path(version: int) -> str:
    """Return where the commit of a version is."""
    return f"{LOG}/{version:020}.json"


def read_snapshot(
    store: TableStore, location: Location, at: int | None = None, *, with_tombstones: bool = False
) -> Snapshot | None:
    """Return the table as it is now, or at a version; None if there is no table.

    Raises:
        DamagedLog: If commits are missing between those that are there.
        UnsupportedTable: If the table asks for a reader feature that is not known here.
    """
    tries = READS
    while True:
        try:
            return _read(store, location, at, with_tombstones=with_tombstones)
        except (FileNotFoundError, DamagedLog) as error:
            # Somebody's cleanup of the log removes what is listed, or while it is: a newer checkpoint tells as much.
            tries -= 1
            if tries:
                continue
            if isinstance(error, DamagedLog):
                raise
            raise DamagedLog(
                f"{location}/{LOG}: a file is listed and can't be read, {READS} times in a row ({error}); "
                f"restore it, or {ANEW}"
            ) from error


def _read(store: TableStore, location: Location, at: int | None, *, with_tombstones: bool) -> Snapshot | None:
    replay = _Replay(location, with_tombstones=with_tombstones)
    checkpoint, names = _find(store, at)
    number = -1
    if checkpoint is not None:
        number = checkpoint[0]
        for name, data in zip(
            checkpoint[1], store.get_many([f"{LOG}/{name}" for name in checkpoint[1]]), strict=True
        ):
            try:
                replay.take_checkpoint(data)
            except pl.exceptions.PolarsError as error:
                raise DamagedLog(
                    f"{location}/{LOG}/{name} can't be read: restore the checkpoint; or remove it and "
                    f"{LAST_CHECKPOINT}, if all commits since the one before it are there ({error})"
                ) from error
    commits = sorted(version for name in names if (version := _commit_version(name)) is not None and version > number)
    if at is not None:
        commits = [version for version in commits if version <= at]
    expected = list(range(number + 1, number + 1 + len(commits)))
    if commits != expected:
        lost = sorted(set(range(number + 1, commits[-1])) - set(commits))
        raise DamagedLog(
            f"{location}: the log has no commit {lost[0]}, and no checkpoint after it that is pointed to: "
            f"restore the file, or {ANEW}"
        )
    for version, data in zip(commits, store.get_many([commit_path(version) for version in commits]), strict=True):
        replay.take_commit(version, data)
        number = version
    if number < 0:
        return None
    if at is not None and number < at:
        raise DamagedLog(f"{location} has no version {at}; its newest is {number}")
    return replay.snapshot(number, len(commits))


def _find(store: TableStore, at: int | None) -> tuple[tuple[int, list[str]] | None, list[str]]:
    """Return the newest complete checkpoint (version, names) and the names in the log from it on."""
    told: Any = None
    if at is None:
        with contextlib.suppress(FileNotFoundError, orjson.JSONDecodeError):
            told = orjson.loads(store.get(LAST_CHECKPOINT))  # only a hint: the listing tells all
    version = cast("dict[str, object]", told).get("version") if isinstance(told, dict) else None
    after = f"{version:020}." if isinstance(version, int) else ""
    names = store.names(LOG, after)
    checkpoint = _newest_checkpoint(names, at)
    if checkpoint is None and after:
        names = store.names(LOG)
        checkpoint = _newest_checkpoint(names, at)
    return checkpoint, names


def _newest_checkpoint(names: Iterable[str], at: int | None) -> tuple[int, list[str]] | None:
    parts: dict[tuple[int, int], list[str]] = {}
    for name in names:
        match = CHECKPOINT.fullmatch(name)
        if match and (at is None or int(match[1]) <= at):
            parts.setdefault((int(match[1]), int(match[3] or 1)), []).append(name)
    whole = [(version, sorted(found)) for (version, count), found in parts.items() if len(found) == count]
    return max(whole, default=None)


def _commit_version(name: str) -> int | None:
    match = COMMIT.fullmatch(name)
    return int(match[1]) if match else None


class _Replay:
    """Actions being reconciled: the newest of each kind and file counts. Most are superseded, so few are read."""

    def __init__(self, location: Location, *, with_tombstones: bool) -> None:
        self._location = location
        self._with_tombstones = with_tombstones
        self._checkpoint: list[pl.Series] = []
        self._since: dict[FileKey, Mapping[str, Any] | None] = {}
        self._transactions: dict[str, int] = {}
        self._infos: dict[int, Mapping[str, Any]] = {}
        self._tombstones: list[Tombstone] = []
        self._protocol: TableProtocol | None = None
        self._metadata: Metadata | None = None

    def take_checkpoint(self, data: bytes) -> None:
        wanted = ["add", "txn", "metaData", "protocol", *(["remove"] if self._with_tombstones else [])]
        schema = pl.read_parquet_schema(io.BytesIO(data))
        frame = read_parquet(data, wanted)
        if (
            "sidecar" in schema
            and pl.read_parquet(io.BytesIO(data), columns=["sidecar"])["sidecar"].is_not_null().any()
        ):
            raise UnsupportedTable(
                f"{self._location} has a checkpoint with sidecars (V2), which this program can't read: "
                "set the table property delta.checkpointPolicy to classic, and write a checkpoint"
            )
        for name in frame.columns:
            column = frame[name]
            present = column.filter(column.struct.field(_ALWAYS[name]).is_not_null())
            if name == "add":
                self._checkpoint.append(present)
            elif name == "remove":
                self._tombstones += _tombstones(present)
            else:
                for told in present.to_list():
                    self._take(name, _plain(told))

    def take_commit(self, version: int, data: bytes) -> None:
        added: list[Mapping[str, Any]] = []
        lines = [line for line in data.splitlines() if line.strip()]
        if not lines:
            raise self._damaged(version, "is empty")
        for line in lines:
            try:
                action = cast("Mapping[str, Any]", orjson.loads(line))
            except orjson.JSONDecodeError as error:
                raise self._damaged(version, "holds a line that is not JSON") from error
            for name, told in action.items():
                if name == "add":
                    added.append(told)  # after the commit's removes, which may name the same path
                elif name == "commitInfo":
                    if told.get(ACTIONS, len(lines)) != len(lines):
                        raise self._damaged(version, f"has {len(lines)} of its {told[ACTIONS]} lines")
                    self._infos[version] = told
                else:
                    self._take(name, told)
        for told in added:
            self._take("add", told)

    def snapshot(self, number: int, commits: int) -> Snapshot:
        if self._protocol is None or self._metadata is None:
            raise DamagedLog(f"{self._location}: the log up to version {number} has no protocol or no metadata")
        unknown = sorted(set(self._protocol.reader_features) - READABLE)
        if unknown or self._protocol.reader == 2 or self._protocol.reader > 3:
            raise UnsupportedTable(
                f"{self._location} asks its readers for {', '.join(unknown) or f'version {self._protocol.reader}'}, "
                "which this program does not know; nothing was read"
            )
        return Snapshot(
            location=self._location,
            number=number,
            protocol=self._protocol,
            metadata=self._metadata,
            logged=LoggedFiles(tuple(self._checkpoint), self._since),
            transactions=self._transactions,
            infos=self._infos,
            tombstones=tuple(self._tombstones),
            commits_since_checkpoint=commits,
        )

    def _damaged(self, version: int, what: str) -> DamagedLog:
        return DamagedLog(
            f"{self._location}/{commit_path(version)} {what}: restore the file; or remove it if it is the newest, "
            f"whose window is applied again then; or {ANEW}"
        )

    def _take(self, name: str, told: Mapping[str, Any]) -> None:
        match name:
            case "add":
                self._since[key_of(told)] = told
            case "remove":
                self._since[key_of(told)] = None
                if self._with_tombstones:
                    self._tombstones.append(Tombstone.from_json(told))
            case "txn":
                self._transactions[told["appId"]] = told["version"]
            case "metaData":
                self._metadata = Metadata.from_json(told)
            case "protocol":
                self._protocol = TableProtocol.from_json(told)
            case _:
                pass  # cdc, domainMetadata and whatever else does not change which rows there are


_ALWAYS = {"add": "path", "remove": "path", "txn": "appId", "metaData": "id", "protocol": "minReaderVersion"}
"""A field of each action that is never null: where it is, the checkpoint's row is of another action."""


def _tombstones(removes: pl.Series) -> Iterator[Tombstone]:
    """Yield the remove actions of a checkpoint, which may be thousands, without those of their fields unused here."""
    told = removes.struct.unnest()
    wanted = [name for name in ("path", "deletionTimestamp", "deletionVector") if name in told.columns]
    for each in pick(told, wanted).iter_rows(named=True):
        vector = each.get("deletionVector")
        known = vector is not None and vector["storageType"] is not None
        yield Tombstone.from_json({**each, "deletionVector": vector if known else None})


def _plain(value: Any) -> Any:
    """Return a checkpoint's value as JSON would have it: no nulls, and maps as dicts."""
    return dict(_members(cast("dict[str, Any]", value))) if isinstance(value, dict) else value


def _with_stats(told: dict[str, Any]) -> Mapping[str, Any]:
    """Return an add action of a checkpoint whose statistics stand in columns only, with them as JSON.

    Delta protocol: "Checkpoint Schema" (`delta.checkpoint.writeStatsAsJson`). Bounds other than numbers and texts are
    left out: each type has a JSON of its own, and none of ours are searched.
    """
    parsed = told.pop("stats_parsed", None)
    if parsed is None or told.get("stats") is not None:
        return told
    return {**told, "stats": orjson.dumps(_without_other_types(parsed)).decode()}


def _without_other_types(told: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        name: _without_other_types(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
        for name, value in told.items()
        if isinstance(value, dict | int | str)
    }
    return {name: value for name, value in kept.items() if value != {}}


def _members(told: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in told.items():
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            if name in ("partitionValues", "configuration", "tags", "options"):
                yield name, members
            elif any(member is not None for member in members.values()):
                yield name, dict(_members(members))
        elif isinstance(value, list) and name in ("partitionValues", "configuration", "tags", "options"):
            pairs = cast("list[dict[str, Any]]", value)
            yield name, {pair["key"]: pair["value"] for pair in pairs}
        elif value is not None:
            yield name, value
