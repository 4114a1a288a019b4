"""Replacing windows of the change log: exactly them, at once, and nothing by halves."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from pyroaring import BitMap64

from ddb_lake.replica import ChangeLog, Column, Location
from ddb_lake.replica import change_log as module
from ddb_lake.replica.delta_log import Note, Operation, TableProtocol, write_commit
from ddb_lake.replica.delta_log.deletion_vectors import write_vectors
from ddb_lake.replica.errors import InvalidFrame, NotDecoded
from ddb_lake.windows import Window
from ddb_lake_tests.replica.faulty import Crash, Fault, FaultyStore, Moment
from ddb_lake_tests.replica.histories import (
    COLUMNS,
    TABLE_ID,
    Change,
    change_frame,
    delete,
    exported,
    lake,
    minute,
    put,
    told,
    window,
)

HOUR = [put("a", 1, "1"), put("b", 14.99, "2"), put("c", 15, "3"), delete("d", 29), put("e", 59, "4")]


def values(log: ChangeLog, span: Window) -> list[tuple[str, str | None]]:
    return sorted(log.read(span).select("id", "value").iter_rows())


def test_changes_are_read_back_as_they_were_written(tmp_path: Path):
    tables = lake(tmp_path)
    tables.decode(window(0, 60), HOUR)
    read = tables.log.read(window(0, 60)).sort("_write_time_us")
    assert read.equals(change_frame(HOUR))
    assert read.schema == change_frame([]).schema


@pytest.mark.parametrize(
    ("span", "seen"),
    [
        (window(0, 15), "ab"),
        (window(15, 30), "cd"),
        (window(30, 45), ""),
        (window(0, 60), "abcde"),
        (window(1, 15), "ab"),
        (window(2, 15), "b"),
        (window(0, 1), ""),
        (window(20, 60), "de"),
    ],
    ids=str,
)
def test_a_window_holds_what_was_written_in_it(tmp_path: Path, span: Window, seen: str):
    tables = lake(tmp_path)
    tables.decode(window(0, 60), HOUR)
    assert "".join(key for key, _ in values(tables.log, span)) == seen


def test_changes_lie_in_the_partition_of_their_quarter_hour_and_export(tmp_path: Path):
    tables = lake(tmp_path)
    tables.decode(window(0, 60), HOUR)
    rows = pl.read_delta(tables.log.location.uri).select("_window", "_export", "id").sort("id").rows()
    assert {export for _, export, _ in rows} == {"2026-11-24T18:00:00Z/2026-11-24T19:00:00Z"}
    assert [(quarter, key) for quarter, _, key in rows] == [
        ("2026-11-24-18:00", "a"),
        ("2026-11-24-18:00", "b"),
        ("2026-11-24-18:15", "c"),
        ("2026-11-24-18:15", "d"),
        ("2026-11-24-18:45", "e"),
    ]


@pytest.mark.parametrize(
    ("span", "changes", "left"),
    [
        (window(0, 60), [], ["x"]),
        (window(0, 60), [put("new", 16, "5")], ["new", "x"]),
        (window(0, 60), HOUR, ["a", "b", "c", "d", "e", "x"]),
        (window(16, 17), [], ["a", "b", "c", "d", "e"]),
        (window(16, 17), [put("new", 16, "5")], ["a", "b", "c", "d", "e", "new"]),
        (window(15, 30), [], ["a", "b", "c", "d", "e", "x"]),
        (window(5, 25), [put("new", 6, "5"), put("newer", 24, "6")], ["a", "b", "c", "d", "e", "new", "newer", "x"]),
    ],
    ids=str,
)
def test_a_replacement_replaces_exactly_the_export_of_its_window(
    tmp_path: Path, span: Window, changes: list[Change], left: list[str]
):
    tables = lake(tmp_path)
    tables.decode(window(0, 60), HOUR)
    tables.decode(window(16, 17), [put("x", 16.5, "6")])
    version = DeltaTable(tables.log.location.uri).version()
    done = tables.log.replace(span, [change_frame(changes)])
    assert [key for key, _ in values(tables.log, window(0, 60))] == left
    assert done.version == version + 1 == DeltaTable(tables.log.location.uri).version()
    assert done.changes == len(changes)
    assert tables.log.coverage() == (window(0, 60),)
    assert tables.log.spans() == tuple(sorted({window(0, 60), window(16, 17), span}))


def test_a_replacement_leaves_other_exports_files_alone(tmp_path: Path):
    tables = lake(tmp_path)
    tables.decode(window(0, 60), HOUR)
    tables.decode(window(15, 30), HOUR[2:4])
    before = set(DeltaTable(tables.log.location.uri).file_uris())
    tables.log.replace(window(15, 30), [])
    after = set(DeltaTable(tables.log.location.uri).file_uris())
    assert after < before
    assert len(before - after) == 1


def test_the_counts_are_those_of_the_window(tmp_path: Path):
    tables = lake(tmp_path)
    tables.log.add_columns(COLUMNS)
    done = tables.log.replace(window(0, 60), [change_frame(HOUR[:2]), change_frame([]), change_frame(HOUR[2:])])
    assert (done.changes, done.deletes, done.partitions) == (5, 1, 3)
    assert done.size > 0


def test_a_window_without_changes_is_covered_even_in_a_new_log(tmp_path: Path):
    log = lake(tmp_path).log
    assert (log.columns(), log.coverage()) == ((), ())
    log.replace(window(0, 15), [])
    assert log.coverage() == (window(0, 15),)
    assert log.columns() == ()
    assert log.read(window(0, 15)).height == 0


def test_what_was_not_decoded_is_not_read_as_empty(tmp_path: Path):
    tables = lake(tmp_path)
    with pytest.raises(NotDecoded):
        tables.log.read(window(0, 15))
    tables.decode(window(0, 15), HOUR[:2])
    with pytest.raises(NotDecoded, match=r"\[2026-11-24T18:15:00Z, 2026-11-24T18:20:00Z\)"):
        tables.log.read(window(10, 20))


def test_changes_of_another_window_are_refused_with_their_number_and_an_example(tmp_path: Path):
    tables = lake(tmp_path)
    tables.decode(window(0, 15), HOUR[:2])
    version = DeltaTable(tables.log.location.uri).version()
    files = sorted(tmp_path.rglob("*.parquet"))
    with pytest.raises(InvalidFrame, match=r"3 of 5 changes were not written in the window.*Z \(\d+ µs\)"):
        tables.log.replace(window(0, 15), [change_frame(HOUR[:3]), change_frame(HOUR[3:])])
    assert DeltaTable(tables.log.location.uri).version() == version
    assert sorted(tmp_path.rglob("*.parquet")) == files, "what was written on the way is cleared away"


def test_the_windows_end_itself_is_outside(tmp_path: Path):
    tables = lake(tmp_path)
    with pytest.raises(InvalidFrame, match="1 of 1"):
        tables.decode(window(0, 15), [put("a", 15, "1")])


def test_a_source_that_breaks_off_changes_nothing(tmp_path: Path):
    tables = lake(tmp_path)
    tables.decode(window(0, 15), HOUR[:2])

    def broken() -> Iterator[pl.DataFrame]:
        yield change_frame([put("new", 1, "9")])
        raise OSError("the export's file ends early")

    with pytest.raises(OSError, match="ends early"):
        tables.log.replace(window(0, 15), broken())
    assert [key for key, _ in values(tables.log, window(0, 15))] == ["a", "b"]


FRAME = change_frame([put("a", 1, "1")])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.with_columns(pl.lit(1.75).alias("seq")), r"'seq' is Float64, not Int64"),
        (FRAME.with_columns(pl.lit(1, pl.Int32).alias("_tie_break")), r"'_tie_break' is Int32, not Int64"),
        (FRAME.with_columns(pl.lit("x").alias("unheard")), r"\['unheard'\] are not in the table"),
        (FRAME.drop("_deleted"), r"every row needs the columns \['_deleted'\]"),
        (FRAME.with_columns(pl.lit(None, pl.Int64).alias("_key_hash")), "1 of 1 rows have no _key_hash"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_frames_unlike_the_table_are_refused_before_delta_can_cast_them(
    tmp_path: Path, frame: pl.DataFrame, message: str
):
    tables = lake(tmp_path)
    tables.log.add_columns(COLUMNS)
    with pytest.raises(InvalidFrame, match=message):
        tables.log.replace(window(0, 15), [frame])
    assert tables.log.coverage() == ()


def test_attributes_that_a_frame_does_not_have_are_null(tmp_path: Path):
    tables = lake(tmp_path)
    tables.log.add_columns([*COLUMNS, Column("late", pl.Boolean(), told("late", "bool"))])
    tables.log.replace(window(0, 15), [change_frame([put("a", 1, "1")])])
    assert tables.log.read(window(0, 15))["late"].to_list() == [None]


def test_large_exports_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FILE_ROWS", 10)
    tables = lake(tmp_path)
    tables.log.add_columns(COLUMNS)
    history = [put(f"{number:03}", number / 10, "x") for number in range(300)]
    done = tables.log.replace(window(0, 30), (change_frame(history[n : n + 7]) for n in range(0, 300, 7)))
    assert done.changes == 300
    assert done.files > 20
    assert values(tables.log, window(0, 30)) == [(each.key.id, "x") for each in history]


def test_windows_with_fractions_of_seconds_keep_their_bounds(tmp_path: Path):
    tables = lake(tmp_path)
    first = Window(minute(0), minute(7).replace(microsecond=500))
    second = Window(first.end, minute(15))
    history = [Change(put("a", 0, "").key, first.end_us - 1, "1"), Change(put("b", 0, "").key, first.end_us, "2")]
    for span in (second, first, second):
        tables.decode(span, exported(history, span))
    assert values(tables.log, first) == [("a", "1")]
    assert values(tables.log, second) == [("b", "2")]
    assert tables.log.coverage() == (window(0, 15),)


def test_a_log_reads_only_the_partitions_of_the_window(tmp_path: Path):
    tables = lake(tmp_path)
    tables.decode(window(0, 60), HOUR)
    for file in tmp_path.rglob("_window=2026-11-24-18%3A15/*/*.parquet"):
        file.unlink()
    assert [key for key, _ in values(tables.log, window(0, 15))] == ["a", "b"]
    with pytest.raises(Exception, match=r"18%3A15"):
        tables.log.read(window(15, 30))


def test_a_log_reads_alike_once_there_is_a_checkpoint_and_others_have_compacted_it(tmp_path: Path):
    tables = lake(tmp_path)
    tables.decode(window(0, 60), HOUR)
    tables.decode(window(16, 17), [put("x", 16.5, "6")])
    DeltaTable(tables.log.location.uri).create_checkpoint()
    late = Column("late", pl.Int64(), told("late", "int64"))
    tables.log.add_columns([late])
    tables.log.replace(window(16, 17), [change_frame([put("y", 16.5, "7")])])  # whose file the checkpoint tells of
    tables.log.replace(window(60, 75), [change_frame([put("z", 61, "8")]).with_columns(late=pl.lit(5, pl.Int64()))])
    everything = [("a", "1"), ("b", "2"), ("c", "3"), ("d", None), ("e", "4"), ("y", "7"), ("z", "8")]
    for work in (
        lambda table: None,
        lambda table: table.optimize.compact(),
        lambda table: table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False),
        lambda table: table.create_checkpoint(),
    ):
        work(DeltaTable(tables.log.location.uri))
        assert values(tables.log, window(0, 75)) == everything
        read = tables.log.read(window(0, 75))
        assert dict(read.select("id", "late").rows()) == {**dict.fromkeys("abcdey"), "z": 5}
        by_others = pl.read_delta(tables.log.location.uri).select(read.columns)
        assert by_others.sort("id").equals(read.sort("id"))
    assert [key for key, _ in values(tables.log, window(60, 75))] == ["z"]


def test_rows_of_a_log_that_another_tool_has_marked_as_deleted_are_not_read(tmp_path: Path):
    tables = lake(tmp_path)
    tables.decode(window(0, 15), HOUR[:2])
    snapshot = tables.log.snapshot().table
    assert snapshot is not None
    (file,) = snapshot.files.values()
    vectors, _ = write_vectors(tables.log.store, {"": BitMap64([0])})
    marked = replace(file, deletion_vector=vectors[""])
    actions = [
        TableProtocol(3, 7, ("deletionVectors",), ("appendOnly", "deletionVectors", "invariants")).to_json(),
        file.remove(0, data_change=True),
        marked.add(data_change=True),
    ]
    write_commit(tables.log.store, snapshot.number + 1, actions, Note("", {}), Operation("DELETE"))
    assert values(tables.log, window(0, 15)) == [("b", "2")]
    by_delta_rs = DeltaTable(tables.log.location.uri).scan(columns=["id"])
    assert [key for block in by_delta_rs for key in pl.DataFrame(block)["id"]] == ["b"]
    tables.log.replace(window(0, 15), [change_frame(HOUR[:1])])
    assert values(tables.log, window(0, 15)) == [("a", "1")]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("error", [Crash("dead"), TimeoutError("no answer")], ids=repr)
@pytest.mark.parametrize("new", [False, True], ids=["an export more", "the first export"])
def test_a_log_survives_a_fault_at_any_step_of_an_export(
    tmp_path: Path, moment: Moment, error: BaseException, *, new: bool
):
    for step in itertools.count():
        tables = lake(tmp_path / f"{step}")
        if not new:
            tables.decode(window(0, 60), HOUR)
        before = [] if new else values(tables.log, window(0, 60))
        store = FaultyStore(tables.log.location, Fault(step, moment, error))
        log = ChangeLog(tables.log.location, TABLE_ID, store)
        with contextlib.suppress(Crash, OSError):
            log.add_columns(COLUMNS)
            log.replace(window(0, 60), [change_frame(HOUR[1:4])])
        after = values(tables.log, window(0, 60)) if tables.log.coverage() else []
        assert after in (before, [("b", "2"), ("c", "3"), ("d", None)])
        tables.decode(window(0, 60), HOUR[1:4])
        assert values(tables.log, window(0, 60)) == [("b", "2"), ("c", "3"), ("d", None)]
        if store.count <= step:
            assert step >= 3, "a file of each quarter-hour, and the commit"
            break


def test_an_export_that_is_committed_twice_is_there_once(tmp_path: Path):
    tables = lake(tmp_path)
    tables.log.add_columns(COLUMNS)
    staged = tables.log.stage(window(0, 60), [change_frame(HOUR)])
    for _ in range(2):
        tables.log.commit(staged)
        assert len(values(tables.log, window(0, 60))) == len(HOUR)
    commit = sorted((Path(tables.log.location.uri) / "_delta_log").glob("*.json"))[-1].read_text()
    assert '"add"' not in commit
    assert '"remove"' not in commit


def test_a_log_at_a_location_is_named_by_its_errors(tmp_path: Path):
    log = ChangeLog(Location(str(tmp_path / "orders")), "id")
    with pytest.raises(NotDecoded, match="orders has no changes of"):
        log.read(window(0, 15))


def parquet_files(location: Location) -> list[Path]:
    return list(Path(location.uri).glob("**/*.parquet"))


def test_staged_changes_are_seen_once_they_are_committed_and_gone_once_they_are_discarded(tmp_path: Path):
    tables = lake(tmp_path)
    tables.decode(window(0, 15), [])
    version = DeltaTable(tables.log.location.uri).version()
    staged = tables.log.stage(window(15, 60), iter([change_frame(HOUR[2:])]))
    assert (staged.changes, staged.deletes) == (3, 1)
    assert DeltaTable(tables.log.location.uri).version() == version
    assert tables.log.coverage() == (window(0, 15),)
    other = tables.log.stage(window(15, 60), iter([change_frame(HOUR[2:4])]))
    tables.log.discard(other)
    assert len(parquet_files(tables.log.location)) == len(staged.files)
    assert tables.log.commit(staged).changes == 3
    assert values(tables.log, window(0, 60)) == [("c", "3"), ("d", None), ("e", "4")]


def test_old_images_are_kept_from_when_they_are_asked_for(tmp_path: Path):
    tables = lake(tmp_path)
    tables.decode(window(0, 15), HOUR[:1])
    with_old = change_frame(HOUR[2:3]).with_columns(pl.lit("{}").alias("_old_image"))
    with pytest.raises(InvalidFrame, match="_old_image"):
        tables.log.replace(window(15, 30), [with_old])
    for _ in range(2):
        tables.log.replace(window(15, 30), [with_old], old_images=True)
    tables.log.replace(window(30, 60), [change_frame(HOUR[4:])])
    rows = pl.read_delta(tables.log.location.uri).sort("id").select("id", "_old_image").rows()
    assert rows == [("a", None), ("c", "{}"), ("e", None)]
    assert "_old_image" not in {column.name for column in tables.log.columns()}
    assert "_old_image" not in tables.log.read(window(0, 60)).columns


def test_old_images_can_be_asked_for_before_there_is_a_table(tmp_path: Path):
    log = ChangeLog(Location(str(tmp_path / "log")), "id")
    log.replace(window(0, 15), [], COLUMNS, old_images=True)
    assert "_old_image" in pl.read_delta(log.location.uri).columns
    assert log.columns() == COLUMNS
