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
from ddb_lake.decoding.kernel import columns, lines, names
from ddb_lake.decoding.kernel.text import occurrences
from ddb_lake.decoding.kernel.values import TAGS
from ddb_lake.decoding.keys import KeyReader
from ddb_lake.keys import KeyAttribute

Array = npt.NDArray[Any]

_FIRST_NAMES = 256
_FIRST_NAME_BYTES = 2**16

_HIDDEN = (
    "this line can't be decoded; what is wrong is not shown, because lake.yaml hides attributes of this table: look "
    "at the line in the file"
)

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
    """Adjacent lines of a file, taken apart; valid until the next are.

    Attributes:
        first_line: The 1-based line of row 0.
        rows: A record (`kernel.lines.ROW`) for each line.
        cells: All the values (`kernel.lines.CELL`).
        order: The cells' places by slot, within a slot by row.
        begins: For each slot, which is attribute number * 16 + tag, where its part of `order` begins.
        kinds: For each attribute which kinds of numbers it has, as bits.
        names: The attributes' names by number.
        data: The block: the first buffer that cells point into.
        out: The second one.
        out_size: How many of its bytes are used.
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
    out_size: int
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
        flags: What is to be done with the attributes named here (`kernel.lines.DROPPED` …).
        other_flag: What is to be done with all others; those of the key are always shown.
        discreet: Whether errors show nothing of a line.
    """

    def __init__(
        self,
        key: tuple[KeyAttribute, ...],
        mode: Mode,
        flags: Iterable[tuple[str, int]] = (),
        other_flag: int = SHOWN,
        discreet: bool = False,
    ) -> None:
        self._mode = mode
        self._discreet = discreet
        reader = KeyReader(key)
        self._normalise: Normalise = (
            change_normaliser(reader, mode.old_images) if mode.changes else item_normaliser(reader)
        )
        attributes = sorted(key, key=lambda attribute: attribute.name)
        pieces = reader.pieces
        self._key = lines.Key(
            tags=np.array([TAGS.index(attribute.type) for attribute in attributes], np.int64),
            text=np.frombuffer(b"".join(pieces) + bytes(names.ROOM), np.uint8),
            bounds=np.cumsum([0, *map(len, pieces)], dtype=np.int64),
        )
        self._other_flag = other_flag
        self._fixed = {attribute.name: SHOWN for attribute in attributes} | dict(flags)
        self._state = np.zeros(6, np.int64)
        self._name_texts: list[str] = []
        self._names = self._new_names(_FIRST_NAMES, _FIRST_NAME_BYTES)
        self._buffers: lines.Buffers | None = None

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
        if not self._state[lines.ODDS]:
            return block
        return self._read_exactly(block, block.first_line, int(self._state[lines.POSITION]))[0]

    def _shred(self, block: Block, position: int, line: int, most_rows: int) -> tuple[Shreds, Block, int]:
        buffers = self._run(block, position, most_rows)
        exact_lines, end = int(self._state[lines.ODDS]), int(self._state[lines.POSITION])
        if exact_lines:
            block, end = self._read_exactly(block, line, end)
            buffers = self._run(block, position, most_rows)
            if self._state[lines.ODDS]:
                raise DecodeError(
                    "this line could be read but not decoded, which is a fault of ddb_lake: please report it with "
                    "the line",
                    block.name,
                    line + int(buffers.odds[0]["row"]),
                )
        count, rows = int(self._state[lines.CELLS]), int(self._state[lines.ROWS])
        self._learn_names()
        order, begins, kinds = columns.group(buffers.cells, count, len(self._name_texts) * 16)
        shreds = Shreds(
            first_line=line,
            rows=buffers.rows[:rows],
            cells=buffers.cells,
            order=order,
            begins=begins,
            kinds=kinds,
            names=tuple(self._name_texts),
            data=block.data,
            out=buffers.out,
            out_size=int(self._state[lines.OUT]),
            exact_lines=exact_lines,
            braces=_braces(block, position, end),
            left_out=int(self._state[lines.LEFT_OUT]),
        )
        return shreds, block, end

    def _run(self, block: Block, position: int, most_rows: int) -> lines.Buffers:
        """Call the kernel, with more room for names if it needs that; return the buffers that it wrote to."""
        mode = self._mode
        options = lines.Options(mode.changes, mode.old_images, most_rows, mode.write_time_us)
        buffers = self._new_buffers(block)
        while True:
            self._state[:] = 0
            self._state[lines.POSITION] = position
            ended = lines.shred(block.data, block.size, options, self._key, self._names, buffers, self._state)
            if ended == lines.DONE:
                return buffers
            # Either the names or their bytes ran out.
            count, size = len(self._names.starts), len(self._names.text)
            out_of_names = int(self._names.used[0]) == count
            self._names = self._new_names(2 * count if out_of_names else count, size if out_of_names else 2 * size)

    def _read_exactly(self, block: Block, line: int, end: int) -> tuple[Block, int]:
        """Return the block with its odd lines in canonical form, and where what was at `end` is in it."""
        assert self._buffers is not None
        parts: list[bytes] = []
        data = block.data[: block.size].tobytes()
        position = 0
        for row, start, stop in self._buffers.odds[: int(self._state[lines.ODDS])].tolist():
            try:
                parts += [data[position:start], self._normalise(data[start:stop])]
            except DecodeError as error:
                told = type(error)(_HIDDEN) if self._discreet else error
                raise told.located(block.name, line + row) from None
            position = stop
        head = b"".join([*parts, data[position:end]])
        return Block.of(block.name, block.first_line, head + data[end:]), len(head)

    def _new_buffers(self, block: Block) -> lines.Buffers:
        """Return room for a block: what frames are views of is new each time, the rest is kept."""
        kept = self._buffers
        # The shortest list is {"L":[ with something behind it, the shortest member of a set "" with a comma.
        self._buffers = lines.Buffers(
            cells=_room(kept and kept.cells, _braces(block, 0, block.size) + 4, lines.CELL),
            rows=_room(kept and kept.rows, block.lines, lines.ROW),
            odds=_room(kept and kept.odds, block.lines, lines.ODD),
            out=np.empty(2 * block.size + names.ROOM, np.uint8),
            image=_room(kept and kept.image, block.size + names.ROOM, np.dtype(np.uint8)),
            nodes=_room(kept and kept.nodes, block.size // 6 + names.ROOM, np.dtype(np.int64), 3),
            members=_room(kept and kept.members, block.size // 3 + names.ROOM, np.dtype(np.int64), 3),
            keys=np.zeros((2, 2), np.int64),
        )
        return self._buffers

    def _new_names(self, count: int, size: int) -> names.Names:
        """Return a table with the names that are known from the start."""
        table = names.new_names(count, size, self._other_flag)
        for name, flag in self._fixed.items():
            text = orjson.dumps(name)[1:-1]
            data = np.frombuffer(text + bytes(names.ROOM), np.uint8)
            number = names.find(data, 0, len(text), table)
            if number == names.NO_ROOM:
                return self._new_names(2 * count, 2 * size + len(text))
            table.flags[number] = flag
        self._name_texts.clear()
        return table

    def _learn_names(self) -> None:
        """Read the names that the kernel has added."""
        for number in range(len(self._name_texts), int(self._names.used[0])):
            start = int(self._names.starts[number])
            text = self._names.text[start : start + int(self._names.sizes[number])].tobytes()
            self._name_texts.append(orjson.loads(b'"' + text + b'"'))


def _room(kept: Array | None, count: int, dtype: np.dtype[Any], width: int = 1) -> Array:
    """Return what is kept if it has room for so many, or else new room, a little more than that."""
    if kept is not None and len(kept) >= count:
        return kept
    wanted = count + count // 4
    return np.empty(wanted if width == 1 else (wanted, width), dtype)


def _braces(block: Block, start: int, end: int) -> int:
    return int(occurrences(block.data, start, end, ord("{")))
