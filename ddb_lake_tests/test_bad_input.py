"""Damaged exports: each is told with its object and line, nothing is committed, and once mended all goes well."""

import base64
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake_tests.cloud import BUCKET, NOON, TABLE, Cloud
from ddb_lake_tests.lakes import LakeUnderTest, advance_to, lake_at, quarter


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11), files=1) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        cloud.put("old", 1)
        advance_to(cloud, 0, 1)
        for n in range(3):
            cloud.put(f"new {n}", n)
        advance_to(cloud, 2)
        yield cloud


@pytest.fixture
def lake(cloud, tmp_path) -> Iterator[LakeUnderTest]:
    """Bootstrapped, with the first window exported and nothing decoded."""
    with lake_at(cloud, tmp_path) as lake:
        lake.bootstrap()
        pipeline = lake.pipeline
        pipeline.start_export(pipeline.window_request(quarter(0)))
        yield lake


class Objects:
    """The objects of one kind of export, to be damaged and restored."""

    def __init__(self, cloud: Cloud, kind: str = "incremental") -> None:
        self.s3 = cloud.s3
        self.read = lambda key: cloud.read(BUCKET, key)
        self.before = {k: v for k, v in cloud.objects().items() if f"/{kind}/" in k}

    def key(self, end: str) -> str:
        (key,) = [key for key in self.before if key.endswith(end)]
        return key

    def delete(self, end: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=self.key(end))

    def replace(self, end: str, body: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=self.key(end), Body=body)

    def restore(self) -> None:
        for key, body in self.before.items():
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def edit(self, end: str, **members: Any) -> None:
        """Change members of a manifest, and its checksum with it."""
        body = json.dumps({**json.loads(self.read(self.key(end))), **members}).encode()
        self.replace(end, body)
        self.replace(end.replace(".json", ".md5"), md5(body))

    def rewrite(self, body: bytes) -> None:
        """Change the data file, and its checksum in the manifest with it: as if DynamoDB had written it so."""
        self.replace(".gz", body)
        self.edit("manifest-files.json", md5Checksum=md5(body).decode())

    def lines(self) -> list[bytes]:
        return gzip.decompress(self.before[self.key(".gz")]).splitlines(keepends=True)

    def with_line(self, number: int, line: bytes) -> bytes:
        lines = self.lines()
        lines[number - 1] = line + b"\n"
        return gzip.compress(b"".join(lines))


def md5(body: bytes) -> bytes:
    return base64.b64encode(hashlib.md5(body).digest())


def a_full_export(objects: Objects) -> None:
    summary = json.loads(objects.before[objects.key("manifest-summary.json")])
    del summary["exportType"], summary["outputView"]
    body = json.dumps({**summary, "exportTime": summary["exportFromTime"]}).encode()
    objects.replace("manifest-summary.json", body)
    objects.replace("manifest-summary.md5", md5(body))


def a_line_left_out_everywhere(objects: Objects) -> None:
    """Leave out a record, and forge all that the bucket says of it: counts, checksums, both manifests."""
    objects.rewrite(gzip.compress(b"".join(objects.lines()[:2])))
    objects.edit("manifest-files.json", itemCount=2)
    objects.edit("manifest-summary.json", itemCount=2)


BAD_TAG = b'{"Metadata":{"WriteTimestampMicros":{"N":"1"}},"Keys":{"id":{"S":"x"}},"NewImage":{"id":{"S":"x"},"a":{"Q":"1"}}}'

CASES: dict[str, tuple[Callable[[Objects], None], str, tuple[str, ...]]] = {
    "no manifest": (
        lambda o: o.delete("manifest-summary.json"), "raw_export", ("manifest-summary.json is not there", "restore it")
    ),
    "no list of files": (
        lambda o: o.delete("manifest-files.json"), "raw_export", ("manifest-files.json is not there",)
    ),
    "damaged manifest": (
        lambda o: o.replace("manifest-summary.json", b"{"), "raw_export", ("manifest-summary.json", "its MD5 is")
    ),
    "wrong checksum": (
        lambda o: o.replace("manifest-files.md5", md5(b"x")), "raw_export", ("manifest-files.json", "its MD5 is")
    ),
    "a file that is not there": (
        lambda o: o.delete(".gz"), "raw_export", (".json.gz is not there", "names it")
    ),
    "wrong total": (
        lambda o: o.edit("manifest-summary.json", itemCount=4), "raw_export", ("itemCount is 4", "add up to 3")
    ),
    "a full export": (
        a_full_export, "raw_export", ("dataFileS3Key", "it was not fetched")
    ),
    "flipped bytes": (
        lambda o: o.replace(".gz", b"?" + o.before[o.key(".gz")][1:]), "decoded_items", (".json.gz", "its MD5 is", "read 3 times")
    ),
    "truncated gzip": (
        lambda o: o.rewrite(o.before[o.key(".gz")][:-12]), "decoded_items", (".json.gz", "gzip")
    ),
    "corrupt gzip": (
        lambda o: o.rewrite(b"this is no gzip"), "decoded_items", (".json.gz", "gzip")
    ),
    "no JSON": (
        lambda o: o.rewrite(o.with_line(2, b"{oops")), "decoded_items", (".json.gz", "line 2", "JSON")
    ),
    "unknown type tag": (
        lambda o: o.rewrite(o.with_line(3, BAD_TAG)), "decoded_items", (".json.gz", "line 3", "Q")
    ),
    "items of a full export": (
        lambda o: o.rewrite(o.with_line(1, b'{"Item":{"id":{"S":"x"}}}')), "decoded_items", (".json.gz", "line 1", "full")
    ),
    "a line too few, forged throughout": (
        a_line_left_out_everywhere, "raw_export", ("itemCount is 2", "DynamoDB has reported 3")
    ),
    "a line too few": (
        lambda o: o.rewrite(gzip.compress(b"".join(o.lines()[:2]))), "decoded_items", ("the file has 2 lines but its manifest says 3",)
    ),
}  # fmt: skip


def test_an_export_that_was_forged_after_it_was_found_is_not_decoded(cloud, lake):
    assert lake.materialise(quarter(0), "raw_export").success
    objects = Objects(cloud)
    a_line_left_out_everywhere(objects)
    result = lake.materialise(quarter(0), "decoded_items", raise_on_error=False)
    text = result.get_step_failure_events()[0].step_failure_data.user_failure_data.description
    assert "DynamoDB has reported 3" in text
    objects.restore()
    assert lake.materialise(quarter(0)).success
    assert lake.parity().equal


@pytest.mark.parametrize(("damage", "step", "told"), CASES.values(), ids=CASES.keys())
def test_damage_is_told_and_nothing_is_committed_until_it_is_mended(cloud, lake, damage, step, told):
    objects = Objects(cloud)
    replica, log = lake.pipeline.replica, lake.pipeline.change_log
    before = (replica.version(), replica.coverage(), replica.count(), log.coverage(), lake.started())

    damage(objects)
    result = lake.materialise(quarter(0), raise_on_error=False)
    (event,) = result.get_step_failure_events()
    assert event.step_key == f"{TABLE}__{step}"
    text = event.step_failure_data.user_failure_data.description
    for part in told:
        assert part in text
    assert f"s3://{BUCKET}/exports/{TABLE}/incremental/20261124T120000Z-20261124T121500Z/" in text
    after = (replica.version(), replica.coverage(), replica.count(), log.coverage(), lake.started())
    assert after == before

    objects.restore()
    assert lake.materialise(quarter(0)).success
    assert lake.parity().equal
    assert lake.started() == before[-1]


def an_incremental_export(objects: Objects) -> None:
    window = {"exportFromTime": "2026-11-24T12:00:00.000Z", "exportToTime": "2026-11-24T12:15:00.000Z"}
    kind = {"exportType": "INCREMENTAL_EXPORT", "outputView": "NEW_IMAGE"}
    objects.edit("manifest-summary.json", **window, **kind)


FULL_CASES: dict[str, tuple[Callable[[Objects], None], str, tuple[str, ...]]] = {
    "no manifest": (
        lambda o: o.delete("manifest-summary.json"), "initial_export", ("manifest-summary.json is not there",)
    ),
    "a file that is not there": (
        lambda o: o.delete(".gz"), "initial_export", (".json.gz is not there",)
    ),
    "an incremental export": (
        an_incremental_export, "initial_export", ("is an incremental export, where a full one was expected",)
    ),
    "flipped bytes": (
        lambda o: o.replace(".gz", b"?" + o.before[o.key(".gz")][1:]), "initial_items", ("its MD5 is",)
    ),
    "corrupt gzip": (
        lambda o: o.rewrite(b"this is no gzip"), "initial_items", (".json.gz", "gzip")
    ),
    "a change of an incremental export": (
        lambda o: o.rewrite(o.with_line(1, BAD_TAG)), "initial_items", (".json.gz", "line 1", "incremental")
    ),
    "a line too many": (
        lambda o: o.rewrite(gzip.compress(b"".join(o.lines() * 2))), "initial_items", ("the file has 2 lines or more, but its manifest says 1",)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "step", "told"), FULL_CASES.values(), ids=FULL_CASES.keys())
def test_a_damaged_bootstrap_is_told_and_no_table_is_made_until_it_is_mended(cloud, tmp_path, damage, step, told):
    with lake_at(cloud, tmp_path) as lake:
        pipeline = lake.pipeline
        pipeline.start_export(pipeline.bootstrap_request)
        objects = Objects(cloud, "full")
        damage(objects)
        result = lake.bootstrap(raise_on_error=False)
        (event,) = result.get_step_failure_events()
        assert event.step_key == f"{TABLE}__{step}"
        assert event.step_failure_data.user_failure_data
        text = event.step_failure_data.user_failure_data.description or ""
        for part in told:
            assert part in text
        assert pipeline.replica.version() is None

        objects.restore()
        started = lake.started()
        assert lake.bootstrap().success
        assert pipeline.replica.count() == 1
        assert lake.started() == started
