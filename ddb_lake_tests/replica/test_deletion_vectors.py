"""Deletion vectors byte by byte: the protocol's own examples, and every kind of bitmap there and back."""

import struct
import zlib
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from ddb_lake.replica import Location
from ddb_lake.replica.delta_log import DeletionVector
from ddb_lake.replica.delta_log import deletion_vectors as module
from ddb_lake.replica.delta_log.deletion_vectors import (
    decode_base85,
    encode_base85,
    file_of,
    read_vectors,
    serialize,
    write_vectors,
)
from ddb_lake.replica.delta_log.intervals import parse_interval
from ddb_lake.replica.errors import DamagedDeletionVector
from ddb_lake.replica.store import ObjectTableStore


@pytest.fixture
def store(tmp_path: Path) -> ObjectTableStore:
    return ObjectTableStore(Location(str(tmp_path)))


def test_base85_is_z85():
    """The example of ZeroMQ's RFC 32."""
    data = bytes([0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B])
    assert encode_base85(data) == "HelloWorld"
    assert decode_base85("HelloWorld") == data


def test_the_protocols_example_of_a_relative_path():
    """The UUID and the prefix of the protocol's first JSON example."""
    vector = DeletionVector("u", "ab^-aqEH.-t@S}K{vb[*k^", 40, 6, 4)
    assert file_of(vector) == "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
    assert vector.unique_id == "uab^-aqEH.-t@S}K{vb[*k^@4"


def test_an_inline_vector_of_sparks_is_read(store: ObjectTableStore):
    vector = DeletionVector("i", "^Bg9^0rr910000000000iXQKl0rr91000625c8Xg0rri41POJ5", 38, 3)
    assert read_vectors(store, {"f": vector}, "here")["f"] == BitMap64([1, 3, 5])


def test_the_protocols_inline_example_is_refused_as_spark_refuses_it(store: ObjectTableStore):
    """Its bytes are in the wrong order: a known slip of the text."""
    vector = DeletionVector("i", "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", 40, 6)
    with pytest.raises(DamagedDeletionVector, match="does not begin as a deletion vector"):
        read_vectors(store, {"f": vector}, "here")


def test_a_file_is_as_the_protocol_lays_it_out(store: ObjectTableStore, tmp_path: Path):
    rows = {"one": BitMap64(range(0, 200, 3)), "two": BitMap64([7, 70_000, 2**33, *range(100, 180, 2)])}
    told, size = write_vectors(store, rows)
    path = file_of(told["one"])
    assert path is not None
    assert path == file_of(told["two"])
    assert path.startswith("_dv/deletion_vector_")
    data = (tmp_path / path).read_bytes()
    assert (len(data), data[0]) == (size, 1)
    for name, vector in told.items():
        assert vector.offset is not None
        (length,) = struct.unpack_from(">I", data, vector.offset)
        body = data[vector.offset + 4 :][:length]
        assert (length, vector.cardinality) == (vector.size, len(rows[name]))
        assert struct.unpack_from("<I", body)[0] == 1681511377
        assert struct.unpack_from(">I", data, vector.offset + 4 + length)[0] == zlib.crc32(body)
    assert read_vectors(store, told, "here") == rows


def test_no_vector_is_written_inline(store: ObjectTableStore):
    """Trino refuses inline vectors, however right they are."""
    told, size = write_vectors(store, {"f": BitMap64([1])})
    assert told["f"].storage_type == "u"
    assert size > 0


positions = st.one_of(
    st.sets(st.integers(0, 2**40), max_size=50),
    st.tuples(st.integers(0, 10**6), st.integers(1, 10**5), st.integers(1, 5)).map(
        lambda each: set(range(each[0], each[0] + each[1], each[2]))
    ),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(positions)
def test_any_positions_come_back(tmp_path_factory: pytest.TempPathFactory, rows: set[int]):
    store = ObjectTableStore(Location(str(tmp_path_factory.mktemp("vectors"))))
    told, _ = write_vectors(store, {"f": BitMap64(rows)})
    assert set(read_vectors(store, told, "here")["f"]) == rows


def test_what_is_no_vector_is_refused(store: ObjectTableStore):
    for data in (b"", b"\x00" * 40, struct.pack("<I", module.MAGIC) + b"\xff" * 30):
        vector = DeletionVector("i", encode_base85(data), len(data), 1)
        with pytest.raises(DamagedDeletionVector, match="restore the file"):
            read_vectors(store, {"f": vector}, "here")
    miscounted = DeletionVector("i", encode_base85(serialize(BitMap64([1]))), len(serialize(BitMap64([1]))), 2)
    with pytest.raises(DamagedDeletionVector, match="has 1 positions, the log tells 2"):
        read_vectors(store, {"f": miscounted}, "here")
    with pytest.raises(DamagedDeletionVector, match="outside the table's folder"):
        read_vectors(store, {"f": DeletionVector("p", "s3://elsewhere/x.bin", 1, 1, 1)}, "here")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("interval 2 days", 172_800),
        ("interval 1 week", 604_800),
        ("3 HOURS", 10_800),
        ("interval 0 seconds", 0),
        ("interval a while", 5),
        ("", 5),
        (None, 5),
    ],
)
def test_durations_of_table_properties(text: str | None, seconds: int):
    assert parse_interval(text, timedelta(seconds=5)) == timedelta(seconds=seconds)
