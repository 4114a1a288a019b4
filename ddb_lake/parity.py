"""Whether a replica equals its source table, item by item: the proof that nothing was lost on the way."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import orjson

from ddb_lake.decoding import canonical_image, encode_item
from ddb_lake.pipeline import Pipeline


@dataclass(frozen=True)
class Parity:
    """The outcome of a comparison: how many items there are, and the keys (as JSON) of those that differ."""

    source_items: int
    replica_items: int
    missing: tuple[str, ...]
    """In the source table, not in the replica."""
    unexpected: tuple[str, ...]
    """In the replica, not in the source table."""
    different: tuple[str, ...]
    """In both, with other attributes or values."""

    @property
    def equal(self) -> bool:
        """Whether the two hold the same items."""
        return not (self.missing or self.unexpected or self.different)


def compare(pipeline: Pipeline, source: Iterator[dict[str, Any]]) -> Parity:
    """Compare the replica with the items of a Scan.

    Both are held in memory, and the source must not change between the last covered window's end and the Scan:
    this is for small tables and for tests.

    Of the source's items only that counts which lake.yaml lets into the lake: what is dropped is left out, and what
    is hashed is compared as its hash.

    Args:
        pipeline: The table's pipeline.
        source: The source table's items as boto3's client gives them: DynamoDB JSON with binary as bytes.
    """
    key_names = [part.name for part in pipeline.table.key]
    schema = pipeline.schema()

    selection = pipeline.rules.selection

    def by_key(items: Iterator[dict[str, Any]]) -> dict[str, bytes]:
        return {
            orjson.dumps({name: item[name] for name in key_names}).decode(): orjson.dumps(
                item, option=orjson.OPT_SORT_KEYS
            )
            for item in items
        }

    exported = (canonical_image(_exported(item)) for item in source)
    expected = by_key(selection.apply(item, frozenset(key_names)) for item in exported)
    rows = pipeline.replica.scan().collect().iter_rows(named=True)
    actual = by_key(canonical_image(encode_item(row, schema)) for row in rows)
    return Parity(
        source_items=len(expected),
        replica_items=len(actual),
        missing=tuple(sorted(expected.keys() - actual.keys())),
        unexpected=tuple(sorted(actual.keys() - expected.keys())),
        different=tuple(sorted(k for k in expected.keys() & actual.keys() if expected[k] != actual[k])),
    )


def _exported(value: Any) -> Any:
    """Return a value of boto3's as an export has it: binary in base64."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case dict():
            return {name: _exported(member) for name, member in cast("dict[str, Any]", value).items()}
        case list():
            return [_exported(member) for member in cast("list[Any]", value)]
        case _:
            return value
