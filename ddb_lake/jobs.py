"""The jobs of a source table, which the sensor and a schedule run and people may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from ddb_lake.config import SensorSettings, TableSettings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def initial_load_job_name(table: TableSettings) -> str:
    """Return the name of the job that bootstraps the table."""
    return f"{table.identifier}_initial_load"


def incremental_job_name(table: TableSettings) -> str:
    """Return the name of the job that takes a window, or a range of windows, to the replica."""
    return f"{table.identifier}_incremental"


def maintenance_job_name(table: TableSettings) -> str:
    """Return the name of the job that keeps the replica quick."""
    return f"{table.identifier}_maintenance"


def build_maintenance_schedule(table: TableSettings, settings: SensorSettings) -> dg.ScheduleDefinition:
    """Return what runs a table's maintenance every hour; it is on where the sensor is."""
    return dg.ScheduleDefinition(
        name=f"{maintenance_job_name(table)}_hourly",
        job_name=maintenance_job_name(table),
        cron_schedule="7 * * * *",  # between two quarter-hours, when windows are seldom applied
        default_status=dg.DefaultScheduleStatus.RUNNING if settings.running else dg.DefaultScheduleStatus.STOPPED,
        description=f"Maintains the replica of {table.name} every hour.",
    )


def build_jobs(table: TableSettings, assets: Sequence[dg.AssetsDefinition]) -> list[UnresolvedAssetJobDefinition]:
    """Return the table's three jobs, of its seven assets in order of the data's flow."""
    return [
        dg.define_asset_job(
            initial_load_job_name(table),
            selection=dg.AssetSelection.assets(*assets[:3]),
            description=f"The bootstrap of {table.name}.",
        ),
        dg.define_asset_job(
            incremental_job_name(table),
            selection=dg.AssetSelection.assets(*assets[3:6]),
            description=f"Windows of {table.name}, from export to replica.",
        ),
        dg.define_asset_job(
            maintenance_job_name(table),
            selection=dg.AssetSelection.assets(assets[6]),
            description=f"Folds, checkpoint, log cleanup and vacuum of {table.name}'s replica.",
        ),
    ]
