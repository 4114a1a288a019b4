"""A replica on S3, over a connection that fails: conditional puts, lost answers, throttling, a cache of the index."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddb_lake.replica import ChangeLog, Location, Replica, Strategy
from ddb_lake.replica.errors import LostFiles
from ddb_lake.replica.folding import FoldPolicy
from ddb_lake_tests.cloud import Cloud
from ddb_lake_tests.replica.histories import TABLE_ID, Key, Lake, delete, put, window

EAGER = FoldPolicy(target_rows=1000, fan=2, dead_share=0.1)


@pytest.fixture(scope="module")
def cloud(strategy: Strategy) -> Iterator[Cloud]:
    """The embedded AWS in a process of its own: delta-rs keeps the interpreter locked while it waits for S3."""
    if strategy is not Strategy.DELETION_VECTORS:
        pytest.skip("of our own commits alone")
    command = [sys.executable, "-m", "ddb_lake.embedded_aws", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            cloud = Cloud(server.stdout.readline().strip().rpartition("=")[2])
            cloud.s3.create_bucket(Bucket="the-lake")
            yield cloud
        finally:
            server.terminate()


def lake_on(cloud: Cloud, name: str) -> Lake:
    options = {
        "AWS_ENDPOINT_URL": cloud.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "admin",
        "AWS_SECRET_ACCESS_KEY": "admin",
    }
    log = ChangeLog(Location(f"s3://the-lake/{name}/changes", options), TABLE_ID)
    return Lake(log, Replica(Location(f"s3://the-lake/{name}/replica", options), TABLE_ID, log))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DDB_LAKE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_file_that_s3_has_lost_is_noticed_by_the_maintenance(cloud: Cloud):
    tables = lake_on(cloud, "lost")
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [put("b", 1, "1")])
    tables.replica.apply(window(0, 15))
    assert tables.replica.maintain().lost == ()
    for table, store in (
        (tables.replica.snapshot(), tables.replica.store),
        (tables.log.snapshot().table, tables.log.store),
    ):
        assert table is not None
        store.delete([next(iter(table.files.values())).object_path])
    with pytest.raises(LostFiles, match=r"lost/replica: .* is gone.*lost/changes: .* is gone.*decoded_items of"):
        tables.replica.maintain()
    tables.stage({Key("a"): "0"})
    tables.replica.commit_bootstrap("01-export")
    tables.decode(window(0, 15), [put("b", 1, "1")])
    tables.replica.apply(window(0, 15))
    assert tables.replica.maintain().lost == ()
    assert tables.items() == {Key("a"): "0", Key("b"): "1"}


def test_a_replica_on_s3_is_kept_folded_and_moved(cloud: Cloud, cache: Path):
    tables = lake_on(cloud, "plain")
    items = {Key(f"k{number}"): "0" for number in range(100)}
    tables.bootstrap(items)
    for number in range(3):
        span = window(15 * number, 15 * number + 15)
        tables.decode(span, [put(f"k{number}", 15 * number, "1"), delete(f"k{50 + number}", 15 * number)])
        tables.replica.apply(span)
        items[Key(f"k{number}")] = "1"
        del items[Key(f"k{50 + number}")]
        assert tables.items() == items
    copies = sorted((cache / "ddb_lake_segments").iterdir())
    assert copies, "segments are kept between windows"
    for copy in copies:
        copy.write_bytes(b"damaged")
    tables.decode(window(45, 60), [delete(f"k{number}", 46) for number in range(10, 40)])
    done = tables.replica.apply(window(45, 60))
    assert done.effort.segments_made_again >= 1
    items = {key: value for key, value in items.items() if not 10 <= int(key.id[1:]) < 40}
    assert tables.items() == items
    assert tables.replica.maintain(EAGER).folded.folds >= 1
    assert tables.items() == items
    tables.replica.convert(Strategy.COPY_ON_WRITE)
    assert tables.items() == items


def test_what_others_keep_in_the_folder_of_the_cache_stays_however_old_it_is(cloud: Cloud, cache: Path):
    own = cache / "ddb_lake_segments"
    own.mkdir(parents=True)
    elsewhere = cache.parent / "elsewhere"
    elsewhere.write_bytes(b"reached by a link")
    name = "0123456789abcdef" * 2
    foreign = [cache / "thesis.tex", cache / f"{name}.segment", own / "notes", own / f"{name}.segment.bak", elsewhere]
    unused = [own / f"{name}.segment", own / f"{name}.segment.x_1z.part"]
    for each in (*foreign, *unused):
        each.write_bytes(b"old")
        os.utime(each, (0, 0))
    link = own / f"{name[::-1]}.segment"
    link.symlink_to(elsewhere)
    os.utime(link, (0, 0), follow_symlinks=False)
    tables = lake_on(cloud, "cached")
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1")])
    tables.replica.apply(window(0, 15))
    assert [each for each in (*foreign, link) if not each.exists()] == []
    assert [each for each in unused if each.exists()] == []
    assert len(list(own.iterdir())) == 4, "two foreign files, the link, and the copy of a segment"


def test_a_cache_that_somebody_else_could_write_to_is_neither_read_nor_written(cloud: Cloud, cache: Path):
    elsewhere = cache.parent / "elsewhere"
    elsewhere.mkdir()
    cache.mkdir()
    (cache / "ddb_lake_segments").symlink_to(elsewhere)
    tables = lake_on(cloud, "linked")
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1")])
    tables.replica.apply(window(0, 15))
    assert tables.items() == {Key("a"): "1"}
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [{"kind": "reset", "moment": "after"}, {"kind": "reset", "moment": "before"}, {"kind": "throttle"}],
    ids=["the answer is lost", "the request is lost", "throttled"],
)
def test_a_commit_over_a_failing_connection_is_made_once(cloud: Cloud, fault: dict[str, str]):
    tables = lake_on(cloud, f"{fault['kind']}-{fault.get('moment')}")
    tables.bootstrap({Key("a"): "0", Key("b"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1"), delete("b", 2)])
    version = tables.replica.version()
    cloud.control.add_fault("s3", fault, operation="PutObject", resource="*/replica/*", times=3)
    done = tables.replica.apply(window(0, 15))
    cloud.control.clear_faults()
    assert done.version == (version or 0) + 1 == tables.replica.version()
    assert tables.items() == {Key("a"): "1"}


def test_of_two_writers_on_s3_the_second_plans_again(cloud: Cloud):
    tables = lake_on(cloud, "two")
    tables.bootstrap({Key("a"): "0"})
    tables.decode(window(0, 15), [put("a", 1, "1")])
    tables.decode(window(15, 30), [put("a", 16, "2")])
    other = lake_on(cloud, "two")
    commit = tables.replica.store.put_if_absent

    def late(path: str, data: bytes) -> bool:
        tables.replica.store.put_if_absent = commit  # type: ignore[method-assign]
        other.replica.apply(window(15, 30))
        return commit(path, data)

    tables.replica.store.put_if_absent = late  # type: ignore[method-assign]
    tables.replica.apply(window(0, 15))
    assert tables.items() == {Key("a"): "2"}
    assert tables.replica.coverage() == (window(0, 30),)
