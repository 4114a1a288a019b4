"""DynamoDB values by their meaning, written independently of the decoder: what its output is compared with."""

from base64 import b64decode
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def meaning(value: Mapping[str, Any]) -> tuple[str, Any]:
    """Return something that is equal for two attribute values if and only if they are the same value."""
    ((tag, payload),) = value.items()
    match tag:
        case "N":
            return tag, Decimal(payload)
        case "B":
            return tag, b64decode(payload, validate=True)
        case "SS":
            return tag, sorted(payload)
        case "NS":
            return tag, sorted(map(Decimal, payload))
        case "BS":
            return tag, sorted(b64decode(member, validate=True) for member in payload)
        case "L":
            return tag, [meaning(member) for member in payload]
        case "M":
            return tag, {name: meaning(member) for name, member in payload.items()}
        case "S" | "BOOL" | "NULL":
            return tag, payload
        case _:
            raise AssertionError(f"{tag} is no type of DynamoDB's")


def meaning_of_item(item: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    return {name: meaning(value) for name, value in item.items()}
