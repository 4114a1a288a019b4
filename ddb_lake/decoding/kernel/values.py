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


NODE_END, NODE_NEXT, NODE_FLAGS = range(3)
"""What is noted of each list, map and set that is walked, in the order of where they begin: where it ends, the number
of the first node behind it, and its flags. The end of node 0, which is none, is how many nodes there are."""

MEMBER_START, MEMBER_END, MEMBER_NODE = range(3)
"""What is noted of each member of a map or set: where its first quote is, where it ends, and the node of its value;
-1 if that is no list, map or set."""


@recursive("UniTuple(int64, 2)(uint8[::1], int64, int64, int64, int64[:, ::1])")
def walk(data: Array, tag: Int, at: Int, depth: Int, nodes: Array) -> Any:
    """Walk what a type tag holds.

    Args:
        data: Bytes, readable 32 beyond the value's end.
        tag: The tag's number.
        at: Where what it holds begins.
        depth: How many lists and maps it is in.
        nodes: Where its nodes are noted, behind those that are there.

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
    if tag == S or tag == N or tag == B:
        if data[at] != 34:
            return UNUSUAL, 0
        at = scan_member(data, tag, at + 1)
        return (at + 1, 0) if at >= 0 else (UNUSUAL, 0)
    node = nodes[0, NODE_END]
    nodes[0, NODE_END] = node + 1
    flags = np.int64(0)
    if tag > M:
        at, flags = _walk_set(data, tag, at)
        if at < 0:
            return UNUSUAL, 0
    else:
        opening, closing = (91, 93) if tag == L else (123, 125)
        if data[at] != opening or depth >= DEEPEST - 1:
            return UNUSUAL, 0
        at += 1
        name = np.int64(-1)
        while data[at] != closing or data[at - 1] == 44:
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
                at, more = walk(data, np.int64(inner), at, depth + 1, nodes)
                if at < 0:
                    return UNUSUAL, 0
                flags |= more
            if data[at] != 125:
                return UNUSUAL, 0
            at += 1
            if data[at] == 44:
                at += 1
            elif data[at] != closing:
                return UNUSUAL, 0
        at += 1
    nodes[node, NODE_END], nodes[node, NODE_NEXT], nodes[node, NODE_FLAGS] = at, nodes[0, NODE_END], flags
    return at, flags


@inlined
def _value_end(data: Array, tag: Int, at: Int) -> Any:
    """Return where a walked S, N, B, BOOL or NULL ends."""
    if tag <= B:
        return scan_member(data, tag, at + 1) + 1
    return at + (5 if data[at] == 102 else 4)


GAPS = np.array([146305, 64769, 36289, 16001, 8929, 3905, 2161, 929, 505, 209, 109, 41, 19, 5, 1], np.int64)
"""Of Shell's sort (Sedgewick 1986): at most in the order of n ** (4/3) steps, whatever the order was."""


@compiled
def sort(data: Array, tag: Int, members: Array, first: Int, count: Int) -> Any:
    """Put noted members of a map or set in order; return whether all of them are different."""
    ordered = True
    for place in range(first + 1, first + count):
        difference = compare_members(data, tag, members[place - 1, 0] + 1, members[place, 0] + 1)
        if difference == 0:
            return False
        ordered = ordered and difference < 0
    if ordered:
        return True
    for step in range(len(GAPS)):
        gap: Any = np.int64(GAPS[step])
        for place in range(first + gap, first + count):
            start, end, node = members[place, 0], members[place, 1], members[place, 2]
            hole = place
            while hole - gap >= first and compare_members(data, tag, members[hole - gap, 0] + 1, start + 1) > 0:
                for each in range(3):
                    members[hole, each] = members[hole - gap, each]
                hole -= gap
            members[hole, 0], members[hole, 1], members[hole, 2] = start, end, node
    for place in range(first + 1, first + count):
        if compare_members(data, tag, members[place - 1, 0] + 1, members[place, 0] + 1) == 0:
            return False
    return True


@compiled
def _members_of_map(data: Array, at: Int, node: Int, nodes: Array, members: Array, first: Int) -> Int:
    """Note the members of a walked map; return how many there are."""
    child = node + 1
    count = 0
    while data[at] != 125:
        at += 1
        start = at
        tag, at = read_tag(data, scan(data, at + 1)[0] + 2)
        members[first + count, MEMBER_START] = start
        members[first + count, MEMBER_NODE] = -1
        if tag < L:
            at = _value_end(data, tag, at) + 1
        else:
            members[first + count, MEMBER_NODE] = child
            at = nodes[child, NODE_END] + 1
            child = nodes[child, NODE_NEXT]
        members[first + count, MEMBER_END] = at
        count += 1
    return np.int64(count)


@compiled
def _members_of_set(data: Array, tag: Int, at: Int, members: Array, first: Int) -> Int:
    """Note the members of a walked set; return how many there are."""
    count = 0
    while data[at] != 93:
        at += 1
        members[first + count, MEMBER_START] = at
        at = scan_member(data, tag, at + 1) + 1
        members[first + count, MEMBER_END], members[first + count, MEMBER_NODE] = at, -1
        count += 1
    return np.int64(count)


@recursive("int64(uint8[::1], int64, int64, int64, uint8[::1], int64, int64[:, ::1], int64[:, ::1], int64)")
def order(
    data: Array, tag: Int, at: Int, node: Int, out: Array, to: Int, nodes: Array, members: Array, first: Int
) -> Any:
    """Write a list, map or set in its canonical order.

    Args:
        data: Bytes of which `walk` has approved.
        tag: The type tag's number.
        at: Where what it holds begins.
        node: Its node.
        out: Where to write.
        to: From where on.
        nodes: What `walk` has noted.
        members: Room for all the members that are open at once.
        first: How many of them are.

    Returns:
        Where it ends in `out`, or UNUSUAL if a name or a member is there twice.
    """
    if not nodes[node, NODE_FLAGS] & UNORDERED:
        return copy(data, at, nodes[node, NODE_END], out, to)
    if tag == L:
        written = at
        child = node + 1
        while data[at] != 93:
            inner, at = read_tag(data, at + 1)
            if inner < L:
                at = _value_end(data, inner, at)
            else:
                if nodes[child, NODE_FLAGS] & UNORDERED:
                    to = copy(data, written, at, out, to)
                    to = order(data, np.int64(inner), at, child, out, to, nodes, members, first)
                    if to < 0:
                        return to
                    written = nodes[child, NODE_END]
                at = nodes[child, NODE_END]
                child = nodes[child, NODE_NEXT]
            at += 1
        return copy(data, written, at + 1, out, to)
    count = (
        _members_of_map(data, at, node, nodes, members, first)
        if tag == M
        else _members_of_set(data, tag, at, members, first)
    )
    if not sort(data, tag, members, first, count):
        return np.int64(UNUSUAL)
    out[to] = 123 if tag == M else 91
    to += 1
    for place in range(first, first + count):
        start, end, child = members[place, MEMBER_START], members[place, MEMBER_END], members[place, MEMBER_NODE]
        if child >= 0 and nodes[child, NODE_FLAGS] & UNORDERED:
            inner, begin = read_tag(data, scan(data, start + 1)[0] + 2)
            to = copy(data, start, begin, out, to)
            to = order(data, np.int64(inner), begin, child, out, to, nodes, members, first + count)
            if to < 0:
                return to
            out[to] = 125
            to += 1
        else:
            to = copy(data, start, end, out, to)
        out[to] = 44
        to += 1
    out[to - 1] = 125 if tag == M else 93
    return to
