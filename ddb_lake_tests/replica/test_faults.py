"""Faults of the storage, and files that are not as they were written: nothing lost, nothing doubled, clear errors."""

import contextlib
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import polars as pl
import pytest
from deltalake import DeltaTable
from pyroaring import BitMap64

from ddb_lake.replica import Replica
from ddb_lake.replica.delta_log import AddFile
from ddb_lake.replica.delta_log.deletion_vectors import write_vectors
from ddb_lake.replica.errors import (
    DamagedDataFile,
    DamagedDeletionVector,
    DamagedLog,
    LostFiles,
    StagedBootstrapMissing,
    StorageFailed,
    UnsupportedTable,
)
from ddb_lake.replica.folding import FoldPolicy
from ddb_lake.replica.key_index import KeyIndex
from ddb_lake.replica.strategy import Strategy
from ddb_lake_tests.replica.faulty import Crash, Fault, Moment, faulty
from ddb_lake_tests.replica.histories import TABLE_ID, Key, Lake, delete, lake, put, window
from ddb_lake_tests.replica.readers import by_the_protocol

NAMES = ["id", "seq", "seq__decimal", "value", "_write_time_us"]
EAGER = FoldPolicy(target_rows=1000, fan=2, dead_share=0.3)
MANY = 200
"""Items of a bootstrap: enough that deletion vectors are files of their own."""


@pytest.fixture(autouse=True)
def only_vectors(strategy: Strategy) -> None:
    if strategy is not Strategy.DELETION_VECTORS:
        pytest.skip("of our own commits alone")


def started(tmp_path: Path) -> tuple[Lake, dict[Key, str]]:
    """A replica, and what it is after a window that is decoded, but not applied."""
    tables = lake(tmp_path)
    items = {Key(f"k{number}"): "0" for number in range(MANY)}
    tables.bootstrap(items)
    gone = [f"k{number}" for number in range(0, MANY, 3)]
    tables.decode(window(0, 15), [put("k1", 1, "1"), put("new", 2, "1"), *(delete(key, 3) for key in gone)])
    left = {**{key: value for key, value in items.items() if key.id not in gone}, Key("k1"): "1", Key("new"): "1"}
    return tables, left


def operations(tmp_path: Path, work: Callable[[Replica], object]) -> int:
    """How many writing operations a work does that meets no fault."""
    tables, _ = started(tmp_path)
    replica, store = faulty(tables, Fault(-1, "before", Crash()))
    work(replica)
    return store.count


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "error", [Crash("dead"), OSError("No space left on device"), TimeoutError("no answer")], ids=repr
)
def test_a_window_survives_a_fault_at_any_of_its_steps(tmp_path: Path, moment: Moment, error: BaseException):
    steps = operations(tmp_path / "counted", lambda replica: replica.apply(window(0, 15)))
    assert steps == 4, "data, index, vectors, commit"
    for step in range(steps):
        tables, left = started(tmp_path / f"{step}")
        before = tables.items()
        replica, _ = faulty(tables, Fault(step, moment, error))
        committed = step == steps - 1 and moment == "after"
        if committed and isinstance(error, Exception):
            replica.apply(window(0, 15))  # the commit's answer was lost, and is found out
        else:
            with pytest.raises(type(error)):
                replica.apply(window(0, 15))
        assert tables.items() == (left if committed else before)
        tables.replica.apply(window(0, 15))
        assert tables.items() == left
        assert tables.replica.coverage() == (window(0, 15),)
        tables.replica.maintain(EAGER)
        assert tables.items() == left


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("error", [Crash("dead"), OSError("503 Slow Down")], ids=repr)
def test_a_maintenance_survives_a_fault_at_any_of_its_steps(tmp_path: Path, moment: Moment, error: BaseException):
    for step in itertools.count():
        tables, left = started(tmp_path / f"{step}")
        tables.replica.apply(window(0, 15))
        replica, store = faulty(tables, Fault(step, moment, error))
        with contextlib.suppress(Crash, OSError):
            replica.maintain(EAGER)
        assert tables.items() == left
        tables.replica.maintain(EAGER)
        assert tables.items() == left
        if store.count <= step:
            assert step >= 4
            break


@pytest.mark.parametrize("operation", ["get", "names", "put", "put_if_absent"])
def test_a_storage_that_fails_every_call_of_a_kind_fails_the_window_and_nothing_else(tmp_path: Path, operation: str):
    tables, left = started(tmp_path)
    before = tables.items()

    class Always(Fault):
        number = property(lambda self: store.count)  # type: ignore[assignment]

        def __init__(self) -> None:
            self.moment = "before"
            self.error = OSError("503 Service Unavailable")
            self.operations = frozenset({operation})

    replica, store = faulty(tables, None)
    store.fault = Always()
    with pytest.raises(OSError, match="503"):
        replica.apply(window(0, 15))
    assert tables.items() == before
    tables.replica.apply(window(0, 15))
    assert tables.items() == left


def test_a_lost_answer_to_a_commit_that_another_writer_made_is_told_from_it(tmp_path: Path):
    tables, left = started(tmp_path)
    tables.decode(window(15, 30), [put("k2", 16, "2")])
    replica, store = faulty(tables, None)
    commit = store.put_if_absent

    def rival(path: str, data: bytes) -> bool:
        store.put_if_absent = commit  # type: ignore[method-assign]
        tables.replica.apply(window(15, 30))
        raise TimeoutError("no answer")

    store.put_if_absent = rival  # type: ignore[method-assign]
    replica.apply(window(0, 15))
    assert tables.items() == left | {Key("k2"): "2"}
    assert tables.replica.coverage() == (window(0, 30),)


def test_a_put_that_a_client_repeats_by_itself_meets_its_own_commit(tmp_path: Path):
    tables, left = started(tmp_path)
    replica, store = faulty(tables, None)
    commit = store.put_if_absent

    def twice(path: str, data: bytes) -> bool:
        commit(path, data)
        return commit(path, data)

    store.put_if_absent = twice  # type: ignore[method-assign]
    version = tables.replica.version()
    assert replica.apply(window(0, 15)).version == (version or 0) + 1 == tables.replica.version()
    assert tables.items() == left


def vector_file(tables: Lake) -> Path:
    (found,) = (Path(tables.replica.location.uri) / "_dv").glob("*.bin")
    return found


def data_file(tables: Lake) -> Path:
    """A data file, whose key index is lost."""
    folder = Path(tables.replica.location.uri)
    snapshot = tables.replica.snapshot()
    assert snapshot is not None
    file = next(iter(snapshot.files.values()))
    shutil.rmtree(folder / "_idx")
    return folder / file.object_path


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "message", "found"),
    [
        (lambda file: file.unlink(), "is gone", r"\.bin .* is gone"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "there are not .* bytes", "bytes instead of"),
        (lambda file: file.write_bytes(b"\x02" + file.read_bytes()[1:]), "of format '02'", "of format '02'"),
        (lambda file: flip(file, 40), "checksum .* is wrong", "checksum .* is wrong"),
    ],
    ids=["absent", "cut", "another format", "a bit flipped"],
)
def test_a_damaged_vector_stops_the_window_and_is_named(
    tmp_path: Path, damage: Callable[[Path], object], message: str, found: str
):
    tables, _ = started(tmp_path)
    tables.replica.apply(window(0, 15))
    tables.decode(window(15, 30), [put("k2", 16, "2"), put("k5", 16, "2")])
    damage(vector_file(tables))
    version = tables.replica.version()
    with pytest.raises(DamagedDeletionVector, match=f"{message}.*restore the file"):
        tables.replica.apply(window(15, 30))
    with pytest.raises((DamagedDeletionVector, LostFiles), match=found):
        tables.replica.maintain(EAGER)
    assert tables.replica.version() == version


def test_an_index_of_another_table_is_not_believed(tmp_path: Path):
    tables, left = started(tmp_path / "one")
    other, _ = started(tmp_path / "other")
    mine = sorted((Path(tables.replica.location.uri) / "_idx").glob("*"))
    theirs = sorted((Path(other.replica.location.uri) / "_idx").glob("*"))
    for segment, foreign in zip(mine, theirs, strict=True):
        shutil.copyfile(foreign, segment)
    done = tables.replica.apply(window(0, 15))
    assert done.effort.segments_made_again == len(mine)
    assert tables.items() == left


def test_every_bit_of_an_index_that_is_flipped_is_noticed_or_harmless(tmp_path: Path):
    for bit in range(0, 1024 * 8, 61):
        folder = tmp_path / f"{bit}"
        tables = lake(folder)
        tables.bootstrap({Key("aa"): "0", Key("b"): "0", Key("c"): "0", Key("dddd"): "0"})
        tables.decode(window(0, 15), [put("b", 1, "1"), delete("aa", 1), put("eeeee", 1, "1")])
        for segment in (Path(tables.replica.location.uri) / "_idx").glob("*"):
            data = bytearray(segment.read_bytes())
            data[bit // 8 % len(data)] ^= 1 << bit % 8
            segment.write_bytes(bytes(data))
        tables.replica.apply(window(0, 15))
        assert tables.items() == {Key("b"): "1", Key("c"): "0", Key("dddd"): "0", Key("eeeee"): "1"}
        shutil.rmtree(folder)


def test_an_index_that_can_not_be_written_is_done_without(tmp_path: Path):
    tables, left = started(tmp_path)
    index = Path(tables.replica.location.uri) / "_idx"
    shutil.rmtree(index)
    replica, store = faulty(tables, None)
    put_object = store.put

    def full(path: str, data: bytes) -> None:
        if path.startswith("_idx/") and "bootstrap" in path:
            raise OSError("No space left on device")
        put_object(path, data)

    store.put = full  # type: ignore[method-assign]
    assert replica.apply(window(0, 15)).effort.segments_made_again == 2
    assert tables.items() == left


def test_a_hole_in_the_log_is_refused(tmp_path: Path):
    tables, _ = started(tmp_path)
    for _ in range(3):
        tables.replica.apply(window(0, 15))
    (Path(tables.replica.location.uri) / "_delta_log" / f"{2:020}.json").unlink()
    with pytest.raises(DamagedLog, match="has no commit 2"):
        tables.replica.apply(window(0, 15))


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_a_commit_that_is_cut_off_is_refused(tmp_path: Path, lines: int):
    tables, _ = started(tmp_path)
    log = Path(tables.replica.location.uri) / "_delta_log"
    commit = sorted(log.glob("*.json"))[-1]
    commit.write_bytes(b"".join(commit.read_bytes().splitlines(keepends=True)[:lines]))
    with pytest.raises(DamagedLog, match="is empty" if not lines else f"has {lines} of its"):
        tables.replica.snapshot()


def test_a_damaged_checkpoint_is_named(tmp_path: Path):
    tables, _ = started(tmp_path)
    DeltaTable(tables.replica.location.uri).create_checkpoint()
    (checkpoint,) = (Path(tables.replica.location.uri) / "_delta_log").glob("*.checkpoint.parquet")
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(DamagedLog, match=checkpoint.name):
        tables.replica.snapshot()


def test_a_checkpoint_that_lacks_a_part_is_none(tmp_path: Path):
    tables, left = started(tmp_path)
    version = tables.replica.apply(window(0, 15)).version
    log = Path(tables.replica.location.uri) / "_delta_log"
    DeltaTable(tables.replica.location.uri).create_checkpoint()
    (log / "_last_checkpoint").unlink()
    whole = log / f"{version:020}.checkpoint.parquet"
    first = log / f"{version:020}.checkpoint.0000000001.0000000002.parquet"
    pl.read_parquet(whole).filter(pl.col("add").struct.field("path").is_null()).write_parquet(first)
    whole.unlink()
    assert tables.replica.count() == len(left)


def test_a_removal_that_names_another_vector_is_noticed(tmp_path: Path):
    tables, _ = started(tmp_path)
    tables.replica.apply(window(0, 15))
    tables.decode(window(15, 30), [put("k2", 16, "2")])
    tables.replica.apply(window(15, 30))
    commit = sorted((Path(tables.replica.location.uri) / "_delta_log").glob("*.json"))[-1]
    actions = [orjson.loads(line) for line in commit.read_bytes().splitlines()]
    (removed,) = (action["remove"] for action in actions if "remove" in action)
    removed["deletionVector"]["offset"] += 1
    commit.write_bytes(b"\n".join(map(orjson.dumps, actions)))
    with pytest.raises(DamagedLog, match="has a file twice"):
        tables.replica.count()


def test_a_file_whose_rows_nobody_has_told_has_them_told_once_it_has_a_vector(tmp_path: Path):
    tables = lake(tmp_path)
    tables.bootstrap({Key(f"k{number}"): "0" for number in range(4)})
    log = Path(tables.replica.location.uri) / "_delta_log" / f"{0:020}.json"
    actions = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    for action in actions:
        action.get("add", {}).pop("stats", None)
    log.write_bytes(b"\n".join(map(orjson.dumps, actions)))
    tables.decode(window(0, 15), [put("k0", 1, "1"), delete("k1", 1), delete("k3", 2)])
    tables.replica.apply(window(0, 15))
    snapshot = tables.replica.snapshot()
    assert snapshot is not None
    assert [each.rows for each in snapshot.files.values() if each.deletion_vector] == [2]
    assert tables.items() == {Key("k0"): "1", Key("k2"): "0"}
    assert len(snapshot.files) == 2  # one has no row any more


def test_what_a_checkpoint_has_besides_is_not_written_into_the_log():
    told = {"path": "a", "size": 1, "modificationTime": 0, "partitionValues": {}, "dataChange": True}
    file = AddFile.from_json({**told, "tags": {"a": "b"}, "stats_parsed": {"numRecords": 1}})
    assert file.add(data_change=False)["add"].keys() == {*told, "tags"}


def test_statistics_that_stand_in_a_checkpoint_s_columns_only_are_known(tmp_path: Path):
    tables, left = started(tmp_path)
    snapshot = tables.replica.snapshot()
    assert snapshot is not None
    table = DeltaTable(tables.replica.location.uri)
    table.create_checkpoint()
    (checkpoint,) = (Path(tables.replica.location.uri) / "_delta_log").glob("*.checkpoint.parquet")
    frame = pl.read_parquet(checkpoint)
    bounds = pl.Struct({"_key_hash": pl.Int64(), "id": pl.String(), "seq__decimal": pl.Decimal(38, 18)})
    parsed = pl.Struct({"numRecords": pl.Int64(), "minValues": bounds, "maxValues": bounds})
    add = pl.col("add").struct
    frame.with_columns(
        pl.when(add.field("path").is_not_null()).then(
            add.with_fields(
                pl.lit(None, pl.String()).alias("stats"),
                add.field("stats").str.json_decode(parsed).alias("stats_parsed"),
            )
        )
    ).write_parquet(checkpoint)
    again = tables.replica.snapshot()
    assert again is not None
    for path, file in again.files.items():
        assert file.rows == snapshot.files[path].rows
        for name in ("minValues", "maxValues"):
            assert file.told[name]["_key_hash"] == snapshot.files[path].told[name]["_key_hash"]
            assert "seq__decimal" not in file.told[name]
    replica, store = faulty(tables, Fault(-1, "before", Crash(), frozenset({"get"})))
    replica.apply(window(0, 15))
    assert not [each for each in store.done if each.endswith(".parquet") and "_delta_log" not in each]
    assert tables.items() == left


def test_a_log_that_is_cleaned_up_while_it_is_read_is_read_anew(tmp_path: Path):
    tables, left = started(tmp_path)
    tables.replica.apply(window(0, 15))
    log = Path(tables.replica.location.uri) / "_delta_log"
    replica, store = faulty(tables, None)
    names = store.names

    def cleaned(folder: str, after: str = "") -> list[str]:
        store.names = names  # type: ignore[method-assign]
        found = names(folder, after)
        DeltaTable(tables.replica.location.uri).create_checkpoint()
        for commit in log.glob("*.json"):
            commit.unlink()
        return found

    store.names = cleaned  # type: ignore[method-assign]
    assert replica.snapshot() == tables.replica.snapshot()
    assert replica.count() == len(left)


def test_a_file_of_the_log_that_can_not_be_read_is_named(tmp_path: Path):
    tables, _ = started(tmp_path)
    commit = Path(tables.replica.location.uri) / "_delta_log" / f"{0:020}.json"
    commit.unlink()
    commit.symlink_to("nowhere")
    with pytest.raises(DamagedLog, match=f"can't be read.*{commit.name}"):
        tables.replica.snapshot()


@pytest.mark.parametrize(
    ("name", "damage"),
    [("is gone", Path.unlink), ("has 9 bytes", lambda file: file.write_bytes(b"no parque"))],
    ids=["absent", "cut"],
)
def test_a_damaged_data_file_is_named(tmp_path: Path, name: str, damage: Callable[[Path], object]):
    tables, _ = started(tmp_path)
    file = data_file(tables)
    damage(file)
    with pytest.raises(DamagedDataFile, match=f"{file} {name}.*restore it"):
        tables.replica.apply(window(0, 15))


def test_a_data_file_of_the_right_size_that_is_no_parquet_is_named(tmp_path: Path):
    tables, _ = started(tmp_path)
    file = data_file(tables)
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(DamagedDataFile, match=f"{file} can't be read.*restore it"):
        tables.replica.apply(window(0, 15))


def test_a_vector_that_marks_rows_which_are_not_there_is_refused(tmp_path: Path):
    tables, _ = started(tmp_path)
    tables.replica.apply(window(0, 15))
    snapshot = tables.replica.snapshot()
    assert snapshot is not None
    file = next(each for each in snapshot.files.values() if each.deletion_vector)
    rows = file.rows or 0
    told, _ = write_vectors(tables.replica.store, {"": BitMap64([1, rows])})
    log = sorted((Path(tables.replica.location.uri) / "_delta_log").glob("*.json"))[-1]
    log.write_bytes(
        log.read_bytes().replace(
            orjson.dumps(file.deletion_vector and file.deletion_vector.to_json()), orjson.dumps(told[""].to_json())
        )
    )
    with pytest.raises(DamagedDeletionVector, match=f"{file.object_path} marks row {rows} of {rows}"):
        tables.replica.convert(Strategy.COPY_ON_WRITE)


def test_a_storage_that_refuses_is_told_with_what_to_do(tmp_path: Path):
    tables, left = started(tmp_path)
    before = tables.items()
    vectors = Path(tables.replica.location.uri) / "_dv"
    vectors.write_bytes(b"")  # where the folder has to be: as good as a full disk, for root too
    with pytest.raises(StorageFailed, match=f"{vectors}/.* could not be written: .*Not a directory.*run it again"):
        tables.replica.apply(window(0, 15))
    assert tables.items() == before
    vectors.unlink()
    tables.replica.apply(window(0, 15))
    assert tables.items() == left


@pytest.mark.parametrize("damage", [b"", b'{"files": 3, "bootstrap_time": "2099-01-01T00:00:00Z"}', b"{}", b"\xff"])
def test_an_account_of_a_staging_that_is_damaged_is_named(tmp_path: Path, damage: bytes):
    tables, left = started(tmp_path)
    tables.replica.apply(window(0, 15))
    manifest = Path(tables.replica.location.uri) / "_bootstrap" / "01-export.json"
    manifest.write_bytes(damage)
    with pytest.raises(StagedBootstrapMissing, match=r"_bootstrap/01-export\.json can't be read .*remove it"):
        tables.replica.maintain(EAGER)
    manifest.unlink()
    tables.replica.maintain(EAGER)
    assert tables.items() == left


def test_statistics_that_are_damaged_are_named(tmp_path: Path):
    tables, _ = started(tmp_path)
    commit = Path(tables.replica.location.uri) / "_delta_log" / f"{0:020}.json"
    commit.write_bytes(commit.read_bytes().replace(rb"\"numRecords\":", rb"\"numRecords\"="))
    with pytest.raises(DamagedLog, match=r"the statistics of .*parquet in the log are no JSON"):
        tables.replica.apply(window(0, 15))


def test_a_checkpoint_that_is_gone_is_told_by_the_maintenance(tmp_path: Path):
    tables, left = started(tmp_path)
    log = Path(tables.log.location.uri) / "_delta_log"
    DeltaTable(tables.log.location.uri).create_checkpoint()
    for checkpoint in log.glob("*.checkpoint.parquet"):
        checkpoint.unlink()
    tables.replica.apply(window(0, 15))
    with pytest.raises(DamagedLog, match=r"changes/_delta_log can't be cleaned up .*remove _last_checkpoint"):
        tables.replica.maintain(EAGER)
    (log / "_last_checkpoint").unlink()
    tables.replica.maintain(EAGER)
    assert tables.items() == left


def test_a_folder_that_can_not_be_one_is_told(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed, match=r"file/changes/ could not be opened.*run it again"):
        lake(tmp_path / "file")
    tables = lake(tmp_path)
    (Path(tables.replica.location.uri) / "_delta_log").write_bytes(b"")
    with pytest.raises(StorageFailed, match=r"_delta_log.* could not be (listed|read)"):
        tables.replica.snapshot()


@pytest.mark.parametrize("hint", [b"", b"[]", b"3", b'{"version": null}', b'{"version": "x"}'])
def test_a_hint_at_the_last_checkpoint_is_no_more_than_that(tmp_path: Path, hint: bytes):
    tables, left = started(tmp_path)
    tables.replica.apply(window(0, 15))
    DeltaTable(tables.replica.location.uri).create_checkpoint()
    (Path(tables.replica.location.uri) / "_delta_log" / "_last_checkpoint").write_bytes(hint)
    assert tables.items() == left
    assert tables.replica.count() == len(left)


def test_columns_with_rules_of_their_own_are_refused(tmp_path: Path):
    tables, _ = started(tmp_path)
    log = sorted((Path(tables.replica.location.uri) / "_delta_log").glob("*.json"))[0]
    log.write_bytes(
        log.read_bytes().replace(
            rb'"ddb_lake.attribute\":\"value\"', rb'"delta.invariants\":\"{}\",\"ddb_lake.attribute\":\"value\"'
        )
    )
    tables.decode(window(30, 45), [put("new", 31, "1")])
    with pytest.raises(UnsupportedTable, match="have an invariant"):
        tables.replica.apply(window(30, 45))


def test_a_clock_that_jumps_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ddb_lake.replica.delta_log import commit as module

    tables, left = started(tmp_path)
    monkeypatch.setattr(module.time, "time", lambda: 1_000_000_000.0)
    tables.replica.apply(window(0, 15))
    tables.replica.maintain(EAGER)
    assert tables.items() == left
    assert len(by_the_protocol(tables.replica.location.uri, NAMES)) == len(left)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("delta.enableChangeDataFeed", "true", "change data feed.*move the table to copy_on_write"),
        ("delta.appendOnly", "true", "append-only"),
    ],
)
def test_what_our_commits_would_not_keep_is_refused(tmp_path: Path, name: str, value: str, message: str):
    tables, left = started(tmp_path)
    before = tables.items()
    DeltaTable(tables.replica.location.uri).alter.set_table_properties({name: value})
    with pytest.raises(UnsupportedTable, match=message):
        tables.replica.apply(window(0, 15))
    assert tables.items() == before
    DeltaTable(tables.replica.location.uri).alter.set_table_properties({name: "false"})
    tables.replica.apply(window(0, 15))
    assert tables.items() == left


def test_a_table_with_a_change_data_feed_does_not_get_deletion_vectors(tmp_path: Path):
    tables, left = started(tmp_path)
    tables.replica.convert(Strategy.COPY_ON_WRITE)
    DeltaTable(tables.replica.location.uri).alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
    with pytest.raises(UnsupportedTable, match="change data feed"):
        tables.replica.convert(Strategy.DELETION_VECTORS)
    version = tables.replica.apply(window(0, 15)).version
    assert tables.items() == left
    told = DeltaTable(tables.replica.location.uri).load_cdf(starting_version=version).read_all()
    kinds = sorted(told.column("_change_type").to_pylist())
    gone = MANY // 3 + 1
    assert kinds == sorted(["delete"] * gone + ["insert", "update_preimage", "update_postimage"])


def test_two_writers_that_never_heard_of_each_other_lose_nothing(tmp_path: Path):
    tables, left = started(tmp_path)
    tables.decode(window(15, 30), [put("k2", 16, "2")])
    one, store = faulty(tables, None)
    commit = store.put_if_absent
    other = Replica(tables.replica.location, TABLE_ID, tables.log)

    def late(path: str, data: bytes) -> bool:
        store.put_if_absent = commit  # type: ignore[method-assign]
        other.apply(window(15, 30))
        return commit(path, data)

    store.put_if_absent = late  # type: ignore[method-assign]
    one.apply(window(0, 15))
    assert tables.items() == left | {Key("k2"): "2"}


def test_a_conversion_that_is_committed_has_succeeded_whatever_the_storage_refuses_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    tables, left = started(tmp_path)
    tables.replica.convert(Strategy.COPY_ON_WRITE)

    def refuse(*_: object) -> None:
        raise StorageFailed("no data file may be read")

    with monkeypatch.context() as patched:
        patched.setattr(KeyIndex, "segment", refuse)
        assert tables.replica.convert(Strategy.DELETION_VECTORS).changed
    assert "no data file may be read" in caplog.text
    tables.replica.apply(window(0, 15))
    assert tables.items() == left
