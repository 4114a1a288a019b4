"""The primary key of a record: checked against the table's, and hashed."""

from collections.abc import Mapping
from typing import Any

import orjson

from ddb_lake.decoding import canonical
from ddb_lake.decoding.errors import KeyMismatch
from ddb_lake.decoding.json_values import as_object, shown
from ddb_lake.keys import KeyAttribute


class KeyReader:
    """Reads the primary key of one table's records."""

    def __init__(self, key: tuple[KeyAttribute, ...]) -> None:
        self._attributes = tuple(sorted((attribute.name, attribute.type) for attribute in key))
        self._names = {name for name, _ in self._attributes}
        # What stands between the values of the key's canonical JSON; the names are sorted as in the text.
        self._before = tuple(
            f'{"," if place else "{"}{orjson.dumps(name).decode()}:{{"{tag}":'
            for place, (name, tag) in enumerate(self._attributes)
        )

    @property
    def pieces(self) -> list[bytes]:
        """What stands before, between and behind the values in the key's canonical JSON."""
        first, *others = self._before
        return [piece.encode() for piece in (first, *(f"}}{before}" for before in others), "}}")]

    def check(self, image: Mapping[str, Any]) -> None:
        """Check that an image has the table's key attributes, each of its declared type.

        Raises:
            KeyMismatch: If a key attribute is absent or of another type.
        """
        for name, tag in self._attributes:
            value = image.get(name)
            if tag not in (as_object(value) or ()):
                raise KeyMismatch(
                    f"the key attribute {name!r} is to be of type {tag}, the record has {shown(value)}: "
                    "is this an export of another table?"
                )

    def check_change(self, keys: Mapping[str, Any], image: Mapping[str, Any] | None) -> None:
        """Check that a change's `Keys` are the table's key, and those of its new image if it has one.

        Raises:
            KeyMismatch: If they are not.
        """
        if set(keys) != self._names:
            raise KeyMismatch(
                f"Keys has the attributes {sorted(keys)}, the table's key is {sorted(self._names)}: "
                "is this an export of another table?"
            )
        self.check(keys)
        if image is not None and any(not _equal(image.get(name), value) for name, value in keys.items()):
            raise KeyMismatch("the key in NewImage is not the one in Keys")

    def hash(self, image: Mapping[str, Any]) -> int:
        """Hash the canonical JSON of a checked image's key to a signed 64-bit integer.

        Raises:
            MalformedRecord: If the value of a key attribute is not one of its type's.
        """
        text = ""
        for (name, tag), before in zip(self._attributes, self._before, strict=True):
            payload = canonical.canonical_value(image[name], canonical.DEEPEST)[tag]
            text += f"{before}{orjson.dumps(payload).decode()}}}"
        return canonical.hash_text(text + "}")


def _equal(one: Any, other: Any) -> bool:
    """Tell whether two attribute values are the same, in whatever notation."""
    if one == other:
        return True
    if as_object(one) is None or as_object(other) is None:
        return False
    return canonical.canonical_value(one, canonical.DEEPEST) == canonical.canonical_value(other, canonical.DEEPEST)
