r"""JSON strings in their canonical form: where they end, their order, their bytes without escapes.

Canonical is what orjson writes: short escapes, \u00xx in lower case for the other control characters, and
everything else as it is, in UTF-8. What is written in another way is reported as unusual by a negative end.
"""

from typing import Any

import numpy as np

from ddb_lake.decoding.kernel.compiling import Array, Int, compiled
from ddb_lake.decoding.kernel.vectors import LANES, beyond_ascii, different, equal, move, ones, stops, trailing_zeros

UNUSUAL = -1

ESCAPED = 1
"""A string's flag: it has escapes."""

_NOT_ASCII = 2


def _short_escapes() -> np.ndarray:
    table = np.zeros(256, np.uint8)
    for letter, byte in zip(b'"\\bfnrt', b'"\\\b\f\n\r\t', strict=True):
        table[letter] = byte
    return table


SHORT_ESCAPES = _short_escapes()
"""By the character after a backslash the byte that is meant, 0 where it is no short escape."""


@compiled
def scan(data: Array, start: Int) -> Any:
    """Find the end of a string.

    Args:
        data: Bytes, readable 32 beyond the string's end.
        start: Where the first byte after the opening quote is.

    Returns:
        Where the closing quote is and the string's flags, or UNUSUAL.
    """
    at = start
    flags = 0
    while True:
        found = stops(data, at)
        high = beyond_ascii(data, at)
        if found == 0:
            if high:
                flags |= _NOT_ASCII
            at += LANES
            continue
        plain = trailing_zeros(found)
        if high & ((1 << plain) - 1):
            flags |= _NOT_ASCII
        at += plain
        if data[at] == 34:
            break
        if data[at] != 92:
            return UNUSUAL, 0
        flags |= ESCAPED
        letter = data[at + 1]
        if SHORT_ESCAPES[letter]:
            at += 2
        elif _control(data, at) >= 0:
            at += 6
        else:
            return UNUSUAL, 0
    if flags & _NOT_ASCII and not _is_utf8(data, start, at):
        return UNUSUAL, 0
    return at, flags & ESCAPED


@compiled
def unescape(data: Array, start: Int, end: Int, out: Array, at: Int) -> Any:
    """Copy `data[start:end]`, a scanned string, without escapes to `out[at:]`; return where that ends."""
    while start < end:
        byte = data[start]
        if byte == 92:
            short = SHORT_ESCAPES[data[start + 1]]
            if short:
                byte = short
                start += 2
            else:
                byte = np.uint8(_control(data, start))
                start += 6
        else:
            start += 1
        out[at] = byte
        at += 1
    return at


@compiled
def compare(data: Array, first: Int, second: Int) -> Any:
    """Compare two scanned strings, told by where their first bytes are, by code point: below, at or above 0."""
    while True:
        # Up to the first difference they end, or have an escape, at the same places.
        unlike = different(data, first, second)
        alike = trailing_zeros(unlike) if unlike else LANES
        special = stops(data, first) & ((1 << alike) - 1)
        if special or unlike:
            skipped = trailing_zeros(special) if special else alike
            return _compare_rest(data, first + skipped, second + skipped)
        first += LANES
        second += LANES


@compiled
def _compare_rest(data: Array, first: Int, second: Int) -> Any:
    while True:
        a, b = np.int64(data[first]), np.int64(data[second])
        if a == b and a != 92:
            if a == 34:
                return 0
            first += 1
            second += 1
            continue
        if a == 34:
            return -1
        if b == 34:
            return 1
        if a == 92:
            a = np.int64(SHORT_ESCAPES[data[first + 1]])
            first += 1
            if a == 0:
                a = _control(data, first - 1)
                first += 4
        if b == 92:
            b = np.int64(SHORT_ESCAPES[data[second + 1]])
            second += 1
            if b == 0:
                b = _control(data, second - 1)
                second += 4
        if a != b:
            return a - b
        first += 1
        second += 1


@compiled
def copy(data: Array, start: Int, end: Int, out: Array, at: Int) -> Any:
    """Copy `data[start:end]` to `out[at:]`, whose next 32 bytes are lost, and return where that ends."""
    size = end - start
    done = 0
    while done < size:
        move(data, start + done, out, at + done)
        done += LANES
    return at + size


@compiled
def occurrences(data: Array, start: Int, end: Int, byte: Int) -> Int:
    """Count how often a byte occurs in `data[start:end]`, which must be readable 32 bytes beyond its end."""
    wanted = np.uint8(byte)
    found = np.int64(0)
    at = start
    while at + LANES <= end:
        found += ones(equal(data, at, wanted))
        at += LANES
    if at < end:
        found += ones(equal(data, at, wanted) & ((1 << (end - at)) - 1))
    return found


@compiled
def same(data: Array, first: Int, second: Int, size: Int) -> Any:
    """Tell whether two stretches of the same data are equal."""
    done = 0
    while done + LANES <= size:
        if different(data, first + done, second + done):
            return False
        done += LANES
    return not different(data, first + done, second + done) & ((1 << (size - done)) - 1)


@compiled
def _control(data: Array, at: Int) -> Any:
    r"""Return the control character that a canonical \u00xx at `at` stands for, or -1."""
    if data[at + 1] != 117 or data[at + 2] != 48 or data[at + 3] != 48:
        return -1
    high = np.int64(data[at + 4]) - 48
    low = np.int64(data[at + 5])
    low = low - 48 if 48 <= low <= 57 else (low - 87 if 97 <= low <= 102 else -1)
    if not 0 <= high <= 1 or low < 0:
        return -1
    value = high * 16 + low
    if value == 8 or value == 9 or value == 10 or value == 12 or value == 13:
        return -1
    return value


@compiled
def _is_utf8(data: Array, at: Int, end: Int) -> Any:
    """Tell whether bytes are UTF-8 (RFC 3629, section 4): shortest forms, no surrogates, up to U+10FFFF."""
    while at < end:
        lead = data[at]
        if lead < 0x80:
            at += 1
            continue
        if 0xC2 <= lead <= 0xDF:
            more, low, high = 1, 0x80, 0xBF
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            low = 0xA0 if lead == 0xE0 else 0x80
            high = 0x9F if lead == 0xED else 0xBF
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            low = 0x90 if lead == 0xF0 else 0x80
            high = 0x8F if lead == 0xF4 else 0xBF
        else:
            return False
        if at + more >= end or not low <= data[at + 1] <= high:
            return False
        for offset in range(2, more + 1):
            if not 0x80 <= data[at + offset] <= 0xBF:
                return False
        at += more + 1
    return True
