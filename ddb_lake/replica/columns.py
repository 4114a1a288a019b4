"""The columns of change logs and replicas: polars types on our side, Delta fields with metadata on the other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import orjson
import polars as pl
from deltalake import DataType, Field, Schema
from deltalake.schema import PrimitiveType

from ddb_lake.field_metadata import ARM, ATTRIBUTE, KEY, OURS, PARTITION, SINCE
from ddb_lake.replica.errors import InvalidColumn, InvalidFrame, SchemaConflict
from ddb_lake.replica.exact_names import arrange

KEY_HASH = "_key_hash"
WRITE_TIME = "_write_time_us"
TIE_BREAK = "_tie_break"
DELETED = "_deleted"
WINDOW = "_window"
EXPORT = "_export"
OLD_IMAGE = "_old_image"
"""What the change log keeps besides, where it is asked for: the item before the change as DynamoDB JSON."""

ROW_METADATA: dict[str, pl.DataType] = {KEY_HASH: pl.Int64(), WRITE_TIME: pl.Int64(), TIE_BREAK: pl.Int64()}
"""What every row of a replica carries besides its attributes."""

CHANGE_METADATA: dict[str, pl.DataType] = {**ROW_METADATA, DELETED: pl.Boolean()}
"""What every change carries besides its attributes; `_window` and `_export` are added when it is written."""

PARTITION_METADATA: dict[str, pl.DataType] = {WINDOW: pl.String(), EXPORT: pl.String()}
"""The change log's partition columns: the quarter-hour of the write time, and the window of the export."""

RESERVED = frozenset({*CHANGE_METADATA, *PARTITION_METADATA, OLD_IMAGE})

KEPT_SCHEMAS = 4
"""How many tables' schemas are kept as they were read: a window asks often for its change log's and replica's."""

ILLEGAL = " ,;{}()\n\t="
"""Characters that Delta allows in no column name without column mapping."""


@dataclass(frozen=True)
class Column:
    """A column that holds an attribute's values of one DynamoDB type.

    Args:
        name: The column's name in the Delta tables.
        dtype: Its polars type.
        metadata: What its Delta field carries, such as `ddb_lake.attribute`.
    """

    name: str
    dtype: pl.DataType
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def is_key(self) -> bool:
        """Whether the column holds values of the source table's primary key."""
        return KEY in self.metadata


def fields(columns: Iterable[Column]) -> list[Field]:
    """Return the Delta fields of some columns, metadata included.

    Raises:
        InvalidColumn: If Delta has no type that gives the column's polars type back.
    """
    types: dict[pl.DataType, DataType] = {}
    made: list[Field] = []
    for column in columns:
        if column.dtype not in types:
            types[column.dtype] = _delta_type(column)
        made.append(Field(column.name, types[column.dtype], nullable=True, metadata=dict(column.metadata)))
    return made


def _delta_type(column: Column) -> DataType:
    try:
        bare = Schema.from_arrow(pl.Schema({column.name: column.dtype})).fields[0]
    except Exception as error:
        raise InvalidColumn(
            f"column {column.name!r} of type {column.dtype} can't be kept in Delta: {error}"
        ) from error
    if isinstance(bare.type, PrimitiveType) and bare.type.type == "timestamp_ntz":
        # Delta protocol: "Timestamp without timezone": a feature that readers of any version need not know.
        raise InvalidColumn(f"column {column.name!r} has times without a zone; declare it as times in UTC")
    returned = pl.Schema(Schema([bare]))[column.name]
    if returned != column.dtype:
        raise InvalidColumn(
            f"column {column.name!r} of type {column.dtype} would come back from Delta as {returned}; "
            "declare it with that type and convert its values exactly before"
        )
    return bare.type


def metadata_columns(types: Mapping[str, pl.DataType]) -> tuple[Column, ...]:
    """Return the reserved columns of a table as columns without field metadata."""
    return tuple(Column(name, dtype) for name, dtype in types.items())


@lru_cache(KEPT_SCHEMAS)
def attribute_columns(schema: str) -> tuple[Column, ...]:
    """Return the attribute columns of a table's schema, in the schema's order.

    Args:
        schema: As the log has it (Delta protocol: "Schema Serialization Format").
    """
    return tuple(each for each in all_columns(schema) if each.name not in RESERVED and PARTITION not in each.metadata)


@lru_cache(KEPT_SCHEMAS)
def column_types(schema: str) -> Mapping[str, pl.DataType]:
    """Return the polars types of all columns of a table's schema, in its order, by their names."""
    return MappingProxyType({each.name: each.dtype for each in all_columns(schema)})


@lru_cache(KEPT_SCHEMAS)
def all_columns(schema: str) -> tuple[Column, ...]:
    """Return all columns of a schema. There may be thousands, of few types: each type is asked about once."""
    types: dict[str, pl.DataType] = {}
    made: list[Column] = []
    fields: list[dict[str, Any]] = orjson.loads(schema)["fields"]
    for each in fields:
        kind = orjson.dumps(each["type"]).decode()
        if kind not in types:
            alone = {"type": "struct", "fields": [{**each, "name": "x"}]}
            types[kind] = pl.Schema(Schema.from_json(orjson.dumps(alone).decode()))["x"]
        made.append(Column(each["name"], types[kind], each["metadata"]))
    return tuple(made)


def key_names(columns: Iterable[Column], table: str) -> list[str]:
    """Return the names of the columns that hold the primary key.

    Raises:
        InvalidColumn: If none does.
    """
    names = [column.name for column in columns if column.is_key]
    if not names:
        raise InvalidColumn(
            f"{table}: no column is marked as a key (field metadata {KEY!r}), so rows can't be told apart; "
            "declare the key's columns first"
        )
    return names


def added(existing: Sequence[Column], wanted: Iterable[Column], table: str) -> tuple[Column, ...]:
    """Return those of the `wanted` columns that `existing` lacks, once the two are shown to agree.

    Raises:
        InvalidColumn: If a wanted name is reserved, illegal in Delta or taken in another case.
        SchemaConflict: If a column exists with another type or meaning, or the attribute's values of this
            kind already have another column.
    """
    by_name = {column.name: column for column in existing}
    by_folded_name = {column.name.casefold(): column for column in existing}
    by_meaning = {meaning(column): column for column in existing if meaning(column)}
    new: list[Column] = []
    for column in wanted:
        if column.name.casefold() in RESERVED or not column.name or any(c in ILLEGAL for c in column.name):
            raise InvalidColumn(
                f"{table}: {column.name!r} is no name for an attribute's column: it is reserved, empty or "
                f"has one of the characters {ILLEGAL!r}"
            )
        known = by_name.get(column.name)
        if known is not None:
            if not agree(known, column):
                raise SchemaConflict(
                    f"{table}: column {column.name!r} exists as {describe(known)} but was to be added as "
                    f"{describe(column)}; read the table's columns again and learn the new ones on top of them"
                )
            continue
        homonym = by_folded_name.get(column.name.casefold())
        if homonym is not None:
            raise SchemaConflict(
                f"{table}: column {column.name!r} differs from {homonym.name!r} only by case; "
                "read the table's columns again and choose another name"
            )
        owner = by_meaning.get(meaning(column))
        if owner is not None:
            raise SchemaConflict(
                f"{table}: {describe(column)} already has the column {owner.name!r} and was to get "
                f"{column.name!r} too; read the table's columns again and learn the new ones on top of them"
            )
        new.append(column)
        by_name[column.name] = by_folded_name[column.name.casefold()] = column
        if meaning(column):
            by_meaning[meaning(column)] = column
    return tuple(new)


def agree(one: Column, other: Column) -> bool:
    """Tell whether two columns of a name have the same type and meaning.

    Others' metadata is their own; and who came upon an attribute first may be told later.
    """
    return one == other or (one.dtype == other.dtype and _ours(one) == _ours(other))


def _ours(column: Column) -> dict[str, str]:
    return {name: value for name, value in column.metadata.items() if name.startswith(OURS) and name != SINCE}


def meaning(column: Column) -> tuple[str, str] | None:
    """Return the attribute and arm that a column holds, if its metadata tells."""
    if ATTRIBUTE in column.metadata and ARM in column.metadata:
        return column.metadata[ATTRIBUTE], column.metadata[ARM]
    return None


def describe(column: Column) -> str:
    """Return a column's type and metadata for a message."""
    told = ", ".join(f"{name}={value!r}" for name, value in sorted(column.metadata.items()))
    return f"{column.dtype}" + (f" ({told})" if told else "")


def conform(
    frame: pl.DataFrame, metadata: Mapping[str, pl.DataType], columns: Sequence[Column], where: str
) -> pl.DataFrame:
    """Return the frame with exactly the declared columns in their order; absent attributes become null.

    delta-rs casts silently where types differ (a double 1.75 becomes the long 1), so every type must be
    equal before rows are handed over.

    Raises:
        InvalidFrame: If a metadata column is absent or has nulls, a column is unknown, or a type differs.
    """
    declared: dict[str, pl.DataType] = {**metadata, **{column.name: column.dtype for column in columns}}
    unknown = [name for name in frame.columns if name not in declared]
    if unknown:
        raise InvalidFrame(f"{where}: the columns {unknown} are not in the table; add them first")
    present = frozenset(frame.columns)
    absent = [name for name in metadata if name not in present]
    if absent:
        raise InvalidFrame(f"{where}: every row needs the columns {absent}")
    wrong = {name: (dtype, declared[name]) for name, dtype in frame.schema.items() if dtype != declared[name]}
    if wrong:
        told = "; ".join(f"{name!r} is {has}, not {wants}" for name, (has, wants) in wrong.items())
        raise InvalidFrame(f"{where}: types differ from the table's: {told}; convert the values exactly before")
    for name in metadata:
        nulls = frame[name].null_count()
        if nulls:
            raise InvalidFrame(f"{where}: {nulls} of {frame.height} rows have no {name}")
    return arrange(frame, declared)
