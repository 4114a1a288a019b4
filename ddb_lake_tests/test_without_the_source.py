"""The lake without its source: what is exported and decoded goes on, though DynamoDB can't be asked."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from ddb_lake.config import AwsSettings
from ddb_lake.convert import convert
from ddb_lake.definitions import build_definitions
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.exports.errors import AccessDenied, ExportError, ServiceUnavailable, SourceTableNotFound
from ddb_lake.replica import Strategy, source_table_of
from ddb_lake.resources import DynamoDBExports
from ddb_lake_tests.cloud import BUCKET, NOON, TABLE, Cloud
from ddb_lake_tests.lakes import LakeUnderTest, advance_to, lake_at, metadata_of, quarter

WITHOUT = [SourceTableNotFound, AccessDenied, ServiceUnavailable]
"""How DynamoDB fails: the table was deleted, a permission is missing, nobody answers."""


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[LakeUnderTest]:
    """A table with an item of before noon and a change in the first window, half an hour after noon."""
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11)) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        cloud.put("old")
        advance_to(cloud, 0)
        cloud.put("new")
        advance_to(cloud, 2)
        with lake_at(cloud, tmp_path) as lake:
            yield lake


def lose_source(lake: LakeUnderTest, how: type[ExportError]) -> None:
    """Make DynamoDB fail for the lake."""
    if how is SourceTableNotFound:
        lake.cloud.dynamodb.delete_table(TableName=TABLE)
    elif how is AccessDenied:
        lake.cloud.control.set_policy({"Version": "2012-10-17", "Statement": []})
    else:
        nobody = AwsSettings.model_validate({"mode": "embedded", "endpoint": "http://127.0.0.1:9"})
        lake.settings = lake.settings.model_copy(update={"aws": nobody})
        lake.exports = DynamoDBExports.of(nobody)
        lake.definitions = build_definitions(lake.settings)
    with pytest.raises(how):
        lake.pipeline.require_source()


@pytest.mark.parametrize("how", WITHOUT)
def test_a_decoded_window_is_applied_and_the_replica_kept_without_the_source(lake: LakeUnderTest, how):
    lake.bootstrap()
    lake.materialise(quarter(0), "raw_export", "decoded_items")
    lose_source(lake, how)
    result = lake.materialise(quarter(0), "delta_table")
    shown = metadata_of(result, "delta_table")
    assert (shown["rows_after"], shown["items"]) == (2, 1)
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True]
    assert metadata_of(lake.maintain(), "maintenance")["maintained"]
    assert "since version" in convert(lake.settings, TABLE, Strategy.COPY_ON_WRITE)
    pipeline = lake.pipeline
    assert pipeline.is_bootstrapped()
    assert sorted(pipeline.replica.scan().collect()["id"]) == ["new", "old"]


def test_a_staged_initial_load_is_committed_without_the_source(lake: LakeUnderTest):
    lake.bootstrap("initial_export", "initial_items")
    lose_source(lake, AccessDenied)
    shown = metadata_of(lake.bootstrap("initial_table"), "initial_table")
    assert (shown["rows_after"], shown["items"]) == (1, 1)
    assert lake.pipeline.is_bootstrapped()


@pytest.mark.parametrize("milliseconds", [0, 123])
def test_a_staged_adopted_export_of_any_time_is_committed_without_the_source(
    lake: LakeUnderTest, tmp_path: Path, milliseconds: int
):
    cloud, start = lake.cloud, quarter(2).start + timedelta(seconds=7, milliseconds=milliseconds)
    cloud.control.clock("frozen", at=start)
    arn = str(cloud.dynamodb.describe_table(TableName=TABLE)["Table"].get("TableArn"))
    cloud.s3.create_bucket(Bucket="theirs")
    export = cloud.start_full(arn, S3Bucket="theirs")  # of now, as the AWS console starts it
    advance_to(cloud, 4)
    manifest = f"s3://theirs/{cloud.describe(export)['ExportManifest']}"
    with lake_at(cloud, tmp_path, start=start, adopt=[{"manifest": manifest, "time": start}]) as adopting:
        adopting.bootstrap("initial_export", "initial_items")
        lose_source(adopting, AccessDenied)
        shown = metadata_of(adopting.bootstrap("initial_table"), "initial_table")
        assert (shown["export_id"], shown["rows_after"]) == (export["ExportArn"].rpartition("/")[2], 2)
        assert adopting.pipeline.replica.bootstrap_time() == start
        assert adopting.pipeline.is_bootstrapped()


def test_a_lake_that_holds_nothing_needs_its_source(lake: LakeUnderTest):
    lose_source(lake, SourceTableNotFound)
    assert lake.pipeline.held_replica() is None
    assert not metadata_of(lake.maintain(), "maintenance")["maintained"]
    failed = lake.materialise(quarter(0), "delta_table", raise_on_error=False)
    (event,) = failed.get_step_failure_events()
    assert event.step_failure_data.user_failure_data
    assert "describing the table" in (event.step_failure_data.user_failure_data.description or "")


def test_the_sensor_says_that_the_source_is_gone_though_the_lake_goes_on(lake: LakeUnderTest, tmp_path: Path):
    lake.bootstrap()
    lake.materialise(quarter(0, 2))
    lose_source(lake, SourceTableNotFound)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        lake.instance = instance
        assert "describing the table" in lake.tick().skip_message


def test_the_lake_knows_its_source_table_without_any_commit_of_ours(lake: LakeUnderTest):
    pipeline = lake.pipeline
    place, start = pipeline.replica.location, lake.table.start
    assert source_table_of(place, start) is None
    lake.bootstrap("initial_export", "initial_items")
    assert source_table_of(place, start) == pipeline.table_id
    assert source_table_of(place, start.replace(hour=13)) is None
    lake.bootstrap("initial_table")
    assert source_table_of(place, start.replace(hour=13)) == pipeline.table_id
