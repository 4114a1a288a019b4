"""A segment: the keys of one data file, sorted by hash, as flat arrays that are searched without reading them whole.

A data file never changes, so neither does its segment: there is no state to keep in step with the log. A segment
that is absent, damaged or of another file is made again from the data file.

    magic (8 bytes) · length of the header (u32) · CRC-32 of the header (u32) · header (JSON) · arrays

Each array begins at a multiple of 64 bytes: the filter (u64 words, their checksums in the header), every 16th hash
(i64) and the entries. An entry is some u32 words: hash (2), fingerprint (4), write time and tie-break (as offsets
from the least, 0, 1 or 2), row (0 or 1: none where the data file itself is in the entries' order) and check (1).
Entries are sorted by hash, those of one hash by the fingerprint's first half: so keys that were made to have one hash
are searched as quickly as others. The fingerprints' own key is in the header, a random one in each segment. The check
covers a row's values, its position and the data file's path, so that every value that a search relies on is verified,
and none of the others need be read. What a row's search needs lies together, since a look at another page of the file
is what costs most.
"""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import orjson

from ddb_lake.replica.key_index.filter import I64, U64, Filter, patterns, words_for
from ddb_lake.replica.key_index.fingerprints import KeyTexts, new_secret

MAGIC = b"DDBLKIX3"
ALIGNMENT = 64
PREFIX = 16
"""Bytes before the header."""
STEP = 16
"""From how many entries one hash stands in the array that is searched first."""
AT_ONCE = 16384
"""How many keys are searched together: some 15 MB."""

U32 = npt.NDArray[np.uint32]


class DamagedSegment(Exception):
    """A segment is not what was written, or of another data file: make it again. Never seen outside."""


@dataclass(frozen=True)
class Rows:
    """Rows of data files as an index knows them, in no order.

    Args:
        hashes: `_key_hash`.
        times: `_write_time_us`.
        ties: `_tie_break`.
        rows: Where the row is in its data file, from 0.
    """

    hashes: I64
    times: I64
    ties: I64
    rows: I64

    def __len__(self) -> int:
        return len(self.hashes)

    def take(self, positions: npt.NDArray[Any]) -> "Rows":
        """Return some of the rows, by their positions or by a mask."""
        return Rows(
            self.hashes[positions],
            self.times[positions],
            self.ties[positions],
            self.rows[positions],
        )


@dataclass(frozen=True)
class Probes:
    """Keys that are searched.

    Args:
        hashes: Their `_key_hash`, in order.
        texts: The keys themselves.
        patterns: What a filter needs of the hashes, computed once for all files.
    """

    hashes: I64
    texts: KeyTexts
    patterns: U64

    @staticmethod
    def of(hashes: I64, texts: KeyTexts) -> "Probes":
        """Return the probes of some keys by their hashes, which are in order, and their texts."""
        return Probes(hashes, texts, patterns(hashes))

    def __len__(self) -> int:
        return len(self.hashes)

    def between(self, first: int, last: int) -> "Probes":
        """Return some of the probes, by the position of the first and the one after the last."""
        return Probes(self.hashes[first:last], self.texts.between(first, last), self.patterns[first:last])


@dataclass(frozen=True)
class Found:
    """Rows that a search found.

    Args:
        probes: For each, the position of the probe that it has the hash and the fingerprint of.
        rows: What the index knows of them.
    """

    probes: I64
    rows: Rows


def join_found(parts: Sequence[Found]) -> Found:
    """Return what several searches found, one after the other."""
    return Found(joined([each.probes for each in parts]), join_rows([each.rows for each in parts]))


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Return the rows of several files, one after the other."""
    return Rows(
        joined([each.hashes for each in parts]),
        joined([each.times for each in parts]),
        joined([each.ties for each in parts]),
        joined([each.rows for each in parts]),
    )


def joined(parts: Iterable[I64]) -> I64:
    """Return several arrays as one."""
    return np.concatenate([np.zeros(0, np.int64), *parts])


def encode_segment(rows: Rows, texts: KeyTexts, path: str) -> bytes:
    """Return the segment of a data file's rows.

    Args:
        rows: All of them.
        texts: Their keys, in the same order.
        path: The data file's.
    """
    secret = new_secret()
    prints = texts.fingerprints(secret)
    order = np.argsort(rows.hashes, kind="stable")
    if np.any(np.diff(rows.hashes[order]) == 0):
        order = np.lexsort((prints[:, 0], rows.hashes))
    rows, prints = rows.take(order), prints[order]
    count = len(rows)
    header: dict[str, Any] = {"path": path, "rows": count, "key": secret.hex(), "bases": {}, "filter": None}
    parts: list[tuple[str, npt.NDArray[Any]]] = [
        ("hash", rows.hashes.astype("<i8")),
        ("fingerprint", prints.astype("<u8")),
    ]
    for name, values in (("time", rows.times), ("tie", rows.ties)):
        base, offsets = _offsets(values)
        header["bases"][name] = base
        if offsets is not None:
            parts.append((name, offsets))
    if not np.array_equal(rows.rows, np.arange(count, dtype=np.int64)):
        parts.append(("row", rows.rows.astype("<u4")))
    parts.append(("check", _checks(rows, prints, np.arange(count, dtype=np.int64), path)))
    words = {name: values.dtype.itemsize // 4 * math.prod(values.shape[1:]) for name, values in parts}
    header["entry"] = words
    entries = np.hstack([values.view("<u4").reshape(count, words[name]) for name, values in parts])
    padding = np.zeros((-count % STEP, entries.shape[1]), dtype="<u4")
    arrays = [rows.hashes[::STEP].astype("<i8"), np.concatenate([entries, padding])]
    if count:
        found = Filter.of(rows.hashes)
        header["filter"] = {"least": found.least, "most": found.most, "sums": found.sums}
        arrays.insert(0, found.words)
    told = orjson.dumps(header)
    body = bytearray(_aligned(PREFIX + len(told)))
    body[:PREFIX] = MAGIC + len(told).to_bytes(4, "little") + zlib.crc32(told).to_bytes(4, "little")
    body[PREFIX : PREFIX + len(told)] = told
    for values in arrays:
        body += values.tobytes()
        body += bytes(_aligned(values.nbytes) - values.nbytes)
    return bytes(body)


class Segment:
    """A segment's bytes, perhaps mapped into memory and never read whole.

    Args:
        data: The bytes.
        path: The data file that it must be of.
        rows: How many rows that has.

    Raises:
        DamagedSegment: If the header is not that of a whole segment of this data file.
    """

    def __init__(self, data: npt.NDArray[np.uint8], path: str, rows: int) -> None:
        self.path = path
        self._data = data
        header = self._read_header()
        if header["path"] != path or header["rows"] != rows:
            raise DamagedSegment(f"it is of {header['path']} with {header['rows']} rows")
        self._secret = bytes.fromhex(header["key"])
        self._bases = cast("Mapping[str, int]", header["bases"])
        self._words: dict[str, slice] = {}
        width = 0
        for name, words in cast("Mapping[str, int]", header["entry"]).items():
            self._words[name] = slice(width, width + words)
            width += words
        start = _aligned(PREFIX + int.from_bytes(data[8:12].tobytes(), "little"))
        groups = -(-rows // STEP)
        sizes = [8 * words_for(rows), 8 * groups, 4 * width * STEP * groups]
        size = start + sum(map(_aligned, sizes))
        if len(data) != size:
            raise DamagedSegment(f"it has {len(data)} bytes, not {size}")
        arrays: list[npt.NDArray[np.uint8]] = []
        for each in sizes:
            arrays.append(data[start : start + each])
            start += _aligned(each)
        words, steps, entries = arrays
        told = header["filter"]
        self._filter = told and Filter(told["least"], told["most"], words.view("<u8"), tuple(told["sums"]))
        self._steps = cast("I64", steps.view("<i8"))
        self._groups = cast("U32", entries.view("<u4")).reshape(groups, STEP * width)
        self._entries = self._groups.reshape(groups * STEP, width)[:rows]

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, probes: Probes) -> Found:
        """Return the rows that have a probe's hash and fingerprint, each one verified.

        That a hash is *not* there is proved by the filter, whose checksums are verified; where it lets one through,
        by the verified rows on both sides of the hash's place: they are where the segment's writer, who had sorted
        them, has put them.

        Raises:
            DamagedSegment: If anything that was looked at is not what was written.
        """
        if self._filter is None:
            return join_found([])
        passing = self._filter.passing(probes.hashes, probes.patterns)
        if passing is None:
            raise DamagedSegment("a checksum of the filter is wrong")
        blocks = (passing[start : start + AT_ONCE] for start in range(0, len(passing), AT_ONCE))
        return join_found([self._find_all(probes, block) for block in blocks])

    def _find_all(self, probes: Probes, passing: I64) -> Found:
        """Return the rows of some probes, looking for each."""
        hashes, prints = probes.hashes[passing], probes.texts.fingerprints(self._secret, passing)
        left, right = self._narrowed(*self._places(hashes), prints[:, 0])
        # The rows of a key, of one key after the other, and one on each side of them.
        begins, ends = np.maximum(left - 1, 0), np.minimum(right + 1, len(self))
        lengths = ends - begins
        each = np.repeat(np.arange(len(hashes)), lengths)
        positions = np.arange(len(each)) + np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
        rows, there = self._take(positions)
        before, after = positions < left[each], positions >= right[each]
        equal = rows.hashes == hashes[each]
        least = (rows.hashes < hashes[each]) | (equal & (there[:, 0] < prints[each, 0]))
        most = (rows.hashes > hashes[each]) | (equal & (there[:, 0] > prints[each, 0]))
        if np.any(before & ~least) or np.any(after & ~most) or np.any(~before & ~after & ~equal):
            raise DamagedSegment("the rows are not in order")
        same = equal & np.all(there == prints[each], axis=1) & ~before & ~after
        return Found(passing[each[same]], rows.take(same))

    def _take(self, positions: I64) -> tuple[Rows, U64]:
        """Return some rows by their positions in the segment, with their fingerprints, verified.

        Raises:
            DamagedSegment: If one is not what was written.
        """
        entries = self._entries[positions]
        rows = Rows(
            hashes=self._part("hash", entries).view("<i8"),
            times=self._values("time", entries),
            ties=self._values("tie", entries),
            rows=self._part("row", entries).astype(np.int64) if "row" in self._words else positions.astype(np.int64),
        )
        prints = self._prints(entries)
        if not np.array_equal(_checks(rows, prints, positions, self.path), self._part("check", entries)):
            raise DamagedSegment("a row's check is wrong")
        return rows, prints

    def _narrowed(self, left: I64, right: I64, prints: U64) -> tuple[I64, I64]:
        """Return where, of several rows of a hash, those begin and end whose fingerprint begins as is searched."""
        left, right = left.copy(), right.copy()
        many = np.flatnonzero(right - left > 1)
        ends = right[many]
        for bound, passes in ((left, np.less), (right, np.less_equal)):
            low, high = left[many], ends.copy()
            while len(open_ := np.flatnonzero(low < high)):
                middle = (low[open_] + high[open_]) // 2
                passed = passes(self._prints(self._entries[middle])[:, 0], prints[many[open_]])
                low[open_] = np.where(passed, middle + 1, low[open_])
                high[open_] = np.where(passed, high[open_], middle)
            bound[many] = low
        return left, right

    def _places(self, hashes: I64) -> tuple[I64, I64]:
        """Return where the rows of each hash begin and end: the same place where there are none. Nothing is verified.

        They are where the hashes say unless those are damaged, and in the segment's bounds even then.
        """
        first = np.searchsorted(self._steps, hashes, "left")
        left, equal = self._count(first, hashes)
        right = left + equal
        # Where a step is of the hash, its rows go on behind the entries that were looked at.
        last = np.searchsorted(self._steps, hashes, "right")
        on = np.flatnonzero(last > first)
        if len(on):
            less, equal = self._count(last[on], hashes[on])
            right[on] = np.maximum(right[on], less + equal)
        return left, right

    def _count(self, steps: I64, hashes: I64) -> tuple[I64, I64]:
        """Return how many entries are less than each hash, and how many are equal, by what stands after a step.

        Args:
            steps: For each hash the number of a step, from 1, that has none less than it behind the next step, and
                none equal before it; 0 counts as 1.
            hashes: As many.
        """
        begins = np.maximum(steps - 1, 0)
        entries = self._groups[begins].reshape(len(begins) * STEP, self._entries.shape[1])
        found = self._part("hash", entries).view("<i8").reshape(len(begins), STEP)
        there = begins[:, None] * STEP + np.arange(STEP) < len(self)
        less = (found < hashes[:, None]) & there
        equal = (found == hashes[:, None]) & there
        return begins * STEP + less.sum(axis=1), equal.sum(axis=1)

    def _values(self, name: str, entries: U32) -> I64:
        base = self._bases[name]
        if name not in self._words:
            return np.full(len(entries), base, dtype=np.int64)
        return (self._part(name, entries).astype(np.uint64) + np.uint64(base % 2**64)).view(np.int64)

    def _prints(self, entries: U32) -> U64:
        return np.ascontiguousarray(entries[:, self._words["fingerprint"]]).view("<u8")

    def _part(self, name: str, entries: U32) -> npt.NDArray[Any]:
        """Return one value of some entries, of 4 or 8 bytes."""
        words = np.ascontiguousarray(entries[:, self._words[name]])
        return words.view(f"<u{words.itemsize * words.shape[1]}")[:, 0]

    def _read_header(self) -> Mapping[str, Any]:
        prefix = self._data[:PREFIX].tobytes()
        length = int.from_bytes(prefix[8:12], "little")
        told = self._data[PREFIX : PREFIX + length].tobytes()
        whole = length > 0 and len(told) == length
        if prefix[:8] != MAGIC or not whole or zlib.crc32(told) != int.from_bytes(prefix[12:], "little"):
            raise DamagedSegment("its header is damaged")
        return cast("Mapping[str, Any]", orjson.loads(told))


def _offsets(values: I64) -> tuple[int, npt.NDArray[Any] | None]:
    """Return the least value and the others' distances from it; None where all are equal."""
    if not len(values):
        return 0, None
    base, most = int(values.min()), int(values.max())
    if base == most:
        return base, None
    offsets = values.view(np.uint64) - np.uint64(base % 2**64)
    return base, offsets.astype("<u4" if most - base < 2**32 else "<u8")


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


_MULTIPLIERS = tuple(
    np.uint64(each)
    for each in (
        0x9E3779B97F4A7C15,
        0xBF58476D1CE4E5B9,
        0x94D049BB133111EB,
        0xD6E8FEB86659FD93,
        0xC2B2AE3D27D4EB4F,
    )
)


def _checks(rows: Rows, prints: U64, positions: npt.NDArray[Any], path: str) -> U32:
    """Return 32 bits of a hash of everything that a row's entry tells, and of where it stands."""
    seed = np.uint64(zlib.crc32(path.encode()) * 0x100000001 % 2**64)
    mixed = rows.hashes.astype(np.int64).view(np.uint64) ^ seed
    parts = (prints[:, 0], prints[:, 1], rows.times, rows.ties, rows.rows)
    for values, multiplier in zip(parts, _MULTIPLIERS, strict=True):
        mixed = (mixed ^ (mixed >> np.uint64(31))) * multiplier
        mixed += values.astype(values.dtype.newbyteorder("=")).view(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _MULTIPLIERS[0]
    mixed += positions.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _MULTIPLIERS[1]
    return (mixed >> np.uint64(32)).astype("<u4")
