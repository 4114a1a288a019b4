"""A table given by its ARN is that table and no other: each request names it so, in whatever partition it is."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.httpsession import URLLib3Session

from ddb_lake.config import Settings
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.exports import Destination, ExportClient, ExportStatus, IncrementalExport, errors
from ddb_lake.iam import render_policy
from ddb_lake.resources import EMBEDDED_KEY, DynamoDBExports
from ddb_lake.windows import Window
from ddb_lake_tests.cloud import BUCKET, NOON, QUARTER, TABLE, Cloud
from ddb_lake_tests.lakes import advance_to, lake_at, quarter

ARN = f"arn:aws:dynamodb:us-east-1:123456789012:table/{TABLE}"
FOREIGN = ARN.replace("123456789012", "999999999999")

Requests = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11), files=1) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        cloud.put("old", 1)
        yield cloud


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """What the lake's own clients send to DynamoDB: operation and JSON."""
    sent: Requests = []
    send = URLLib3Session.send

    def record(self: URLLib3Session, request: Any) -> Any:
        target = request.headers.get("X-Amz-Target", b"")
        target = target.decode() if isinstance(target, bytes) else target
        if target.startswith("DynamoDB_") and f"Credential={EMBEDDED_KEY}/" in str(request.headers["Authorization"]):
            sent.append((target.partition(".")[2], json.loads(request.body)))
        return send(self, request)

    monkeypatch.setattr(URLLib3Session, "send", record)
    return sent


def test_every_request_about_a_table_given_by_arn_names_the_arn(cloud, tmp_path, requests):
    with lake_at(cloud, tmp_path, table=ARN, recovery="enable") as lake:
        advance_to(cloud, 0, 1)
        cloud.put("new", 2)
        advance_to(cloud, 2)
        lake.bootstrap()
        lake.materialise(quarter(0))
        lake.tick()
        cloud.switch_recovery(on=False)
        lake.pipeline.prepare_recovery()
        assert lake.parity().equal
        assert cloud.recovery()["PointInTimeRecoveryStatus"] == "ENABLED"
    assert {operation for operation, _ in requests} == {
        "DescribeTable",
        "DescribeContinuousBackups",
        "UpdateContinuousBackups",
        "ExportTableToPointInTime",
        "DescribeExport",
    }
    for _, parameters in requests:
        (named,) = [parameters[name] for name in ("TableName", "TableArn", "ExportArn") if name in parameters]
        assert named == ARN or named.startswith(f"{ARN}/export/")


def test_the_table_of_another_account_is_refused_before_anything_is_asked(cloud, tmp_path, requests):
    cloud.switch_recovery(on=False)
    with (
        lake_at(cloud, tmp_path, table=FOREIGN, recovery="enable") as lake,
        pytest.raises(errors.ForeignTable, match="account 999999999999, but the credentials are of 123456789012"),
    ):
        lake.pipeline.prepare_recovery()
    assert requests == []
    assert cloud.recovery()["PointInTimeRecoveryStatus"] == "DISABLED"


def test_where_the_credentials_account_is_not_known_aws_refuses_and_the_remedy_is_the_same(cloud):
    client = ExportClient(cloud.dynamodb, cloud.s3, Destination(BUCKET))
    with pytest.raises(errors.AccessDenied, match="use credentials of the account that owns the table"):
        client.describe_table(FOREIGN)


def test_an_answer_about_another_table_is_refused(cloud, monkeypatch):
    client = ExportClient(cloud.dynamodb, cloud.s3, Destination(BUCKET))
    asked = cloud.dynamodb.describe_table
    monkeypatch.setattr(cloud.dynamodb, "describe_table", lambda TableName: asked(TableName=TABLE))  # noqa: N803
    with pytest.raises(errors.SourceTableNotFound, match=f"the answer is about {ARN}"):
        client.describe_table(FOREIGN)


@pytest.mark.parametrize(
    ("region", "partition"),
    [("eusc-de-east-1", "aws-eusc"), ("cn-north-1", "aws-cn"), ("us-isof-east-1", "aws-iso-f")],
)
def test_a_table_of_another_partition_is_exported_under_the_policy_that_is_rendered_for_it(cloud, region, partition):
    admin = boto3.Session("admin", "secret", region_name=region)
    created: Any = admin.client("dynamodb", endpoint_url=cloud.url).create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    arn = created["TableDescription"]["TableArn"]
    assert arn == f"arn:{partition}:dynamodb:{region}:123456789012:table/{TABLE}"
    settings = Settings.model_validate(
        {
            "aws": {"mode": "embedded", "endpoint": cloud.url},
            "lake": "lake",
            "tables": [{"table": arn, "region": region, "start": NOON, "bucket": BUCKET, "recovery": "enable"}],
        }
    )
    cloud.control.set_policy(render_policy(settings))
    client = DynamoDBExports.of(settings.aws).client(settings.tables[0])
    table = client.describe_table(arn)
    client.enable_recovery(table)
    start = cloud.control.now() + timedelta(seconds=1)
    cloud.control.advance(timedelta(hours=1).total_seconds())
    request = IncrementalExport(table, Window(start, start + QUARTER))
    export = client.describe(client.ensure(request).arn)
    assert export.status is ExportStatus.COMPLETED
    assert client.read_manifest(request, export).table_arn == arn
