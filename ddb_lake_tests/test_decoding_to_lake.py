"""From exports to the lake's tables: columns grow, lake.yaml is honoured, and nothing is left by halves."""

import gzip
import hmac
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from ddb_lake.config import ConfigError
from ddb_lake.decoding import DecodeError, SecondType
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.exports.errors import DataFileDamaged
from ddb_lake.metadata import column_schema, of_decodings
from ddb_lake.parity import compare
from ddb_lake.pipeline import Pipeline
from ddb_lake.replica import change_log
from ddb_lake.windows import format_time
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud
from ddb_lake_tests.table_histories import History, bootstrap, bring_in, no_waiting
from ddb_lake_tests.test_bad_input import md5


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11), files=3) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        yield cloud


@pytest.fixture
def history(cloud, tmp_path_factory):
    """Makes a table with writes before the bootstrap and in windows after it."""

    def make(before: list[Any], *during: list[Any]) -> History:
        return History(cloud, tmp_path_factory.mktemp("table"), before, list(during))

    return make


@pytest.fixture(autouse=True)
def hash_key(monkeypatch) -> None:
    monkeypatch.setenv("DDB_LAKE_HASH_KEY", "a secret")


def put(key: str, **attributes: Any) -> tuple[Any, ...]:
    return ("put", key, attributes)


def many(**attributes: Any) -> list[Any]:
    """Enough items that each of the export's files has some."""
    return [put(f"k{n}", **attributes) for n in range(30)]


def follow(history: History, pipeline: Pipeline) -> None:
    """Bring in all windows, each of which must give its Scan."""
    for n, scan in enumerate(history.scans):
        bring_in(pipeline, history.window(n))
        parity = compare(pipeline, iter(scan))
        assert parity.equal, parity


def rows(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pipeline.replica.scan().collect().to_dicts()}


def files_of(location: Any) -> set[str]:
    return {path.name for path in Path(location.uri).glob("**/*.parquet")}


def uncommitted(location: Any) -> set[str]:
    """The Parquet files in a table's folder that no version of the table names."""
    table = DeltaTable(location.uri)
    named: set[str] = set()
    for version in range(table.version() + 1):
        named |= {Path(each.removeprefix("file://")).name for each in DeltaTable(location.uri, version).file_uris()}
    return files_of(location) - named


# Optimism


def test_what_is_known_is_decoded_without_a_look_at_the_whole_export_first(history, monkeypatch):
    table = history(many(a={"S": "x"}), [*many(a={"S": "y"}), ("delete", "k3")])
    pipeline = table.bootstrapped("lake")

    def never(*_: Any) -> Any:
        raise AssertionError("nothing is new, so nothing is to be learned")

    monkeypatch.setattr("ddb_lake.pipeline.learn_changes", never)
    follow(table, pipeline)


def test_a_value_without_a_column_has_the_export_learned_and_decoded_again(history):
    # The new type is in one item only, so that some files are written before it is met, or after.
    new = put("k7", a={"N": "1"}, b={"BOOL": True})
    table = history(many(a={"S": "x"}), [*many(a={"S": "y"}), new], [put("k1", a={"N": "2"})])
    pipeline = table.bootstrapped("lake")
    learned = bring_in(pipeline, table.window(0))
    assert of_decodings(learned.decodings)["relearned"] == 1
    assert of_decodings(learned.decodings)["added_columns"] == ["a__int64 of 'a'", "b"]
    assert compare(pipeline, iter(table.scans[0])).equal
    known = bring_in(pipeline, table.window(1))
    assert of_decodings(known.decodings)["relearned"] == 0
    assert compare(pipeline, iter(table.scans[1])).equal
    assert not uncommitted(pipeline.change_log.location)


def test_files_of_a_failed_attempt_are_removed(history, monkeypatch):
    # With a file for every frame, most are written before the last value is met.
    monkeypatch.setattr("ddb_lake.replica.change_log.FILE_ROWS", 1)
    monkeypatch.setattr("ddb_lake.replica.bootstrap.FILE_ROWS", 1)
    written: list[str] = []
    write_file = change_log.write_file

    def noting(*arguments: Any) -> Any:
        file = write_file(*arguments)
        written.append(file.path)
        return file

    monkeypatch.setattr(change_log, "write_file", noting)
    table = history(many(a={"S": "x"}), many(a={"S": "y"}))
    pipeline = table.bootstrapped("lake")
    # Only the last data file holds what is new.
    export = pipeline.wait_for_exports([pipeline.window_request(table.window(0))], no_waiting)[0]
    rewrite_last_line(table.cloud, export, lambda line: line["NewImage"].update(new={"S": "z"}))
    export = pipeline.wait_for_exports([pipeline.window_request(table.window(0))], no_waiting)[0]
    decoded = pipeline.decode_exports(table.window(0), [export])
    assert decoded.decodings[0].relearned
    assert len(written) > decoded.commits[0].files  # the first attempt had written some
    assert not uncommitted(pipeline.change_log.location)
    assert pipeline.change_log.read(table.window(0)).height == 30


def rewrite_last_line(cloud: Cloud, export: Any, change: Any) -> None:
    """Change the last line of an export's last data file, and the checksums with it."""
    file = export.manifest.files[-1]
    lines = [json.loads(line) for line in gzip.decompress(cloud.read(file.bucket, file.key)).splitlines()]
    change(lines[-1])
    replace_file(cloud, export, gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))


def replace_file(cloud: Cloud, export: Any, body: bytes) -> None:
    """Put other bytes in the place of an export's last data file, and their checksum into its manifests."""
    file = export.manifest.files[-1]
    folder = export.manifest.uri.removeprefix(f"s3://{BUCKET}/").rpartition("/")[0]
    cloud.s3.put_object(Bucket=BUCKET, Key=file.key, Body=body)
    listing = [json.loads(line) for line in cloud.read(BUCKET, f"{folder}/manifest-files.json").splitlines()]
    for each in listing:
        if each["dataFileS3Key"] == file.key:
            each["md5Checksum"] = md5(body).decode()
    text = b"".join(json.dumps(each).encode() + b"\n" for each in listing)
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{folder}/manifest-files.json", Body=text)
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{folder}/manifest-files.md5", Body=md5(text))


def test_a_damaged_last_file_leaves_nothing_of_the_export_and_of_those_before_it(history):
    table = history(many(a={"S": "x"}), many(a={"S": "y"}), many(a={"S": "z"}))
    pipeline = table.bootstrapped("lake")
    exports = pipeline.wait_for_exports([pipeline.window_request(table.window(n)) for n in range(2)], no_waiting)
    replace_file(table.cloud, exports[1], gzip.compress(b"{oops\n"))
    exports = pipeline.wait_for_exports([pipeline.window_request(table.window(n)) for n in range(2)], no_waiting)
    with pytest.raises(DecodeError, match="line 1"):
        pipeline.decode_exports(table.window(0, 2), exports)
    assert pipeline.change_log.coverage() == ()
    assert not files_of(pipeline.change_log.location)


def test_a_damaged_bootstrap_shows_nothing_and_goes_on_once_the_file_is_whole(history):
    # The second one, which is not learned first: files are written before the damage is met.
    table = history(many(a={"S": "x"}), [], [])
    before = files_of(table.bootstrapped("lake").replica.location)
    pipeline = table.opened("lake", start=table.window(1).start)
    (export,) = pipeline.wait_for_exports([pipeline.bootstrap_request], no_waiting)
    file = export.manifest.files[-1]
    body = table.cloud.read(BUCKET, file.key)
    table.cloud.s3.put_object(Bucket=BUCKET, Key=file.key, Body=body[:-1])
    with pytest.raises(DataFileDamaged):
        pipeline.stage_bootstrap()
    assert pipeline.replica.bootstrap_time() == table.start
    done = files_of(pipeline.replica.location) - before
    table.cloud.s3.put_object(Bucket=BUCKET, Key=file.key, Body=body)
    bootstrap(pipeline)
    assert pipeline.replica.count() == 30
    assert done <= files_of(pipeline.replica.location)


def test_a_second_bootstrap_decodes_with_the_columns_that_are_known(history):
    table = history(many(a={"S": "x"}), [put("k1", b={"N": "1"})], [])
    pipeline = table.bootstrapped("lake")
    bring_in(pipeline, table.window(0))
    again = table.opened("lake", start=table.window(1).start)
    staged = bootstrap(again)
    assert of_decodings([staged.decoding])["relearned"] == 0
    assert compare(again, iter(table.scans[0])).equal


# First appearance


def test_each_column_tells_when_its_attribute_appeared_and_keeps_that_for_ever(history):
    table = history(
        [put("k1", a={"S": "x"})],
        [put("k2", **{"b c": {"N": "1"}})],
        [put("k3", a={"N": "1"}, **{"b c": {"N": "2"}})],
        [],
    )
    pipeline = table.bootstrapped("lake")
    follow(table, pipeline)
    since = {
        "id": format_time(table.start),
        "a": format_time(table.start),
        "b%20c": format_time(table.window(0).start),
        "a__int64": format_time(table.window(1).start),
    }
    assert {each.name: each.metadata["ddb_lake.since"] for each in pipeline.replica.columns()} == since
    bring_in(pipeline, table.window(0, 2))
    assert {each.name: each.metadata["ddb_lake.since"] for each in pipeline.change_log.columns()} == since
    described = {each.name: each.description for each in column_schema(pipeline.replica.columns()).columns}
    assert described["b%20c"] == f"attribute 'b c', since {format_time(table.window(0).start)}"
    again = table.opened("lake", start=table.window(2).start)
    bootstrap(again)
    assert {each.name: each.metadata["ddb_lake.since"] for each in again.replica.columns()} == since


# lake.yaml


def test_types_and_hints_are_honoured_and_the_replica_is_the_table(history):
    fits = {"price": {"N": "9.99"}, "at": {"S": "2026-11-24T12:00:00Z"}, "doc": {"M": {"a": {"N": "1"}}}}
    fits_not = {"price": {"N": "9.999"}, "at": {"S": "yesterday"}, "doc": {"L": [{"B": b"x"}]}}
    later = {"price": {"S": "free"}, "at": {"S": "2026-11-24T13:00:00+01:00"}, "seen": {"N": "1764000000"}}
    table = history(
        [put("k1", note={"S": "x"}, **fits), put("k2", note={"N": "7"}, **fits_not)],
        [put("k1", note={"L": []}, **later)],
    )
    pipeline = table.opened(
        "lake",
        attributes={
            "price": {"type": "decimal(12, 2)"},
            "at": {"type": "timestamp"},
            "note": {"types": "string"},
            "doc": {"type": "json"},
            "seen": {"type": "timestamp_s"},
        },
    )
    staged = bootstrap(pipeline)
    assert of_decodings([staged.decoding])["contradictions"] == {"at": 1, "doc": 1, "price": 1}
    types = {each.name: each.dtype for each in pipeline.replica.columns()}
    assert types["price"] == pl.Decimal(12, 2)
    assert types["at"] == pl.Datetime("us", "UTC")
    assert (types["note"], types["doc"]) == (pl.String(), pl.String())
    assert rows(pipeline)["k1"]["doc"] == '{"a":1}'
    follow(table, pipeline)
    assert rows(pipeline)["k1"]["seen"].timestamp() == 1764000000


def test_a_table_of_text_keeps_its_key_in_its_own_type(history):
    table = history([put("k1", a={"S": "x"})], [put("k1", a={"N": "1"}), ("delete", "k2")])
    pipeline = table.bootstrapped("lake", types="string")
    follow(table, pipeline)
    assert [each.name for each in pipeline.replica.columns()] == ["id", "a"]


def test_a_second_type_fails_where_lake_yaml_says_so_and_nothing_is_written(history):
    table = history([put("k1", a={"S": "x"})], [put("k2", a={"N": "1"})])
    pipeline = table.bootstrapped("lake", attributes={"a": {"types": "fail"}})
    with pytest.raises(SecondType, match="the attribute 'a' is of type N here and of type S elsewhere"):
        bring_in(pipeline, table.window(0))
    assert not files_of(pipeline.change_log.location)


def test_what_is_dropped_and_hashed_reaches_no_file_and_the_rest_is_equal(history):
    home = {"M": {"name": {"S": "Ann"}, "street": {"S": "Secret Street"}}}
    before = put("k1", ssn={"S": "123-45-6789"}, email={"S": "ann@x"}, home=home, a={"N": "1"})
    after = put("k1", ssn={"S": "987-65-4321"}, email={"S": "bob@x"}, a={"N": "2"})
    table = history([*many(ssn={"S": "123-45-6789"}, home=home), before], [after, ("delete", "k2")])
    pipeline = table.bootstrapped(
        "lake", drop=["ssn", "home.street"], hash=["email"], view="NEW_AND_OLD_IMAGES", old_images=True
    )
    follow(table, pipeline)
    hashed = hmac.new(b"a secret", b'{"S":"bob@x"}', sha256).hexdigest()
    assert rows(pipeline)["k1"]["email"] == hashed
    assert "ssn" not in {each.name for each in pipeline.replica.columns()}
    held = pl.read_delta(pipeline.change_log.location.uri).write_json()
    held += pipeline.replica.scan().collect().write_json()
    for secret in ("123-45", "987-65", "ann@x", "bob@x", "Secret Street", "a secret"):
        assert secret not in held
    assert "Ann" in held
    told = pl.read_delta(pipeline.change_log.location.uri).filter(pl.col("id") == "k1")["_old_image"].item()
    assert json.loads(told)["email"] == {"S": hmac.new(b"a secret", b'{"S":"ann@x"}', sha256).hexdigest()}


def test_whole_attributes_that_are_dropped_are_in_no_old_image(history):
    table = history([put("k1", ssn={"S": "123"}, a={"S": "x"})], [put("k1", ssn={"S": "456"}, a={"S": "y"})])
    pipeline = table.bootstrapped("lake", drop=["ssn"], view="NEW_AND_OLD_IMAGES", old_images=True)
    follow(table, pipeline)
    (told,) = pl.read_delta(pipeline.change_log.location.uri)["_old_image"]
    assert json.loads(told) == {"a": {"S": "x"}, "id": {"S": "k1"}}


def test_only_what_is_kept_reaches_the_lake(history):
    table = history([put("k1", a={"S": "x"}, b={"S": "y"})], [put("k2", b={"S": "z"}, c={"S": "w"})])
    pipeline = table.bootstrapped("lake", keep=["a"])
    follow(table, pipeline)
    assert [each.name for each in pipeline.replica.columns()] == ["id", "a"]


def test_a_hashed_key_tells_items_apart_and_another_hash_is_refused(history, monkeypatch):
    both = [put("k1", a={"S": "x"}), put("k2", a={"S": "x"})]
    table = history(both, [put("k1", a={"S": "y"}), ("delete", "k2")], [])
    pipeline = table.bootstrapped("lake", hash=["id"])
    follow(table, pipeline)
    assert rows(pipeline).keys() == {hmac.new(b"a secret", b'{"S":"k1"}', sha256).hexdigest()}
    monkeypatch.setenv("DDB_LAKE_HASH_KEY", "another")
    with pytest.raises(ConfigError, match="the key attribute 'id' hashed with another key"):
        table.opened("lake", hash=["id"]).schema()
    with pytest.raises(ConfigError, match="the key attribute 'id' hashed, and would have each item twice"):
        bring_in(table.opened("lake"), table.window(1))
    plain = table.bootstrapped("plain")
    with pytest.raises(ConfigError, match="the key attribute 'id' as it is"):
        bring_in(table.opened("plain", hash=["id"]), table.window(0))
    assert plain.replica.count() == 2


def test_a_hash_without_its_key_is_refused_before_anything_is_exported(history, monkeypatch):
    table = history([])
    monkeypatch.delenv("DDB_LAKE_HASH_KEY")
    with pytest.raises(ConfigError, match="the environment variable DDB_LAKE_HASH_KEY is not set"):
        table.opened("lake", hash=["a"]).export_windows(table.window(0), no_waiting)
    with pytest.raises(ConfigError, match="drop: 'id' is an attribute of the primary key"):
        table.opened("lake", drop=["id"]).export_windows(table.window(0), no_waiting)


# Old images


def test_old_images_are_in_the_change_log_from_when_they_are_asked_for_and_never_in_the_replica(history):
    table = history(
        [put("k1", a={"N": "1.0"})],
        [put("k1", a={"N": "2"})],
        [put("k1", a={"N": "3"}), put("k2", a={"N": "4"})],
        [("delete", "k1")],
        [put("k2", a={"N": "5"})],
    )
    without = table.bootstrapped("lake", view="NEW_AND_OLD_IMAGES")
    bring_in(without, table.window(0))
    assert "_old_image" not in pl.read_delta(without.change_log.location.uri).columns
    pipeline = table.opened("lake", view="NEW_AND_OLD_IMAGES", old_images=True)
    bring_in(pipeline, table.window(1))
    bring_in(pipeline, table.window(2))
    bring_in(without, table.window(3))  # off again: the column stays
    log = pl.read_delta(pipeline.change_log.location.uri).sort("_window", "id")
    told = log.select("id", "a", "_old_image").rows()
    assert told == [
        ("k1", 2, None),
        ("k1", 3, '{"a":{"N":"2"},"id":{"S":"k1"}}'),
        ("k2", 4, None),
        ("k1", None, '{"a":{"N":"3"},"id":{"S":"k1"}}'),
        ("k2", 5, None),
    ]
    assert "_old_image" not in pipeline.replica.scan().collect_schema().names()
    assert "_old_image" not in {each.name for each in pipeline.change_log.columns()}
    assert compare(pipeline, iter(table.scans[3])).equal


def test_an_attribute_of_that_name_has_another_column(history):
    table = history([put("k1", _old_image={"S": "mine"})], [put("k1", _old_image={"S": "new"})])
    pipeline = table.bootstrapped("lake", view="NEW_AND_OLD_IMAGES", old_images=True)
    follow(table, pipeline)
    assert rows(pipeline)["k1"]["%5Fold_image"] == "new"
