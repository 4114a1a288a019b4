"""Partition columns of a replica: values that are computed from an item, so that readers can skip files.

The table's own schema says how each is computed (field metadata `ddb_lake.partition`), so that whoever applies a
window computes the same.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import polars as pl
from deltalake import Field
from deltalake.schema import PrimitiveType

from ddb_lake.field_metadata import ARM, ATTRIBUTE, PARTITION
from ddb_lake.replica.columns import KEY_HASH, Column, all_columns
from ddb_lake.replica.errors import InvalidColumn
from ddb_lake.replica.exact_names import column, columns

_LOG = logging.getLogger(__name__)

PREFIX = "_part_"
"""How the names of partition columns begin, which no attribute's column may."""

MOST_BUCKETS = 1024

Unit = Literal["year", "month", "day"]

TEXT_ARMS = frozenset({"string", "text"})
"""The arms (docs/columns.md) that an attribute's S are in as they are."""

NULL_ARM = "null"

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

    def values(self, frame: pl.DataFrame, known: Sequence[Column]) -> pl.Expr:
        """Return the expression of the partition's values; hashes are signed, buckets are not."""
        return (pl.col(KEY_HASH) % self.buckets).cast(pl.String()).str.zfill(len(str(self.buckets - 1)))


@dataclass(frozen=True)
class DatePart:
    """Rows by the year, month or day of an attribute that holds an ISO 8601 time as text.

    Args:
        attribute: The attribute's name in DynamoDB.
        unit: How much of the time counts.
        by_column: Whether `attribute` is the name of a column instead: tables of earlier versions are partitioned so.
    """

    attribute: str
    unit: Unit
    by_column: bool = False

    @property
    def name(self) -> str:
        """The partition column's name."""
        return f"{PREFIX}{self.unit}"

    def rule(self) -> dict[str, Any]:
        """Return the rule as the schema keeps it; earlier versions refuse `attribute_name`, unknown to them."""
        return {"attribute" if self.by_column else "attribute_name": self.attribute, "unit": self.unit}

    def values(self, frame: pl.DataFrame, known: Sequence[Column]) -> pl.Expr:
        """Return the expression of the partition's values: null where the attribute is no such time, or absent.

        Of an attribute with several columns those count that hold its texts, of which a row has one.

        Args:
            frame: The rows.
            known: The table's attribute columns.
        """
        present = frozenset(frame.columns)
        texts = [name for name in self.texts(known) if name in present]
        if not texts:
            if self.by_column and self._columns(known):
                _LOG.warning(
                    "the table is partitioned by a column %r, as an earlier version took the attribute's name, and "
                    "has none: all rows are in one partition; commit a later bootstrap to have them partitioned",
                    self.attribute,
                )
            return pl.lit(None, dtype=pl.String())
        start = pl.coalesce([column(name) for name in texts]).str.head(DATE_CHARACTERS[self.unit])
        pattern = {"year": r"^\d{4}$", "month": r"^\d{4}-\d\d$", "day": r"^\d{4}-\d\d-\d\d$"}[self.unit]
        return pl.when(start.str.contains(pattern)).then(start)

    def texts(self, known: Sequence[Column]) -> list[str]:
        """Return the names of the columns that hold the attribute's texts."""
        if self.by_column:
            return [self.attribute]
        return [each.name for each in self._columns(known) if each.metadata.get(ARM) in TEXT_ARMS]

    def check(self, known: Sequence[Column], where: str) -> None:
        """Check that the columns can hold such a time; none, or explicit NULLs alone, may still get it.

        Raises:
            InvalidColumn: If the attribute has values, and none that is a text.
        """
        others = [each for each in self._columns(known) if each.metadata.get(ARM) != NULL_ARM]
        if others and not self.texts(known):
            kinds = ", ".join(f"{each.name!r} is {each.dtype}" for each in others)
            raise InvalidColumn(
                f"{where}: partition_by: the attribute {self.attribute!r} has no texts ({kinds}), and a "
                f"{self.unit} is told by a text with an ISO 8601 time"
            )

    def _columns(self, known: Sequence[Column]) -> list[Column]:
        return [each for each in known if each.metadata.get(ATTRIBUTE) == self.attribute]


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


def partitioning_of(schema: str, names: Sequence[str]) -> tuple[PartitionColumn, ...]:
    """Return how a table's partition columns are computed.

    Args:
        schema: The table's schema as the log has it.
        names: The partition columns.

    Raises:
        InvalidColumn: If one is not ours, so that its values can't be told.
    """
    by_name = {each.name: each.metadata for each in all_columns(schema)} if names else {}
    made: list[PartitionColumn] = []
    for name in names:
        rule = orjson.loads(str(by_name.get(name, {}).get(PARTITION) or "null"))
        match rule:
            case {"buckets": buckets}:
                made.append(HashBucket(buckets))
            case {"attribute_name": attribute, "unit": unit}:
                made.append(DatePart(attribute, unit))
            case {"attribute": name_of_column, "unit": unit}:
                made.append(DatePart(name_of_column, unit, by_column=True))
            case _:
                raise InvalidColumn(
                    f"the partition column {name!r} is not one of ddb_lake's, so a row's partition can't be told: "
                    "commit a bootstrap with `partition_by` in lake.yaml, which replaces the table"
                )
    return tuple(made)


def with_partitions(
    frame: pl.DataFrame, partitioning: Sequence[PartitionColumn], known: Sequence[Column]
) -> pl.DataFrame:
    """Return the rows with their partition columns, which are computed from the table's attribute columns."""
    return frame.with_columns(each.values(frame, known).alias(each.name) for each in partitioning)


def split(
    frame: pl.DataFrame, partitioning: Sequence[PartitionColumn], known: Sequence[Column]
) -> Iterator[tuple[dict[str, str | None], pl.DataFrame]]:
    """Yield the rows of each partition without the partition columns, and the partition's values."""
    if not partitioning:
        yield {}, frame
        return
    names = [each.name for each in partitioning]
    for values, part in with_partitions(frame, partitioning, known).group_by(columns(names), maintain_order=True):
        told = {name: None if value is None else str(value) for name, value in zip(names, values, strict=True)}
        yield told, part.drop(columns(names))


def check_partitioning(partitioning: Sequence[PartitionColumn], known: Sequence[Column], where: str) -> None:
    """Check that partition columns can be computed from a table's columns.

    Raises:
        InvalidColumn: If one can't, or two are alike.
    """
    names = [each.name for each in partitioning]
    if len(set(names)) < len(names):
        raise InvalidColumn(f"{where}: two partition columns are called {names}; give one rule of each kind")
    for each in partitioning:
        if isinstance(each, HashBucket) and not 1 < each.buckets <= MOST_BUCKETS:
            raise InvalidColumn(f"{where}: {each.buckets} buckets; write 2 to {MOST_BUCKETS}")
        if isinstance(each, DatePart):
            each.check(known, where)
    taken = [each.name for each in known if each.name.casefold().startswith(PREFIX)]
    if partitioning and taken:
        raise InvalidColumn(f"{where}: the columns {taken} have names that partition columns need")
