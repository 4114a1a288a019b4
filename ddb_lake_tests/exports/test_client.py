"""The export client against the embedded AWS: an export is found or started, and never paid for twice."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from ddb_lake.exports import (
    Destination,
    ExportClient,
    ExportKind,
    ExportStatus,
    FullExport,
    ImageView,
    IncrementalExport,
    errors,
    export_prefix,
)
from ddb_lake.keys import KeyAttribute
from ddb_lake.windows import Window
from ddb_lake_tests.cloud import BUCKET, NOON, TABLE, Cloud

FIRST = Window(NOON, NOON + timedelta(minutes=15))
SECOND = Window(FIRST.end, FIRST.end + timedelta(minutes=15))


def started(cloud: Cloud) -> list[str]:
    """The ARNs of all exports that were ever begun."""
    listed: Any = cloud.dynamodb.list_exports(MaxResults=25)
    return [each["ExportArn"] for each in listed["ExportSummaries"]]


def test_a_table_is_described_by_name_and_by_arn(client, table):
    assert client.describe_table(table.arn) == table
    assert table.name == TABLE
    assert table.key == (KeyAttribute("id", "S", "HASH"),)
    assert table.created_at.utcoffset() == timedelta(0)


def test_a_completed_export_tells_what_it_holds(cloud, client, table):
    cloud.put("a")
    request = FullExport(table, NOON + timedelta(minutes=30))
    export = client.describe(client.start(request).arn)
    assert export.status is ExportStatus.COMPLETED
    assert (export.kind, export.time, export.window) == (ExportKind.FULL, request.time, None)
    assert (export.bucket, export.table_id) == (BUCKET, table.table_id)
    assert export.item_count == 0  # the item was put after the export's time
    assert export.duration is not None


def test_an_incremental_export_tells_its_window(client, table):
    export = client.describe(client.start(IncrementalExport(table, FIRST)).arn)
    assert (export.kind, export.time, export.window) == (ExportKind.INCREMENTAL, None, FIRST)


@pytest.mark.parametrize("request_of", [lambda t: FullExport(t, NOON), lambda t: IncrementalExport(t, FIRST)])
def test_ensuring_an_export_twice_begins_one(cloud, client, table, request_of):
    cloud.control.settings(delay_seconds=300)
    request = request_of(table)
    first = client.ensure(request)
    assert first.status is ExportStatus.IN_PROGRESS
    assert client.ensure(request).arn == first.arn
    cloud.control.advance(301)
    assert client.ensure(request).status is ExportStatus.COMPLETED
    assert started(cloud) == [first.arn]


def test_an_export_is_found_by_its_prefix_long_after_its_token_has_expired(cloud, client, table):
    first = client.ensure(IncrementalExport(table, FIRST))
    cloud.control.advance(timedelta(days=3).total_seconds())
    assert client.ensure(IncrementalExport(table, FIRST)).arn == first.arn
    assert started(cloud) == [first.arn]


def test_an_export_that_has_written_nothing_yet_is_found_by_its_token(cloud, client, table):
    cloud.control.settings(delay_seconds=300)
    request = IncrementalExport(table, FIRST)
    first = client.ensure(request)
    for key in cloud.object_keys():  # as if its first object were still on the way
        cloud.s3.delete_object(Bucket=BUCKET, Key=key)
    assert client.find(request) == ()
    assert client.ensure(request).arn == first.arn


def test_each_window_has_an_export_of_its_own(cloud, client, table):
    first = client.ensure(IncrementalExport(table, FIRST))
    second = client.ensure(IncrementalExport(table, SECOND))
    assert client.find(IncrementalExport(table, FIRST)) == (client.describe(first.arn),)
    assert client.find(IncrementalExport(table, SECOND)) == (client.describe(second.arn),)
    assert client.find(IncrementalExport(table, Window(FIRST.start, SECOND.end))) == ()


def test_the_windows_that_touch_a_span_are_told(client, table):
    day = Window(NOON, NOON + timedelta(minutes=45))
    for window in (FIRST, SECOND, day):
        client.ensure(IncrementalExport(table, window))
    assert client.find_windows(table, FIRST) == (FIRST, day)
    assert client.find_windows(table, Window(SECOND.end, day.end)) == (day,)
    assert client.find_windows(table, Window(day.end, day.end + timedelta(hours=1))) == ()


def test_after_a_failed_export_the_next_attempt_begins(cloud, client, table):
    request = IncrementalExport(table, FIRST)
    cloud.control.settings(next_export={"failure_code": "S3AccessDenied", "failure_message": "Access Denied"})
    failed = client.describe(client.ensure(request).arn)
    assert failed.status is ExportStatus.FAILED
    with pytest.raises(errors.ExportFailed, match=r"has FAILED: S3AccessDenied: Access Denied\. What to do: allow"):
        client.read_manifest(request, failed)
    second = client.describe(client.ensure(request).arn)
    assert second.status is ExportStatus.COMPLETED
    assert second.arn != failed.arn
    assert client.ensure(request).arn == second.arn


def test_a_missing_bucket_fails_the_export_and_a_new_attempt_succeeds_once_it_is_there(cloud, table):
    client = ExportClient(cloud.dynamodb, cloud.s3, Destination("elsewhere"))
    request = IncrementalExport(table, FIRST)
    failed = client.describe(client.ensure(request).arn)
    with pytest.raises(errors.ExportFailed, match=r"S3NoSuchBucket: .* create the bucket"):
        client.read_manifest(request, failed)
    cloud.s3.create_bucket(Bucket="elsewhere")
    mended = client.describe(client.ensure(request).arn)
    assert mended.status is ExportStatus.COMPLETED
    assert client.read_manifest(request, mended).window == FIRST


def test_an_export_whose_files_were_removed_is_made_again(cloud, client, table):
    request = IncrementalExport(table, FIRST)
    first = client.ensure(request)
    for key in cloud.object_keys():
        cloud.s3.delete_object(Bucket=BUCKET, Key=key)
    again = client.describe(client.ensure(request).arn)
    assert again.arn != first.arn
    assert client.read_manifest(request, again).item_count == 0


def test_an_export_that_dynamodb_has_forgotten_is_known_by_its_manifest(cloud, client, table):
    request = IncrementalExport(table, FIRST)
    known = client.describe(client.ensure(request).arn)
    prefix = f"{export_prefix(request, Destination(BUCKET, 'exports'))}/AWSDynamoDB"
    forgotten_id = "01700000000000-0badcafe"
    for key in cloud.object_keys():
        copy = key.replace(known.export_id, forgotten_id)
        body = cloud.read(BUCKET, key).replace(known.export_id.encode(), forgotten_id.encode())
        cloud.s3.delete_object(Bucket=BUCKET, Key=key)
        if not key.endswith(".md5"):
            cloud.s3.put_object(Bucket=BUCKET, Key=copy, Body=body)
    (found,) = client.find(request)
    assert found.export_id == forgotten_id
    assert found.manifest_key == f"{prefix}/{forgotten_id}/manifest-summary.json"
    assert client.read_manifest(request, found).window == FIRST


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        ({"FilterSpecification": {"FilterExpression": "a = :b"}}, "is filtered, so it does not hold everything"),
        ({"ExportFormat": "ION"}, "is in the format ION; ddb_lake reads DYNAMODB_JSON only"),
    ],
)
def test_an_export_of_a_part_or_in_another_format_does_not_answer_a_request(cloud, client, table, described, reason):
    request = IncrementalExport(table, FIRST)
    arn = client.ensure(request).arn
    answer = {"ExportDescription": {**cloud.describe({"ExportArn": arn}), **described}}
    with Stubber(cloud.dynamodb) as answers:
        answers.add_response("describe_export", answer)
        assert client.find(request) == ()
    (passed_over,) = client.passed_over
    assert passed_over.endswith(f"{export_id(arn)}/ {reason}")


def export_id(arn: str) -> str:
    return arn.rpartition("/")[2]


def test_a_table_re_created_under_the_same_name_finds_none_of_the_old_ones_exports(cloud, client, table):
    client.ensure(IncrementalExport(table, FIRST))
    cloud.dynamodb.delete_table(TableName=TABLE)
    cloud.create_table()
    again = client.describe_table(TABLE)
    assert again.table_id != table.table_id
    assert client.find(IncrementalExport(again, FIRST)) == ()


def test_all_pages_of_the_list_are_read(client, table):
    windows = [Window(FIRST.start, FIRST.end + timedelta(seconds=n)) for n in range(30)]
    arns = {client.start(IncrementalExport(table, window)).arn for window in windows}
    listed = list(client.list_exports(table))
    assert {summary.arn for summary in listed} == arns
    assert len(listed) == 30
    assert {summary.kind for summary in listed} == {ExportKind.INCREMENTAL}


def test_recovery_is_told_and_turned_on(cloud, client, table):
    cloud.switch_recovery(on=False)
    assert not client.recovery(table).enabled
    with pytest.raises(errors.RecoveryDisabled, match="turn point-in-time recovery on"):
        client.start(FullExport(table, NOON))
    client.enable_recovery(table)
    recovery = client.recovery(table)
    assert recovery.enabled
    assert recovery.earliest is not None
    assert recovery.earliest >= NOON + timedelta(hours=1)
    with pytest.raises(errors.ExportTimeRefused, match="new bootstrap"):
        client.start(FullExport(table, NOON))


def test_a_window_that_has_not_closed_is_told_apart(client, table):
    hour = NOON + timedelta(hours=1)
    with pytest.raises(errors.WindowNotClosed, match="try again in a minute"):
        client.start(IncrementalExport(table, Window(hour - timedelta(minutes=14), hour + timedelta(minutes=1))))


def test_a_changed_view_is_a_conflict_as_long_as_the_first_export_has_not_failed(cloud, client, table):
    first = client.start(IncrementalExport(table, FIRST))
    changed = IncrementalExport(table, FIRST, ImageView.NEW_AND_OLD_IMAGES)
    with pytest.raises(errors.ExportConflict, match=f"That export is {first.arn}: it is COMPLETED"):
        client.start(changed)
    assert client.start(IncrementalExport(table, FIRST)).arn == first.arn
    assert started(cloud) == [first.arn]


@pytest.mark.parametrize("request_of", [lambda t: FullExport(t, NOON), lambda t: IncrementalExport(t, FIRST)])
@pytest.mark.parametrize("delay", [0, 300], ids=["completed", "running"])
def test_a_changed_prefix_or_bucket_does_not_pay_for_a_window_twice(cloud, client, table, request_of, delay):
    cloud.control.settings(delay_seconds=delay)
    cloud.s3.create_bucket(Bucket="another")
    request = request_of(table)
    first = client.ensure(request)
    for destination in (Destination(BUCKET, "other"), Destination("another", "exports")):
        other = ExportClient(cloud.dynamodb, cloud.s3, destination)
        with pytest.raises(errors.ExportConflict, match="restore the setting, or wait until that export"):
            other.ensure(request)
    assert started(cloud) == [first.arn]


def test_after_a_corrected_setting_another_change_does_not_pay_twice(cloud, client, table):
    request = IncrementalExport(table, FIRST)
    wrong = ExportClient(cloud.dynamodb, cloud.s3, Destination("elsewhere"))
    assert wrong.describe(wrong.ensure(request).arn).status is ExportStatus.FAILED
    second = client.ensure(request)
    third = ExportClient(cloud.dynamodb, cloud.s3, Destination(BUCKET, "third"))
    with pytest.raises(errors.ExportConflict, match=second.arn):
        third.ensure(request)
    assert client.ensure(request).arn == second.arn
    assert len(started(cloud)) == 2


@pytest.mark.parametrize("milliseconds", [0, 123])
def test_another_time_than_the_one_asked_for_is_refused_at_once(cloud, client, table, milliseconds):
    """As of a botocore that writes times in whole seconds."""

    def cut(params: Any, **_: Any) -> None:
        times = params["IncrementalExportSpecification"]
        params["IncrementalExportSpecification"] = times | {
            name: times[name].replace(microsecond=0) for name in ("ExportFromTime", "ExportToTime")
        }

    cloud.dynamodb.meta.events.register("provide-client-params.dynamodb.ExportTableToPointInTime", cut)
    start = NOON + timedelta(milliseconds=milliseconds)
    request = IncrementalExport(table, Window(start, start + timedelta(minutes=20)))
    if not milliseconds:
        assert client.start(request).window == request.window
        return
    with pytest.raises(errors.WrongExport, match=r"was asked for, but .*bring boto3 and botocore up to date"):
        client.start(request)


def test_after_a_wrong_bucket_was_corrected_the_export_begins_at_once(cloud, client, table):
    request = IncrementalExport(table, FIRST)
    wrong = ExportClient(cloud.dynamodb, cloud.s3, Destination("elsewhere"))
    assert wrong.describe(wrong.ensure(request).arn).status is ExportStatus.FAILED
    assert client.describe(client.start(request).arn).status is ExportStatus.COMPLETED


def test_a_table_that_is_not_there_is_told(client):
    with pytest.raises(errors.SourceTableNotFound, match="check the table's name"):
        client.describe_table("nowhere")


def test_an_export_that_is_not_there_is_told(client, table):
    with pytest.raises(errors.ExportNotFound):
        client.describe(f"{table.arn}/export/01700000000000-deadbeef")


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        ("TableNotFoundException", "", errors.SourceTableNotFound),
        ("PointInTimeRecoveryUnavailableException", "", errors.RecoveryDisabled),
        ("InvalidExportTimeException", "Export Time is invalid", errors.ExportTimeRefused),
        (
            "InvalidExportTimeException",
            "Incremental export period to time cannot be greater than the current time : 2026",
            errors.WindowNotClosed,
        ),
        ("ExportConflictException", "", errors.ExportConflict),
        ("LimitExceededException", "", errors.TooManyExports),
        ("ThrottlingException", "Rate exceeded", errors.Throttled),
        ("ValidationException", "", errors.RequestRefused),
        ("AccessDeniedException", "", errors.AccessDenied),
        ("InternalServerError", "", errors.ServiceUnavailable),
        ("ExportNotFoundException", "", errors.ExportNotFound),
        ("NeverSeenBefore", "", errors.ExportError),
    ],
)
def test_every_error_of_aws_has_a_type_and_says_what_to_do(code, message, expected):
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    error = errors.translate(ClientError(answer, "ExportTableToPointInTime"), "starting an export")
    assert type(error) is expected
    assert str(error).startswith(f"starting an export: {code}: ")
    assert "What to do: " in str(error)


def test_an_unknown_fault_of_aws_counts_as_its_own():
    answer: Any = {"Error": {"Code": "500"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
    assert type(errors.translate(ClientError(answer, "X"), "asking")) is errors.ServiceUnavailable


def test_an_aws_that_does_not_answer_is_told():
    error = errors.translate(EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), "asking")
    assert type(error) is errors.ServiceUnavailable
    assert "Check the network" in str(error)
