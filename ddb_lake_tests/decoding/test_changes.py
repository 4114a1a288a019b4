"""What describes a row: its key's hash, its write time, its tie-break, and whether it is a delete."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xxhash

from ddb_lake.decoding import (
    CHANGE_METADATA,
    ITEM_METADATA,
    ItemSchema,
    decode_changes,
    decode_items,
    encode_item,
    learn_changes,
    learn_items,
)
from ddb_lake.keys import KeyAttribute
from ddb_lake_tests.decoding.export_files import (
    PK,
    change_line,
    rows_of_changes,
    rows_of_items,
    write_items,
    write_lines,
)


def hash_of(text: str) -> int:
    digest = xxhash.xxh64_intdigest(text.encode())
    return digest - 2**64 if digest >= 2**63 else digest


def change_rows(path: Path, lines: list[str]) -> list[dict[str, Any]]:
    file = write_lines(path / "changes.json.gz", lines)
    return rows_of_changes(file, learn_changes([file], ItemSchema.empty(PK)))


def test_frames_have_the_metadata_columns_and_then_the_schemas(tmp_path: Path) -> None:
    items = write_items(tmp_path / "items.json.gz", [{"pk": {"S": "1"}, "a": {"N": "1"}}])
    schema = learn_items([items], ItemSchema.empty(PK))
    (frame,) = decode_items(items, schema, 5)
    assert frame.schema == pl.Schema({**ITEM_METADATA, "pk": pl.String(), "a": pl.Int64()})
    changes = write_lines(tmp_path / "changes.json.gz", [change_line({"pk": {"S": "1"}}, None)])
    (frame,) = decode_changes(changes, schema)
    assert frame.schema == pl.Schema({**CHANGE_METADATA, "pk": pl.String(), "a": pl.Int64()})
    assert [*CHANGE_METADATA] == ["_key_hash", "_write_time_us", "_tie_break", "_deleted"]


def test_items_of_a_full_export_have_the_given_time_and_no_tie_break(tmp_path: Path) -> None:
    file = write_items(tmp_path / "items.json.gz", [{"pk": {"S": "1"}}, {"pk": {"S": "2"}}])
    rows = rows_of_items(file, learn_items([file], ItemSchema.empty(PK)), 1_716_790_307_108_999)
    assert {(row["_write_time_us"], row["_tie_break"]) for row in rows} == {(1_716_790_307_108_999, 0)}


KEY_HASHES: list[tuple[tuple[KeyAttribute, ...], dict[str, Any], str]] = [
    # key, attributes of an item, the canonical text that is hashed
    (PK, {"pk": {"S": 'é"\0'}}, '{"pk":{"S":"é\\"\\u0000"}}'),
    ((KeyAttribute("k", "N", "HASH"),), {"k": {"N": "1.50"}}, '{"k":{"N":"1.5"}}'),
    ((KeyAttribute("k", "N", "HASH"),), {"k": {"N": "15E-1"}}, '{"k":{"N":"1.5"}}'),
    ((KeyAttribute("k", "B", "HASH"),), {"k": {"B": "YR=="}}, '{"k":{"B":"YQ=="}}'),
    (
        (KeyAttribute("z", "S", "HASH"), KeyAttribute("a", "N", "RANGE")),
        {"a": {"N": "1"}, "z": {"S": ""}},
        '{"a":{"N":"1"},"z":{"S":""}}',
    ),
]


@pytest.mark.parametrize(("key", "attributes", "text"), KEY_HASHES)
def test_the_key_hash_is_that_of_the_canonical_key_in_items_changes_and_deletes(
    tmp_path: Path, key: tuple[KeyAttribute, ...], attributes: dict[str, Any], text: str
) -> None:
    image = {"other": {"S": "x"}, **attributes}
    items = write_items(tmp_path / "items.json.gz", [image])
    changes = write_lines(
        tmp_path / "changes.json.gz", [change_line(attributes, image), change_line(attributes, None)]
    )
    schema = learn_items([items], ItemSchema.empty(key))
    rows = [*rows_of_items(items, schema), *rows_of_changes(changes, schema)]
    assert [row["_key_hash"] for row in rows] == [hash_of(text)] * 3


def test_the_tie_break_is_the_hash_of_the_canonical_image(tmp_path: Path) -> None:
    key = {"pk": {"S": "1"}}
    written = {
        "z": {"M": {"b": {"N": "1.0"}, "a": {"NS": ["10", "2E0"]}}},
        "y": {"BS": ["/w==", "AA=="]},
        "x": {"L": [{"SS": ["é", "a"]}, {"NULL": True}, {"BOOL": False}]},
        **key,
    }
    canonical = (
        '{"pk":{"S":"1"},"x":{"L":[{"SS":["a","é"]},{"NULL":true},{"BOOL":false}]},"y":{"BS":["AA==","/w=="]},'
        '"z":{"M":{"a":{"NS":["10","2"]},"b":{"N":"1"}}}}'
    )
    same = json.loads(canonical)
    rows = change_rows(tmp_path, [change_line(key, written), change_line(key, same), change_line(key, None)])
    assert [row["_tie_break"] for row in rows] == [hash_of(canonical), hash_of(canonical), 0]
    assert rows[0]["z"] == rows[1]["z"] == '{"a":{"NS":["10","2"]},"b":{"N":"1"}}'


def test_two_different_images_have_different_tie_breaks(tmp_path: Path) -> None:
    key = {"pk": {"S": "1"}}
    images = [
        key,
        {**key, "a": {"S": ""}},
        {**key, "a": {"NULL": True}},
        {**key, "a": {"B": ""}},
        {**key, "A": {"S": ""}},
    ]
    rows = change_rows(tmp_path, [change_line(key, image) for image in images])
    assert len({row["_tie_break"] for row in rows}) == len(images)


@pytest.mark.parametrize(
    "old", [None, {"pk": {"S": "1"}, "gone": {"S": "x"}}], ids=["NEW_IMAGE", "NEW_AND_OLD_IMAGES"]
)
def test_a_change_without_new_image_is_a_delete_with_its_key_only(tmp_path: Path, old: dict[str, Any] | None) -> None:
    kept = change_line({"pk": {"S": "2"}}, {"pk": {"S": "2"}, "gone": {"S": "y"}})
    rows = change_rows(tmp_path, [change_line({"pk": {"S": "1"}}, None, us=7, old=old), kept])
    assert (rows[0]["_deleted"], rows[0]["_write_time_us"], rows[0]["pk"], rows[0]["gone"]) == (True, 7, "1", None)
    assert rows[1]["_deleted"] is False


def test_members_may_come_in_any_order_and_the_time_as_a_bare_string(tmp_path: Path) -> None:
    lines = [
        '{"NewImage":{"a":{"S":"x"},"pk":{"S":"1"}},"Keys":{"pk":{"S":"1"}},'
        '"Metadata":{"WriteTimestampMicros":"1680109764000000"}}',
        ' { "OldImage": {}, "Metadata": {"More": 1, "WriteTimestampMicros": {"N": "1680109764000001"}}, '
        '"Keys": {"pk": {"S": "2"}} } ',
    ]
    rows = change_rows(tmp_path, lines)
    assert [(row["pk"], row["a"], row["_write_time_us"], row["_deleted"]) for row in rows] == [
        ("1", "x", 1_680_109_764_000_000, False),
        ("2", None, 1_680_109_764_000_001, True),
    ]


def test_attributes_named_like_a_records_members_are_attributes(tmp_path: Path) -> None:
    key = {"pk": {"S": "1"}}
    image = {
        **key,
        **{name: {"M": {"S": {"S": name}}} for name in ("Item", "Keys", "OldImage", "NewImage", "Metadata")},
    }
    file = write_lines(tmp_path / "changes.json.gz", [change_line(key, image, old=image)])
    schema = learn_changes([file], ItemSchema.empty(PK))
    assert [encode_item(row, schema) for row in rows_of_changes(file, schema)] == [image]


def test_a_key_that_comes_twice_stays_twice(tmp_path: Path) -> None:
    """An export has one record a key; if it ever has two, whoever applies them decides by their order."""
    key = {"pk": {"S": "1"}}
    rows = change_rows(tmp_path, [change_line(key, key, us=1), change_line(key, None, us=2)])
    assert [row["_write_time_us"] for row in rows] == [1, 2]
