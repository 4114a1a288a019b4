"""Runs whose process has died without a word, as after a power cut: found, and failed so that they are retried.

Dagster's own monitoring can't see that where it starts runs as processes of the same machine: it would keep such a
run, and the pool's place with it, until the longest run time is over.
"""

import os

import dagster as dg

_AT_WORK = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def fail_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs of this machine whose process is gone; Dagster's run retries execute them again.

    Does nothing where runs are launched elsewhere, such as on Kubernetes: those launchers check their runs' health.

    Returns:
        The ids of the runs that were failed.
    """
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return []
    failed: list[str] = []
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_AT_WORK)):
        pid = _process_of(instance, run.run_id)
        if pid is not None and not _is_alive(pid):
            instance.report_run_failed(run, f"its process {pid} is gone; it was killed, or the machine was restarted")
            failed.append(run.run_id)
    return failed


def _process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """Return the process that the run's newest event with one names."""
    for record in instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, ascending=False
    ).records:
        event = record.event_log_entry.dagster_event
        metadata = event.engine_event_data.metadata if event else {}
        if "pid" in metadata:
            return int(str(metadata["pid"].value))
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
