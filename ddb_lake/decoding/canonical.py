"""Canonical DynamoDB JSON: one text per value, whatever the order and notation it was exported in.

Maps are sorted by name, sets by member, numbers are plain digits, base64 is re-encoded.
"""

from base64 import b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import orjson
import xxhash

from ddb_lake.decoding.attributes import split
from ddb_lake.decoding.errors import MalformedRecord
from ddb_lake.decoding.json_values import as_array, as_object, shown
from ddb_lake.decoding.numbers import canonical_number

_Member = TypeVar("_Member", str, bytes)

DEEPEST = 64
"""Levels of lists and maps that are followed; DynamoDB allows 32 (AWS: ServiceQuotas, nested attributes)."""


def canonical_text(value: Any) -> str:
    """Write canonical DynamoDB JSON as compact text with sorted names."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def canonical_image(image: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a whole item with every value in its canonical form.

    Raises:
        MalformedRecord: If a value is not one that DynamoDB exports.
    """
    return {name: canonical_value(value, DEEPEST) for name, value in image.items()}


def canonical_value(value: Any, depth: int) -> dict[str, Any]:
    """Return an attribute value, such as `{"N": "1.0"}`, in its canonical form."""
    try:
        # Without a call: nearly all values are what they should be, and there are many of them.
        ((tag, payload),) = value.items()
        canonical = _CANONICAL[tag]
    except (AttributeError, KeyError, ValueError):
        tag, payload = split(value)
        canonical = _CANONICAL[tag]
    return {tag: canonical(payload, depth)}


def string(payload: Any, depth: int = 0) -> str:
    """Check what an S holds."""
    if type(payload) is not str:
        raise MalformedRecord(f"an S holds text, not {shown(payload)}")
    return payload


def binary(payload: Any) -> bytes:
    """Decode what a B holds: standard base64."""
    if type(payload) is not str:
        raise MalformedRecord(f"a B holds base64 text, not {shown(payload)}")
    try:
        return a2b_base64(payload, strict_mode=True)
    except (Base64Error, ValueError) as error:
        raise MalformedRecord(f"{shown(payload)} is not base64: {error}") from None


def boolean(payload: Any, depth: int = 0) -> bool:
    """Check what a BOOL holds."""
    if type(payload) is not bool:
        raise MalformedRecord(f"a BOOL holds true or false, not {shown(payload)}")
    return payload


def null(payload: Any, depth: int = 0) -> bool:
    """Check what a NULL holds."""
    if payload is not True:
        raise MalformedRecord(f"a NULL holds true, not {shown(payload)}")
    return True


def canonical_list(payload: Any, depth: int = DEEPEST) -> list[dict[str, Any]]:
    """Return what an L holds in its canonical form; `depth` levels may follow."""
    values = as_array(payload)
    if values is None:
        raise MalformedRecord(f"an L holds a list, not {shown(payload)}")
    below = _descend(depth)
    return [canonical_value(value, below) for value in values]


def canonical_map(payload: Any, depth: int = DEEPEST) -> dict[str, dict[str, Any]]:
    """Return what an M holds in its canonical form; `depth` levels may follow."""
    values = as_object(payload)
    if values is None:
        raise MalformedRecord(f"an M holds an object, not {shown(payload)}")
    below = _descend(depth)
    return {name: canonical_value(value, below) for name, value in values.items()}


def string_set(payload: Any, depth: int = 0) -> list[str]:
    """Return what an SS holds, sorted by code point."""
    return _set("SS", payload, string)


def number_set(payload: Any, depth: int = 0) -> list[str]:
    """Return what an NS holds as canonical numbers, sorted as text."""
    return _set("NS", payload, canonical_number)


def binary_set(payload: Any) -> list[bytes]:
    """Return what a BS holds, decoded and sorted."""
    return _set("BS", payload, binary)


def hash_text(text: str) -> int:
    """Hash a canonical text to 64 bits: XXH64 of its UTF-8 with seed 0, as a signed integer."""
    digest = xxhash.xxh64_intdigest(text.encode())
    return digest - 2**64 if digest >= 2**63 else digest


def base64_text(data: bytes) -> str:
    """Encode binary as DynamoDB exports it."""
    return b64encode(data).decode()


def _descend(depth: int) -> int:
    if depth <= 1:
        raise MalformedRecord(f"lists and maps are nested more than {DEEPEST} deep; DynamoDB allows 32")
    return depth - 1


def _set(tag: str, payload: Any, member: Callable[[Any], _Member]) -> list[_Member]:
    members = as_array(payload)
    if not members:
        raise MalformedRecord(f"a set ({tag}) holds a list of at least one member, not {shown(payload)}")
    ordered = sorted({member(value) for value in members})
    if len(ordered) != len(members):
        raise MalformedRecord(f"the set {shown(payload)} ({tag}) holds a member twice")
    return ordered


def _canonical_binary(payload: Any, depth: int) -> str:
    return base64_text(binary(payload))


def _canonical_binary_set(payload: Any, depth: int) -> list[str]:
    return [base64_text(member) for member in binary_set(payload)]


def _canonical_number(payload: Any, depth: int) -> str:
    return canonical_number(payload)


_CANONICAL: Mapping[str, Callable[[Any, int], Any]] = {
    "S": string,
    "N": _canonical_number,
    "B": _canonical_binary,
    "BOOL": boolean,
    "NULL": null,
    "L": canonical_list,
    "M": canonical_map,
    "SS": string_set,
    "NS": number_set,
    "BS": _canonical_binary_set,
}
