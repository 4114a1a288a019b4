"""The export sensor compares what each replica should cover with what it does.

It starts the exports that are missing and hands those that have ended over to runs, so that no worker waits while
DynamoDB exports. What it remembers between ticks saves calls and repeated words; losing that is harmless.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import BaseModel, ValidationError

from ddb_lake.checks import COVERAGE
from ddb_lake.config import SensorSettings, TableSettings
from ddb_lake.deadlines import OutOfTime, nothing_begins_after, out_of_time
from ddb_lake.errors import DdbLakeError
from ddb_lake.exports import Export, ExportRequest, ExportStatus, FullExport, IncrementalExport
from ddb_lake.exports.errors import TRANSIENT, ExportError, WindowNotClosed
from ddb_lake.exports.remembering import Answers
from ddb_lake.handover import Handover, RunHistory
from ddb_lake.jobs import incremental_job_name, initial_load_job_name
from ddb_lake.orphans import fail_orphans
from ddb_lake.partitions import INITIAL, RANGE_END_TAG, RANGE_START_TAG, range_tags
from ddb_lake.pipeline import Pipeline
from ddb_lake.resources import DynamoDBExports, Lake, open_pipeline
from ddb_lake.windows import (
    KEY_FORMAT,
    QUARTER_HOUR,
    Window,
    blocks,
    ceil_quarter_hour,
    covers,
    floor_quarter_hour,
    format_time,
    merge,
    missing,
    parse_time,
    quarter_hours,
    touch,
)

_BUDGET_SECONDS = 25
"""Dagster gives a tick 60 seconds, and a call that begins in time may wait up to 25 s for an endpoint that hangs.

What one tick does not get to comes first in the next.
"""

_RESTORABLE_LAG = timedelta(minutes=5)
"""A full export may be taken at `LatestRestorableDateTime` at the latest (AWS: PointInTimeRecovery_Howitworks)."""

_LATE = timedelta(hours=2)
"""How old a window may be before it is called late; windows, exports and runs take 20 to 30 minutes together."""

_OBSERVED_KEPT = 500
"""Exports remembered as told already; one that is forgotten while it runs is told once more, no worse."""

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_ALL = frozenset(ExportStatus)


class Memory(BaseModel):
    """The sensor's cursor.

    `started` holds, by table, the windows (as pairs of ISO times) whose exports the sensor has started and that
    are not covered yet: an export that has not written anything is known by nothing else. `problems` holds what was
    last told of a table that is not in step.
    """

    last: str | None = None
    observed: list[str] = []
    started: dict[str, list[tuple[str, str]]] = {}
    problems: dict[str, str] = {}

    @classmethod
    def recall(cls, cursor: str | None) -> "Memory":
        """Read a cursor; one that can't be read is as good as none."""
        try:
            return cls.model_validate_json(cursor) if cursor else cls()
        except ValidationError:
            return cls()

    def windows_started(self, table: str) -> list[Window]:
        """Return the windows whose exports were started for a table and are not covered yet."""
        return [Window(parse_time(start), parse_time(end)) for start, end in self.started.get(table, [])]

    def keep_started(self, table: str, windows: Iterable[Window]) -> None:
        """Remember just these windows for a table."""
        self.started[table] = [(format_time(w.start), format_time(w.end)) for w in sorted(set(windows))]


@dataclass
class Tick:
    """What a tick decides: runs to request, events to record, and notes for whoever reads the tick."""

    memory: Memory
    runs: RunHistory
    run_requests: list[dg.RunRequest] = field(default_factory=list)
    events: list[dg.AssetObservation | dg.AssetCheckEvaluation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def hand_over(self, handover: Handover) -> None:
        """Request a run, unless one has done that or several have failed."""
        request, note = handover.decide(self.runs)
        if request is not None:
            self.run_requests.append(request)
        self.notes.append(note)


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
    # What a tick has learned of a table before it ran out of time, for the next: else, where every answer is slow, no
    # tick would come further than the one before. Losing it is harmless.
    answers = {table.name: Answers() for table in tables}

    @dg.sensor(
        name="export_sensor",
        jobs=jobs,
        minimum_interval_seconds=settings.interval_seconds,
        default_status=(dg.DefaultSensorStatus.RUNNING if settings.running else dg.DefaultSensorStatus.STOPPED),
        description="Starts the exports of closed windows that nobody has exported, and requests a run for each "
        "export that has ended. Exports cost money on the real AWS.",
    )
    def export_sensor(context: dg.SensorEvaluationContext, exports: DynamoDBExports, lake: Lake) -> dg.SensorResult:
        exports, lake = exports.for_a_tick(), lake.for_a_tick()
        memory = Memory.recall(context.cursor)
        tick = Tick(memory, RunHistory(context.instance, utc_now()))
        with nothing_begins_after(_BUDGET_SECONDS):
            tick.notes += _fail_orphans(context)
            busy = _busy_windows(context.instance, tables)
            for table in _round_robin(tables, memory.last):
                if out_of_time():
                    tick.notes.append(f"out of time before {table.name}; it comes first in the next tick")
                    break
                known = answers[table.name]
                try:
                    pipeline = open_pipeline(table, exports, lake, answers=known)
                    try:
                        finished = _reconcile(pipeline, clock(), busy[table.name], tick)
                    finally:
                        tick.notes += [f"{table.name}: passed over: {each}" for each in pipeline.exports.passed_over]
                    if finished:
                        known.clear()
                except (OutOfTime, *TRANSIENT) as error:
                    context.log.warning(f"{table.name}: {error}")
                    tick.notes.append(f"{table.name}: {error}; the next tick goes on with it")
                except DdbLakeError as error:
                    known.clear()
                    context.log.error(f"{table.name}: {error}")
                    tick.notes.append(f"{table.name}: {error}")
                except Exception as error:
                    # Whatever it is, it must not stop the other tables.
                    known.clear()
                    context.log.exception(f"{table.name}: unexpected")
                    tick.notes.append(f"{table.name}: unexpected: {type(error).__name__}: {error}")
                memory.last = table.name
        memory.observed = memory.observed[-_OBSERVED_KEPT:]
        for note in tick.notes:
            context.log.info(note)
        return dg.SensorResult(
            run_requests=tick.run_requests,
            asset_events=tick.events,
            cursor=memory.model_dump_json(),
            skip_reason=None if tick.run_requests else "; ".join(tick.notes) or "every closed window is covered",
        )

    return export_sensor


def _fail_orphans(context: dg.SensorEvaluationContext) -> list[str]:
    """Fail the runs of this code location that have lost their process; return notes on it."""
    origin = context.code_location_origin
    if origin is None:
        return []  # evaluated by hand
    try:
        return [f"run {each} has lost its process" for each in fail_orphans(context.instance, origin.location_name)]
    except Exception as error:
        # Whatever it is, it must not keep the tables from being reconciled.
        context.log.exception("runs without a process could not be looked for")
        return [f"runs without a process could not be looked for: {type(error).__name__}: {error}"]


def _reconcile(pipeline: Pipeline, now: datetime, busy: Sequence[Window], tick: Tick) -> bool:
    """Bring one table a step nearer to where it should be; tell whether all of it was looked at."""
    table = pipeline.settings
    if now < table.start + _RESTORABLE_LAG:
        tick.notes.append(f"{table.name}: the bootstrap is due at {format_time(table.start + _RESTORABLE_LAG)}")
        return True
    pipeline.require_source()
    bootstrapped = pipeline.is_bootstrapped()
    if not bootstrapped:
        _reconcile_bootstrap(pipeline, tick)
    newest = floor_quarter_hour(now)
    if newest <= table.start:
        return True
    span = Window(table.start, newest)
    uncovered = missing(span, pipeline.replica.coverage()) if bootstrapped else (span,)
    started = [w for w in tick.memory.windows_started(table.name) if any(touch(w, hole) for hole in uncovered)]
    tick.memory.keep_started(table.name, started)
    lost: list[Window] = []
    ended: list[Export] = []
    todo = [quarter for hole in uncovered for part in missing(hole, busy) for quarter in quarter_hours(part)]
    finished = True
    for block in blocks(todo):
        try:
            _find_or_start(pipeline, block, started, lost, ended, tick, now)
        except (OutOfTime, *TRANSIENT) as error:
            tick.notes.append(f"{table.name}: {error}")
            finished = False
            break  # it is about time or AWS as a whole; what has ended is handed over all the same
        except ExportError as error:
            tick.notes.append(f"{table.name}: {error}")
    if bootstrapped:
        _hand_windows_over(table, span, ended, tick)
    elif ended:
        tick.notes.append(f"{table.name}: {len(ended)} exports have ended and wait for the bootstrap")
    if finished or table.name not in tick.memory.problems:
        _tell_how_it_stands(table, _problem(uncovered, lost, now), tick)
    return finished


def _reconcile_bootstrap(pipeline: Pipeline, tick: Tick) -> None:
    """Start the full export, or hand it over once it has ended."""
    table, request = pipeline.settings, pipeline.bootstrap_request
    export = pipeline.exports.current(request) or _start(pipeline, request, tick)
    if export.status is ExportStatus.IN_PROGRESS:
        tick.notes.append(f"{request} is in progress")
        return
    tick.hand_over(Handover(table.name, INITIAL, initial_load_job_name(table), [export], partition=INITIAL))


def _find_or_start(
    pipeline: Pipeline,
    block: Window,
    started: list[Window],
    lost: list[Window],
    ended: list[Export],
    tick: Tick,
    now: datetime,
) -> None:
    """Find the exports of a block of at most a day, and start those that are missing.

    What exists is asked of S3 and DynamoDB each time, so that nothing is lost with the sensor's memory. Windows
    that can't be exported any more are added to `lost`, exports that have ended to `ended`.

    Raises:
        OutOfTime: If there is no time for the rest; then the completed ones found so far are in `ended`.
    """
    claims = [window for window in started if touch(window, block)]
    found: dict[Window, Export] = {}
    try:
        plan = pipeline.plan(block, claiming=_ALL, claims=claims, found=found)
    except DdbLakeError:
        # Failed ones not yet: another export may serve their windows, which a new attempt would be paid for.
        ended += [export for export in found.values() if export.status is ExportStatus.COMPLETED]
        raise
    ended += [export for _, export in plan if export is not None and export.status is not ExportStatus.IN_PROGRESS]
    for planned, known in plan:
        request, export = planned, known
        if export is None:
            request = _restorable(pipeline, planned, lost)
            if request is None:
                continue
            if request.window.end > now:
                tick.notes.append(f"{request} is due at {format_time(request.window.end)}")
                continue
            try:
                export = _start(pipeline, request, tick)
            except WindowNotClosed:
                tick.notes.append(f"{request}: its end is still in the future by DynamoDB's clock")
                continue
            started.append(request.window)
            tick.memory.keep_started(pipeline.settings.name, started)
        if export.status is ExportStatus.IN_PROGRESS:
            tick.notes.append(f"{request} is in progress")
        elif known is None:
            ended.append(export)


def _restorable(pipeline: Pipeline, request: IncrementalExport, lost: list[Window]) -> IncrementalExport | None:
    """Return the part of a request that point-in-time recovery reaches back to; the rest is added to `lost`."""
    earliest = pipeline.exports.recovery(pipeline.table).earliest
    if earliest is None or earliest <= request.window.start:
        return request
    first = ceil_quarter_hour(earliest)
    lost.append(Window(request.window.start, min(first, request.window.end)))
    return pipeline.window_request(Window(first, request.window.end)) if first < request.window.end else None


def _hand_windows_over(table: TableSettings, span: Window, ended: Sequence[Export], tick: Tick) -> None:
    """Request a run for each stretch of adjacent windows whose exports have ended, of at most a day."""
    for succeeded in (True, False):
        exports = [e for e in ended if (e.status is ExportStatus.COMPLETED) is succeeded and e.window is not None]
        quarters = {
            quarter
            for export in exports
            for quarter in quarter_hours(export.window or span)
            if span.start < quarter.end and quarter.start < span.end
        }
        if succeeded:
            # Exports that others have started may end within a quarter-hour, of which the rest is not there yet.
            there = merge(export.window for export in exports if export.window is not None)
            quarters = {each for each in quarters if covers(there, Window(max(each.start, span.start), each.end))}
        for stretch in blocks(quarters):
            inside = [e for e in exports if e.window is not None and touch(e.window, stretch)]
            tick.hand_over(
                Handover(table.name, stretch.key, incremental_job_name(table), inside, tags=range_tags(stretch))
            )


def _tell_how_it_stands(table: TableSettings, problem: str, tick: Tick) -> None:
    """Fail the coverage check, once for each problem; the next window that is applied evaluates it anew."""
    if problem == tick.memory.problems.get(table.name, ""):
        return
    tick.memory.problems[table.name] = problem
    if problem:
        tick.events.append(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey([table.name, "delta_table"]),
                check_name=COVERAGE,
                passed=False,
                severity=dg.AssetCheckSeverity.ERROR,
                description=problem,
                metadata={},
            )
        )


def _problem(uncovered: Sequence[Window], lost: Sequence[Window], now: datetime) -> str:
    """Say what is wrong with a replica that lacks some windows, or nothing where time will mend it."""
    if lost:
        return (
            f"DynamoDB can't export {', '.join(map(str, lost))} any more: the replica is stale. What to do: move the "
            "table's start in lake.yaml to a later quarter-hour, for a new bootstrap."
        )
    if uncovered and now - uncovered[0].start > _LATE:
        return f"the replica is behind since {format_time(uncovered[0].start)}; the sensor's ticks tell why"
    return ""


def _start(pipeline: Pipeline, request: ExportRequest, tick: Tick) -> Export:
    """Start an export, or get the one that was started before but has not written anything yet.

    A running one is recorded as an observation, so that people see it.
    """
    pipeline.prepare_recovery()
    export = pipeline.exports.start(request)
    if export.status is not ExportStatus.IN_PROGRESS or export.arn in tick.memory.observed:
        return export
    table = pipeline.settings.name
    match request:
        case FullExport():
            key, partition, when = dg.AssetKey([table, "initial_export"]), INITIAL, format_time(request.time)
        case IncrementalExport():
            key, partition, when = dg.AssetKey([table, "raw_export"]), request.window.key, str(request.window)
    tick.memory.observed.append(export.arn)
    tick.events.append(
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


def _round_robin(tables: Sequence[TableSettings], last: str | None) -> list[TableSettings]:
    """Return the tables, beginning after the one that the last tick ended with."""
    names = [table.name for table in tables]
    first = names.index(last) + 1 if last in names else 0
    return [*tables[first:], *tables[:first]]
