"""An export job as the journal keeps it, and as DescribeExport and ListExports tell of it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

from ddb_lake.embedded_aws.export_request import ExportType, ViewType
from ddb_lake.embedded_aws.wire import epoch_seconds

ExportStatus = Literal["IN_PROGRESS", "COMPLETED", "FAILED"]


@dataclass(frozen=True)
class Export:
    """An export job. All times are µs since the epoch; AWS keeps milliseconds of them.

    Attributes:
        arn: Names the export for ever.
        id: The last part of the ARN.
        region: Where the table is.
        table_arn: The table's ARN.
        table_id: The table's identity.
        export_type: The kind of export.
        export_type_sent: ExportType as the client sent it, or None.
        from_us: Start of the window, inclusive; 0 for a full export.
        to_us: End of the window, or ExportTime of a full export; exclusive.
        view: What an incremental export shows of each change.
        s3_bucket: The bucket.
        s3_prefix: As sent, or None.
        s3_bucket_owner: As sent, or None.
        sse_algorithm: `AES256` or `KMS`.
        kms_key_id: As sent, or None.
        token: The ClientToken, sent or made up.
        fingerprint: What was asked for, without the token.
        files: How many data files it has.
        sequence: The journal's sequence when it began: later writes are not in it.
        start_us: When it began.
        due_us: When it will have ended; None while it is held.
        status: What clients are told.
        end_us: When it ended, or None.
        failure_code: Why it fails or failed, or None; told once it is due.
        failure_message: The same for people.
        item_count: Lines in all data files, once COMPLETED.
        billed_bytes: What AWS would bill, once COMPLETED.
    """

    arn: str
    id: str
    region: str
    table_arn: str
    table_id: str
    export_type: ExportType
    export_type_sent: str | None
    from_us: int
    to_us: int
    view: ViewType
    s3_bucket: str
    s3_prefix: str | None
    s3_bucket_owner: str | None
    sse_algorithm: str
    kms_key_id: str | None
    token: str
    fingerprint: str
    files: int
    sequence: int
    start_us: int
    due_us: int | None
    status: ExportStatus = "IN_PROGRESS"
    end_us: int | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    item_count: int | None = None
    billed_bytes: int | None = None

    def to_json(self) -> bytes:
        """Return the export as the journal's record."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, record: bytes) -> "Export":
        """Read an export from the journal's record."""
        return cls(**orjson.loads(record))


def describe(export: Export, manifest: str) -> dict[str, Any]:
    """Return the ExportDescription: what AWS echoes of the request, and the outcome once there is one.

    Args:
        export: The export.
        manifest: The key of its summary, told once it is COMPLETED.
    """
    description: dict[str, Any] = {
        "ExportArn": export.arn,
        "ExportStatus": export.status,
        "StartTime": epoch_seconds(export.start_us),
        "TableArn": export.table_arn,
        "TableId": export.table_id,
        "ClientToken": export.token,
        "S3Bucket": export.s3_bucket,
        "S3SseAlgorithm": export.sse_algorithm,
        "ExportFormat": "DYNAMODB_JSON",
        "DestinationType": "S3",  # which AWS answers, though its service model has no such member
    }
    if export.export_type == "INCREMENTAL_EXPORT":
        description["IncrementalExportSpecification"] = {
            "ExportFromTime": epoch_seconds(export.from_us),
            "ExportToTime": epoch_seconds(export.to_us),
            "ExportViewType": export.view,
        }
    else:
        description["ExportTime"] = epoch_seconds(export.to_us)
    # Told only where they were sent.
    echoed = {
        "ExportType": export.export_type_sent,
        "S3BucketOwner": export.s3_bucket_owner,
        "S3Prefix": export.s3_prefix,
        "S3SseKmsKeyId": export.kms_key_id,
    }
    description |= {name: value for name, value in echoed.items() if value is not None}
    if export.end_us is not None:
        description["EndTime"] = epoch_seconds(export.end_us)
    if export.status == "COMPLETED":
        description |= {
            "ExportManifest": manifest,
            "ItemCount": export.item_count,
            "BilledSizeBytes": export.billed_bytes,
        }
    elif export.status == "FAILED":
        description |= {"FailureCode": export.failure_code, "FailureMessage": export.failure_message}
    return description
