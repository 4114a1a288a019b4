"""Attribute values on the wire: checking their shape and reckoning their size as DynamoDB bills it."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from ddb_lake.embedded_aws.errors import AwsError, validation
from ddb_lake.embedded_aws.json_values import is_array, is_object
from ddb_lake.embedded_aws.numbers import DIGITS, normalise, normalise_numbers

LARGEST_ITEM = 400 * 1024
"""Bytes that an item may have (AWS: ServiceQuotas, limits-items)."""


LONGEST_NAME = 65_535
"""Bytes that an attribute's name may have (AWS: ServiceQuotas, limits-attributes; naming rules)."""

DEEPEST = 32
"""Lists and maps that may lie in one another (AWS: ServiceQuotas, nested attributes)."""


def item_size(item: Mapping[str, Any]) -> int:
    """Return an item's size in bytes: names and values in UTF-8, as DynamoDB reckons it for its bill.

    Rule: AWS developer guide, "DynamoDB item sizes and formats".

    Raises:
        AwsError: A ValidationException if a value is not in the shape of a DynamoDB attribute value, or an
            attribute's name is empty or too long.
    """
    size = 0
    for name, value in item.items():
        size += _name_size(name)
        size += value_size(value)
    return size


def normalise_item(item: Mapping[str, Any]) -> int:
    """Normalise an item's numbers in place, as `normalise_numbers`, and return its size, as `item_size`.

    One pass for both, since a history has many items, most of them of texts and numbers.

    Raises:
        AwsError: As the two.
    """
    size = 0
    for name, value in item.items():
        size += _name_size(name)
        if type(value) is dict and len(value) == 1:
            ((kind, content),) = value.items()
            if type(content) is str:
                if kind == "S":
                    size += len(content) if content.isascii() else len(content.encode())
                    continue
                if kind == "N":
                    if content.isdecimal() and content.isascii() and content[0] != "0" and len(content) <= DIGITS:
                        size += (len(content.rstrip("0")) + 1) // 2 + 1
                        continue
                    value["N"] = number = normalise(content)
                    size += _number_size(number)
                    continue
        normalise_numbers(value)
        size += value_size(value)
    return size


def _name_size(name: str) -> int:
    size = len(name) if name.isascii() else len(name.encode())
    if not 0 < size <= LONGEST_NAME:
        raise validation(
            "One or more parameter values were invalid: "
            + (
                f"Attribute name is too large, must be less than {LONGEST_NAME + 1} bytes"
                if size
                else "Attribute name must not be empty"
            )
        )
    return size


def value_size(value: Any, levels: int = DEEPEST) -> int:
    """Return the size in bytes of one attribute value, without its name.

    Args:
        value: The value, such as `{"S": "x"}`.
        levels: How many lists and maps may lie in one another.

    Raises:
        AwsError: As `item_size`, and if they lie deeper.
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
            below = _descend(levels)
            return 3 + sum(1 + value_size(element, below) for element in content)
        case "M" if is_object(content):
            below = _descend(levels)
            names = sum(len(name.encode()) for name in content)
            return 3 + len(content) + names + sum(value_size(member, below) for member in content.values())
        case "SS" | "NS" | "BS" if is_array(content) and content:
            return sum(value_size({kind[0]: element}) for element in content)
        case _:
            raise _malformed(value)


def _descend(levels: int) -> int:
    if levels == 0:
        raise validation("Nesting Levels have exceeded supported limits")
    return levels - 1


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
