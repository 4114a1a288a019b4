"""The two jobs of a source table, which the sensor runs and people may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from ddb_lake.config import TableSettings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def initial_load_job_name(table: TableSettings) -> str:
    """Return the name of the job that bootstraps the table."""
    return f"{table.identifier}_initial_load"


def incremental_job_name(table: TableSettings) -> str:
    """Return the name of the job that takes a window, or a range of windows, to the replica."""
    return f"{table.identifier}_incremental"


def build_jobs(table: TableSettings, assets: Sequence[dg.AssetsDefinition]) -> list[UnresolvedAssetJobDefinition]:
    """Return the table's initial load and its incremental job, of the six assets in order of the data's flow."""
    return [
        dg.define_asset_job(
            initial_load_job_name(table),
            selection=dg.AssetSelection.assets(*assets[:3]),
            description=f"The bootstrap of {table.name}.",
        ),
        dg.define_asset_job(
            incremental_job_name(table),
            selection=dg.AssetSelection.assets(*assets[3:]),
            description=f"Windows of {table.name}, from export to replica.",
        ),
    ]
