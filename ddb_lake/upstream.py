"""What an earlier step has recorded about its exports, in its materialisation's metadata.

It saves asking S3 and DynamoDB again. It is a hint and no more: an asset checks it against what it is about itself,
and asks where it is absent or of something else. What is to be decoded is read and verified in any case.
"""

from collections.abc import Mapping
from typing import Any, cast

import dagster as dg

from ddb_lake.exports import RecordedExport

EXPORT = ("export_arn", "exports", "items", "billed_bytes", "export_seconds")
"""What each asset shows of its exports."""


def recorded_metadata(context: dg.AssetExecutionContext, asset: dg.AssetKey, partition: str) -> Mapping[str, Any]:
    """Return the metadata of an asset's newest materialisation of a partition; empty where there is none."""
    found = context.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[partition]), limit=1
    ).records
    if not found or found[0].asset_materialization is None:
        return {}
    return {name: value.value for name, value in found[0].asset_materialization.metadata.items()}


def exports_of(recorded: Mapping[str, Any], table_id: str, **about: str) -> Mapping[str, Any]:
    """Return what is recorded of exports if it is of a source table, and of the window or time; else nothing.

    Args:
        recorded: What `recorded_metadata` returns.
        table_id: The source table's TableId.
        about: What else must be recorded, such as `window` or `time`.
    """
    wanted = {"table_id": table_id, **about}
    if any(recorded.get(name) != value for name, value in wanted.items()) or not recorded.keys() >= set(EXPORT):
        return {}
    return {name: recorded[name] for name in EXPORT}


def table_id_of(recorded: Mapping[str, Any]) -> str | None:
    """Return the TableId of the source table that a step has dealt with; None where it has recorded none."""
    table_id = recorded.get("table_id")
    return table_id if isinstance(table_id, str) and table_id else None


def located_exports(recorded: Mapping[str, Any], **about: str) -> tuple[RecordedExport, ...]:
    """Return which exports a step has recorded, and where; none if it is of another window or time.

    Args:
        recorded: What `recorded_metadata` returns.
        about: What else must be recorded, such as `window` or `time`.
    """
    if any(recorded.get(name) != value for name, value in about.items()):
        return ()
    arns, uris = _texts(recorded.get("export_arn")), _texts(recorded.get("manifest"))
    counts = recorded.get("manifest_items")
    if not isinstance(counts, list) or not len(arns) == len(uris) == len(cast("list[object]", counts)):
        return ()
    places = [uri.removeprefix("s3://").partition("/") for uri in uris]
    return tuple(
        RecordedExport(arn, bucket, key, count)
        for arn, (bucket, _, key), count in zip(arns, places, cast("list[int]", counts), strict=True)
    )


def _texts(recorded: object) -> list[str]:
    """Return what is recorded of one or several exports as a list; of anything else nothing."""
    texts = recorded if isinstance(recorded, list) else [recorded]
    return [text for text in texts if isinstance(text, str)]
