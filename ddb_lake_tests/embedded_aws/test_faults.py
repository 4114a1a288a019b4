"""Faults on demand: clients retry what can be retried and double nothing, and notice what is damaged."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, FlexibleChecksumError, HTTPClientError, ResponseStreamingError

from ddb_lake.embedded_aws import ControlError
from ddb_lake.exports.download import download
from ddb_lake.exports.errors import DataFileDamaged
from ddb_lake.exports.manifest import read_manifest
from ddb_lake_tests.cloud import BUCKET, NOON, REGION, TABLE, Cloud, error_of

COUNT: Any = {
    "TableName": TABLE,
    "Key": {"id": {"S": "counter"}},
    "UpdateExpression": "ADD #v :one",
    "ExpressionAttributeNames": {"#v": "value"},
    "ExpressionAttributeValues": {":one": {"N": "1"}},
}


def client(cloud: Cloud, service: Any, attempts: int) -> Any:
    """A client that makes so many attempts."""
    session = boto3.Session(region_name=REGION, aws_access_key_id="key", aws_secret_access_key="secret")
    config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=20)
    return session.client(service, endpoint_url=cloud.url, config=config)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 tries again at once."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


THROTTLE = {"kind": "throttle"}
FIVE_HUNDRED = {"kind": "error", "status": 500}
RESET = {"kind": "reset"}


@pytest.mark.parametrize("fault", [THROTTLE, FIVE_HUNDRED, RESET], ids=lambda fault: fault["kind"])
def test_dynamodb_clients_retry_and_nothing_is_doubled(cloud: Cloud, table: str, fault: dict[str, Any]) -> None:
    cloud.control.add_fault("dynamodb", fault, operation="UpdateItem", resource=TABLE, times=2)
    client(cloud, "dynamodb", 3).update_item(**COUNT)
    assert cloud.scan() == [{"id": {"S": "counter"}, "value": {"N": "1"}}]
    (rule,) = cloud.control.faults()
    assert (rule["times"], rule["applied"]) == (0, 2)


@pytest.mark.parametrize("fault", [THROTTLE, FIVE_HUNDRED, RESET], ids=lambda fault: fault["kind"])
def test_s3_clients_retry(cloud: Cloud, fault: dict[str, Any]) -> None:
    cloud.control.add_fault("s3", fault, operation="PutObject", resource=f"{BUCKET}/a*", times=2)
    client(cloud, "s3", 3).put_object(Bucket=BUCKET, Key="a b", Body=b"content")
    assert cloud.read(BUCKET, "a b") == b"content"


@pytest.mark.parametrize(
    ("service", "fault", "call", "expected"),
    [
        (
            "dynamodb",
            THROTTLE,
            lambda made: made.get_item(TableName=TABLE, Key=COUNT["Key"]),
            ("ProvisionedThroughputExceededException", 400),
        ),
        ("dynamodb", THROTTLE, lambda made: made.describe_table(TableName=TABLE), ("ThrottlingException", 400)),
        ("s3", THROTTLE, lambda made: made.get_object(Bucket=BUCKET, Key="a"), ("SlowDown", 503)),
        ("s3", FIVE_HUNDRED, lambda made: made.get_object(Bucket=BUCKET, Key="a"), ("InternalError", 500)),
        (
            "s3",
            {"kind": "error", "status": 403, "code": "AccessDenied", "message": "Access Denied"},
            lambda made: made.list_objects_v2(Bucket=BUCKET),
            ("AccessDenied", 403),
        ),
    ],
)
def test_errors_are_in_the_service_s_own_words(
    cloud: Cloud, table: str, service: str, fault: dict[str, Any], call: Callable[[Any], Any], expected: Any
) -> None:
    cloud.control.add_fault(service, fault)
    with pytest.raises(ClientError) as refusal:
        call(client(cloud, service, 1))
    status = refusal.value.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    assert (error_of(refusal.value)[0], status) == expected


def test_a_lost_answer_of_an_export_begins_no_second_one(cloud: Cloud, table: str) -> None:
    cloud.control.add_fault("dynamodb", {"kind": "reset", "moment": "after"}, operation="ExportTable*")
    started = client(cloud, "dynamodb", 3).export_table_to_point_in_time(TableArn=table, S3Bucket=BUCKET)
    listed = cloud.dynamodb.list_exports(TableArn=table)["ExportSummaries"]
    assert [each.get("ExportArn") for each in listed] == [started["ExportDescription"]["ExportArn"]]


def test_a_lost_answer_of_a_write_is_a_write(cloud: Cloud, table: str) -> None:
    cloud.control.add_fault("dynamodb", {"kind": "reset", "moment": "after"}, operation="UpdateItem")
    with pytest.raises(HTTPClientError):
        client(cloud, "dynamodb", 1).update_item(**COUNT)
    assert cloud.scan() == [{"id": {"S": "counter"}, "value": {"N": "1"}}]


def test_a_delay_comes_before_the_request_is_served(cloud: Cloud, table: str) -> None:
    cloud.control.add_fault("dynamodb", {"kind": "delay", "seconds": 0.05}, operation="PutItem")
    cloud.put("a")
    assert [item["id"]["S"] for item in cloud.scan()] == ["a"]
    assert cloud.control.faults()[0]["applied"] == 1


def test_a_body_that_is_cut_short_is_noticed(cloud: Cloud) -> None:
    cloud.s3.put_object(Bucket=BUCKET, Key="a", Body=b"0123456789")
    cloud.control.add_fault("s3", {"kind": "cut", "bytes": 4}, operation="GetObject")
    with pytest.raises(ResponseStreamingError):
        cloud.read(BUCKET, "a")
    assert cloud.read(BUCKET, "a") == b"0123456789"


def test_bytes_are_flipped_in_the_middle(cloud: Cloud) -> None:
    cloud.s3.put_object(Bucket=BUCKET, Key="a", Body=b"0123456789", ChecksumAlgorithm="CRC32")
    cloud.control.add_fault("s3", {"kind": "flip", "bytes": 2}, operation="GetObject", times=2)
    url = cloud.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "a"})
    with urlopen(url) as response:
        assert response.read() == b"0123\xcb\xca6789"
    with pytest.raises(FlexibleChecksumError):
        cloud.read(BUCKET, "a")


def export_file(cloud: Cloud, table: str) -> Any:
    """The manifest of a full export, and its first file that holds something."""
    cloud.put("a", 1)
    cloud.control.advance(1)
    export = cloud.describe(cloud.start_full(table))
    manifest = read_manifest(cloud.s3, BUCKET, export["ExportManifest"])
    return manifest, next(file for file in manifest.files if file.item_count)


@pytest.mark.parametrize("fault", [{"kind": "cut", "bytes": 30}, {"kind": "flip", "bytes": 1}, RESET])
def test_the_export_client_reads_a_damaged_body_again(
    cloud: Cloud, table: str, tmp_path: Path, fault: dict[str, Any]
) -> None:
    manifest, file = export_file(cloud, table)
    cloud.control.add_fault("s3", fault, operation="GetObject", resource=f"{BUCKET}/*.json.gz", times=2)
    copy = download(cloud.s3, file, manifest, tmp_path).read_bytes()
    assert base64.b64encode(hashlib.md5(copy).digest()).decode() == file.md5
    assert cloud.control.faults()[0]["applied"] == 2


def test_the_export_client_gives_up_on_a_file_that_stays_damaged(cloud: Cloud, table: str, tmp_path: Path) -> None:
    manifest, file = export_file(cloud, table)
    cloud.control.add_fault("s3", {"kind": "flip", "bytes": 1}, resource="*.json.gz", times=None)
    with pytest.raises(DataFileDamaged, match="read 3 times"):
        download(cloud.s3, file, manifest, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_rule_that_fits_comes_first_and_rules_can_be_removed(cloud: Cloud, table: str) -> None:
    cloud.control.add_fault("dynamodb", {"kind": "error", "code": "First", "status": 400})
    cloud.control.add_fault("dynamodb", {"kind": "error", "code": "Second", "status": 400}, times=None)
    codes: list[str] = []
    for _ in range(3):
        with pytest.raises(ClientError) as refusal:
            cloud.dynamodb.list_tables()
        codes.append(error_of(refusal.value)[0])
    assert codes == ["First", "Second", "Second"]
    assert [rule["applied"] for rule in cloud.control.faults()] == [1, 2]
    assert cloud.control.clear_faults() == 2
    assert cloud.dynamodb.list_tables()["TableNames"] == [TABLE]
    assert cloud.control.faults() == []


@pytest.mark.parametrize(
    ("service", "fault", "options", "reason"),
    [
        ("sqs", THROTTLE, {}, "dynamodb and s3"),
        ("s3", {"kind": "explosion"}, {}, "fault must be one of"),
        ("s3", {"kind": "delay", "seconds": 61}, {}, "fault must be one of"),
        ("s3", {"kind": "throttle", "status": 500}, {}, "fault must be one of"),
        ("s3", {"kind": "error", "status": 200}, {}, "fault must be one of"),
        ("s3", {"kind": "cut"}, {}, "fault must be one of"),
        ("s3", {"kind": "flip", "bytes": 0}, {}, "fault must be one of"),
        ("s3", {"kind": "reset", "moment": "during"}, {}, "fault must be one of"),
        ("s3", THROTTLE, {"times": 0}, "from 1, or null"),
        ("s3", THROTTLE, {"operation": ""}, "wildcards"),
    ],
)
def test_a_bad_rule_is_explained_and_not_added(
    cloud: Cloud, service: str, fault: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ControlError, match=reason):
        cloud.control.add_fault(service, fault, **options)
    assert cloud.control.faults() == []


def test_the_clock_jumps_and_recovery_goes_off_and_on(cloud: Cloud, table: str) -> None:
    assert cloud.recovery()["EarliestRestorableDateTime"] == NOON
    later = cloud.control.advance(86_400)
    cloud.switch_recovery(on=False)
    cloud.switch_recovery(on=True)
    assert cloud.recovery()["EarliestRestorableDateTime"] == later
