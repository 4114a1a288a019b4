"""How long exports take and how many may be asked for: as on AWS, where a setting says so."""

from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from ddb_lake_tests.cloud import BUCKET, NOON, QUARTER, REGION, Cloud, error_of

THROTTLED = ("ThrottlingException", "Rate exceeded")


@pytest.fixture
def impatient(cloud: Cloud) -> Any:
    """A DynamoDB client that tries everything once."""
    return boto3.client(
        "dynamodb",
        region_name=REGION,
        endpoint_url=cloud.url,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )


def codes(call: Any, times: int) -> list[str]:
    """Return the error code of each call, empty where it was served."""
    found: list[str] = []
    for _ in range(times):
        try:
            call()
            found.append("")
        except ClientError as error:
            found.append(error_of(error)[0])
    return found


def test_calls_are_not_throttled_unless_wanted(cloud: Cloud, table: str, impatient: Any) -> None:
    export = cloud.start_full(table)
    assert set(codes(lambda: impatient.describe_export(ExportArn=export["ExportArn"]), 40)) == {""}


def test_rapid_exports_are_throttled_and_refused_ones_count(cloud: Cloud, table: str, impatient: Any) -> None:
    cloud.control.settings(throttling="aws")
    refused = codes(lambda: impatient.export_table_to_point_in_time(TableArn=f"{table}s", S3Bucket=BUCKET), 19)
    assert set(refused) == {"TableNotFoundException"}
    served = codes(lambda: impatient.export_table_to_point_in_time(TableArn=table, S3Bucket=BUCKET), 4)
    assert served == ["", *["ThrottlingException"] * 3]
    cloud.control.advance(1.5)
    served = codes(lambda: impatient.export_table_to_point_in_time(TableArn=table, S3Bucket=BUCKET), 2)
    assert served == ["", "ThrottlingException"]
    assert len(impatient.list_exports()["ExportSummaries"]) == 2


def test_a_burst_of_descriptions_is_throttled(cloud: Cloud, table: str, impatient: Any) -> None:
    cloud.control.settings(throttling="aws")
    export = cloud.start_full(table)
    served = codes(lambda: impatient.describe_export(ExportArn=export["ExportArn"]), 18)
    assert served == [*[""] * 13, *["ThrottlingException"] * 5]
    with pytest.raises(ClientError) as refusal:
        impatient.describe_export(ExportArn=export["ExportArn"])
    assert error_of(refusal.value) == THROTTLED
    response: Any = refusal.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400


@pytest.mark.parametrize(
    ("items", "parameters", "seconds", "status"),
    [
        (0, {}, 153, "COMPLETED"),
        (2, {}, 446, "COMPLETED"),
        (0, {"incremental": True}, 126, "COMPLETED"),
        (2, {"incremental": True}, 306, "COMPLETED"),
        (2, {"S3Bucket": "no-such-bucket"}, 16, "FAILED"),
    ],
)
def test_an_export_can_take_as_long_as_on_aws(
    cloud: Cloud, table: str, items: int, parameters: dict[str, Any], seconds: int, status: str
) -> None:
    cloud.control.settings(delay_seconds="aws")
    for number in range(items):
        cloud.put(str(number))
    cloud.control.clock("frozen", NOON + QUARTER)
    if parameters.pop("incremental", False):
        export = cloud.start_incremental(table, NOON, NOON + QUARTER, **parameters)
    else:
        export = cloud.start_full(table, **parameters)
    cloud.control.advance(seconds - 0.001)
    assert cloud.describe(export)["ExportStatus"] == "IN_PROGRESS"
    cloud.control.advance(0.001)
    described = cloud.describe(export)
    assert (described["ExportStatus"], described["EndTime"]) == (status, NOON + QUARTER + timedelta(seconds=seconds))


def test_no_more_than_300_exports_of_a_kind_run_at_once(cloud: Cloud, table: str) -> None:
    cloud.control.clock("frozen", NOON + QUARTER)
    cloud.control.settings(delay_seconds=60)
    for _ in range(300):
        cloud.start_full(table, S3Bucket="no-such-bucket")
    with pytest.raises(ClientError, match="LimitExceededException"):
        cloud.start_full(table)
    with pytest.raises(ClientError, match="less than 15 minutes"):
        cloud.start_incremental(table, NOON, NOON + QUARTER / 2)
    assert cloud.start_incremental(table, NOON, NOON + QUARTER)["ExportStatus"] == "IN_PROGRESS"
    cloud.control.advance(60)
    assert cloud.start_full(table)["ExportStatus"] == "IN_PROGRESS"
