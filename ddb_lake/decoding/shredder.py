"""Blocks of lines to cells, by the compiled kernel and, for single odd lines, the exact reader."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ddb_lake.decoding.errors import DecodeError
from ddb_lake.decoding.exact import Normalise, change_normaliser, item_normaliser
from ddb_lake.decoding.files import Block
from ddb_lake.decoding.kernel import columns, shred
from ddb_lake.decoding.kernel.values import TAGS
from ddb_lake.decoding.keys import KeyReader
from ddb_lake.keys import KeyAttribute

Array = npt.NDArray[Any]

_FIRST_NAMES = 256
_FIRST_NAME_BYTES = 2**16

SHOWN = 0
"""What becomes of an attribute unless something else is said of it."""


@dataclass(frozen=True)
class Mode:
    """What is read from the lines.

    Attributes:
        changes: Whether they are changes of an incremental export, or items of a full one.
        write_time_us: The write time of a full export's items.
        old_images: Whether old images are wanted.
    """

    changes: bool
    write_time_us: int = 0
    old_images: bool = False


@dataclass(frozen=True)
class Shreds:
    """Adjacent lines of a file, taken apart.

    Attributes:
        first_line: The 1-based line of row 0.
        rows: A record (`kernel.shred.ROW`) for each line.
        cells: All the values (`kernel.shred.CELL`).
        order: The cells' places by slot, within a slot by row.
        begins: For each slot, which is attribute number * 16 + tag, where its part of `order` begins.
        kinds: For each attribute which kinds of numbers it has, as bits.
        names: The attributes' names by number.
        data: The block: the first buffer that cells point into.
        out: The second one.
        exact_lines: How many lines only the exact reader could read.
        braces: How many objects the lines have.
        left_out: How many of them make no cell on purpose: those of old images and of dropped attributes.
    """

    first_line: int
    rows: Array
    cells: Array
    order: Array
    begins: Array
    kinds: Array
    names: tuple[str, ...]
    data: Array
    out: Array
    exact_lines: int
    braces: int
    left_out: int

    @property
    def height(self) -> int:
        """How many rows there are."""
        return len(self.rows)

    def slots(self) -> Iterator[tuple[int, str, int, int]]:
        """Yield for each attribute and tag that has cells: the attribute's number, tag, first and last place."""
        filled = np.flatnonzero(self.begins[1:] > self.begins[:-1])
        for slot in filled.tolist():
            yield slot >> 4, TAGS[slot & 15], int(self.begins[slot]), int(self.begins[slot + 1])

    def line_of(self, row: int) -> int:
        """Return the line of a row."""
        return self.first_line + row


class Shredder:
    """Takes the blocks of one table's files apart; not to be used by two threads at once.

    Args:
        key: The table's primary key.
        mode: What is read.
        flags: What is to be done with the attributes named here (`kernel.shred.DROPPED` …).
        other_flag: What is to be done with all others; those of the key are always shown.
    """

    def __init__(
        self,
        key: tuple[KeyAttribute, ...],
        mode: Mode,
        flags: Iterable[tuple[str, int]] = (),
        other_flag: int = SHOWN,
    ) -> None:
        self._mode = mode
        reader = KeyReader(key)
        self._normalise: Normalise = (
            change_normaliser(reader, mode.old_images) if mode.changes else item_normaliser(reader)
        )
        attributes = sorted(key, key=lambda attribute: attribute.name)
        self._key_tags = np.array([TAGS.index(attribute.type) for attribute in attributes], np.int64)
        pieces = reader.pieces
        self._key_texts = np.frombuffer(b"".join(pieces), np.uint8)
        self._key_bounds = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
        self._other_flag = other_flag
        self._fixed = {attribute.name: SHOWN for attribute in attributes} | dict(flags)
        self._state = np.zeros(8, np.int64)
        self._names: list[str] = []
        self._make_table(_FIRST_NAMES, _FIRST_NAME_BYTES)
        self._room = 0

    def shred(self, block: Block, most_rows: int) -> Iterator[Shreds]:
        """Take a block apart in pieces of at most `most_rows` lines.

        Raises:
            DecodeError: If a line is not what it should be; it says which.
        """
        position = 0
        line = block.first_line
        while position < block.size:
            shreds, block, position = self._shred(block, position, line, most_rows)
            line += shreds.height
            yield shreds

    def normalise(self, block: Block) -> Block:
        """Return a block with all lines in the form that the kernel reads, every one of them checked.

        Raises:
            DecodeError: If a line is not what it should be; it says which.
        """
        self._run(block, 0, block.size + 1)
        if not self._state[shred.ODDS]:
            return block
        return self._read_exactly(block, block.first_line, int(self._state[shred.POSITION]))[0]

    def _shred(self, block: Block, position: int, line: int, most_rows: int) -> tuple[Shreds, Block, int]:
        out = self._run(block, position, most_rows)
        exact_lines = int(self._state[shred.ODDS])
        end = int(self._state[shred.POSITION])
        if exact_lines:
            block, end = self._read_exactly(block, line, end)
            out = self._run(block, position, most_rows)
            if self._state[shred.ODDS]:
                row = int(self._odds[0]["row"])
                raise DecodeError(
                    "this line could be read but not decoded, which is a fault of ddb_lake: please report it with "
                    "the line",
                    block.name,
                    line + row,
                )
        count, rows = int(self._state[shred.CELLS]), int(self._state[shred.ROWS])
        self._learn_names()
        order, begins, kinds = columns.group(self._cells, count, len(self._names) * 16)
        part = block.data[position:end]
        return (
            Shreds(
                first_line=line,
                rows=self._rows[:rows],
                cells=self._cells,
                order=order,
                begins=begins,
                kinds=kinds,
                names=tuple(self._names),
                data=block.data,
                out=out,
                exact_lines=exact_lines,
                braces=int(np.count_nonzero(part == ord("{"))),
                left_out=int(self._state[shred.BRACES]),
            ),
            block,
            end,
        )

    def _run(self, block: Block, position: int, most_rows: int) -> Array:
        """Call the kernel, with more room for names if it needs that; return the buffer that it wrote."""
        self._make_room(block)
        out = np.empty(2 * block.size + shred.ROOM, np.uint8)
        while True:
            names, name_bytes = self._state[[shred.NAMES, shred.NAME_BYTES]]
            self._state[:] = 0
            self._state[[shred.NAMES, shred.NAME_BYTES, shred.POSITION]] = names, name_bytes, position
            ended = shred.shred(
                block.data,
                block.size,
                self._mode.changes,
                self._mode.old_images,
                self._mode.changes,
                most_rows,
                self._key_tags,
                self._key_texts,
                self._key_bounds,
                self._mode.write_time_us,
                self._table,
                self._starts,
                self._sizes,
                self._flags,
                self._buckets,
                self._last_rows,
                self._sequence,
                self._cells,
                self._rows,
                self._odds,
                out,
                self._spare,
                self._image,
                self._segments,
                self._state,
            )
            if ended == shred.DONE:
                return out
            self._make_table(2 * len(self._starts), max(2 * len(self._table), 2 * block.size))

    def _read_exactly(self, block: Block, line: int, end: int) -> tuple[Block, int]:
        """Return the block with its odd lines in canonical form, and where what was at `end` is in it."""
        parts: list[bytes] = []
        data = block.data[: block.size].tobytes()
        position = 0
        for odd in self._odds[: int(self._state[shred.ODDS])].tolist():
            row, start, stop = odd
            try:
                parts += [data[position:start], self._normalise(data[start:stop])]
            except DecodeError as error:
                raise error.located(block.name, line + row) from None
            position = stop
        head = b"".join([*parts, data[position:end]])
        return Block.of(block.name, block.first_line, head + data[end:]), len(head)

    def _make_room(self, block: Block) -> None:
        braces = int(np.count_nonzero(block.data == ord("{"))) + 4
        lines = int(np.count_nonzero(block.data == ord("\n"))) + 1
        self._cells = np.empty(braces, shred.CELL)
        self._rows = np.empty(lines, shred.ROW)
        self._odds = np.empty(lines, shred.ODD)
        if block.size > self._room:
            self._room = block.size
            self._spare = np.zeros(block.size + shred.ROOM, np.uint8)
            self._image = np.zeros(block.size + shred.ROOM, np.uint8)
            self._segments = np.empty((block.size // 3 + shred.ROOM, 2), np.int64)

    def _make_table(self, names: int, name_bytes: int) -> None:
        """Make room for names, and enter those that are known."""
        self._table = np.zeros(name_bytes, np.uint8)
        self._starts = np.zeros(names, np.int64)
        self._sizes = np.zeros(names, np.int64)
        self._flags = np.full(names, self._other_flag, np.uint8)
        self._buckets = np.full(2 * names, -1, np.int32)
        self._last_rows = np.full(names, -1, np.int64)
        self._sequence = np.full(names, -1, np.int64)
        self._state[[shred.NAMES, shred.NAME_BYTES]] = 0
        self._names.clear()
        for name, flag in self._fixed.items():
            text = np.frombuffer(orjson.dumps(name)[1:-1] + bytes(shred.ROOM), np.uint8)
            size = len(text) - shred.ROOM
            number = shred.find_name(
                text, 0, size, self._table, self._starts, self._sizes, self._buckets, self._state
            )
            if number < 0:
                self._make_table(2 * names, 2 * name_bytes + size)
                return
            self._flags[number] = flag
        self._learn_names()

    def _learn_names(self) -> None:
        for number in range(len(self._names), int(self._state[shred.NAMES])):
            start = int(self._starts[number])
            text = self._table[start : start + int(self._sizes[number])].tobytes()
            self._names.append(orjson.loads(b'"' + text + b'"'))
