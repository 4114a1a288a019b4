"""DynamoDB's exports to S3: requested, followed, verified and fetched. Nothing here knows what items mean."""

from ddb_lake.exports.client import (
    Export,
    ExportClient,
    ExportStatus,
    ExportSummary,
    Recovery,
    export_of_manifest,
    require_reported_count,
    why_not,
)
from ddb_lake.exports.download import download
from ddb_lake.exports.manifest import SUMMARY_KEY, DataFile, Manifest, Verification, read_manifest, require_files
from ddb_lake.exports.requests import (
    AdoptedExport,
    Destination,
    ExportKind,
    ExportRequest,
    FullExport,
    ImageView,
    IncrementalExport,
    RecordedExport,
    SourceTable,
    can_be_exported,
    client_token,
    export_prefix,
)

__all__ = [
    "SUMMARY_KEY",
    "AdoptedExport",
    "DataFile",
    "Destination",
    "Export",
    "ExportClient",
    "ExportKind",
    "ExportRequest",
    "ExportStatus",
    "ExportSummary",
    "FullExport",
    "ImageView",
    "IncrementalExport",
    "Manifest",
    "RecordedExport",
    "Recovery",
    "SourceTable",
    "Verification",
    "can_be_exported",
    "client_token",
    "download",
    "export_of_manifest",
    "export_prefix",
    "read_manifest",
    "require_files",
    "require_reported_count",
    "why_not",
]
