"""The replica is a plain Delta table: every reader sees the same rows, after every kind of commit."""

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from ddb_lake.replica import Column
from ddb_lake.replica.strategy import Strategy
from ddb_lake_tests.replica.histories import (
    COLUMNS,
    Change,
    Key,
    Lake,
    T,
    change_frame,
    delete,
    item_frame,
    lake,
    minute,
    put,
    told,
    us,
    window,
)
from ddb_lake_tests.replica.readers import by_the_protocol, read_by_all

NAMES = ["_key_hash", "_write_time_us", "_tie_break", "id", "seq", "seq__decimal", "value"]


def changed(tmp_path: Path) -> Lake:
    """A replica with rows of a bootstrap, of windows, and with a partition key like no other."""
    tables = lake(tmp_path)
    tables.bootstrap({Key(f"{number}", Decimal("0.5")): "0" for number in range(10)})
    tables.decode(window(0, 15), [put("new", 1, "ä"), delete("3", 2), Change(Key("4", Decimal("0.5")), us(3), "1")])
    tables.decode(window(15, 30), [put("new", 16, ""), Change(Key("5", Decimal("0.5")), us(17), None)])
    for span in (window(15, 30), window(0, 15)):
        tables.replica.apply(span)
    return tables


def test_all_readers_agree_after_every_kind_of_commit(tmp_path: Path):
    tables = lake(tmp_path)
    uri = tables.replica.location.uri

    def held() -> list[str]:
        rows = read_by_all(uri, NAMES)
        assert len(rows) == tables.replica.count()
        return sorted(f"{row[3]}={row[6]}" for row in rows)

    tables.bootstrap({Key(name): "0" for name in "abcd"})
    assert held() == ["a=0", "b=0", "c=0", "d=0"]
    tables.decode(window(0, 15), [put("a", 1, "1"), put("e", 2, "1"), delete("b", 3)])
    tables.replica.apply(window(0, 15))
    assert held() == ["a=1", "c=0", "d=0", "e=1"], "rows are marked in vectors"
    tables.decode(window(15, 30), [put("e", 16, "2"), delete("a", 17)])
    tables.replica.apply(window(15, 30))
    assert held() == ["c=0", "d=0", "e=2"], "a file's last row goes"
    tables.decode(window(30, 45), [])
    tables.replica.apply(window(30, 45))
    assert held() == ["c=0", "d=0", "e=2"], "only the coverage changes"
    tables.log.add_columns([Column("late", pl.Int64(), told("late", "int64"))])
    tables.log.replace(
        window(45, 60),
        [change_frame([put("f", 46, "3")]).with_columns(pl.lit(7, pl.Int64).alias("late"))],
    )
    tables.replica.apply(window(45, 60))
    assert held() == ["c=0", "d=0", "e=2", "f=3"]
    assert sorted(read_by_all(uri, ["id", "late"]), key=repr)[-1] == ("f", 7)
    DeltaTable(uri).create_checkpoint()
    assert held() == ["c=0", "d=0", "e=2", "f=3"]
    tables.bootstrap({Key("c"): "9"}, "02-export", minute(60))
    assert held() == ["c=9"]


def test_all_readers_agree_where_thousands_of_rows_are_marked(tmp_path: Path):
    """Containers of Roaring's of both kinds, over several windows and files."""
    tables = lake(tmp_path)
    count = 9000
    tables.log.add_columns(COLUMNS)
    items = {Key("k", number): "0" for number in range(count)}
    hashes = pl.Series("_key_hash", [number * 37 % count for number in range(count)])
    tables.replica.stage_bootstrap("01", T, COLUMNS, [("a", iter([item_frame(items).with_columns(hashes)]))])
    tables.replica.commit_bootstrap("01")
    left = dict.fromkeys(range(count), "0")
    for number, (first, last, step) in enumerate([(0, 300, 3), (0, 9000, 2), (100, 5000, 5)]):
        touched = range(first, last, step)
        changes = [Change(Key("k", n), us(15 * number + 1), None if n % 4 == 0 else f"{number}") for n in touched]
        frame = change_frame(changes).with_columns(
            pl.Series("_key_hash", [change.key.seq * 37 % count for change in changes])  # type: ignore[operator]
        )
        span = window(15 * number, 15 * number + 15)
        tables.log.replace(span, [frame])
        tables.replica.apply(span)
        for n in touched:
            if n % 4 == 0:
                left.pop(n, None)
            else:
                left[n] = f"{number}"
        assert read_by_all(tables.replica.location.uri, ["seq", "value"]) == sorted(left.items(), key=repr)
    assert tables.replica.count() == len(left)


def test_filters_find_rows_of_marked_files(tmp_path: Path):
    """Bounds of a file stay those of all its rows once some are dead, so nobody may skip a live one."""
    tables = changed(tmp_path)
    for name in ("new", "0", "4", "9"):
        found = pl.scan_delta(tables.replica.location.uri).filter(pl.col("id") == name).collect()
        assert found.height == 1, name
        assert DeltaTable(tables.replica.location.uri).scan(predicate=f"id = '{name}'").read_all().num_rows == 1


@pytest.mark.parametrize("text", ["𠮷野家", "\U0010ffff", "\U0001f600", "ä", 'a"b\\c', "\x01"])
def test_filters_find_texts_of_any_characters(tmp_path: Path, text: str):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): text})
    tables.decode(window(0, 15), [put("b", 1, text)])
    tables.replica.apply(window(0, 15))
    uri = tables.replica.location.uri
    assert pl.scan_delta(uri).filter(pl.col("value") == text).collect().height == 2
    assert DeltaTable(uri).scan(predicate=f"value = '{text}'").read_all().num_rows == 2


def test_the_table_asks_of_its_readers_what_its_strategy_needs(tmp_path: Path, strategy: Strategy):
    protocol = DeltaTable(changed(tmp_path).replica.location.uri).protocol()
    if strategy is Strategy.COPY_ON_WRITE:
        assert protocol.min_reader_version == 1
        assert not protocol.reader_features
    else:
        assert (protocol.min_reader_version, protocol.reader_features) == (3, ["deletionVectors"])


def test_older_versions_stay_readable(tmp_path: Path):
    tables = changed(tmp_path)
    assert pl.read_delta(tables.replica.location.uri, version=0).height == 10


def test_the_log_tells_the_files_as_they_are(tmp_path: Path):
    tables = changed(tmp_path)
    assert len(by_the_protocol(tables.replica.location.uri, NAMES)) == tables.replica.count() == 10
    table = DeltaTable(tables.log.location.uri)
    told = pl.DataFrame(table.get_add_actions(flatten=True))
    assert sorted(told["size_bytes"]) == sorted(Path(uri).stat().st_size for uri in table.file_uris())
    assert told["num_records"].sum() == pl.read_delta(tables.log.location.uri).height


def test_the_history_tells_what_each_commit_did(tmp_path: Path):
    tables = changed(tmp_path)
    newest, *_, first = DeltaTable(tables.replica.location.uri).history()
    assert first["operation"] == "CREATE TABLE AS SELECT"
    assert int(first["operationMetrics"]["numOutputRows"]) == 10
    assert newest["operation"] == "MERGE"
    metrics = {name: newest["operationMetrics"][name] for name in newest["operationMetrics"]}
    folded = {name.replace("_", "").lower(): int(value) for name, value in metrics.items() if str(value).isdigit()}
    told = [folded[f"numtargetrows{kind}"] for kind in ("inserted", "updated", "deleted")]
    assert told == [0, 1, 0], "of the older window only one change still counts"
