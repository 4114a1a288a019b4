"""How much the decoded exports of a change log hold, so that it is noticed when some of it was removed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ddb_lake.windows import Window

Integers = NDArray[np.int64]


def _none() -> Integers:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Contents:
    """In how many quarter-hours each export has changes; of one that is not named here, in one.

    Args:
        starts: Where the named exports begin, in µs since the epoch; in order, and by length where they are equal.
        lengths: How long they are, in µs.
        counts: In how many quarter-hours each has changes; 0 where it has none at all.
    """

    starts: Integers = field(default_factory=_none)
    lengths: Integers = field(default_factory=_none)
    counts: Integers = field(default_factory=_none)

    @classmethod
    def of_counts(cls, counts: Mapping[Window, int]) -> "Contents":
        """Return the contents of exports of which the counts are known."""
        made = sorted((window.start_us, window.end_us - window.start_us, n) for window, n in counts.items() if n != 1)
        starts, lengths, numbers = np.array(made, np.int64).reshape(-1, 3).T
        return cls(starts, lengths, numbers)

    def of(self, export: Window) -> int:
        """Return in how many quarter-hours an export has changes."""
        place, found = self._find(export)
        return int(self.counts[place]) if found else 1

    def having(self, export: Window, count: int) -> "Contents":
        """Return the same with the count of one export set."""
        place, found = self._find(export)
        if found:
            kept = np.arange(len(self.starts)) != place
            others = Contents(self.starts[kept], self.lengths[kept], self.counts[kept])
            return others if count == 1 else others.having(export, count)
        if count == 1:
            return self
        start, length = export.start_us, export.end_us - export.start_us
        return Contents(
            np.insert(self.starts, place, start),
            np.insert(self.lengths, place, length),
            np.insert(self.counts, place, count),
        )

    def ending_after(self, time_us: int) -> "Contents":
        """Return the same without the exports that end at a time or before."""
        kept = self.starts + self.lengths > time_us
        return self if kept.all() else Contents(self.starts[kept], self.lengths[kept], self.counts[kept])

    def _find(self, export: Window) -> tuple[int, bool]:
        """Return an export's place, or where it would be, and whether it is there."""
        start, length = export.start_us, export.end_us - export.start_us
        first, last = np.searchsorted(self.starts, start, "left"), np.searchsorted(self.starts, start, "right")
        place = int(first + np.searchsorted(self.lengths[first:last], length))
        return place, bool(place < last and self.lengths[place] == length)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contents) and all(
            np.array_equal(mine, theirs)
            for mine, theirs in (
                (self.starts, other.starts),
                (self.lengths, other.lengths),
                (self.counts, other.counts),
            )
        )

    def __hash__(self) -> int:
        return hash(self.counts.tobytes())
