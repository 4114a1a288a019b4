"""A ClientToken makes starting an export idempotent for eight hours, in the whole account and region."""

from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from ddb_lake_tests.cloud import NOON, QUARTER, Cloud, error_of

EIGHT_HOURS = timedelta(hours=8)


@pytest.fixture(autouse=True)
def _one_o_clock(cloud: Cloud, table: str) -> None:
    cloud.control.clock("frozen", NOON + timedelta(hours=1))


def test_the_same_request_gives_the_same_export(cloud: Cloud, table: str) -> None:
    first = cloud.start_incremental(table, NOON, NOON + QUARTER, ClientToken="one")
    cloud.control.advance(60)
    again = cloud.start_incremental(table, NOON, NOON + QUARTER, ClientToken="one")
    assert again["ExportArn"] == first["ExportArn"]
    assert again["ExportStatus"] == "COMPLETED"
    assert len(cloud.dynamodb.list_exports()["ExportSummaries"]) == 1


def test_another_request_with_the_same_token_is_a_conflict(cloud: Cloud, table: str) -> None:
    cloud.start_incremental(table, NOON, NOON + QUARTER, ClientToken="one")
    with pytest.raises(ClientError) as refusal:
        cloud.start_incremental(table, NOON, NOON + 2 * QUARTER, ClientToken="one")
    assert error_of(refusal.value) == (
        "ExportConflictException",
        "Export conflict: Duplicate request detected with conflicting parameters",
    )


def test_a_token_is_not_bound_to_a_table(cloud: Cloud, table: str) -> None:
    other = cloud.create_table("other")
    cloud.start_full(table, ClientToken="one")
    with pytest.raises(ClientError, match="ExportConflictException"):
        cloud.start_full(other, ClientToken="one")


def test_without_a_token_each_request_is_another_export(cloud: Cloud, table: str) -> None:
    first, second = (cloud.start_incremental(table, NOON, NOON + QUARTER) for _ in range(2))
    assert first["ExportArn"] != second["ExportArn"]
    assert first["ClientToken"] != second["ClientToken"]


def test_a_failed_export_keeps_its_token(cloud: Cloud, table: str) -> None:
    failed = cloud.start_full(table, S3Bucket="no-such-bucket", ClientToken="one")
    assert cloud.describe(failed)["ExportStatus"] == "FAILED"
    again = cloud.start_full(table, S3Bucket="no-such-bucket", ClientToken="one")
    assert (again["ExportArn"], again["ExportStatus"]) == (failed["ExportArn"], "FAILED")


def test_a_token_ends_after_eight_hours(cloud: Cloud, table: str) -> None:
    first = cloud.start_full(table, ClientToken="one")
    cloud.control.advance(EIGHT_HOURS.total_seconds() - 1)
    assert cloud.start_full(table, ClientToken="one")["ExportArn"] == first["ExportArn"]
    cloud.control.advance(1)
    assert cloud.start_full(table, ClientToken="one")["ExportArn"] != first["ExportArn"]


def test_a_refused_request_reserves_no_token(cloud: Cloud, table: str) -> None:
    with pytest.raises(ClientError, match="less than 15 minutes"):
        cloud.start_incremental(table, NOON, NOON + QUARTER / 2, ClientToken="one")
    assert cloud.start_incremental(table, NOON, NOON + QUARTER, ClientToken="one")["ExportStatus"] == "IN_PROGRESS"


def test_a_replay_looks_for_the_table_first(cloud: Cloud, table: str) -> None:
    cloud.start_full(table, ClientToken="one")
    cloud.dynamodb.delete_table(TableName="measurement")
    with pytest.raises(ClientError, match="TableNotFoundException"):
        cloud.start_full(table, ClientToken="one")
