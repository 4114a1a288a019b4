"""What fails leaves no trace: no column, no file, no commit; and the next good window is applied."""

import gzip
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from ddb_lake import pipeline as module
from ddb_lake.decoding import DecodeError
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.local_copies import PREFIX
from ddb_lake.parity import compare
from ddb_lake.pipeline import Pipeline
from ddb_lake.replica import Strategy
from ddb_lake.replica.errors import (
    InvalidFrame,
    ReplicaError,
    SchemaConflict,
    StagedBootstrapMissing,
    StorageFailed,
    UnstorableValue,
)
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud
from ddb_lake_tests.replica.faulty import Crash, Fault, FaultyStore, Moment
from ddb_lake_tests.table_histories import History, bootstrap, bring_in, no_waiting
from ddb_lake_tests.test_decoding_to_lake import put, rewrite_last_line


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11), files=2) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        yield cloud


@pytest.fixture
def history(cloud, tmp_path_factory) -> Callable[..., History]:
    """Makes a table with writes before the bootstrap and in windows after it."""

    def make(before: list[Any], *during: list[Any]) -> History:
        return History(cloud, tmp_path_factory.mktemp("table"), before, list(during))

    return make


@pytest.fixture(autouse=True)
def copies(monkeypatch, tmp_path) -> Iterator[Path]:
    """The folder of local copies, which is empty again in the end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield tmp_path
    assert not list(tmp_path.glob(f"{PREFIX}*"))


BOTH = [put(f"k{n}", a={"S": "x"}) for n in range(8)]
"""Enough items that both of an export's files have some."""

NEW = [put(f"k{n}", a={"S": "y"}, new={"N": "1"}) for n in range(8)]


def listing(pipeline: Pipeline) -> set[tuple[str, int]]:
    """All objects of both tables."""
    folder = Path(pipeline.change_log.location.uri).parents[1]
    return {(str(each.relative_to(folder)), each.stat().st_size) for each in folder.rglob("*") if each.is_file()}


def equal(pipeline: Pipeline, scan: list[Any]) -> bool:
    return compare(pipeline, iter(scan)).equal


def names(pipeline: Pipeline) -> list[str]:
    return [column.name for column in pipeline.change_log.columns()]


def fault(step: int, moment: Moment) -> Fault:
    return Fault(step, moment, StorageFailed("no space left"), frozenset({"put", "put_if_absent"}))


def export_of(pipeline: Pipeline, table: History, n: int) -> Any:
    (export,) = pipeline.wait_for_exports([pipeline.window_request(table.window(n))], no_waiting)
    return export


# Windows


def test_a_value_that_is_refused_in_the_last_file_leaves_no_column_of_those_before_it(history):
    table = history(BOTH, NEW)
    pipeline = table.bootstrapped("lake")
    before = listing(pipeline)
    export = export_of(pipeline, table, 0)
    rewrite_last_line(table.cloud, export, lambda line: line["NewImage"].update(new={"N": "one"}))
    with pytest.raises(DecodeError, match=r"json\.gz, line \d+"):
        bring_in(pipeline, table.window(0))
    assert (names(pipeline), listing(pipeline)) == (["id", "a"], before)
    rewrite_last_line(table.cloud, export, lambda line: line["NewImage"].update(new={"N": "1"}))
    bring_in(pipeline, table.window(0))
    assert equal(pipeline, table.scans[0])
    assert names(pipeline) == ["id", "a", "new"]


def test_the_commit_that_shows_the_changes_adds_their_columns(history):
    table = history(BOTH, NEW)
    pipeline = table.bootstrapped("lake")
    snapshot = pipeline.change_log.snapshot().table
    assert snapshot is not None
    pipeline.decode_exports(table.window(0), [export_of(pipeline, table, 0)])
    after = pipeline.change_log.snapshot().table
    assert after is not None
    assert after.number == snapshot.number + 1
    assert names(pipeline) == ["id", "a", "new"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_decoding_that_fails_at_any_object_leaves_all_as_it_was(history, moment: Moment):
    table = history(BOTH, NEW)
    pipeline = table.bootstrapped("lake", view="NEW_AND_OLD_IMAGES", old_images=True)
    log, source = pipeline.change_log, export_of(pipeline, table, 0)
    before, columns = listing(pipeline), log.columns()
    failed = 0
    for step in itertools.count():
        log.store = store = FaultyStore(log.location, fault(step, moment))
        try:
            pipeline.decode_exports(table.window(0), [source])
        except StorageFailed:
            failed += 1
            assert (log.columns(), log.coverage(), listing(pipeline)) == (columns, (), before), store.done
        else:
            break
    assert failed >= 1
    pipeline.apply(table.window(0))
    assert equal(pipeline, table.scans[0])


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("strategy", Strategy)
def test_an_application_that_fails_at_any_object_leaves_all_as_it_was(history, strategy, moment: Moment):
    table = history(BOTH, [*NEW, ("delete", "k3")])
    pipeline = table.bootstrapped("lake", strategy=strategy)
    pipeline.decode_exports(table.window(0), [export_of(pipeline, table, 0)])
    replica = pipeline.replica
    before, columns = listing(pipeline), replica.columns()
    for step in itertools.count():
        replica.store = store = FaultyStore(replica.location, fault(step, moment))
        try:
            pipeline.apply(table.window(0))
        except StorageFailed:
            assert (replica.columns(), replica.coverage()) == (columns, ()), store.done
            assert listing(pipeline) == before, store.done
        else:
            break
    assert equal(pipeline, table.scans[0])


class Panic(BaseException):
    """As delta-rs and polars raise one where their Rust code panics: no Exception, as a canceled run's is none."""


@pytest.mark.parametrize("error", [StorageFailed, Panic, DagsterExecutionInterruptedError, KeyboardInterrupt])
def test_columns_that_were_added_for_a_merge_are_taken_back_when_it_fails(history, monkeypatch, error):
    table = history(BOTH, NEW)
    pipeline = table.bootstrapped("lake", strategy="copy_on_write")
    pipeline.decode_exports(table.window(0), [export_of(pipeline, table, 0)])

    def fail(*_: Any) -> None:
        raise error("no space left")

    with monkeypatch.context() as patched:
        patched.setattr("ddb_lake.replica.replica.merge_changes", fail)
        with pytest.raises(error, match="no space left"):
            pipeline.apply(table.window(0))
    assert [column.name for column in pipeline.replica.columns()] == ["id", "a"]
    pipeline.apply(table.window(0))
    assert equal(pipeline, table.scans[0])


def test_two_exports_of_one_window_that_bring_the_same_attribute_agree_on_its_columns(history):
    first = [put("k1", new={"N": "1"}, more={"S": "x"})]
    table = history(BOTH, first, [put("k2", new={"S": "text"}, more={"N": "2"})])
    pipeline = table.bootstrapped("lake")
    decoded = pipeline.decode_exports(table.window(0, 2), [export_of(pipeline, table, n) for n in range(2)])
    assert [[column.name for column in each.added] for each in decoded.decodings] == [
        ["more", "new"],
        ["more__int64", "new__string"],
    ]
    pipeline.apply(table.window(0, 2))
    assert equal(pipeline, table.scans[1])


def meanwhile(monkeypatch, learn: str, work: Callable[[], object]) -> None:
    """Let something happen once between the learning of an export and its decoding."""
    learned = getattr(module, learn)
    done: list[bool] = []

    def and_then(*arguments: Any) -> Any:
        schema = learned(*arguments)
        if not done:
            done.append(True)
            work()
        return schema

    monkeypatch.setattr(module, learn, and_then)


@pytest.mark.parametrize("value", [{"S": "text"}, {"N": "7"}], ids=["another type", "the same type"])
def test_a_window_that_is_decoded_meanwhile_and_adds_the_same_attribute_loses_nothing(history, monkeypatch, value):
    table = history(BOTH, NEW, [put("k1", new=value, New={"S": "another case"})])
    pipeline, other = table.bootstrapped("lake"), table.opened("lake")
    meanwhile(monkeypatch, "learn_changes", lambda: bring_in(other, table.window(1)))
    bring_in(pipeline, table.window(0))
    assert equal(pipeline, table.scans[1])
    named = [*pipeline.change_log.location.uri.split("/")[:-2], "change_log", pipeline.table.table_id]
    held = pl.read_delta("/".join(named)).height
    assert held == len(NEW) + 1, "each change is there once"


def test_columns_that_never_agree_are_an_error_that_leaves_all_as_it_was(history, monkeypatch):
    table = history(BOTH, NEW)
    pipeline = table.bootstrapped("lake")
    before = listing(pipeline)

    def conflict(*_: Any) -> None:
        raise SchemaConflict("others were first")

    monkeypatch.setattr(pipeline.change_log, "commit", conflict)
    with pytest.raises(SchemaConflict, match="others were first"):
        bring_in(pipeline, table.window(0))
    assert (names(pipeline), listing(pipeline)) == (["id", "a"], before)


# The bootstrap


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_staging_that_fails_at_any_object_leaves_no_column_and_can_not_be_committed(history, moment: Moment):
    table = history(BOTH, NEW)
    failed = 0
    for step in itertools.count():
        pipeline = table.opened(f"lake{step}")
        pipeline.start_export(pipeline.bootstrap_request)
        pipeline.replica.store = store = FaultyStore(pipeline.replica.location, fault(step, moment))
        try:
            pipeline.stage_bootstrap()
        except StorageFailed:
            failed += 1
            assert pipeline.change_log.snapshot().table is None, store.done
            notes = Path(pipeline.replica.location.uri).glob("_bootstrap/*/*.json")
            told = b"".join(path.read_bytes() for path in notes)
            files = [Path(path).name for path, _ in listing(pipeline) if "/bootstrap-" in path and "_idx" not in path]
            assert all(name.encode() in told for name in files), "the next try goes on with what is noted"
            with pytest.raises(StagedBootstrapMissing):
                table.opened(f"lake{step}").commit_bootstrap()
        pipeline = table.opened(f"lake{step}")
        pipeline.stage_bootstrap()
        assert pipeline.commit_bootstrap().rows == len(BOTH)
        if store.count <= step:
            break
    pipeline = table.opened("lake0")
    bring_in(pipeline, table.window(0))
    assert equal(pipeline, table.scans[0])
    assert failed >= 5, "a file, its index and a note of each shard, and the manifest"


def test_a_bootstrap_without_room_for_its_columns_in_the_change_log_is_not_staged(history):
    table = history(BOTH, NEW)
    pipeline = table.opened("lake")
    pipeline.start_export(pipeline.bootstrap_request)
    log = pipeline.change_log
    log.store = FaultyStore(log.location, fault(0, "before"))
    with pytest.raises(StorageFailed):
        pipeline.stage_bootstrap()
    assert log.snapshot().table is None
    with pytest.raises(ReplicaError, match="was not staged"):
        pipeline.commit_bootstrap()
    bootstrap(pipeline)
    bring_in(pipeline, table.window(0))
    assert equal(pipeline, table.scans[0])


@pytest.mark.parametrize("value", [{"S": "text"}, {"N": "1.5"}, {"N": "7"}], ids=["S", "N", "the same"])
def test_a_window_that_is_decoded_while_a_bootstrap_is_staged_has_the_same_columns(history, monkeypatch, value):
    table = history([put("k1", a={"N": "1"}), put("k2", a={"N": "2"})], [put("k3", a=value, A={"S": "x"})])
    pipeline, other = table.opened("lake"), table.opened("lake")
    meanwhile(
        monkeypatch,
        "learn_items",
        lambda: other.decode_exports(table.window(0), [export_of(other, table, 0)]),
    )
    bootstrap(pipeline)
    pipeline.apply(table.window(0))
    assert equal(pipeline, table.scans[0])


def test_the_columns_of_a_staging_that_died_before_it_kept_them_come_with_the_commit(history):
    table = history(BOTH, NEW)
    pipeline = table.opened("lake")
    pipeline.start_export(pipeline.bootstrap_request)
    log = pipeline.change_log
    log.store = FaultyStore(log.location, Fault(0, "before", Crash("dead"), frozenset({"put_if_absent"})))
    with pytest.raises(Crash):
        pipeline.stage_bootstrap()
    pipeline = table.opened("lake")
    assert pipeline.change_log.columns() == ()
    pipeline.commit_bootstrap()
    assert names(pipeline) == ["id", "a"]
    bring_in(pipeline, table.window(0))
    assert equal(pipeline, table.scans[0])


def test_a_staging_that_died_and_whose_columns_others_have_otherwise_is_to_be_staged_again(history):
    table = history([put("k1", a={"N": "1"})], [put("k1", a={"S": "x"})])
    pipeline = table.opened("lake")
    pipeline.start_export(pipeline.bootstrap_request)
    log = pipeline.change_log
    log.store = FaultyStore(log.location, Fault(0, "before", Crash("dead"), frozenset({"put_if_absent"})))
    with pytest.raises(Crash):
        pipeline.stage_bootstrap()
    pipeline = table.opened("lake")
    pipeline.decode_exports(table.window(0), [export_of(pipeline, table, 0)])
    with pytest.raises(SchemaConflict, match=r"stage it again \(materialise initial_items\)"):
        pipeline.commit_bootstrap()
    bootstrap(pipeline)
    pipeline.apply(table.window(0))
    assert equal(pipeline, table.scans[0])


def test_files_of_a_failed_staging_are_not_taken_for_those_of_other_rules(history, monkeypatch):
    monkeypatch.setenv("DDB_LAKE_HASH_KEY", "a secret")
    table = history([put(f"k{n}", email={"S": f"ann{n}@example.org"}) for n in range(30)], [])
    pipeline = table.opened("lake")
    pipeline.start_export(pipeline.bootstrap_request)
    pipeline.replica.store = FaultyStore(pipeline.replica.location, fault(4, "before"))  # the second shard's file
    with pytest.raises(StorageFailed):
        pipeline.stage_bootstrap()
    assert [path for path, _ in listing(pipeline) if path.endswith(".json")], "a shard is done"
    pipeline = table.opened("lake", hash=["email"])
    bootstrap(pipeline)
    assert not [each for each in pipeline.replica.scan().collect()["email"] if "@" in each]


# What is said of the item that is the problem


@pytest.mark.parametrize("time_us", ["1", "999999999999999999"])
def test_a_write_time_outside_of_the_window_is_told_with_file_and_line(history, time_us):
    table = history(BOTH, NEW)
    pipeline = table.bootstrapped("lake")
    export = export_of(pipeline, table, 0)
    rewrite_last_line(table.cloud, export, lambda line: line["Metadata"].update(WriteTimestampMicros={"N": time_us}))
    told = rf"1 of 8 changes were not written in the window.*{time_us} µs.*{export.manifest.files[-1].uri}, line \d"
    with pytest.raises(InvalidFrame, match=told):
        bring_in(pipeline, table.window(0))


@pytest.mark.parametrize("step", ["window", "bootstrap"])
def test_a_value_that_can_not_be_written_is_told_with_attribute_file_and_line(history, monkeypatch, step):
    poisoned = [put(f"k{n}", **{"the name": {"S": "poison" if n == 5 else "good"}}) for n in range(8)]
    table = history(poisoned if step == "bootstrap" else BOTH, poisoned)
    pipeline = table.opened("lake")
    write = pl.DataFrame.write_parquet

    def refuse_poison(frame: pl.DataFrame, *arguments: Any, **options: Any) -> Any:
        if any("poison" in series for series in frame if series.dtype == pl.String()):
            raise pl.exceptions.ComputeError("it is poison")
        return write(frame, *arguments, **options)

    pipeline.start_export(pipeline.bootstrap_request)
    if step == "window":
        bootstrap(pipeline)
    before = names(pipeline)
    with monkeypatch.context() as patched:
        patched.setattr(pl.DataFrame, "write_parquet", refuse_poison)
        work = pipeline.stage_bootstrap if step == "bootstrap" else lambda: bring_in(pipeline, table.window(0))
        with pytest.raises(UnstorableValue, match="it is poison") as caught:
            work()
    told = str(caught.value)
    assert "the attribute 'the name' (column 'the%20name') in s3://" in told
    export = export_of(pipeline, table, 0) if step == "window" else None
    if export is not None:
        uri = next(file.uri for file in export.manifest.files if file.uri in told)
        lines = gzip.decompress(table.cloud.read(BUCKET, uri.removeprefix(f"s3://{BUCKET}/"))).splitlines()
        line = int(told.split(f"{uri}, line ")[1].split()[0])
        assert b"poison" in lines[line - 1]
    assert "`drop` in lake.yaml" in told
    assert names(pipeline) == before
    bring_in(pipeline if step == "window" else table.bootstrapped("lake"), table.window(0))
    assert equal(pipeline, table.scans[0])
