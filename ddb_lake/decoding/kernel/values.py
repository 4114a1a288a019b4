"""Attribute values: their grammar walked to the end, and their canonical order restored where it is another."""

from typing import Any

import numpy as np

from ddb_lake.decoding.kernel.compiling import Array, Int, compiled, inlined, recursive
from ddb_lake.decoding.kernel.scalars import compare_base64, scan_base64, scan_number
from ddb_lake.decoding.kernel.text import UNUSUAL, compare, copy, scan

S, N, B, BOOL, NULL, L, M, SS, NS, BS = range(10)
"""The type tags as numbers."""

TAGS = ("S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS")

DEEPEST = 64
"""Levels of lists and maps from which on the exact reader, which gives the error, allows no more."""

UNORDERED = 1
"""A walked value's flag: the names of a map or the members of a set are not in their canonical order."""

_TRUE, _FALSE, _BOOL, _NULL = (int.from_bytes(word, "little") for word in (b"true", b"alse", b"BOOL", b"NULL"))


@inlined
def _letters(data: Array, at: Int) -> Any:
    """Return four bytes as a little-endian number."""
    return (
        np.int64(data[at])
        | (np.int64(data[at + 1]) << 8)
        | (np.int64(data[at + 2]) << 16)
        | (np.int64(data[at + 3]) << 24)
    )


@compiled
def read_tag(data: Array, at: Int) -> Any:
    """Read `{"tag":`; return the tag's number, or UNUSUAL, and where what it holds begins."""
    if data[at] != 123 or data[at + 1] != 34:
        return UNUSUAL, at
    first, second = data[at + 2], data[at + 3]
    if second == 34 and data[at + 4] == 58:
        at += 5
        if first == 83:
            return S, at
        if first == 78:
            return N, at
        if first == 77:
            return M, at
        if first == 76:
            return L, at
        if first == 66:
            return B, at
    elif second == 83 and data[at + 4] == 34 and data[at + 5] == 58:
        at += 6
        if first == 83:
            return SS, at
        if first == 78:
            return NS, at
        if first == 66:
            return BS, at
    elif data[at + 6] == 34 and data[at + 7] == 58:
        word = _letters(data, at + 2)
        at += 8
        if word == _BOOL:
            return BOOL, at
        if word == _NULL:
            return NULL, at
    return UNUSUAL, at


@compiled
def scan_member(data: Array, tag: Int, start: Int) -> Any:
    """Return where the closing quote of an S, N or B is, by the tag or that of the set it is in, or UNUSUAL."""
    if tag == S or tag == SS:
        return scan(data, start)[0]
    if tag == N or tag == NS:
        return scan_number(data, start)[0]
    return scan_base64(data, start)


@compiled
def compare_members(data: Array, tag: Int, first: Int, second: Int) -> Any:
    """Compare two members of a set in its canonical order, or two names of a map."""
    if tag == BS:
        return compare_base64(data, first, second)
    return compare(data, first, second)


@compiled
def _walk_set(data: Array, tag: Int, at: Int) -> Any:
    if data[at] != 91:
        return UNUSUAL, 0
    at += 1
    flags = 0
    before = np.int64(-1)
    while True:
        if data[at] != 34:
            return UNUSUAL, 0
        if before >= 0:
            end = scan_member(data, tag, at + 1)
            if end >= 0 and compare_members(data, tag, before, at + 1) >= 0:
                flags |= UNORDERED
        else:
            end = scan_member(data, tag, at + 1)
        if end < 0:
            return UNUSUAL, 0
        before = at + 1
        at = end + 1
        if data[at] == 44:
            at += 1
        elif data[at] == 93:
            return at + 1, flags
        else:
            return UNUSUAL, 0


@recursive("UniTuple(int64, 2)(uint8[::1], int64, int64, int64)")
def walk(data: Array, tag: Int, at: Int, depth: Int) -> Any:
    """Walk what a type tag holds.

    Args:
        data: Bytes, readable 32 beyond the value's end.
        tag: The tag's number.
        at: Where what it holds begins.
        depth: How many lists and maps it is in.

    Returns:
        Where it ends, or UNUSUAL, and its flags.
    """
    if tag == BOOL:
        word = _letters(data, at)
        if word == _TRUE:
            return at + 4, 0
        if data[at] == 102 and _letters(data, at + 1) == _FALSE:
            return at + 5, 0
        return UNUSUAL, 0
    if tag == NULL:
        return (at + 4, 0) if _letters(data, at) == _TRUE else (UNUSUAL, 0)
    if tag == L or tag == M:
        opening, closing = (91, 93) if tag == L else (123, 125)
        if data[at] != opening or depth >= DEEPEST - 1:
            return UNUSUAL, 0
        at += 1
        if data[at] == closing:
            return at + 1, 0
        flags = 0
        name = np.int64(-1)
        while True:
            if tag == M:
                if data[at] != 34:
                    return UNUSUAL, 0
                end, _ = scan(data, at + 1)
                if end < 0 or data[end + 1] != 58:
                    return UNUSUAL, 0
                if name >= 0 and compare(data, name, at + 1) >= 0:
                    flags |= UNORDERED
                name = at + 1
                at = end + 2
            inner, at = read_tag(data, at)
            if inner < 0:
                return UNUSUAL, 0
            if inner == S:
                if data[at] != 34:
                    return UNUSUAL, 0
                at = scan(data, at + 1)[0]
                if at < 0:
                    return UNUSUAL, 0
                at += 1
            else:
                at, more = walk(data, np.int64(inner), at, depth + 1)
                if at < 0:
                    return UNUSUAL, 0
                flags |= more
            if data[at] != 125:
                return UNUSUAL, 0
            at += 1
            if data[at] == 44:
                at += 1
            elif data[at] == closing:
                return at + 1, flags
            else:
                return UNUSUAL, 0
    if tag == S or tag == N or tag == B:
        if data[at] != 34:
            return UNUSUAL, 0
        at = scan_member(data, tag, at + 1)
        return (at + 1, 0) if at >= 0 else (UNUSUAL, 0)
    return _walk_set(data, tag, at)


@compiled
def _arrange(
    tag: Int, out: Array, start: Int, end: Int, spare: Array, segments: Array, first: Int, count: Int
) -> Any:
    """Put members in order; return whether all of them are different."""
    ordered = True
    for place in range(first + 1, first + count):
        difference = compare_members(out, tag, segments[place - 1, 0] + 1, segments[place, 0] + 1)
        if difference == 0:
            return False
        ordered = ordered and difference < 0
    if ordered:
        return True
    gap = count // 2
    while gap > 0:
        for place in range(first + gap, first + count):
            low, high = segments[place, 0], segments[place, 1]
            hole = place
            while hole - gap >= first and compare_members(out, tag, segments[hole - gap, 0] + 1, low + 1) > 0:
                segments[hole, 0], segments[hole, 1] = segments[hole - gap, 0], segments[hole - gap, 1]
                hole -= gap
            segments[hole, 0], segments[hole, 1] = low, high
        gap = gap // 2
    to = 0
    for place in range(first, first + count):
        if place > first:
            if compare_members(out, tag, segments[place - 1, 0] + 1, segments[place, 0] + 1) == 0:
                return False
            spare[to] = 44
            to += 1
        to = copy(out, segments[place, 0], segments[place, 1], spare, to)
    copy(spare, 0, end - start, out, start)
    return True


@recursive("UniTuple(int64, 2)(uint8[::1], int64, int64, uint8[::1], int64, uint8[::1], int64[:, ::1], int64)")
def order(data: Array, tag: Int, at: Int, out: Array, to: Int, spare: Array, segments: Array, first: Int) -> Any:
    """Write what a type tag holds in its canonical order.

    Args:
        data: Bytes of which `walk` has approved.
        tag: The tag's number.
        at: Where what it holds begins.
        out: Where to write.
        to: From where on.
        spare: Room for a whole value.
        segments: Room for the starts and ends of all the members that are open at once.
        first: How many of them are.

    Returns:
        Where it ends in `data`, and where in `out`, which is UNUSUAL if a name or a member is there twice.
    """
    if tag < L:
        end = walk(data, tag, at, 0)[0]
        return end, copy(data, at, end, out, to)
    closing = 125 if tag == M else 93
    out[to] = data[at]
    at += 1
    to += 1
    members = to
    count = 0
    while data[at] != closing:
        if data[at] == 44:
            out[to] = 44
            to += 1
            at += 1
        if tag != L:
            segments[first + count, 0] = to
        if tag == M:
            end = scan(data, at + 1)[0] + 2
            to = copy(data, at, end, out, to)
            at = end
        if tag == L or tag == M:
            inner, begin = read_tag(data, at)
            to = copy(data, at, begin, out, to)
            at, to = order(
                data, np.int64(inner), begin, out, to, spare, segments, first if tag == L else first + count + 1
            )
            if to < 0:
                return at, to
            out[to] = 125
            to += 1
            at += 1
        else:
            end = scan_member(data, tag, at + 1) + 1
            to = copy(data, at, end, out, to)
            at = end
        if tag != L:
            segments[first + count, 1] = to
            count += 1
    if not _arrange(tag, out, members, to, spare, segments, first, count):
        return at, np.int64(UNUSUAL)
    out[to] = closing
    return at + 1, to + 1
