"""A segment: the keys of one data file, sorted by hash, as flat arrays that are searched without reading them whole.

A data file never changes, so neither does its segment: there is no state to keep in step with the log. A segment
that is absent, damaged or of another file is made again from the data file.

    magic (8 bytes) · length of the header (u32) · CRC-32 of the header (u32) · header (JSON) · arrays

Each array begins at a multiple of 64 bytes: hash (i64), fingerprint (u64), write time and tie-break (as offsets from
the least, 0, 4 or 8 bytes a row), row (0 or 4 bytes a row: none where the data file itself is sorted by hash) and
check (u32). The check covers a row's values, its position and the data file's path, so that every value that a
search relies on is verified, and none of the others need be read.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import orjson

MAGIC = b"DDBLKIX1"
ALIGNMENT = 64
PREFIX = 16
"""Bytes before the header."""

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
U32 = npt.NDArray[np.uint32]

WIDTHS = {0: np.dtype("<u8"), 4: np.dtype("<u4"), 8: np.dtype("<u8")}


class DamagedSegment(Exception):
    """A segment is not what was written, or of another data file: make it again. Never seen outside."""


@dataclass(frozen=True)
class Rows:
    """Rows of data files as an index knows them, in no order.

    Args:
        hashes: `_key_hash`.
        fingerprints: Of the key's columns.
        times: `_write_time_us`.
        ties: `_tie_break`.
        rows: Where the row is in its data file, from 0.
    """

    hashes: I64
    fingerprints: U64
    times: I64
    ties: I64
    rows: I64

    def __len__(self) -> int:
        return len(self.hashes)

    def take(self, positions: npt.NDArray[Any]) -> "Rows":
        """Return some of the rows, by their positions or by a mask."""
        return Rows(
            self.hashes[positions],
            self.fingerprints[positions],
            self.times[positions],
            self.ties[positions],
            self.rows[positions],
        )


@dataclass(frozen=True)
class Found:
    """Rows that a search found.

    Args:
        probes: For each, the position of the hash and fingerprint that were searched.
        rows: What the index knows of them.
    """

    probes: I64
    rows: Rows


def encode_segment(rows: Rows, path: str) -> bytes:
    """Return the segment of a data file's rows.

    Args:
        rows: All of them.
        path: The data file's.
    """
    order = np.argsort(rows.hashes, kind="stable")
    rows = rows.take(order)
    count = len(rows)
    identity = bool(np.array_equal(rows.rows, np.arange(count, dtype=np.int64)))
    columns: list[tuple[str, npt.NDArray[Any]]] = [
        ("hash", rows.hashes.astype("<i8")),
        ("fingerprint", rows.fingerprints.astype("<u8")),
    ]
    header: dict[str, Any] = {"path": path, "rows": count, "bases": {}, "arrays": {}}
    for name, values in (("time", rows.times), ("tie", rows.ties)):
        base, offsets = _offsets(values)
        header["bases"][name] = base
        if offsets is not None:
            columns.append((name, offsets))
    if not identity:
        columns.append(("row", rows.rows.astype("<u4")))
    columns.append(("check", _checks(rows, np.arange(count, dtype=np.int64), path)))
    at = 0
    for name, values in columns:
        header["arrays"][name] = [at, values.dtype.itemsize]
        at += _aligned(values.nbytes)
    told = orjson.dumps(header)
    body = bytearray(_aligned(PREFIX + len(told)))
    body[:PREFIX] = MAGIC + len(told).to_bytes(4, "little") + zlib.crc32(told).to_bytes(4, "little")
    body[PREFIX : PREFIX + len(told)] = told
    for _, values in columns:
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
        self._header = self._read_header()
        if self._header["path"] != path or self._header["rows"] != rows:
            raise DamagedSegment(f"it is of {self._header['path']} with {self._header['rows']} rows")
        self._start = _aligned(PREFIX + int.from_bytes(data[8:12].tobytes(), "little"))
        arrays = cast("Mapping[str, tuple[int, int]]", self._header["arrays"])
        size = self._start + sum(_aligned(width * rows) for _, width in arrays.values())
        if len(data) != size:
            raise DamagedSegment(f"it has {len(data)} bytes, not {size}")
        self._hashes = cast("I64", self._array("hash", "<i8"))

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, hashes: I64, fingerprints: U64) -> Found:
        """Return the rows that have a probe's hash and fingerprint, each one verified.

        That a hash is *not* there is proved by the verified rows on both sides of its place: they are where the
        segment's writer, who had sorted them, has put them.

        Args:
            hashes: In order.
            fingerprints: As many.

        Raises:
            DamagedSegment: If a row that was looked at is not what was written.
        """
        count = len(self._hashes)
        if not count or not len(hashes):
            return Found(np.zeros(0, np.int64), self.take(np.zeros(0, np.int64)))
        left = np.searchsorted(self._hashes, hashes, "left")
        within = left < count
        hit = np.zeros(len(hashes), dtype=bool)
        hit[within] = self._hashes[left[within]] == hashes[within]
        right = left + hit
        # Hardly ever do keys share a hash, and only then must the end of their run be searched for.
        run = hit & (right < count)
        run[run] = self._hashes[right[run]] == hashes[run]
        right[run] = np.searchsorted(self._hashes, hashes[run], "right")
        self._verify_neighbours(hashes, left, right)
        lengths = right - left
        probes = np.repeat(np.arange(len(hashes), dtype=np.int64), lengths)
        # The positions left, left + 1, … right - 1 of each hit, one after the other.
        begins = np.cumsum(lengths) - lengths
        positions = np.arange(len(probes)) + np.repeat(left - begins, lengths)
        rows = self.take(positions)
        same = rows.fingerprints == fingerprints[probes]
        return Found(probes[same], rows.take(same))

    def take(self, positions: I64) -> Rows:
        """Return some rows by their positions in the segment, verified.

        Raises:
            DamagedSegment: If one is not what was written.
        """
        rows = Rows(
            hashes=np.asarray(self._hashes[positions]),
            fingerprints=np.asarray(self._array("fingerprint", "<u8")[positions]),
            times=self._values("time", positions),
            ties=self._values("tie", positions),
            rows=np.asarray(self._array("row", "<u4")[positions]).astype(np.int64)
            if "row" in self._header["arrays"]
            else positions.astype(np.int64),
        )
        if not np.array_equal(_checks(rows, positions, self.path), self._array("check", "<u4")[positions]):
            raise DamagedSegment("a row's check is wrong")
        return rows

    def all(self) -> Rows:
        """Return all rows in the order of their hashes, verified.

        Raises:
            DamagedSegment: If one is not what was written.
        """
        rows = self.take(np.arange(len(self), dtype=np.int64))
        if np.any(rows.hashes[1:] < rows.hashes[:-1]):
            raise DamagedSegment("the hashes are not in order")
        return rows

    def _verify_neighbours(self, hashes: I64, left: I64, right: I64) -> None:
        """Check that the rows before and after each place are what was written, and of other hashes."""
        before, after = left - 1, right
        has_before, has_after = before >= 0, after < len(self)
        beside = np.concatenate([before[has_before], after[has_after]])
        self.take(beside if len(beside) < len(self) else np.arange(len(self), dtype=np.int64))
        if np.any(self._hashes[before[has_before]] >= hashes[has_before]) or np.any(
            self._hashes[after[has_after]] <= hashes[has_after]
        ):
            raise DamagedSegment("the hashes are not in order")

    def _values(self, name: str, positions: I64) -> I64:
        base = int(self._header["bases"][name])
        width = self._header["arrays"].get(name, (0, 0))[1]
        if not width:
            return np.full(len(positions), base, dtype=np.int64)
        offsets = np.asarray(self._array(name, WIDTHS[width].str)[positions]).astype(np.uint64)
        return (offsets + np.uint64(base % 2**64)).view(np.int64)

    def _array(self, name: str, dtype: str) -> npt.NDArray[Any]:
        at, width = self._header["arrays"][name]
        if np.dtype(dtype).itemsize != width:
            raise DamagedSegment(f"{name} has {width} bytes a row")
        start = self._start + at
        return self._data[start : start + width * int(self._header["rows"])].view(dtype)

    def _read_header(self) -> Mapping[str, Any]:
        prefix = self._data[:PREFIX].tobytes()
        length = int.from_bytes(prefix[8:12], "little")
        told = self._data[PREFIX : PREFIX + length].tobytes()
        if prefix[:8] != MAGIC or len(told) != length or zlib.crc32(told) != int.from_bytes(prefix[12:], "little"):
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
    np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93)
)


def _checks(rows: Rows, positions: npt.NDArray[Any], path: str) -> U32:
    """Return 32 bits of a hash of everything that a row's entry tells, and of where it stands."""
    seed = np.uint64(zlib.crc32(path.encode()) * 0x100000001 % 2**64)
    mixed = rows.hashes.astype(np.int64).view(np.uint64) ^ seed
    for values, multiplier in zip((rows.fingerprints, rows.times, rows.ties, rows.rows), _MULTIPLIERS, strict=True):
        mixed = (mixed ^ (mixed >> np.uint64(31))) * multiplier
        mixed += values.astype(values.dtype.newbyteorder("=")).view(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _MULTIPLIERS[0]
    mixed += positions.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * _MULTIPLIERS[1]
    return (mixed >> np.uint64(32)).astype("<u4")
