"""Many files are decoded as one stream: ahead of their reader, in order, each error in its turn."""

import gc
import tracemalloc
from collections.abc import Generator, Iterator
from pathlib import Path

import polars as pl
import pytest

from ddb_lake.decoding import (
    CorruptFile,
    DecodedFrames,
    ExportFile,
    ItemSchema,
    decode_change_files,
    decode_item_files,
    decode_items,
    learn_changes,
    learn_items,
)
from ddb_lake_tests.decoding.export_files import PK, change_line, write_items, write_lines

SCHEMA = learn_items([], ItemSchema.empty(PK))
LARGE = 250_000
"""Items of a file that has several blocks."""

WORKERS = pytest.mark.parametrize("workers", [1, 2, 3])


def write(folder: Path, number: int, count: int) -> ExportFile:
    items = ({"pk": {"S": f"{number}/{place}"}} for place in range(count))
    return write_items(folder / f"{number}.json.gz", items)


def damage(file: ExportFile) -> ExportFile:
    data = file.path.read_bytes()
    file.path.write_bytes(data[: len(data) * 3 // 4])
    return file


def keys(frames: Iterator[pl.DataFrame]) -> list[str]:
    return [key for frame in frames for key in frame["pk"]]


@WORKERS
def test_each_file_has_its_own_frames_and_tally(tmp_path: Path, workers: int) -> None:
    counts = [3, LARGE, 0, 0, 1, LARGE, 7]
    files = [write(tmp_path, number, count) for number, count in enumerate(counts)]
    seen: list[ExportFile] = []
    for number, (file, frames) in enumerate(decode_item_files(files, SCHEMA, 0, workers)):
        seen.append(file)
        assert keys(frames) == [f"{number}/{place}" for place in range(counts[number])]
        assert frames.tally.lines == counts[number]
    assert seen == files


@WORKERS
def test_changes_come_by_file_as_well(tmp_path: Path, workers: int) -> None:
    files = [
        write_lines(tmp_path / f"{number}.json.gz", [change_line({"pk": {"S": str(number)}}, None)])
        for number in range(5)
    ]
    schema = learn_changes(files, SCHEMA, workers)
    decoded = decode_change_files(files, schema, workers=workers)
    assert [keys(frames) for _, frames in decoded] == [[str(number)] for number in range(5)]


@WORKERS
def test_frames_that_are_kept_stay_as_they_are(tmp_path: Path, workers: int) -> None:
    files = [write(tmp_path, number, 1) for number in range(20)]
    kept = [frame for _, frames in decode_item_files(files, SCHEMA, 0, workers) for frame in frames]
    alone = [frame for file in files for frame in decode_items(file, SCHEMA, 0, 1)]
    assert [frame.rows() for frame in kept] == [frame.rows() for frame in alone]
    assert len({frame["_key_hash"][0] for frame in kept}) == len(files)


@WORKERS
def test_nothing_is_read_of_files_whose_frames_are_not_asked_for(tmp_path: Path, workers: int) -> None:
    files = [damage(write(tmp_path, number, LARGE)) for number in range(5)]
    asked: list[str] = []

    def each() -> Iterator[ExportFile]:
        for file in files:
            asked.append(file.name)
            yield file

    for number, (file, _) in enumerate(decode_item_files(each(), SCHEMA, 0, workers)):
        assert asked == [each.name for each in files[: number + 1]]
        assert file is files[number]


def test_the_next_files_are_worked_at_before_one_has_been_taken(tmp_path: Path) -> None:
    asked: list[ExportFile] = []

    def each() -> Iterator[ExportFile]:
        for number in range(10):
            asked.append(write(tmp_path, number, 10))
            yield asked[-1]

    decoded = decode_item_files(each(), SCHEMA, 0, 2)
    _, frames = next(decoded)
    assert next(frames).height == 10
    assert len(asked) == 3  # two workers have a block each


@WORKERS
def test_what_is_left_of_a_file_is_left_out(tmp_path: Path, workers: int) -> None:
    files = [write(tmp_path, number, LARGE) for number in range(4)]
    firsts = [next(frames)["pk"][0] for _, frames in decode_item_files(files, SCHEMA, 0, workers)]
    assert firsts == [f"{number}/0" for number in range(4)]


@WORKERS
def test_a_damaged_file_is_told_when_all_before_it_has_been_taken(tmp_path: Path, workers: int) -> None:
    files = [write(tmp_path, 0, 5), damage(write(tmp_path, 1, LARGE)), write(tmp_path, 2, 5)]
    decoded = decode_item_files(files, SCHEMA, 0, workers)
    assert len(keys(next(decoded)[1])) == 5
    frames = next(decoded)[1]
    assert next(frames).height
    with pytest.raises(CorruptFile, match=r"1\.json\.gz"):
        keys(frames)


@WORKERS
def test_a_file_that_can_not_be_had_spoils_none_before_it(tmp_path: Path, workers: int) -> None:
    def each() -> Iterator[ExportFile]:
        yield write(tmp_path, 0, LARGE)
        raise ConnectionError("no such luck")

    decoded = decode_item_files(each(), SCHEMA, 0, workers)
    assert len(keys(next(decoded)[1])) == LARGE
    with pytest.raises(ConnectionError, match="no such luck"):
        next(decoded)


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        files = [write(tmp_path, number, 20_000) for number in range(count)]
        tracemalloc.start()
        try:
            assert sum(frame.height for _, each in decode_item_files(files, SCHEMA, 0, 2) for frame in each)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(40) < 1.3 * peak(10)


@WORKERS
def test_a_damaged_file_that_is_left_out_takes_none_behind_it_along(tmp_path: Path, workers: int) -> None:
    files = [write(tmp_path, 0, 5), damage(write(tmp_path, 1, 100)), write(tmp_path, 2, 5), write(tmp_path, 3, 5)]
    told: list[int] = []
    for number, (_, frames) in enumerate(decode_item_files(files, SCHEMA, 0, workers)):
        told.append(len(keys(frames)) if number != 1 else 0)
    assert told == [5, 0, 5, 5]


@WORKERS
def test_frames_that_are_left_over_are_of_their_own_file(tmp_path: Path, workers: int) -> None:
    decoded = decode_item_files([write(tmp_path, number, LARGE) for number in range(2)], SCHEMA, 0, workers)
    _, first = next(decoded)
    assert next(first)["pk"][0] == "0/0"
    _, second = next(decoded)
    assert all(key.startswith("0/") for key in keys(first))
    assert keys(second) == [f"1/{place}" for place in range(LARGE)]


@WORKERS
def test_no_file_stays_open_once_the_stream_is_closed(tmp_path: Path, workers: int) -> None:
    def opened() -> set[str]:
        links = (each for each in Path("/proc/self/fd").iterdir() if each.exists())
        return {str(each.resolve()) for each in links if each.resolve().is_relative_to(tmp_path)}

    gc.disable()
    try:
        decoded = _of(tmp_path, workers)
        assert next(next(decoded)[1]).height
        assert opened()
        decoded.close()
        assert not opened()
    finally:
        gc.enable()


def _of(folder: Path, workers: int) -> Generator[tuple[ExportFile, DecodedFrames]]:
    yield from decode_item_files([write(folder, 0, 5 * LARGE)], SCHEMA, 0, workers)
