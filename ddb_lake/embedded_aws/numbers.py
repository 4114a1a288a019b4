"""DynamoDB numbers as DynamoDB stores them: exact, plain decimal digits, one text for one value.

Rules: AWS developer guide, "Supported data types: Number"; plain notation as observed on GetItem.
"""

import re
from decimal import Decimal
from typing import Any

from ddb_lake.embedded_aws.errors import validation
from ddb_lake.embedded_aws.json_values import JsonArray

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,6})?", re.ASCII)
_ALREADY_NORMAL = re.compile(r"0|-?[1-9]\d{0,37}", re.ASCII)
DIGITS = 38
"""Significant digits that a number may have."""

_LARGEST_EXPONENT = 125
_SMALLEST_EXPONENT = -130


def normalise(text: str) -> str:
    """Return the one text by which DynamoDB answers this number, such as `1000` for `+1.0e3`.

    Raises:
        AwsError: A ValidationException if the text is no number, has more than 38 significant digits, or lies
            outside 1E-130 to 9.99…E+125.
    """
    if _ALREADY_NORMAL.fullmatch(text):
        return text
    if not _NUMBER.fullmatch(text):
        raise validation(
            "The parameter cannot be converted to a numeric value"
            if not text.strip()
            else f"The parameter cannot be converted to a numeric value: {text}"
        )
    number = Decimal(text)
    if not number:
        return "0"
    if number.adjusted() > _LARGEST_EXPONENT:
        raise validation("Number overflow. Attempting to store a number with magnitude larger than supported range")
    if number.adjusted() < _SMALLEST_EXPONENT:
        raise validation("Number underflow. Attempting to store a number with magnitude smaller than supported range")
    significant = "".join(map(str, number.as_tuple().digits)).strip("0")
    if len(significant) > DIGITS:
        raise validation("Attempting to store more than 38 significant digits in a Number")
    plain = format(number, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def normalise_numbers(value: Any) -> None:
    """Normalise, in place, every number within a request's or an answer's JSON.

    A number is an object whose only member is `N` with a string, or `NS` with a list: attribute values are
    always objects themselves, so an attribute that is called `N` is not mistaken for one.

    Raises:
        AwsError: As `normalise`.
    """
    if isinstance(value, dict):
        if len(value) == 1:
            ((kind, content),) = value.items()
            if isinstance(content, str):  # most values are texts or numbers
                if kind == "N":
                    value["N"] = normalise(content)
                return
            if kind == "NS" and isinstance(content, list):
                value["NS"] = _normalise_set(content)
                return
        for member in value.values():
            normalise_numbers(member)
    elif isinstance(value, list):
        for element in value:
            normalise_numbers(element)


def _normalise_set(numbers: JsonArray) -> JsonArray:
    normal = [normalise(number) if isinstance(number, str) else number for number in numbers]
    if len(set(map(str, normal))) != len(normal):
        shown = ", ".join(map(str, numbers))
        raise validation(
            f"One or more parameter values were invalid: Input collection [{shown}] contains duplicates."
        )
    return normal
