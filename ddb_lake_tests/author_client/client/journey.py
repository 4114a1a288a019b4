"""The client's evening: measurements, a full export, more of them, an incremental export, and all it reads there."""

import base64
import hashlib
import random
from datetime import UTC
from typing import Any

import exporting
from aws_dynamodb_io.api import ExportJob, ManifestSummary
from measurements import Measurement, bsm, generate, turn_on_recovery
from moments import local, utc_now
from s3pathlib import S3Path

BOUNDARY = local(23, 5)
END = local(23, 20)
_SELDOM_S = 10.0
_ABOUT_EVERY_SECOND_S = 1.5


def travel() -> dict[str, Any]:
    """Generate, export and read; return what the client has seen, fit for JSON."""
    random.seed(20240914)
    Measurement.create_table(wait=True)
    turn_on_recovery()

    saved = generate(local(23, 4, 50), _SELDOM_S)
    saved += generate(BOUNDARY, _ABOUT_EVERY_SECOND_S)
    saved += generate(local(23, 5, 10), _ABOUT_EVERY_SECOND_S)
    saved += generate(local(23, 11), _SELDOM_S)
    full = exporting.export_full(BOUNDARY)
    full_began = full.status
    full = ExportJob.wait_until_complete(bsm.dynamodb_client, full.arn, verbose=False)

    saved += generate(local(23, 19, 50), _SELDOM_S)
    saved += generate(END, _ABOUT_EVERY_SECOND_S)
    saved += generate(local(23, 20, 10), _ABOUT_EVERY_SECOND_S)
    incremental = exporting.export_incremental(BOUNDARY, END)
    incremental_began = incremental.status
    incremental = ExportJob.wait_until_complete(bsm.dynamodb_client, incremental.arn, verbose=False)

    return {
        "saved": [{"id": each.id, "time": _written(each), "value": each.value} for each in saved],
        "began": [full_began, incremental_began],
        "listed": exporting.list_by_pages(),
        "full": _told(full, exporting.summarise_full(full), "Item"),
        "full_items": list(full.read_dynamodb_json(bsm.dynamodb_client, bsm.s3_client)),
        "full_in_s3": _described(exporting.find_full_in_s3(full)),
        "full_described": _described(full),
        "incremental": _told(incremental, exporting.summarise_incremental(incremental), "NewImage"),
        "ended_at": utc_now().isoformat(),
    }


def _written(measurement: Measurement) -> str:
    """Return a measurement's time as pynamodb writes it into the item."""
    return measurement.serialize()["time"]["S"]


def _described(export: ExportJob) -> list[Any]:
    """Gather what DescribeExport and the summary in S3 both know of a full export.

    From S3, aws_dynamodb_io gives times that are UTC but don't say so.
    """
    times = (export.start_time, export.end_time, export.export_time)
    return [
        *((time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)).isoformat() for time in times),
        *(export.arn, export.status, export.table_arn, export.table_id, export.s3_bucket, export.s3_prefix),
        *(export.s3_sse_algorithm, export.billed_size_bytes, export.item_count, export.export_format),
    ]


def _told(export: ExportJob, summary: ManifestSummary, column: str) -> dict[str, Any]:
    """Gather what the packages tell of an export."""
    files = export.get_data_files(bsm.dynamodb_client, bsm.s3_client)
    bodies = {file.s3_key: S3Path(file.s3_uri).read_bytes(bsm=bsm) for file in files}
    return {
        "arn": export.arn,
        "manifest": export.export_manifest,
        "item_count": export.item_count,
        "duration_s": (export.end_time - export.start_time).total_seconds(),
        "summary": summary.to_dict(),
        "summary_duration_s": (summary.end_time - summary.start_time).total_seconds(),
        "summary_times": [
            time.isoformat()
            for time in (
                [summary.export_time]
                if summary.is_full_export()
                else [summary.export_from_time, summary.export_to_time]
            )
        ],
        "files": [
            {
                "item_count": file.item_count,
                "md5": file.md5,
                "md5_of_body": base64.b64encode(hashlib.md5(bodies[file.s3_key]).digest()).decode(),
                "etag": file.etag,
                "etag_in_s3": S3Path(file.s3_uri).head_object(bsm=bsm)["ETag"],
            }
            for file in files
        ],
        "rows": exporting.read_rows(export.arn, column),
    }
