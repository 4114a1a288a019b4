"""Export files to typed frames, block by block, on as many threads as there are processors."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import polars as pl

from ddb_lake.decoding.errors import DecodeError
from ddb_lake.decoding.files import Block, ExportFile, read_blocks
from ddb_lake.decoding.frames import Tally, build_frame, located, unpinned
from ddb_lake.decoding.schema import ItemSchema
from ddb_lake.decoding.selecting import SelectingShredder
from ddb_lake.decoding.shredder import Mode

WORKERS = max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
"""Blocks that are decoded at once: all of the work is outside of Python's lock."""

BLOCK_ROWS = 65_536
BLOCK_CELLS = 2_000_000
"""Most rows, and most rows times columns, of a frame: a table with thousands of attributes gets shorter ones."""

Given = TypeVar("Given")
Made = TypeVar("Made")


class DecodedFrames(Iterator[pl.DataFrame]):
    """The frames of a file; with each one that is taken, `tally` counts on."""

    def __init__(self, frames: Iterator[tuple[pl.DataFrame, Tally]]) -> None:
        self._frames = frames
        self.tally = Tally()

    def __next__(self) -> pl.DataFrame:
        frame, tally = next(self._frames)
        self.tally.add(tally)
        return frame


def decode_items(file: ExportFile, schema: ItemSchema, write_time_us: int, workers: int = WORKERS) -> DecodedFrames:
    """Decode a data file of a full export.

    Args:
        file: The file.
        schema: What `learn_items` made of it, or wider.
        write_time_us: The write time that all items get, µs since the epoch.
        workers: How many blocks are decoded at once.

    Returns:
        Frames with the columns `ITEM_METADATA`, then all of the schema; none for an empty file. Only after the
        last one is the file known to be whole: use nothing of it before.

    Raises:
        SchemaTooNarrow: While the frames are taken, if an attribute or a type of its values has no column.
        DecodeError: Likewise, if the file is damaged, or a line in it is not an item of this table.
    """
    return DecodedFrames(_decode(file, schema, Mode(False, write_time_us), workers))


def decode_changes(
    file: ExportFile, schema: ItemSchema, old_images: bool = False, workers: int = WORKERS
) -> DecodedFrames:
    """Decode a data file of an incremental export.

    Args:
        file: The file.
        schema: What `learn_changes` made of it, or wider.
        old_images: Whether to show old images, as text; else they are not decoded.
        workers: How many blocks are decoded at once.

    Returns:
        Frames with the columns `CHANGE_METADATA`, `OLD_IMAGE` if that is asked for, then all of the schema; none
        for an empty file. Deletes have the key's columns only. Only after the last one is the file known to be
        whole: use nothing of it before.

    Raises:
        SchemaTooNarrow: While the frames are taken, if an attribute or a type of its values has no column.
        DecodeError: Likewise, if the file is damaged, or a line in it is not a change of this table.
    """
    return DecodedFrames(_decode(file, schema, Mode(True, old_images=old_images), workers))


def _decode(file: ExportFile, schema: ItemSchema, mode: Mode, workers: int) -> Iterator[tuple[pl.DataFrame, Tally]]:
    most_rows = max(1, min(BLOCK_ROWS, BLOCK_CELLS // max(1, len(schema.columns))))

    def decode(shredder: SelectingShredder, block: Block) -> list[tuple[pl.DataFrame, Tally]]:
        made: list[tuple[pl.DataFrame, Tally]] = []
        for shreds in shredder.shred(block, most_rows):
            try:
                frame, tally = build_frame(shreds, mode, schema)
                made.append((unpinned(frame, shreds), tally))
            except DecodeError as error:
                raise located(error, file.name, shreds) from None
        return made

    for frames in each_block(file, schema, mode, decode, workers):
        yield from frames


def each_block(
    file: ExportFile,
    schema: ItemSchema,
    mode: Mode,
    work: Callable[[SelectingShredder, Block], Made],
    workers: int,
) -> Iterator[Made]:
    """Yield what is made of a file's blocks, in their order; it is made on threads while the next one is read."""
    if workers == 1:
        shredder = SelectingShredder(schema, mode)
        yield from (work(shredder, block) for block in read_blocks(file))
        return
    shredders: SimpleQueue[SelectingShredder] = SimpleQueue()
    for _ in range(workers):
        shredders.put(SelectingShredder(schema, mode))

    def run(block: Block) -> Made:
        shredder = shredders.get()
        try:
            return work(shredder, block)
        finally:
            shredders.put(shredder)

    with ThreadPoolExecutor(workers) as pool:
        yield from _in_order(pool, run, read_blocks(file), workers)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[Given], Made], given: Iterable[Given], ahead: int
) -> Iterator[Made]:
    """Map on threads, at most `ahead` steps before what has been taken; an error comes after all before it."""
    running: deque[Future[Made]] = deque()
    try:
        given = iter(given)
        while True:
            try:
                each = next(given)
            except StopIteration:
                break
            except DecodeError:
                while running:
                    yield running.popleft().result()
                raise
            running.append(pool.submit(function, each))
            while len(running) > ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for each in running:
            each.cancel()
