"""Partition columns are computed from the items, by both strategies alike; a row that moves is in one place only."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from ddb_lake.replica import ChangeLog, DatePart, HashBucket, Location, PartitionColumn, Replica
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
        ([DatePart("seq", "day")], "column 'seq' is Int64"),
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
