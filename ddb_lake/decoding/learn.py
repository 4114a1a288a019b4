"""Which columns an export needs: a pass over its files that widens the schema."""

from collections.abc import Callable, Iterable

from ddb_lake.decoding import series
from ddb_lake.decoding.attributes import ARM_OF_TYPE, Arm
from ddb_lake.decoding.cells import CellTable
from ddb_lake.decoding.errors import DecodeError
from ddb_lake.decoding.files import ExportFile, read_blocks
from ddb_lake.decoding.keys import KeyReader
from ddb_lake.decoding.records import Image, parse_change, parse_item
from ddb_lake.decoding.schema import ItemSchema
from ddb_lake.decoding.widen import widen


def learn_items(files: Iterable[ExportFile], schema: ItemSchema) -> ItemSchema:
    """Widen a schema by the columns that a full export's items need.

    Args:
        files: Data files of the export, in any order.
        schema: What is known of the table so far.

    Returns:
        The schema with all its columns, and new ones at the end: at least those of the key, even if the
        files are empty.

    Raises:
        DecodeError: If a file is damaged, or a line in it is not an item of this table.
    """
    key = KeyReader(schema.key)

    def image(line: bytes) -> Image:
        item = parse_item(line)
        key.check(item)
        return item

    return _widen(files, schema, image)


def learn_changes(files: Iterable[ExportFile], schema: ItemSchema) -> ItemSchema:
    """Widen a schema by the columns that an incremental export's new images and keys need.

    Args:
        files: Data files of the export, in any order.
        schema: What is known of the table so far.

    Returns:
        The schema with all its columns, and new ones at the end: at least those of the key, even if the
        files are empty.

    Raises:
        DecodeError: If a file is damaged, or a line in it is not a change of this table.
    """
    key = KeyReader(schema.key)

    def image(line: bytes) -> Image:
        change = parse_change(line)
        key.check_change(change.keys, change.image)
        return change.keys if change.image is None else change.image

    return _widen(files, schema, image)


def _widen(files: Iterable[ExportFile], schema: ItemSchema, image: Callable[[bytes], Image]) -> ItemSchema:
    seen: dict[str, set[Arm]] = {}
    for file in files:
        for block in read_blocks(file):
            table = CellTable()
            for row, line in enumerate(block.lines):
                try:
                    table.add(row, image(line))
                except DecodeError as error:
                    raise error.located(file.name, block.first_line + row) from None
            try:
                _note(table, seen)
            except series.BadCell as bad:
                raise bad.error.located(file.name, block.first_line + bad.row) from None
    return widen(schema, seen)


def _note(table: CellTable, seen: dict[str, set[Arm]]) -> None:
    for attribute, by_type in table.cells.items():
        arms = seen.setdefault(attribute, set())
        for tag, cells in by_type.items():
            arms.update(series.number_arms(cells) if tag == "N" else {ARM_OF_TYPE[tag]})
