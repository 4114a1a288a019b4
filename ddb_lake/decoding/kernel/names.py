"""Attribute names as numbers: a hash table over the bytes that stand between the quotes."""

from typing import NamedTuple

import numpy as np

from ddb_lake.decoding.kernel.compiling import Array, Int, compiled, inlined
from ddb_lake.decoding.kernel.hashing import xxh64
from ddb_lake.decoding.kernel.text import copy
from ddb_lake.decoding.kernel.vectors import word

ROOM = 64
"""Bytes that must be readable behind a block and behind all names, all 0: no scan goes on once it is there."""

NO_ROOM = -2
"""The number of a name that the table has no room for."""

DROPPED = 1
"""An attribute's flag: it makes no cell, and no part of the tie-break."""


class Names(NamedTuple):
    """The attributes that have been seen, numbered in that order; those of the key come first.

    Attributes:
        text: The bytes of all names.
        starts: Where each one begins there.
        sizes: How many bytes it has.
        flags: What is to be done with it.
        buckets: Numbers by hash, -1 where none is; their count is a power of two.
        last_rows: The row that had it last.
        sequence: The numbers in the order of the last row: the next one is most likely alike.
        used: How many names there are, and how many bytes they take.
    """

    text: Array
    starts: Array
    sizes: Array
    flags: Array
    buckets: Array
    last_rows: Array
    sequence: Array
    used: Array


def new_names(count: int, size: int, flag: int) -> Names:
    """Return an empty table with room for `count` names (a power of two) of `size` bytes together."""
    return Names(
        text=np.zeros(size + ROOM, np.uint8),
        starts=np.zeros(count, np.int64),
        sizes=np.zeros(count, np.int64),
        flags=np.full(count, flag, np.uint8),
        buckets=np.full(2 * count, -1, np.int32),
        last_rows=np.full(count, -1, np.int64),
        sequence=np.full(count, -1, np.int64),
        used=np.zeros(2, np.int64),
    )


@compiled
def find(data: Array, start: Int, end: Int, names: Names) -> Int:
    """Return the number of the name `data[start:end]`, which is added where it is new; or NO_ROOM."""
    size = end - start
    mask = len(names.buckets) - 1
    place = xxh64(data, start, end) & mask
    while names.buckets[place] >= 0:
        number = np.int64(names.buckets[place])
        if names.sizes[number] == size:
            equal = True
            for offset in range(size):
                if names.text[names.starts[number] + offset] != data[start + offset]:
                    equal = False
                    break
            if equal:
                return number
        place = (place + 1) & mask
    number, begin = names.used[0], names.used[1]
    if number >= len(names.starts) or begin + size + ROOM > len(names.text):
        return np.int64(NO_ROOM)
    copy(data, start, end, names.text, begin)
    names.starts[number], names.sizes[number], names.buckets[place] = begin, size, number
    names.used[0], names.used[1] = number + 1, begin + size
    return number


@inlined
def stands_at(data: Array, at: Int, end: Int, names: Names, number: Int) -> bool:
    """Tell whether a name stands at `at`, with its closing quote; the block ends at `end`."""
    start, size = names.starts[number], names.sizes[number]
    if at + size > end or data[at + size] != 34:
        return False
    offset = 0
    while offset + 8 <= size:
        if word(data, at + offset) != word(names.text, start + offset):
            return False
        offset += 8
    rest = size - offset
    if rest == 0:
        return True
    # The bytes behind the name are shifted out.
    difference = word(data, at + offset) ^ word(names.text, start + offset)
    return (difference << np.uint64(64 - 8 * rest)) == np.uint64(0)
