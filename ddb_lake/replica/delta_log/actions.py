"""The actions of a Delta log that a replica needs (Delta protocol: "Actions"), to and from their JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast
from urllib.parse import quote, unquote

import orjson

from ddb_lake.replica.errors import ANEW, DamagedLog

PASSED_ON = ("tags", "baseRowId", "defaultRowCommitVersion", "clusteringProvider")
"""What an add action has besides AddFile's fields. Checkpoints have more, of which the log knows nothing."""

FileKey = tuple[str, str | None]
"""A file's path and its deletion vector's unique id (Delta protocol: "Action Reconciliation")."""


@dataclass(frozen=True)
class DeletionVector:
    """Where the positions of a file's deleted rows are (Delta protocol: "Deletion Vector Descriptor Schema").

    Args:
        storage_type: `u` for a file named by a UUID, `i` for an inline one, `p` for an absolute path.
        path_or_inline: A prefix and the UUID in base 85, the vector itself in base 85, or the path.
        size: Bytes of the serialised vector, before base 85.
        cardinality: How many rows are deleted.
        offset: Where in the file the vector begins; None for an inline one.
    """

    storage_type: str
    path_or_inline: str
    size: int
    cardinality: int
    offset: int | None = None

    @property
    def unique_id(self) -> str:
        """What tells two vectors of one file apart in the log (Delta protocol: "Derived Fields")."""
        return _unique_id(self.storage_type, self.path_or_inline, self.offset)

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as the log has it."""
        told: dict[str, Any] = {"storageType": self.storage_type, "pathOrInlineDv": self.path_or_inline}
        if self.offset is not None:
            told["offset"] = self.offset
        return {**told, "sizeInBytes": self.size, "cardinality": self.cardinality}

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> "DeletionVector":
        """Read a descriptor of the log or of a checkpoint."""
        return DeletionVector(
            told["storageType"], told["pathOrInlineDv"], told["sizeInBytes"], told["cardinality"], told.get("offset")
        )


@dataclass(frozen=True)
class AddFile:
    """A data file that is part of the table (Delta protocol: "Add File and Remove File").

    Args:
        path: As in the log: relative and percent-encoded.
        size: Bytes.
        modification_time: In ms since the epoch.
        partition: The partition columns' values as the log serialises them.
        stats: The statistics as JSON, or None where the writer told none.
        deletion_vector: Which rows are deleted.
        more: Fields that are passed on unread.
    """

    path: str
    size: int
    modification_time: int
    partition: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    stats: str | None = None
    deletion_vector: DeletionVector | None = None
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @cached_property
    def object_path(self) -> str:
        """Where the file is in the table's folder."""
        return unquote(self.path)

    @cached_property
    def told(self) -> Mapping[str, Any]:
        """The statistics, or {} where there are none.

        Raises:
            DamagedLog: If they are no JSON.
        """
        try:
            return cast("dict[str, Any]", orjson.loads(self.stats)) if self.stats else {}
        except orjson.JSONDecodeError as error:
            raise DamagedLog(
                f"the statistics of {self.path} in the log are no JSON ({error}): restore the commit that adds it, "
                f"or {ANEW}"
            ) from error

    @property
    def rows(self) -> int | None:
        """Physical rows, deleted ones included; None where the writer did not tell."""
        return self.told.get("numRecords")

    @property
    def dead(self) -> int:
        """How many of the rows are deleted."""
        return 0 if self.deletion_vector is None else self.deletion_vector.cardinality

    @property
    def tags(self) -> Mapping[str, str | None]:
        """What its writer noted of the file, by name."""
        return self.more.get("tags") or {}

    @property
    def key(self) -> "FileKey":
        """What identifies the file in the log."""
        return self.path, None if self.deletion_vector is None else self.deletion_vector.unique_id

    def add(self, *, data_change: bool) -> dict[str, Any]:
        """Return the add action."""
        told: dict[str, Any] = {
            **self.more,
            "path": self.path,
            "partitionValues": dict(self.partition),
            "size": self.size,
            "modificationTime": self.modification_time,
            "dataChange": data_change,
        }
        if self.stats is not None:
            told["stats"] = self.stats
        if self.deletion_vector is not None:
            told["deletionVector"] = self.deletion_vector.to_json()
        return {"add": told}

    def remove(self, now_ms: int, *, data_change: bool) -> dict[str, Any]:
        """Return the remove action, which names the deletion vector that the file had."""
        told: dict[str, Any] = {
            "path": self.path,
            "deletionTimestamp": now_ms,
            "dataChange": data_change,
            "extendedFileMetadata": True,
            "partitionValues": dict(self.partition),
            "size": self.size,
        }
        if self.deletion_vector is not None:
            told["deletionVector"] = self.deletion_vector.to_json()
        return {"remove": told}

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> "AddFile":
        """Read an add action of the log or of a checkpoint."""
        vector = told.get("deletionVector")
        return AddFile(
            path=told["path"],
            size=told["size"],
            modification_time=told["modificationTime"],
            partition=dict(told.get("partitionValues") or {}),
            stats=told.get("stats"),
            deletion_vector=None if vector is None else DeletionVector.from_json(vector),
            more={name: told[name] for name in PASSED_ON if told.get(name) is not None},
        )


@dataclass(frozen=True)
class Tombstone:
    """A file that was removed from the table, which readers of older versions may still need.

    Args:
        path: As in the log.
        deleted_ms: When, in ms since the epoch.
        deletion_vector: The vector that the file had.
    """

    path: str
    deleted_ms: int
    deletion_vector: DeletionVector | None = None

    @property
    def object_path(self) -> str:
        """Where the file is in the table's folder."""
        return unquote(self.path)

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> "Tombstone":
        """Read a remove action."""
        vector = told.get("deletionVector")
        return Tombstone(
            told["path"],
            told.get("deletionTimestamp") or 0,
            None if vector is None else DeletionVector.from_json(vector),
        )


@dataclass(frozen=True)
class TableProtocol:
    """What a table asks of its readers and writers (Delta protocol: "Protocol Evolution")."""

    reader: int
    writer: int
    reader_features: tuple[str, ...] = ()
    writer_features: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the protocol action. Feature lists stand there exactly from reader 3 and writer 7 on."""
        told: dict[str, Any] = {"minReaderVersion": self.reader, "minWriterVersion": self.writer}
        if self.reader >= 3:
            told["readerFeatures"] = list(self.reader_features)
        if self.writer >= 7:
            told["writerFeatures"] = list(self.writer_features)
        return {"protocol": told}

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> "TableProtocol":
        """Read a protocol action."""
        return TableProtocol(
            told["minReaderVersion"],
            told["minWriterVersion"],
            tuple(told.get("readerFeatures") or ()),
            tuple(told.get("writerFeatures") or ()),
        )


@dataclass(frozen=True)
class Metadata:
    """A table's metadata (Delta protocol: "Change Metadata").

    Args:
        id: The table's identity, for its whole life.
        schema: The schema as JSON.
        partition_columns: In order.
        configuration: The table's properties.
        created_ms: When the table was created, in ms since the epoch.
        name: What somebody called it.
        description: What somebody said of it.
    """

    id: str
    schema: str
    partition_columns: tuple[str, ...] = ()
    configuration: Mapping[str, str] = field(default_factory=dict[str, str])
    created_ms: int | None = None
    name: str | None = None
    description: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the metadata action."""
        told: dict[str, Any] = {
            "id": self.id,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": self.schema,
            "partitionColumns": list(self.partition_columns),
            "configuration": dict(self.configuration),
        }
        more = {"name": self.name, "description": self.description, "createdTime": self.created_ms}
        return {"metaData": {**told, **{name: value for name, value in more.items() if value is not None}}}

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> "Metadata":
        """Read a metadata action."""
        return Metadata(
            id=told["id"],
            schema=told["schemaString"],
            partition_columns=tuple(told.get("partitionColumns") or ()),
            configuration=dict(told.get("configuration") or {}),
            created_ms=told.get("createdTime"),
            name=told.get("name"),
            description=told.get("description"),
        )


def key_of(told: Mapping[str, Any]) -> FileKey:
    """Return what identifies the file of an add or remove action of the log."""
    vector = told.get("deletionVector")
    if vector is None:
        return told["path"], None
    return told["path"], _unique_id(vector["storageType"], vector["pathOrInlineDv"], vector.get("offset"))


def _unique_id(storage_type: str, path_or_inline: str, offset: int | None) -> str:
    at = "" if offset is None else f"@{offset}"
    return f"{storage_type}{path_or_inline}{at}"


def log_path(object_path: str) -> str:
    """Return how the log writes the path of an object (RFC 2396)."""
    return quote(object_path, safe="/=-_.~!*'()")
