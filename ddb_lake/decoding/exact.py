"""The exact reader of single lines: it refuses with a reason, or writes the record in its canonical form.

The compiled kernel reads canonical records only. Whatever it hands back comes here, so that spaces, other
notations and other orders cost time and change nothing.
"""

import json
from collections.abc import Callable
from typing import Any

from ddb_lake.decoding.canonical import canonical_image, canonical_text
from ddb_lake.decoding.errors import MalformedRecord
from ddb_lake.decoding.json_values import shown
from ddb_lake.decoding.keys import KeyReader
from ddb_lake.decoding.records import parse_change, parse_item

Normalise = Callable[[bytes], bytes]
"""Writes a line in its canonical form."""


def item_normaliser(key: KeyReader) -> Normalise:
    """Return the exact reader of a full export's lines; it raises DecodeError for what is no item of the table."""

    def normalise(line: bytes) -> bytes:
        image = parse_item(line)
        _refuse_repeated_names(line)
        key.check(image)
        return f'{{"Item":{canonical_text(canonical_image(image))}}}'.encode()

    return normalise


def change_normaliser(key: KeyReader, keep_old: bool) -> Normalise:
    """Return the exact reader of an incremental export's lines; it raises DecodeError for what is no change."""

    def normalise(line: bytes) -> bytes:
        change = parse_change(line)
        _refuse_repeated_names(line)
        key.check_change(change.keys, change.image)
        images = {
            "Keys": change.keys,
            "OldImage": change.old_image if keep_old else None,
            "NewImage": change.image,
        }
        members = "".join(
            f',"{name}":{canonical_text(canonical_image(image))}'
            for name, image in images.items()
            if image is not None
        )
        return f'{{"Metadata":{{"WriteTimestampMicros":{{"N":"{change.write_time_us}"}}}}{members}}}'.encode()

    return normalise


def _refuse_repeated_names(line: bytes) -> None:
    """Refuse an object that has a name twice, of which JSON parsers keep one and drop the other silently.

    Raises:
        MalformedRecord: If there is one.
    """

    def pairs(members: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in members]
        if len(set(names)) < len(names):
            repeated = next(name for place, name in enumerate(names) if name in names[:place])
            raise MalformedRecord(
                f"the name {shown(repeated)} is twice in one object: one of its values would be lost"
            )

    try:
        json.loads(line, object_pairs_hook=pairs, parse_int=str, parse_float=str)
    except RecursionError:
        raise MalformedRecord("lists and maps are nested more deeply than DynamoDB allows") from None
