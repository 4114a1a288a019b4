"""Lines of an export to cells: which attribute of which type, in which row, and where its value stands."""

from typing import Any

import numpy as np

from ddb_lake.decoding.kernel.compiling import Array, Int, compiled, inlined
from ddb_lake.decoding.kernel.hashing import xxh64
from ddb_lake.decoding.kernel.scalars import scan_number
from ddb_lake.decoding.kernel.text import ESCAPED, compare, copy, same, scan, unescape
from ddb_lake.decoding.kernel.values import BOOL, NULL, UNORDERED, M, N, S, order, read_tag, walk
from ddb_lake.decoding.kernel.vectors import word

ROOM = 64
"""Bytes that must be readable behind a block, all 0: no scan goes further once it is beyond the end."""

DROPPED = 1
"""An attribute's flag: it makes no cell and no part of the tie-break."""

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
"""A record; its old image stands like a cell's value, with size 0 where there is none."""

ODD = np.dtype([("row", np.int64), ("start", np.int64), ("end", np.int64)])
"""A line that only the exact reader can read or refuse."""

(NAMES, NAME_BYTES, CELLS, OUT, ROWS, ODDS, POSITION, BRACES) = range(8)
"""What the numbers of a call's state mean; BRACES counts the objects that make no cell on purpose."""

DONE, NAMES_FULL = 0, 1
"""Why `shred` returned: at the end or at `most_rows`; or there are more attributes than the table has room for."""


@compiled
def _literal(data: Array, at: Int, text: bytes) -> Any:
    for offset in range(len(text)):
        if data[at + offset] != text[offset]:
            return False
    return True


@compiled
def line_end(data: Array, at: Int, end: Int) -> Any:
    """Return where the line's end is: a line feed, or the block's end."""
    while at < end and data[at] != 10:
        at += 1
    return at


@compiled
def find_name(
    data: Array, start: Int, end: Int, table: Array, starts: Array, sizes: Array, buckets: Array, state: Array
) -> Any:
    """Return the number of a name, which is added where it is new, or -2 if there is no room for it."""
    digest = xxh64(data, start, end)
    mask = len(buckets) - 1
    place = digest & mask
    size = end - start
    while True:
        found = np.int64(buckets[place])
        if found < 0:
            break
        if sizes[found] == size:
            equal = True
            for offset in range(size):
                if table[starts[found] + offset] != data[start + offset]:
                    equal = False
                    break
            if equal:
                return found
        place = (place + 1) & mask
    found = state[NAMES]
    begin = state[NAME_BYTES]
    if found >= len(starts) or begin + size + ROOM > len(table):
        return np.int64(-2)
    copy(data, start, end, table, begin)
    starts[found], sizes[found], buckets[place] = begin, size, found
    state[NAMES] = found + 1
    state[NAME_BYTES] = begin + size + 8
    return found


@inlined
def _is_name(data: Array, at: Int, end: Int, table: Array, start: Int, size: Int) -> Any:
    """Tell whether a name of that size stands at `at`, with its closing quote."""
    if at + size > end or data[at + size] != 34:
        return False
    offset = 0
    while offset + 8 <= size:
        if word(data, at + offset) != word(table, start + offset):
            return False
        offset += 8
    rest = size - offset
    if rest == 0:
        return True
    return ((word(data, at + offset) ^ word(table, start + offset)) << np.uint64(64 - 8 * rest)) == np.uint64(0)


@compiled
def shred(
    data: Array,
    end: Int,
    changes: bool,
    keep_old: bool,
    hash_ties: bool,
    most_rows: Int,
    key_tags: Array,
    key_texts: Array,
    key_bounds: Array,
    write_time: Int,
    table: Array,
    starts: Array,
    sizes: Array,
    flags: Array,
    buckets: Array,
    last_rows: Array,
    sequence: Array,
    cells: Array,
    rows: Array,
    odds: Array,
    out: Array,
    spare: Array,
    image: Array,
    segments: Array,
    state: Array,
) -> Any:
    """Take lines apart, from `state[POSITION]` to the block's end or until there are `most_rows` rows.

    Args:
        data: The block, with `ROOM` zero bytes behind `end`.
        end: Where it ends.
        changes: Whether they are changes of an incremental export, or items of a full one.
        keep_old: Whether old images are wanted.
        hash_ties: Whether to compute tie-breaks.
        most_rows: How many rows to make at most.
        key_tags: The tags of the key's attributes in the order of their names; those are names 0 and 1.
        key_texts: The canonical text of a key without its values.
        key_bounds: Where in it the parts begin and end that stand before, between and behind the values.
        write_time: The write time of a full export's items, µs since the epoch.
        table: Bytes of the names of attributes.
        starts: Where each one begins there.
        sizes: How many bytes it has.
        flags: What is to be done with it.
        buckets: Numbers of names by hash, -1 where none is; their count is a power of two.
        last_rows: For each name the row that had it last.
        sequence: The names of the last row in their order.
        cells: Room for the cells, at least one for each brace of the block.
        rows: Room for the rows.
        odds: Room for the odd lines.
        out: Room for all values that can't stand as they do in the block.
        spare: Room for a line.
        image: Likewise.
        segments: Room for the members of a line's maps and sets.
        state: Numbers that are kept from call to call.

    Returns:
        DONE or NAMES_FULL; the latter with the state as it was before the line that has the name.
    """
    at = state[POSITION]
    row = np.int64(0)
    state[ROWS] = 0
    state[ODDS] = 0
    last_rows[: state[NAMES]] = -1
    keys = len(key_tags)
    key_start = np.zeros(2, np.int64)
    key_end = np.zeros(2, np.int64)
    image_start = np.zeros(2, np.int64)
    image_end = np.zeros(2, np.int64)
    while at < end and row < most_rows:
        begin = at
        cell = state[CELLS]
        to = state[OUT]
        braces = np.int64(0)
        usual = True
        gone = False
        when = write_time
        old_start, old_size = np.int64(0), np.int64(0)
        full = False

        if changes:
            usual = False
            if _literal(data, at, b'{"Metadata":{"WriteTimestampMicros":{"N":"'):
                at += 42
                digits = at
                when = np.int64(0)
                while 48 <= data[at] <= 57 and at - digits < 18:
                    when = when * 10 + (np.int64(data[at]) - 48)
                    at += 1
                if at > digits and _literal(data, at, b'"}},"Keys":{'):
                    at += 12
                    seen = 0
                    bad = False
                    while True:
                        which = -1
                        if data[at] == 34:
                            for place in range(keys):
                                if _is_name(data, at + 1, end, table, starts[place], sizes[place]):
                                    which = place
                        if which < 0 or seen & (1 << which) or data[at + sizes[which] + 2] != 58:
                            bad = True
                            break
                        tag, value = read_tag(data, at + sizes[which] + 3)
                        if tag != key_tags[which]:
                            bad = True
                            break
                        at, _ = walk(data, np.int64(tag), value, 0)
                        if at < 0 or data[at] != 125:
                            bad = True
                            break
                        key_start[which], key_end[which] = value, at
                        seen |= 1 << which
                        at += 1
                        if data[at] == 44:
                            at += 1
                        elif data[at] == 125:
                            at += 1
                            break
                        else:
                            bad = True
                            break
                    usual = not bad and seen == (1 << keys) - 1
                    if usual and _literal(data, at, b',"OldImage":{'):
                        begun = at + 12
                        at, ordered = walk(data, 6, begun, 0)
                        usual = at >= 0
                        if usual:
                            if keep_old:
                                if ordered & UNORDERED:
                                    _, stop = order(data, 6, begun, out, to, spare, segments, 0)
                                    usual = stop >= 0
                                    old_start, old_size = ~to, stop - to
                                    to = max(stop, to)
                                else:
                                    old_start, old_size = begun, at - begun
                            for place in range(begun, at):
                                braces += data[place] == 123
                    if usual:
                        if _literal(data, at, b',"NewImage":{'):
                            at += 12
                        elif data[at] == 125:
                            gone = True
                            at += 1
                        else:
                            usual = False
            if usual and gone:
                for place in range(keys):
                    tag = key_tags[place]
                    start, stop = key_start[place], key_end[place]
                    cells[cell]["slot"] = place * 16 + tag
                    cells[cell]["row"] = row
                    if tag == N:
                        _, kind, number = scan_number(data, start + 1)
                        cells[cell]["kind"], cells[cell]["value"] = kind, number
                    if tag == S and scan(data, start + 1)[1] & ESCAPED:
                        past = unescape(data, start + 1, stop - 1, out, to)
                        cells[cell]["start"], cells[cell]["size"] = ~to, past - to
                        to = past
                    else:
                        cells[cell]["start"], cells[cell]["size"] = start + 1, stop - start - 2
                    cell += 1
        elif _literal(data, at, b'{"Item":{'):
            at += 8
        else:
            usual = False

        if usual and not gone:
            # `at` is at the opening brace of the image.
            whole = at
            at += 1
            ordered = True
            before = np.int64(-1)
            keys_seen = 0
            position = np.int64(0)
            any_dropped = False
            usual = data[at] == 34
            while usual:
                name = at + 1
                attribute = np.int64(sequence[position]) if position < len(sequence) else np.int64(-1)
                if attribute >= 0 and _is_name(data, name, end, table, starts[attribute], sizes[attribute]):
                    at = name + sizes[attribute]
                else:
                    at, _ = scan(data, name)
                    if at < 0:
                        usual = False
                        break
                    attribute = find_name(data, name, at, table, starts, sizes, buckets, state)
                    if attribute < 0:
                        full = True
                        break
                    if position < len(sequence):
                        sequence[position] = attribute
                position += 1
                if data[at + 1] != 58 or last_rows[attribute] == row:
                    usual = False
                    break
                last_rows[attribute] = row
                if hash_ties:
                    if before >= 0 and compare(data, before, name) >= 0:
                        ordered = False
                    before = name
                tag, start = read_tag(data, at + 2)
                if tag < 0:
                    usual = False
                    break
                kind = np.int64(0)
                number = np.int64(0)
                text_flags = np.int64(0)
                disorder = np.int64(0)
                if tag == S:
                    if data[start] != 34:
                        usual = False
                        break
                    at, text_flags = scan(data, start + 1)
                    at += 1
                elif tag == N:
                    if data[start] != 34:
                        usual = False
                        break
                    at, kind, number = scan_number(data, start + 1)
                    at += 1
                else:
                    at, disorder = walk(data, np.int64(tag), start, 0)
                if at <= 0 or data[at] != 125:
                    usual = False
                    break
                if disorder & UNORDERED:
                    ordered = False
                if attribute < keys:
                    if tag != key_tags[attribute]:
                        usual = False
                        break
                    keys_seen |= 1 << attribute
                    image_start[attribute], image_end[attribute] = start, at
                if flags[attribute] & DROPPED:
                    any_dropped = True
                    for place in range(name, at + 1):
                        braces += data[place] == 123
                else:
                    cells[cell]["slot"] = attribute * 16 + tag
                    cells[cell]["row"] = row
                    cells[cell]["kind"] = kind
                    cells[cell]["value"] = number
                    if tag <= 2:
                        if text_flags & ESCAPED:
                            past = unescape(data, start + 1, at - 1, out, to)
                            cells[cell]["start"], cells[cell]["size"] = ~to, past - to
                            to = past
                        else:
                            cells[cell]["start"], cells[cell]["size"] = start + 1, at - start - 2
                    elif tag == BOOL or tag == NULL:
                        cells[cell]["value"] = data[start] == 116
                        cells[cell]["start"], cells[cell]["size"] = start, at - start
                    elif disorder & UNORDERED:
                        _, past = order(data, np.int64(tag), start, out, to, spare, segments, 0)
                        if past < 0:
                            usual = False
                            break
                        cells[cell]["start"], cells[cell]["size"] = ~to, past - to
                        to = past
                    else:
                        cells[cell]["start"], cells[cell]["size"] = start, at - start
                    cell += 1
                at += 1
                if data[at] == 44:
                    at += 1
                    usual = data[at] == 34
                elif data[at] == 125:
                    at += 1
                    break
                else:
                    usual = False
            if full:
                return NAMES_FULL
            if usual and keys_seen != (1 << keys) - 1:
                usual = False
            if usual:
                for place in range(keys):
                    if changes:
                        size = key_end[place] - key_start[place]
                        if image_end[place] - image_start[place] != size or not same(
                            data, image_start[place], key_start[place], size
                        ):
                            usual = False
                    else:
                        key_start[place], key_end[place] = image_start[place], image_end[place]
            if usual and data[at] == 125:
                stop = at
                at += 1
                if hash_ties:
                    if ordered and not any_dropped:
                        rows[row]["tie_break"] = xxh64(data, whole, stop)
                    else:
                        usual, digest = _hash_in_order(
                            data, whole, image, out, to, spare, segments, table, starts, sizes, flags, buckets, state
                        )
                        rows[row]["tie_break"] = digest
                else:
                    rows[row]["tie_break"] = 0
            else:
                usual = False
        elif gone:
            rows[row]["tie_break"] = 0

        if usual and at < end and data[at] != 10:
            usual = False
        if usual and at <= end:
            size = np.int64(0)
            for place in range(keys):
                size = copy(key_texts, key_bounds[place], key_bounds[place + 1], image, size)
                size = copy(data, key_start[place], key_end[place], image, size)
            size = copy(key_texts, key_bounds[keys], key_bounds[keys + 1], image, size)
            rows[row]["key_hash"] = xxh64(image, 0, size)
            rows[row]["write_time"] = when
            rows[row]["deleted"] = gone
            rows[row]["old_start"] = old_start
            rows[row]["old_size"] = old_size
            state[CELLS] = cell
            state[OUT] = to
            state[BRACES] += braces
            at += 1
        else:
            at = line_end(data, begin, end)
            odd = state[ODDS]
            odds[odd]["row"], odds[odd]["start"], odds[odd]["end"] = row, begin, at
            state[ODDS] = odd + 1
            at += 1
        row += 1
        state[ROWS] = row
        state[POSITION] = min(at, end)
    return DONE


@compiled
def _hash_in_order(
    data: Array,
    at: Int,
    kept: Array,
    out: Array,
    to: Int,
    spare: Array,
    segments: Array,
    table: Array,
    starts: Array,
    sizes: Array,
    flags: Array,
    buckets: Array,
    state: Array,
) -> Any:
    """Hash the canonical text of an image without its dropped attributes.

    Returns:
        Whether no name is there twice, and the hash.
    """
    size = np.int64(1)
    kept[0] = 123
    at += 1
    while data[at] != 125:
        if data[at] == 44:
            at += 1
        begin = at
        end, _ = scan(data, at + 1)
        tag, start = read_tag(data, end + 2)
        stop, _ = walk(data, np.int64(tag), start, 0)
        at = stop + 1
        attribute = find_name(data, begin + 1, end, table, starts, sizes, buckets, state)
        if not flags[attribute] & DROPPED:
            if size > 1:
                kept[size] = 44
                size += 1
            size = copy(data, begin, at, kept, size)
    kept[size] = 125
    _, stop = order(kept, M, 0, out, to, spare, segments, 0)
    if stop < 0:
        return False, np.int64(0)
    return True, xxh64(out, to, stop)
