"""Cells to columns: Arrow buffers of a frame's height, filled where there is a value."""

from typing import Any

import numpy as np

from ddb_lake.decoding.kernel.compiling import Array, Int, compiled, inlined
from ddb_lake.decoding.kernel.text import occurrences
from ddb_lake.decoding.kernel.values import N
from ddb_lake.decoding.kernel.vectors import half_word, word


def group(cells: Array, count: int, slots: int) -> tuple[Array, Array, Array]:
    """Sort cells by slot, keeping the order of rows.

    Returns:
        The cells' places in that order; for each slot where its part begins, and at the end the count; and for
        each attribute which kinds its numbers have, as bits.
    """
    order, begins = np.empty(count, np.int32), np.zeros(slots + 1, np.int64)
    kinds = np.zeros(slots // 16, np.int64)
    _group(cells, count, order, begins, np.zeros(slots + 1, np.int64), kinds)
    return order, begins, kinds


@compiled
def _group(cells: Array, count: Int, order: Array, begins: Array, next_places: Array, kinds: Array) -> None:
    for place in range(count):
        slot = cells[place]["slot"]
        begins[slot + 1] += 1
        if slot & 15 == N:
            kinds[slot >> 4] |= 1 << cells[place]["kind"]
    for slot in range(len(begins) - 1):
        begins[slot + 1] += begins[slot]
        next_places[slot] = begins[slot]
    for place in range(count):
        slot = cells[place]["slot"]
        order[next_places[slot]] = place
        next_places[slot] += 1


_POWERS = np.array([10**power for power in range(20)], np.uint64)


@inlined
def _set_bit(bitmap: Array, row: Int) -> Any:
    bitmap[row >> 3] |= np.uint8(1 << (row & 7))


@inlined
def _belongs(kind: Int, home: Int, arm: Int) -> Any:
    """Tell whether a number of that kind goes to `arm`: to its own, or the wider one that is its home."""
    return arm < 0 or max(kind, home) == arm


@inlined
def _lowest(value: Any, size: Int) -> Any:
    """Return the lowest `size` bytes of a word, 8 at most."""
    if size >= 8:
        return value
    return value & ((np.uint64(1) << np.uint64(8 * max(size, 0))) - np.uint64(1))


@inlined
def _view(views: Array, row: Int, data: Array, place: Int, size: Int, buffer: Int) -> Any:
    """Point a row's string at its bytes (Arrow columnar format, "Variable-size Binary View Layout")."""
    start = _lowest(half_word(data, place), size)
    views[2 * row] = np.uint64(size) | (start << np.uint64(32))
    if size <= 12:
        views[2 * row + 1] = _lowest(word(data, place + 4), size - 4)
    else:
        views[2 * row + 1] = np.uint64(buffer) | (np.uint64(place) << np.uint64(32))


@inlined
def _point(views: Array, row: Int, data: Array, out: Array, start: Int, size: Int) -> None:
    """Point a row's string at where a cell says that it stands."""
    if start >= 0:
        _view(views, row, data, start, size, 0)
    else:
        _view(views, row, out, ~start, size, 1)


@compiled
def texts(
    cells: Array,
    order: Array,
    first: Int,
    last: Int,
    home: Int,
    arm: Int,
    data: Array,
    out: Array,
    views: Array,
    bitmap: Array,
) -> Any:
    """Fill a column of strings; return how many there are.

    Args:
        cells: The cells.
        order: Their places by slot.
        first: Where the slot's part begins.
        last: Where it ends.
        home: For numbers the least kind that they are kept as.
        arm: The kind that this column is for, or -1 for all.
        data: The block: the strings' first buffer.
        out: The second one.
        views: 2 words a row, all zero.
        bitmap: A zero bit a row.
    """
    count = 0
    for place in range(first, last):
        cell: Any = cells[order[place]]
        if not _belongs(cell["kind"], home, arm):
            continue
        row, start, size = np.int64(cell["row"]), cell["start"], np.int64(cell["size"])
        _point(views, row, data, out, start, size)
        _set_bit(bitmap, row)
        count += 1
    return count


@compiled
def integers(
    cells: Array, order: Array, first: Int, last: Int, home: Int, arm: Int, values: Array, bitmap: Array
) -> Any:
    """Fill a column of 64-bit integers, or of booleans as 0 and 1; return how many there are."""
    count = 0
    for place in range(first, last):
        cell: Any = cells[order[place]]
        if not _belongs(cell["kind"], home, arm):
            continue
        row = np.int64(cell["row"])
        values[row] = cell["value"]
        _set_bit(bitmap, row)
        count += 1
    return count


@compiled
def decimals(
    cells: Array,
    order: Array,
    first: Int,
    last: Int,
    home: Int,
    arm: Int,
    data: Array,
    precision: Int,
    scale: Int,
    values: Array,
    bitmap: Array,
) -> Any:
    """Fill a column of decimals: little-endian pairs of 64 bits, in two's complement.

    Numbers that decimal(precision, scale) can't hold exactly are left out.

    Returns:
        How many there are.
    """
    count = 0
    for place in range(first, last):
        cell: Any = cells[order[place]]
        if not _belongs(cell["kind"], home, arm):
            continue
        fits, low, high = _decimal(data, cell["start"], np.int64(cell["size"]), precision, scale)
        if not fits:
            continue
        row = np.int64(cell["row"])
        values[row, 0], values[row, 1] = low, high
        _set_bit(bitmap, row)
        count += 1
    return count


@compiled
def _decimal(data: Array, start: Int, size: Int, precision: Int, scale: Int) -> Any:
    """Read a canonical number as a multiple of 10**-scale: whether it fits, and its two halves."""
    negative = data[start] == 45
    at = start + (1 if negative else 0)
    end = start + size
    # Two numbers of up to 19 digits each.
    upper, lower = np.uint64(0), np.uint64(0)
    whole = end
    for place in range(at, end):
        if data[place] == 46:
            whole = place
    fraction = end - whole - 1 if whole < end else 0
    leading = data[at] == 48
    total = (whole - at - (1 if leading else 0)) + scale
    if fraction > scale or total > precision:
        return False, np.uint64(0), np.uint64(0)
    if end - at <= 19 and scale - fraction <= 19:
        # Most numbers have up to 18 digits, which 64 bits hold.
        digits = np.uint64(0)
        for place in range(at, end):
            if data[place] != 46:
                digits = digits * np.uint64(10) + np.uint64(data[place] - 48)
        low, high = _times(digits, _POWERS[scale - fraction])
        low, high = _signed(low, high, negative)
        return True, low, high
    length = (whole - at) + scale
    for place in range(length):
        if place < whole - at:
            digit = np.uint64(data[at + place] - 48)
        elif place - (whole - at) < fraction:
            digit = np.uint64(data[whole + 1 + place - (whole - at)] - 48)
        else:
            digit = np.uint64(0)
        if length - place > 19:
            upper = upper * np.uint64(10) + digit
        else:
            lower = lower * np.uint64(10) + digit
    low, high = _times(upper, np.uint64(10_000_000_000_000_000_000))
    summed = low + lower
    if summed < low:
        high += np.uint64(1)
    low = summed
    low, high = _signed(low, high, negative)
    return True, low, high


@inlined
def _signed(low: Any, high: Any, negative: bool) -> Any:
    """Return the two's complement of a number of 128 bits where it is negative."""
    if not negative:
        return low, high
    low = ~low + np.uint64(1)
    high = ~high
    if low == np.uint64(0):
        high += np.uint64(1)
    return low, high


@compiled
def _times(a: Any, b: Any) -> Any:
    """Multiply two numbers of 64 bits to one of 128: its low and its high half."""
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    low_low = (a & mask) * (b & mask)
    low_high = (a & mask) * (b >> half)
    high_low = (a >> half) * (b & mask)
    middle = (low_low >> half) + (low_high & mask) + (high_low & mask)
    low = (middle << half) | (low_low & mask)
    high = (a >> half) * (b >> half) + (low_high >> half) + (high_low >> half) + (middle >> half)
    return low, high


@compiled
def old_images(rows: Array, count: Int, data: Array, out: Array, views: Array, bitmap: Array) -> Any:
    """Fill a column with the old images as text; return how many there are."""
    found = 0
    for row in range(count):
        size = np.int64(rows[row]["old_size"])
        if size == 0:
            continue
        start = rows[row]["old_start"]
        _point(views, row, data, out, start, size)
        _set_bit(bitmap, row)
        found += 1
    return found


@compiled
def braces(cells: Array, order: Array, first: Int, last: Int, data: Array, out: Array) -> Int:
    """Count the opening braces in what the cells are in the export."""
    found = np.int64(0)
    for place in range(first, last):
        cell: Any = cells[order[place]]
        start, size = cell["start"], np.int64(cell["size"])
        if start >= 0:
            found += occurrences(data, start, start + size, 123)
        else:
            found += occurrences(out, ~start, ~start + size, 123)
    return found


NO_ESCAPES, SOME_ESCAPES = 0, 1


@compiled
def set_sizes(
    cells: Array, order: Array, first: Int, last: Int, data: Array, out: Array, offsets: Array, bitmap: Array
) -> Int:
    """Note how many members the sets have: of row r in `offsets[r + 1]`; return whether a member has escapes."""
    escapes = NO_ESCAPES
    for place in range(first, last):
        cell: Any = cells[order[place]]
        row, start, size = np.int64(cell["row"]), cell["start"], np.int64(cell["size"])
        quotes = np.int64(0)
        for offset in range(size):
            byte = data[start + offset] if start >= 0 else out[~start + offset]
            quotes += byte == 34
            if byte == 92:
                escapes = SOME_ESCAPES
        offsets[row + 1] = quotes // 2
        _set_bit(bitmap, row)
    return escapes


@compiled
def set_members(
    cells: Array, order: Array, first: Int, last: Int, data: Array, out: Array, offsets: Array, views: Array
) -> None:
    """Point the members of sets without escapes at their bytes; `offsets` tells where each row's members begin."""
    for place in range(first, last):
        cell: Any = cells[order[place]]
        start, size = cell["start"], np.int64(cell["size"])
        member = offsets[np.int64(cell["row"])]
        begin = np.int64(-1)
        for offset in range(size):
            if start >= 0:
                at = start + offset
                if data[at] != 34:
                    continue
                if begin < 0:
                    begin = at + 1
                    continue
                _view(views, member, data, begin, at - begin, 0)
            else:
                at = ~start + offset
                if out[at] != 34:
                    continue
                if begin < 0:
                    begin = at + 1
                    continue
                _view(views, member, out, begin, at - begin, 1)
            member += 1
            begin = np.int64(-1)
