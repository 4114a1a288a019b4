"""Attribute values on the wire: checking their shape and reckoning their size as DynamoDB bills it."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from ddb_lake.embedded_aws.errors import AwsError, validation
from ddb_lake.embedded_aws.json_values import is_array, is_object

LARGEST_ITEM = 400 * 1024
"""Bytes that an item may have (AWS: ServiceQuotas, limits-items)."""


def item_size(item: Mapping[str, Any]) -> int:
    """Return an item's size in bytes: names and values in UTF-8, as DynamoDB reckons it for its bill.

    Rule: AWS developer guide, "DynamoDB item sizes and formats".

    Raises:
        AwsError: A ValidationException if a value is not in the shape of a DynamoDB attribute value.
    """
    size = 0
    for name, value in item.items():
        size += len(name) if name.isascii() else len(name.encode())
        size += value_size(value)
    return size


def value_size(value: Any) -> int:
    """Return the size in bytes of one attribute value, without its name.

    Raises:
        AwsError: As `item_size`.
    """
    if not isinstance(value, dict) or len(value) != 1:
        raise _malformed(value)
    ((kind, content),) = value.items()
    match kind:
        case "S" if isinstance(content, str):
            return len(content) if content.isascii() else len(content.encode())
        case "N" if isinstance(content, str):
            return _number_size(content)
        case "B" if isinstance(content, str):
            return _binary_size(content)
        case "BOOL" if isinstance(content, bool):
            return 1
        case "NULL" if content is True:
            return 1
        case "L" if is_array(content):
            return 3 + sum(1 + value_size(element) for element in content)
        case "M" if is_object(content):
            return 3 + len(content) + item_size(content)
        case "SS" | "NS" | "BS" if is_array(content) and content:
            return sum(value_size({kind[0]: element}) for element in content)
        case _:
            raise _malformed(value)


def _number_size(number: str) -> int:
    digits = number.lstrip("-").replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1 + number.startswith("-")


def _binary_size(text: str) -> int:
    try:
        return len(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise validation(f"The binary value {text!r} is not base64: {error}") from None


def _malformed(value: object) -> AwsError:
    return validation(
        "Supplied AttributeValue has more than one datatypes set, or is empty or unknown, "
        f"must contain exactly one of the supported datatypes: {value!r}"
    )
