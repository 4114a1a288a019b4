"""Half-open intervals of time, `[start, end)`, and the arithmetic of what is covered and what is missing.

Nothing here knows of exports, tables or Dagster.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

QUARTER_HOUR = timedelta(minutes=15)
LONGEST_EXPORT = timedelta(hours=24)
"""DynamoDB exports at most 24 hours incrementally (AWS: ServiceQuotas, limits-table-export)."""

KEY_FORMAT = "%Y-%m-%d-%H:%M"
"""How a window's start names its Dagster partition."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(time: datetime) -> int:
    """Return the whole microseconds from the epoch to an aware time."""
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone; ddb_lake reckons in aware UTC times")
    return (time - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Return the UTC time that lies `us` microseconds after the epoch."""
    return _EPOCH + timedelta(microseconds=us)


def format_time(time: datetime) -> str:
    """Write an aware time as ISO 8601 in UTC with a Z, and with a fraction only where it has one."""
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone; ddb_lake reckons in aware UTC times")
    return time.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 time with an offset or a Z.

    Raises:
        ValueError: If the text is no time or says nothing of its time zone.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; end it with a Z for UTC")
    return time.astimezone(UTC)


def floor_quarter_hour(time: datetime) -> datetime:
    """Return the last quarter-hour of UTC that is not after `time`."""
    return _EPOCH + (time - _EPOCH) // QUARTER_HOUR * QUARTER_HOUR


def ceil_quarter_hour(time: datetime) -> datetime:
    """Return the first quarter-hour of UTC that is not before `time`."""
    floor = floor_quarter_hour(time)
    return floor if floor == time else floor + QUARTER_HOUR


def is_quarter_hour(time: datetime) -> bool:
    """Tell whether a time lies on a quarter-hour of UTC."""
    return floor_quarter_hour(time) == time


@dataclass(frozen=True, order=True)
class Window:
    """The interval `[start, end)` of aware UTC time.

    Raises:
        ValueError: If a bound has no time zone, or `start` is not before `end`.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError(f"the window {self.start!r} to {self.end!r} has a bound without time zone")
        if self.start >= self.end:
            raise ValueError(f"the window from {self.start} to {self.end} is empty")
        object.__setattr__(self, "start", self.start.astimezone(UTC))
        object.__setattr__(self, "end", self.end.astimezone(UTC))

    @property
    def start_us(self) -> int:
        """The first microsecond since the epoch that belongs to the window."""
        return to_us(self.start)

    @property
    def end_us(self) -> int:
        """The first microsecond since the epoch that no longer belongs to the window."""
        return to_us(self.end)

    @property
    def duration(self) -> timedelta:
        """How long the window is."""
        return self.end - self.start

    @property
    def key(self) -> str:
        """The key of the Dagster partition that the window's start lies in, such as `2026-11-24-18:15`."""
        return floor_quarter_hour(self.start).strftime(KEY_FORMAT)

    def __str__(self) -> str:
        return f"[{format_time(self.start)}, {format_time(self.end)})"


def merge(windows: Iterable[Window]) -> tuple[Window, ...]:
    """Return the union of some windows as disjoint windows in order, adjacent ones joined."""
    merged: list[Window] = []
    for window in sorted(windows):
        if merged and window.start <= merged[-1].end:
            if window.end > merged[-1].end:
                merged[-1] = Window(merged[-1].start, window.end)
        else:
            merged.append(window)
    return tuple(merged)


def missing(span: Window, covered: Iterable[Window]) -> tuple[Window, ...]:
    """Return the parts of `span` that no window of `covered` contains, in order."""
    holes: list[Window] = []
    reached = span.start
    for window in merge(covered):
        if window.start > reached:
            if window.start >= span.end:
                break
            holes.append(Window(reached, window.start))
        reached = max(reached, window.end)
    if reached < span.end:
        holes.append(Window(reached, span.end))
    return tuple(holes)


def listed(windows: Iterable[Window], most: int = 5) -> str:
    """Return some windows for a message, the first few of many."""
    named = list(windows)
    return ", ".join(map(str, named[:most])) + (f" and {len(named) - most} more" if len(named) > most else "")


def touch(one: Window, other: Window) -> bool:
    """Tell whether two windows have an instant in common."""
    return one.start < other.end and other.start < one.end


def covers(covered: Iterable[Window], window: Window) -> bool:
    """Tell whether every instant of `window` lies in one of `covered`."""
    return not missing(window, covered)


def quarter_hours(span: Window) -> tuple[Window, ...]:
    """Return the quarter-hours that touch `span`, in order; a span off the boundary is widened to it."""
    starts: list[datetime] = []
    start = floor_quarter_hour(span.start)
    while start < span.end:
        starts.append(start)
        start += QUARTER_HOUR
    return tuple(Window(start, start + QUARTER_HOUR) for start in starts)


def blocks(windows: Iterable[Window], limit: timedelta = LONGEST_EXPORT) -> tuple[Window, ...]:
    """Join adjacent windows into as few blocks as possible, none longer than `limit`, in order.

    A block ends where one of the windows ends, so that every window lies in one block as a whole.

    Raises:
        ValueError: If a window is longer than `limit` by itself.
    """
    joined: list[Window] = []
    for window in sorted(set(windows)):
        if window.duration > limit:
            raise ValueError(f"the window {window} is longer than {limit}")
        if joined and window.start <= joined[-1].end and window.end - joined[-1].start <= limit:
            joined[-1] = Window(joined[-1].start, max(joined[-1].end, window.end))
        else:
            joined.append(window)
    return tuple(joined)


def tile(span: Window, existing: Iterable[Window], earliest: datetime | None = None) -> tuple[Window, ...]:
    """Cover `span` by windows that exist, and by new ones of 15 minutes to 24 hours where none does, in order.

    Where several exist the one that reaches furthest is taken, so that few are. Existing windows are taken whole:
    the first and the last may reach beyond `span`. So may new ones, which begin and end on quarter-hours.

    Args:
        span: What is to be covered.
        existing: The windows that exist.
        earliest: No new window begins before this time; where it cuts a quarter-hour, the new window that begins
            with it reaches at least to the end of the next one. `span` must not begin before it.
    """
    known = sorted(set(existing))
    tiles: list[Window] = []
    reached = span.start
    while reached < span.end:
        around = [window for window in known if window.start <= reached < window.end]
        if around:
            tiles.append(max(around, key=lambda window: (window.end, window.start)))
            reached = tiles[-1].end
        else:
            gap_end = min((window.start for window in known if reached < window.start < span.end), default=span.end)
            new = blocks(quarter_hours(Window(reached, gap_end)))
            tiles += new if earliest is None else [_begun_at(earliest, window) for window in new]
            reached = gap_end
    return tuple(tiles)


def _begun_at(earliest: datetime, window: Window) -> Window:
    """Return what is left of a window of quarter-hours from a time on, as long as a quarter-hour at least."""
    if window.start >= earliest:
        return window
    end = window.end if window.end - earliest >= QUARTER_HOUR else window.end + QUARTER_HOUR
    return Window(earliest, end)
