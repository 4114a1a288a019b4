"""Tables of many columns: windows are applied without MERGE and to the same end, and their number has a limit."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ddb_lake.decoding import TooManyColumns, width
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.replica import Column, Strategy, rewrite
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud
from ddb_lake_tests.lakes import advance_to, lake_at, metadata_of, quarter
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
from ddb_lake_tests.table_histories import History, bootstrap, bring_in


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


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11, minute=30), files=3) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        yield cloud


def item_of(key: str, *names: str) -> tuple[Any, ...]:
    return ("put", key, {name: {"S": "x"} for name in names})


@pytest.fixture
def history(cloud: Cloud, tmp_path: Path) -> History:
    """Makes a table of three columns: a window gives it a fourth, the next one none, the last one a fifth."""
    during = [[item_of("k1", "a", "c")], [item_of("k2", "a", "b")], [item_of("k1", "a", "e")]]
    return History(cloud, tmp_path, [item_of("k1", "a"), item_of("k2", "b")], during)


def lake_files(history: History) -> set[Path]:
    return {path for path in history.folder.rglob("*") if path.is_file()}


def test_a_bootstrap_beyond_the_most_columns_is_refused_and_leaves_nothing(
    history: History, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(width, "MOST_COLUMNS", 2)
    pipeline = history.opened("lake")
    pipeline.start_export(pipeline.bootstrap_request)
    before = lake_files(history)
    with pytest.raises(TooManyColumns, match=r"needs (at least )?3 columns.*may have 2.*`keep` or `drop`") as error:
        pipeline.stage_bootstrap()
    assert error.value.name == pipeline.settings.name
    assert pipeline.change_log.columns() == ()
    assert lake_files(history) == before
    narrow = history.opened("narrow", drop=["b"])
    assert [column.name for column in bootstrap(narrow).staged.columns] == ["id", "a"]


def test_a_window_beyond_the_most_columns_is_refused_and_those_without_new_ones_go_on(
    history: History, monkeypatch: pytest.MonkeyPatch
):
    pipeline = history.opened("lake")
    bootstrap(pipeline)
    bring_in(pipeline, history.window(0))
    assert len(pipeline.change_log.columns()) == 4
    monkeypatch.setattr(width, "MOST_COLUMNS", 3)  # the table has more than it might get now
    bring_in(pipeline, history.window(1))
    before = lake_files(history)
    with pytest.raises(TooManyColumns, match="5 columns, 1 of them new, but a table may have 3"):
        bring_in(pipeline, history.window(2))
    assert len(pipeline.change_log.columns()) == 4
    assert lake_files(history) == before
    monkeypatch.setattr(width, "MOST_COLUMNS", 5)
    bring_in(pipeline, history.window(2))
    assert len(pipeline.change_log.columns()) == 5


def test_a_window_that_would_just_fill_the_most_columns_is_taken(history: History, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(width, "MOST_COLUMNS", 4)
    pipeline = history.opened("lake")
    bootstrap(pipeline)
    bring_in(pipeline, history.window(0))
    assert len(pipeline.change_log.columns()) == 4


@pytest.mark.parametrize("many", [2, 2_000])
def test_many_columns_are_warned_of_once_a_step(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
):
    assert width.MANY_COLUMNS == 2_000
    monkeypatch.setattr(width, "MANY_COLUMNS", many)
    cloud.create_table()
    for number in range(10):
        cloud.put(f"old {number}", number)
    advance_to(cloud, 0)
    cloud.put("new", 1)
    advance_to(cloud, 2)
    with lake_at(cloud, tmp_path) as lake:
        runs = [lake.bootstrap(), lake.materialise(quarter(0))]
        steps = [(runs[0], "initial_items"), (runs[0], "initial_table"), (runs[1], "decoded_items")]
        told = [metadata_of(run, step) for run, step in steps]
        columns = len(lake.pipeline.change_log.columns())
        said = [
            entry.user_message
            for run in runs
            for entry in lake.instance.all_logs(run.run_id)
            if entry.level == logging.WARNING and "`keep` or `drop`" in entry.user_message
        ]
    assert [each["columns"] for each in told] == [columns] * 3
    assert said == [each["many_columns"] for each in told if "many_columns" in each]
    assert len(said) == (3 if many == 2 else 0)
    assert all(f"has {columns} columns" in each and "one map attribute" in each for each in said)
