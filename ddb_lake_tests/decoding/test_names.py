"""A column's name is the attribute's own where an engine can take it, and a stable escape of it elsewhere."""

from pathlib import Path
from typing import Any

import pytest

from ddb_lake.decoding import ItemSchema, learn_items
from ddb_lake.decoding.names import stem
from ddb_lake_tests.decoding.export_files import PK, items_of, write_items

NAMES = [
    # attribute, column
    ("plain", "plain"),
    ("camelCase", "camelCase"),
    ("S", "S"),
    ("Item", "Item"),
    ("with-dash", "with-dash"),
    ("🦄é", "🦄é"),
    ("x" * 300, "x" * 300),
    ("_id", "_id"),
    ("a__", "a__"),
    ("a__other", "a__other"),
    ("a__string__b", "a__string__b"),
    # what Delta refuses
    ("Passenger ID", "Passenger%20ID"),
    ("a,b;c{d}e(f)g\nh\ti=j", "a%2Cb%3Bc%7Bd%7De%28f%29g%0Ah%09i%3Dj"),
    # what SQL engines read as syntax
    ("a.b", "a%2Eb"),
    ("a`b'c\"d\\e", "a%60b%27c%22d%5Ce"),
    ("a\0b", "a%00b"),
    ("50%", "50%25"),
    ("a%2Eb", "a%252Eb"),
    # what belongs to metadata
    ("_deleted", "%5Fdeleted"),
    ("_export", "%5Fexport"),
    ("_KEY_HASH", "%5FKEY_HASH"),
    ("_commit_version", "%5Fcommit_version"),
    ("__delta_rs_path", "%5F_delta_rs_path"),
    # what belongs to companions
    ("a__string", "a%5F%5Fstring"),
    ("a__NULL", "a%5F%5FNULL"),
    ("a__number_set", "a%5F%5Fnumber_set"),
    ("__decimal", "%5F%5Fdecimal"),
]


def columns_of(tmp_path: Path, items: list[dict[str, Any]], schema: ItemSchema | None = None) -> ItemSchema:
    return learn_items([write_items(tmp_path / "items.json.gz", items)], schema or ItemSchema.empty(PK))


@pytest.mark.parametrize(("attribute", "column"), NAMES)
def test_an_attribute_gets_the_same_column_alone_and_among_all_the_others(
    tmp_path: Path, attribute: str, column: str
) -> None:
    key = {"pk": {"S": "1"}}
    alone = columns_of(tmp_path, [{**key, attribute: {"S": "text"}}])
    among = columns_of(tmp_path, [{**key, **{name: {"S": "text"} for name, _ in NAMES}}])
    for schema in (alone, among):
        assert [found.name for found in schema.columns if found.attribute == attribute] == [column]


def test_an_attribute_named_like_a_companion_stays_apart_from_it(tmp_path: Path) -> None:
    item = {"pk": {"S": "1"}, "a": {"N": "1"}, "a__string": {"S": "its own"}}
    other = {"pk": {"S": "2"}, "a": {"S": "a's"}, "A__String": {"BOOL": True}}
    schema = columns_of(tmp_path, [item, other])
    names = {(column.attribute, str(column.arm)): column.name for column in schema.columns[1:]}
    assert names[("a", "string")] == "a"
    assert names[("a", "int64")] == "a__int64"
    assert names[("A__String", "bool")] == "A%5F%5FString"
    assert names[("a__string", "string")].startswith("a%5F%5Fstring%~")  # differs only in case
    file = write_items(tmp_path / "items.json.gz", [item, other])
    assert items_of(file, schema) == [item, other]


def test_attributes_that_differ_only_in_case_keep_columns_of_their_own(tmp_path: Path) -> None:
    items = [{"pk": {"S": "1"}, "name": {"S": "a"}, "Name": {"S": "b"}, "NAME": {"N": "1"}, "PK": {"BOOL": False}}]
    schema = columns_of(tmp_path, items)
    names = {column.attribute: column.name for column in schema.columns}
    assert (names["pk"], names["NAME"]) == ("pk", "NAME")  # the key first, then by code point
    assert names["PK"].startswith("PK%~")
    assert names["Name"].startswith("Name%~")
    assert names["name"].startswith("name%~")
    assert len({name.lower() for name in names.values()}) == len(names)
    assert items_of(write_items(tmp_path / "items.json.gz", items), schema) == items


def test_the_attribute_that_came_first_keeps_the_plain_name(tmp_path: Path) -> None:
    schema = columns_of(tmp_path, [{"pk": {"S": "1"}, "name": {"S": "a"}}])
    schema = columns_of(tmp_path, [{"pk": {"S": "1"}, "NAME": {"S": "a"}}], schema)
    schema = columns_of(tmp_path, [{"pk": {"S": "1"}, "NAME": {"N": "1"}, "name": {"N": "1"}}], schema)
    names = [column.name for column in schema.columns[1:]]
    hashed = names[1]
    assert names == ["name", hashed, f"{hashed}__int64", "name__int64"]


def test_the_bare_name_waits_for_the_first_value_that_is_not_null(tmp_path: Path) -> None:
    schema = columns_of(tmp_path, [{"pk": {"S": "1"}, "a": {"NULL": True}}])
    schema = columns_of(tmp_path, [{"pk": {"S": "1"}, "A": {"S": "other"}}], schema)
    schema = columns_of(tmp_path, [{"pk": {"S": "1"}, "a": {"L": []}}], schema)
    schema = columns_of(tmp_path, [{"pk": {"S": "1"}, "a": {"S": "text"}}], schema)
    names = [column.name for column in schema.columns[1:]]
    assert names[0] == "a__null"
    assert names[1].startswith("A%~")
    assert names[2:] == ["a", "a__string"]


def test_nested_names_need_no_escape(tmp_path: Path) -> None:
    nested = {"M": {name: {"S": name} for name, _ in NAMES} | {"name": {"NULL": True}, "NAME": {"L": []}}}
    items = [{"pk": {"S": "1"}, "m": nested}]
    schema = columns_of(tmp_path, items)
    assert [column.name for column in schema.columns] == ["pk", "m"]
    assert items_of(write_items(tmp_path / "items.json.gz", items), schema) == items


def test_a_ligature_does_not_end_a_name_like_a_companion() -> None:
    assert stem("b__li\ufb06", {"b"}) == "b%5F%5Fli\ufb06"
    assert stem("__string", set()) == "%5F%5Fstring"


def test_no_attribute_has_the_name_of_a_partition_column() -> None:
    assert stem("_part_bucket", set()) == "%5Fpart_bucket"
