"""Whoever may read a replica: each gives the same table as rows, or the test fails."""

import json
import struct
import uuid
import zlib
from base64 import b85decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import polars as pl
import polars.selectors as cs
import polars_deltalake
from deltalake import DeltaTable, QueryBuilder

Rows = list[tuple[Any, ...]]


def by_polars(uri: str, names: list[str]) -> Rows:
    return pl.scan_delta(uri).select(cs.by_name(*names)).collect().rows()


def by_delta_rs(uri: str, names: list[str]) -> Rows:
    return pl.DataFrame(DeltaTable(uri).scan(columns=names))[names].rows()


def by_datafusion(uri: str, names: list[str]) -> Rows:
    listed = ", ".join(f'"{name}"' for name in names)
    found = QueryBuilder().register("t", DeltaTable(uri)).execute(f"SELECT {listed} FROM t")
    return pl.DataFrame(found.read_all()).rows()


def by_duckdb(uri: str, names: list[str]) -> Rows:
    """DuckDB's delta extension, which is built on delta-kernel."""
    (extension,) = Path(duckdb.__file__).parents[1].glob("duckdb_ext/extensions/v*/*/delta.duckdb_extension")
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    listed = ", ".join(f'"{name}"' for name in names)
    return connection.execute(f"SELECT {listed} FROM delta_scan('{uri}')").fetchall()


def by_kernel(uri: str, names: list[str]) -> Rows:
    """A polars source that is built on delta-kernel and shares no code with delta-rs."""
    return polars_deltalake.scan_delta(uri).select(cs.by_name(*names)).collect().rows()


def by_the_protocol(uri: str, names: list[str]) -> Rows:
    """The protocol read aloud: all commits from the first on, and deletion vectors bit by bit. No checkpoints."""
    root = Path(uri)
    files: dict[tuple[str, str], dict[str, Any]] = {}
    for commit in sorted((root / "_delta_log").glob("0*.json")):
        actions = [json.loads(line) for line in commit.read_bytes().splitlines()]
        for action in sorted(actions, key=lambda each: "add" in each):
            for kind, told in action.items():
                if kind in ("add", "remove"):
                    identity = (told["path"], _unique_id(told.get("deletionVector")))
                    if kind == "add":
                        assert identity not in files, f"added twice: {identity}"
                        files[identity] = told
                    else:
                        assert files.pop(identity, None), f"removed what is not there: {identity}"
    assert len({path for path, _ in files}) == len(files), "a file counts once"
    rows: Rows = []
    for told in files.values():
        path = root / unquote(told["path"])
        frame = pl.read_parquet(path.read_bytes())
        stats = json.loads(told["stats"])
        assert (path.stat().st_size, frame.height) == (told["size"], stats["numRecords"])
        dead = _deleted(root, told.get("deletionVector"))
        assert all(row < frame.height for row in dead)
        assert not dead or stats["tightBounds"] is False
        frame = frame.with_columns(pl.lit(value).alias(name) for name, value in told["partitionValues"].items())
        frame = frame.with_columns(pl.lit(None).alias(name) for name in names if name not in frame.columns)
        rows += [row for number, row in enumerate(frame[names].rows()) if number not in dead]
    return rows


READERS: list[Callable[[str, list[str]], Rows]] = [
    by_polars,
    by_delta_rs,
    by_datafusion,
    by_duckdb,
    by_kernel,
    by_the_protocol,
]


def read_by_all(uri: str, names: list[str], *, cleaned: bool = False) -> Rows:
    """The rows, in order, once all readers are shown to agree; the last can't read a log that was cleaned up."""
    first, *others = READERS[:-1] if cleaned else READERS
    rows = ordered(first(uri, names))
    for reader in others:
        assert ordered(reader(uri, names)) == rows, f"{reader.__name__} and {first.__name__} disagree"
    return rows


def ordered(rows: Rows) -> Rows:
    return sorted(rows, key=repr)


_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_PYTHONS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"


def _unique_id(vector: dict[str, Any] | None) -> str:
    if vector is None:
        return ""
    return f"{vector['storageType']}{vector['pathOrInlineDv']}@{vector.get('offset')}"


def _z85(text: str) -> bytes:
    return b85decode(text.translate(str.maketrans(_ALPHABET, _PYTHONS)))


def _deleted(root: Path, vector: dict[str, Any] | None) -> set[int]:
    if vector is None:
        return set()
    told = vector["pathOrInlineDv"]
    if vector["storageType"] == "i":
        data = _z85(told)[: vector["sizeInBytes"]]
    else:
        file = (root / told[:-20] / f"deletion_vector_{uuid.UUID(bytes=_z85(told[-20:]))}.bin").read_bytes()
        assert file[0] == 1
        (size,) = struct.unpack_from(">i", file, vector["offset"])
        assert size == vector["sizeInBytes"]
        data = file[vector["offset"] + 4 :][:size]
        assert struct.unpack_from(">I", file, vector["offset"] + 4 + size)[0] == zlib.crc32(data)
    magic, count = struct.unpack_from("<iq", data)
    assert magic == 1681511377
    rows: set[int] = set()
    at = 12
    for _ in range(count):
        (high,) = struct.unpack_from("<I", data, at)
        low, at = _roaring(data, at + 4)
        rows |= {high << 32 | row for row in low}
    assert (len(rows), at) == (vector["cardinality"], len(data))
    return rows


def _roaring(data: bytes, start: int) -> tuple[set[int], int]:
    """A 32-bit bitmap of the RoaringFormatSpec, and where it ends."""
    (cookie,) = struct.unpack_from("<I", data, start)
    at = start + 4
    runs = b""
    if cookie & 0xFFFF == 12347:
        count = (cookie >> 16) + 1
        runs = data[at : at + (count + 7) // 8]
        at += len(runs)
    else:
        assert cookie == 12346
        (count,) = struct.unpack_from("<I", data, at)
        at += 4
    heads = [struct.unpack_from("<HH", data, at + 4 * number) for number in range(count)]
    at += 4 * count
    if not runs or count >= 4:
        at += 4 * count  # offsets
    rows: set[int] = set()
    for number, (key, cardinality) in enumerate(heads):
        if runs and runs[number // 8] >> number % 8 & 1:
            (pairs,) = struct.unpack_from("<H", data, at)
            for pair in range(pairs):
                first, length = struct.unpack_from("<HH", data, at + 2 + 4 * pair)
                rows |= {key << 16 | low for low in range(first, first + length + 1)}
            at += 2 + 4 * pairs
        elif cardinality + 1 <= 4096:
            rows |= {key << 16 | low for low in struct.unpack_from(f"<{cardinality + 1}H", data, at)}
            at += 2 * (cardinality + 1)
        else:
            bits = int.from_bytes(data[at : at + 8192], "little")
            rows |= {key << 16 | low for low in range(65536) if bits >> low & 1}
            at += 8192
    return rows, at
