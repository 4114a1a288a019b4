"""A schema gets columns for what the data holds and for the key, and keeps the ones that it has."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ddb_lake.decoding import (
    Arm,
    Column,
    ItemSchema,
    SchemaMetadataError,
    SchemaTooNarrow,
    learn_changes,
    learn_items,
)
from ddb_lake.keys import KeyAttribute
from ddb_lake_tests.decoding.export_files import (
    PK,
    change_line,
    items_of,
    rows_of_changes,
    rows_of_items,
    write_items,
    write_lines,
)

ALL_ARMS: dict[str, Any] = {
    "string": {"S": ""},
    "int64": {"N": "1"},
    "decimal": {"N": "1.5"},
    "number": {"N": "1E100"},
    "binary": {"B": ""},
    "bool": {"BOOL": False},
    "null": {"NULL": True},
    "list": {"L": []},
    "map": {"M": {}},
    "string_set": {"SS": ["b", ""]},
    "number_set": {"NS": ["2", "1.0"]},
    "binary_set": {"BS": ["/w==", ""]},
}

DTYPES = {
    "string": pl.String(),
    "int64": pl.Int64(),
    "decimal": pl.Decimal(38, 18),
    "number": pl.String(),
    "binary": pl.Binary(),
    "bool": pl.Boolean(),
    "null": pl.Boolean(),
    "list": pl.String(),
    "map": pl.String(),
    "string_set": pl.List(pl.String()),
    "number_set": pl.List(pl.String()),
    "binary_set": pl.List(pl.Binary()),
}


@pytest.mark.parametrize("arm", ALL_ARMS)
def test_each_type_has_its_column_type(tmp_path: Path, arm: str) -> None:
    file = write_items(tmp_path / "items.json.gz", [{"pk": {"S": "1"}, "a": ALL_ARMS[arm]}])
    schema = learn_items([file], ItemSchema.empty(PK))
    name = "a__null" if arm == "null" else "a"
    assert schema.columns[1] == Column(name, "a", Arm(arm), None)
    assert schema.polars_schema() == pl.Schema({"pk": pl.String(), name: DTYPES[arm]})


def test_types_that_come_together_are_ordered_by_arm_and_only_the_first_is_bare(tmp_path: Path) -> None:
    items = [{"pk": {"S": tag}, "a": value} for tag, value in reversed(ALL_ARMS.items())]
    file = write_items(tmp_path / "items.json.gz", items)
    schema = learn_items([file], ItemSchema.empty(PK))
    # All numbers fit the number arm, which therefore is their home.
    arms = [arm for arm in ALL_ARMS if arm not in ("int64", "decimal")]
    assert [column.name for column in schema.columns] == ["pk", "a", *(f"a__{arm}" for arm in arms[1:])]
    rows = rows_of_items(file, schema)
    assert all(sum(row[column.name] is not None for column in schema.columns[1:]) == 1 for row in rows)


def test_types_that_come_one_after_the_other_get_companions_in_order_of_arrival(tmp_path: Path) -> None:
    schema = ItemSchema.empty(PK)
    for arm, value in ALL_ARMS.items():
        file = write_items(tmp_path / f"{arm}.json.gz", [{"pk": {"S": arm}, "a": value}])
        schema = learn_items([file], schema)
    assert [column.name for column in schema.columns] == ["pk", "a", *(f"a__{arm}" for arm in [*ALL_ARMS][1:])]


KEYS = [
    # key, what an empty export makes of it
    ((KeyAttribute("k", "S", "HASH"),), {"k": pl.String()}),
    ((KeyAttribute("k", "N", "HASH"),), {"k": pl.Int64()}),
    ((KeyAttribute("k", "B", "HASH"),), {"k": pl.Binary()}),
    (
        (KeyAttribute("z", "S", "HASH"), KeyAttribute("a", "N", "RANGE")),
        {"z": pl.String(), "a": pl.Int64()},
    ),
    (
        (KeyAttribute("_window", "S", "HASH"), KeyAttribute("a b", "B", "RANGE")),
        {"%5Fwindow": pl.String(), "a%20b": pl.Binary()},
    ),
]


@pytest.mark.parametrize(("key", "columns"), KEYS)
def test_an_empty_export_yields_the_keys_columns(
    tmp_path: Path, key: tuple[KeyAttribute, ...], columns: dict[str, pl.DataType]
) -> None:
    file = write_items(tmp_path / "empty.json.gz", [])
    for schema in (learn_items([file], ItemSchema.empty(key)), learn_changes([], ItemSchema.empty(key))):
        assert schema.polars_schema() == pl.Schema(columns)
        assert [column.key for column in schema.columns] == [attribute.role for attribute in key]
        assert learn_items([file], schema) == schema
        assert rows_of_items(file, schema) == []


def test_a_number_keys_home_is_what_its_data_demand(tmp_path: Path) -> None:
    key = (KeyAttribute("k", "N", "HASH"),)
    file = write_items(tmp_path / "items.json.gz", [{"k": {"N": "1.5"}}, {"k": {"N": "2"}}])
    assert learn_items([file], ItemSchema.empty(key)).polars_schema() == pl.Schema({"k": pl.Decimal(38, 18)})


def test_a_number_key_that_outgrows_its_home_has_further_key_columns(tmp_path: Path) -> None:
    key = (KeyAttribute("k", "N", "HASH"),)
    file = write_items(tmp_path / "items.json.gz", [{"k": {"N": "1.5"}}, {"k": {"N": "2"}}, {"k": {"N": "1E99"}}])
    schema = learn_items([file], learn_items([], ItemSchema.empty(key)))
    assert [(column.name, column.key) for column in schema.columns] == [
        ("k", "HASH"),
        ("k__decimal", "HASH"),
        ("k__number", "HASH"),
    ]
    assert [item["k"]["N"] for item in items_of(file, schema)] == ["1.5", "2", "1E+99"]


def test_old_images_need_no_columns(tmp_path: Path) -> None:
    key = {"pk": {"S": "1"}}
    lines = [
        change_line(key, {**key, "new": {"S": "x"}}, old={**key, "gone": {"S": "x"}}),
        change_line({"pk": {"S": "2"}}, None, old={"pk": {"S": "2"}, "gone": {"S": "x"}}),
    ]
    schema = learn_changes([write_lines(tmp_path / "changes.json.gz", lines)], ItemSchema.empty(PK))
    assert [column.name for column in schema.columns] == ["pk", "new"]


@pytest.mark.parametrize(
    "value", [{"S": "another type"}, {"N": "1.5"}, {"NULL": True}], ids=["type", "wider number", "null"]
)
def test_a_value_without_a_column_is_an_error_and_never_left_out(tmp_path: Path, value: dict[str, Any]) -> None:
    known = {"pk": {"S": "1"}, "a": {"N": "1"}}
    schema = learn_items([write_items(tmp_path / "1.json.gz", [known])], ItemSchema.empty(PK))
    image = {"pk": {"S": "2"}, "a": value}
    with pytest.raises(SchemaTooNarrow, match="'a'") as items:
        rows_of_items(write_items(tmp_path / "2.json.gz", [known, image]), schema)
    assert (items.value.name, items.value.line) == ("s3://bucket/2.json.gz", 2)
    change = change_line({"pk": {"S": "2"}}, image)
    with pytest.raises(SchemaTooNarrow, match="'a'"):
        rows_of_changes(write_lines(tmp_path / "3.json.gz", [change]), schema)


def test_fields_without_an_attribute_are_no_columns_of_the_schema() -> None:
    column = Column("pk", "pk", Arm.STRING, "HASH")
    fields: list[tuple[str, dict[str, str]]] = [("_key_hash", {}), ("pk", column.metadata), ("_window", {"x": "y"})]
    assert ItemSchema.from_fields(PK, fields) == ItemSchema(PK, (column,))


BAD_FIELDS = [
    ({"ddb_lake.attribute": "a"}, "arm"),
    ({"ddb_lake.attribute": "a", "ddb_lake.arm": "float"}, "float"),
    ({"ddb_lake.attribute": "a", "ddb_lake.arm": "string", "ddb_lake.key": "RANGE"}, "another source table"),
    ({"ddb_lake.attribute": "pk", "ddb_lake.arm": "string"}, "another source table"),
    ({"ddb_lake.attribute": "b", "ddb_lake.arm": "string"}, "both claim"),
]


@pytest.mark.parametrize(("metadata", "message"), BAD_FIELDS)
def test_metadata_that_ddb_lake_did_not_write_is_an_error(metadata: dict[str, str], message: str) -> None:
    with pytest.raises(SchemaMetadataError, match=message) as error:
        ItemSchema.from_fields(PK, [("first", Column("first", "b", Arm.STRING, None).metadata), ("bad", metadata)])
    assert error.value.name == "bad"


def test_a_key_has_a_hash_attribute_first() -> None:
    with pytest.raises(ValueError, match="HASH"):
        ItemSchema.empty((KeyAttribute("a", "S", "RANGE"),))
