"""Who reads what an export writes waits for its end, and nobody else."""

from dataclasses import replace
from typing import Any

import pytest

from ddb_lake.embedded_aws.export import Export
from ddb_lake.embedded_aws.export_jobs import ExportJobs
from ddb_lake.embedded_aws.export_worker import reads_files_of
from ddb_lake.embedded_aws.export_writer import ExportWriter
from ddb_lake.embedded_aws.s3_request import read_s3_request
from ddb_lake_tests.cloud import Cloud

FULL = Export(
    arn="arn:aws:dynamodb:us-east-1:123456789012:table/t/export/01-ab",
    id="01-ab",
    region="us-east-1",
    table_arn="arn:aws:dynamodb:us-east-1:123456789012:table/t",
    table_id="t",
    export_type="FULL_EXPORT",
    export_type_sent=None,
    from_us=0,
    to_us=1,
    view="NEW_AND_OLD_IMAGES",
    s3_bucket="bucket",
    s3_prefix="some/where",
    s3_bucket_owner=None,
    sse_algorithm="AES256",
    kms_key_id=None,
    token="token",
    fingerprint="",
    files=4,
    sequence=0,
    start_us=1,
    due_us=1,
)
INCREMENTAL = replace(FULL, export_type="INCREMENTAL_EXPORT")
ROOT = "some/where/AWSDynamoDB"


def seen(export: Export, method: str, path: str, query: str = "", **headers: str) -> bool:
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, **headers}
    return reads_files_of(read_s3_request(environ), export)


@pytest.mark.parametrize(
    ("method", "path", "query", "full", "incremental"),
    [
        ("GET", f"/bucket/{ROOT}/01-ab/manifest-summary.json", "", True, True),
        ("HEAD", f"/bucket/{ROOT}/01-ab/data/x.json.gz", "", True, True),
        ("GET", f"/bucket/{ROOT}/data/x.json.gz", "", False, True),
        ("GET", f"/bucket/{ROOT}/02-cd/manifest-summary.json", "", False, False),
        ("GET", "/bucket", "", True, True),
        ("GET", "/bucket", "list-type=2&prefix=some", True, True),
        ("GET", "/bucket", f"list-type=2&prefix={ROOT}/01-ab/data/", True, True),
        ("GET", "/bucket", "list-type=2&prefix=lake/", False, False),
        ("GET", "/bucket", "versions", True, True),
        ("GET", "/bucket", "policy", False, False),
        ("HEAD", "/bucket", "", False, False),
        ("GET", "/", "", False, False),
        ("GET", "/bucket/lake/part-0.parquet", "", False, False),
        ("PUT", "/bucket/lake/part-0.parquet", "", False, False),
        ("PUT", f"/bucket/{ROOT}/01-ab/manifest-summary.json", "", False, False),
        ("GET", f"/other/{ROOT}/01-ab/manifest-summary.json", "", False, False),
    ],
)
def test_a_request_waits_for_the_exports_that_it_could_see(
    method: str, path: str, query: str, full: bool, incremental: bool
) -> None:
    assert (seen(FULL, method, path, query), seen(INCREMENTAL, method, path, query)) == (full, incremental)


def test_a_copy_waits_for_its_source() -> None:
    source = f"/bucket/{ROOT}/01-ab/manifest-summary.json"
    assert seen(FULL, "PUT", "/other/copy", HTTP_X_AMZ_COPY_SOURCE=source)
    assert not seen(FULL, "PUT", f"/bucket/{ROOT}/01-ab/copy", HTTP_X_AMZ_COPY_SOURCE="/bucket/lake/a")


def test_an_export_that_ends_after_it_was_found_due_is_not_written_again(
    cloud: Cloud, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    due, end = ExportJobs.due, ExportWriter.end
    found: list[Export] = []
    written: list[str] = []

    def due_a_while_ago(jobs: ExportJobs) -> tuple[Export, ...]:
        found.extend(due(jobs))
        return tuple(found)

    def note_and_end(writer: ExportWriter, export: Export) -> Export:
        written.append(export.arn)
        return end(writer, export)

    monkeypatch.setattr(ExportJobs, "due", due_a_while_ago)
    monkeypatch.setattr(ExportWriter, "end", note_and_end)
    export = cloud.start_full(table)
    for _ in range(3):
        assert cloud.describe(export)["ExportStatus"] == "COMPLETED"
    assert written == [export["ExportArn"]]
