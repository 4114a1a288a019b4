"""Tables of many columns: windows are applied without MERGE, and to the same end."""

from pathlib import Path

import polars as pl
import pytest

from ddb_lake.replica import Column, Strategy, rewrite
from ddb_lake_tests.replica.histories import (
    COLUMNS,
    Change,
    Key,
    Wanted,
    change_frame,
    delete,
    lake,
    put,
    told,
    us,
    window,
)
from ddb_lake_tests.replica.readers import read_by_all


@pytest.mark.parametrize("wide", [0, 10_000], ids=["files are rewritten", "MERGE"])
def test_windows_of_copy_on_write_come_to_the_same_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wide: int):
    monkeypatch.setattr(rewrite, "WIDE", wide)
    monkeypatch.setattr(Wanted, "strategy", Strategy.COPY_ON_WRITE)
    tables = lake(tmp_path)
    tables.bootstrap({Key(name): "0" for name in ("a", "bb", "ccc", "dddd")})
    tables.log.add_columns([*COLUMNS, Column("late", pl.Int64(), told("late", "int64"))])
    first = change_frame([put("a", 1, "1"), delete("bb", 2), put("new", 3, "1"), delete("never", 3)])
    tables.log.replace(window(0, 15), [first.with_columns(pl.lit(7, pl.Int64).alias("late"))])
    tables.decode(window(15, 30), [put("a", 16, "2"), Change(Key("ccc"), us(17), None), put("bb", 18, "2")])
    done = [tables.replica.apply(window(15, 30)), tables.replica.apply(window(0, 15))]
    assert [(each.inserted, each.updated, each.deleted) for each in done] == [(0, 2, 1), (1, 0, 0)]
    assert read_by_all(tables.replica.location.uri, ["id", "value", "late"]) == [
        ("a", "2", None),
        ("bb", "2", None),
        ("dddd", "0", None),
        ("new", "1", 7),
    ]
    assert tables.replica.count() == 4


@pytest.mark.parametrize("strategy", list(Strategy), ids=lambda each: each.value)
def test_one_change_in_a_table_of_two_thousand_columns_needs_no_merge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Strategy
):
    """MERGE takes half a minute for these."""
    monkeypatch.setattr(Wanted, "strategy", strategy)
    tables = lake(tmp_path)
    names = [f"attribute_{number}" for number in range(2000)]
    tables.bootstrap({Key("a"): "0", Key("b"): "0"})
    tables.log.add_columns([*COLUMNS, *(Column(name, pl.String(), told(name, "string")) for name in names)])
    for number in range(2):
        span = window(15 * number, 15 * number + 15)
        frame = change_frame([put("a", 15 * number + 1, f"{number}")])
        tables.log.replace(span, [frame.with_columns(pl.lit(name).alias(name) for name in names[::7])])
        tables.replica.apply(span)
    rows = tables.replica.scan().select("id", "value", names[7], names[8]).collect().sort("id").rows()
    assert rows == [("a", "1", names[7], None), ("b", "0", None, None)]
