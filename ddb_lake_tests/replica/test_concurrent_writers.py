"""Writers that meet lose nothing: the one that comes second plans again on what the first has left."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import polars as pl
import pytest
from deltalake import DeltaTable

from ddb_lake.replica import ChangeLog, Column, Replica
from ddb_lake.replica import table as module
from ddb_lake.replica.change_log import ChangeLogSnapshot
from ddb_lake.replica.errors import SchemaConflict, TooManyConflicts
from ddb_lake_tests.replica.histories import (
    COLUMNS,
    TABLE_ID,
    Key,
    Lake,
    change_frame,
    delete,
    lake,
    minute,
    put,
    told,
    window,
)

Result = TypeVar("Result")


class InterruptedLog(ChangeLog):
    """A change log that lets another writer in after a replica has loaded its snapshot, before it commits."""

    def __init__(self, log: ChangeLog, interruptions: list[Callable[[], object]]) -> None:
        super().__init__(log.location, log.table_id)
        self.interruptions = interruptions

    def snapshot(self) -> ChangeLogSnapshot:
        if self.interruptions:
            self.interruptions.pop(0)()
        return super().snapshot()


def interrupted(tables: Lake, *interruptions: Callable[[], object]) -> Replica:
    log = InterruptedLog(tables.log, list(interruptions))
    return Replica(tables.replica.location, TABLE_ID, log)


def at_once(*works: Callable[[], Result]) -> list[Result]:
    """Run each work in a thread of its own, all let go at the same moment."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], Result]) -> Result:
        barrier.wait(timeout=30)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(run, work) for work in works]]


def test_a_window_that_comes_second_is_planned_again_on_the_first(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0", Key("b"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1"), put("b", 1, "1")])
    tables.decode(window(15, 30), [delete("a", 20), put("c", 20, "2")])
    done = interrupted(tables, lambda: tables.replica.apply(window(15, 30))).apply(window(0, 15))
    assert tables.items() == {Key("b"): "1", Key("c"): "2"}, "the older put of a is beaten by the delete"
    assert tables.replica.coverage() == (window(0, 30),)
    assert (done.updated, done.ignored) == (1, 1)


def test_a_window_without_effect_does_not_hide_one_that_came_first(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [])
    tables.decode(window(15, 30), [put("a", 20, "2")])
    interrupted(tables, lambda: tables.replica.apply(window(15, 30))).apply(window(0, 15))
    assert tables.items() == {Key("a"): "2"}
    assert tables.replica.coverage() == (window(0, 30),)


def test_a_bootstrap_that_comes_first_is_built_upon(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1")])
    tables.decode(window(5, 15), [])
    tables.stage({Key("a"): "5"}, "02-export", minute(5))
    interrupted(tables, lambda: tables.replica.commit_bootstrap("02-export")).apply(window(0, 15))
    assert tables.items() == {Key("a"): "5"}
    assert tables.replica.coverage() == (window(5, 15),)


def test_maintenance_by_another_tool_is_planned_around(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0", Key("b"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1")])

    def compact() -> None:
        assert DeltaTable(tables.replica.location.uri).optimize.compact()["numFilesRemoved"] == 2

    interrupted(tables, compact).apply(window(0, 15))
    assert tables.items() == {Key("a"): "1", Key("b"): "0"}
    assert tables.replica.coverage() == (window(0, 15),)


def test_columns_that_came_meanwhile_are_taken_along(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.log.add_columns([Column("late", pl.String(), told("late", "string"))])
    tables.decode(window(0, 15), [put("a", 1, "1")])
    tables.decode(window(15, 30), [put("b", 20, "1")])
    interrupted(tables, lambda: tables.replica.apply(window(15, 30))).apply(window(0, 15))
    assert tables.items() == {Key("a"): "1", Key("b"): "1"}
    assert tables.replica.columns() == tables.log.columns()


def test_a_writer_that_never_comes_first_gives_up_with_nothing_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "TRIES", 3)
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "mine")])
    tables.decode(window(15, 30), [])
    rival = interrupted(tables, *[lambda: tables.replica.apply(window(15, 30))] * 3)
    with pytest.raises(TooManyConflicts, match="3 times in a row; nothing was committed"):
        rival.apply(window(0, 15))
    assert tables.items() == {Key("a"): "0"}
    assert tables.replica.coverage() == (window(15, 30),)


def test_a_decoder_that_comes_second_commits_the_files_it_has_written(tmp_path: Path):
    tables = lake(tmp_path)
    tables.log.add_columns(COLUMNS)
    passes = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal passes
        passes += 1
        yield change_frame([put("a", 16, "1")])
        tables.decode(window(0, 20), [put("b", 1, "1"), put("other", 17, "1")])

    tables.log.replace(window(15, 30), frames())
    assert passes == 1, "an export is read once"
    assert sorted(tables.log.read(window(0, 30))["id"]) == ["a", "b", "other"]
    assert tables.log.spans() == (window(0, 20), window(15, 30))
    assert tables.log.coverage() == (window(0, 30),)


def test_columns_are_learned_again_when_another_writer_gave_the_attribute_another_type(tmp_path: Path):
    tables = lake(tmp_path)
    tables.log.add_columns(COLUMNS)
    columns: list[Column] = [
        Column("n", dtype, told("n", arm)) for dtype, arm in [(pl.Int64(), "int64"), (pl.String(), "string")]
    ]

    def add(column: Column) -> str:
        try:
            lake(tmp_path).log.add_columns([column])
        except SchemaConflict:
            return "conflict"
        return "added"

    assert sorted(at_once(*[lambda column=column: add(column) for column in columns])) == ["added", "conflict"]
    assert tables.log.columns()[-1] in columns


def test_columns_that_agree_are_all_added_by_writers_that_meet(tmp_path: Path):
    late = [Column(f"late{number}", pl.String(), told(f"late{number}", "string")) for number in range(4)]
    at_once(*[lambda column=column: lake(tmp_path).log.add_columns([*COLUMNS, column]) for column in late])
    assert {each.name for each in lake(tmp_path).log.columns()} == {each.name for each in [*COLUMNS, *late]}


def test_decoders_and_replicas_that_run_at_once_lose_nothing(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("all"): "0"})
    spans = [window(15 * number, 15 * number + 15) for number in range(6)]

    def work(number: int) -> int:
        mine = lake(tmp_path)
        mine.decode(spans[number], [put("all", 15 * number + 1, str(number)), put(f"own{number}", 15 * number, "1")])
        return mine.replica.apply(spans[number]).changes

    assert at_once(*[lambda number=number: work(number) for number in range(6)]) == [2] * 6
    assert tables.items() == {Key("all"): "5"} | {Key(f"own{number}"): "1" for number in range(6)}
    assert tables.replica.coverage() == tables.log.coverage() == (window(0, 90),)


def test_of_two_bootstraps_that_create_the_table_at_once_both_end_in_the_same_state(tmp_path: Path):
    lake(tmp_path).stage({Key("a"): "0"})
    done = at_once(*[lambda: lake(tmp_path).replica.commit_bootstrap("01-export").outcome] * 3)
    assert sorted(done) == ["already_committed", "already_committed", "created"]
    assert lake(tmp_path).items() == {Key("a"): "0"}
