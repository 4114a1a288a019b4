"""Partition columns are computed from the items, by both strategies alike; a row that moves is in one place only."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from ddb_lake.replica import ChangeLog, Column, DatePart, HashBucket, Location, PartitionColumn, Replica
from ddb_lake.replica.errors import InvalidColumn
from ddb_lake.replica.folding import FoldPolicy
from ddb_lake_tests.replica.histories import (
    COLUMNS,
    TABLE_ID,
    VALUE,
    Key,
    Lake,
    T,
    Wanted,
    change_frame,
    delete,
    item_frame,
    minute,
    put,
    window,
)
from ddb_lake_tests.replica.readers import ordered, read_by_all

BY_DAY = DatePart("value", "day")
NAMES = ["id", "value", "_part_day"]


def partitioned(folder: Path, *partitioning: PartitionColumn) -> Lake:
    log = ChangeLog(Location(str(folder / "changes")), TABLE_ID)
    replica = Replica(Location(str(folder / "replica")), TABLE_ID, log, Wanted.strategy, partitioning)
    return Lake(log, replica)


def test_a_row_that_moves_to_another_partition_is_gone_from_the_first(tmp_path: Path):
    tables = partitioned(tmp_path, BY_DAY)
    uri = tables.replica.location.uri
    tables.bootstrap({Key("a"): "2026-11-01T10:00", Key("b"): "2026-11-01T11:00", Key("c"): "no date"})
    assert read_by_all(uri, NAMES) == ordered(
        [("a", "2026-11-01T10:00", "2026-11-01"), ("b", "2026-11-01T11:00", "2026-11-01"), ("c", "no date", None)]
    )
    tables.decode(
        window(0, 15),
        [put("a", 1, "2026-11-02T10:00"), put("d", 2, "2026-11-02 and so on"), put("c", 3, "2026-11-01")],
    )
    done = tables.replica.apply(window(0, 15))
    assert (done.inserted, done.updated, done.rows_after) == (1, 2, 4)
    left = [
        ("a", "2026-11-02T10:00", "2026-11-02"),
        ("b", "2026-11-01T11:00", "2026-11-01"),
        ("c", "2026-11-01", "2026-11-01"),
        ("d", "2026-11-02 and so on", "2026-11-02"),
    ]
    assert read_by_all(uri, NAMES) == ordered(left)
    tables.decode(window(15, 30), [delete("b", 16), put("a", 17, "2026-11-01T10:00")])
    tables.replica.apply(window(15, 30))
    left = [("a", "2026-11-01T10:00", "2026-11-01"), *left[2:]]
    assert read_by_all(uri, NAMES) == ordered(left)
    tables.replica.maintain(FoldPolicy(target_rows=1000, fan=2, dead_share=0.1))
    assert read_by_all(uri, NAMES) == ordered(left)
    found = pl.scan_delta(uri).filter(pl.col("_part_day") == "2026-11-02").select("id").collect()
    assert found["id"].to_list() == ["d"]


def test_readers_skip_the_files_of_other_partitions(tmp_path: Path):
    tables = partitioned(tmp_path, BY_DAY)
    tables.bootstrap({Key("a"): "2026-11-01", Key("b"): "2026-11-02"})
    for file in Path(tables.replica.location.uri).rglob("_part_day=2026-11-01/*.parquet"):
        file.unlink()
    assert DeltaTable(tables.replica.location.uri).scan(predicate="_part_day = '2026-11-02'").read_all().num_rows == 1


def test_buckets_spread_rows_and_keep_them(tmp_path: Path):
    tables = partitioned(tmp_path, HashBucket(16))
    items = {Key("x" * number): "0" for number in range(1, 40)}
    tables.bootstrap(items)
    assert tables.items() == items
    rows = read_by_all(tables.replica.location.uri, ["_key_hash", "_part_bucket"])
    assert all(f"{key_hash % 16:02}" == bucket for key_hash, bucket in rows)
    assert len({bucket for _, bucket in rows}) == 16
    tables.decode(window(0, 15), [put("xx", 1, "1"), delete("xxx", 1), put("y" * 50, 1, "1")])
    tables.replica.apply(window(0, 15))
    items |= {Key("xx"): "1", Key("y" * 50): "1"}
    del items[Key("xxx")]
    assert tables.items() == items
    assert tables.replica.columns() == COLUMNS, "partition columns are nobody's attribute"


def test_a_later_bootstrap_may_partition_otherwise(tmp_path: Path):
    partitioned(tmp_path, HashBucket(4)).bootstrap({Key("a"): "2026-11-01", Key("b"): "2026-11-02"})
    again = partitioned(tmp_path, BY_DAY)
    again.bootstrap({Key("a"): "2026-11-01"}, "02-export", minute(60))
    assert read_by_all(again.replica.location.uri, NAMES) == [("a", "2026-11-01", "2026-11-01")]
    unpartitioned = partitioned(tmp_path)
    unpartitioned.decode(window(60, 75), [put("a", 61, "2026-11-03")])
    unpartitioned.replica.apply(window(60, 75))
    assert read_by_all(again.replica.location.uri, NAMES) == [("a", "2026-11-03", "2026-11-03")]


@pytest.mark.parametrize(
    ("partitioning", "message"),
    [
        ([HashBucket(1)], "1 buckets; write 2 to 1024"),
        ([DatePart("seq", "day")], "attribute 'seq' has no texts \\('seq' is Int64"),
        ([BY_DAY, DatePart("id", "day")], "one rule of each kind"),
    ],
    ids=["one bucket", "not a text", "twice"],
)
def test_what_can_not_be_computed_is_refused(tmp_path: Path, partitioning: list[PartitionColumn], message: str):
    tables = partitioned(tmp_path, *partitioning)
    with pytest.raises(InvalidColumn, match=message):
        tables.replica.stage_bootstrap("01", T, COLUMNS, [("a", iter([item_frame({Key("a"): "0"})]))])


def test_an_attribute_that_appears_late_has_no_partition_until_then(tmp_path: Path):
    tables = partitioned(tmp_path, DatePart("late", "month"))
    tables.bootstrap({Key("a"): "0"})
    names = ["id", "_part_month"]
    assert read_by_all(tables.replica.location.uri, names) == [("a", None)]
    late = type(VALUE)("late", pl.String(), {"ddb_lake.attribute": "late", "ddb_lake.arm": "string"})
    tables.log.add_columns([late])
    frame = item_frame({Key("b"): "1"}).with_columns(
        pl.lit("2026-11-24T18:00").alias("late"),
        pl.lit(False).alias("_deleted"),
        (pl.col("_write_time_us") + 2).alias("_write_time_us"),
    )
    tables.log.replace(window(0, 15), [frame])
    tables.replica.apply(window(0, 15))
    assert read_by_all(tables.replica.location.uri, names) == ordered([("a", None), ("b", "2026-11")])


def attribute(name: str, arm: str, dtype: pl.DataType, attribute: str) -> Column:
    return Column(name, dtype, {"ddb_lake.attribute": attribute, "ddb_lake.arm": arm})


@pytest.mark.parametrize("name", ["created at", "^day$", "*", "a.b"])
def test_the_attribute_counts_whatever_its_columns_are_called(tmp_path: Path, name: str):
    """Here it is a number in some items, and its texts are in a column beside."""
    columns = (
        *COLUMNS,
        attribute("a%20column", "int64", pl.Int64(), name),
        attribute("a%20column__string", "string", pl.String(), name),
        attribute(name.replace(" ", "+").replace(".", "+"), "string", pl.String(), "another attribute"),
    )
    tables = partitioned(tmp_path, DatePart(name, "day"))
    tables.log.add_columns(columns)
    items = item_frame({Key("a"): "0", Key("b"): "0", Key("c"): "0"}, columns=columns).with_columns(
        pl.Series("a%20column", [None, 20261103, None], pl.Int64),
        pl.Series("a%20column__string", ["2026-11-01T10:00", None, "2026-11-02"]),
        pl.Series(columns[-1].name, ["2025-01-01"] * 3),
    )
    tables.replica.stage_bootstrap("01", T, columns, [("a", iter([items]))])
    tables.replica.commit_bootstrap("01")
    uri = tables.replica.location.uri
    assert read_by_all(uri, ["id", "_part_day"]) == ordered([("a", "2026-11-01"), ("b", None), ("c", "2026-11-02")])
    changes = change_frame([put("a", 1, "1"), put("b", 1, "1"), delete("c", 2)], columns).with_columns(
        pl.Series("a%20column", [20261104, None, None], pl.Int64),
        pl.Series("a%20column__string", [None, "2026-11-03T00:00Z", None]),
        pl.Series(columns[-1].name, ["2025-01-01", "2025-01-01", None]),
    )
    tables.log.replace(window(0, 15), [changes])
    tables.replica.apply(window(0, 15))
    assert read_by_all(uri, ["id", "_part_day"]) == ordered([("a", None), ("b", "2026-11-03")])


def test_a_table_that_was_partitioned_by_a_columns_name_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """So earlier versions understood the rule."""
    old = DatePart("value", "day", by_column=True)
    assert old.rule() == {"attribute": "value", "unit": "day"}, "as they wrote it"
    partitioned(tmp_path, old).bootstrap({Key("a"): "2026-11-01"})
    tables = partitioned(tmp_path, DatePart("another", "day"))
    tables.decode(window(0, 15), [put("a", 1, "2026-11-02"), put("b", 1, "2026-11-03")])
    tables.replica.apply(window(0, 15))
    uri = tables.replica.location.uri
    assert read_by_all(uri, NAMES) == [("a", "2026-11-02", "2026-11-02"), ("b", "2026-11-03", "2026-11-03")]
    assert not caplog.records


def test_a_table_that_was_partitioned_by_a_column_that_it_lacks_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    columns = (*COLUMNS, attribute("created%20at", "string", pl.String(), "created at"))
    tables = partitioned(tmp_path, DatePart("created at", "day", by_column=True))
    tables.log.add_columns(columns)
    items = item_frame({Key("a"): "0"}, columns=columns).with_columns(pl.lit("2026-11-01").alias("created%20at"))
    tables.replica.stage_bootstrap("01", T, columns, [("a", iter([items]))])
    tables.replica.commit_bootstrap("01")
    assert read_by_all(tables.replica.location.uri, ["id", "_part_day"]) == [("a", None)]
    assert "partitioned by a column 'created at'" in caplog.text


def test_an_attribute_that_was_only_null_so_far_may_get_a_time(tmp_path: Path):
    columns = (*COLUMNS, attribute("late__null", "null", pl.Boolean(), "late"))
    tables = partitioned(tmp_path, DatePart("late", "year"))
    tables.log.add_columns(columns)
    items = item_frame({Key("a"): "0"}, columns=columns).with_columns(pl.lit(True).alias("late__null"))
    tables.replica.stage_bootstrap("01", T, columns, [("a", iter([items]))])
    tables.replica.commit_bootstrap("01")
    assert read_by_all(tables.replica.location.uri, ["id", "_part_year"]) == [("a", None)]
