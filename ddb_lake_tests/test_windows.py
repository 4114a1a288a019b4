"""Windows are half-open, and what is missing from a span is what no window covers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lake.windows import (
    QUARTER_HOUR,
    Window,
    blocks,
    ceil_quarter_hour,
    covers,
    floor_quarter_hour,
    format_time,
    from_us,
    is_quarter_hour,
    merge,
    missing,
    parse_time,
    quarter_hours,
    tile,
    to_us,
)

T0 = datetime(2026, 11, 24, 18, 0, tzinfo=UTC)


def window(start: int, end: int) -> Window:
    """The window between two minutes after T0."""
    return Window(T0 + timedelta(minutes=start), T0 + timedelta(minutes=end))


windows = st.builds(lambda start, length: window(start, start + length), st.integers(0, 200), st.integers(1, 60))


@pytest.mark.parametrize(
    ("given_windows", "union"),
    [
        ([], []),
        ([(0, 15)], [(0, 15)]),
        # adjacent, overlapping, contained, apart, in any order
        ([(15, 30), (0, 15)], [(0, 30)]),
        ([(0, 20), (10, 30)], [(0, 30)]),
        ([(0, 60), (15, 30)], [(0, 60)]),
        ([(30, 45), (0, 15)], [(0, 15), (30, 45)]),
    ],
)
def test_merge_joins_what_touches(given_windows, union):
    assert merge(window(*w) for w in given_windows) == tuple(window(*w) for w in union)


@pytest.mark.parametrize(
    ("covered", "holes"),
    [
        ([], [(0, 60)]),
        ([(0, 60)], []),
        ([(-30, 90)], []),
        ([(0, 15)], [(15, 60)]),
        ([(45, 60)], [(0, 45)]),
        ([(15, 30)], [(0, 15), (30, 60)]),
        ([(-15, 15), (45, 75)], [(15, 45)]),
        ([(60, 90)], [(0, 60)]),
        ([(-30, 0)], [(0, 60)]),
    ],
)
def test_missing_tells_the_holes_of_a_span(covered, holes):
    assert missing(window(0, 60), [window(*w) for w in covered]) == tuple(window(*w) for w in holes)


@given(st.lists(windows), windows)
def test_covered_and_missing_together_are_the_span(covered, span):
    holes = missing(span, covered)
    assert covers([*covered, *holes], span)
    assert all(not covers(covered, hole) for hole in holes)
    minutes = {
        m
        for hole in holes
        for m in range((hole.start - T0) // timedelta(minutes=1), (hole.end - T0) // timedelta(minutes=1))
    }
    assert all(not (w.start <= T0 + timedelta(minutes=m) < w.end) for w in covered for m in minutes)


def test_quarter_hours_of_a_day_are_ninety_six():
    day = quarter_hours(Window(T0, T0 + timedelta(days=1)))
    assert len(day) == 96
    assert merge(day) == (Window(T0, T0 + timedelta(days=1)),)
    assert {w.duration for w in day} == {QUARTER_HOUR}


def test_quarter_hours_widen_a_span_that_lies_off_the_boundary():
    assert quarter_hours(window(7, 16)) == (window(0, 15), window(15, 30))


@pytest.mark.parametrize("count", [1, 95, 96, 97, 192, 200])
def test_blocks_are_as_few_as_a_day_each_allows(count):
    day = blocks(window(15 * n, 15 * n + 15) for n in range(count))
    assert len(day) == -(-count // 96)
    assert merge(day) == (window(0, 15 * count),)


def test_blocks_do_not_span_a_hole():
    assert blocks([window(0, 15), window(30, 45)]) == (window(0, 15), window(30, 45))


def test_a_block_longer_than_the_limit_is_refused():
    with pytest.raises(ValueError, match="longer than"):
        blocks([Window(T0, T0 + timedelta(hours=25))])


@pytest.mark.parametrize(
    ("existing", "tiles"),
    [
        ([], [(0, 60)]),
        ([(0, 60)], [(0, 60)]),
        # inside, around, before and after, overlapping
        ([(15, 30)], [(0, 15), (15, 30), (30, 60)]),
        ([(-30, 90)], [(-30, 90)]),
        ([(-30, 15), (45, 75)], [(-30, 15), (15, 45), (45, 75)]),
        ([(0, 30), (15, 60)], [(0, 30), (15, 60)]),
        # the one that reaches furthest
        ([(0, 15), (15, 30), (0, 45)], [(0, 45), (45, 60)]),
        ([(-60, 0), (60, 90)], [(0, 60)]),
    ],
)
def test_a_span_is_tiled_by_what_exists_and_by_new_windows_for_the_rest(existing, tiles):
    assert tile(window(0, 60), [window(*w) for w in existing]) == tuple(window(*w) for w in tiles)


@pytest.mark.parametrize(
    ("earliest", "existing", "tiles"),
    [
        (0, [], [(0, 60)]),
        (7, [], [(7, 60)]),
        (7, [(20, 60)], [(7, 30), (20, 60)]),
        (7, [(15, 60)], [(7, 30), (15, 60)]),
        (14, [(15, 60)], [(14, 30), (15, 60)]),
        (7, [(7, 40)], [(7, 40), (30, 60)]),
        (7, [(0, 60), (7, 22), (22, 70)], [(0, 60)]),
    ],
)
def test_no_new_window_begins_before_the_earliest_time_or_is_shorter_than_a_quarter_hour(earliest, existing, tiles):
    span = window(earliest, 60)
    made = tile(span, [window(*w) for w in existing], span.start)
    assert made == tuple(window(*w) for w in tiles)


@given(st.integers(1, 119), st.integers(1, 4000), st.lists(windows))
def test_new_windows_from_an_odd_time_on_can_be_exported_and_leave_no_hole(start, length, existing):
    span = window(start, start + length)
    known = {each for each in existing if each.start >= span.start}
    tiles = tile(span, known, span.start)
    assert covers(tiles, span)
    for new in set(tiles) - known:
        assert new.start == span.start or (new.start > span.start and is_quarter_hour(new.start))
        assert is_quarter_hour(new.end)
        assert QUARTER_HOUR <= new.duration <= timedelta(hours=24)


def test_the_key_of_a_window_is_that_of_the_quarter_hour_that_it_begins_in():
    assert window(7, 30).key == window(0, 15).key == "2026-11-24-18:00"


@given(windows, st.lists(windows))
def test_tiles_leave_no_hole(span, existing):
    assert covers(tile(span, existing), span)


@given(st.integers(0, 4_102_444_800_000_000))
def test_microseconds_are_exact_both_ways(us):
    assert to_us(from_us(us)) == us


def test_times_are_written_in_utc_with_a_z():
    berlin = datetime(2026, 11, 24, 19, 15, tzinfo=timezone(timedelta(hours=1)))
    assert format_time(berlin) == "2026-11-24T18:15:00Z"
    assert parse_time("2026-11-24T19:15:00+01:00") == berlin
    assert str(window(0, 15)) == "[2026-11-24T18:00:00Z, 2026-11-24T18:15:00Z)"
    assert window(15, 30).key == "2026-11-24-18:15"


@pytest.mark.parametrize(("minute", "floor"), [(0, 0), (1, 0), (14, 0), (15, 15), (59, 45)])
def test_times_are_floored_to_the_quarter_hour(minute, floor):
    time = T0 + timedelta(minutes=minute)
    assert floor_quarter_hour(time) == T0 + timedelta(minutes=floor)
    assert is_quarter_hour(time) == (minute == floor)
    assert ceil_quarter_hour(time) == T0 + timedelta(minutes=floor if minute == floor else floor + 15)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Window(T0, T0),
        lambda: Window(T0 + QUARTER_HOUR, T0),
        lambda: Window(T0.replace(tzinfo=None), T0 + QUARTER_HOUR),
        lambda: parse_time("2026-11-24T18:00:00"),
        lambda: parse_time("yesterday"),
        lambda: format_time(T0.replace(tzinfo=None)),
        lambda: to_us(T0.replace(tzinfo=None)),
    ],
)
def test_what_is_no_window_or_time_is_refused(build):
    with pytest.raises(ValueError):
        build()
