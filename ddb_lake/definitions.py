"""What Dagster loads: the only place where everything meets."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import dagster as dg

from ddb_lake.assets import build_assets
from ddb_lake.config import DEFAULT_PATH, PATH_VARIABLE, Settings, load_settings
from ddb_lake.jobs import build_jobs, build_maintenance_schedule
from ddb_lake.resources import DynamoDBExports, Lake
from ddb_lake.sensors import build_export_sensor, utc_now


def build_definitions(settings: Settings, clock: Callable[[], datetime] = utc_now) -> dg.Definitions:
    """Return the assets, jobs, sensor and resources of a lake.yaml.

    Args:
        settings: What lake.yaml says.
        clock: Tells the sensor the time.
    """
    assets = {table.name: build_assets(table) for table in settings.tables}
    jobs = [job for table in settings.tables for job in build_jobs(table, assets[table.name])]
    return dg.Definitions(
        assets=[asset for of_table in assets.values() for asset in of_table],
        jobs=jobs,
        schedules=[build_maintenance_schedule(table, settings.sensor) for table in settings.tables],
        sensors=[build_export_sensor(settings.tables, jobs, settings.sensor, clock)],
        resources={
            "exports": DynamoDBExports.of(settings.aws),
            "lake": Lake.of(settings.lake, settings.aws),
        },
        # One process a run: a step takes a second or two, importing its libraries anew would take longer.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Return what the lake.yaml at hand defines; read when Dagster asks, not when the module is imported."""
    return build_definitions(load_settings(Path(os.environ.get(PATH_VARIABLE, DEFAULT_PATH))))
