"""What AWS itself exported is decoded item by item to the same values."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ddb_lake.decoding import (
    ExportFile,
    ItemSchema,
    decode_items,
    encode_item,
    learn_changes,
    learn_items,
)
from ddb_lake.keys import KeyAttribute
from ddb_lake_tests.decoding.export_files import rows_of_changes, rows_of_items
from ddb_lake_tests.decoding.values import meaning_of_item

NAME = (KeyAttribute("name", "S", "HASH"),)
ID = (KeyAttribute("id", "S", "HASH"),)


def files_of(bucket: Path, export: str) -> list[ExportFile]:
    """Return the data files that an export's manifest names."""
    manifest = (bucket / export / "manifest-files.json").read_text()
    entries: list[dict[str, Any]] = [json.loads(line) for line in manifest.splitlines()]
    return [
        ExportFile(f"s3://bucket/{entry['dataFileS3Key']}", bucket / entry["dataFileS3Key"], entry["itemCount"])
        for entry in entries
    ]


def records_of(file: ExportFile) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(file.path.read_bytes()).splitlines()]


@pytest.fixture(scope="module")
def full(real_exports: Path) -> list[ExportFile]:
    return files_of(real_exports / "unicorn_activities", "AWSDynamoDB/01716790307109-5f9d6aaa")


@pytest.fixture(scope="module")
def incremental(real_exports: Path) -> list[ExportFile]:
    return files_of(real_exports / "unicorn_activities", "AWSDynamoDB/01716791487000-6ddcf8cf")


@pytest.fixture(scope="module")
def key_hashes(full: list[ExportFile]) -> list[tuple[str, int]]:
    """Key and key hash of every item of the full export."""
    schema = learn_items(full, ItemSchema.empty(NAME))
    return [
        (name, key_hash)
        for file in full
        for frame in decode_items(file, schema, 0)
        for name, key_hash in frame.select("name", "_key_hash").iter_rows()
    ]


def test_a_full_export_has_all_its_items_with_keys_of_their_own(key_hashes: list[tuple[str, int]]) -> None:
    assert len(key_hashes) == 133_199
    assert len({name for name, _ in key_hashes}) == 133_199
    assert len({key_hash for _, key_hash in key_hashes}) == 133_199


def test_every_item_of_a_full_exports_file_is_encoded_as_it_was(full: list[ExportFile]) -> None:
    schema = learn_items(full[:1], ItemSchema.empty(NAME))
    assert [(column.name, str(column.arm)) for column in schema.columns] == [
        ("name", "string"),
        ("activities", "list"),
    ]
    encoded = [encode_item(row, schema) for row in rows_of_items(full[0], schema)]
    exported = [record["Item"] for record in records_of(full[0])]
    assert len(exported) == full[0].item_count > 30_000
    assert encoded == exported


def test_an_incremental_exports_changes_are_what_its_records_say(incremental: list[ExportFile]) -> None:
    schema = learn_changes(incremental, ItemSchema.empty(NAME))
    kinds: list[str] = []
    for file in incremental:
        records = records_of(file)
        rows = rows_of_changes(file, schema)
        assert len(rows) == len(records) == file.item_count
        for row, record in zip(rows, records, strict=True):
            kinds.append("delete" if row["_deleted"] else "update" if "OldImage" in record else "insert")
            assert row["_write_time_us"] == int(record["Metadata"]["WriteTimestampMicros"]["N"])
            assert row["_deleted"] == ("NewImage" not in record)
            assert encode_item(row, schema) == record.get("NewImage", record["Keys"])
    assert {kind: kinds.count(kind) for kind in kinds} == {"insert": 1, "update": 8, "delete": 6}


def test_a_change_has_the_same_key_hash_as_the_item_it_changes(
    key_hashes: list[tuple[str, int]], incremental: list[ExportFile]
) -> None:
    schema = learn_changes(incremental, ItemSchema.empty(NAME))
    changed = {row["name"]: row["_key_hash"] for file in incremental for row in rows_of_changes(file, schema)}
    items = {name: key_hash for name, key_hash in key_hashes if name in changed}
    assert len(items) == 14  # all but the one that was inserted
    assert items == {name: changed[name] for name in items}


def test_all_ten_types_have_their_exact_values(real_exports: Path) -> None:
    (file,) = files_of(real_exports / "all_types", "dynamodb-export/AWSDynamoDB/01715685260608-c488b4e1")
    schema = learn_items([file], ItemSchema.empty(ID))
    rows = {row["id"]: row for row in rows_of_items(file, schema)}
    nothing = {column.name: None for column in schema.columns}
    found = {key: {name: row[name] for name in nothing} for key, row in rows.items()}
    assert found == {
        "foo": {**nothing, "id": "foo", "bar": 42},
        "bar": {**nothing, "id": "bar", "baz": 0},
        "K3TXQk84Si": {
            "id": "K3TXQk84Si",
            "a": False,
            "b__null": True,
            "bar": None,
            "baz": None,
            "c": ["8gfX8dh0xa", "fRjHZJ2Ce9"],
            "d": ["2", "3"],
            "e": '[{"N":"1"},{"S":"Dsb87qc6Es"}]',
            "f": '{"g":{"N":"9"},"h":{"NULL":true},"i":{"BOOL":true}}',
            "j": b"hello",
            "k": [b"is fast", b"scylladb"],
        },
    }
    assert [meaning_of_item(encode_item(row, schema)) for row in rows.values()] == [
        meaning_of_item(record["Item"]) for record in records_of(file)
    ]
