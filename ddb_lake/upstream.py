"""What an earlier step has recorded about its exports, in its materialisation's metadata.

It saves asking S3 and DynamoDB again. It is a hint and no more: an asset checks it against what it is about itself,
and asks where it is absent or of something else.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

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
