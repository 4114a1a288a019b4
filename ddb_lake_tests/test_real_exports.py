"""The exports that AWS wrote, from S3 to the replica: row for row what their images say, in any order."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ddb_lake.decoding import (
    ExportFile,
    ItemSchema,
    canonical_image,
    decode_changes,
    decode_items,
    encode_item,
    learn_changes,
    learn_items,
)
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.exports import Manifest, download, read_manifest
from ddb_lake.keys import KeyAttribute
from ddb_lake.replica import ChangeLog, Column, Location, Replica
from ddb_lake.windows import to_us
from ddb_lake_tests.cloud import BUCKET, Cloud
from ddb_lake_tests.real import ALL_TYPES, ALL_TYPES_BUCKET, UNICORN_BUCKET, UNICORN_FULL, UNICORN_INCREMENTAL, upload

OTHER_BUCKET = "other"


class Unicorns:
    """The two exports of one table in S3, and a lake to bring them into."""

    key = (KeyAttribute("name", "S", "HASH"),)

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.s3 = cloud.s3
        self.folder = folder
        self.before: dict[str, Any] = {}
        self.full = read_manifest(cloud.s3, BUCKET, UNICORN_FULL, original_bucket=UNICORN_BUCKET)
        self.incremental = read_manifest(cloud.s3, BUCKET, UNICORN_INCREMENTAL, original_bucket=UNICORN_BUCKET)
        self.log = ChangeLog(Location(str(folder / "change_log")), self.full.table_id)
        self.replica = Replica(Location(str(folder / "replica")), self.full.table_id, self.log)

    def stage(self) -> None:
        assert self.full.time is not None
        files, time = self.files(self.full), self.full.time
        schema = self.widen(learn_items(files, self.schema()))
        self.replica.stage_bootstrap(
            self.full.export_id,
            time,
            self.log.columns(),
            ((file.path.name, decode_items(file, schema, to_us(time) - 1)) for file in files),
        )

    def commit(self) -> None:
        self.replica.commit_bootstrap(self.full.export_id)

    def decode(self) -> None:
        assert self.incremental.window is not None
        files = self.files(self.incremental)
        schema = self.widen(learn_changes(files, self.schema()))
        self.log.replace(self.incremental.window, (frame for file in files for frame in decode_changes(file, schema)))

    def apply(self) -> Any:
        assert self.incremental.window is not None
        return self.replica.apply(self.incremental.window)

    def files(self, manifest: Manifest) -> list[ExportFile]:
        folder = self.folder / manifest.export_id
        folder.mkdir(exist_ok=True)
        return [
            ExportFile(file.uri, download(self.s3, file, manifest, folder), file.item_count)
            for file in manifest.files
        ]

    def schema(self) -> ItemSchema:
        return ItemSchema.from_fields(self.key, [(c.name, c.metadata) for c in self.log.columns()])

    def widen(self, schema: ItemSchema) -> ItemSchema:
        known = {column.name for column in self.log.columns()}
        self.log.add_columns(Column(c.name, c.dtype, c.metadata) for c in schema.columns if c.name not in known)
        return schema

    def items(self) -> dict[str, Any]:
        """The replica's rows as DynamoDB JSON, by key."""
        schema = self.schema()
        return {row["name"]: encode_item(row, schema) for row in self.replica.scan().collect().iter_rows(named=True)}

    def rows(self) -> pl.DataFrame:
        return self.replica.scan().collect().sort("name")

    def records(self) -> list[Any]:
        """The incremental export's lines, parsed and no more."""
        return [
            orjson.loads(line)
            for file in self.files(self.incremental)
            for line in gzip.decompress(file.path.read_bytes()).splitlines()
        ]


@pytest.fixture(scope="module")
def cloud(real_exports: Path) -> Iterator[Cloud]:
    """An embedded AWS whose buckets hold AWS's files as they are."""
    with EmbeddedAws() as aws:
        cloud = Cloud(aws.url)
        for bucket, folder in ((BUCKET, "unicorn_activities"), (OTHER_BUCKET, "all_types")):
            cloud.s3.create_bucket(Bucket=bucket)
            upload(cloud.s3, real_exports / folder, bucket)
        yield cloud


@pytest.fixture(scope="module")
def loaded(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Unicorns:
    """Bootstrapped, then the incremental export applied: the usual order."""
    unicorns = Unicorns(cloud, tmp_path_factory.mktemp("usual"))
    unicorns.stage()
    unicorns.commit()
    assert unicorns.replica.count() == 133_199
    unicorns.before = unicorns.items()
    unicorns.decode()
    commit = unicorns.apply()
    assert (commit.rows_before, commit.rows_after) == (133_199, 133_194)
    assert (commit.inserted, commit.updated, commit.deleted, commit.ignored) == (1, 8, 6, 0)
    return unicorns


def test_every_record_changed_the_replica_from_its_old_to_its_new_image(loaded):
    after = loaded.items()
    records = loaded.records()
    assert len(records) == 15
    for record in records:
        key = record["Keys"]["name"]["S"]
        for image, items in (("OldImage", loaded.before), ("NewImage", after)):
            expected = canonical_image(record[image]) if image in record else None
            assert items.get(key) == expected, f"{image} of {key}"


def test_nothing_but_the_records_keys_changed(loaded):
    changed = {record["Keys"]["name"]["S"] for record in loaded.records()}
    after = loaded.items()
    assert {k: v for k, v in loaded.before.items() if k not in changed} == {
        k: v for k, v in after.items() if k not in changed
    }


def test_both_applied_again_change_nothing(loaded):
    rows = loaded.rows()
    loaded.decode()
    commit = loaded.apply()
    assert (commit.inserted, commit.updated, commit.deleted) == (0, 0, 0)
    loaded.stage()
    loaded.commit()
    assert_frame_equal(loaded.rows(), rows)


def test_the_other_order_gives_the_same_replica(cloud, loaded, tmp_path):
    other = Unicorns(cloud, tmp_path)
    other.decode()
    other.stage()
    other.commit()
    other.apply()
    assert other.items() == loaded.items()
    assert_frame_equal(other.rows(), loaded.rows(), check_column_order=False)


def test_the_replica_is_covered_to_the_exports_end(loaded):
    assert loaded.replica.coverage() == (loaded.incremental.window,)
    assert loaded.replica.bootstrap_time() == loaded.full.time


def test_all_ten_types_reach_the_replica(cloud, tmp_path):
    manifest = read_manifest(cloud.s3, OTHER_BUCKET, ALL_TYPES, original_bucket=ALL_TYPES_BUCKET)
    (file,) = manifest.files
    local = ExportFile(file.uri, download(cloud.s3, file, manifest, tmp_path), file.item_count)
    assert manifest.time is not None
    log = ChangeLog(Location(str(tmp_path / "change_log")), manifest.table_id)
    replica = Replica(Location(str(tmp_path / "replica")), manifest.table_id, log)
    schema = learn_items([local], ItemSchema.empty((KeyAttribute("id", "S", "HASH"),)))
    columns = [Column(c.name, c.dtype, c.metadata) for c in schema.columns]
    log.add_columns(columns)
    replica.stage_bootstrap(
        manifest.export_id,
        manifest.time,
        columns,
        [(local.path.name, decode_items(local, schema, to_us(manifest.time) - 1))],
    )
    replica.commit_bootstrap(manifest.export_id)
    items = [encode_item(row, schema) for row in replica.scan().collect().iter_rows(named=True)]
    lines = gzip.decompress(local.path.read_bytes()).splitlines()
    expected = [canonical_image(orjson.loads(line)["Item"]) for line in lines]
    assert {item["id"]["S"]: item for item in items} == {item["id"]["S"]: item for item in expected}
    assert len(items) == 3
    tags = {tag for item in expected for value in item.values() for tag in value}
    assert tags == {"S", "N", "B", "BOOL", "NULL", "L", "M", "SS", "NS", "BS"}
