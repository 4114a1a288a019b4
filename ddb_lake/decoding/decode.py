"""Export files to typed frames, block by block, on as many threads as there are processors."""

import os
from collections.abc import Generator, Iterable, Iterator

import polars as pl

from ddb_lake.decoded_rows import DecodedRows
from ddb_lake.decoding.errors import DecodeError
from ddb_lake.decoding.files import Block, ExportFile
from ddb_lake.decoding.frames import Tally, build_frame, located, unpinned
from ddb_lake.decoding.schema import ItemSchema
from ddb_lake.decoding.selecting import SelectingShredder
from ddb_lake.decoding.shredder import Mode
from ddb_lake.decoding.stream import work_on

WORKERS = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Blocks that are decoded at once: all of the work is outside of Python's lock."""

BLOCK_ROWS = 65_536
BLOCK_CELLS = 2_000_000
"""Most rows, and most rows times columns, of a frame: a table with thousands of attributes gets shorter ones."""

_Frames = list[tuple[DecodedRows, Tally]]


class DecodedFrames(Iterator[pl.DataFrame]):
    """The frames of a file; with each one that is taken, `tally` counts on."""

    def __init__(self, blocks: Iterator[_Frames]) -> None:
        self._frames = (frame for frames in blocks for frame in frames)
        self.source: object = None
        """What must live as long as they are taken."""
        self.tally = Tally()

    def __next__(self) -> pl.DataFrame:
        return next(self.rows()).frame

    def rows(self) -> Iterator[DecodedRows]:
        """Yield the frames with the lines that they were made of."""
        for rows, tally in self._frames:
            self.tally.add(tally)
            yield rows


def decode_item_files(
    files: Iterable[ExportFile], schema: ItemSchema, write_time_us: int, workers: int = WORKERS
) -> Generator[tuple[ExportFile, DecodedFrames]]:
    """Decode data files of a full export.

    Files are asked for, and blocks decoded, a little ahead of what is taken, across the files' borders. What is not
    taken of a file before the next one is asked for is left out.

    Args:
        files: The files.
        schema: What `learn_items` made of them, or wider.
        write_time_us: The write time that all items get, µs since the epoch.
        workers: How many blocks are decoded at once.

    Yields:
        Each file with its frames, in the order of its lines: the columns `ITEM_METADATA`, then all of the schema.
        An empty file has none. Only after the last one is the file known to be whole: use nothing of it before.

    Raises:
        SchemaTooNarrow: While the frames are taken, if an attribute or a type of its values has no column.
        DecodeError: Likewise, if a file is damaged, or a line in it is not an item of this table.
    """
    return _decode(files, schema, Mode(False, write_time_us), workers)


def decode_change_files(
    files: Iterable[ExportFile], schema: ItemSchema, old_images: bool = False, workers: int = WORKERS
) -> Generator[tuple[ExportFile, DecodedFrames]]:
    """Decode data files of an incremental export, as `decode_item_files` does those of a full one.

    Args:
        files: The files.
        schema: What `learn_changes` made of them, or wider.
        old_images: Whether to show old images, as text; else they are not decoded.
        workers: How many blocks are decoded at once.

    Yields:
        Each file with its frames: the columns `CHANGE_METADATA`, `OLD_IMAGE` if that is asked for, then all of the
        schema. Deletes have the key's columns only.

    Raises:
        SchemaTooNarrow: While the frames are taken, if an attribute or a type of its values has no column.
        DecodeError: Likewise, if a file is damaged, or a line in it is not a change of this table.
    """
    return _decode(files, schema, Mode(True, old_images=old_images), workers)


def decode_items(file: ExportFile, schema: ItemSchema, write_time_us: int, workers: int = WORKERS) -> DecodedFrames:
    """Decode one data file of a full export: see `decode_item_files`."""
    return _only(decode_item_files([file], schema, write_time_us, workers))


def decode_changes(
    file: ExportFile, schema: ItemSchema, old_images: bool = False, workers: int = WORKERS
) -> DecodedFrames:
    """Decode one data file of an incremental export: see `decode_change_files`."""
    return _only(decode_change_files([file], schema, old_images, workers))


def _only(files: Iterator[tuple[ExportFile, DecodedFrames]]) -> DecodedFrames:
    """Return the frames of the one file there is."""
    _, frames = next(files)
    frames.source = files
    return frames


def _decode(
    files: Iterable[ExportFile], schema: ItemSchema, mode: Mode, workers: int
) -> Generator[tuple[ExportFile, DecodedFrames]]:
    most_rows = max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(1, len(schema.columns))))

    def decode(shredder: SelectingShredder, block: Block) -> _Frames:
        made: _Frames = []
        for shreds in shredder.shred(block, most_rows):
            try:
                frame, tally, values = build_frame(shreds, mode, schema)
                rows = DecodedRows(unpinned(frame, shreds), block.name, shreds.first_line, values)
                made.append((rows, tally))
            except DecodeError as error:
                raise located(error, block.name, shreds) from None
        return made

    for file, blocks in work_on(files, schema, mode, decode, workers):
        yield file, DecodedFrames(blocks)
