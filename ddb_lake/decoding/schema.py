"""Which column holds which attribute's values of which type; kept in the Delta fields' metadata."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import polars as pl

from ddb_lake.decoding.attributes import DTYPES, NUMBER_ARMS, Arm
from ddb_lake.decoding.errors import SchemaMetadataError
from ddb_lake.keys import KeyAttribute, KeyRole

ATTRIBUTE = "ddb_lake.attribute"
ARM = "ddb_lake.arm"
KEY = "ddb_lake.key"


@dataclass(frozen=True)
class Column:
    """A column for the values of one attribute that belong to one arm.

    Attributes:
        name: The column's name in the Delta table.
        attribute: The attribute's name in DynamoDB.
        arm: Which of its values the column holds.
        key: The attribute's role in the primary key, None outside it.
    """

    name: str
    attribute: str
    arm: Arm
    key: KeyRole | None

    @property
    def dtype(self) -> pl.DataType:
        """The column's type."""
        return DTYPES[self.arm]

    @property
    def metadata(self) -> dict[str, str]:
        """What the Delta field says of itself, for `ItemSchema.from_fields` to read back."""
        key = {KEY: self.key} if self.key else {}
        return {ATTRIBUTE: self.attribute, ARM: self.arm.value, **key}


@dataclass(frozen=True)
class ItemSchema:
    """The columns of a source table's items: it grows, and nothing in it ever changes.

    Attributes:
        key: The primary key: the HASH attribute, then the RANGE attribute if there is one.
        columns: The attributes' columns in the order of the Delta table.
    """

    key: tuple[KeyAttribute, ...]
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if tuple(attribute.role for attribute in self.key) not in (("HASH",), ("HASH", "RANGE")):
            raise ValueError(f"a primary key is a HASH and perhaps a RANGE attribute, in order: {self.key}")

    @classmethod
    def empty(cls, key: tuple[KeyAttribute, ...]) -> Self:
        """Return the schema of a table of which nothing but the key is known."""
        return cls(key, ())

    @classmethod
    def from_fields(cls, key: tuple[KeyAttribute, ...], fields: Iterable[tuple[str, Mapping[str, str]]]) -> Self:
        """Read the schema back from a Delta table's fields.

        Args:
            key: The table's primary key.
            fields: Name and metadata of each field; those without `ddb_lake.attribute` are passed over.

        Raises:
            SchemaMetadataError: If the metadata contradicts the key, itself, or names an unknown arm.
        """
        roles: dict[str, KeyRole] = {attribute.name: attribute.role for attribute in key}
        columns: dict[tuple[str, Arm], Column] = {}
        for name, metadata in fields:
            if ATTRIBUTE not in metadata:
                continue
            attribute, arm_name = metadata[ATTRIBUTE], metadata.get(ARM, "")
            if arm_name not in set(Arm):
                raise SchemaMetadataError(
                    f"its {ARM} is {arm_name!r}, none of {', '.join(Arm)}: a newer ddb_lake wrote this table, "
                    "or something else changed its metadata",
                    name,
                )
            column = Column(name, attribute, Arm(arm_name), roles.get(attribute))
            if metadata.get(KEY) != column.key:
                raise SchemaMetadataError(
                    f"its {KEY} is {metadata.get(KEY)} but the source table's key says {column.key}: "
                    "is this the Delta table of another source table?",
                    name,
                )
            if other := columns.get((attribute, column.arm)):
                raise SchemaMetadataError(
                    f"it and {other.name!r} both claim the {column.arm} values of {attribute!r}", name
                )
            columns[attribute, column.arm] = column
        return cls(key, tuple(columns.values()))

    def polars_schema(self) -> pl.Schema:
        """Return names and types of the attributes' columns, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    def number_home(self, attribute: str) -> Arm | None:
        """Return the arm that takes an attribute's numbers if they fit, None before the first number."""
        return next((arm for arm in NUMBER_ARMS if (attribute, arm) in self.by_arm), None)

    @cached_property
    def by_arm(self) -> Mapping[tuple[str, Arm], Column]:
        """The columns by attribute and arm."""
        return {(column.attribute, column.arm): column for column in self.columns}
