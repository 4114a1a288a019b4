"""DynamoDB's exports to S3: requested, followed, verified and fetched. Nothing here knows what items mean."""

from ddb_lake.exports.client import Export, ExportClient, ExportStatus, ExportSummary, Recovery
from ddb_lake.exports.download import download
from ddb_lake.exports.manifest import DataFile, Manifest, Verification, read_manifest, require_files
from ddb_lake.exports.requests import (
    Destination,
    ExportKind,
    ExportRequest,
    FullExport,
    ImageView,
    IncrementalExport,
    SourceTable,
    client_token,
    export_prefix,
)

__all__ = [
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
    "Recovery",
    "SourceTable",
    "Verification",
    "client_token",
    "download",
    "export_prefix",
    "read_manifest",
    "require_files",
]
