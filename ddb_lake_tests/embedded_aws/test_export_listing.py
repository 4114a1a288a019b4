"""ListExports pages through exports, newest first, and knows tables by their identity."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ddb_lake_tests.cloud import NOON, QUARTER, Cloud


def pages(cloud: Cloud, **parameters: Any) -> list[list[str]]:
    """List all exports, page by page, by their ARNs."""
    found: list[list[str]] = []
    while True:
        answer: Any = cloud.dynamodb.list_exports(**parameters)
        found.append([each["ExportArn"] for each in answer["ExportSummaries"]])
        if "NextToken" not in answer:
            return found
        parameters["NextToken"] = answer["NextToken"]


def start_some(cloud: Cloud, arn: str, count: int) -> list[str]:
    exports: list[str] = []
    for _ in range(count):
        cloud.control.advance(1)
        exports.append(cloud.start_full(arn)["ExportArn"])
    return exports


def test_pages_hold_what_was_asked_for_newest_first(cloud: Cloud, table: str) -> None:
    started = start_some(cloud, table, 7)
    listed = pages(cloud, MaxResults=3)
    assert [len(page) for page in listed] == [3, 3, 1]
    assert [arn for page in listed for arn in page] == started[::-1]


def test_a_page_that_ends_with_the_last_export_has_no_token(cloud: Cloud, table: str) -> None:
    start_some(cloud, table, 4)
    assert [len(page) for page in pages(cloud, MaxResults=2)] == [2, 2]


@pytest.mark.parametrize("size", [0, 26])
def test_a_page_has_1_to_25_exports(cloud: Cloud, size: int) -> None:
    with pytest.raises(ClientError, match=f"Value '{size}' at 'maxResults' failed to satisfy constraint"):
        cloud.dynamodb.list_exports(MaxResults=size)


def test_a_token_that_is_none_is_refused(cloud: Cloud) -> None:
    with pytest.raises(ClientError, match="Invalid Request: Provided nextToken is invalid: é"):
        cloud.dynamodb.list_exports(NextToken="é")


def test_a_table_shows_its_own_exports(cloud: Cloud, table: str) -> None:
    other = cloud.create_table("other")
    mine, others = start_some(cloud, table, 2), start_some(cloud, other, 1)
    assert pages(cloud, TableArn=table) == [mine[::-1]]
    assert pages(cloud, TableArn=other) == [others]


def test_a_table_with_the_same_name_is_another_table(cloud: Cloud, table: str) -> None:
    (export,) = start_some(cloud, table, 1)
    cloud.dynamodb.delete_table(TableName="measurement")
    assert pages(cloud, TableArn=table) == [[]]
    assert cloud.create_table() == table
    assert pages(cloud, TableArn=table) == [[]]
    assert cloud.dynamodb.describe_export(ExportArn=export)["ExportDescription"].get("ExportStatus") == "COMPLETED"


def test_summaries_always_tell_the_type_and_descriptions_only_what_was_sent(cloud: Cloud, table: str) -> None:
    cloud.control.clock("frozen", NOON + timedelta(hours=1))
    silent = cloud.start_full(table)
    cloud.control.advance(1)
    outspoken = cloud.start_full(table, ExportType="FULL_EXPORT", S3Prefix="p", S3BucketOwner="123456789012")
    cloud.control.advance(1)
    incremental = cloud.start_incremental(table, NOON, None)
    summaries = cloud.dynamodb.list_exports()["ExportSummaries"]
    assert [each.get("ExportType") for each in summaries] == ["INCREMENTAL_EXPORT", "FULL_EXPORT", "FULL_EXPORT"]
    assert not {"ExportType", "S3Prefix", "S3BucketOwner"} & cloud.describe(silent).keys()
    assert cloud.describe(silent)["S3SseAlgorithm"] == "AES256"
    described = cloud.describe(outspoken)
    assert (described["ExportType"], described["S3Prefix"]) == ("FULL_EXPORT", "p")
    described = cloud.describe(incremental)
    assert "ExportTime" not in described
    assert described["IncrementalExportSpecification"] == {
        "ExportFromTime": NOON,
        "ExportToTime": NOON + timedelta(hours=1, seconds=2),
        "ExportViewType": "NEW_AND_OLD_IMAGES",
    }


def test_exports_are_forgotten_after_90_days(cloud: Cloud, table: str) -> None:
    export = cloud.start_full(table)
    cloud.control.advance(timedelta(days=90).total_seconds())
    assert pages(cloud) == [[]]
    with pytest.raises(ClientError, match="ExportNotFoundException"):
        cloud.describe(export)


def test_a_held_export_stays_in_progress_until_it_is_released(cloud: Cloud, table: str) -> None:
    cloud.control.settings(next_export="holds")
    held, free = cloud.start_full(table), cloud.start_full(table)
    cloud.control.advance(QUARTER.total_seconds())
    assert [cloud.describe(export)["ExportStatus"] for export in (held, free)] == ["IN_PROGRESS", "COMPLETED"]
    assert cloud.control.release() == 1
    assert cloud.describe(held)["ExportStatus"] == "COMPLETED"


def test_the_next_export_can_be_made_to_fail(cloud: Cloud, table: str) -> None:
    cloud.control.settings(next_export={"failure_code": "S3AccessDenied", "failure_message": "Revoked"})
    failing, free = cloud.start_full(table), cloud.start_full(table)
    assert cloud.describe(failing)["FailureMessage"] == "Revoked"
    assert cloud.describe(free)["ExportStatus"] == "COMPLETED"
