"""The full export, the incremental one from its end on, and their rows: what the client is for."""

import gzip
import json
from datetime import datetime
from typing import Any

import polars as pl
from aws_dynamodb_io.api import ExportFormatEnum, ExportJob, ExportTypeEnum, ManifestSummary
from dynamodb_json_seder.api import deserialize_df
from measurements import TABLE_NAME, bsm
from s3pathlib import S3Path
from simpletype.api import Integer, String

BUCKET = f"{bsm.aws_account_alias}-{bsm.aws_region}-data"
FOLDER = S3Path(f"s3://{BUCKET}/projects/incremental-export/").to_dir()
TABLE_ARN = f"arn:aws:dynamodb:{bsm.aws_region}:{bsm.aws_account_id}:table/{TABLE_NAME}"

SCHEMA = {"id": String(), "time": String(), "value": Integer()}
_POLARS_SCHEMA = {name: each.to_dynamodb_json_polars() for name, each in SCHEMA.items()}


def export_full(time: datetime) -> ExportJob:
    """Start a full export of the table as it was at a time."""
    return ExportJob.export_table_to_point_in_time(
        dynamodb_client=bsm.dynamodb_client,
        table_arn=TABLE_ARN,
        s3_bucket=FOLDER.bucket,
        s3_prefix=FOLDER.key,
        export_time=time,
        export_format=ExportFormatEnum.DYNAMODB_JSON.value,
    )


def export_incremental(start: datetime, end: datetime) -> ExportJob:
    """Start an incremental export of what was written between two times."""
    return ExportJob.export_table_to_point_in_time(
        dynamodb_client=bsm.dynamodb_client,
        table_arn=TABLE_ARN,
        s3_bucket=FOLDER.bucket,
        s3_prefix=FOLDER.key,
        export_format=ExportFormatEnum.DYNAMODB_JSON.value,
        export_type=ExportTypeEnum.INCREMENTAL_EXPORT.value,
        incremental_export_specification={"ExportFromTime": start, "ExportToTime": end},
    )


def read_rows(arn: str, column: str) -> list[dict[str, Any]]:
    """Read an export's rows in the order of their time.

    Args:
        arn: The export's ARN.
        column: What its lines hold the item in, `Item` or `NewImage`.
    """
    export = ExportJob.describe_export(bsm.dynamodb_client, arn)
    frames = [
        pl.read_ndjson(
            gzip.decompress(S3Path(f"s3://{BUCKET}/{file.s3_key}").read_bytes(bsm=bsm)),
            schema={column: pl.Struct(_POLARS_SCHEMA)},
        )
        for file in export.get_data_files(bsm.dynamodb_client, bsm.s3_client)
    ]
    rows = deserialize_df(pl.concat(frames), SCHEMA, dynamodb_json_col=column)
    return rows.sort("time").to_dicts()


def list_by_pages() -> list[str]:
    """Return the ARNs of the table's exports, asked for one a page."""
    jobs = ExportJob.list_exports(bsm.dynamodb_client, TABLE_ARN, page_size=1, get_details=True)
    return [job.arn for job in jobs if job.is_completed()]


def summarise_incremental(export: ExportJob) -> ManifestSummary:
    """Read an incremental export's summary as aws_dynamodb_io does."""
    return export.get_manifest_summary(bsm.dynamodb_client, bsm.s3_client)


def summarise_full(export: ExportJob) -> ManifestSummary:
    """Read a full export's summary as aws_dynamodb_io would.

    It wants an `exportType`, which an old version of AWS's documentation showed; AWS writes none into the manifest
    of a full export, and neither does the embedded AWS.
    """
    summary = json.loads(S3Path(export.s3uri_export_manifest_summary).read_text(bsm=bsm))
    if "exportType" in summary:
        raise ValueError(f"the manifest of a full export has an exportType, which AWS writes into none: {summary}")
    return ManifestSummary.from_dict({**summary, "exportType": export.export_type})


def find_full_in_s3(export: ExportJob) -> ExportJob:
    """Read a full export's description from its folder alone, as one does when DynamoDB has forgotten it."""
    return ExportJob.from_s3_dir(bsm.s3_client, BUCKET, f"{FOLDER.key}AWSDynamoDB/{export.export_short_id}")
