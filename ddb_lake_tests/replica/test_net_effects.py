"""An export shows net effects: what it leaves out counts, in whatever order the exports of a time are applied."""

from itertools import permutations
from pathlib import Path

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddb_lake.replica.errors import NotDecoded
from ddb_lake.replica.spans import Spans, decode_spans, encode_spans
from ddb_lake.windows import Window
from ddb_lake_tests.replica.histories import (
    Change,
    Key,
    Lake,
    delete,
    exported,
    forget_commits,
    lake,
    minute,
    put,
    state,
    window,
)

ITEMS = {Key("there"): "0"}
SHORT_LIFE = [put("k", 5, "1"), delete("k", 20)]
"""An item that is inserted in the first quarter-hour and gone in the second."""

NARROW, WIDE = window(0, 15), window(0, 60)


def take(tables: Lake, history: list[Change], *spans: Window) -> None:
    """Decode and apply one export after the other."""
    for span in spans:
        tables.decode(span, exported(history, span, ITEMS))
        tables.replica.apply(span)


@pytest.fixture
def tables(tmp_path: Path) -> Lake:
    made = lake(tmp_path)
    made.bootstrap(ITEMS)
    return made


def test_the_model_shows_what_an_export_would():
    assert [c.key.id for c in exported(SHORT_LIFE, NARROW, ITEMS)] == ["k"]
    assert exported(SHORT_LIFE, WIDE, ITEMS) == []
    assert exported(SHORT_LIFE, window(15, 30), ITEMS) == [SHORT_LIFE[1]]
    assert exported([delete("there", 3), put("there", 4, "2")], NARROW, ITEMS) == [put("there", 4, "2")]
    assert exported([put("there", 3, "2"), delete("there", 4)], NARROW, ITEMS) == [delete("there", 4)]
    assert exported([delete("nowhere", 3)], NARROW, ITEMS) == []


def test_a_narrow_export_after_a_wide_one_does_not_bring_an_item_back(tables: Lake):
    take(tables, SHORT_LIFE, WIDE, NARROW)
    assert tables.items() == ITEMS


def test_a_wide_export_after_a_narrow_one_removes_the_item_that_it_has_no_record_of(tables: Lake):
    take(tables, SHORT_LIFE, NARROW)
    assert tables.items() == ITEMS | {Key("k"): "1"}
    take(tables, [*SHORT_LIFE, put("there", 30, "2")], WIDE)
    assert tables.items() == {Key("there"): "2"}


def test_an_empty_wide_export_removes_a_row_and_tells_it(tables: Lake):
    take(tables, SHORT_LIFE, NARROW)
    tables.decode(WIDE, [])
    done = tables.replica.apply(WIDE)
    assert tables.items() == ITEMS
    assert (done.deleted, done.changes, done.ignored, done.rows_after) == (1, 1, 1, 1)
    assert done.spans == (NARROW, WIDE)
    assert tables.replica.spans() == (NARROW, WIDE)
    assert tables.replica.coverage() == (WIDE,)


def test_a_narrow_export_applied_between_decoding_and_applying_a_wide_one_takes_the_wide_one_along(tables: Lake):
    tables.decode(WIDE, exported(SHORT_LIFE, WIDE, ITEMS))
    tables.decode(NARROW, exported(SHORT_LIFE, NARROW, ITEMS))
    assert tables.replica.apply(NARROW).spans == (NARROW, WIDE)
    assert tables.items() == ITEMS
    assert tables.replica.apply(WIDE).path == "coverage_only"
    assert tables.items() == ITEMS
    assert tables.replica.coverage() == (WIDE,)


@pytest.mark.parametrize("order", list(permutations([window(0, 15), window(5, 20), window(15, 30)])), ids=str)
def test_exports_that_overlap_partly_contradict_each_other_in_no_order(tables: Lake, order: tuple[Window, ...]):
    history = [
        put("in both, gone in the second", 6, "1"),
        delete("in both, gone in the second", 17),
        put("before the second, gone in it", 2, "1"),
        put("before the second, gone in it", 7, "2"),
        delete("before the second, gone in it", 16),
        put("comes back", 3, "1"),
        delete("comes back", 8),
        put("comes back", 18, "2"),
        delete("there", 6),
        put("there", 25, "3"),
    ]
    take(tables, history, *order)
    assert tables.items() == {Key("comes back"): "2", Key("there"): "3"}


CUT = [window(0, 10), window(10, 40), window(21, 55), window(55, 60)]


@pytest.mark.parametrize("order", list(permutations(CUT)), ids=str)
def test_a_row_older_than_what_is_contradicted_goes_as_well(tables: Lake, order: tuple[Window, ...]):
    # The second export has the third's item at its end, and the third neither at its begin nor at its end.
    history = [put("there", 5, "1"), delete("there", 20), put("there", 30, "2"), delete("there", 50)]
    assert [exported(history, span, ITEMS) for span in CUT[1:3]] == [[history[2]], []]
    take(tables, history, *order)
    assert tables.items() == state(ITEMS, history, minute(60)) == {}


@pytest.mark.parametrize("order", sorted(set(permutations([NARROW, WIDE, NARROW, WIDE]))), ids=str)
def test_repeated_exports_change_nothing(tables: Lake, order: tuple[Window, ...]):
    take(tables, SHORT_LIFE, *order)
    assert tables.items() == ITEMS


def test_a_wide_export_removes_only_what_was_written_in_it(tables: Lake):
    history = [put("old", 1, "1"), put("late", 40, "1"), put("k", 20, "1"), delete("k", 25)]
    take(tables, history, NARROW, window(15, 22), window(30, 45))
    take(tables, history, window(15, 30))
    assert tables.items() == ITEMS | {Key("old"): "1", Key("late"): "1"}


def test_a_row_written_after_the_wide_export_stays(tables: Lake):
    history = [*SHORT_LIFE, put("k", 61, "new")]
    take(tables, history, NARROW, window(60, 75), WIDE, NARROW)
    assert tables.items() == ITEMS | {Key("k"): "new"}


def test_an_update_older_than_the_implied_delete_does_not_bring_the_item_back(tables: Lake):
    history = [put("k", 5, "1"), put("k", 16, "2"), delete("k", 20)]
    take(tables, history, window(15, 18), WIDE, NARROW)
    assert tables.items() == ITEMS


@pytest.mark.parametrize("order", [[NARROW, WIDE], [WIDE, NARROW]], ids=str)
@pytest.mark.parametrize("forgotten", ["replica", "log", "both"])
def test_after_the_cleanup_of_our_commits_exports_still_count_by_what_they_leave_out(
    tables: Lake, order: list[Window], forgotten: str
):
    history = [*SHORT_LIFE, put("there", 50, "2")]
    take(tables, history, order[0])
    if forgotten != "log":
        forget_commits(tables.replica.location)
    if forgotten != "replica":
        forget_commits(tables.log.location)
    assert tables.replica.coverage() == (order[0],)
    assert tables.log.spans() == (order[0],)
    take(tables, history, order[1])
    assert tables.items() == {Key("there"): "2"}
    assert tables.replica.coverage() == (WIDE,)


def test_an_applied_export_counts_against_an_earlier_one_that_overlaps_it(tables: Lake):
    history = [put("k", 16, "1"), delete("k", 25)]
    take(tables, history, window(15, 30))
    tables.decode(window(5, 20), exported(history, window(5, 20)))
    assert tables.replica.apply(window(5, 15)).spans == (window(5, 20),)
    assert tables.items() == ITEMS


def test_after_the_cleanup_an_applied_export_still_counts_against_one_that_overlaps_it(tables: Lake):
    history = [put("k", 16, "1"), delete("k", 25)]
    take(tables, history, NARROW, window(15, 30))
    forget_commits(tables.replica.location)
    tables.decode(window(0, 20), exported(history, window(0, 20)))
    assert tables.replica.apply(window(5, 10)).spans == (NARROW, window(0, 20))
    assert tables.items() == ITEMS


def test_an_export_that_is_decoded_but_not_applied_yet_does_not_reach_ahead(tables: Lake):
    history = [put("k", 17, "1"), delete("k", 25)]
    for span in (window(0, 20), window(15, 30)):
        tables.decode(span, exported(history, span))
    assert tables.replica.apply(NARROW).spans == (window(0, 20),)
    assert tables.items() == ITEMS | {Key("k"): "1"}, "the state at the end of what is covered"
    tables.replica.apply(window(20, 30))
    assert tables.items() == ITEMS


def test_after_the_cleanup_an_export_without_rows_has_to_tell_again_whether_it_had_any(tables: Lake):
    for span in (NARROW, window(15, 30), window(30, 45)):
        tables.decode(span, exported([put("k", 20, "1")], span))
    forget_commits(tables.log.location)
    assert tables.log.spans() == (window(15, 30),)
    assert tables.log.coverage() == (window(0, 45),)
    with pytest.raises(NotDecoded, match="decode its export first"):
        tables.replica.apply(window(0, 45))
    for span in (NARROW, window(30, 45)):
        tables.decode(span, [])
    tables.replica.apply(window(0, 45))
    assert tables.items() == ITEMS | {Key("k"): "1"}


ARCHIVED = [put("k", 5, "1"), put("l", 20, "1"), put("there", 35, "1")]


def archive(tables: Lake, until: str = "19:00") -> None:
    """Remove all changes of the first quarter-hours, as people do who keep them elsewhere."""
    DeltaTable(tables.log.location.uri).delete(f"_window < '2026-11-24-{until}'")


@pytest.mark.parametrize("forgotten", [False, True], ids=["account", "account forgotten"])
def test_an_export_whose_rows_were_removed_from_the_log_is_not_taken_for_an_empty_one(
    tables: Lake, *, forgotten: bool
):
    take(tables, ARCHIVED, window(0, 30), window(30, 60))
    held = tables.items()
    archive(tables)
    if forgotten:
        forget_commits(tables.log.location)
    tables.decode(window(10, 25), exported(ARCHIVED, window(10, 25), ITEMS))
    for span in (window(10, 20), window(0, 60)):
        with pytest.raises(NotDecoded):
            tables.replica.apply(span)
    assert tables.items() == held
    for span in (window(0, 30), window(30, 60)):
        tables.decode(span, exported(ARCHIVED, span, ITEMS))
    tables.replica.apply(window(10, 20))
    assert tables.items() == held


def test_an_export_is_known_to_be_empty_as_it_was_decoded_last(tables: Lake):
    for changes in ([], ARCHIVED[:2], []):
        tables.decode(window(0, 30), changes)
        tables.decode(window(10, 25), changes[1:])
        tables.replica.apply(window(0, 30))
        expected = ITEMS | {change.key: "1" for change in changes}
        assert tables.items() == expected


def test_an_export_that_has_lost_a_part_of_its_rows_is_not_taken_for_whole(tables: Lake):
    take(tables, ARCHIVED, window(0, 60))
    held = tables.items()
    archive(tables, "18:15")
    tables.decode(window(0, 45), exported(ARCHIVED, window(0, 45), ITEMS))
    for span in (window(0, 45), window(50, 55)):
        with pytest.raises(NotDecoded, match="no longer has all changes"):
            tables.replica.apply(span)
        with pytest.raises(NotDecoded, match="no longer has all changes"):
            tables.log.read(span)
    assert tables.items() == held
    tables.decode(window(0, 60), exported(ARCHIVED, window(0, 60), ITEMS))
    tables.replica.apply(window(0, 45))
    assert tables.items() == held


def test_an_applied_export_that_the_log_has_forgotten_is_missed_by_one_that_overlaps_it(tables: Lake):
    history = [put("k", 21, "1"), delete("k", 29)]
    take(tables, history, window(0, 30))
    archive(tables)
    forget_commits(tables.log.location)
    take(tables, history, window(30, 45))
    tables.decode(window(20, 28), exported(history, window(20, 28), ITEMS))
    tables.decode(window(28, 30), exported(history, window(28, 30), ITEMS))
    with pytest.raises(NotDecoded, match=r"\[2026-11-24T18:00:00Z, 2026-11-24T18:30:00Z\), which"):
        tables.replica.apply(window(20, 28))
    assert tables.items() == ITEMS


def test_an_export_that_another_one_overlaps_counts_to_its_own_end(tables: Lake):
    history = [put("k", 35, "1"), delete("k", 45)]
    take(tables, history, window(30, 40), window(10, 15))
    for span in (window(10, 20), window(0, 60)):
        tables.decode(span, exported(history, span, ITEMS))
    tables.replica.apply(window(10, 20))
    assert tables.items() == ITEMS


def test_what_is_written_at_the_very_end_of_an_export_is_later_than_what_it_leaves_out(tables: Lake):
    history = [put("k", 5, "1"), delete("k", 20), put("k", 30, "2")]
    take(tables, history, window(0, 15))
    for span in (window(0, 30), window(30, 45)):
        tables.decode(span, exported(history, span, ITEMS))
    tables.replica.apply(window(0, 45))
    assert tables.items() == ITEMS | {Key("k"): "2"}


def test_a_delete_that_another_export_tells_of_the_same_microsecond_wins(tables: Lake):
    tables.decode(window(20, 30), [delete("k", 20)])
    tables.replica.apply(window(25, 30))
    tables.decode(window(15, 25), [put("k", 20, "1", 5)])
    tables.replica.apply(window(15, 18))
    assert tables.items() == ITEMS


def test_an_export_counts_against_rows_of_exports_that_the_log_has_forgotten(tables: Lake):
    history = [put("k", 17, "1"), delete("k", 19)]
    take(tables, history, window(0, 15), window(15, 18))
    assert Key("k") in tables.items()
    forget_commits(tables.replica.location)
    tables.decode(window(0, 20), exported(history, window(0, 20), ITEMS))
    tables.replica.apply(window(5, 10))
    assert tables.items() == ITEMS


def test_exports_that_do_not_overlap_open_no_file_of_another(tables: Lake):
    history = [put("k", 5, "1"), put("k", 20, "2")]
    take(tables, history, NARROW)
    for file in Path(tables.log.location.uri).rglob("*.parquet"):
        file.unlink()
    take(tables, history, window(15, 30))
    assert tables.items() == ITEMS | {Key("k"): "2"}


def test_a_month_of_quarter_hours_is_one_entry_of_the_account(tables: Lake):
    quarters = [window(15 * n, 15 * n + 15) for n in range(30 * 96)]
    spans = Spans().adding([*quarters[1000:], *quarters[:1000]])
    assert encode_spans(spans) == [["2026-11-24T18:00:00Z", "2026-11-24T18:15:00Z", 2880]]
    assert spans.all() == tuple(quarters)
    assert decode_spans([("2026-11-24T18:00:00Z", "2026-11-24T18:15:00Z", 2880)]) == spans


PROPERTY = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@PROPERTY
@given(st.data())
def test_wide_and_narrow_exports_in_any_order_end_as_the_source_table(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    keys = st.sampled_from(["a", "b", "there"])
    drawn = data.draw(
        st.lists(st.tuples(keys, st.integers(0, 29), st.booleans()), max_size=14, unique_by=lambda w: w[:2])
    )
    history = [
        put(key, 2 * at + 1, f"{number}") if is_put else delete(key, 2 * at + 1)
        for number, (key, at, is_put) in enumerate(drawn)
    ]
    bounds = st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda pair: pair[0] < pair[1])
    spans = [window(5 * start, 5 * end) for start, end in data.draw(st.lists(bounds, min_size=1, max_size=5))]
    whole = data.draw(st.sampled_from([[WIDE], [window(0, 30), window(30, 60)], [window(0, 5), window(5, 60)]]))
    tables = lake(tmp_path_factory.mktemp("lake"))
    tables.bootstrap(ITEMS)
    order = data.draw(st.permutations([*spans, *whole]))
    for span in order:
        tables.decode(span, exported(history, span, ITEMS))
        if data.draw(st.booleans(), "apply at once"):
            tables.replica.apply(span)
    for span in data.draw(st.permutations(whole)):
        tables.replica.apply(span)
    assert tables.items() == state(ITEMS, history, minute(60))
    assert tables.replica.coverage() == (WIDE,)
