"""Rows of a Delta table back to DynamoDB JSON items: the inverse of decoding, for parity checks and tests."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import orjson

from ddb_lake.decoding.attributes import Arm, decimal_of
from ddb_lake.decoding.canonical import base64_text
from ddb_lake.decoding.errors import DecodeError
from ddb_lake.decoding.json_values import as_array, as_object
from ddb_lake.decoding.numbers import MOST_DIGITS, number_text, wire_number
from ddb_lake.decoding.schema import ItemSchema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso_time(time: datetime) -> str:
    """Write a time as ISO 8601 in UTC, with as many of 0, 3 or 6 digits of a second as it needs."""
    spec = "seconds" if not time.microsecond else "milliseconds" if not time.microsecond % 1000 else "microseconds"
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=spec) + "Z"


def _same(value: Any) -> Any:
    return value


def _number_set(members: list[str]) -> list[str]:
    return [wire_number(member) for member in members]


_MORE_DIGITS = re.compile(rf"[0-9]{{{MOST_DIGITS + 1}}}")


def _nested(text: str) -> Any:
    """Read canonical DynamoDB JSON, with its numbers as clients can read them."""
    value = orjson.loads(text)
    if _MORE_DIGITS.search(text):  # rare; else no number needs another form
        _change_numbers(value)
    return value


def _change_numbers(value: Any) -> None:
    """Write the numbers within canonical lists, maps and values as clients can read them, in place."""
    elements = as_array(value)
    members = as_object(value) or {}
    for element in members.values() if elements is None else elements:
        _change_numbers(element)
    if len(members) == 1:
        # An object whose only member is an N with text is a number: what a map holds are objects.
        if type(number := members.get("N")) is str:
            members["N"] = wire_number(number)
        if (numbers := as_array(members.get("NS"))) is not None:
            members["NS"] = _number_set(numbers)


def _binary_set(members: list[bytes]) -> list[str]:
    return [base64_text(member) for member in members]


def _epoch(digits: int) -> Callable[[datetime], str]:
    """Return what writes a time as a number of seconds (6 digits follow the point) or milliseconds (3)."""

    def encode(time: datetime) -> str:
        micros = (time - EPOCH) // timedelta(microseconds=1)
        return number_text(Decimal(micros).scaleb(-digits))

    return encode


_ENCODE: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    Arm.STRING: ("S", _same),
    Arm.INT64: ("N", str),
    Arm.DECIMAL: ("N", number_text),
    Arm.NUMBER: ("N", wire_number),
    Arm.BINARY: ("B", base64_text),
    Arm.BOOL: ("BOOL", _same),
    Arm.NULL: ("NULL", _same),
    Arm.LIST: ("L", _nested),
    Arm.MAP: ("M", _nested),
    Arm.STRING_SET: ("SS", list),
    Arm.NUMBER_SET: ("NS", _number_set),
    Arm.BINARY_SET: ("BS", _binary_set),
    Arm.TIMESTAMP: ("S", iso_time),
    Arm.TIMESTAMP_S: ("N", _epoch(6)),
    Arm.TIMESTAMP_MS: ("N", _epoch(3)),
}


def encode_item(row: Mapping[str, Any], schema: ItemSchema) -> dict[str, dict[str, Any]]:
    """Encode a row as the DynamoDB JSON item that it was decoded from.

    Args:
        row: Column name to value, as `polars.DataFrame.iter_rows(named=True)` gives them; columns outside
            the schema are passed over, absent ones count as null.
        schema: The columns' meaning.

    Returns:
        The item in canonical form (see `canonical_image`), but for numbers of more than 38 plain digits, which are in
        exponent notation so that boto3 reads them: equal in value to what was exported.

    Raises:
        DecodeError: If two columns of one attribute have a value: decoding never does that.
    """
    item: dict[str, dict[str, Any]] = {}
    arms: dict[str, str] = {}
    for column in schema.columns:
        value = row.get(column.name)
        if value is None:
            continue
        both = {arms.get(column.attribute), column.arm}
        if column.attribute in item and both != {Arm.TIMESTAMP, Arm.STRING}:
            raise DecodeError(
                f"the row has a second value for the attribute {column.attribute!r}: {value!r}", column.name
            )
        # A text that is kept beside its timestamp is written in another way than the timestamp tells.
        if column.attribute not in item or column.arm == Arm.STRING:
            item[column.attribute] = _encode(column.arm, value)
        arms[column.attribute] = column.arm
    return item


def _encode(arm: str, value: Any) -> dict[str, Any]:
    if arm == Arm.TEXT:
        return _nested(value) if value.startswith("{") else {"S": value}
    if arm == Arm.JSON:
        return _tagged(json.loads(value, parse_int=_Number, parse_float=_Number))
    if decimal_of(arm):
        return {"N": number_text(value)}
    tag, encode = _ENCODE[arm]
    return {tag: encode(value)}


class _Number(str):
    """A JSON number's text."""


def _tagged(value: Any) -> dict[str, Any]:
    """Give plain JSON its type tags back."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case _Number():
            return {"N": wire_number(value)}
        case str():
            return {"S": value}
        case list():
            return {"L": [_tagged(element) for element in cast("list[Any]", value)]}
        case _:
            return {"M": {name: _tagged(member) for name, member in value.items()}}
