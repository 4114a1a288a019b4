"""The windows of exports that a table holds, kept as runs of adjacent ones of equal length.

What an export shows depends on its window (AWS: "Output format", an incremental export holds net effects), so
the windows must be known one by one, not merged. Years of quarter-hours are one run.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ddb_lake import windows
from ddb_lake.windows import Window, format_time, parse_time


@dataclass(frozen=True, order=True)
class Run:
    """Adjacent windows of equal length.

    Args:
        start: Where the first begins.
        length: Of each.
        count: How many there are, at least 1.
    """

    start: datetime
    length: timedelta
    count: int

    @property
    def end(self) -> datetime:
        """Where the last ends."""
        return self.start + self.count * self.length

    def touching(self, window: Window) -> Iterator[Window]:
        """Yield those that have an instant in common with `window`, in order."""
        first = max(0, (window.start - self.start) // self.length)
        last = min(self.count, -((self.start - window.end) // self.length))
        for number in range(first, last):
            start = self.start + number * self.length
            yield Window(start, start + self.length)

    def holds(self, window: Window) -> bool:
        """Tell whether exactly this window is among them."""
        return (
            window.duration == self.length
            and self.start <= window.start < self.end
            and not (window.start - self.start) % self.length
        )


@dataclass(frozen=True)
class Spans:
    """A set of windows, which may overlap.

    Args:
        runs: In order, as long as can be, so that equal sets are equal.
    """

    runs: tuple[Run, ...] = ()

    def adding(self, added: Iterable[Window]) -> "Spans":
        """Return the set with some windows more."""
        runs = list(self.runs)
        for window in added:
            if any(run.holds(window) for run in runs):
                continue
            start, end, count = window.start, window.end, 1
            neighbours = [
                run for run in runs if run.length == window.duration and (run.end == start or run.start == end)
            ]
            for run in neighbours:
                runs.remove(run)
                start, count = min(start, run.start), count + run.count
            runs.append(Run(start, window.duration, count))
        return Spans(tuple(sorted(runs)))

    def without(self, window: Window) -> "Spans":
        """Return the set without a window."""
        runs: list[Run] = []
        for run in self.runs:
            if not run.holds(window):
                runs.append(run)
                continue
            before = (window.start - run.start) // run.length
            parts = Run(run.start, run.length, before), Run(window.end, run.length, run.count - before - 1)
            runs += [part for part in parts if part.count]
        return Spans(tuple(sorted(runs)))

    def ending_after(self, time: datetime) -> "Spans":
        """Return those that end after a time."""
        runs: list[Run] = []
        for run in self.runs:
            gone = min(run.count, max(0, (time - run.start) // run.length))
            if gone < run.count:
                runs.append(Run(run.start + gone * run.length, run.length, run.count - gone))
        return Spans(tuple(sorted(runs)))

    def touching(self, window: Window) -> tuple[Window, ...]:
        """Return those that have an instant in common with `window`, in order."""
        return tuple(sorted(each for run in self.runs for each in run.touching(window)))

    def overlapping(self, window: Window) -> tuple[Window, ...]:
        """Return those but `window` itself that have an instant in common with it, in order."""
        return tuple(each for each in self.touching(window) if each != window)

    def all(self) -> tuple[Window, ...]:
        """Return every window, in order."""
        return tuple(sorted(each for run in self.runs for each in run.touching(Window(run.start, run.end))))

    def union(self) -> tuple[Window, ...]:
        """Return the time that they cover, as disjoint windows in order."""
        return windows.merge(Window(run.start, run.end) for run in self.runs)

    def __contains__(self, window: Window) -> bool:
        return any(run.holds(window) for run in self.runs)


def encode_spans(spans: Spans) -> list[list[str | int]]:
    """Return each run as the first window's two ISO times and how many there are."""
    return [[format_time(run.start), format_time(run.start + run.length), run.count] for run in spans.runs]


def decode_spans(told: Iterable[tuple[str, str, int]]) -> Spans:
    """Return what `encode_spans` wrote."""
    return Spans(tuple(_run(parse_time(start), parse_time(end), count) for start, end, count in told))


def _run(start: datetime, end: datetime, count: int) -> Run:
    return Run(start, end - start, count)


def export_name(window: Window) -> str:
    """Return how the change log's rows name their export: its window as an ISO 8601 interval."""
    return f"{format_time(window.start)}/{format_time(window.end)}"


def export_window(name: str) -> Window:
    """Return the window that `export_name` named."""
    start, end = name.split("/")
    return Window(parse_time(start), parse_time(end))
