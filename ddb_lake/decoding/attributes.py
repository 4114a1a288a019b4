"""DynamoDB's types and the arms, the column types, that their values are kept in."""

import re
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
    TEXT = "text"
    JSON = "json"
    TIMESTAMP = "timestamp"
    TIMESTAMP_S = "timestamp_s"
    TIMESTAMP_MS = "timestamp_ms"


_DECIMAL_ARM = re.compile(r"decimal_([1-9][0-9]?)_([0-9]{1,2})")
"""A decimal that lake.yaml asked for has an arm of its own, named by precision and scale."""


def decimal_arm(precision: int, scale: int) -> str:
    """Return the arm of numbers that decimal(precision, scale) holds."""
    return f"decimal_{precision}_{scale}"


def decimal_of(arm: str) -> tuple[int, int] | None:
    """Return precision and scale of such an arm, None for any other."""
    found = _DECIMAL_ARM.fullmatch(arm)
    if found is None:
        return None
    precision, scale = int(found[1]), int(found[2])
    return (precision, scale) if scale <= precision <= 38 else None


def is_arm(text: str) -> bool:
    """Tell whether a text names an arm."""
    return text in _ARMS or decimal_of(text) is not None


def arm_order(arm: str) -> tuple[int, str]:
    """Return a sort key that puts arms in the order of `Arm`, and those of lake.yaml's decimals last."""
    return (list(Arm).index(Arm(arm)) if arm in _ARMS else len(Arm), arm)


def dtype_of(arm: str) -> pl.DataType:
    """Return the column type of an arm."""
    decimal = decimal_of(arm)
    return pl.Decimal(*decimal) if decimal else _DTYPES[Arm(arm)]


_ARMS = frozenset(Arm)

NUMBER_ARMS = (Arm.INT64, Arm.DECIMAL, Arm.NUMBER)
"""The arms of N from the narrowest to the widest: what fits one fits all that follow."""

_DTYPES: Mapping[Arm, pl.DataType] = {
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
    Arm.TEXT: pl.String(),
    Arm.JSON: pl.String(),
    Arm.TIMESTAMP: pl.Datetime("us", "UTC"),
    Arm.TIMESTAMP_S: pl.Datetime("us", "UTC"),
    Arm.TIMESTAMP_MS: pl.Datetime("us", "UTC"),
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


def type_of_arm(arm: str) -> str | None:
    """Return the DynamoDB type that an arm's values are of, None where they can be of several."""
    if decimal_of(arm) or arm in (*NUMBER_ARMS, Arm.TIMESTAMP_S, Arm.TIMESTAMP_MS):
        return "N"
    if arm == Arm.TIMESTAMP:
        return "S"
    return next((tag for tag, each in ARM_OF_TYPE.items() if each == arm), None)


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
