"""Partition columns of a replica: values that are computed from an item, so that readers can skip files.

The table's own schema says how each is computed (field metadata `ddb_lake.partition`), so that whoever applies a
window computes the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import polars as pl
from deltalake import Field, Schema
from deltalake.schema import PrimitiveType

from ddb_lake.field_metadata import PARTITION
from ddb_lake.replica.columns import KEY_HASH, Column
from ddb_lake.replica.errors import InvalidColumn
from ddb_lake.replica.exact_names import column, columns

PREFIX = "_part_"
"""How the names of partition columns begin, which no attribute's column may."""

MOST_BUCKETS = 1024

Unit = Literal["year", "month", "day"]

DATE_CHARACTERS = {"year": 4, "month": 7, "day": 10}
"""How much of an ISO 8601 time tells each part of it."""


@dataclass(frozen=True)
class HashBucket:
    """Rows spread evenly by their keys' hash over a number of partitions.

    Args:
        buckets: How many.
    """

    buckets: int

    @property
    def name(self) -> str:
        """The partition column's name."""
        return f"{PREFIX}bucket"

    def rule(self) -> dict[str, Any]:
        """Return the rule as the schema keeps it."""
        return {"buckets": self.buckets}

    def values(self, columns: Iterable[str]) -> pl.Expr:
        """Return the expression of the partition's values; hashes are signed, buckets are not."""
        return (pl.col(KEY_HASH) % self.buckets).cast(pl.String()).str.zfill(len(str(self.buckets - 1)))


@dataclass(frozen=True)
class DatePart:
    """Rows by the year, month or day of an attribute that holds an ISO 8601 time as text.

    Args:
        attribute: Its column in the table.
        unit: How much of the time counts.
    """

    attribute: str
    unit: Unit

    @property
    def name(self) -> str:
        """The partition column's name."""
        return f"{PREFIX}{self.unit}"

    def rule(self) -> dict[str, Any]:
        """Return the rule as the schema keeps it."""
        return {"attribute": self.attribute, "unit": self.unit}

    def values(self, columns: Iterable[str]) -> pl.Expr:
        """Return the expression of the partition's values: null where the attribute is no such time, or absent."""
        if self.attribute not in columns:
            return pl.lit(None, dtype=pl.String())
        start = column(self.attribute).str.head(DATE_CHARACTERS[self.unit])
        pattern = {"year": r"^\d{4}$", "month": r"^\d{4}-\d\d$", "day": r"^\d{4}-\d\d-\d\d$"}[self.unit]
        return pl.when(start.str.contains(pattern)).then(start)


PartitionColumn = HashBucket | DatePart


def partition_fields(partitioning: Iterable[PartitionColumn]) -> list[Field]:
    """Return the Delta fields of partition columns."""
    return [
        Field(
            each.name,
            PrimitiveType("string"),
            nullable=True,
            metadata={PARTITION: orjson.dumps(each.rule()).decode()},
        )
        for each in partitioning
    ]


def partitioning_of(schema: Schema, names: Sequence[str]) -> tuple[PartitionColumn, ...]:
    """Return how a table's partition columns are computed.

    Raises:
        InvalidColumn: If one is not ours, so that its values can't be told.
    """
    by_name = {each.name: dict(each.metadata) for each in schema.fields}
    made: list[PartitionColumn] = []
    for name in names:
        rule = orjson.loads(str(by_name.get(name, {}).get(PARTITION) or "null"))
        match rule:
            case {"buckets": buckets}:
                made.append(HashBucket(buckets))
            case {"attribute": attribute, "unit": unit}:
                made.append(DatePart(attribute, unit))
            case _:
                raise InvalidColumn(
                    f"the partition column {name!r} is not one of ddb_lake's, so a row's partition can't be told: "
                    "commit a bootstrap with `partition_by` in lake.yaml, which replaces the table"
                )
    return tuple(made)


def with_partitions(frame: pl.DataFrame, partitioning: Sequence[PartitionColumn]) -> pl.DataFrame:
    """Return the rows with their partition columns."""
    return frame.with_columns(each.values(frame.columns).alias(each.name) for each in partitioning)


def split(
    frame: pl.DataFrame, partitioning: Sequence[PartitionColumn]
) -> Iterator[tuple[dict[str, str | None], pl.DataFrame]]:
    """Yield the rows of each partition without the partition columns, and the partition's values."""
    if not partitioning:
        yield {}, frame
        return
    names = [each.name for each in partitioning]
    for values, part in with_partitions(frame, partitioning).group_by(columns(names), maintain_order=True):
        told = {name: None if value is None else str(value) for name, value in zip(names, values, strict=True)}
        yield told, part.drop(columns(names))


def check_partitioning(partitioning: Sequence[PartitionColumn], columns: Iterable[Column], where: str) -> None:
    """Check that partition columns can be computed from a table's columns.

    Raises:
        InvalidColumn: If one can't, or two are alike.
    """
    types = {column.name: column.dtype for column in columns}
    names = [each.name for each in partitioning]
    if len(set(names)) < len(names):
        raise InvalidColumn(f"{where}: two partition columns are called {names}; give one rule of each kind")
    for each in partitioning:
        if isinstance(each, HashBucket) and not 1 < each.buckets <= MOST_BUCKETS:
            raise InvalidColumn(f"{where}: {each.buckets} buckets; write 2 to {MOST_BUCKETS}")
        if isinstance(each, DatePart) and types.get(each.attribute, pl.String()) != pl.String():
            raise InvalidColumn(
                f"{where}: the column {each.attribute!r} is {types[each.attribute]}, and a {each.unit} is told by "
                "a text with an ISO 8601 time"
            )
    taken = [name for name in types if name.casefold().startswith(PREFIX)]
    if partitioning and taken:
        raise InvalidColumn(f"{where}: the columns {taken} have names that partition columns need")
