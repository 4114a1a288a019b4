"""The compact code of what a table holds, so that every commit can carry it however long the table has lived.

Times are whole units from the first one on (a quarter-hour is one), runs of exports and covered stretches are columns
of differences, and an export's contents are a bit or two. All of it is deflated and written in base 85, which JSON
takes as it is.
"""

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from ddb_lake.replica.contents import Contents, Integers
from ddb_lake.replica.spans import Run, Spans
from ddb_lake.windows import QUARTER_HOUR, Window, from_us, to_us

QUARTER_HOUR_US = QUARTER_HOUR // timedelta(microseconds=1)

_HEAD = struct.Struct("<qqII")
"""The unit in µs, the first time in units, and how many runs and covered stretches there are."""


@dataclass(frozen=True)
class Coded:
    """What is coded.

    Args:
        spans: The exports that are known one by one.
        unknown: Covered time of whose exports nothing more is known, as disjoint windows in order.
        contents: What is known of the exports' contents.
    """

    spans: Spans = field(default_factory=Spans)
    unknown: tuple[Window, ...] = ()
    contents: Contents = field(default_factory=Contents)


def encode_coded(coded: Coded) -> str:
    """Return the code; what the contents say of exports that are not among the spans is left out."""
    starts = np.array([to_us(run.start) for run in coded.spans.runs], np.int64)
    lengths = np.array([run.length // timedelta(microseconds=1) for run in coded.spans.runs], np.int64)
    counts = np.array([run.count for run in coded.spans.runs], np.int64)
    bounds = np.array([bound for each in coded.unknown for bound in (each.start_us, each.end_us)], np.int64)
    unit = math.gcd(*starts.tolist(), *lengths.tolist(), *bounds.tolist()) or 1
    first = min([*starts.tolist(), *bounds.tolist()], default=0) // unit
    ends = np.concatenate([[first], (starts + lengths * counts) // unit])
    marks = np.concatenate([[first], bounds // unit])
    parts = [
        _HEAD.pack(unit, first, len(starts), len(coded.unknown)),
        _column(_zigzag(starts // unit - ends[:-1])),
        _column(lengths // unit),
        _column(counts - 1),
        _column(_zigzag(np.diff(marks))),
        *_encode_contents(coded.contents, starts, lengths, counts),
    ]
    data = b"".join(parts)
    # What is as good as random deflates better without the search for repetitions.
    deflated = (_deflate(data, strategy) for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY))
    return base64.b85encode(min(deflated, key=len)).decode()


def decode_coded(text: str) -> Coded:
    """Return what `encode_coded` wrote.

    Raises:
        ValueError: If the text is damaged.
    """
    try:
        data = _Reader(zlib.decompress(base64.b85decode(text)))
        unit, first, runs, stretches = _HEAD.unpack(data.take(_HEAD.size))
        gaps, lengths, counts = _unzigzag(data.column(runs)), data.column(runs), data.column(runs) + 1
        took = lengths * counts
        starts = (first + np.cumsum(gaps) + np.cumsum(took) - took) * unit
        lengths = lengths * unit
        bounds = [from_us(us) for us in ((first + np.cumsum(_unzigzag(data.column(2 * stretches)))) * unit).tolist()]
        contents = _decode_contents(data, starts, lengths, counts)
    except (zlib.error, struct.error, IndexError) as error:
        raise ValueError(f"the code of what the table holds is damaged ({error})") from error
    made = zip(starts.tolist(), lengths.tolist(), counts.tolist(), strict=True)
    return Coded(
        Spans(tuple(Run(from_us(start), timedelta(microseconds=length), count) for start, length, count in made)),
        tuple(Window(bounds[place], bounds[place + 1]) for place in range(0, len(bounds), 2)),
        contents,
    )


def _windows(starts: Integers, lengths: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """Return the start and the length of each window of some runs."""
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    each = np.repeat(lengths, counts)
    return np.repeat(starts, counts) + within * each, each


def _encode_contents(contents: Contents, starts: Integers, lengths: Integers, counts: Integers) -> Sequence[bytes]:
    """Return whether each window has changes, and of those that have and reach into several quarters in how many."""
    if not len(contents.starts):
        return [b"\0"]
    begin, length = _windows(starts, lengths, counts)
    held = np.ones(len(begin), np.int64)
    for each in np.unique(contents.lengths).tolist():
        named = contents.lengths == each
        places = np.flatnonzero(length == each)
        places = places[np.argsort(begin[places], kind="stable")]
        found = np.searchsorted(begin[places], contents.starts[named])
        known = found < len(places)
        known[known] = begin[places[found[known]]] == contents.starts[named][known]
        held[places[found[known]]] = contents.counts[named][known]
    most = _quarters(begin, length)
    held = np.minimum(held, most)
    several = held[(held > 0) & (most == 2)]
    many = (held > 0) & (most > 2)
    return [
        b"\1",
        np.packbits(held == 0).tobytes(),
        np.packbits(several == 2).tobytes(),
        _column((most - held)[many]),
    ]


def _decode_contents(data: "_Reader", starts: Integers, lengths: Integers, counts: Integers) -> Contents:
    if data.take(1) == b"\0":
        return Contents()
    begin, length = _windows(starts, lengths, counts)
    held = np.where(data.bits(len(begin)), 0, 1).astype(np.int64)
    most = _quarters(begin, length)
    several = np.flatnonzero((held > 0) & (most == 2))
    held[several] += data.bits(len(several))
    many = np.flatnonzero((held > 0) & (most > 2))
    held[many] = most[many] - data.column(len(many))
    named = np.flatnonzero(held != 1)
    named = named[np.lexsort((length[named], begin[named]))]
    return Contents(begin[named], length[named], held[named])


def _quarters(starts: Integers, lengths: Integers) -> Integers:
    """Return how many quarter-hours each window touches."""
    return (starts + lengths - 1) // QUARTER_HOUR_US - starts // QUARTER_HOUR_US + 1


def _zigzag(values: Integers) -> Integers:
    return np.where(values < 0, -2 * values - 1, 2 * values)


def _unzigzag(values: Integers) -> Integers:
    return np.where(values % 2 == 1, -(values + 1) // 2, values // 2)


def _column(values: Integers) -> bytes:
    """Return whole numbers from 0 on in as few bytes each as all of them fit in, first bytes first."""
    width = next(width for width in (1, 2, 4, 8) if not len(values) or int(values.max()) < 256**width)
    planes = values.astype(f"<u{width}").view(np.uint8).reshape(-1, width).T
    return bytes([width]) + planes.tobytes()


def _deflate(data: bytes, strategy: int) -> bytes:
    deflating = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return deflating.compress(data) + deflating.flush()


class _Reader:
    """Takes a code apart, from its beginning on."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) < size:
            raise IndexError("it ends too early")
        self._at += size
        return taken

    def column(self, count: int) -> Integers:
        (width,) = self.take(1)
        planes = np.frombuffer(self.take(width * count), np.uint8).reshape(width, count)
        return np.ascontiguousarray(planes.T).view(f"<u{width}").reshape(-1).astype(np.int64)

    def bits(self, count: int) -> NDArray[np.uint8]:
        return np.unpackbits(np.frombuffer(self.take(-(-count // 8)), np.uint8), count=count)
