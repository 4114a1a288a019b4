"""boto3's reading of DynamoDB JSON, which the decoder is compared with, value by value."""

from base64 import b64decode
from decimal import Context, Decimal, Inexact, Overflow, Underflow
from typing import Any

from boto3.dynamodb.types import Binary, TypeDeserializer

# boto3's own context also traps Rounded, which takes trailing zeros for digits; what is not exact still raises.
_EXACT = Context(prec=38, Emin=-128, Emax=126, traps=[Inexact, Overflow, Underflow])


class Deserializer(TypeDeserializer):
    """boto3's, without its two faults on exports: base64 is not decoded, and long numbers may raise."""

    def _deserialize_n(self, value: str) -> Decimal:
        return _EXACT.create_decimal(value)

    def _deserialize_b(self, value: str) -> Binary:
        return Binary(b64decode(value, validate=True))


_DESERIALIZER = Deserializer()


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item as boto3 shows it."""
    return {name: _DESERIALIZER.deserialize(value) for name, value in item.items()}


def same(one: Any, other: Any) -> bool:
    """Tell whether two of boto3's values are of one type and equal: Python takes True for 1."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
