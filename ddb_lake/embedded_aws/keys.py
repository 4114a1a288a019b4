"""Primary keys as bytes: equal keys have equal bytes, and bytes sort as DynamoDB lays items out.

Items are ordered by the hash of their partition key, and within one partition key by their sort key. So one
pass over the keys in order yields an export's files one after the other.
"""

import base64
import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ddb_lake.embedded_aws.errors import AwsError, validation
from ddb_lake.embedded_aws.json_values import is_object

_HASH_BYTES = 8
_LENGTH = struct.Struct(">H")


@dataclass(frozen=True)
class KeyAttribute:
    """One attribute of a primary key: its name and its DynamoDB type (`S`, `N` or `B`)."""

    name: str
    type: str


@dataclass(frozen=True)
class KeySchema:
    """A table's primary key: the partition key and, if there is one, the sort key."""

    partition: KeyAttribute
    sort: KeyAttribute | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the key's attributes, partition key first."""
        return (self.partition.name,) if self.sort is None else (self.partition.name, self.sort.name)

    @classmethod
    def of_table(cls, request: Mapping[str, Any]) -> "KeySchema":
        """Read the key from a CreateTable request that DynamoDB has accepted."""
        types = {each["AttributeName"]: each["AttributeType"] for each in request["AttributeDefinitions"]}
        roles = {each["KeyType"]: each["AttributeName"] for each in request["KeySchema"]}
        attributes = {role: KeyAttribute(name, types[name]) for role, name in roles.items()}
        return cls(attributes["HASH"], attributes.get("RANGE"))

    def of(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return only the key's attributes of an item."""
        return {name: item[name] for name in self.names}

    def encode(self, item: Mapping[str, Any]) -> bytes:
        """Return the bytes of an item's (or a Key's) primary key, whose numbers are normalised.

        Raises:
            AwsError: A ValidationException if a key attribute is missing, empty or of another type.
        """
        partition = _encode_value(self.partition, item)
        digest = hashlib.blake2b(partition, digest_size=_HASH_BYTES).digest()
        head = digest + _LENGTH.pack(len(partition)) + partition
        return head if self.sort is None else head + _encode_value(self.sort, item)


def first_key_after(index: int, files: int) -> bytes | None:
    """Return what is greater than every encoded key of one of an export's files, counted from 0.

    Each file has an equal share of the hashes; the last one has no bound.
    """
    if index == files - 1:
        return None
    bound = -(-((index + 1) << 8 * _HASH_BYTES) // files)
    return bound.to_bytes(_HASH_BYTES)


def _encode_value(attribute: KeyAttribute, item: Mapping[str, Any]) -> bytes:
    value: object = item.get(attribute.name)
    if type(value) is dict and len(value) == 1:  # pyright: ignore[reportUnknownArgumentType]
        plain: object = value.get(attribute.type)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if attribute.type == "S" and type(plain) is str and plain:
            return plain.encode()  # most keys, and many of them in a history
    if value is None:
        raise validation(f"One or more parameter values were invalid: Missing the key {attribute.name} in the item")
    if not is_object(value) or list(value) != [attribute.type]:
        raise validation(
            f"One or more parameter values were invalid: Type mismatch for key {attribute.name} "
            f"expected: {attribute.type} actual: {value!r}"
        )
    text: object = value[attribute.type]
    if not isinstance(text, str):
        raise validation(f"The key {attribute.name} has no string as its {attribute.type}: {text!r}")
    if not text:
        raise _empty(attribute)
    if attribute.type == "N":
        return _encode_number(text)
    return text.encode() if attribute.type == "S" else base64.b64decode(text)


def _encode_number(text: str) -> bytes:
    """Encode a number so that bytes compare as numbers do: sign, then exponent, then digits."""
    number = Decimal(text)
    if not number:
        return b"\x01"
    digits = bytes(digit + 1 for digit in number.as_tuple().digits).rstrip(b"\x01")
    magnitude = bytes([number.adjusted() + 130]) + digits
    if number > 0:
        return b"\x02" + magnitude
    return b"\x00" + bytes(0xFF - byte for byte in magnitude) + b"\xff"


def _empty(attribute: KeyAttribute) -> AwsError:
    return validation(
        "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an "
        f"empty {'binary' if attribute.type == 'B' else 'string'} value. Key: {attribute.name}"
    )
