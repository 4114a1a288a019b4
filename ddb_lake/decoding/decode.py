"""Export files to typed frames, block by block."""

from collections.abc import Iterator

import polars as pl

from ddb_lake.decoding import series
from ddb_lake.decoding.attributes import Arm
from ddb_lake.decoding.errors import SchemaTooNarrow
from ddb_lake.decoding.files import BLOCK_ROWS, ExportFile
from ddb_lake.decoding.keys import KeyReader
from ddb_lake.decoding.rows import AddLine, Rows, change_adder, item_adder, read_rows
from ddb_lake.decoding.schema import ItemSchema

ITEM_METADATA = pl.Schema({"_key_hash": pl.Int64(), "_write_time_us": pl.Int64(), "_tie_break": pl.Int64()})
"""The columns of `decode_items` before those of the schema."""

CHANGE_METADATA = pl.Schema({**ITEM_METADATA, "_deleted": pl.Boolean()})
"""The columns of `decode_changes` before those of the schema."""

BLOCK_CELLS = 2_000_000
"""Most rows times columns of a frame: a table with thousands of attributes gets frames of fewer rows."""


def decode_items(file: ExportFile, schema: ItemSchema, write_time_us: int) -> Iterator[pl.DataFrame]:
    """Decode a data file of a full export.

    Args:
        file: The file.
        schema: What `learn_items` made of it, or wider.
        write_time_us: The write time that all items get, µs since the epoch.

    Yields:
        Frames of at most 20,000 rows with the columns `ITEM_METADATA`, then all of the schema; none for an
        empty file. Only after the last one is the file known to be whole: use nothing of it before.

    Raises:
        SchemaTooNarrow: If an attribute or a type of its values has no column.
        DecodeError: If the file is damaged, or a line in it is not an item of this table.
    """
    return _decode(file, schema, item_adder(KeyReader(schema.key), write_time_us), ITEM_METADATA)


def decode_changes(file: ExportFile, schema: ItemSchema) -> Iterator[pl.DataFrame]:
    """Decode a data file of an incremental export; old images are not read.

    Args:
        file: The file.
        schema: What `learn_changes` made of it, or wider.

    Yields:
        Frames of at most 20,000 rows with the columns `CHANGE_METADATA`, then all of the schema; none for
        an empty file. Deletes have the key's columns only. Only after the last one is the file known to be
        whole: use nothing of it before.

    Raises:
        SchemaTooNarrow: If an attribute or a type of its values has no column.
        DecodeError: If the file is damaged, or a line in it is not a change of this table.
    """
    return _decode(file, schema, change_adder(KeyReader(schema.key)), CHANGE_METADATA)


def _decode(file: ExportFile, schema: ItemSchema, add_line: AddLine, metadata: pl.Schema) -> Iterator[pl.DataFrame]:
    most_rows = max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(1, len(schema.columns))))
    for block in read_rows(file, add_line, most_rows):
        try:
            frame = pl.DataFrame(_metadata(block.rows, metadata) + _attributes(block.rows, schema))
        except series.BadCell as bad:
            raise bad.error.located(file.name, block.first_line + bad.row) from None
        yield frame


def _metadata(rows: Rows, schema: pl.Schema) -> list[pl.Series]:
    values: dict[str, list[int] | list[bool]] = {
        "_key_hash": rows.key_hashes,
        "_write_time_us": rows.write_times_us,
        "_tie_break": rows.tie_breaks,
        "_deleted": rows.deleted,
    }
    return [pl.Series(name, values[name], dtype=dtype) for name, dtype in schema.items()]


def _attributes(rows: Rows, schema: ItemSchema) -> list[pl.Series]:
    """Build all columns of the schema, in its order.

    Raises:
        BadCell: If a value is not what its type allows, or has no column.
    """
    filled: dict[str, pl.Series] = {}
    for attribute, by_type in rows.attributes.cells.items():
        home = schema.number_home(attribute) or Arm.NUMBER
        for tag, cells in by_type.items():
            for arm, (places, values) in series.build(tag, cells, home).items():
                column = schema.by_arm.get((attribute, arm))
                if column is None:
                    raise series.BadCell(
                        places[0],
                        SchemaTooNarrow(
                            f"the schema has no column for the {arm} values of {attribute!r}: learn this file first"
                        ),
                    )
                filled[column.name] = series.spread(column.name, places, values, rows.height)
    return [
        filled[column.name] if column.name in filled else series.nulls(column.name, column.dtype, rows.height)
        for column in schema.columns
    ]
