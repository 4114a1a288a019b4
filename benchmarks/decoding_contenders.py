"""One contender of `make bench-decode` in a process of its own: `decoding_contenders.py NAME CASE_FILE`.

It makes itself ready, then reads the case's files whenever a line on its standard input says how many, and answers
each with what that took. It is also run by `.venv-bench`, where ddb_lake is not: contenders import what they need.
"""

import io
import json
import os
import shutil
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

Shape = dict[str, Any]
Run = Callable[[list[tuple[str, int]]], int]
"""Reads files, told by path and number of lines, and returns how many rows it has made."""


def peak() -> float:
    """Return the most memory that this process has had, in MB; getrusage would count that of its parent."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1_000


def gunzipped(path: str) -> bytes:
    """Return a file's bytes by the fastest gunzip that PyPI has."""
    from isal import isal_zlib

    return isal_zlib.decompress(Path(path).read_bytes(), 31)


def yardstick(case: Any) -> Run:
    """Gunzip, and parse every line into Python's objects."""
    import orjson

    def run(files: list[tuple[str, int]]) -> int:
        rows = 0
        for path, _ in files:
            for line in gunzipped(path).splitlines():
                orjson.loads(line)
                rows += 1
        return rows

    return run


def boto3(case: Any) -> Run:
    """The TypeDeserializer of AWS's own client; B is decoded from base64 first, which it leaves to its caller."""
    import orjson
    from boto3.dynamodb.types import TypeDeserializer

    class Deserializer(TypeDeserializer):
        def _deserialize_b(self, value: Any) -> Any:
            return super()._deserialize_b(b64decode(value))

    deserialize = Deserializer().deserialize
    member = "NewImage" if case["changes"] else "Item"

    def run(files: list[tuple[str, int]]) -> int:
        rows = 0
        for path, _ in files:
            for line in gunzipped(path).splitlines():
                record = orjson.loads(line)
                image = record.get(member) or record["Keys"]
                _ = {name: deserialize(value) for name, value in image.items()}
                rows += 1
        return rows

    return run


def dynamodb_json(case: Any) -> Run:
    """The package dynamodb-json."""
    from dynamodb_json import json_util

    def run(files: list[tuple[str, int]]) -> int:
        rows = 0
        for path, _ in files:
            for line in gunzipped(path).decode().splitlines():
                json_util.loads(line)
                rows += 1
        return rows

    return run


def members(shape: Shape) -> tuple[Shape, Shape | None]:
    """Return the members of a map, and the shape that all have if their names are data."""
    if len(shape) <= 40:
        return shape, None
    merged: Shape = {}
    for member in shape.values():
        merged |= member
    return shape, merged


def record_of(case: Any, image: Any, text: Any, struct: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """Return the members of a line, those of an old image left out."""
    if not case["changes"]:
        return {"Item": image}
    keys = struct({name: struct({tag: text}) for name, tag, _ in case["key"]})
    return {"Metadata": struct({"WriteTimestampMicros": struct({"N": text})}), "Keys": keys, "NewImage": image}


def polars_struct(below: dict[str, Any]) -> Any:
    """Return polars' type of an object."""
    import polars as pl

    return pl.Struct(below)


def polars_type(shape: Shape) -> Any:
    """Return polars' type for a value: all its type tags, each with what it holds."""
    import polars as pl

    below: dict[str, Any] = {}
    for tag, inner in shape.items():
        match tag:
            case "BOOL" | "NULL":
                below[tag] = pl.Boolean()
            case "SS" | "NS" | "BS":
                below[tag] = pl.List(pl.String())
            case "L":
                below[tag] = pl.List(polars_type(inner))
            case "M":
                named, merged = members(inner)
                below[tag] = (
                    pl.Map(pl.String(), polars_type(merged))
                    if merged
                    else pl.Struct({name: polars_type(member) for name, member in named.items()})
                )
            case _:
                below[tag] = pl.String()
    return pl.Struct(below)


def polars_lines(case: Any) -> Run:
    """Polars' scan_lines and json_decode with every type that occurs."""
    import polars as pl

    image = pl.Struct({name: polars_type(value) for name, value in case["shape"].items()})
    dtype = pl.Struct(record_of(case, image, pl.String(), polars_struct))
    query = pl.col("line").str.json_decode(dtype).alias("record")

    def run(files: list[tuple[str, int]]) -> int:
        return sum(pl.scan_lines(path).select(query).collect(engine="streaming").height for path, _ in files)

    return run


def usual(shape: Shape) -> tuple[str, Any]:
    """Return the first type of a value that is not NULL: the origin's schema has one for each attribute."""
    tag = next((tag for tag in shape if tag != "NULL"), "NULL")
    return tag, shape[tag]


def simple_type(shape: Shape) -> Any:
    """Return polars' type for a value with one type."""
    import polars as pl

    tag, below = usual(shape)
    match tag:
        case "L":
            return pl.Struct({"L": pl.List(simple_type(below))})
        case "M":
            return pl.Struct({"M": pl.Struct({name: simple_type(member) for name, member in below.items()})})
        case _:
            return polars_type({tag: below})


def simple_value(value: Any, shape: Shape) -> Any:
    """Return the expression of a value without its type tag."""
    import polars as pl

    tag, below = usual(shape)
    held = value.struct.field(tag)
    match tag:
        case "N":
            return held.cast(pl.Float64, strict=False)
        case "NS":
            return held.list.eval(pl.element().cast(pl.Float64, strict=False))
        case "L":
            return held.list.eval(simple_value(pl.element(), below))
        case "M":
            return pl.struct(
                simple_value(held.struct.field(name), member).alias(name) for name, member in below.items()
            )
        case _:
            return held


def origin(case: Any) -> Run:
    """The way of the project's source document: read_ndjson with one simple type an attribute, then unnested."""
    import polars as pl

    member = "NewImage" if case["changes"] else "Item"
    schema = {member: pl.Struct({name: simple_type(value) for name, value in case["shape"].items()})}
    columns = [
        simple_value(pl.col(member).struct.field(name), shape).alias(name) for name, shape in case["shape"].items()
    ]

    def run(files: list[tuple[str, int]]) -> int:
        import gzip

        read = [pl.read_ndjson(gzip.decompress(Path(path).read_bytes()), schema=schema) for path, _ in files]
        return pl.concat(read).select(columns).height

    return run


def duckdb_struct(below: dict[str, Any]) -> str:
    """Return DuckDB's type of an object."""
    fields = ", ".join(f'"{name}" {kind}' for name, kind in below.items())
    return f"STRUCT({fields})"


def duckdb_type(shape: Shape) -> str:
    """Return DuckDB's type for a value."""
    below: dict[str, str] = {}
    for tag, inner in shape.items():
        match tag:
            case "BOOL" | "NULL":
                below[tag] = "BOOLEAN"
            case "SS" | "NS" | "BS":
                below[tag] = "VARCHAR[]"
            case "L":
                below[tag] = f"{duckdb_type(inner)}[]"
            case "M":
                named, merged = members(inner)
                below[tag] = (
                    f"MAP(VARCHAR, {duckdb_type(merged)})"
                    if merged
                    else duckdb_struct({name: duckdb_type(member) for name, member in named.items()})
                )
            case _:
                below[tag] = "VARCHAR"
    return duckdb_struct(below)


def duckdb(case: Any) -> Run:
    """DuckDB's read_json with explicit columns, to Arrow."""
    import duckdb as engine

    image = duckdb_struct({name: duckdb_type(value) for name, value in case["shape"].items()})
    record = record_of(case, image, "VARCHAR", duckdb_struct)
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in record.items())
    connection = engine.connect(config={"threads": 1})
    options = f"format = 'newline_delimited', compression = 'gzip', columns = {{{columns}}}"
    query = f"SELECT * FROM read_json(?, {options})"

    def run(files: list[tuple[str, int]]) -> int:
        rows = 0
        for path, _ in files:
            table = connection.sql(query, params=[path]).to_arrow_table()
            rows += table.num_rows
        return rows

    return run


def arrow_struct(below: dict[str, Any]) -> Any:
    """Return Arrow's type of an object."""
    import pyarrow as pa

    return pa.struct(list(below.items()))


def arrow_type(shape: Shape, maps: bool) -> Any:
    """Return Arrow's type for a value; `maps` tells whether the reader knows maps."""
    import pyarrow as pa

    below: dict[str, Any] = {}
    for tag, inner in shape.items():
        match tag:
            case "BOOL" | "NULL":
                below[tag] = pa.bool_()
            case "SS" | "NS" | "BS":
                below[tag] = pa.list_(pa.string())
            case "L":
                below[tag] = pa.list_(arrow_type(inner, maps))
            case "M":
                named, merged = members(inner)
                below[tag] = (
                    pa.map_(pa.string(), arrow_type(merged, maps))
                    if merged and maps
                    else arrow_struct({name: arrow_type(member, maps) for name, member in named.items()})
                )
            case _:
                below[tag] = pa.string()
    return arrow_struct(below)


def arrow_schema(case: Any, maps: bool) -> Any:
    """Return Arrow's schema of the lines."""
    import pyarrow as pa

    image = arrow_struct({name: arrow_type(value, maps) for name, value in case["shape"].items()})
    return pa.schema(list(record_of(case, image, pa.string(), arrow_struct).items()))


def pyarrow(case: Any) -> Run:
    """pyarrow.json with an explicit schema."""
    import pyarrow as pa
    from pyarrow import json as reader

    pa.set_cpu_count(1)
    reading = reader.ReadOptions(use_threads=False, block_size=4 * 2**20)
    parsing = reader.ParseOptions(explicit_schema=arrow_schema(case, False), unexpected_field_behavior="ignore")

    def run(files: list[tuple[str, int]]) -> int:
        return sum(
            reader.read_json(io.BytesIO(gunzipped(path)), read_options=reading, parse_options=parsing).num_rows
            for path, _ in files
        )

    return run


def datafusion(case: Any) -> Run:
    """DataFusion's JSON reader with an explicit schema."""
    from datafusion import SessionConfig, SessionContext

    schema = arrow_schema(case, True)
    context = SessionContext(SessionConfig().with_target_partitions(1))

    def run(files: list[tuple[str, int]]) -> int:
        rows = 0
        for path, _ in files:
            frame = context.read_json(path, schema=schema, file_extension=".gz", file_compression_type="gzip")
            rows += sum(batch.num_rows for batch in frame.collect())
        return rows

    return run


def files_of(files: list[tuple[str, int]]) -> list[Any]:
    """Return the files as ddb_lake has them."""
    from ddb_lake.decoding import ExportFile

    return [ExportFile(path, Path(path), lines) for path, lines in files]


def learned(case: Any, files: list[tuple[str, int]], workers: int) -> Any:
    """Return the schema that the files need."""
    from ddb_lake.decoding import ItemSchema, learn_changes, learn_items
    from ddb_lake.keys import KeyAttribute

    key = tuple(KeyAttribute(*attribute) for attribute in case["key"])
    learn = learn_changes if case["changes"] else learn_items
    return learn(files_of(files), ItemSchema.empty(key), workers)


def frames(case: Any, files: list[tuple[str, int]], schema: Any, workers: int) -> Iterator[tuple[str, Any]]:
    """Yield the name and the frames of each file."""
    from ddb_lake.decoding import decode_change_files, decode_item_files

    exported = files_of(files)
    decoded = (
        decode_change_files(exported, schema, workers=workers)
        if case["changes"]
        else decode_item_files(exported, schema, 1_700_000_000_000_000, workers)
    )
    for file, each in decoded:
        yield file.path.name, each


def ours(workers: int, learn: bool = False) -> Callable[[Any], Run]:
    """ddb_lake: to typed frames, each proven to hold all of its lines; they are dropped as they come."""

    def prepare(case: Any) -> Run:
        known = learned(case, case["files"], workers)

        def run(files: list[tuple[str, int]]) -> int:
            schema = learned(case, files, workers) if learn else known
            return sum(frame.height for _, each in frames(case, files, schema, workers) for frame in each)

        return run

    return prepare


def to_delta(case: Any) -> Run:
    """ddb_lake: learned, decoded, and committed to a Delta table as the pipeline does it."""
    from decoding_data import FROM

    from ddb_lake.replica import ChangeLog, Column, Location, Replica
    from ddb_lake.windows import Window

    def run(files: list[tuple[str, int]]) -> int:
        folder = tempfile.mkdtemp(prefix="ddb_lake_")
        try:
            schema = learned(case, files, 1)
            columns = tuple(Column(column.name, column.dtype, column.metadata) for column in schema.columns)
            log = ChangeLog(Location(f"{folder}/log"), "id")
            if case["changes"]:
                log.add_columns(columns)
                window = Window(FROM, FROM + timedelta(minutes=15))
                log.replace(window, (frame for _, each in frames(case, files, schema, 1) for frame in each))
            else:
                replica = Replica(Location(f"{folder}/replica"), "id", log)
                replica.stage_bootstrap("export", FROM, columns, frames(case, files, schema, 1))
                replica.commit_bootstrap("export")
            return sum(lines for _, lines in files)
        finally:
            shutil.rmtree(folder)

    return run


CONTENDERS: dict[str, Callable[[Any], Run]] = {
    "isal+orjson": yardstick,
    "boto3": boto3,
    "dynamodb-json": dynamodb_json,
    "origin": origin,
    "polars json_decode": polars_lines,
    "duckdb": duckdb,
    "pyarrow": pyarrow,
    "datafusion": datafusion,
    "ddb_lake": ours(1),
    "ddb_lake (2 workers)": ours(2),
    "ddb_lake learn+decode": ours(1, True),
    "ddb_lake to Delta": to_delta,
}


def main() -> None:
    """Answer each line with the CPU and wall seconds of a run, the rows, and the peak above the bare interpreter."""
    bare = peak()
    name, path = sys.argv[1:]
    case = json.loads(Path(path).read_text())
    run = CONTENDERS[name](case)
    warm = tuple(case["warm"])
    assert run([warm]) == warm[1]
    ready = peak() - bare
    for line in sys.stdin:
        files = case["files"][: int(line)]
        cpu, wall = time.process_time(), time.perf_counter()
        rows = run(files)
        took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall, "rows": rows}
        if rows != sum(lines for _, lines in files):
            raise SystemExit(f"{name} has made {rows} rows of the files {files}")
        print(json.dumps(took | {"ready_mb": ready, "peak_mb": peak() - bare}), flush=True)
    os._exit(0)  # some engines take their time to end


if __name__ == "__main__":
    main()
