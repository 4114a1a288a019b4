"""Columns come late, keep what they mean, and never change: in the log, through merges, and after re-opening."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from ddb_lake.replica import ChangeLog, Column, Location, Replica
from ddb_lake.replica.errors import InvalidColumn, SchemaConflict
from ddb_lake_tests.replica.histories import (
    COLUMNS,
    DECIMAL,
    ID,
    TABLE_ID,
    VALUE,
    Key,
    T,
    change_frame,
    lake,
    put,
    told,
    us,
    window,
)

LATE = [
    Column("total", DECIMAL, told("Total", "decimal")),
    Column("total__string", pl.String(), told("Total", "string")),
    Column("flag", pl.Boolean(), told("flag", "bool")),
    Column("raw", pl.Binary(), told("raw", "binary")),
    Column("tags", pl.List(pl.String()), told("tags", "string_set")),
    Column("blobs", pl.List(pl.Binary()), told("blobs", "binary_set")),
]

ODD_NAMES = ["a.b", "it's", 'x"y', "tick`y", "ÄÖ", "select", "Upper", "a/b", "x%20y", "$d", "a\\b", "s", "t", "日本"]


def metadata(location: Location) -> dict[str, dict[str, object]]:
    return {each.name: dict(each.metadata) for each in DeltaTable(location.uri).schema().fields}


def test_columns_are_given_back_as_they_were_declared(tmp_path: Path):
    tables = lake(tmp_path)
    tables.log.add_columns(COLUMNS)
    tables.log.add_columns([*COLUMNS, *LATE])
    assert tables.log.columns() == (*COLUMNS, *LATE)
    assert lake(tmp_path).log.columns() == (*COLUMNS, *LATE)


def test_adding_what_is_there_makes_no_commit(tmp_path: Path):
    tables = lake(tmp_path)
    tables.log.add_columns(COLUMNS)
    version = DeltaTable(tables.log.location.uri).version()
    tables.log.add_columns(COLUMNS)
    tables.log.add_columns([])
    assert DeltaTable(tables.log.location.uri).version() == version


def test_metadata_outlives_merges_replacements_checkpoints_and_re_opening(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    expected = {column.name: dict(column.metadata) for column in [*COLUMNS, *LATE]}
    for number, columns in enumerate([[], LATE[:3], LATE]):
        tables.log.add_columns([*COLUMNS, *columns])
        span = window(number, number + 1)
        tables.decode(span, [put("a", number, str(number)), put(f"new{number}", number, "1")])
        tables.replica.apply(span)
        for location in (tables.log.location, tables.replica.location):
            DeltaTable(location.uri).create_checkpoint()
    for location in (tables.log.location, tables.replica.location):
        found = metadata(location)
        assert {name: found[name] for name in expected} == expected
    assert tables.replica.columns() == (*COLUMNS, *LATE)


def test_a_late_column_is_null_in_older_rows_and_loses_nothing_in_any(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("old"): "0", Key("changed"): "0"})
    columns = [*COLUMNS, *LATE]
    tables.log.add_columns(columns)
    full = {
        "total": "0.000000000000000001",
        "total__string": "ten",
        "flag": False,
        "raw": b"\x00\xff",
        "tags": ["x", ""],
        "blobs": [b"", b"\x80"],
    }
    frame = change_frame([put("changed", 1, "1"), put("new", 1, "1")], COLUMNS).with_columns(
        pl.lit(full["total"]).cast(DECIMAL).alias("total"),
        pl.lit(full["total__string"]).alias("total__string"),
        pl.lit(full["flag"]).alias("flag"),
        pl.lit(full["raw"]).alias("raw"),
        pl.Series("tags", [full["tags"]] * 2, pl.List(pl.String)),
        pl.Series("blobs", [full["blobs"]] * 2, pl.List(pl.Binary)),
    )
    tables.log.replace(window(0, 15), [frame])
    tables.replica.apply(window(0, 15))
    rows = {row["id"]: row for row in tables.replica.scan().collect().to_dicts()}
    assert all(rows["old"][name] is None for name in full)
    for key in ("changed", "new"):
        assert str(rows[key]["total"]) == "1E-18"
        assert {name: rows[key][name] for name in full if name != "total"} == {
            name: value for name, value in full.items() if name != "total"
        }
    # The next image of the item lacks them: an attribute that vanished is null.
    tables.decode(window(15, 30), [put("changed", 16, "2")])
    tables.replica.apply(window(15, 30))
    rows = {row["id"]: row for row in tables.replica.scan().collect().to_dicts()}
    assert all(rows["changed"][name] is None for name in full)
    assert rows["new"]["tags"] == full["tags"]


def test_a_struct_that_appears_late_keeps_the_values_of_rows_that_no_window_touches(tmp_path: Path):
    tables = lake(tmp_path)
    place = Column("place", pl.Struct({"city": pl.String()}), told("place", "map"))
    tables.log.add_columns([*COLUMNS, place])
    tables.bootstrap({})
    frame = change_frame([put("kept", 1, "1"), put("changed", 1, "1")]).with_columns(
        pl.struct(pl.lit("Rome").alias("city")).alias("place")
    )
    tables.log.replace(window(0, 15), [frame])
    tables.replica.apply(window(0, 15))
    tables.log.add_columns([Column("more", pl.Struct({"zip": pl.Int64()}), told("more", "map"))])
    tables.log.replace(
        window(15, 30),
        [
            change_frame([put("changed", 16, "2")]).with_columns(
                pl.struct(pl.lit(8000, pl.Int64).alias("zip")).alias("more")
            )
        ],
    )
    tables.replica.apply(window(15, 30))
    rows = {row["id"]: row for row in tables.replica.scan().collect().to_dicts()}
    assert (rows["kept"]["place"], rows["kept"]["more"]) == ({"city": "Rome"}, None)
    assert (rows["changed"]["place"], rows["changed"]["more"]) == (None, {"zip": 8000})


def test_any_name_that_delta_allows_goes_through_every_step(tmp_path: Path):
    tables = lake(tmp_path)
    odd = [Column(name, pl.String(), told(name, "string")) for name in ODD_NAMES]
    tables.log.add_columns([*COLUMNS, *odd])
    tables.bootstrap({Key("a"): "0", Key("b"): "0"})
    frame = change_frame([put("a", 1, "1"), put("c", 1, "1")]).with_columns(
        pl.lit(f"value of {name}").alias(name) for name in ODD_NAMES
    )
    tables.log.replace(window(0, 15), [frame])
    tables.replica.apply(window(0, 15))
    assert tables.replica.columns() == (*COLUMNS, *odd)
    rows = {row["id"]: row for row in tables.replica.scan().collect().to_dicts()}
    for name in ODD_NAMES:
        assert (rows["a"][name], rows["b"][name], rows["c"][name]) == (f"value of {name}", None, f"value of {name}")


def test_a_keys_column_may_have_an_odd_name_too(tmp_path: Path):
    key = Column('it\'s `the` "key"'.replace(" ", "_"), pl.String(), told("key", "string", "HASH"))
    log = ChangeLog(Location(str(tmp_path / "log")), TABLE_ID)
    replica = Replica(Location(str(tmp_path / "replica")), TABLE_ID, log)
    log.add_columns([key, VALUE])
    row = {"_key_hash": 1, "_write_time_us": us(0) - 1, "_tie_break": 0, key.name: "a", "value": "0"}
    replica.stage_bootstrap("01", T, log.columns(), [("a.json.gz", iter([pl.DataFrame([row])]))])
    replica.commit_bootstrap("01")
    change = {**row, "_write_time_us": us(1), "value": "1", "_deleted": False}
    log.replace(window(0, 15), [pl.DataFrame([change])])
    assert replica.apply(window(0, 15)).updated == 1
    assert replica.scan().select(key.name, "value").collect().rows() == [("a", "1")]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (Column("value", pl.Int64(), told("value", "int64")), "exists as String .* added as Int64"),
        (Column("value", pl.String(), told("Value", "string")), "ddb_lake.attribute='Value'"),
        (Column("Value", pl.String(), told("Value", "string")), "only by case"),
        (Column("value_2", pl.String(), told("value", "string")), "already has the column 'value'"),
    ],
    ids=["another type", "another attribute", "another case", "a second column of the arm"],
)
def test_a_column_never_changes_its_meaning(tmp_path: Path, column: Column, message: str):
    tables = lake(tmp_path)
    tables.log.add_columns(COLUMNS)
    with pytest.raises(SchemaConflict, match=message):
        tables.log.add_columns([column])
    assert tables.log.columns() == COLUMNS


@pytest.mark.parametrize(
    "column",
    [
        Column("_key_hash", pl.Int64()),
        Column("_WINDOW", pl.String()),
        Column("", pl.String()),
        Column("two words", pl.String()),
        Column("a=b", pl.String()),
        Column("line\nbreak", pl.String()),
        Column("unsigned", pl.UInt64()),
        Column("of_day", pl.Time()),
        Column("local", pl.Datetime("us")),
    ],
    ids=lambda column: repr(column.name),
)
def test_what_delta_can_not_keep_exactly_is_refused(tmp_path: Path, column: Column):
    log = lake(tmp_path).log
    with pytest.raises(InvalidColumn):
        log.add_columns([ID, column])
    assert log.columns() == ()


def test_two_new_columns_that_contradict_each_other_are_refused(tmp_path: Path):
    log = lake(tmp_path).log
    with pytest.raises(SchemaConflict, match="only by case"):
        log.add_columns([ID, VALUE, Column("VALUE", pl.String(), told("VALUE", "string"))])


def test_a_replica_whose_column_has_another_type_is_not_truncated_into(tmp_path: Path):
    tables = lake(tmp_path)
    amount = Column("amount", pl.Int64(), told("amount", "int64"))
    other = lake(tmp_path / "other")
    other.log.add_columns([*COLUMNS, amount])
    other.bootstrap({Key("a"): "0"})
    # The same replica, but a change log that learned the attribute as another type.
    tables.log.add_columns([*COLUMNS, Column("amount", pl.Float64(), told("amount", "int64"))])
    tables.log.replace(window(0, 15), [change_frame([put("a", 1, "1")]).with_columns(pl.lit(1.75).alias("amount"))])
    replica = type(other.replica)(other.replica.location, tables.log.table_id, tables.log)
    before = replica.version()
    with pytest.raises(SchemaConflict, match=r"'amount' exists as Int64 .* added as Float64"):
        replica.apply(window(0, 15))
    assert replica.version() == before


def test_comments_that_others_put_on_a_column_are_no_conflict(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    DeltaTable(tables.replica.location.uri).alter.set_column_metadata("value", {"comment": "what it is worth"})
    tables.decode(window(0, 15), [put("a", 1, "1")])
    tables.replica.apply(window(0, 15))
    assert metadata(tables.replica.location)["value"]["comment"] == "what it is worth"
    assert tables.items() == {Key("a"): "1"}
