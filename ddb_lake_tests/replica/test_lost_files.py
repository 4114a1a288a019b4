"""A file that is lost is noticed by the maintenance, with what brings it back; the change log is vacuumed."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ddb_lake.replica import Location
from ddb_lake.replica.errors import (
    BothFailed,
    DamagedDataFile,
    LostFiles,
    NotDecoded,
    StagedBootstrapMissing,
    StorageFailed,
)
from ddb_lake.replica.strategy import Strategy
from ddb_lake_tests.replica.faulty import Fault, FaultyStore
from ddb_lake_tests.replica.histories import Key, Lake, change_frame, delete, exported, lake, minute, put, window

ITEMS = {Key(f"k{number}"): "0" for number in range(10)}

HISTORY = [
    change
    for number in range(6)
    for change in (
        put(f"new{number}", 15 * number, "1"),
        put(f"k{number}", 15 * number + 1, f"{number}"),
        delete(f"k{9 - number}", 15 * number + 2),
    )
]

WINDOWS = [window(15 * number, 15 * number + 15) for number in range(6)]


def grown(tmp_path: Path) -> tuple[Lake, dict[Key, str]]:
    """A replica of some windows, and what it holds."""
    tables = lake(tmp_path)
    tables.bootstrap(ITEMS)
    for span in WINDOWS:
        tables.decode(span, exported(HISTORY, span, ITEMS))
        tables.replica.apply(span)
    return tables, tables.items()


def data_files(location: Location) -> list[Path]:
    """The data files that the newest version names, the largest first."""
    paths = [Path(location.uri) / path for path in DeltaTable(location.uri).file_uris()]
    return sorted(paths, key=lambda path: -path.stat().st_size)


def remove(path: Path) -> None:
    path.unlink()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [remove, cut_off])
def test_a_lost_data_file_of_a_replica_fails_the_maintenance_and_the_initial_load_brings_it_back(
    tmp_path: Path, damage: Callable[[Path], None]
):
    tables, items = grown(tmp_path)
    assert tables.replica.maintain().lost == ()
    lost = data_files(tables.replica.location)[0]
    damage(lost)
    said = "is gone" if damage is remove else "bytes instead of"
    for _ in range(2):
        with pytest.raises(LostFiles, match=rf"replica: .*{lost.name}.* {said}") as raised:
            tables.replica.maintain()
        assert "materialise initial_items and initial_table again" in str(raised.value)
        assert "the state of 2026-11-24T18:00:00Z" in str(raised.value)
    # The remedy, as it says.
    tables.stage(ITEMS)
    assert tables.replica.commit_bootstrap("01-export").outcome == "replaced"
    assert tables.replica.coverage() == ()
    for span in WINDOWS:
        tables.replica.apply(span)
    assert tables.items() == items
    assert tables.replica.coverage() == (window(0, 90),)
    assert tables.replica.maintain().lost == ()


def test_a_window_that_meets_a_lost_file_by_merge_says_what_to_do(tmp_path: Path):
    tables = lake(tmp_path, strategy=Strategy.COPY_ON_WRITE)
    tables.bootstrap(ITEMS)
    tables.decode(WINDOWS[0], exported(HISTORY, WINDOWS[0], ITEMS))
    remove(data_files(tables.replica.location)[0])
    with pytest.raises(StorageFailed, match=r"changed by delta-rs: .* materialise the table's maintenance"):
        tables.replica.apply(WINDOWS[0])
    assert tables.replica.coverage() == ()


def test_the_initial_load_has_to_be_staged_again_before_it_replaces_a_damaged_replica(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({**ITEMS, Key("another"): "0"})
    tables.decode(window(0, 15), [put("late", 1, "1")])
    tables.replica.apply(window(0, 15))
    newest = max(data_files(tables.replica.location), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    with pytest.raises(StagedBootstrapMissing):
        tables.replica.commit_bootstrap("01-export")
    tables.stage({**ITEMS, Key("another"): "0"})
    assert tables.replica.commit_bootstrap("01-export").outcome == "replaced"
    assert tables.items() == {**ITEMS, Key("another"): "0"}


@pytest.mark.parametrize(
    ("removed", "named"),
    [
        ("_window = '2026-11-24-18:15'", r"\[2026-11-24T18:15:00Z, 2026-11-24T18:30:00Z\)"),
        ("_window > '2026-11-24-18:15'", r"\[2026-11-24T18:30:00Z, 2026-11-24T19:30:00Z\)"),
    ],
)
def test_the_initial_load_replaces_no_damaged_replica_whose_windows_could_not_be_applied_again(
    tmp_path: Path, removed: str, named: str
):
    tables, items = grown(tmp_path)
    DeltaTable(tables.log.location.uri).delete(removed)
    data_files(tables.replica.location)[0].unlink()
    tables.stage(ITEMS)
    held = tables.replica.version(), tables.replica.coverage()
    with pytest.raises(NotDecoded, match=rf"no longer has all changes of {named}, .* materialise initial_table"):
        tables.replica.commit_bootstrap("01-export")
    assert (tables.replica.version(), tables.replica.coverage()) == held
    for span in WINDOWS:
        tables.decode(span, exported(HISTORY, span, ITEMS))
    assert tables.replica.commit_bootstrap("01-export").outcome == "replaced"
    for span in WINDOWS:
        tables.replica.apply(span)
    assert tables.items() == items


def test_what_was_staged_to_repair_a_damaged_replica_outlives_the_vacuum(tmp_path: Path):
    tables, items = grown(tmp_path)
    tables.stage(ITEMS)
    data_files(tables.replica.location)[0].unlink()
    aged(tables.replica.location, 30)
    with pytest.raises(LostFiles):
        tables.replica.maintain()
    assert tables.replica.commit_bootstrap("01-export").outcome == "replaced"
    for span in WINDOWS:
        tables.replica.apply(span)
    assert tables.items() == items


def test_a_damaged_replica_takes_a_later_initial_load_whatever_the_change_log_lacks(tmp_path: Path):
    tables, items = grown(tmp_path)
    DeltaTable(tables.log.location.uri).delete()
    data_files(tables.replica.location)[0].unlink()
    tables.stage(items, "02-export", minute(90))
    assert tables.replica.commit_bootstrap("02-export").outcome == "replaced"
    assert tables.items() == items


def test_where_the_maintenance_of_both_tables_fails_both_errors_are_reported(tmp_path: Path):
    tables, _ = grown(tmp_path)
    for table, name, number in ((tables.replica, "the replica", 1), (tables.log, "the change log", 0)):
        error = StorageFailed(f"{name} can't be listed")
        table.store = FaultyStore(table.location, Fault(number, "before", error, frozenset({"names"})))
    with pytest.raises(BothFailed, match=r"the replica can't be listed.*the change log can't be listed") as raised:
        tables.replica.maintain()
    assert "the replica can't be listed" in str(raised.value.__cause__)


def test_a_whole_replica_keeps_its_windows_when_the_initial_load_is_repeated(tmp_path: Path):
    tables, items = grown(tmp_path)
    tables.stage(ITEMS)
    assert tables.replica.commit_bootstrap("01-export").outcome == "already_committed"
    assert tables.items() == items


@pytest.mark.parametrize("damage", [remove, cut_off])
def test_a_lost_deletion_vector_fails_the_maintenance_and_the_initial_load_brings_it_back(
    tmp_path: Path, strategy: Strategy, damage: Callable[[Path], None]
):
    if strategy is not Strategy.DELETION_VECTORS:
        pytest.skip("of deletion vectors alone")
    tables, items = grown(tmp_path)
    newest = max((Path(tables.replica.location.uri) / "_dv").rglob("*.bin"), key=lambda path: path.stat().st_mtime_ns)
    damage(newest)
    with pytest.raises(LostFiles, match=rf"{newest.name}"):
        tables.replica.maintain()
    tables.stage(ITEMS)
    tables.replica.commit_bootstrap("01-export")
    for span in WINDOWS:
        tables.replica.apply(span)
    assert tables.items() == items
    assert tables.replica.maintain().lost == ()


@pytest.mark.parametrize("damage", [remove, cut_off])
def test_a_lost_file_of_the_change_log_is_brought_back_by_the_window_that_the_maintenance_names(
    tmp_path: Path, damage: Callable[[Path], None]
):
    tables, _ = grown(tmp_path)
    lost = next(path for path in data_files(tables.log.location) if "18%3A30" in str(path) or "18:30" in str(path))
    damage(lost)
    with pytest.raises(LostFiles, match=rf"changes: .*{lost.name}") as raised:
        tables.replica.maintain()
    assert "decoded_items of [2026-11-24T18:30:00Z, 2026-11-24T18:45:00Z) again" in str(raised.value)
    assert "replica:" not in str(raised.value)
    if damage is remove:
        with pytest.raises((DamagedDataFile, FileNotFoundError)):
            tables.log.read(window(30, 45))
    tables.decode(window(30, 45), exported(HISTORY, window(30, 45), ITEMS))
    assert tables.log.read(window(30, 45)).height == 3
    assert tables.replica.maintain().lost == ()


def test_what_both_tables_have_lost_is_said_at_once_and_all_else_of_the_maintenance_is_done(tmp_path: Path):
    tables, _ = grown(tmp_path)
    stray = Path(tables.replica.location.uri) / "part-left-behind.parquet"
    stray.write_bytes(b"x")
    then = time.time() - 30 * 86400
    os.utime(stray, (then, then))
    for location in (tables.replica.location, tables.log.location):
        for path in data_files(location):
            path.unlink()
    with pytest.raises(LostFiles, match=r"replica: .* and .*changes: .* 2 more|changes: .* and 1 more") as raised:
        tables.replica.maintain()
    assert str(raised.value).endswith("All else of the maintenance is done")
    assert not stray.exists()


def aged(location: Location, days: float) -> None:
    then = time.time() - days * 86400
    for path in Path(location.uri).rglob("*"):
        if path.is_file() and "_delta_log" not in path.parts:
            os.utime(path, (then, then))


def changes_in(location: Location) -> set[Path]:
    folder = Path(location.uri)
    return {path for path in folder.rglob("*.parquet") if "_delta_log" not in path.parts}


def set_retention(location: Location, interval: str) -> None:
    DeltaTable(location.uri).alter.set_table_properties({"delta.deletedFileRetentionDuration": interval})


def vacuumed(tables: Lake) -> int:
    report = tables.replica.maintain()
    assert report.change_log is not None
    return report.change_log.vacuumed.files


def test_the_change_log_loses_what_was_replaced_or_left_behind_once_it_is_old(tmp_path: Path):
    tables, _ = grown(tmp_path)
    location = tables.log.location
    live = set(data_files(location))
    broken_off = tables.log.stage(window(90, 105), [change_frame([put("x", 91, "1")])])
    tables.decode(window(0, 15), exported(HISTORY, window(0, 15), ITEMS))
    replaced = {path for path in live if path not in set(data_files(location))}
    assert len(replaced) == 1
    rows = tables.log.read(window(0, 90))
    set_retention(location, "interval 1 hours")
    assert vacuumed(tables) == 0, "all is young"
    aged(location, 0.5)
    assert vacuumed(tables) == 0, "a staging may take half a day, whatever the property says"
    aged(location, 3)
    set_retention(location, "interval 2 days")
    assert vacuumed(tables) == len(broken_off.files), "the version before is within the retention"
    assert replaced < changes_in(location)
    make_older(location, days=3)
    assert vacuumed(tables) == 1
    assert changes_in(location) == set(data_files(location))
    assert tables.log.read(window(0, 90)).equals(rows)


def test_a_staging_under_way_outlives_the_vacuum_of_the_change_log(tmp_path: Path):
    tables, _ = grown(tmp_path)
    set_retention(tables.log.location, "interval 0 seconds")
    staged = tables.log.stage(window(90, 105), [change_frame([put("x", 91, "1")])])
    assert vacuumed(tables) == 0
    tables.log.commit(staged)
    assert tables.log.read(window(90, 105)).height == 1


def test_other_files_beside_the_change_log_are_left_alone(tmp_path: Path):
    tables, _ = grown(tmp_path)
    for name in ("notes.txt", "_notes/old.parquet"):
        path = Path(tables.log.location.uri) / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    aged(tables.log.location, 30)
    assert vacuumed(tables) == 0


def make_older(location: Location, days: float) -> None:
    """Have the log say that what was removed was removed some days ago."""
    for path in (Path(location.uri) / "_delta_log").glob("*.json"):
        path.write_text("".join(_with_age(line, days) + "\n" for line in path.read_text().splitlines()))


def _with_age(line: str, days: float) -> str:
    action = json.loads(line)
    if "remove" in action:
        action["remove"]["deletionTimestamp"] -= int(days * 86_400_000)
    return json.dumps(action)
