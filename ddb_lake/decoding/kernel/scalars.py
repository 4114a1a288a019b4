"""Numbers and base64 as DynamoDB writes them: where they end and which kind they are."""

from typing import Any

import numpy as np

from ddb_lake.decoding.kernel.compiling import Array, Int, compiled
from ddb_lake.decoding.kernel.text import UNUSUAL

INT64, DECIMAL, NUMBER = 0, 1, 2
"""What holds a number exactly: 64 bits, decimal(38, 18), or only its text."""


def _base64_places() -> np.ndarray:
    table = np.full(256, -1, np.int8)
    for place, letter in enumerate(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):
        table[letter] = place
    return table


_BASE64 = _base64_places()


@compiled
def scan_number(data: Array, start: Int) -> Any:
    """Read a canonical number: plain digits, no needless zeros, no exponent, within DynamoDB's limits.

    Returns:
        Where the closing quote is, or UNUSUAL; the kind; and for INT64 the value.
    """
    at = start
    negative = data[at] == 45
    if negative:
        at += 1
    whole = at
    value = 0
    while 48 <= data[at] <= 57:
        if at - whole < 18:
            value = value * 10 + (np.int64(data[at]) - 48)
        at += 1
    digits = at - whole
    if digits == 0 or (data[whole] == 48 and digits > 1):
        return UNUSUAL, 0, 0
    if data[at] == 34:
        if digits <= 18:
            if negative and value == 0:
                return UNUSUAL, 0, 0
            return at, INT64, -value if negative else value
        return _long_integer(data, whole, at, negative, value)
    if data[at] != 46:
        return UNUSUAL, 0, 0
    at += 1
    broken = at
    while 48 <= data[at] <= 57:
        at += 1
    fraction = at - broken
    if data[at] != 34 or fraction == 0 or data[at - 1] == 48:
        return UNUSUAL, 0, 0
    significant = digits + fraction
    if data[whole] == 48:
        zeros = 0
        while data[broken + zeros] == 48:
            zeros += 1
        significant = fraction - zeros
        if zeros >= 130:
            return UNUSUAL, 0, 0
    if significant > 38 or digits > 126:
        return UNUSUAL, 0, 0
    return at, (DECIMAL if digits <= 20 and fraction <= 18 else NUMBER), 0


@compiled
def _long_integer(data: Array, start: Int, end: Int, negative: bool, first: Int) -> Any:
    """Judge an integer of 19 digits or more, of which `first` is the value of the first 18."""
    digits = end - start
    significant = digits
    while data[start + significant - 1] == 48:
        significant -= 1
    if digits > 126 or significant > 38:
        return UNUSUAL, 0, 0
    if digits == 19:
        last = np.int64(data[end - 1]) - 48
        # 2**63 is 9223372036854775808.
        if first < 922337203685477580 or (first == 922337203685477580 and last <= 7):
            value = first * 10 + last
            return end, INT64, -value if negative else value
        if first == 922337203685477580 and last == 8 and negative:
            return end, INT64, np.int64(-9223372036854775808)
    return end, (DECIMAL if digits <= 20 else NUMBER), 0


@compiled
def scan_base64(data: Array, start: Int) -> Any:
    """Return where the closing quote of canonical base64 (RFC 4648, section 4 and 3.5) is, or UNUSUAL."""
    at = start
    while _BASE64[data[at]] >= 0:
        at += 1
    letters = at - start
    padding = (4 - letters % 4) % 4
    if padding == 3:
        return UNUSUAL
    if padding:
        unused = _BASE64[data[at - 1]] & (15 if padding == 2 else 3)
        if unused or data[at] != 61 or (padding == 2 and data[at + 1] != 61):
            return UNUSUAL
        at += padding
    return at if data[at] == 34 else UNUSUAL


@compiled
def compare_base64(data: Array, first: Int, second: Int) -> Any:
    """Compare two scanned base64 strings by the bytes that they stand for."""
    while True:
        a, b = _BASE64[data[first]], _BASE64[data[second]]
        if a != b:
            return np.int64(a) - np.int64(b)
        if a < 0:
            return 0
        first += 1
        second += 1
