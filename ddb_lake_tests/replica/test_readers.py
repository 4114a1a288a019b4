"""The replica is a plain Delta table: every reader sees the same rows."""

from decimal import Decimal
from pathlib import Path

import duckdb
import polars as pl
from deltalake import DeltaTable

from ddb_lake_tests.replica.histories import Change, Key, Lake, delete, lake, put, us, window

NAMES = ["_key_hash", "_write_time_us", "_tie_break", "id", "seq", "seq__decimal", "value"]


def changed(tmp_path: Path) -> Lake:
    """A replica with rows of a bootstrap, of merges, and with a partition key like no other."""
    tables = lake(tmp_path)
    tables.bootstrap({Key(f"{number}", Decimal("0.5")): "0" for number in range(10)})
    tables.decode(window(0, 15), [put("new", 1, "ä"), delete("3", 2), Change(Key("4", Decimal("0.5")), us(3), "1")])
    tables.decode(window(15, 30), [put("new", 16, ""), Change(Key("5", Decimal("0.5")), us(17), None)])
    for span in (window(15, 30), window(0, 15)):
        tables.replica.apply(span)
    return tables


def rows(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return sorted(frame.select(NAMES).rows(), key=repr)


def test_polars_deltalake_and_duckdb_read_the_same_rows(tmp_path: Path):
    tables = changed(tmp_path)
    table = DeltaTable(tables.replica.location.uri)
    names = ", ".join(f'"{name}"' for name in NAMES)
    files = f"read_parquet({table.file_uris()!r}, union_by_name=true)"
    by_duckdb = duckdb.connect().sql(f"SELECT {names} FROM {files}").fetchall()
    by_polars = pl.read_delta(tables.replica.location.uri)
    assert rows(by_polars) == rows(pl.DataFrame(table.scan())) == sorted(by_duckdb, key=repr)
    assert rows(by_polars) == rows(tables.replica.scan().collect())
    assert by_polars.height == tables.replica.count() == 10


def test_the_table_asks_nothing_unusual_of_its_readers(tmp_path: Path):
    protocol = DeltaTable(changed(tmp_path).replica.location.uri).protocol()
    assert protocol.min_reader_version == 1
    assert not protocol.reader_features


def test_older_versions_stay_readable(tmp_path: Path):
    tables = changed(tmp_path)
    assert pl.read_delta(tables.replica.location.uri, version=0).height == 10


def test_the_file_sizes_that_the_log_tells_are_those_of_the_files(tmp_path: Path):
    tables = changed(tmp_path)
    for location in (tables.replica.location, tables.log.location):
        table = DeltaTable(location.uri)
        told = pl.DataFrame(table.get_add_actions(flatten=True))
        assert sorted(told["size_bytes"]) == sorted(Path(uri).stat().st_size for uri in table.file_uris())
        assert told["num_records"].sum() == pl.read_delta(location.uri).height
