"""A full export becomes the replica in one commit: staged unseen, committed once, replaced by a later one."""

import json
import pickle
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from ddb_lake.replica import Column, Replica, StagedShard
from ddb_lake.replica import bootstrap as module
from ddb_lake.replica.errors import (
    InvalidColumn,
    InvalidFrame,
    NotBootstrapped,
    OutdatedBootstrap,
    RepeatedKeys,
    StagedBootstrapMissing,
    WrongSourceTable,
)
from ddb_lake_tests.replica.histories import (
    COLUMNS,
    ID,
    VALUE,
    Key,
    T,
    delete,
    item_frame,
    lake,
    minute,
    put,
    told,
    us,
    window,
)

ITEMS = {Key(f"{number:02}"): str(number) for number in range(20)}


def test_what_is_staged_is_seen_by_nobody_until_it_is_committed(tmp_path: Path):
    tables = lake(tmp_path)
    tables.stage(ITEMS)
    assert tables.replica.version() is None
    with pytest.raises(NotBootstrapped):
        tables.replica.scan()
    done = tables.replica.commit_bootstrap("01-export")
    assert (done.version, done.rows, done.outcome, done.bootstrap_time) == (0, 20, "created", T)
    assert tables.items() == ITEMS
    assert tables.replica.bootstrap_time() == T
    assert tables.replica.coverage() == ()
    assert tables.replica.columns() == COLUMNS


def test_a_crash_between_staging_and_commit_costs_only_the_commit(tmp_path: Path):
    lake(tmp_path).stage(ITEMS)
    after = lake(tmp_path)
    after.replica.commit_bootstrap("01-export")
    assert after.items() == ITEMS


def test_an_empty_table_has_an_empty_replica_with_its_columns(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({})
    assert tables.items() == {}
    assert tables.replica.columns() == COLUMNS
    tables.decode(window(0, 15), [put("a", 1, "1")])
    tables.replica.apply(window(0, 15))
    assert tables.items() == {Key("a"): "1"}


def test_a_commit_repeated_keeps_the_windows_applied_since(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1")])
    tables.replica.apply(window(0, 15))
    version = tables.replica.version()
    done = tables.replica.commit_bootstrap("01-export")
    assert (done.outcome, done.version, done.files) == ("already_committed", version, 0)
    assert tables.items() == {Key("a"): "1"}
    assert tables.replica.coverage() == (window(0, 15),)


def test_staging_again_after_the_commit_harms_no_row(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap(ITEMS)
    tables.log.add_columns([Column("late", pl.String(), told("late", "string"))])
    tables.stage(ITEMS)
    tables.replica.commit_bootstrap("01-export")
    assert tables.items() == ITEMS
    assert DeltaTable(tables.replica.location.uri).version() == 0


def test_of_two_stagings_the_last_is_committed(tmp_path: Path):
    tables = lake(tmp_path)
    tables.stage({Key("a"): "half"})
    tables.stage(ITEMS)
    tables.replica.commit_bootstrap("01-export")
    assert tables.items() == ITEMS


def test_a_later_export_replaces_rows_columns_and_coverage(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("gone"): "0", Key("kept"): "0"})
    tables.decode(window(0, 15), [put("new", 1, "1")])
    tables.replica.apply(window(0, 15))
    tables.log.add_columns([Column("late", pl.String(), told("late", "string"))])
    tables.bootstrap({Key("kept"): "5"}, "02-export", minute(60))
    assert tables.items() == {Key("kept"): "5"}
    assert tables.replica.columns() == tables.log.columns()
    assert tables.replica.bootstrap_time() == minute(60)
    assert tables.replica.coverage() == ()
    assert tables.replica.apply(window(0, 15)).path == "before_bootstrap"


def test_another_export_of_the_same_time_replaces_the_rows_as_well(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"})
    tables.bootstrap({Key("b"): "0"}, "02-export")
    assert tables.items() == {Key("b"): "0"}


def test_an_earlier_export_can_not_replace_a_later_one(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key("a"): "0"}, "02-export", minute(60))
    tables.stage({Key("a"): "old"}, "01-export", T)
    with pytest.raises(OutdatedBootstrap, match=r"19:00:00Z.*18:00:00Z.*another folder"):
        tables.replica.commit_bootstrap("01-export")
    assert tables.items() == {Key("a"): "0"}


def test_what_was_not_staged_can_not_be_committed(tmp_path: Path):
    with pytest.raises(StagedBootstrapMissing, match=r"_bootstrap/01-export\.json does not exist.*stage it first"):
        lake(tmp_path).replica.commit_bootstrap("01-export")


@pytest.mark.parametrize("damage", ["absent", "truncated"])
def test_a_staged_file_that_is_damaged_is_named(tmp_path: Path, damage: str):
    tables = lake(tmp_path)
    tables.stage(ITEMS)
    file = sorted(tmp_path.rglob("bootstrap-*/*.parquet"))[0]
    if damage == "absent":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StagedBootstrapMissing, match=f"{file.name}.*stage the export 01-export again"):
        tables.replica.commit_bootstrap("01-export")
    assert tables.replica.version() is None


def test_a_staging_that_broke_off_goes_on_without_decoding_again_what_is_done(tmp_path: Path):
    asked: list[str] = []

    def shard(name: str, key: str) -> Iterator[pl.DataFrame]:
        asked.append(name)
        if name == "c" and asked.count("c") == 1:
            raise OSError("No space left on device")
        yield item_frame({Key(key): "0"})

    def stage() -> None:
        shards = [(f"data/{name}.json.gz", shard(name, f"key of {name}")) for name in "abcd"]
        lake(tmp_path).replica.stage_bootstrap("01-export", T, COLUMNS, shards)

    with pytest.raises(OSError, match="No space left"):
        stage()
    assert asked == ["a", "b", "c"]
    (lost,) = tmp_path.rglob("bootstrap-*/b-*.parquet")
    lost.unlink()
    stage()
    assert asked == ["a", "b", "c", "b", "c", "d"], "a is there still, b's file was lost"
    tables = lake(tmp_path)
    tables.replica.commit_bootstrap("01-export")
    assert {key.id for key in tables.items()} == {f"key of {name}" for name in "abcd"}


@pytest.mark.parametrize("lost", ["the hashes", "the account of the version before"])
def test_a_shard_whose_key_hashes_are_not_noted_is_staged_again(tmp_path: Path, lost: str):
    """Accounts of the version before tell nothing of hashes."""
    tables = lake(tmp_path)

    def stage(*names: str) -> list[str]:
        asked: list[str] = []

        def frames(name: str) -> Iterator[pl.DataFrame]:
            asked.append(name)
            yield item_frame({Key(name): "0"})

        for name in names:
            tables.replica.stage_shard("01-export", T, COLUMNS, name, frames(name))
        return asked

    assert stage("a", "b") == ["a", "b"]
    for path in (tmp_path / "replica/_bootstrap/01-export").iterdir():
        if path.suffix == ".hashes" and lost == "the hashes":
            path.unlink()
        elif path.suffix == ".json" and lost != "the hashes":
            account = json.loads(path.read_text())
            del account["key_hashes"]
            path.write_text(json.dumps(account))
    assert stage("a", "b", "c") == ["a", "b", "c"]
    assert stage("a", "b", "c") == []


@pytest.mark.parametrize("files", [1, 2])
def test_two_rows_of_one_key_are_refused_and_nothing_staged_is_kept(tmp_path: Path, files: int):
    tables = lake(tmp_path)
    items = [Key("a"), Key("ab"), Key("bc"), Key("ab")]
    rows = [item_frame({each: str(number)}) for number, each in enumerate(items)]
    shards = [(f"{number}", iter(rows[number::files])) for number in range(files)]
    with pytest.raises(RepeatedKeys, match=r"2 rows share their keys .* \{'id': 'ab', 'seq': 0\}"):
        tables.replica.stage_bootstrap("01-export", T, COLUMNS, shards)
    assert not list(tmp_path.rglob("bootstrap-*/*.parquet"))
    with pytest.raises(StagedBootstrapMissing):
        tables.replica.commit_bootstrap("01-export")
    tables.stage(dict.fromkeys(items, "0"))
    assert tables.replica.commit_bootstrap("01-export").rows == 3


def test_a_staging_that_broke_off_begins_anew_with_other_columns(tmp_path: Path):
    late = Column("late", pl.String(), told("late", "string"))
    good, bad = item_frame(ITEMS), item_frame({Key("b"): "1"}).with_columns(pl.lit(1.75).alias("seq"))
    shards = [("a.json.gz", iter([good])), ("b.json.gz", iter([bad]))]
    with pytest.raises(InvalidFrame):
        lake(tmp_path).replica.stage_bootstrap("01-export", T, COLUMNS, shards)
    wider = good.with_columns(pl.lit("x").alias("late"))
    staged = lake(tmp_path).replica.stage_bootstrap("01-export", T, [*COLUMNS, late], [("a.json.gz", iter([wider]))])
    assert staged.rows == len(ITEMS)
    lake(tmp_path).replica.commit_bootstrap("01-export")
    assert lake(tmp_path).replica.scan().collect()["late"].to_list() == ["x"] * len(ITEMS)


def test_staging_that_breaks_off_can_not_be_committed(tmp_path: Path):
    tables = lake(tmp_path)
    bad = item_frame({Key("b"): "1"}).with_columns(pl.lit(1.75).alias("seq"))
    with pytest.raises(InvalidFrame, match="'seq' is Float64, not Int64"):
        tables.replica.stage_bootstrap(
            "01-export", T, COLUMNS, [("a.json.gz", iter([item_frame(ITEMS)])), ("b.json.gz", iter([bad]))]
        )
    with pytest.raises(StagedBootstrapMissing):
        tables.replica.commit_bootstrap("01-export")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (item_frame({Key("a"): "1"}).drop("value"), r"declared columns \['value'\] are not in the rows"),
        (item_frame({Key("a"): "1"}).with_columns(pl.lit(1).alias("x")), r"\['x'\] are not in the table"),
        (item_frame({Key("a"): "1"}, T + timedelta(microseconds=1)), "not before the export's time"),
    ],
    ids=["column missing", "column too many", "written after the export"],
)
def test_rows_unlike_the_declaration_are_refused(tmp_path: Path, frame: pl.DataFrame, message: str):
    with pytest.raises(InvalidFrame, match=message):
        lake(tmp_path).replica.stage_bootstrap("01", T, COLUMNS, [("a.json.gz", iter([frame]))])


def test_columns_without_a_key_are_refused(tmp_path: Path):
    with pytest.raises(InvalidColumn, match="no column is marked as a key"):
        lake(tmp_path).replica.stage_bootstrap("01", T, [VALUE], [])


@pytest.mark.parametrize("export_id", ["", "../up", "arn:aws:dynamodb/table/export/01", ".hidden", "a b"])
def test_an_export_id_that_names_no_folder_is_refused(tmp_path: Path, export_id: str):
    with pytest.raises(ValueError, match="can't name a folder"):
        lake(tmp_path).replica.stage_bootstrap(export_id, T, [ID], [("a", iter([item_frame(ITEMS)]))])


def test_a_re_created_table_is_refused_until_its_own_bootstrap_replaces_the_old_rows(tmp_path: Path):
    old = lake(tmp_path, "old-id")
    old.bootstrap({Key("old"): "0"})
    new = lake(tmp_path, "new-id")
    for refused in (
        lambda: new.replica.apply(window(60, 75)),
        new.replica.coverage,
        new.replica.bootstrap_time,
        new.log.columns,
        lambda: new.log.replace(window(60, 75), []),
    ):
        with pytest.raises(WrongSourceTable, match="old-id, not new-id"):
            refused()
    # A log of its own, and a bootstrap into the same replica.
    new = lake(tmp_path / "new", "new-id")
    replica = Replica(old.replica.location, "new-id", new.log)
    new.log.add_columns(COLUMNS)
    replica.stage_bootstrap("02", minute(60), COLUMNS, [("a", iter([item_frame({Key("new"): "1"}, minute(60))]))])
    assert replica.commit_bootstrap("02").outcome == "replaced"
    assert replica.scan().select("id").collect()["id"].to_list() == ["new"]
    with pytest.raises(WrongSourceTable, match="new-id, not old-id"):
        old.replica.coverage()


def test_a_bootstrap_of_another_source_table_is_refused(tmp_path: Path):
    lake(tmp_path, "old-id").stage(ITEMS)
    new = lake(tmp_path, "new-id")
    with pytest.raises(WrongSourceTable, match="staged for source table old-id"):
        new.replica.commit_bootstrap("01-export")


def test_a_log_of_another_source_table_is_refused_at_once(tmp_path: Path):
    one, other = lake(tmp_path, "one"), lake(tmp_path, "other")
    with pytest.raises(WrongSourceTable, match="give both the same id"):
        Replica(one.replica.location, "one", other.log)


def test_a_folder_with_somebody_elses_table_is_refused(tmp_path: Path):
    pl.DataFrame({"mine": [1]}).write_delta(str(tmp_path / "replica"))
    tables = lake(tmp_path)
    tables.stage(ITEMS)
    with pytest.raises(WrongSourceTable, match="no commit that tells of source table"):
        tables.replica.commit_bootstrap("01-export")
    assert pl.read_delta(str(tmp_path / "replica"))["mine"].to_list() == [1]


def test_shards_can_be_staged_apart_and_their_accounts_sent_about(tmp_path: Path):
    accounts: list[bytes] = []
    for number, (key, value) in enumerate(ITEMS.items()):
        worker = lake(tmp_path).replica
        shard = worker.stage_shard("01", T, COLUMNS, f"data/{number}.json.gz", iter([item_frame({key: value})]))
        accounts.append(pickle.dumps(shard))
    tables = lake(tmp_path)
    shards: list[StagedShard] = [pickle.loads(account) for account in accounts]
    staged = tables.replica.finish_staging("01", T, COLUMNS, shards)
    assert (staged.rows, len(staged.files)) == (20, 20)
    tables.replica.commit_bootstrap("01")
    assert tables.items() == ITEMS


def test_a_large_shard_becomes_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FILE_ROWS", 3)
    tables = lake(tmp_path)
    frames = (item_frame({key: value}) for key, value in ITEMS.items())
    staged = tables.replica.stage_bootstrap("01", T, COLUMNS, [("a.json.gz", frames)])
    assert [each.rows for each in staged.files] == [3] * 6 + [2]
    tables.replica.commit_bootstrap("01")
    assert tables.items() == ITEMS


def test_the_statistics_are_exact(tmp_path: Path):
    tables = lake(tmp_path)
    long = "x" * 100
    staged = tables.replica.stage_bootstrap(
        "01", T, COLUMNS, [("a", iter([item_frame({Key("a", 3): "1", Key("b", 7): long})]))]
    )
    stats = json.loads(staged.files[0].stats)
    assert stats["numRecords"] == 2
    assert stats["minValues"] == {"_key_hash": 1, "_write_time_us": us(0) - 1, "_tie_break": 0, "id": "a", "seq": 3}
    assert stats["maxValues"] == {"_key_hash": 1, "_write_time_us": us(0) - 1, "_tie_break": 0, "id": "b", "seq": 7}
    assert stats["nullCount"]["seq__decimal"] == 2
    tables.replica.commit_bootstrap("01")
    found = pl.scan_delta(tables.replica.location.uri).filter(pl.col("seq") == 7).select("id").collect()
    assert found["id"].to_list() == ["b"]


def test_a_deleted_item_of_the_export_goes_and_stays_gone(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap(ITEMS)
    tables.decode(window(0, 15), [delete(key.id, 1) for key in ITEMS])
    done = tables.replica.apply(window(0, 15))
    assert (done.deleted, done.rows_after) == (20, 0)
    assert tables.items() == {}


def test_a_shard_that_fails_leaves_no_file_and_staging_goes_on_with_it(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "FILE_ROWS", 1)
    tables = lake(tmp_path)

    def broken() -> Iterator[pl.DataFrame]:
        yield item_frame({Key("b"): "2"})
        raise ValueError("the rest can't be read")

    shards = [("data/0.json.gz", iter([item_frame({Key("a"): "1"})])), ("data/1.json.gz", broken())]
    with pytest.raises(ValueError, match="the rest"):
        tables.replica.stage_bootstrap("01-export", T, COLUMNS, shards)
    assert [path.name.split("-")[0] for path in tmp_path.glob("replica/bootstrap-*/*.parquet")] == ["0"]

    def unasked() -> Iterator[pl.DataFrame]:
        raise AssertionError("this shard is done")
        yield

    shards = [("data/0.json.gz", unasked()), ("data/1.json.gz", iter([item_frame({Key("b"): "2"})]))]
    tables.replica.stage_bootstrap("01-export", T, COLUMNS, shards)
    tables.replica.commit_bootstrap("01-export")
    assert set(tables.items()) == {Key("a"), Key("b")}
