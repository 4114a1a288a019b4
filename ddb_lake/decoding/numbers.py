"""DynamoDB numbers, exactly: one canonical text per value, and the narrowest arm that holds it."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

from ddb_lake.decoding.attributes import Arm
from ddb_lake.decoding.errors import MalformedRecord
from ddb_lake.decoding.json_values import shown

MOST_DIGITS = 38
"""Significant digits of a number (AWS: HowItWorks.NamingRulesDataTypes, Number)."""

LEAST_EXPONENT, GREATEST_EXPONENT = -130, 125
"""Of the first significant digit: magnitudes go from 1E-130 to 9.9...E+125 (the same page)."""

DECIMAL_SCALE = 18
DECIMAL_INTEGER_DIGITS = 38 - DECIMAL_SCALE

_MORE_DIGITS = re.compile(rf"-?[0-9]{{{MOST_DIGITS + 1},}}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_CANONICAL = re.compile(r"0|-?(?:[1-9][0-9]{0,17}(?:\.[0-9]{0,17}[1-9])?|0\.[0-9]{0,17}[1-9])")
"""Most numbers as DynamoDB writes them: already canonical, and surely within its limits."""


def parse_number(text: Any) -> Decimal:
    """Read what an N holds, in plain or in exponent notation.

    Raises:
        MalformedRecord: If it is not text, not a number, or beyond DynamoDB's digits or range.
    """
    if type(text) is not str or not _NUMBER.fullmatch(text):
        raise MalformedRecord(f'{shown(text)} is no number: an N holds one as text, such as {{"N": "1.5"}}')
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent that even Decimal has no room for
        raise MalformedRecord(f"the number {shown(text)} is out of DynamoDB's range") from None
    if not number:
        return Decimal(0)
    number = _without_trailing_zeros(number)
    if len(number.as_tuple().digits) > MOST_DIGITS:
        raise MalformedRecord(f"the number {shown(text)} has more than DynamoDB's {MOST_DIGITS} digits")
    if not LEAST_EXPONENT <= number.adjusted() <= GREATEST_EXPONENT:
        raise MalformedRecord(f"the number {shown(text)} is out of DynamoDB's range, 1E-130 to 9.9E+125")
    return number


def canonical_number(text: Any) -> str:
    """Return the canonical text of what an N holds: plain digits, no needless zeros, no exponent, no -0.

    Raises:
        MalformedRecord: As `parse_number` does.
    """
    if type(text) is str and _CANONICAL.fullmatch(text):
        return text
    return number_text(parse_number(text))


def number_text(number: Decimal) -> str:
    """Return the canonical text of a number."""
    return format(_without_trailing_zeros(number), "f") if number else "0"


def wire_number(canonical: str) -> str:
    """Return a canonical number as clients can read it: in exponent notation from 39 plain digits on.

    boto3's TypeDeserializer counts the zeros at the end of `1230…0` as significant digits, and raises where there
    are more than 38 (boto/boto3#2500); it reads `1.23E+40`.
    """
    if not _MORE_DIGITS.fullmatch(canonical):
        return canonical
    return f"{_without_trailing_zeros(Decimal(canonical)):E}"


def narrowest_arm(number: Decimal) -> Arm:
    """Return the narrowest arm that holds a number exactly."""
    exponent = _without_trailing_zeros(number).as_tuple().exponent
    if not number:
        return Arm.INT64
    assert isinstance(exponent, int)  # `parse_number` lets neither NaN nor infinity through
    if exponent >= 0 and number.adjusted() <= DECIMAL_INTEGER_DIGITS and -(2**63) <= int(number) < 2**63:
        return Arm.INT64
    if exponent >= -DECIMAL_SCALE and number.adjusted() < DECIMAL_INTEGER_DIGITS:
        return Arm.DECIMAL
    return Arm.NUMBER


def _without_trailing_zeros(number: Decimal) -> Decimal:
    """Return an equal number whose last digit is not zero; `Decimal.normalize` would round to its context."""
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    end = len(digits)
    while end > 1 and digits[end - 1] == 0:
        end -= 1
    return number if end == len(digits) else Decimal((sign, digits[:end], exponent + len(digits) - end))
