"""Windows in any order, split and repeated anyhow, make the replica the source table: against a model."""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddb_lake.replica import PartitionColumn
from ddb_lake.windows import Window, covers, merge, missing
from ddb_lake_tests.replica.histories import Change, Key, Lake, T, exported, lake, minute, state, us, window

FIRST, LAST = -10, 60
"""Minutes from T between which the histories and the windows lie."""

KEYS = [Key("a", 1), Key("a", Decimal("1.5")), Key("b", 1)]

TIMES = [-9, -1, 0, 2, 7, 14, 15, 15.5, 22, 31, 45, 52, 59]
"""Few, so that writes of a key meet at the same microsecond, and on both sides of T and of quarter-hours."""

MODEST = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@st.composite
def histories(draw: st.DrawFn) -> list[Change]:
    """Changes of few keys at few times, so that ties abound; equal only where they are the same change."""
    writes = st.tuples(st.sampled_from(KEYS), st.sampled_from(TIMES), st.booleans())
    drawn = draw(st.lists(writes, min_size=8, max_size=30))
    ties = draw(st.permutations(range(len(drawn))))
    return [
        Change(key, us(at), None if deleted else f"{number}", 0 if deleted else ties[number] - 12)
        for number, (key, at, deleted) in enumerate(drawn)
    ]


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(st.integers(FIRST, LAST - 1))
    return window(start, draw(st.integers(start + 1, LAST)))


@st.composite
def splits(draw: st.DrawFn) -> list[Window]:
    """The whole time cut into windows at T, and elsewhere on quarter-hours or off them."""
    cuts = draw(st.sets(st.sampled_from([-5, -1, 1, 7, 15, 20, 30, 44, 45, 46, 59])))
    bounds = [FIRST, *sorted(cuts | {0}), LAST]
    return [window(start, end) for start, end in pairwise(bounds)]


def bootstrapped(
    folder: str, history: list[Change], partitioning: Iterable[PartitionColumn] = ()
) -> tuple[Lake, dict[Key, str]]:
    """A replica of the state at T, as an export shows it: no write time or tie-break of its own."""
    before = [
        replace(change, time_us=change.time_us - us(FIRST) + us(0)) for change in history if change.time_us < us(0)
    ]
    items = state({}, before, minute(-FIRST))
    tables = lake(Path(folder), partitioning=partitioning)
    tables.bootstrap(items)
    return tables, items


def applicable(tables: Lake, since: datetime = T) -> list[Window]:
    """The decoded exports that a full export can be followed by."""
    return [span for span in tables.log.spans() if span.start >= since]


def cut(span: Window, time: datetime) -> list[Window]:
    bounds = [span.start, time, span.end] if span.start < time < span.end else [span.start, span.end]
    return [Window(start, end) for start, end in pairwise(bounds)]


@MODEST
@given(
    histories(),
    st.lists(st.tuples(windows(), st.sampled_from(["decode", "apply", "both"])), max_size=6),
    splits(),
    st.data(),
)
def test_any_order_any_overlap_and_any_repetition_end_in_the_same_state(
    history: list[Change], steps: list[tuple[Window, str]], split: list[Window], data: st.DataObject
):
    with tempfile.TemporaryDirectory() as folder:
        tables, items = bootstrapped(folder, history)

        def decode(span: Window) -> None:
            tables.decode(span, exported(history, span))

        def apply(span: Window) -> None:
            since = Window(max(span.start, T), max(span.end, minute(1)))
            for hole in missing(since, applicable(tables)):
                decode(hole)
            tables.replica.apply(span)
            covered = tables.replica.coverage()
            if len(covered) == 1 and covered[0].start == T:
                assert tables.items() == state(items, history, covered[0].end)

        for span, what in steps:
            if what != "apply":
                decode(span)
            if what != "decode":
                apply(span)
        for span in data.draw(st.permutations(split)):
            if data.draw(st.booleans()):
                decode(span)
            if data.draw(st.booleans()) or not covers(tables.replica.coverage(), span):
                apply(span)
        assert tables.items() == state(items, history, minute(LAST))
        assert tables.replica.coverage() == (window(0, LAST),)


@MODEST
@given(histories(), splits(), st.data())
def test_each_prefix_in_order_is_the_source_table_at_its_end(
    history: list[Change], split: list[Window], data: st.DataObject
):
    with tempfile.TemporaryDirectory() as folder:
        tables, items = bootstrapped(folder, history)
        for span in data.draw(st.permutations(split), "decoding runs ahead, in any order"):
            tables.decode(span, exported(history, span))
        for span in split:
            tables.replica.apply(span)
            assert tables.items() == state(items, history, span.end)


@MODEST
@given(histories(), st.lists(windows(), max_size=4), splits(), st.integers(0, LAST - 1))
def test_a_later_bootstrap_replaces_what_came_before_and_windows_go_on_from_it(
    history: list[Change], early: list[Window], split: list[Window], later: int
):
    with tempfile.TemporaryDirectory() as folder:
        tables, items = bootstrapped(folder, history)
        for span in early:
            tables.decode(span, exported(history, span))
            if span.start >= T:
                tables.replica.apply(span)
        items = state(items, history, minute(later))
        tables.bootstrap(items, "02-later", minute(later))
        assert tables.items() == items
        assert tables.replica.coverage() == ()
        for span in split:
            for part in cut(span, minute(later)):
                tables.decode(part, exported(history, part))
                tables.replica.apply(part)
        assert tables.items() == state(items, history, minute(LAST))
        assert merge(tables.replica.coverage()) == (window(later, LAST),)
