"""Which column holds which attribute's values of which type; kept in the Delta fields' metadata."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import polars as pl

from ddb_lake.decoding.attributes import NUMBER_ARMS, Arm, dtype_of, is_arm, type_of_arm
from ddb_lake.decoding.errors import SchemaMetadataError
from ddb_lake.decoding.rules import NO_RULES, AttributeRule, Rules
from ddb_lake.field_metadata import ARM, ATTRIBUTE, KEY
from ddb_lake.keys import KeyAttribute, KeyRole


@dataclass(frozen=True)
class Column:
    """A column for the values of one attribute that belong to one arm.

    Attributes:
        name: The column's name in the Delta table.
        attribute: The attribute's name in DynamoDB.
        arm: Which of its values the column holds: an `Arm`, or one of `attributes.decimal_arm`.
        key: The attribute's role in the primary key, None outside it.
    """

    name: str
    attribute: str
    arm: str
    key: KeyRole | None

    @property
    def dtype(self) -> pl.DataType:
        """The column's type."""
        return dtype_of(self.arm)

    @property
    def metadata(self) -> dict[str, str]:
        """What the Delta field says of itself, for `ItemSchema.from_fields` to read back."""
        key = {KEY: self.key} if self.key else {}
        return {ATTRIBUTE: self.attribute, ARM: str(self.arm), **key}


@dataclass(frozen=True)
class ItemSchema:
    """The columns of a source table's items: it grows, and nothing in it ever changes.

    Attributes:
        key: The primary key: the HASH attribute, then the RANGE attribute if there is one.
        columns: The attributes' columns in the order of the Delta table.
        rules: What lake.yaml wants of the attributes; the columns remember what it wanted before.
    """

    key: tuple[KeyAttribute, ...]
    columns: tuple[Column, ...]
    rules: Rules = NO_RULES

    def __post_init__(self) -> None:
        if tuple(attribute.role for attribute in self.key) not in (("HASH",), ("HASH", "RANGE")):
            raise ValueError(f"a primary key is a HASH and perhaps a RANGE attribute, in order: {self.key}")

    @classmethod
    def empty(cls, key: tuple[KeyAttribute, ...], rules: Rules = NO_RULES) -> Self:
        """Return the schema of a table of which nothing but the key is known."""
        return cls(key, (), rules)

    @classmethod
    def from_fields(
        cls,
        key: tuple[KeyAttribute, ...],
        fields: Iterable[tuple[str, Mapping[str, str]]],
        rules: Rules = NO_RULES,
    ) -> Self:
        """Read the schema back from a Delta table's fields.

        Args:
            key: The table's primary key.
            fields: Name and metadata of each field; those without `ddb_lake.attribute` are passed over.
            rules: What lake.yaml wants of the attributes.

        Raises:
            SchemaMetadataError: If the metadata contradicts the key, itself, or names an unknown arm.
        """
        roles: dict[str, KeyRole] = {attribute.name: attribute.role for attribute in key}
        columns: dict[tuple[str, str], Column] = {}
        for name, metadata in fields:
            if ATTRIBUTE not in metadata:
                continue
            attribute, arm_name = metadata[ATTRIBUTE], metadata.get(ARM, "")
            if not is_arm(arm_name):
                raise SchemaMetadataError(
                    f"its {ARM} is {arm_name!r}, none of {', '.join(Arm)}: a newer ddb_lake wrote this table, "
                    "or something else changed its metadata",
                    name,
                )
            column = Column(
                name, attribute, Arm(arm_name) if arm_name in set(Arm) else arm_name, roles.get(attribute)
            )
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
        return cls(key, tuple(columns.values()), rules)

    @cached_property
    def stored_key(self) -> tuple[KeyAttribute, ...]:
        """The key as the lake has it: an attribute that lake.yaml hashes is an S there."""
        return tuple(
            replace(attribute, type="S") if self.rules.selection.hashes(attribute.name) else attribute
            for attribute in self.key
        )

    def polars_schema(self) -> pl.Schema:
        """Return names and types of the attributes' columns, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Where each column is among the columns, by its name."""
        return {column.name: place for place, column in enumerate(self.columns)}

    def rule_of(self, attribute: str) -> AttributeRule:
        """Return what is wanted of an attribute; of the key's nothing is, because they must have one column each."""
        if any(attribute == key.name for key in self.key):
            return AttributeRule()
        return self.rules.of(attribute)

    def number_home(self, attribute: str) -> Arm | None:
        """Return the arm that takes an attribute's numbers if they fit, None before the first number."""
        wanted = self.rule_of(attribute).number_home
        return wanted or next((arm for arm in NUMBER_ARMS if (attribute, arm) in self.by_arm), None)

    def type_of(self, attribute: str) -> str | None:
        """Return the DynamoDB type of an attribute's first column that tells one, None before there is one."""
        return self._types.get(attribute)

    @cached_property
    def _types(self) -> Mapping[str, str]:
        types: dict[str, str] = {}
        for column in self.columns:
            tag = type_of_arm(column.arm)
            if tag is not None and tag != "NULL":
                types.setdefault(column.attribute, tag)
        return types

    @cached_property
    def by_arm(self) -> Mapping[tuple[str, str], Column]:
        """The columns by attribute and arm."""
        return {(column.attribute, column.arm): column for column in self.columns}
