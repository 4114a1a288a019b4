"""Blocks of an export file's lines as rows: what describes a row by row, its attributes by column."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ddb_lake.decoding.canonical import canonical_image, canonical_text, hash_text
from ddb_lake.decoding.cells import CellTable
from ddb_lake.decoding.errors import DecodeError
from ddb_lake.decoding.files import ExportFile, read_blocks
from ddb_lake.decoding.keys import KeyReader
from ddb_lake.decoding.records import Image, parse_change, parse_item


@dataclass(slots=True)
class Rows:
    """The records of some adjacent lines.

    Attributes:
        key_hashes: For each row, the hash of its canonical primary key.
        write_times_us: For each row, when it was written in µs since the epoch.
        tie_breaks: For each row, the hash of its canonical image; 0 for deletes and full exports' items.
        deleted: For each row, whether it is a delete.
        attributes: The attributes of items and new images; of deletes, those of the key.
    """

    key_hashes: list[int] = field(default_factory=list[int])
    write_times_us: list[int] = field(default_factory=list[int])
    tie_breaks: list[int] = field(default_factory=list[int])
    deleted: list[bool] = field(default_factory=list[bool])
    attributes: CellTable = field(default_factory=CellTable)

    @property
    def height(self) -> int:
        """How many rows there are."""
        return len(self.key_hashes)

    def add(self, image: Image, key_hash: int, write_time_us: int, tie_break: int, deleted: bool) -> None:
        """Add a row."""
        self.attributes.add(len(self.key_hashes), image)
        self.key_hashes.append(key_hash)
        self.write_times_us.append(write_time_us)
        self.tie_breaks.append(tie_break)
        self.deleted.append(deleted)


@dataclass(frozen=True, slots=True)
class RowBlock:
    """The rows of a block; row 0 is the 1-based line `first_line` of the file."""

    first_line: int
    rows: Rows


AddLine = Callable[[Rows, bytes], None]
"""Parses a line and adds it as a row."""


def item_adder(key: KeyReader, write_time_us: int) -> AddLine:
    """Return what adds the item on a line of a full export."""

    def add(rows: Rows, line: bytes) -> None:
        image = parse_item(line)
        key.check(image)
        rows.add(image, key.hash(image), write_time_us, tie_break=0, deleted=False)

    return add


def change_adder(key: KeyReader) -> AddLine:
    """Return what adds the change on a line of an incremental export."""

    def add(rows: Rows, line: bytes) -> None:
        change = parse_change(line)
        key.check_change(change.keys, change.image)
        key_hash = key.hash(change.keys)
        if change.image is None:
            rows.add(change.keys, key_hash, change.write_time_us, tie_break=0, deleted=True)
        else:
            image = canonical_image(change.image)
            tie_break = hash_text(canonical_text(image))
            rows.add(image, key_hash, change.write_time_us, tie_break, deleted=False)

    return add


def read_rows(file: ExportFile, add_line: AddLine, most_rows: int) -> Iterator[RowBlock]:
    """Read a file in blocks of at most `most_rows` rows.

    Raises:
        DecodeError: If the file is damaged or a line is not what it should be; it says which.
    """
    for block in read_blocks(file, most_rows):
        rows = Rows()
        for place, line in enumerate(block.lines):
            try:
                add_line(rows, line)
            except DecodeError as error:
                raise error.located(file.name, block.first_line + place) from None
        yield RowBlock(block.first_line, rows)
