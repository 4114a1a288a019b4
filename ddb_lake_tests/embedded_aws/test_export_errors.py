"""Every refusal of an export has AWS's code and text, and leaves no export behind."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ddb_lake_tests.cloud import BUCKET, NOON, QUARTER, REGION, Cloud, error_of

ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/measurement"
EXPORT = f"{ARN}/export/01716790307109-5f9d6aaa"
NOW = NOON + timedelta(days=2)
FROM = NOW - QUARTER


def window(start: datetime | None = FROM, end: datetime | None = NOW, **more: Any) -> dict[str, Any]:
    """The parameters of an incremental export."""
    times = {"ExportFromTime": start, "ExportToTime": end}
    specification = {name: time for name, time in times.items() if time is not None} | more
    return {"ExportType": "INCREMENTAL_EXPORT", "IncrementalExportSpecification": specification}


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    # the table
    "a bare name": (
        {"TableArn": "measurement"},
        "ValidationException",
        "One or more parameter values were invalid: tableArn is not a valid ARN",
    ),
    "an index": (
        {"TableArn": f"{ARN}/index/by-value"},
        "ValidationException",
        "Invalid Request: Table ARN is invalid.",
    ),
    "no such table": ({"TableArn": f"{ARN}s"}, "TableNotFoundException", f"Table not found: {ARN}s"),
    "another account": (
        {"TableArn": ARN.replace("123456789012", "999999999999")},
        "AccessDeniedException",
        "Access is denied",
    ),
    # constraints of the service's model
    "an unknown format": (
        {"ExportFormat": "CSV"},
        "ValidationException",
        "1 validation error detected: Value 'CSV' at 'exportFormat' failed to satisfy constraint: "
        "Member must satisfy enum value set: [ION, DYNAMODB_JSON]",
    ),
    "an unknown type": ({"ExportType": "SOME"}, "ValidationException", "Value 'SOME' at 'exportType'"),
    "a malformed bucket": ({"S3Bucket": "-lake"}, "ValidationException", "Value '-lake' at 's3Bucket'"),
    "a malformed owner": ({"S3BucketOwner": "me"}, "ValidationException", "Value 'me' at 's3BucketOwner'"),
    "a malformed token": ({"ClientToken": "a$b"}, "ValidationException", "Value 'a$b' at 'clientToken'"),
    "two faults at once": (
        {"ExportFormat": "CSV", "S3Bucket": "-"},
        "ValidationException",
        "2 validation errors detected: ",
    ),
    "a view that only the manual knows": (
        window(ExportViewType="NEW_IMAGES"),
        "ValidationException",
        "Value 'NEW_IMAGES' at 'incrementalExportSpecification.exportViewType'",
    ),
    # couplings
    "a window without a type": (
        {"IncrementalExportSpecification": {"ExportFromTime": FROM}},
        "ValidationException",
        "Export Type expected to be Incremental Export when incremental export specification is provided",
    ),
    "a window with a full export": (
        window() | {"ExportType": "FULL_EXPORT"},
        "ValidationException",
        "When Export Type is Full Export , Incremental Export Specification should not be provided",
    ),
    "an incremental export without a window": (
        {"ExportType": "INCREMENTAL_EXPORT"},
        "ValidationException",
        "Incremental Export Specification expected when export type is set as Incremental Export",
    ),
    "a window without a start": (
        window(start=None),
        "ValidationException",
        "Invalid Request: ExportFromTime must be provided in IncrementalExportSpecification",
    ),
    "a KMS key that is none": (
        {"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": "not a key"},
        "ValidationException",
        "Invalid Request: 1 validation error detected: Value 'not a key' at 's3SseKmsKeyId' failed to satisfy",
    ),
    "an empty filter": (
        {"FilterSpecification": {}},
        "ValidationException",
        "Invalid Request: Invalid FilterSpecification: The specification can not be empty",
    ),
    "a KMS key without KMS": (
        {"S3SseKmsKeyId": "key"},
        "ValidationException",
        "Invalid Request: KMS Key Id is not supported for this encryption type",
    ),
    # times of a full export
    "the future": (
        {"ExportTime": NOW + timedelta(seconds=5)},
        "InvalidExportTimeException",
        "Export Time is invalid",
    ),
    "before recovery": (
        {"ExportTime": NOON - timedelta(seconds=1)},
        "InvalidExportTimeException",
        "Export Time is invalid",
    ),
    "later than can be restored": (
        {"ExportTime": NOW - timedelta(seconds=299)},
        "InvalidExportTimeException",
        "Point in Time Recovery is not available for specified export time",
    ),
    # windows
    "before the table's creation": (
        window(start=NOON - timedelta(seconds=1), end=NOON),
        "InvalidExportTimeException",
        "Incremental export period from time cannot be less than the table creation time : 2026-11-24T11:59:59Z",
    ),
    "an end in the future": (
        window(end=NOW + timedelta(seconds=1)),
        "InvalidExportTimeException",
        "Incremental export period to time cannot be greater than the current time : 2026-11-26T12:00:01Z",
    ),
    "an end before the start": (
        window(start=NOW - timedelta(hours=1), end=NOW - timedelta(hours=2)),
        "InvalidExportTimeException",
        "Incremental export period from time should not be greater or equal to incremental export period to time",
    ),
    "a short window": (
        window(start=FROM + timedelta(seconds=1)),
        "InvalidExportTimeException",
        "Difference between export period from time and export period to time is less than 15 minutes",
    ),
    "a long window": (
        window(start=NOW - timedelta(hours=24, seconds=1)),
        "InvalidExportTimeException",
        "Difference between export period from time and export period to time is greater than 24 hours",
    ),
    # what AWS has and the embedded AWS doesn't
    "ION": ({"ExportFormat": "ION"}, "ValidationException", "The embedded AWS doesn't have the export format ION"),
}


@pytest.mark.parametrize(("parameters", "code", "text"), CASES.values(), ids=CASES.keys())
def test_a_refused_export(cloud: Cloud, table: str, parameters: dict[str, Any], code: str, text: str) -> None:
    cloud.control.clock("frozen", NOW)
    request: dict[str, Any] = {"TableArn": table, "S3Bucket": BUCKET, **parameters}
    with pytest.raises(ClientError) as refusal:
        cloud.dynamodb.export_table_to_point_in_time(**request)
    assert error_of(refusal.value)[0] == code
    assert text in error_of(refusal.value)[1]
    assert cloud.dynamodb.list_exports()["ExportSummaries"] == []


@pytest.mark.parametrize(
    ("parameters", "code", "text"),
    [
        ({}, "PointInTimeRecoveryUnavailableException", "not enabled for table 'measurement'"),
        (window(), "PointInTimeRecoveryUnavailableException", "not enabled for table 'measurement'"),
        # AWS looks at the table's creation first
        (window(start=NOON - QUARTER, end=NOON), "InvalidExportTimeException", "table creation time"),
    ],
)
def test_without_recovery_there_is_no_export(
    cloud: Cloud, table: str, parameters: dict[str, Any], code: str, text: str
) -> None:
    cloud.switch_recovery(on=False)
    cloud.control.clock("frozen", NOW)
    with pytest.raises(ClientError) as refusal:
        cloud.dynamodb.export_table_to_point_in_time(TableArn=table, S3Bucket="no-such-bucket", **parameters)
    assert error_of(refusal.value)[0] == code
    assert text in error_of(refusal.value)[1]


@pytest.mark.parametrize(
    ("parameters", "code", "text"),
    [
        ({"S3Bucket": "no-such-bucket"}, "S3NoSuchBucket", "The specified bucket does not exist"),
        ({"S3BucketOwner": "999999999999"}, "S3AccessDenied", "Access Denied"),
        ({"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": "mine"}, "KmsNotFoundException", "Key 'mine' does not exist"),
        (
            {"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": "arn:aws:kms:us-west-2:123456789012:key/1"},
            "KmsNotFoundException",
            "Invalid arn us-west-2",
        ),
    ],
)
def test_what_is_wrong_with_the_bucket_shows_only_later(
    cloud: Cloud, table: str, parameters: dict[str, Any], code: str, text: str
) -> None:
    cloud.control.settings(delay_seconds=60)
    export = cloud.start_full(table, **parameters)
    assert export["ExportStatus"] == "IN_PROGRESS"
    assert "FailureCode" not in cloud.describe(export)
    cloud.control.advance(60)
    failed = cloud.describe(export)
    assert (failed["ExportStatus"], failed["FailureCode"]) == ("FAILED", code)
    assert text in failed["FailureMessage"]
    assert failed["EndTime"] == NOON + timedelta(seconds=60)
    assert "ExportManifest" not in failed


@pytest.mark.parametrize("parameters", [{}, {"S3SseKmsKeyId": "alias/aws/s3"}])
def test_the_key_of_s3_itself_is_there(cloud: Cloud, table: str, parameters: Any) -> None:
    described = cloud.describe(cloud.start_full(table, S3SseAlgorithm="KMS", **parameters))
    assert described["ExportStatus"] == "COMPLETED"
    assert described.get("S3SseKmsKeyId") == parameters.get("S3SseKmsKeyId")


def test_a_bucket_whose_policy_denies_makes_the_export_fail(cloud: Cloud, table: str) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    cloud.s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    export = cloud.start_full(table)
    assert export["ExportStatus"] == "IN_PROGRESS"
    assert cloud.describe(export)["FailureCode"] == "S3AccessDenied"
    cloud.s3.delete_bucket_policy(Bucket=BUCKET)
    cloud.control.settings(delay_seconds=60)
    export = cloud.start_full(table)
    cloud.s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))  # while it runs
    cloud.control.advance(60)
    assert cloud.describe(export)["FailureCode"] == "S3AccessDenied"


def test_a_bucket_that_vanishes_makes_the_export_fail(cloud: Cloud, table: str) -> None:
    cloud.control.settings(delay_seconds=60)
    export = cloud.start_full(table)
    for key in cloud.object_keys():
        cloud.s3.delete_object(Bucket=BUCKET, Key=key)
    cloud.s3.delete_bucket(Bucket=BUCKET)
    cloud.control.advance(60)
    assert cloud.describe(export)["FailureCode"] == "S3NoSuchBucket"


@pytest.mark.parametrize(
    ("arn", "code", "text"),
    [
        ("short", "ValidationException", "length greater than or equal to 37"),
        (ARN, "ValidationException", "Invalid Export ARN"),
        ("x" * 40, "ValidationException", "Invalid Export ARN"),
        (EXPORT, "ExportNotFoundException", f"Export not found: Export not found: {EXPORT}"),
        (EXPORT.replace("us-east-1", "us-west-2"), "ExportNotFoundException", "Export not found: Invalid export arn"),
        (EXPORT.replace("123456789012", "999999999999"), "AccessDeniedException", "Access is denied"),
    ],
)
def test_describing_what_is_no_export(cloud: Cloud, arn: str, code: str, text: str) -> None:
    with pytest.raises(ClientError) as refusal:
        cloud.dynamodb.describe_export(ExportArn=arn)
    assert error_of(refusal.value)[0] == code
    assert text in error_of(refusal.value)[1]


def test_times_have_milliseconds_and_no_more(cloud: Cloud, table: str) -> None:
    cloud.control.clock("frozen", datetime(2026, 11, 24, 13, 0, 0, 1_999, tzinfo=UTC))
    export = cloud.start_full(table)
    assert export["ExportTime"] == export["StartTime"] == datetime(2026, 11, 24, 13, 0, 0, 1_000, tzinfo=UTC)
    assert REGION in export["ExportArn"]
