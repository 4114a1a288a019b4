"""Handing ended exports over to runs: once each, again after a failure that may pass, and no further."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg

from ddb_lake.exports import Export, ExportStatus

HANDOVER_TAG = "ddb_lake/handover"
"""The tag by which the runs of one handover are found again."""

_MOST_RUNS = 6
"""Runs for completed exports, whose steps cost nothing to repeat, before a person has to look."""
_FIRST_PAUSE = timedelta(minutes=1)
"""Between the first failure and the second run; doubled after each further failure."""


@dataclass(frozen=True)
class PastRun:
    """A run that was requested before: its id, how it stands, and when it ended, if it has."""

    run_id: str
    status: dg.DagsterRunStatus
    ended_at: datetime | None


class RunHistory:
    """What the Dagster instance knows of the runs of handovers.

    Args:
        instance: The Dagster instance.
        now: The time of this tick.
    """

    def __init__(self, instance: dg.DagsterInstance, now: datetime) -> None:
        self._instance = instance
        self.now = now

    def runs_of(self, handover: str) -> list[PastRun]:
        """Return the runs of a handover, the newest first."""
        records = self._instance.get_run_records(
            filters=dg.RunsFilter(tags={HANDOVER_TAG: handover}), limit=_MOST_RUNS
        )
        return [
            PastRun(
                record.dagster_run.run_id,
                record.dagster_run.status,
                datetime.fromtimestamp(record.end_time, UTC) if record.end_time else None,
            )
            for record in records
        ]


@dataclass(frozen=True)
class Handover:
    """Ended exports that one run is to take to the replica.

    `key` names the first partition, for people; what identifies a handover are the exports.
    """

    table: str
    key: str
    job: str
    exports: Sequence[Export]
    partition: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def identity(self) -> str:
        """The same for the same exports, whoever asks and whenever."""
        arns = "\n".join(sorted(export.arn for export in self.exports))
        return f"{self.table}:{self.key}:{hashlib.sha256(arns.encode()).hexdigest()[:16]}"

    def decide(self, history: RunHistory) -> tuple[dg.RunRequest | None, str]:
        """Return the run to request, if any, and a note on why.

        A run over completed exports that has failed is requested again, with growing pauses; so is one that has
        succeeded although its windows are not covered: then the lake has been removed. A failed export is handed
        over once: that run starts a new attempt, and a further one is a person's decision.
        """
        runs = history.runs_of(self.identity)
        what = f"{self.table} {self.key}"
        if runs:
            newest = runs[0]
            completed = all(export.status is ExportStatus.COMPLETED for export in self.exports)
            if newest.status is dg.DagsterRunStatus.CANCELED:
                return None, f"{what}: run {newest.run_id} was canceled; materialise it by hand"
            if newest.ended_at is None:
                return None, f"{what}: run {newest.run_id} is at work"
            if len(runs) >= (_MOST_RUNS if completed else 1):
                return (
                    None,
                    f"{what}: {len(runs)} runs have not covered it; look at run {newest.run_id}, "
                    "then materialise it by hand",
                )
            due = newest.ended_at + _FIRST_PAUSE * 2 ** (len(runs) - 1)
            if history.now < due:
                return (
                    None,
                    f"{what}: run {newest.run_id} has not covered it; the next one is due at {due:%H:%M:%S} UTC",
                )
        request = dg.RunRequest(
            run_key=f"{self.identity}#{len(runs) + 1}",
            job_name=self.job,
            partition_key=self.partition,
            tags={**self.tags, HANDOVER_TAG: self.identity},
        )
        return request, f"{what}: requested run {len(runs) + 1}"
