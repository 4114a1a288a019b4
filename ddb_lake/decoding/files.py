"""Export files as blocks of whole lines: gunzipped in a stream, never whole in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddb_lake.decoding.errors import CorruptFile, ItemCountMismatch, MalformedRecord
from ddb_lake.decoding.gunzip import DamagedGzip, opened
from ddb_lake.decoding.kernel.text import occurrences

BLOCK_BYTES = 3 * 2**20
"""A block has this many bytes of JSON, or one line that is longer."""

LONGEST_LINE = 128 * 2**20
"""Bytes of JSON; two 400 KB images stay far below it however their text and numbers are written out."""

ROOM = 64
"""Zero bytes behind a block's data, so that the kernel can look ahead."""


@dataclass(frozen=True)
class ExportFile:
    """A data file of an export, fetched.

    Attributes:
        name: What messages call it, such as `s3://bucket/key`.
        path: The gzip'd file on the local disk.
        item_count: How many lines its manifest says it has.
    """

    name: str
    path: Path
    item_count: int


@dataclass(frozen=True)
class Block:
    """Some adjacent lines of a file.

    Attributes:
        name: The file's.
        first_line: The 1-based line that it begins with.
        data: The lines' bytes (uint8), then `ROOM` zeros, then anything.
        size: How many bytes the lines have.
        lines: How many lines there are.
    """

    name: str
    first_line: int
    data: npt.NDArray[Any]
    size: int
    lines: int

    @staticmethod
    def of(name: str, first_line: int, lines: bytes) -> "Block":
        """Return a block of some lines."""
        data = np.zeros(len(lines) + ROOM, np.uint8)
        data[: len(lines)] = np.frombuffer(lines, np.uint8)
        return Block(name, first_line, data, len(lines), _count_lines(data, len(lines)))


def read_blocks(file: ExportFile, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Read a file's lines in blocks.

    Raises:
        CorruptFile: If the gzip stream is truncated, damaged, followed by something else, or absent.
            (Several members, and zero bytes as padding after them, are gzip's own.)
        ItemCountMismatch: If the number of lines is not the manifest's, and before more than a block of lines too
            many is read.
        MalformedRecord: If a line is longer than any that DynamoDB can write.
    """
    lines = 0
    for block in _read_blocks(file, block_bytes):
        lines += block.lines
        yield block
        if lines > file.item_count:
            break  # what a few bytes of gzip unfold into may have no end
    if lines != file.item_count:
        raise ItemCountMismatch(
            f"the file has {lines} lines{' or more,' if lines > file.item_count else ''} but its manifest says "
            f"{file.item_count}: restore the "
            "object as DynamoDB wrote it, or export again",
            file.name,
            max(lines, 1),
        )


def _read_blocks(file: ExportFile, block_bytes: int) -> Iterator[Block]:
    if file.path.stat().st_size == 0:
        raise CorruptFile("the file has no bytes; even an empty export file is a gzip stream", file.name, 1)
    line = 1
    rest = b""
    with opened(file.path) as read_into:
        while True:
            wanted = len(rest) + block_bytes
            buffer = bytearray(wanted + ROOM)
            buffer[: len(rest)] = rest
            filled = len(rest)
            with memoryview(buffer) as view:
                while filled < wanted:
                    try:
                        got = read_into(view[filled:wanted])
                    except DamagedGzip as error:
                        raise CorruptFile(
                            "the gzip stream is truncated, damaged, or followed by something else, here or soon "
                            f"after ({error}); restore the object as DynamoDB wrote it, or export again",
                            file.name,
                            line + buffer.count(b"\n", 0, filled),
                        ) from error
                    if not got:
                        break
                    filled += got
            ended = filled < wanted
            size = filled if ended else buffer.rfind(b"\n", 0, filled) + 1
            rest = b"" if ended else bytes(memoryview(buffer)[size:filled])
            if len(rest) > LONGEST_LINE:
                raise MalformedRecord(
                    f"the line is longer than {LONGEST_LINE:,} bytes, more than any record",
                    file.name,
                    line + buffer.count(b"\n", 0, size),
                )
            if size:
                data = np.frombuffer(buffer, np.uint8)
                data[size : size + ROOM] = 0
                block = Block(file.name, line, data, size, _count_lines(data, size))
                line += block.lines
                yield block
            if ended:
                return


def _count_lines(data: npt.NDArray[Any], size: int) -> int:
    return int(occurrences(data, 0, size, ord("\n"))) + int(size > 0 and data[size - 1] != ord("\n"))
