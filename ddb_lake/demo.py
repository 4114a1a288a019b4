"""`make demo`: a bootstrap and a day of windows on the embedded AWS, then a comparison of the lake with the source.

Exits with 0 only if the replica equals a Scan of the source table, item by item.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import dagster as dg

from ddb_lake.config import DEFAULT_PATH, Settings, TableSettings, parse_settings
from ddb_lake.definitions import build_definitions
from ddb_lake.dev import give_past
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.errors import ConfigError
from ddb_lake.jobs import incremental_job_name, initial_load_job_name
from ddb_lake.measurements import BUCKET, REGION, TABLE, Measurements
from ddb_lake.parity import Parity, compare
from ddb_lake.partitions import INITIAL, range_tags
from ddb_lake.pipeline import Pipeline
from ddb_lake.resources import EMBEDDED_KEY, DynamoDBExports, Lake, open_pipeline
from ddb_lake.windows import Window, floor_quarter_hour, format_time, quarter_hours

HOME = Path(".demo")
EXPORT_SECONDS = 2
DAY = timedelta(days=1)


def main() -> None:
    """Run the demonstration and exit."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    end = floor_quarter_hour(datetime.now(UTC))
    day = Window(end - DAY, end)
    began = time.monotonic()
    with EmbeddedAws(journal=HOME / "aws.sqlite", delay=EXPORT_SECONDS) as aws:
        session = boto3.Session(EMBEDDED_KEY, EMBEDDED_KEY, region_name=REGION)
        try:
            settings = _settings(aws.url, day)
        except ConfigError as error:
            raise SystemExit(str(error)) from None
        _say(f"Writing measurements from {format_time(day.start - timedelta(hours=1))} to {format_time(day.end)} …")
        give_past(aws.url, session, day.start - timedelta(hours=1), day.end, Measurements(seed=1))
        table = settings.tables[0]
        _say(f"The bootstrap at {format_time(day.start)}, then {len(quarter_hours(day))} windows by backfill …")
        _materialise(settings, table, day)
        pipeline = open_pipeline(table, DynamoDBExports.of(settings.aws), Lake.of(settings.lake, settings.aws))
        parity = compare(pipeline, _scan(session, aws.url))
        _report(pipeline, parity, time.monotonic() - began)
    raise SystemExit(0 if parity.equal else 1)


def _settings(endpoint: str, day: Window) -> Settings:
    return parse_settings(
        {
            "aws": {"mode": "embedded", "endpoint": endpoint},
            "lake": str((HOME / "lake").resolve()),
            "tables": [
                {
                    "table": TABLE,
                    "region": REGION,
                    "start": day.start,
                    "bucket": BUCKET,
                    "prefix": "exports",
                    "recovery": "enable",
                }
            ],
        },
        HOME / DEFAULT_PATH,
    )


def _materialise(settings: Settings, table: TableSettings, day: Window) -> None:
    """Run the two jobs as the Dagster UI would: the bootstrap's partition, then a backfill's range of windows."""
    definitions = build_definitions(settings)
    quiet = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        definitions.resolve_job_def(initial_load_job_name(table)).execute_in_process(
            instance=instance, partition_key=INITIAL, run_config=quiet
        )
        definitions.resolve_job_def(incremental_job_name(table)).execute_in_process(
            instance=instance, tags=range_tags(day), run_config=quiet
        )


def _scan(session: boto3.Session, endpoint: str) -> Iterator[dict[str, Any]]:
    pages = session.client("dynamodb", endpoint_url=endpoint).get_paginator("scan").paginate(TableName=TABLE)
    for page in pages:
        yield from page["Items"]


def _report(pipeline: Pipeline, parity: Parity, seconds: float) -> None:
    exports = len(list(pipeline.exports.list_exports(pipeline.table)))
    _say(
        f"""
  exports              {exports}
  source items (Scan)  {parity.source_items}
  replica rows         {parity.replica_items}
  missing              {len(parity.missing)}
  unexpected           {len(parity.unexpected)}
  different            {len(parity.different)}
  covered              {", ".join(map(str, pipeline.replica.coverage()))}
  Delta version        {pipeline.replica.version()}
  seconds              {seconds:.1f}
"""
    )
    for what, keys in (
        ("missing", parity.missing),
        ("unexpected", parity.unexpected),
        ("different", parity.different),
    ):
        for key in keys[:5]:
            _say(f"  {what}: {key}")
    _say("Equal, item by item." if parity.equal else "NOT EQUAL.")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
