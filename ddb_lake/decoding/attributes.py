"""DynamoDB's types and the arms, the column types, that their values are kept in."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import polars as pl

from ddb_lake.decoding.errors import MalformedRecord
from ddb_lake.decoding.json_values import as_object, shown


class Arm(StrEnum):
    """A kind of column that values of an attribute are kept in; the order decides who is first."""

    STRING = "string"
    INT64 = "int64"
    DECIMAL = "decimal"
    NUMBER = "number"
    BINARY = "binary"
    BOOL = "bool"
    NULL = "null"
    LIST = "list"
    MAP = "map"
    STRING_SET = "string_set"
    NUMBER_SET = "number_set"
    BINARY_SET = "binary_set"


ARM_ORDER: Mapping[Arm, int] = {arm: place for place, arm in enumerate(Arm)}

NUMBER_ARMS = (Arm.INT64, Arm.DECIMAL, Arm.NUMBER)
"""The arms of N from the narrowest to the widest: what fits one fits all that follow."""

DTYPES: Mapping[Arm, pl.DataType] = {
    Arm.STRING: pl.String(),
    Arm.INT64: pl.Int64(),
    Arm.DECIMAL: pl.Decimal(38, 18),
    Arm.NUMBER: pl.String(),
    Arm.BINARY: pl.Binary(),
    Arm.BOOL: pl.Boolean(),
    Arm.NULL: pl.Boolean(),
    Arm.LIST: pl.String(),
    Arm.MAP: pl.String(),
    Arm.STRING_SET: pl.List(pl.String()),
    Arm.NUMBER_SET: pl.List(pl.String()),
    Arm.BINARY_SET: pl.List(pl.Binary()),
}

ARM_OF_TYPE: Mapping[str, Arm] = {
    "S": Arm.STRING,
    "B": Arm.BINARY,
    "BOOL": Arm.BOOL,
    "NULL": Arm.NULL,
    "L": Arm.LIST,
    "M": Arm.MAP,
    "SS": Arm.STRING_SET,
    "NS": Arm.NUMBER_SET,
    "BS": Arm.BINARY_SET,
}
"""The arm of every type but N, whose arm depends on the value."""

TYPES = frozenset({*ARM_OF_TYPE, "N"})
"""The ten type tags (AWS: HowItWorks.NamingRulesDataTypes)."""


def split(value: Any) -> tuple[str, Any]:
    """Split an attribute value such as `{"S": "text"}` into its type tag and what the tag holds.

    Raises:
        MalformedRecord: If it is not an object with exactly one known type tag.
    """
    tagged = as_object(value)
    if tagged is None:
        raise MalformedRecord(f'{shown(value)} is no attribute value such as {{"S": "text"}}')
    if len(tagged) != 1:
        raise MalformedRecord(f"an attribute value has one type tag, this one has {sorted(tagged)}")
    ((tag, payload),) = tagged.items()
    if tag not in TYPES:
        raise MalformedRecord(f"{tag!r} is none of DynamoDB's types {', '.join(sorted(TYPES))}")
    return tag, payload
