"""Export files as DynamoDB writes them, made of items that a test writes down."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ddb_lake.decoding import ExportFile, ItemSchema, decode_changes, decode_items, encode_item
from ddb_lake.keys import KeyAttribute

Item = Mapping[str, Any]

PK = (KeyAttribute("pk", "S", "HASH"),)


def item_line(item: Item) -> str:
    return json.dumps({"Item": item}, ensure_ascii=False, separators=(",", ":"))


def change_line(keys: Item, new: Item | None, us: int = 1_716_791_050_804_459, old: Item | None = None) -> str:
    record: dict[str, Any] = {"Metadata": {"WriteTimestampMicros": {"N": str(us)}}, "Keys": keys}
    record |= {"OldImage": old} if old is not None else {}
    record |= {"NewImage": new} if new is not None else {}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def write_lines(path: Path, lines: Iterable[str]) -> ExportFile:
    written = list(lines)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in written).encode(), compresslevel=1, mtime=0))
    return ExportFile(f"s3://bucket/{path.name}", path, len(written))


def write_items(path: Path, items: Iterable[Item]) -> ExportFile:
    return write_lines(path, map(item_line, items))


def rows_of_items(file: ExportFile, schema: ItemSchema, write_time_us: int = 0) -> list[dict[str, Any]]:
    return [row for frame in decode_items(file, schema, write_time_us) for row in frame.iter_rows(named=True)]


def rows_of_changes(file: ExportFile, schema: ItemSchema) -> list[dict[str, Any]]:
    return [row for frame in decode_changes(file, schema) for row in frame.iter_rows(named=True)]


def items_of(file: ExportFile, schema: ItemSchema) -> list[dict[str, Any]]:
    return [encode_item(row, schema) for row in rows_of_items(file, schema)]
