"""A file is decoded in blocks of bounded size, whatever its own size and however it is gzip'd."""

import gzip
import tracemalloc
from itertools import chain
from pathlib import Path

import pytest

from ddb_lake.decoding import ExportFile, ItemSchema, decode_changes, decode_items, learn_changes, learn_items
from ddb_lake.decoding.decode import BLOCK_CELLS, BLOCK_ROWS
from ddb_lake.decoding.errors import ItemCountMismatch
from ddb_lake.decoding.files import BLOCK_BYTES, read_blocks
from ddb_lake_tests.decoding.export_files import PK, change_line, item_line, items_of, write_items, write_lines

SCHEMA = learn_items([], ItemSchema.empty(PK))

# What AWS writes for a partition without items.
EMPTY_FILE = bytes.fromhex("1f8b08000000000000ff03000000000000000000")


def test_no_frame_has_more_rows_than_a_block_and_none_is_lost(tmp_path: Path) -> None:
    count = 2 * BLOCK_ROWS + 1
    file = write_items(tmp_path / "items.json.gz", ({"pk": {"S": str(number)}} for number in range(count)))
    frames = [frame["pk"].to_list() for frame in decode_items(file, SCHEMA, 0)]
    assert max(len(frame) for frame in frames) <= BLOCK_ROWS
    assert [*chain.from_iterable(frames)] == [str(number) for number in range(count)]


def test_a_block_of_long_lines_ends_at_its_bytes(tmp_path: Path) -> None:
    line = item_line({"pk": {"S": "1"}, "a": {"S": "x" * 400_000}})
    file = write_lines(tmp_path / "items.json.gz", [line] * 50)
    sizes = [block.size for block in read_blocks(file)]
    assert sum(sizes) == 50 * (len(line) + 1)
    assert max(sizes) < BLOCK_BYTES + len(line)


def test_a_frame_of_many_columns_has_fewer_rows(tmp_path: Path) -> None:
    wide = {"pk": {"S": "0"}, **{f"a{number}": {"BOOL": True} for number in range(4_000)}}
    file = write_items(tmp_path / "items.json.gz", [wide] + [{"pk": {"S": "1"}}] * 1_999)
    schema = learn_items([file], SCHEMA)
    heights = [frame.height for frame in decode_items(file, schema, 0)]
    assert sum(heights) == 2_000
    assert max(heights) * len(schema.columns) <= BLOCK_CELLS


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        items = ({"pk": {"S": str(number)}, "a": {"S": "x" * 1000}} for number in range(count))
        file = write_items(tmp_path / f"{count}.json.gz", items)
        schema = learn_items([file], SCHEMA)
        tracemalloc.start()
        try:
            for frame in decode_items(file, schema, 0):
                assert frame.height <= BLOCK_ROWS
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(100_000) < 1.3 * peak(30_000)


def test_frames_that_are_kept_hold_little_more_than_they_show(tmp_path: Path) -> None:
    old = {"pk": {"S": "1"}, "big": {"S": "x" * 100_000}}
    lines = [change_line({"pk": {"S": str(number)}}, None, old=old) for number in range(300)]
    file = write_lines(tmp_path / "deletes.json.gz", lines)
    schema = learn_changes([file], ItemSchema.empty(PK))
    tracemalloc.start()
    try:
        kept = list(decode_changes(file, schema))
        assert sum(frame.height for frame in kept) == 300
        assert tracemalloc.get_traced_memory()[0] < 2**20
    finally:
        tracemalloc.stop()


def test_a_frame_of_many_columns_takes_little_memory_where_most_are_null(tmp_path: Path) -> None:
    wide = {"pk": {"S": "0"}, **{f"a{number}": {"S": "x"} for number in range(1_000)}}
    schema = learn_items([write_items(tmp_path / "wide.json.gz", [wide])], SCHEMA)
    file = write_items(tmp_path / "items.json.gz", ({"pk": {"S": str(number)}} for number in range(60_000)))
    before = resident_mb()
    frames = list(decode_items(file, schema, 0))
    assert sum(frame.height for frame in frames) == 60_000
    # 60,000 rows with a validity bit and a view of 16 bytes for each of the columns would take 970 MB.
    assert resident_mb() - before < 200


def resident_mb() -> int:
    (line,) = (each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def test_several_gzip_members_are_one_file_even_within_a_line(tmp_path: Path) -> None:
    text = "".join(item_line({"pk": {"S": str(number)}}) + "\n" for number in range(10)).encode()
    path = tmp_path / "members.json.gz"
    path.write_bytes(gzip.compress(text[:33]) + EMPTY_FILE + gzip.compress(text[33:]))
    items = items_of(ExportFile("members", path, 10), SCHEMA)
    assert items == [{"pk": {"S": str(number)}} for number in range(10)]


def test_a_last_line_without_line_end_counts(tmp_path: Path) -> None:
    path = tmp_path / "open.json.gz"
    path.write_bytes(gzip.compress(f"{item_line({'pk': {'S': '1'}})}\n{item_line({'pk': {'S': '2'}})}".encode()))
    assert len(items_of(ExportFile("open", path, 2), SCHEMA)) == 2


def test_an_empty_file_has_no_frames(tmp_path: Path) -> None:
    assert len(EMPTY_FILE) == 20
    path = tmp_path / "empty.json.gz"
    path.write_bytes(EMPTY_FILE)
    file = ExportFile("empty", path, 0)
    assert list(decode_items(file, SCHEMA, 0)) == []
    assert learn_items([file], SCHEMA) == SCHEMA


def test_a_file_that_unfolds_into_more_lines_than_its_manifest_says_is_read_no_further(tmp_path: Path) -> None:
    path = tmp_path / "bomb.json.gz"
    line = b'{"Item":{"pk":{"S":"a"}}}\n'
    path.write_bytes(gzip.compress(line * (100 * BLOCK_BYTES // len(line)), 9))
    assert path.stat().st_size < BLOCK_BYTES
    blocks = read_blocks(ExportFile("bomb", path, 2))
    assert next(blocks).first_line == 1
    with pytest.raises(ItemCountMismatch, match="lines or more, but its manifest says 2"):
        next(blocks)
