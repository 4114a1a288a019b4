"""The jobs of a source table, which the sensor and a schedule run and people may."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from ddb_lake.config import SensorSettings, TableSettings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


MAX_RUNTIME_TAG = "dagster/max_runtime"
"""The tag by which Dagster's run monitoring knows after how many seconds a run is given up."""

_INITIAL_LOAD_RUNTIME = timedelta(days=7)
"""AWS promises no time for an export, and the full one of a table of terabytes takes many hours."""
_INCREMENTAL_RUNTIME = timedelta(hours=24)
"""A run by hand waits for its export, which holds the changes of a day at most."""
_MAINTENANCE_RUNTIME = timedelta(hours=4)
"""It runs every hour, and what it leaves undone the next one does."""


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
            tags=_given_up_after(_INITIAL_LOAD_RUNTIME),
        ),
        dg.define_asset_job(
            incremental_job_name(table),
            selection=dg.AssetSelection.assets(*assets[3:6]),
            description=f"Windows of {table.name}, from export to replica.",
            tags=_given_up_after(_INCREMENTAL_RUNTIME),
        ),
        dg.define_asset_job(
            maintenance_job_name(table),
            selection=dg.AssetSelection.assets(assets[6]),
            description=f"Folds, checkpoint, log cleanup and vacuum of {table.name}'s replica.",
            tags=_given_up_after(_MAINTENANCE_RUNTIME),
        ),
    ]


def _given_up_after(limit: timedelta) -> dict[str, str]:
    return {MAX_RUNTIME_TAG: str(int(limit.total_seconds()))}
