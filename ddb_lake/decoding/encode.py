"""Rows of a Delta table back to DynamoDB JSON items: the inverse of decoding, for parity checks and tests."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ddb_lake.decoding.attributes import Arm
from ddb_lake.decoding.canonical import base64_text
from ddb_lake.decoding.errors import DecodeError
from ddb_lake.decoding.numbers import number_text
from ddb_lake.decoding.schema import ItemSchema


def _same(value: Any) -> Any:
    return value


def _binary_set(members: list[bytes]) -> list[str]:
    return [base64_text(member) for member in members]


_ENCODE: Mapping[Arm, tuple[str, Callable[[Any], Any]]] = {
    Arm.STRING: ("S", _same),
    Arm.INT64: ("N", str),
    Arm.DECIMAL: ("N", number_text),
    Arm.NUMBER: ("N", _same),
    Arm.BINARY: ("B", base64_text),
    Arm.BOOL: ("BOOL", _same),
    Arm.NULL: ("NULL", _same),
    Arm.LIST: ("L", orjson.loads),
    Arm.MAP: ("M", orjson.loads),
    Arm.STRING_SET: ("SS", list),
    Arm.NUMBER_SET: ("NS", list),
    Arm.BINARY_SET: ("BS", _binary_set),
}


def encode_item(row: Mapping[str, Any], schema: ItemSchema) -> dict[str, dict[str, Any]]:
    """Encode a row as the DynamoDB JSON item that it was decoded from.

    Args:
        row: Column name to value, as `polars.DataFrame.iter_rows(named=True)` gives them; columns outside
            the schema are passed over, absent ones count as null.
        schema: The columns' meaning.

    Returns:
        The item in canonical form (see `canonical_image`): equal in value to what was exported.

    Raises:
        DecodeError: If two columns of one attribute have a value: decoding never does that.
    """
    item: dict[str, dict[str, Any]] = {}
    for column in schema.columns:
        value = row.get(column.name)
        if value is None:
            continue
        if column.attribute in item:
            raise DecodeError(
                f"the row has a second value for the attribute {column.attribute!r}: {value!r}", column.name
            )
        tag, encode = _ENCODE[column.arm]
        item[column.attribute] = {tag: encode(value)}
    return item
