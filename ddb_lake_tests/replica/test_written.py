"""What was to be written is counted in the files themselves, before a commit names them."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddb_lake.decoded_rows import DecodedRows
from ddb_lake.replica import ChangeLog, Column, Location, Replica, Strategy, fold, mark
from ddb_lake.replica.errors import NotWritten, ReplicaError
from ddb_lake.replica.folding import FoldPolicy
from ddb_lake.replica.footers import read_footer
from ddb_lake.replica.store import ObjectTableStore
from ddb_lake.replica.written import values_among, values_of
from ddb_lake_tests.replica.histories import (
    COLUMNS,
    TABLE_ID,
    Key,
    Lake,
    T,
    Wanted,
    change_frame,
    delete,
    item_frame,
    lake,
    put,
    window,
)

CHANGES = [put("a", 1, "1"), put("b", 2, "2"), delete("c", 3)]


def parquet_files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.parquet") if not {"_idx", "_delta_log"} & set(path.parts)}


# Stores that give back other bytes than they were given


def nulled(data: bytes) -> bytes:
    """The same file without one of its values."""
    frame = pl.read_parquet(data)
    at = pl.int_range(pl.len()) == 0
    buffer = io.BytesIO()
    frame.with_columns(pl.when(~at).then(pl.col("value")).alias("value")).write_parquet(buffer)
    return buffer.getvalue()


def short_of_a_row(data: bytes) -> bytes:
    buffer = io.BytesIO()
    pl.read_parquet(data).head(-1).write_parquet(buffer)
    return buffer.getvalue()


ALTERATIONS: dict[str, Callable[[bytes], bytes]] = {
    "a value is null": nulled,
    "a row is gone": short_of_a_row,
    "cut": lambda data: data[:-1],
    "nothing": lambda data: b"",
    "more": lambda data: data + b"\0",
    "a byte of the footer": lambda data: data[:-6] + bytes([data[-6] ^ 1]) + data[-5:],
}


class AlteringStore(ObjectTableStore):
    """A table's folder whose data files become others on the way."""

    def __init__(self, location: Location, alter: Callable[[bytes], bytes]) -> None:
        super().__init__(location)
        self.alter = alter

    def put(self, path: str, data: bytes) -> None:
        altered = path.endswith(".parquet") and not path.startswith("_idx")
        super().put(path, self.alter(data) if altered else data)


@pytest.fixture(params=list(ALTERATIONS.values()), ids=list(ALTERATIONS))
def alter(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    return request.param


def altering(tables: Lake, alter: Callable[[bytes], bytes]) -> Replica:
    replica = tables.replica
    wanted = replica.wanted_strategy, replica.wanted_partitioning
    return Replica(replica.location, TABLE_ID, tables.log, *wanted, AlteringStore(replica.location, alter))


def test_changes_that_arrive_otherwise_are_not_committed(tmp_path: Path, alter: Callable[[bytes], bytes]):
    tables = lake(tmp_path)
    log = ChangeLog(tables.log.location, TABLE_ID, AlteringStore(tables.log.location, alter))
    with pytest.raises(ReplicaError, match="window="):
        log.replace(window(0, 15), [change_frame(CHANGES)], COLUMNS)
    assert (tables.log.coverage(), parquet_files(tmp_path)) == ((), set())


def test_items_of_a_bootstrap_that_arrive_otherwise_are_not_staged(tmp_path: Path, alter: Callable[[bytes], bytes]):
    tables = lake(tmp_path)
    with pytest.raises(ReplicaError, match="bootstrap-01"):
        altering(tables, alter).stage_bootstrap("01", T, COLUMNS, [("a", iter([item_frame({Key("a"): "1"})]))])
    assert parquet_files(tmp_path) == set()


def test_new_images_that_arrive_otherwise_are_not_committed(tmp_path: Path, alter: Callable[[bytes], bytes]):
    if Wanted.strategy is Strategy.COPY_ON_WRITE:
        pytest.skip("MERGE writes its files itself")
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0", Key("c"): "0"})
    tables.decode(window(0, 15), CHANGES)
    files, version = parquet_files(tmp_path), tables.replica.version()
    with pytest.raises(ReplicaError, match="part-"):
        altering(tables, alter).apply(window(0, 15))
    assert (tables.replica.version(), parquet_files(tmp_path)) == (version, files)
    tables.replica.apply(window(0, 15))
    assert tables.items() == {Key("a"): "1", Key("b"): "2"}


def test_rows_that_arrive_otherwise_when_files_are_folded_leave_the_table_as_it_was(
    tmp_path: Path, alter: Callable[[bytes], bytes]
):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0", Key("b"): "0"})
    files, version = parquet_files(tmp_path), tables.replica.version()
    with pytest.raises(ReplicaError, match="fold-"):
        altering(tables, alter).maintain(FoldPolicy(fan=2))
    assert (tables.replica.version(), parquet_files(tmp_path)) == (version, files)
    assert tables.items() == {Key("a"): "0", Key("b"): "0"}


def test_rows_that_arrive_otherwise_in_a_conversion_leave_the_table_as_it_was(
    tmp_path: Path, alter: Callable[[bytes], bytes]
):
    tables = lake(tmp_path, strategy=Strategy.DELETION_VECTORS)
    tables.bootstrap({Key(key): "0" for key in "abcd"})
    tables.decode(window(0, 15), [delete("a", 1)])
    tables.replica.apply(window(0, 15))
    files, version = parquet_files(tmp_path), tables.replica.version()
    with pytest.raises(ReplicaError, match="fold-"):
        altering(tables, alter).convert(Strategy.COPY_ON_WRITE)
    assert (tables.replica.version(), parquet_files(tmp_path)) == (version, files)


# Values that are lost before


def rows(frame: pl.DataFrame, **more: int) -> DecodedRows:
    """Rows of which the decoder says that it has placed so many values more."""
    values = values_of(frame)
    return DecodedRows(frame, "s3://bucket/a.json.gz", 1, {**values, **{n: values[n] + c for n, c in more.items()}})


def test_a_value_that_the_decoder_placed_and_no_file_has_is_missed_by_column_and_count(tmp_path: Path):
    log = lake(tmp_path).log
    told = (
        r"changes, window .*: the column 'value' was to have 3 values and has 2, in _window=.*nothing was committed"
    )
    with pytest.raises(NotWritten, match=told):
        log.stage(window(0, 15), [rows(change_frame(CHANGES), value=1)], COLUMNS)
    assert (log.coverage(), log.columns(), parquet_files(tmp_path)) == ((), (), set())
    log.replace(window(0, 15), [rows(change_frame(CHANGES))], COLUMNS)
    assert log.read(window(0, 15)).height == 3


def test_an_item_of_a_bootstrap_whose_value_no_file_has_is_missed(tmp_path: Path):
    tables = lake(tmp_path)
    lossy = rows(item_frame({Key("a"): "1", Key("b"): "2"}), id=-1)
    with pytest.raises(NotWritten, match="the column 'id' was to have 1 values and has 2"):
        tables.replica.stage_bootstrap("01", T, COLUMNS, [("a", iter([lossy]))])
    assert parquet_files(tmp_path) == set()


def lossy(arrange: Callable[..., pl.DataFrame]) -> Callable[..., pl.DataFrame]:
    """A selection of columns that finds nothing under one of the names, as polars did under `^value$`."""

    def lose(frame: pl.DataFrame, *arguments: Any) -> pl.DataFrame:
        return arrange(frame, *arguments).with_columns(pl.lit(None, pl.String()).alias("value"))

    return lose


def test_a_column_that_is_lost_between_the_decision_and_the_file_is_missed(tmp_path: Path, monkeypatch):
    if Wanted.strategy is Strategy.COPY_ON_WRITE:
        pytest.skip("MERGE writes its files itself")
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), CHANGES)
    files, version = parquet_files(tmp_path), tables.replica.version()
    with monkeypatch.context() as patched:
        patched.setattr(mark, "arrange", lossy(mark.arrange))
        with pytest.raises(NotWritten, match="the column 'value' was to have 2 values and has 0"):
            tables.replica.apply(window(0, 15))
    assert (tables.replica.version(), parquet_files(tmp_path)) == (version, files)


def test_a_column_that_is_lost_while_files_are_folded_is_missed(tmp_path: Path, monkeypatch):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0", Key("b"): "0"})
    files, version = parquet_files(tmp_path), tables.replica.version()
    monkeypatch.setattr(fold, "pick", lossy(fold.pick))
    with pytest.raises(NotWritten, match="the column 'value' was to have 2 values and has 0"):
        tables.replica.maintain(FoldPolicy(fan=2))
    assert (tables.replica.version(), parquet_files(tmp_path)) == (version, files)


# The footers

TYPES: dict[str, tuple[pl.DataType, st.SearchStrategy[Any]]] = {
    "a.b": (pl.String(), st.text(max_size=3)),
    "a": (pl.Int64(), st.integers(-5, 5)),
    "^a$": (pl.Boolean(), st.booleans()),
    "*": (pl.Binary(), st.binary(max_size=3)),
    "d": (pl.Decimal(38, 18), st.decimals(-9, 9, places=3)),
    "t": (pl.Datetime("us", "UTC"), st.just(T)),
    "s": (pl.List(pl.String()), st.lists(st.text(max_size=2), max_size=3)),
    "list.element": (pl.List(pl.Binary()), st.lists(st.binary(max_size=2), max_size=3)),
}


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.fixed_dictionaries({n: st.none() | values for n, (_, values) in TYPES.items()}), min_size=1, max_size=9
    ),
    st.sampled_from([1, 2, 100]),
)
def test_a_footer_tells_as_many_values_as_the_frame_had(data: list[dict[str, Any]], group: int):
    frame = pl.DataFrame(data, schema={name: dtype for name, (dtype, _) in TYPES.items()})
    buffer = io.BytesIO()
    frame.write_parquet(buffer, row_group_size=group)
    written = buffer.getvalue()
    length = int.from_bytes(written[-8:-4], "little") + 8
    counted, found = read_footer(written[-length:])
    expected = {
        name: sum(len(row[name]) if isinstance(row[name], list) else 1 for row in data if row[name] is not None)
        for name in TYPES
    }
    assert counted == len(data)
    assert found == values_of(frame) == expected


def test_columns_of_structs_are_left_out_of_the_count_and_their_neighbours_are_not(tmp_path: Path):
    place = Column("place", pl.Struct({"city": pl.String(), "zip": pl.Int64()}))
    frame = change_frame(CHANGES).with_columns(
        pl.struct(pl.lit("Rome").alias("city"), pl.lit(None, pl.Int64).alias("zip")).alias("place"),
    )
    tables = lake(tmp_path)
    tables.log.replace(window(0, 15), [frame], [*COLUMNS, place])
    wrong = replace(rows(frame), values={**values_of(frame), "value": 5})
    with pytest.raises(NotWritten, match="'value' was to have 5 values and has 2"):
        tables.log.replace(window(0, 15), [wrong])


@pytest.mark.parametrize("name", ["^day$", "*", "^.*$", "^(", "values"])
def test_values_are_counted_in_columns_whose_names_are_patterns(name: str):
    frame = pl.DataFrame({name: ["a", None, "b", "c"], "list": [["a", "b"], ["c"], None, ["d"]]})
    assert values_among(frame, pl.Series([True, True, False, True])) == {name: 2, "list": 4}
    assert values_among(frame, pl.Series([True] * 4)) == values_of(frame) == {name: 3, "list": 4}
