"""A lake under test: a source table on the embedded AWS, the Dagster definitions, and an instance to run them.

The embedded AWS refuses the lake's own clients whatever the shipped IAM policy does not allow them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from ddb_lake.config import Settings
from ddb_lake.definitions import build_definitions
from ddb_lake.iam import render_policy
from ddb_lake.jobs import incremental_job_name, initial_load_job_name, maintenance_job_name
from ddb_lake.parity import Parity, compare
from ddb_lake.partitions import INITIAL, range_tags
from ddb_lake.pipeline import Pipeline
from ddb_lake.resources import DynamoDBExports, Lake, open_pipeline
from ddb_lake.windows import Window
from ddb_lake_tests.cloud import BUCKET, NOON, QUARTER, TABLE, Cloud

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def quarter(n: int, count: int = 1) -> Window:
    """The window of `count` quarter-hours that begins with the n-th one after noon."""
    return Window(NOON + n * QUARTER, NOON + (n + count) * QUARTER)


class LakeUnderTest:
    """One source table whose replica starts at noon, and everything that keeps it in step."""

    def __init__(self, cloud: Cloud, instance: dg.DagsterInstance, uri: str, **table: Any) -> None:
        self.cloud = cloud
        self.instance = instance
        self.settings = Settings.model_validate(
            {
                "aws": {"mode": "embedded", "endpoint": cloud.url},
                "lake": uri,
                "tables": [
                    {
                        "table": TABLE,
                        "region": "us-east-1",
                        "start": NOON,
                        "bucket": BUCKET,
                        "prefix": "exports",
                        **table,
                    }
                ],
            }
        )
        cloud.control.set_policy(render_policy(self.settings))
        self.table = self.settings.tables[0]
        self.exports = DynamoDBExports.of(self.settings.aws)
        self.lake = Lake.of(self.settings.lake, self.settings.aws)
        self.definitions = build_definitions(self.settings, clock=cloud.control.now)

    @property
    def pipeline(self) -> Pipeline:
        return open_pipeline(self.table, self.exports, self.lake)

    def bootstrap(self, *assets: str, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        """Run the initial load, or some of its assets."""
        return self.definitions.resolve_job_def(initial_load_job_name(self.table)).execute_in_process(
            instance=self.instance,
            partition_key=INITIAL,
            asset_selection=self._keys(assets),
            run_config=QUIET,
            raise_on_error=raise_on_error,
        )

    def materialise(self, window: Window, *assets: str, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        """Run the incremental job, or some of its assets, over all windows of a span, as a backfill does."""
        return self.definitions.resolve_job_def(incremental_job_name(self.table)).execute_in_process(
            instance=self.instance,
            tags=range_tags(window),
            asset_selection=self._keys(assets),
            run_config=QUIET,
            raise_on_error=raise_on_error,
        )

    def maintain(self, *, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        """Run the maintenance."""
        return self.definitions.resolve_job_def(maintenance_job_name(self.table)).execute_in_process(
            instance=self.instance, run_config=QUIET, raise_on_error=raise_on_error
        )

    def _keys(self, assets: tuple[str, ...]) -> list[dg.AssetKey] | None:
        return [dg.AssetKey([self.table.name, each]) for each in assets] or None

    def tick(self, cursor: str | None = None) -> Any:
        """Evaluate the sensor once."""
        sensor = self.definitions.resolve_sensor_def("export_sensor")
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=cursor,
            definitions=self.definitions,
            resources={"exports": self.exports, "lake": self.lake},
        ) as context:
            return sensor.evaluate_tick(context)

    def run(self, request: dg.RunRequest, *, raise_on_error: bool = True) -> dg.ExecuteInProcessResult:
        """Run what the sensor has requested."""
        assert request.job_name
        return self.definitions.resolve_job_def(request.job_name).execute_in_process(
            instance=self.instance,
            tags=dict(request.tags),
            partition_key=request.partition_key,
            run_config=QUIET,
            raise_on_error=raise_on_error,
        )

    def parity(self) -> Parity:
        """Compare the replica with a Scan."""
        return compare(self.pipeline, iter(self.cloud.scan()))

    def started(self) -> int:
        """How many exports were ever begun."""
        return self.cloud.count_exports()


def advance_to(cloud: Cloud, quarters: int, seconds: int = 0) -> None:
    """Move the clock to some quarter-hours and seconds after noon."""
    target = NOON + quarters * QUARTER + timedelta(seconds=seconds)
    cloud.control.clock("frozen", at=target)


@contextmanager
def lake_at(cloud: Cloud, folder: Path, uri: str | None = None, **table: Any) -> Iterator[LakeUnderTest]:
    """A lake in a folder, or where `uri` says, with a Dagster instance of its own."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield LakeUnderTest(cloud, instance, uri or str(folder / "lake"), **table)


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """The metadata of an asset's last materialisation in a run."""
    events = result.asset_materializations_for_node(f"{TABLE}__{asset}")
    return {name: value.value for name, value in events[-1].metadata.items()}
