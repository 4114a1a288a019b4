"""Two records of one key in an export are an error that names both lines; nothing is committed until it is mended."""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.key_hashes import KeyHashes
from ddb_lake.repeated_items import RepeatedItem
from ddb_lake.replica import Strategy
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud
from ddb_lake_tests.colliding_keys import colliding_ids
from ddb_lake_tests.lakes import LakeUnderTest, advance_to, lake_at, quarter

COLLIDING = colliding_ids(4)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11), files=3) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        for n in range(9):
            cloud.put(f"old {n}", n)
        for each in COLLIDING:
            cloud.put(each, 1)
        advance_to(cloud, 0, 1)
        for n in range(9):
            cloud.put(f"new {n}", n)
        cloud.put(COLLIDING[0], 2)
        cloud.put(COLLIDING[1], 2)
        advance_to(cloud, 2)
        yield cloud


@pytest.fixture(params=list(Strategy), ids=lambda each: each.value)
def lake(cloud: Cloud, tmp_path, request: pytest.FixtureRequest) -> Iterator[LakeUnderTest]:
    with lake_at(cloud, tmp_path, strategy=request.param.value) as lake:
        pipeline = lake.pipeline
        pipeline.start_export(pipeline.bootstrap_request)
        pipeline.start_export(pipeline.window_request(quarter(0)))
        yield lake


class ExportUnderTest:
    """An export whose data files are changed as if DynamoDB had written them so, manifests included."""

    def __init__(self, cloud: Cloud, kind: str) -> None:
        self.cloud = cloud
        self.before = {key: body for key, body in cloud.objects().items() if f"/{kind}/" in key}
        self.files = {
            key: gzip.decompress(body).splitlines(keepends=True)
            for key, body in self.before.items()
            if key.endswith(".gz")
        }
        self.filled = [key for key, lines in self.files.items() if lines]

    def write(self) -> None:
        """Write the data files as they are now, and manifests that name them."""
        listing = b""
        for key, lines in self.files.items():
            body = gzip.compress(b"".join(lines))
            self.put(key, body)
            entry = {"itemCount": len(lines), "md5Checksum": md5(body), "etag": "x-1", "dataFileS3Key": key}
            listing += json.dumps(entry).encode() + b"\n"
        (summary_key,) = [key for key in self.before if key.endswith("manifest-summary.json")]
        summary = json.loads(self.before[summary_key])
        count = sum(map(len, self.files.values()))
        for key, body in (
            (summary["manifestFilesS3Key"], listing),
            (summary_key, json.dumps({**summary, "itemCount": count}).encode()),
        ):
            self.put(key, body)
            self.put(key.replace(".json", ".md5"), md5(body).encode())

    def put(self, key: str, body: bytes) -> None:
        self.cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def restore(self) -> None:
        for key in self.files:
            if key not in self.before:
                self.cloud.s3.delete_object(Bucket=BUCKET, Key=key)
        for key, body in self.before.items():
            self.put(key, body)


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def repeat_in_one_file(export: ExportUnderTest) -> list[str]:
    key = export.filled[0]
    export.files[key].append(export.files[key][0])
    return [f"{key}, line 1", f"{key}, line {len(export.files[key])}"]


def repeat_in_another_file(export: ExportUnderTest) -> list[str]:
    """With another image: one of the two would be lost."""
    first, second = export.filled[:2]
    export.files[second].insert(1, export.files[first][-1].replace(b'"value":{"N":"', b'"value":{"N":"7'))
    return [f"{first}, line {len(export.files[first])}", f"{second}, line 2"]


def name_a_copy_of_a_file(export: ExportUnderTest) -> list[str]:
    """Under another key."""
    key = export.filled[0]
    copy = f"{key.rpartition('/')[0]}/acopyacopyacopyacopyacopya.json.gz"
    export.files[copy] = export.files[key]
    return [f"{key}, line 1", f"{copy}, line 1"]


CASES = [repeat_in_one_file, repeat_in_another_file, name_a_copy_of_a_file]


@pytest.mark.parametrize("change", CASES)
def test_a_full_export_with_a_key_twice_becomes_no_table_and_both_lines_are_told(cloud, lake, change):
    export = ExportUnderTest(cloud, "full")
    told = change(export)
    export.write()
    pipeline = lake.pipeline
    try:
        for _ in range(2):  # what was staged the first time does not count the second time
            with pytest.raises(RepeatedItem) as caught:
                pipeline.stage_bootstrap()
            for place in told:
                assert place in str(caught.value)
        assert pipeline.replica.store.walk("_bootstrap") == [], "nothing is staged"
    finally:
        export.restore()
    pipeline.stage_bootstrap()
    assert pipeline.commit_bootstrap().rows == 9 + len(COLLIDING)


def test_a_key_twice_is_found_in_a_staging_that_goes_on_where_it_broke_off(cloud, lake, monkeypatch):
    """The shard with the first record was staged before, and is not decoded again."""
    export = ExportUnderTest(cloud, "full")
    told = repeat_in_another_file(export)
    export.write()
    pipeline = lake.pipeline
    left = list(export.files).index(export.filled[0]) + 1
    try:
        put = pipeline.replica.store.put

        def breaking(path: str, data: bytes) -> None:
            nonlocal left
            put(path, data)
            left -= path.endswith(".json")
            if not left:
                monkeypatch.undo()
                raise KeyboardInterrupt

        monkeypatch.setattr(pipeline.replica.store, "put", breaking)
        with pytest.raises(KeyboardInterrupt):
            pipeline.stage_bootstrap()
        with pytest.raises(RepeatedItem) as caught:
            lake.pipeline.stage_bootstrap()
        for place in told:
            assert place in str(caught.value)
    finally:
        export.restore()


@pytest.mark.parametrize("change", CASES)
def test_an_incremental_export_with_a_key_twice_changes_nothing_and_both_lines_are_told(cloud, lake, change):
    pipeline = lake.pipeline
    pipeline.stage_bootstrap()
    pipeline.commit_bootstrap()
    export = ExportUnderTest(cloud, "incremental")
    told = change(export)
    export.write()
    try:
        with pytest.raises(RepeatedItem) as caught:
            pipeline.decode(quarter(0))
        for place in told:
            assert place in str(caught.value)
        assert pipeline.change_log.coverage() == ()
    finally:
        export.restore()
    pipeline.decode(quarter(0))
    pipeline.apply(quarter(0))
    assert lake.parity().equal


def test_different_keys_of_one_hash_are_no_repetition(lake):
    pipeline = lake.pipeline
    pipeline.stage_bootstrap()
    pipeline.commit_bootstrap()
    pipeline.decode(quarter(0))
    pipeline.apply(quarter(0))
    assert lake.parity().equal


hashes = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=30)


@given(st.lists(hashes, max_size=5), st.integers(1, 40))
def test_exactly_the_hashes_that_come_more_than_once_are_found_in_memory_or_not(parts: list[list[int]], room: int):
    with KeyHashes(room) as gathered:
        for part in parts:
            gathered.add(np.array(part, dtype=np.int64))
        found = gathered.repeated().tolist()
    added = [each for part in parts for each in part]
    assert found == sorted({each for each in added if added.count(each) > 1})
