"""One window at a time: which change wins, what a commit tells, and what is refused."""

import shutil
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from ddb_lake.field_metadata import ATTRIBUTE
from ddb_lake.replica import Column
from ddb_lake.replica.errors import NotBootstrapped, NotDecoded
from ddb_lake.windows import Window
from ddb_lake_tests.replica.histories import COLUMNS, Change, Key, delete, exported, lake, minute, put, us, window


@dataclass(frozen=True)
class Case:
    told: str
    items: dict[str, str]
    applied: list[tuple[Window, list[Change]]]
    """Windows in the order of their application; all of them are decoded before the first is applied."""
    left: dict[str, str]


EARLY, LATE = window(0, 15), window(15, 30)

CASES = [
    # in order
    Case("a put of a new key inserts", {}, [(EARLY, [put("a", 1, "1")])], {"a": "1"}),
    Case("a put of a known key updates", {"a": "0"}, [(EARLY, [put("a", 1, "1")])], {"a": "1"}),
    Case("a delete removes", {"a": "0", "b": "0"}, [(EARLY, [delete("a", 1)])], {"b": "0"}),
    Case("a delete of an unknown key is nothing", {"b": "0"}, [(EARLY, [delete("a", 1)])], {"b": "0"}),
    Case("a put at T itself counts", {"a": "0"}, [(EARLY, [put("a", 0, "1")])], {"a": "1"}),
    Case("a delete at T itself counts", {"a": "0"}, [(EARLY, [delete("a", 0)])], {}),
    Case(
        "a deleted key comes back",
        {"a": "0"},
        [(EARLY, [delete("a", 1)]), (LATE, [put("a", 20, "2")])],
        {"a": "2"},
    ),
    # several changes of a key within what is applied
    Case("the later of two puts wins", {}, [(EARLY, [put("a", 2, "2"), put("a", 1, "1")])], {"a": "2"}),
    Case("a put after a delete wins", {}, [(EARLY, [put("a", 2, "2"), delete("a", 1)])], {"a": "2"}),
    Case("a delete after a put wins", {}, [(EARLY, [put("a", 1, "1"), delete("a", 2)])], {}),
    # the same microsecond
    Case("at one time a delete beats a put", {"a": "0"}, [(EARLY, [delete("a", 1), put("a", 1, "1", 9)])], {}),
    Case(
        "at one time the greater tie-break wins",
        {},
        [(EARLY, [put("a", 1, "less", -5), put("a", 1, "more", 7), put("a", 1, "mid", 0)])],
        {"a": "more"},
    ),
    Case(
        "at one time the greater tie-break wins over the row that is there",
        {},
        [(EARLY, [put("a", 1, "less", 3)]), (EARLY, [put("a", 1, "more", 4)])],
        {"a": "more"},
    ),
    Case(
        "at one time the smaller tie-break loses against the row that is there",
        {},
        [(EARLY, [put("a", 1, "more", 4)]), (EARLY, [put("a", 1, "less", 3)])],
        {"a": "more"},
    ),
    Case(
        "at one time a delete beats the row that is there",
        {},
        [(EARLY, [put("a", 1, "1", 9)]), (EARLY, [delete("a", 1)])],
        {},
    ),
    # out of order
    Case(
        "an older put does not undo a newer one",
        {},
        [(LATE, [put("a", 20, "new")]), (EARLY, [put("a", 1, "old", 99)])],
        {"a": "new"},
    ),
    Case(
        "an older put does not bring a deleted key back",
        {"a": "0"},
        [(LATE, [delete("a", 20)]), (EARLY, [put("a", 10, "1")])],
        {},
    ),
    Case(
        "an older delete does not remove a newer row",
        {"a": "0"},
        [(LATE, [put("a", 20, "2")]), (EARLY, [delete("a", 10)])],
        {"a": "2"},
    ),
    Case(
        "an older put of another key with the same hash is not taken for deleted",
        {},
        [(LATE, [delete("a", 20)]), (EARLY, [put("b", 10, "1")])],
        {"b": "1"},
    ),
    # repeated
    Case(
        "a window applied again changes nothing",
        {},
        [(EARLY, [put("a", 1, "1")]), (LATE, [delete("a", 20)]), (EARLY, [put("a", 1, "1")])],
        {},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.told)
def test_the_last_writer_wins(case: Case, tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key(key): value for key, value in case.items.items()})
    for span, changes in case.applied:
        tables.decode(span, changes)
        tables.replica.apply(span)
    assert {key.id: value for key, value in tables.items().items()} == case.left


def test_keys_are_told_apart_by_all_their_columns_and_not_by_their_hash(tmp_path: Path):
    keys = [Key("a", 1), Key("a", 2), Key("b", 1), Key("a", Decimal("1.5")), Key("a", Decimal("2.5"))]
    assert len({key.hash for key in keys}) < len(keys)
    tables = lake(tmp_path)
    tables.bootstrap(dict.fromkeys(keys, "0"))
    changed = [Change(keys[1], us(1), None), Change(keys[3], us(1), "new"), Change(keys[4], us(1), None)]
    tables.decode(EARLY, changed)
    tables.replica.apply(EARLY)
    assert tables.items() == {keys[0]: "0", keys[2]: "0", keys[3]: "new"}


def test_a_commit_tells_what_it_did_row_by_row(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("updated"): "0", Key("deleted"): "0", Key("kept"): "0"})
    tables.decode(EARLY, [put("updated", 1, "1"), delete("deleted", 2), put("new", 3, "1"), delete("unknown", 4)])
    done = tables.replica.apply(EARLY)
    assert (done.rows_before, done.rows_after) == (3, 3)
    assert (done.inserted, done.updated, done.deleted, done.ignored, done.changes) == (1, 1, 1, 1, 4)
    assert (done.path, done.window, done.version) == ("merge", EARLY, tables.replica.version())
    assert tables.replica.count() == len(tables.items()) == 3


def test_a_key_that_is_written_again_after_its_delete_is_told_as_inserted(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [put("b", 1, "1"), put("beside b", 1, "1")])
    tables.decode(window(15, 30), [delete("b", 16)])
    tables.decode(window(30, 45), [put("b", 31, "2")])
    for start in (0, 15):
        tables.replica.apply(window(start, start + 15))
    done = tables.replica.apply(window(30, 45))
    assert (done.inserted, done.updated, done.deleted, done.rows_after) == (1, 0, 0, len(tables.items()))


@pytest.mark.parametrize("changes", [[], [delete("unknown", 1)]], ids=["no change", "changes without effect"])
def test_a_window_without_effect_is_covered_by_a_commit_all_the_same(tmp_path: Path, changes: list[Change]):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(EARLY, changes)
    before = tables.replica.version()
    done = tables.replica.apply(EARLY)
    assert done.path == "coverage_only"
    assert before is not None
    assert done.version == before + 1 == tables.replica.version()
    assert (done.ignored, done.changes) == (len(changes), len(changes))
    assert tables.replica.coverage() == (EARLY,)


def test_a_window_that_the_full_export_holds_needs_no_commit_and_no_changes(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    before = tables.replica.version()
    done = tables.replica.apply(window(-15, 0))
    assert (done.path, done.version) == ("before_bootstrap", before)
    assert tables.replica.version() == before
    assert tables.replica.coverage() == ()


def test_of_a_window_that_begins_before_the_full_export_only_what_follows_counts(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "in the export"})
    tables.decode(window(-15, 0), [put("gone", -10, "deleted before T"), delete("a", -5)])
    tables.decode(window(0, 15), [put("new", 5, "1")])
    done = tables.replica.apply(window(-15, 15))
    assert (done.changes, done.spans) == (1, (window(0, 15),))
    assert tables.items() == {Key("a"): "in the export", Key("new"): "1"}
    assert tables.replica.coverage() == (window(0, 15),)


def test_an_export_that_straddles_the_full_export_is_refused_until_one_that_follows_it_is_decoded(tmp_path: Path):
    # Created before T and deleted after it: the straddling export has no record of the key.
    history = [put("short-lived", -5, "1"), delete("short-lived", 5)]
    tables = lake(tmp_path)
    tables.bootstrap({Key("short-lived"): "1", Key("untouched"): "0"})
    tables.decode(window(-15, 15), exported(history, window(-15, 15)))
    with pytest.raises(NotDecoded, match=r"17:45:00Z.*begins before the full export of 2026-11-24T18:00:00Z"):
        tables.replica.apply(window(0, 15))
    tables.decode(window(0, 15), exported(history, window(0, 15)))
    assert tables.replica.apply(window(0, 15)).spans == (window(0, 15),)
    assert tables.items() == {Key("untouched"): "0"}


def test_a_window_that_was_not_decoded_is_refused_with_its_holes(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [])
    tables.decode(window(30, 45), [])
    before = tables.replica.version()
    with pytest.raises(NotDecoded, match=r"18:15:00Z.*18:30:00Z.*decode its export first"):
        tables.replica.apply(window(0, 45))
    assert tables.replica.version() == before


def test_a_window_before_any_bootstrap_is_refused(tmp_path: Path):
    tables = lake(tmp_path)
    tables.decode(EARLY, [put("a", 1, "1")])
    with pytest.raises(NotBootstrapped, match="commit the bootstrap"):
        tables.replica.apply(EARLY)
    assert tables.replica.version() is None
    assert tables.replica.bootstrap_time() is None
    assert tables.replica.coverage() == ()


def test_a_crash_between_decoding_and_applying_leaves_the_window_to_be_applied(tmp_path: Path):
    before = lake(tmp_path)
    before.bootstrap({Key("a"): "0"})
    before.decode(EARLY, [put("a", 1, "1")])
    # Another process starts with nothing but the folder.
    after = lake(tmp_path)
    assert after.replica.coverage() == ()
    assert after.log.coverage() == (EARLY,)
    after.replica.apply(EARLY)
    assert after.items() == {Key("a"): "1"}


def test_a_late_window_is_refused_when_the_log_of_later_ones_has_been_removed(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({})
    tables.decode(window(15, 30), [delete("k", 20)])
    tables.replica.apply(window(15, 30))
    shutil.rmtree(tables.log.location.uri)
    tables.decode(window(0, 15), [put("k", 5, "1")])
    with pytest.raises(NotDecoded, match="no longer has the changes of"):
        tables.replica.apply(window(0, 15))
    assert tables.items() == {}
    tables.decode(window(15, 30), [delete("k", 20)])
    tables.replica.apply(window(0, 15))
    assert tables.items() == {}


def test_a_delete_that_is_decoded_but_not_applied_yet_does_not_reach_ahead(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(EARLY, [put("a", 10, "1")])
    tables.decode(LATE, [delete("a", 20)])
    tables.replica.apply(EARLY)
    assert tables.items() == {Key("a"): "1"}, "the state at the end of what is covered"
    tables.replica.apply(LATE)
    assert tables.items() == {}


def test_write_times_and_tie_breaks_stand_in_the_rows(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("old"): "0"})
    tables.decode(EARLY, [put("new", 1, "1", 42)])
    tables.replica.apply(EARLY)
    rows = {row["id"]: row for row in tables.replica.scan().collect().to_dicts()}
    assert rows["old"]["_write_time_us"] == us(0) - 1
    assert (rows["new"]["_write_time_us"], rows["new"]["_tie_break"]) == (us(1), 42)
    assert "_deleted" not in rows["new"]
    assert minute(0) == tables.replica.bootstrap_time()


def test_every_commit_carries_the_state_that_it_leaves(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(EARLY, [put("a", 1, "1")])
    tables.decode(LATE, [])
    tables.log.add_columns([*COLUMNS, Column("added", pl.String(), {ATTRIBUTE: "added"})])
    for span in (EARLY, LATE, EARLY, window(-15, 0)):
        assert tables.replica.apply(span).state == tables.replica.state()
    assert "added" in {column.name for column in tables.replica.columns()}
    again = tables.replica.commit_bootstrap("01-export")
    assert (again.outcome, again.state) == ("already_committed", tables.replica.state())
    tables.stage({Key("c"): "0"}, "02-export", minute(30))
    replaced = tables.replica.commit_bootstrap("02-export")
    assert (replaced.outcome, replaced.state) == ("replaced", tables.replica.state())
