"""Random items, decoded and encoded back, are what boto3 reads: a million by `make test-decode-million`."""

import gzip
import json
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from ddb_lake.decoding import (
    OLD_IMAGE,
    ExportFile,
    ItemSchema,
    Rules,
    TypePolicy,
    decode_changes,
    decode_items,
    encode_item,
    learn_changes,
    learn_items,
)
from ddb_lake_tests.decoding.bulk import KEYS, Bulk, Item, shapes
from ddb_lake_tests.decoding.reference import plain, same

CHUNK = 5_000
"""Items that share a schema; a chunk is a table of its own."""

SHAPES = 40
ODD = 0.3
"""Share of the lines that AWS would not have written so."""


def write(path: Path, lines: Sequence[str]) -> ExportFile:
    """Write a file of one to three gzip members, with or without a line end at its end."""
    text = "\n".join(lines).encode() + b"\n" * (len(lines) % 2)
    cut = len(text) // 3
    parts = [text] if len(lines) % 3 else [text[:cut], text[cut:]]
    path.write_bytes(b"".join(gzip.compress(part, compresslevel=1, mtime=0) for part in parts))
    return ExportFile(path.name, path, len(lines))


def in_files(folder: Path, name: str, lines: list[str], count: int) -> Iterator[tuple[ExportFile, list[str]]]:
    size = -(-len(lines) // count)
    for number, start in enumerate(range(0, len(lines), size)):
        part = lines[start : start + size]
        yield write(folder / f"{name}-{number}.json.gz", part), part


def assert_same(line: str, found: Item, known: Item) -> None:
    assert same(plain(found), plain(known)), f"{line!r}\nwas decoded as\n{found!r}"


def check_chunk(folder: Path, number: int, count: int) -> int:
    """Make, decode and compare the items of a chunk; return how many were equal, which is all of them."""
    folder = folder / str(number)
    folder.mkdir()
    random = Random(number)
    key = KEYS[number % len(KEYS)]
    bulk = Bulk(number, key)
    drawn = shapes(SHAPES, number)
    items = [bulk.item(random.choice(drawn)) for _ in range(count)]
    half = count // 2
    files = random.randint(1, 4)
    full = [bulk.item_line(item, random.random() < ODD) for item in items[:half]]
    changes: list[str] = []
    for item in items[half:]:
        old = {**random.choice(items), **bulk.key_of(item)} if random.random() < 0.6 else None
        changes.append(bulk.change_line(item, random.random() < 0.2, old, random.random() < ODD))
    rules = Rules(types=TypePolicy.STRING) if number % 10 == 9 else Rules()
    full_files = [*in_files(folder, "full", full, files)]
    change_files = [*in_files(folder, "changes", changes, files)]
    workers = 1 + number % 2
    schema = learn_items([file for file, _ in full_files], ItemSchema.empty(key, rules), workers)
    schema = learn_changes([file for file, _ in change_files], schema, workers)
    equal = 0
    for file, lines in full_files:
        frames = decode_items(file, schema, 0, workers)
        for line, row in zip(lines, rows(frames), strict=True):
            assert_same(line, encode_item(row, schema), json.loads(line)["Item"])
            equal += 1
    for file, lines in change_files:
        frames = decode_changes(file, schema, True, workers)
        for line, row in zip(lines, rows(frames), strict=True):
            record = json.loads(line)
            assert row["_deleted"] == ("NewImage" not in record)
            assert_same(line, encode_item(row, schema), record.get("NewImage", record["Keys"]))
            old = row[OLD_IMAGE]
            assert (old is None) == ("OldImage" not in record)
            if old is not None:
                assert_same(line, json.loads(old), record["OldImage"])
            time_us = record["Metadata"]["WriteTimestampMicros"]
            assert row["_write_time_us"] == int(time_us if isinstance(time_us, str) else time_us["N"])
            equal += 1
    for path in folder.iterdir():
        path.unlink()
    return equal


def rows(frames: Iterable[Any]) -> Iterator[Item]:
    """Yield the rows of frames without their nulls."""
    for frame in frames:
        yield from frame.iter_rows(named=True)


def test_ten_thousand_random_items_are_what_boto3_reads(tmp_path: Path) -> None:
    assert sum(check_chunk(tmp_path, 1_000 + number, 1_000) for number in range(10)) == 10_000


@pytest.mark.million
def test_a_million_random_items_are_what_boto3_reads(tmp_path: Path) -> None:
    wanted, equal = 1_000_000, 0
    began = time.monotonic()
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        check = partial(check_chunk, tmp_path, count=CHUNK)
        running = {pool.submit(check, number): number for number in range(wanted // CHUNK)}
        failures: dict[int, BaseException] = {}
        for count, done in enumerate(as_completed(running), 1):
            if error := done.exception():
                failures[running[done]] = error
            else:
                equal += done.result()
            if count % 10 == 0 or error:
                seconds = time.monotonic() - began
                what = f", chunk {running[done]} failed: {error}" if error else ""
                print(f"{equal:,} of {wanted:,} equal after {seconds:,.0f} s{what}", flush=True)  # noqa: T201
    assert not failures
    assert equal == wanted
