"""The export sensor compares what each replica should cover with what it does.

It starts the exports that are missing and hands those that have ended over to runs, so that no worker waits while
DynamoDB exports. What it remembers between ticks is only whose turn it is and what it has told already.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from ddb_lake.config import SensorSettings, TableSettings
from ddb_lake.errors import DdbLakeError
from ddb_lake.exports import Export, ExportRequest, ExportStatus, FullExport, IncrementalExport
from ddb_lake.exports.errors import WindowNotClosed
from ddb_lake.jobs import incremental_job_name, initial_load_job_name
from ddb_lake.partitions import INITIAL, RANGE_END_TAG, RANGE_START_TAG, range_tags
from ddb_lake.pipeline import Pipeline
from ddb_lake.resources import DynamoDBExports, Lake, open_pipeline
from ddb_lake.windows import (
    KEY_FORMAT,
    QUARTER_HOUR,
    Window,
    blocks,
    floor_quarter_hour,
    format_time,
    missing,
    quarter_hours,
)

_BUDGET_SECONDS = 40
"""Dagster gives a tick 60 seconds; the tables that one tick does not get to come first in the next."""

_RESTORABLE_LAG = timedelta(minutes=5)
"""A full export may be taken at `LatestRestorableDateTime` at the latest (AWS: PointInTimeRecovery_Howitworks)."""

_OBSERVED_KEPT = 500
"""Exports remembered as told already; one that is forgotten while it runs is told once more, no worse."""

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


@dataclass
class Tick:
    """What a tick decides: runs to request, observations to record, and notes for whoever reads the tick."""

    run_requests: list[dg.RunRequest] = field(default_factory=list)
    observations: list[dg.AssetObservation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    observed: list[str] = field(default_factory=list)
    """The ARNs of exports that were observed before, the oldest first."""


def utc_now() -> datetime:
    """Return the time of this machine's clock."""
    return datetime.now(UTC)


def build_export_sensor(
    tables: Sequence[TableSettings],
    jobs: Sequence[Any],
    settings: SensorSettings,
    clock: Callable[[], datetime] = utc_now,
) -> dg.SensorDefinition:
    """Return the one sensor that reconciles all source tables.

    Args:
        tables: The source tables.
        jobs: Their jobs.
        settings: Whether the sensor runs from the start, and how often.
        clock: Tells the time by which windows close.
    """

    @dg.sensor(
        name="export_sensor",
        jobs=jobs,
        minimum_interval_seconds=settings.interval_seconds,
        default_status=(dg.DefaultSensorStatus.RUNNING if settings.running else dg.DefaultSensorStatus.STOPPED),
        description="Starts the exports of closed windows that nobody has exported, and requests a run for each "
        "export that has ended. Exports cost money on the real AWS.",
    )
    def export_sensor(context: dg.SensorEvaluationContext, exports: DynamoDBExports, lake: Lake) -> dg.SensorResult:
        cursor: dict[str, Any] = json.loads(context.cursor) if context.cursor else {}
        tick = Tick(observed=cursor.get("observed", []))
        busy = _busy_windows(context.instance, tables)
        deadline = time.monotonic() + _BUDGET_SECONDS
        last = cursor.get("last")
        for table in _round_robin(tables, last):
            if time.monotonic() > deadline:
                tick.notes.append(f"out of time before {table.name}; it comes first in the next tick")
                break
            try:
                _reconcile(open_pipeline(table, exports, lake), clock(), busy[table.name], tick)
            except DdbLakeError as error:
                # One broken table must not stop the others; it is told here and in the tick's log.
                context.log.error(f"{table.name}: {error}")
                tick.notes.append(f"{table.name}: {error}")
            last = table.name
        return dg.SensorResult(
            run_requests=tick.run_requests,
            asset_events=tick.observations,
            cursor=json.dumps({"last": last, "observed": tick.observed[-_OBSERVED_KEPT:]}),
            skip_reason=None if tick.run_requests else "; ".join(tick.notes) or "every closed window is covered",
        )

    return export_sensor


def _reconcile(pipeline: Pipeline, now: datetime, busy: Sequence[Window], tick: Tick) -> None:
    """Bring one table a step nearer to where it should be."""
    table = pipeline.settings
    if now < table.start + _RESTORABLE_LAG:
        tick.notes.append(f"{table.name}: the bootstrap is due at {format_time(table.start + _RESTORABLE_LAG)}")
        return
    bootstrapped = pipeline.is_bootstrapped()
    if not bootstrapped:
        _reconcile_bootstrap(pipeline, tick)
    newest = floor_quarter_hour(now)
    if newest == table.start:
        return
    covered = pipeline.replica.coverage() if bootstrapped else ()
    for hole in missing(Window(table.start, newest), [*covered, *busy]):
        for request, export in _claims(pipeline, hole, tick):
            if export.status is ExportStatus.IN_PROGRESS:
                tick.notes.append(f"{request} is in progress")
            elif bootstrapped:
                tick.run_requests.append(
                    dg.RunRequest(
                        run_key=f"{table.name}:{request.window.key}:{export.arn}",
                        job_name=incremental_job_name(table),
                        tags=range_tags(request.window),
                    )
                )
            else:
                tick.notes.append(f"{request} has ended and waits for the bootstrap")


def _reconcile_bootstrap(pipeline: Pipeline, tick: Tick) -> None:
    """Start the full export, or hand it over once it has ended."""
    table, request = pipeline.settings, pipeline.bootstrap_request
    export = _latest(pipeline, request) or _start(pipeline, request, tick)
    if export.status is ExportStatus.IN_PROGRESS:
        tick.notes.append(f"{request} is in progress")
        return
    tick.run_requests.append(
        dg.RunRequest(
            run_key=f"{table.name}:{INITIAL}:{export.arn}",
            job_name=initial_load_job_name(table),
            partition_key=INITIAL,
        )
    )


def _claims(pipeline: Pipeline, hole: Window, tick: Tick) -> Iterator[tuple[IncrementalExport, Export]]:
    """Yield the exports of a hole's windows, those that exist first, then those started for the rest.

    What exists is asked of S3 and DynamoDB each time, so that nothing is lost with the sensor's memory.
    """
    claimed: list[Window] = []
    for window in pipeline.exports.find_windows(pipeline.table, hole):
        if hole.start <= window.start and window.end <= hole.end and not _overlaps(window, claimed):
            request = pipeline.window_request(window)
            export = _latest(pipeline, request)
            if export is not None:
                claimed.append(window)
                yield request, export
    unclaimed = [quarter for gap in missing(hole, claimed) for quarter in quarter_hours(gap)]
    for block in blocks(unclaimed):
        request = pipeline.window_request(block)
        try:
            yield request, _start(pipeline, request, tick)
        except WindowNotClosed:
            tick.notes.append(f"{request}: its end is still in the future by DynamoDB's clock")


def _latest(pipeline: Pipeline, request: ExportRequest) -> Export | None:
    """Return the export of a request that counts: a completed one, else a running one, else the first that failed.

    The first, so that a failed export is handed over once: that run tries again, and if it fails as well, a
    person has to look.
    """
    found = pipeline.exports.find(request)
    for status in (ExportStatus.COMPLETED, ExportStatus.IN_PROGRESS):
        of_status = [export for export in found if export.status is status]
        if of_status:
            return of_status[-1]
    return found[0] if found else None


def _start(pipeline: Pipeline, request: ExportRequest, tick: Tick) -> Export:
    """Start an export, or get the one that was started before but has not written anything yet.

    A running one is recorded as an observation, so that people see it.
    """
    pipeline.prepare_recovery()
    export = pipeline.exports.start(request)
    if export.status is not ExportStatus.IN_PROGRESS or export.arn in tick.observed:
        return export
    table = pipeline.settings.name
    match request:
        case FullExport():
            key, partition, when = dg.AssetKey([table, "initial_export"]), INITIAL, format_time(request.time)
        case IncrementalExport():
            key, partition, when = dg.AssetKey([table, "raw_export"]), request.window.key, str(request.window)
    tick.observed.append(export.arn)
    tick.observations.append(
        dg.AssetObservation(
            key,
            partition=partition,
            description=f"started {request}",
            metadata={"export_arn": export.arn, "window": when},
        )
    )
    tick.notes.append(f"started {request}")
    return export


def _busy_windows(instance: dg.DagsterInstance, tables: Sequence[TableSettings]) -> Mapping[str, list[Window]]:
    """Return the windows of each table that unfinished runs are at work on, whoever has launched them."""
    busy: dict[str, list[Window]] = {table.name: [] for table in tables}
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED)):
        window = _window_of_tags(run.tags)
        if window is None:
            continue
        for table in tables:
            key = dg.AssetKey([table.name, "delta_table"])
            if run.job_name == incremental_job_name(table) or key in (run.asset_selection or ()):
                busy[table.name].append(window)
    return busy


def _window_of_tags(tags: Mapping[str, str]) -> Window | None:
    """Return the window that a run is about by its tags, or None if it is about none."""
    first = tags.get(RANGE_START_TAG) or tags.get("dagster/partition")
    last = tags.get(RANGE_END_TAG) or first
    if not first or not last:
        return None
    try:
        start, end = (datetime.strptime(key, KEY_FORMAT).replace(tzinfo=UTC) for key in (first, last))
    except ValueError:
        return None  # the bootstrap's partition
    return Window(start, end + QUARTER_HOUR)


def _overlaps(window: Window, others: Sequence[Window]) -> bool:
    return any(window.start < other.end and other.start < window.end for other in others)


def _round_robin(tables: Sequence[TableSettings], last: str | None) -> list[TableSettings]:
    """Return the tables, beginning after the one that the last tick ended with."""
    names = [table.name for table in tables]
    first = names.index(last) + 1 if last in names else 0
    return [*tables[first:], *tables[:first]]
