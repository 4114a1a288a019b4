"""Lines of an export to cells: which attribute of which type, in which row, and where its value stands."""

from typing import Any, NamedTuple

import numpy as np

from ddb_lake.decoding.kernel.compiling import Array, Int, compiled, inlined
from ddb_lake.decoding.kernel.hashing import xxh64
from ddb_lake.decoding.kernel.names import DROPPED, Names, find, stands_at
from ddb_lake.decoding.kernel.scalars import scan_number
from ddb_lake.decoding.kernel.text import ESCAPED, UNUSUAL, compare, copy, occurrences, same, scan, unescape
from ddb_lake.decoding.kernel.values import (
    BOOL,
    MEMBER_END,
    MEMBER_NODE,
    MEMBER_START,
    NODE_END,
    NULL,
    UNORDERED,
    B,
    M,
    N,
    S,
    order,
    read_tag,
    sort,
    walk,
)

CELL = np.dtype(
    [
        ("slot", np.int32),
        ("row", np.int32),
        ("start", np.int64),
        ("size", np.int32),
        ("kind", np.int32),
        ("value", np.int64),
    ]
)
"""A value: attribute * 16 + tag; its row; where it stands in the block, or inverted in the other buffer; for N what
`scan_number` tells, for BOOL 0 or 1."""

ROW = np.dtype(
    [
        ("key_hash", np.int64),
        ("write_time", np.int64),
        ("tie_break", np.int64),
        ("old_start", np.int64),
        ("old_size", np.int32),
        ("deleted", np.bool_),
    ]
)
"""A record; its old image stands like a cell's value, with size 0 where none is wanted."""

ODD = np.dtype([("row", np.int64), ("start", np.int64), ("end", np.int64)])
"""A line that only the exact reader can read or refuse."""

CELLS, OUT, ROWS, ODDS, POSITION, LEFT_OUT = range(6)
"""What the numbers of the state mean; LEFT_OUT counts the objects that make no cell on purpose."""

DONE, NAMES_FULL = 0, 1
"""Why `shred` returned: at the block's end or at `most_rows`; or there are more names than there is room for."""

FULL = -3
"""What the parts below return instead of a position where there is no room for a name."""


class Options(NamedTuple):
    """What is read.

    Attributes:
        changes: Whether the lines are changes of an incremental export, or items of a full one.
        keep_old: Whether old images are wanted.
        most_rows: How many rows to make at most.
        write_time: The write time of a full export's items, µs since the epoch.
    """

    changes: bool
    keep_old: bool
    most_rows: int
    write_time: int


class Key(NamedTuple):
    """The primary key, its attributes in the order of their names: these are the names 0 and 1.

    Attributes:
        tags: Their types' numbers.
        text: The canonical text of a key without its values.
        bounds: Where in it the parts begin and end that stand before, between and behind the values.
    """

    tags: Array
    text: Array
    bounds: Array


class Buffers(NamedTuple):
    """Room to write to.

    Attributes:
        cells: At least as many as there are braces in the block.
        rows: As many as there are lines.
        odds: Likewise.
        out: For all values that can't stand as they do in the block, and a line more.
        image: For a key.
        nodes: For all lists, maps and sets of an image.
        members: For all attributes of an image, and the members of all maps and sets of one.
        keys: For where the values of the key begin and end in `Keys`, and in the image.
    """

    cells: Array
    rows: Array
    odds: Array
    out: Array
    image: Array
    nodes: Array
    members: Array
    keys: Array


@compiled
def shred(data: Array, end: Int, options: Options, key: Key, names: Names, buffers: Buffers, state: Array) -> int:
    """Take lines apart, from `state[POSITION]` to the block's end or until there are `most_rows` rows.

    Args:
        data: The block, with `names.ROOM` zero bytes behind `end`.
        end: Where it ends.
        options: What is read.
        key: The primary key.
        names: The attributes that are known; new ones are added.
        buffers: Where cells, rows and odd lines go.
        state: Numbers that are kept from call to call.

    Returns:
        DONE or NAMES_FULL.
    """
    rows, odds = buffers.rows, buffers.odds
    names.last_rows[: names.used[0]] = -1
    at = state[POSITION]
    row = np.int64(0)
    odd = np.int64(0)
    while at < end and row < options.most_rows:
        cells_before, out_before, left_out_before = state[CELLS], state[OUT], state[LEFT_OUT]
        if options.changes:
            stop = _read_change(data, at, end, options, key, names, buffers, row, state)
        else:
            rows[row]["write_time"] = options.write_time
            rows[row]["deleted"] = False
            rows[row]["old_size"] = 0
            stop = np.int64(UNUSUAL)
            if _literal(data, at, b'{"Item":{'):
                stop = _read_image(data, at + 8, end, False, key, names, buffers, row, state)
        if stop == FULL:
            return NAMES_FULL
        if stop >= 0 and data[stop] == 125 and (data[stop + 1] == 10 or stop + 1 == end):
            rows[row]["key_hash"] = _hash_key(data, key, buffers)
            at = stop + 2
        else:
            state[CELLS], state[OUT], state[LEFT_OUT] = cells_before, out_before, left_out_before
            stop = _line_end(data, at, end)
            odds[odd]["row"], odds[odd]["start"], odds[odd]["end"] = row, at, stop
            odd += 1
            at = stop + 1
        row += 1
    state[ROWS], state[ODDS], state[POSITION] = row, odd, min(at, end)
    return DONE


@inlined
def _read_change(
    data: Array,
    at: Int,
    end: Int,
    options: Options,
    key: Key,
    names: Names,
    buffers: Buffers,
    row: Int,
    state: Array,
) -> Int:
    """Read a change; return where its last brace should be, UNUSUAL or FULL."""
    rows = buffers.rows
    if not _literal(data, at, b'{"Metadata":{"WriteTimestampMicros":{"N":"'):
        return UNUSUAL
    at += 42
    digits = at
    when = np.int64(0)
    while 48 <= data[at] <= 57 and at - digits < 18:
        when = when * 10 + (np.int64(data[at]) - 48)
        at += 1
    if at == digits or not _literal(data, at, b'"}},"Keys":{'):
        return UNUSUAL
    rows[row]["write_time"] = when
    at = _read_keys(data, at + 12, end, key, names, buffers.keys, buffers.nodes)
    if at < 0:
        return UNUSUAL
    rows[row]["old_size"] = 0
    if _literal(data, at, b',"OldImage":{'):
        at = _read_old_image(data, at + 12, options.keep_old, buffers, row, state)
        if at < 0:
            return UNUSUAL
    if _literal(data, at, b',"NewImage":{'):
        rows[row]["deleted"] = False
        return _read_image(data, at + 12, end, True, key, names, buffers, row, state)
    rows[row]["deleted"] = True
    rows[row]["tie_break"] = 0
    for number in range(len(key.tags)):
        _add_cell(data, number, key.tags[number], buffers.keys[number, 0], buffers, row, state)
    return at


@inlined
def _read_keys(data: Array, at: Int, end: Int, key: Key, names: Names, bounds: Array, nodes: Array) -> Int:
    """Read the members of `Keys` and note where their values are; return where the brace behind it is, or UNUSUAL."""
    count = len(key.tags)
    seen = 0
    for place in range(count):
        if data[at] != 34:
            return np.int64(UNUSUAL)
        number = 0
        while number < count and not stands_at(data, at + 1, end, names, number):
            number += 1
        if number == count or seen >> number & 1 or data[at + 2 + names.sizes[number]] != 58:
            return np.int64(UNUSUAL)
        seen |= 1 << number
        tag, start = read_tag(data, at + 3 + names.sizes[number])
        if tag != key.tags[number]:
            return np.int64(UNUSUAL)
        stop, _ = walk(data, np.int64(tag), start, 0, nodes)
        if stop < 0 or data[stop] != 125 or data[stop + 1] != (125 if place == count - 1 else 44):
            return np.int64(UNUSUAL)
        bounds[number, 0], bounds[number, 1] = start, stop
        at = stop + 2
    return at


@inlined
def _read_old_image(data: Array, start: Int, keep: bool, buffers: Buffers, row: Int, state: Array) -> Int:
    """Walk an old image, and note where it stands if it is wanted; return where it ends, or UNUSUAL."""
    buffers.nodes[0, NODE_END] = 1
    at, flags = walk(data, M, start, -1, buffers.nodes)
    if at < 0:
        return at
    state[LEFT_OUT] += occurrences(data, start, at, 123)
    to = past = state[OUT]
    if flags & UNORDERED:
        past = order(data, M, start, 1, buffers.out, to, buffers.nodes, buffers.members, np.int64(0))
        if past < 0:
            return np.int64(UNUSUAL)
    if keep:
        rows = buffers.rows
        if flags & UNORDERED:
            rows[row]["old_start"], rows[row]["old_size"] = ~to, past - to
            state[OUT] = past
        else:
            rows[row]["old_start"], rows[row]["old_size"] = start, at - start
    return at


@inlined
def _read_image(
    data: Array, start: Int, end: Int, change: bool, key: Key, names: Names, buffers: Buffers, row: Int, state: Array
) -> Int:
    """Read an item or a new image into cells; return where it ends, UNUSUAL or FULL."""
    keys = len(key.tags)
    keys_seen = 0
    ordered, whole = True, True
    before = np.int64(-1)
    position = 0
    shown = np.int64(0)
    members = buffers.members
    buffers.nodes[0, NODE_END] = 1
    at = start + 1
    while True:
        if data[at] != 34:
            return UNUSUAL
        name = at + 1
        number = np.int64(-1)
        if position < len(names.sequence):
            number = names.sequence[position]
        if number >= 0 and stands_at(data, name, end, names, number):
            at = name + names.sizes[number]
        else:
            at, _ = scan(data, name)
            if at < 0:
                return UNUSUAL
            number = find(data, name, at, names)
            if number < 0:
                return FULL
            if position < len(names.sequence):
                names.sequence[position] = number
        position += 1
        if data[at + 1] != 58 or names.last_rows[number] == row:
            return UNUSUAL
        names.last_rows[number] = row
        if change:
            if before >= 0 and compare(data, before, name) > 0:
                ordered = False
            before = name
        tag, value = read_tag(data, at + 2)
        if tag < 0 or (number < keys and tag != key.tags[number]):
            return UNUSUAL
        if names.flags[number] & DROPPED:
            at = _leave_out(data, name, np.int64(tag), value, shown, buffers, state)
            whole = False
        else:
            shown += 1
            at, in_order = _read_value(data, number, np.int64(tag), value, shown, buffers, row, state)
            ordered = ordered and in_order
            members[shown - 1, MEMBER_START], members[shown - 1, MEMBER_END] = name - 1, at + 1
            members[shown - 1, MEMBER_NODE] = -1 if in_order else state[CELLS] - 1
        if at < 0 or data[at] != 125:
            return UNUSUAL
        if number < keys:
            keys_seen |= 1 << number
            if not change:
                buffers.keys[number, 0], buffers.keys[number, 1] = value, at
            elif not _is_key(data, value, at, buffers.keys, number):
                return UNUSUAL
        at += 2
        if data[at - 1] == 125:
            break
        if data[at - 1] != 44:
            return UNUSUAL
    if keys_seen != (1 << keys) - 1:
        return UNUSUAL
    rows = buffers.rows
    if not change:
        rows[row]["tie_break"] = 0
    elif ordered and whole:
        rows[row]["tie_break"] = xxh64(data, start, at)
    else:
        begin = state[OUT]
        past = _write_image(data, shown, buffers, begin)
        rows[row]["tie_break"] = xxh64(buffers.out, begin, past)
    return at


@compiled
def _write_image(data: Array, count: Int, buffers: Buffers, to: Int) -> Int:
    """Write an image that was read, in its canonical order; return where it ends.

    Of its attributes those are noted that are shown; MEMBER_NODE is the cell of one that was put in order already.
    """
    cells, out, members = buffers.cells, buffers.out, buffers.members
    sort(data, M, members, 0, count)
    out[to] = 123
    to += 1
    for place in range(count):
        start, end, cell = members[place, MEMBER_START], members[place, MEMBER_END], members[place, MEMBER_NODE]
        if cell < 0:
            to = copy(data, start, end, out, to)
        else:
            _, begin = read_tag(data, scan(data, start + 1)[0] + 2)
            to = copy(data, start, begin, out, to)
            each: Any = cells[cell]
            written = ~each["start"]
            to = copy(out, written, written + each["size"], out, to)
            out[to] = 125
            to += 1
        out[to] = 44
        to += 1
    out[to - 1] = 125
    return np.int64(to)


@inlined
def _is_key(data: Array, start: Int, end: Int, bounds: Array, number: Int) -> bool:
    """Tell whether a key attribute's value is the one that `Keys` has."""
    size = bounds[number, 1] - bounds[number, 0]
    return end - start == size and same(data, start, bounds[number, 0], size)


@inlined
def _read_value(
    data: Array, number: Int, tag: Int, start: Int, shown: Int, buffers: Buffers, row: Int, state: Array
) -> tuple[Int, bool]:
    """Read what a type tag holds into a cell, behind `shown` others of the image.

    Returns:
        Where it ends or UNUSUAL, and whether it was in order.
    """
    if tag <= B or tag in (BOOL, NULL):
        return _add_cell(data, number, tag, start, buffers, row, state), True
    node = buffers.nodes[0, NODE_END]
    at, flags = walk(data, tag, start, 0, buffers.nodes)
    if at < 0:
        return at, True
    cells, place = buffers.cells, state[CELLS]
    cells[place]["slot"] = number * 16 + tag
    cells[place]["row"] = row
    cells[place]["kind"] = 0
    state[CELLS] += 1
    if not flags & UNORDERED:
        cells[place]["start"], cells[place]["size"] = start, at - start
        return at, True
    to = state[OUT]
    past = order(data, tag, start, node, buffers.out, to, buffers.nodes, buffers.members, shown)
    if past < 0:
        return np.int64(UNUSUAL), False
    cells[place]["start"], cells[place]["size"] = ~to, past - to
    state[OUT] = past
    return at, False


@compiled
def _leave_out(data: Array, name: Int, tag: Int, start: Int, shown: Int, buffers: Buffers, state: Array) -> Int:
    """Read a dropped value, which is to be right all the same; return where it ends, or UNUSUAL."""
    node = buffers.nodes[0, NODE_END]
    at, flags = walk(data, tag, start, 0, buffers.nodes)
    if at < 0:
        return at
    if flags & UNORDERED:
        past = order(data, tag, start, node, buffers.out, state[OUT], buffers.nodes, buffers.members, shown)
        if past < 0:
            return np.int64(UNUSUAL)
    state[LEFT_OUT] += occurrences(data, name, at, 123)
    return at


@inlined
def _add_cell(data: Array, number: Int, tag: Int, start: Int, buffers: Buffers, row: Int, state: Array) -> Int:
    """Read an S, N, B, BOOL or NULL into a cell; return where it ends, or UNUSUAL."""
    cells, place = buffers.cells, state[CELLS]
    cells[place]["slot"] = number * 16 + tag
    cells[place]["row"] = row
    cells[place]["kind"] = 0
    if tag == S:
        if data[start] != 34:
            return np.int64(UNUSUAL)
        end, flags = scan(data, start + 1)
        if end < 0:
            return np.int64(UNUSUAL)
        if flags & ESCAPED:
            to = state[OUT]
            past = unescape(data, start + 1, end, buffers.out, to)
            cells[place]["start"], cells[place]["size"] = ~to, past - to
            state[OUT] = past
        else:
            cells[place]["start"], cells[place]["size"] = start + 1, end - start - 1
        end += 1
    elif tag == N:
        if data[start] != 34:
            return np.int64(UNUSUAL)
        end, kind, value = scan_number(data, start + 1)
        if end < 0:
            return np.int64(UNUSUAL)
        cells[place]["start"], cells[place]["size"], cells[place]["kind"], cells[place]["value"] = (
            start + 1,
            end - start - 1,
            kind,
            value,
        )
        end += 1
    else:
        end, _ = walk(data, tag, start, 0, buffers.nodes)
        if end < 0:
            return np.int64(UNUSUAL)
        if tag == B:
            cells[place]["start"], cells[place]["size"] = start + 1, end - start - 2
        else:
            cells[place]["start"], cells[place]["size"], cells[place]["value"] = (
                start,
                end - start,
                np.int64(data[start] == 116),
            )
    state[CELLS] += 1
    return end


@inlined
def _hash_key(data: Array, key: Key, buffers: Buffers) -> Int:
    """Hash the canonical text of a key whose values have been noted."""
    size = np.int64(0)
    count = len(key.tags)
    for number in range(count):
        size = copy(key.text, key.bounds[number], key.bounds[number + 1], buffers.image, size)
        size = copy(data, buffers.keys[number, 0], buffers.keys[number, 1], buffers.image, size)
    size = copy(key.text, key.bounds[count], key.bounds[count + 1], buffers.image, size)
    return xxh64(buffers.image, 0, size)


@compiled
def _literal(data: Array, at: Int, text: bytes) -> bool:
    for offset in range(len(text)):
        if data[at + offset] != text[offset]:
            return False
    return True


@compiled
def _line_end(data: Array, at: Int, end: Int) -> Int:
    """Return where the line's end is: a line feed, or the block's end."""
    while at < end and data[at] != 10:
        at += 1
    return at
