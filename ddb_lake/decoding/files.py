"""Export files as blocks of lines: gunzipped in a stream, never whole in memory."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ddb_lake.decoding.errors import CorruptFile, ItemCountMismatch, MalformedRecord

BLOCK_BYTES = 8 * 2**20
"""A block ends with the line that reaches this many bytes of JSON."""

BLOCK_ROWS = 20_000
"""Or with this many lines, whichever comes first."""

LONGEST_LINE = 128 * 2**20
"""Bytes of JSON; two 400 KB images stay far below it however their text and numbers are written out."""

_READ_BYTES = 2**20


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
    """Some adjacent lines of a file, without their line ends; `first_line` is 1-based."""

    first_line: int
    lines: list[bytes]


def read_blocks(file: ExportFile, rows: int = BLOCK_ROWS) -> Iterator[Block]:
    """Read a file's lines in blocks of at most `rows` lines and about `BLOCK_BYTES` bytes.

    Raises:
        CorruptFile: If the gzip stream is truncated, damaged, followed by something else, or absent.
            (Several members, and zero bytes as padding after them, are gzip's own.)
        ItemCountMismatch: At the end, if the number of lines is not the manifest's.
        MalformedRecord: If a line is longer than any that DynamoDB can write.
    """
    lines: list[bytes] = []
    size = 0
    count = 0
    for line in _read_lines(file):
        lines.append(line)
        size += len(line)
        count += 1
        if len(lines) >= rows or size >= BLOCK_BYTES:
            yield Block(count - len(lines) + 1, lines)
            lines, size = [], 0
    if lines:
        yield Block(count - len(lines) + 1, lines)
    if count != file.item_count:
        raise ItemCountMismatch(
            f"the file has {count} lines but its manifest says {file.item_count}: fetch it again, "
            "and if it stays so export again",
            file.name,
            max(count, 1),
        )


def _read_lines(file: ExportFile) -> Iterator[bytes]:
    if file.path.stat().st_size == 0:
        raise CorruptFile("the file has no bytes; even an empty export file is a gzip stream", file.name, 1)
    line = 1
    rest = b""
    try:
        with gzip.open(file.path) as stream:
            while chunk := stream.read(_READ_BYTES):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from whole
                line += len(whole)
                if len(rest) > LONGEST_LINE:
                    raise MalformedRecord(
                        f"the line is longer than {LONGEST_LINE:,} bytes, more than any record", file.name, line
                    )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CorruptFile(
            f"the gzip stream can't be read beyond this line: {error}; fetch the file again", file.name, line
        ) from error
    if rest:
        yield rest
