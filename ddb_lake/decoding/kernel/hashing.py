"""XXH64, seed 0 (github.com/Cyan4973/xxHash, "XXH64 algorithm description"), over a part of an array."""

from typing import Any

import numpy as np

from ddb_lake.decoding.kernel.compiling import Array, Int, compiled, inlined
from ddb_lake.decoding.kernel.vectors import half_word, word

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_64 = np.uint64(64)


@inlined
def _rotate(value: Any, count: Any) -> Any:
    return (value << np.uint64(count)) | (value >> np.uint64(_64 - np.uint64(count)))


@inlined
def _round(accumulator: Any, lane: Any) -> Any:
    return _rotate(accumulator + lane * _P2, 31) * _P1


@compiled
def xxh64(data: Array, start: Int, end: Int) -> Any:
    """Return the hash of `data[start:end]` as a signed 64-bit integer."""
    at = start
    if end - start >= 32:
        a = _P1 + _P2
        b = _P2
        c = np.uint64(0)
        d = np.uint64(0) - _P1
        while at <= end - 32:
            a = _round(a, word(data, at))
            b = _round(b, word(data, at + 8))
            c = _round(c, word(data, at + 16))
            d = _round(d, word(data, at + 24))
            at += 32
        digest = _rotate(a, 1) + _rotate(b, 7) + _rotate(c, 12) + _rotate(d, 18)
        for lane in (a, b, c, d):
            digest = (digest ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        digest = _P5
    digest += np.uint64(end - start)
    while at <= end - 8:
        digest = _rotate(digest ^ _round(np.uint64(0), word(data, at)), 27) * _P1 + _P4
        at += 8
    if at <= end - 4:
        digest = _rotate(digest ^ (half_word(data, at) * _P1), 23) * _P2 + _P3
        at += 4
    while at < end:
        digest = _rotate(digest ^ (np.uint64(data[at]) * _P5), 11) * _P1
        at += 1
    digest = (digest ^ (digest >> np.uint64(33))) * _P2
    digest = (digest ^ (digest >> np.uint64(29))) * _P3
    return np.int64(digest ^ (digest >> np.uint64(32)))
