"""Folds, vacuums and checkpoints change what a table costs, and never a row of it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from ddb_lake.replica import Column, Location, Replica
from ddb_lake.replica.delta_log import AddFile, DeletionVector, Note, Operation, write_commit
from ddb_lake.replica.errors import DamagedDataFile, NotBootstrapped, UnsupportedTable
from ddb_lake.replica.folding import FoldPolicy, plan_folds
from ddb_lake.replica.store import ObjectTableStore
from ddb_lake.replica.strategy import Strategy
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
from ddb_lake_tests.replica.readers import read_by_all

NAMES = ["_key_hash", "_write_time_us", "_tie_break", "id", "seq", "seq__decimal", "value"]

EAGER = FoldPolicy(target_rows=1000, fan=2, dead_share=0.3, class_ratio=2)
"""Folds whatever it may."""


@pytest.fixture
def vectors(strategy: Strategy) -> None:
    if strategy is not Strategy.DELETION_VECTORS:
        pytest.skip("of deletion vectors alone")


def file(name: str, rows: int, dead: int = 0, **partition: str) -> AddFile:
    vector = DeletionVector("u", "x", 1, dead, 1) if dead else None
    return AddFile(name, 1, 0, partition, f'{{"numRecords":{rows}}}', vector)


def large(name: str, rows: int, dead: int = 0) -> AddFile:
    """A file of 300 MB."""
    return replace(file(name, rows, dead), size=300_000_000)


@dataclass(frozen=True)
class Case:
    told: str
    files: list[AddFile]
    folds: list[set[str]]


POLICY = FoldPolicy(target_rows=1000, fan=3, dead_share=0.4, class_ratio=3)

CASES = [
    Case("a full file without dead rows is left alone", [file("a", 1000), file("b", 250)], []),
    Case("small files wait for their class to fill", [file("a", 10), file("b", 12)], []),
    Case("a full class is folded", [file("a", 10), file("b", 12), file("c", 14)], [{"a", "b", "c"}]),
    Case("other classes are not mixed in", [file("a", 10), file("b", 12), file("c", 200)], []),
    Case("a full file with few dead rows is left alone", [file("a", 1000, 399)], []),
    Case("a full file with many dead rows is rewritten", [file("a", 1000, 400)], [{"a"}]),
    Case("files with many dead rows go together", [file("a", 1000, 500), file("b", 900, 450)], [{"a", "b"}]),
    Case(
        "a fold fits into memory",
        [file(name, 1500, 600) for name in "abc"],
        [{"a"}, {"b"}, {"c"}],
    ),
    Case("partitions are apart", [file("a", 10, p="x"), file("b", 10, p="x"), file("c", 10, p="y")], []),
    Case("a small file of which most is dead does not wait", [file("a", 100, 80)], [{"a"}]),
    Case("a file of large items is full by its bytes", [large(name, 3) for name in "abcd"], []),
    Case(
        "large items fit into memory as well",
        [large(name, 3, 2) for name in "abc"],
        [{"a", "b"}, {"c"}],
    ),
    Case("a file of unknown size is left alone", [AddFile("a", 1, 0), file("b", 10), file("c", 10)], []),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.told)
def test_what_is_folded(case: Case):
    assert [set(fold.paths) for fold in plan_folds(case.files, POLICY)] == case.folds


def grown(tmp_path: Path, windows: int = 6) -> tuple[Lake, dict[Key, str]]:
    """A replica of some windows, each with an insert, an update and a delete."""
    tables = lake(tmp_path)
    items = {Key(f"k{number}"): "0" for number in range(10)}
    tables.bootstrap(items)
    for number in range(windows):
        at = 15 * number
        tables.decode(
            window(at, at + 15),
            [put(f"new{number}", at, "1"), put(f"k{number}", at + 1, f"{number}"), delete(f"k{9 - number}", at + 2)],
        )
        tables.replica.apply(window(at, at + 15))
        items[Key(f"new{number}")] = "1"
        items[Key(f"k{number}")] = f"{number}"
        items.pop(Key(f"k{9 - number}"), None)
    assert tables.items() == items
    return tables, items


def age(tables: Lake, days: float, *, log: bool = True) -> None:
    """Make all objects older than they are, as the file system tells; perhaps not those of the log."""
    then = time.time() - days * 86400
    for path in Path(tables.replica.location.uri).rglob("*"):
        if path.is_file() and (log or "_delta_log" not in path.parts):
            os.utime(path, (then, then))


def test_a_fold_keeps_every_row_and_the_coverage(tmp_path: Path, vectors: None):
    tables, items = grown(tmp_path)
    before = tables.replica.coverage()
    rows = read_by_all(tables.replica.location.uri, NAMES)
    report = tables.replica.maintain(EAGER)
    assert report.folded.folds >= 1
    assert report.live_rows == len(items)
    assert report.files <= 2
    assert read_by_all(tables.replica.location.uri, NAMES) == rows
    assert tables.items() == items
    assert tables.replica.coverage() == before
    newest = DeltaTable(tables.replica.location.uri).history(1)[0]
    assert newest["operation"] == "OPTIMIZE"


def test_a_fold_keeps_attributes_that_are_called_as_its_own_columns_may_be(tmp_path: Path, vectors: None):
    names = ["_folded_file", "_folded_row", "_fingerprint", "index"]
    tables = lake(tmp_path)
    columns = [*COLUMNS, *(Column(name, pl.String(), told(name, "string")) for name in names)]
    tables.log.add_columns(columns)
    tables.bootstrap({Key("a"): "0"})
    for number in range(3):
        span = window(15 * number, 15 * number + 15)
        values = {name: f"{name} {number}" for name in names}
        tables.log.replace(span, [change_frame([put(f"k{number}", 15 * number, "1")], columns, **values)])
        tables.replica.apply(span)
    rows = read_by_all(tables.replica.location.uri, [*NAMES, *names])
    assert tables.replica.maintain(EAGER).folded.folds >= 1
    assert read_by_all(tables.replica.location.uri, [*NAMES, *names]) == rows


def test_a_fold_tells_readers_that_no_row_has_changed(tmp_path: Path, vectors: None):
    tables, _ = grown(tmp_path)
    version = tables.replica.version()
    tables.replica.maintain(EAGER)
    commit = Path(tables.replica.location.uri) / "_delta_log" / f"{(version or 0) + 1:020}.json"
    text = commit.read_text()
    assert '"add"' in text
    assert '"dataChange":true' not in text
    assert text.count('"dataChange":false') > 2


def test_a_maintenance_with_nothing_to_do_does_nothing(tmp_path: Path):
    tables, items = grown(tmp_path)
    tables.replica.maintain(EAGER)
    version = tables.replica.version()
    report = tables.replica.maintain(EAGER)
    assert (report.folded.folds, report.checkpoint, report.vacuumed.files) == (0, False, 0)
    assert tables.replica.version() == version
    assert tables.items() == items


def test_maintenance_before_the_bootstrap_says_what_is_missing(tmp_path: Path):
    with pytest.raises(NotBootstrapped, match="commit the bootstrap"):
        lake(tmp_path).replica.maintain()


class Interrupted(ObjectTableStore):
    """Lets others act just before a commit of ours."""

    def __init__(self, location: Location, *interruptions: Callable[[], object]) -> None:
        super().__init__(location)
        self.interruptions = list(interruptions)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        if self.interruptions:
            self.interruptions.pop(0)()
        return super().put_if_absent(path, data)


def interrupted(tables: Lake, *interruptions: Callable[[], object]) -> Replica:
    location = tables.replica.location
    store = Interrupted(location, *interruptions)
    return Replica(location, TABLE_ID, tables.log, tables.replica.wanted_strategy, store=store)


def test_a_window_applied_during_a_fold_is_kept_by_it(tmp_path: Path, vectors: None):
    tables, items = grown(tmp_path)
    tables.decode(window(90, 105), [delete("new0", 91), put("new1", 92, "late"), put("k0", 93, "late")])
    tables.decode(window(105, 120), [delete("new2", 106)])
    report = interrupted(
        tables,
        lambda: tables.replica.apply(window(90, 105)),
        lambda: tables.replica.apply(window(105, 120)),
    ).maintain(EAGER)
    assert report.folded.folds >= 1
    assert report.folded.overtaken == 0
    items |= {Key("new1"): "late", Key("k0"): "late"}
    del items[Key("new0")], items[Key("new2")]
    assert tables.items() == items
    read_by_all(tables.replica.location.uri, NAMES)
    tables.replica.maintain(EAGER)
    assert tables.items() == items


@pytest.mark.parametrize("work", ["compact", "z_order"])
def test_an_optimize_of_delta_rs_that_was_planned_before_a_fold_is_refused(tmp_path: Path, vectors: None, work: str):
    tables, items = grown(tmp_path)
    stale = DeltaTable(tables.replica.location.uri)
    assert tables.replica.maintain(EAGER).folded.folds
    with pytest.raises(CommitFailedError):
        stale.optimize.compact() if work == "compact" else stale.optimize.z_order(["id"])
    assert tables.items() == items


def test_a_data_file_that_is_gone_keeps_nothing_but_its_own_fold_back(tmp_path: Path, vectors: None):
    tables, _ = grown(tmp_path)
    root = Path(tables.replica.location.uri)
    orphan = root / "part-orphan.parquet"
    orphan.write_bytes(b"left behind")
    rest = root / "_idx" / "part-orphan.parquet#1"
    rest.write_bytes(b"broken off")
    age(tables, 30, log=False)
    snapshot = tables.replica.snapshot()
    assert snapshot is not None
    fold = plan_folds(snapshot.files.values(), EAGER)[0]
    (root / snapshot.files[fold.paths[0]].object_path).unlink()
    with pytest.raises(DamagedDataFile, match="is gone"):
        tables.replica.maintain(EAGER)
    assert not orphan.exists()
    assert not rest.exists()
    assert list((root / "_delta_log").glob("*.checkpoint.parquet"))


def test_a_vacuum_leaves_young_files_whatever_the_property_says(tmp_path: Path, vectors: None):
    tables, _ = grown(tmp_path)
    DeltaTable(tables.replica.location.uri).alter.set_table_properties(
        {"delta.deletedFileRetentionDuration": "interval 0 seconds"}
    )
    before = objects(tables, "*.parquet")
    tables.replica.maintain(EAGER)
    assert before <= objects(tables, "*.parquet")


def test_a_fold_that_another_fold_overtakes_is_void(tmp_path: Path, vectors: None):
    tables, items = grown(tmp_path)
    report = interrupted(tables, lambda: tables.replica.maintain(EAGER)).maintain(EAGER)
    assert report.folded.overtaken >= 1
    assert tables.items() == items


def test_a_fold_that_a_restore_overtakes_is_void(tmp_path: Path, vectors: None):
    tables, _ = grown(tmp_path, windows=2)
    interrupted(tables, lambda: DeltaTable(tables.replica.location.uri).restore(1)).maintain(EAGER)
    held = tables.items()
    assert held[Key("new0")] == "1"
    assert Key("new1") not in held
    assert held[Key("k8")] == "0", "its delete is undone"


def test_a_bootstrap_that_comes_during_a_fold_wins(tmp_path: Path, vectors: None):
    tables, _ = grown(tmp_path)
    interrupted(tables, lambda: tables.bootstrap({Key("only"): "5"}, "02-export")).maintain(EAGER)
    assert tables.items() == {Key("only"): "5"}


def test_a_window_goes_on_after_folds_that_came_first(tmp_path: Path):
    tables, items = grown(tmp_path)
    tables.decode(window(90, 105), [put("k0", 91, "late"), delete("new3", 92)])
    interrupted(tables, lambda: tables.replica.maintain(EAGER)).apply(window(90, 105))
    items[Key("k0")] = "late"
    del items[Key("new3")]
    assert tables.items() == items


def vectors_named(tables: Lake) -> list[str]:
    """The commits that name a deletion vector."""
    log = Path(tables.replica.location.uri) / "_delta_log"
    return [commit.name for commit in sorted(log.glob("*.json")) if '"deletionVector"' in commit.read_text()]


def test_no_commit_of_a_fold_gives_a_vector_to_a_table_that_copies_on_write(tmp_path: Path):
    tables = lake(tmp_path, strategy=Strategy.COPY_ON_WRITE)
    tables.bootstrap({Key("there"): "0"})
    for number in range(4):
        tables.decode(window(10 * number, 10 * number + 10), [put(f"new{number}", 10 * number + 1, "1")])
        tables.replica.apply(window(10 * number, 10 * number + 10))
    tables.decode(window(40, 50), [put("new1", 45, "2")])
    interrupted(tables, lambda: tables.replica.apply(window(40, 50))).maintain(EAGER)
    assert vectors_named(tables) == []
    assert tables.items() == {
        Key("there"): "0",
        **{Key(f"new{number}"): "2" if number == 1 else "1" for number in range(4)},
    }


def test_a_file_whose_last_row_dies_is_removed(tmp_path: Path, vectors: None):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0", Key("b"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1"), delete("b", 2)])
    tables.replica.apply(window(0, 15))
    snapshot = tables.replica.snapshot()
    assert snapshot is not None
    assert [(each.rows, each.dead) for each in snapshot.files.values()] == [(1, 0)]


def objects(tables: Lake, kind: str) -> set[str]:
    root = Path(tables.replica.location.uri)
    return {str(path.relative_to(root)) for path in root.rglob(kind) if "_delta_log" not in path.parts}


def test_the_vacuum_removes_what_no_version_needs_and_nothing_else(tmp_path: Path):
    tables, items = grown(tmp_path)
    tables.replica.maintain(EAGER)
    tables.stage({Key("next"): "0"}, "02-export")
    stray = Path(tables.replica.location.uri) / "part-of-a-crash.parquet"
    foreign = Path(tables.replica.location.uri) / "notes.txt"
    for each in (stray, foreign):
        each.write_bytes(b"x")
    before = objects(tables, "*.parquet")
    assert tables.replica.maintain(EAGER).vacuumed.files == 0, "all is younger than the retention"
    age(tables, 30)
    DeltaTable(tables.replica.location.uri).alter.set_table_properties(
        {"delta.deletedFileRetentionDuration": "interval 0 seconds"}
    )
    report = tables.replica.maintain(EAGER)
    assert report.vacuumed.files > 0
    left = objects(tables, "*.parquet")
    assert stray.name not in left
    assert foreign.exists()
    snapshot = tables.replica.snapshot()
    assert snapshot is not None
    live = {each.object_path for each in snapshot.files.values()}
    assert left < before
    assert live <= left
    assert tables.items() == items
    assert read_by_all(tables.replica.location.uri, NAMES, cleaned=True)
    tables.decode(window(90, 105), [put("k0", 91, "late")])
    tables.replica.apply(window(90, 105))
    assert tables.items() == items | {Key("k0"): "late"}


def test_a_bootstrap_that_waits_for_its_commit_outlives_the_vacuum(tmp_path: Path):
    tables, _ = grown(tmp_path)
    tables.stage({Key("next"): "0"}, "02-export", minute(60))
    age(tables, 90, log=False)
    tables.replica.maintain(EAGER)
    tables.replica.commit_bootstrap("02-export")
    assert tables.items() == {Key("next"): "0"}


def test_removed_files_stay_for_the_retention(tmp_path: Path, vectors: None):
    tables, _ = grown(tmp_path)
    version = tables.replica.version()
    rows = len(tables.items())
    age(tables, 30, log=False)
    tables.replica.maintain(EAGER)
    assert pl.scan_delta(tables.replica.location.uri, version=version).collect().height == rows


def test_a_full_vacuum_by_delta_rs_leaves_live_vectors_and_the_index_alone(tmp_path: Path):
    tables, items = grown(tmp_path)
    before = objects(tables, "_*/*")
    DeltaTable(tables.replica.location.uri).vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    assert objects(tables, "_*/*") == before
    assert tables.items() == items
    tables.decode(window(90, 105), [put("k0", 91, "late")])
    tables.replica.apply(window(90, 105))
    assert tables.items() == items | {Key("k0"): "late"}


def test_checkpoints_and_cleanup_keep_opening_flat(tmp_path: Path):
    tables, items = grown(tmp_path)
    DeltaTable(tables.replica.location.uri).alter.set_table_properties(
        {"delta.logRetentionDuration": "interval 0 seconds"}
    )
    log = Path(tables.replica.location.uri) / "_delta_log"
    age(tables, 30)
    report = tables.replica.maintain(EAGER)
    assert report.checkpoint
    age(tables, 30)
    tables.replica.apply(window(0, 15))
    report = tables.replica.maintain(EAGER)
    assert report.log_files_removed > 0
    assert len(list(log.glob("*.json"))) <= 3
    assert tables.items() == items
    assert tables.replica.coverage() == (window(0, 90),)


def test_the_change_log_s_own_log_is_cleaned_up_as_well(tmp_path: Path):
    tables, items = grown(tmp_path)
    location = tables.log.location
    DeltaTable(location.uri).alter.set_table_properties({"delta.logRetentionDuration": "interval 1 days"})
    DeltaTable(location.uri).create_checkpoint()
    log = Path(location.uri) / "_delta_log"
    for file in log.glob("*.json"):
        then = time.time() - 3 * 86400
        os.utime(file, (then, then))
    before = len(list(log.glob("*.json")))
    report = tables.replica.maintain(EAGER)
    assert report.change_log is not None
    assert report.change_log.log_files_removed == before - len(list(log.glob("*.json"))) > 0
    assert tables.log.coverage() == (window(0, 90),)
    tables.decode(window(90, 105), [put("k0", 91, "late")])
    tables.replica.apply(window(90, 105))
    assert tables.items() == items | {Key("k0"): "late"}


@pytest.mark.parametrize("there", list(Strategy), ids=lambda each: each.value)
def test_a_table_moves_either_way_in_one_commit_and_back(tmp_path: Path, there: Strategy, strategy: Strategy):
    tables, items = grown(tmp_path)
    version = tables.replica.version() or 0
    back = strategy
    done = tables.replica.convert(there)
    assert (done.changed, done.version) == ((there is not strategy), version + (there is not strategy))
    assert tables.replica.strategy() is there
    assert tables.items() == items
    assert tables.replica.coverage() == (window(0, 90),)
    protocol = DeltaTable(tables.replica.location.uri).protocol()
    assert (protocol.min_reader_version == 1) == (there is Strategy.COPY_ON_WRITE)
    tables.decode(window(90, 105), [put("k0", 91, "late"), delete("new3", 92), put("fresh", 93, "1")])
    tables.replica.apply(window(90, 105))
    items |= {Key("k0"): "late", Key("fresh"): "1"}
    del items[Key("new3")]
    assert tables.items() == items
    read_by_all(tables.replica.location.uri, NAMES)
    tables.replica.convert(back)
    assert tables.replica.strategy() is back
    tables.decode(window(105, 120), [put("k0", 106, "later"), delete("fresh", 107)])
    tables.replica.apply(window(105, 120))
    items[Key("k0")] = "later"
    del items[Key("fresh")]
    assert tables.items() == items
    read_by_all(tables.replica.location.uri, NAMES)


def test_a_window_that_marks_a_marked_file_during_a_conversion_is_kept_by_it(tmp_path: Path, vectors: None):
    tables = lake(tmp_path)
    tables.bootstrap({Key(f"k{number}"): "0" for number in range(8)})
    tables.decode(window(0, 15), [put("k0", 1, "1")])
    tables.replica.apply(window(0, 15))
    tables.decode(window(15, 30), [put("k2", 16, "2")])
    interrupted(tables, lambda: tables.replica.apply(window(15, 30))).convert(Strategy.COPY_ON_WRITE)
    assert tables.items() == {**{Key(f"k{number}"): "0" for number in range(8)}, Key("k0"): "1", Key("k2"): "2"}
    snapshot = tables.replica.snapshot()
    assert snapshot is not None
    assert not any(each.deletion_vector for each in snapshot.files.values())


def test_a_table_with_constraints_is_kept_by_merge_and_refused_by_vectors(tmp_path: Path):
    tables = lake(tmp_path, strategy=Strategy.COPY_ON_WRITE)
    tables.bootstrap({Key("a"): "0"})
    DeltaTable(tables.replica.location.uri).alter.add_constraint({"known": "seq >= 0"})
    for number, changes in enumerate(([put("b", 1, "1")], [], [delete("nowhere", 31)])):
        span = window(15 * number, 15 * number + 15)
        tables.decode(span, changes)
        tables.replica.apply(span)
        tables.replica.maintain(EAGER)
    assert tables.items() == {Key("a"): "0", Key("b"): "1"}
    with pytest.raises(UnsupportedTable, match=r"has the constraints .*known.*drop them"):
        tables.replica.convert(Strategy.DELETION_VECTORS)


def test_a_conversion_does_not_mind_what_else_is_told_of_a_file(tmp_path: Path, vectors: None):
    tables, items = grown(tmp_path)

    def tag() -> None:
        snapshot = tables.replica.snapshot()
        assert snapshot is not None
        told = [replace(each, more={"tags": {"seen": "yes"}}) for each in snapshot.files.values()]
        actions = [each.add(data_change=False) for each in told]
        write_commit(tables.replica.store, snapshot.number + 1, actions, Note("", {}), Operation("ADD TAGS"))

    assert interrupted(tables, tag).convert(Strategy.COPY_ON_WRITE).files_rewritten
    assert tables.items() == items


def test_a_window_that_comes_during_a_conversion_is_kept_by_it(tmp_path: Path, strategy: Strategy):
    tables, items = grown(tmp_path)
    tables.decode(window(90, 105), [put("k0", 91, "late"), delete("new3", 92)])
    other = next(each for each in Strategy if each is not strategy)
    done = interrupted(tables, lambda: tables.replica.apply(window(90, 105))).convert(other)
    assert done.changed
    items[Key("k0")] = "late"
    del items[Key("new3")]
    assert tables.items() == items
    assert tables.replica.strategy() is other
