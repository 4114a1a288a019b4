"""Damaged files: the compiled kernel reads what the exact reader reads, and never what that refuses.

Whole blocks are damaged, so that a line also meets what the kernel remembers of the lines before it.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddb_lake.decoding import (
    OLD_IMAGE,
    DecodeError,
    ExportFile,
    ItemSchema,
    decode_changes,
    decode_items,
    encode_item,
    learn_changes,
    learn_items,
)
from ddb_lake.decoding.canonical import canonical_image, canonical_text, hash_text
from ddb_lake.decoding.exact import change_normaliser, item_normaliser
from ddb_lake.decoding.keys import KeyReader
from ddb_lake.keys import KeyAttribute
from ddb_lake_tests.decoding.bulk import KEYS, Bulk
from ddb_lake_tests.decoding.strategies import ITEMS

Key = tuple[KeyAttribute, ...]

MUTANTS = 8
"""Damaged blocks made of each example."""

PROFILE = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

TOKENS = [
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b",",
        b":",
        b"0",
        b"-",
        b".",
        b"=",
        b"+",
        b" ",
        b"\t",
        b"\r",
        b"\n",
        b"\0",
    ),
    *(
        b"\\u0041",
        b"\\u0000",
        b"\\u001F",
        b"\\ud800",
        b"\\udc00",
        b"\\ud83d\\ude00",
        b"\\/",
        b"\\x",
        b"\\u00",
        b"\x7f",
    ),
    *(
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xc3",
        b"\xf0\x9f\xa6\x84",
        b"\xef\xbb\xbf",
        b"\x85",
    ),
    *(
        b"true",
        b"null",
        b"1e5",
        b"1E400",
        b"NaN",
        b"9" * 40,
        b"0." + b"0" * 131 + b"1",
        b"9223372036854775808",
        b"-0",
    ),
    *(
        b'{"S":"',
        b'"},',
        b'{"N":"1"}',
        b',"a":{"S":"1"}',
        b'{"Item":{',
        b'"Item":{},',
        b'"Keys":{},',
        b'"NewImage":{}',
    ),
    *(b'{"L":[' * 65, b'{"M":{"a":' * 31, b"]}" * 65, b'"NULL":', b'"SS":', b'"B":', b"YR==", b"A" * 33),
]


def mutated(data: bytes, random: Random) -> bytes:
    """Return bytes with one to three damages."""
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(data) + 1)
        past = min(len(data), at + random.choice((1, 1, 2, 8, 40)))
        match random.randrange(7):
            case 0 if at < past:
                data = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
            case 1:
                data = data[:at] + random.choice(TOKENS) + data[at:]
            case 2:
                data = data[:at] + random.choice(TOKENS) + data[past:]
            case 3:
                data = data[:at] + data[past:]
            case 4:
                data = data[:past] + data[at:]
            case 5:
                elsewhere = random.randrange(len(data) + 1)
                data = data[:elsewhere] + data[at:past] + data[elsewhere:]
            case _:
                data = data[:at] if random.random() < 0.2 else data
    return data


def lines_of(data: bytes) -> list[bytes]:
    lines = data.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def verdict(lines: list[bytes], name: str, normalise: Callable[[bytes], bytes]) -> list[Any] | str:
    """Return what the exact reader makes of the lines, or how it refuses the first that it refuses."""
    made: list[Any] = []
    for number, line in enumerate(lines, 1):
        try:
            made.append(json.loads(normalise(line)))
        except DecodeError as error:
            return f"{type(error).__name__}: {error.located(name, number)}"
    return made


def written(path: Path, data: bytes) -> ExportFile:
    path.write_bytes(gzip.compress(data, compresslevel=0, mtime=0))
    return ExportFile(path.name, path, len(lines_of(data)))


def items_read(file: ExportFile, key: Key) -> Iterator[Any]:
    schema = learn_items([file], ItemSchema.empty(key), 1)
    for frame in decode_items(file, schema, 0, 1):
        for row in frame.iter_rows(named=True):
            item = canonical_image(encode_item(row, schema))
            assert row["_key_hash"] == KeyReader(key).hash(item)
            yield {"Item": item}


def changes_read(file: ExportFile, key: Key) -> Iterator[Any]:
    schema = learn_changes([file], ItemSchema.empty(key), 1)
    for frame in decode_changes(file, schema, True, 1):
        for row in frame.iter_rows(named=True):
            item, old = canonical_image(encode_item(row, schema)), row[OLD_IMAGE]
            keys = {attribute.name: item[attribute.name] for attribute in key}
            assert row["_key_hash"] == KeyReader(key).hash(keys)
            assert row["_tie_break"] == (0 if row["_deleted"] else hash_text(canonical_text(item)))
            yield {
                "Metadata": {"WriteTimestampMicros": {"N": str(row["_write_time_us"])}},
                "Keys": keys,
                **({} if old is None else {"OldImage": json.loads(old)}),
                **({} if row["_deleted"] else {"NewImage": item}),
            }


def outcome(read: Callable[[ExportFile, Key], Iterator[Any]], file: ExportFile, key: Key) -> list[Any] | str:
    """Return what the decoder makes of a file, or how it refuses it."""
    try:
        return list(read(file, key))
    except DecodeError as error:
        return f"{type(error).__name__}: {error}"


@PROFILE
@given(shapes=st.lists(ITEMS, min_size=1, max_size=4), seed=st.integers(0, 2**32), odd=st.booleans())
def test_damaged_items_are_read_or_refused_as_the_exact_reader_does(
    tmp_path: Path, shapes: list[Any], seed: int, odd: bool
) -> None:
    random = Random(seed)
    key = random.choice(KEYS)
    bulk = Bulk(seed, key)
    normalise = item_normaliser(KeyReader(key))
    data = "\n".join(bulk.item_line(bulk.item(shape), odd) for shape in shapes).encode()
    for _ in range(MUTANTS):
        damaged = mutated(data, random)
        file = written(tmp_path / "items.json.gz", damaged)
        assert outcome(items_read, file, key) == verdict(lines_of(damaged), file.name, normalise), damaged


@PROFILE
@given(shapes=st.lists(ITEMS, min_size=1, max_size=3), seed=st.integers(0, 2**32), odd=st.booleans())
def test_damaged_changes_are_read_or_refused_as_the_exact_reader_does(
    tmp_path: Path, shapes: list[Any], seed: int, odd: bool
) -> None:
    random = Random(seed)
    key = random.choice(KEYS)
    bulk = Bulk(seed, key)
    normalise = change_normaliser(KeyReader(key), True)
    learning = change_normaliser(KeyReader(key), False)
    lines: list[str] = []
    for shape in shapes:
        item = bulk.item(shape)
        old = {**bulk.item(shape), **bulk.key_of(item)} if random.random() < 0.6 else None
        lines.append(bulk.change_line(item, random.random() < 0.3, old, odd))
    for _ in range(MUTANTS):
        damaged = mutated("\n".join(lines).encode(), random)
        file = written(tmp_path / "changes.json.gz", damaged)
        lines_read = lines_of(damaged)
        refused = verdict(lines_read, file.name, learning)
        known = refused if isinstance(refused, str) else verdict(lines_read, file.name, normalise)
        found = outcome(changes_read, file, key)
        # Learning passes over old images, so that it may refuse a later line first.
        assert found == known or (isinstance(found, str) and isinstance(known, str)), damaged
        assert "fault of ddb_lake" not in str(found), damaged


@pytest.mark.parametrize("seed", range(5))
def test_a_damaged_gzip_stream_is_refused_or_read_as_before(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    lines = [Bulk(number, KEYS[0]).item_line({"pk": {"S": str(number)}}, False) for number in range(50)]
    path = tmp_path / "items.json.gz"
    file = written(path, "\n".join(lines).encode())
    whole = outcome(items_read, file, KEYS[0])
    assert isinstance(whole, list)
    parts = [gzip.compress(part, mtime=0) for part in ("\n".join(lines).encode(), b"")]
    for _ in range(40):
        path.write_bytes(mutated(b"".join(parts), random))
        found = outcome(items_read, file, KEYS[0])
        assert isinstance(found, str) or found == whole
