"""A run whose process has died is failed, so that its place is free and it is executed again; others are left."""

import os
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from ddb_lake.orphans import fail_orphans


@pytest.fixture
def instance(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@dg.job
def some_job():
    pass


def started_run(instance: dg.DagsterInstance, pid: int) -> str:
    run = instance.create_run_for_job(some_job, status=dg.DagsterRunStatus.STARTED)
    instance.report_engine_event(
        f"Started process for run (pid: {pid}).", run, EngineEventData({"pid": dg.MetadataValue.text(str(pid))})
    )
    return run.run_id


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_without_its_process_is_failed_and_one_with_it_is_left(instance):
    dead, alive = started_run(instance, dead_process()), started_run(instance, os.getpid())
    assert fail_orphans(instance) == [dead]
    assert status_of(instance, dead) is dg.DagsterRunStatus.FAILURE
    assert status_of(instance, alive) is dg.DagsterRunStatus.STARTED
    assert fail_orphans(instance) == []


def test_runs_that_are_launched_elsewhere_are_left_to_their_launcher():
    with dg.DagsterInstance.ephemeral() as instance:
        run = started_run(instance, dead_process())
        assert fail_orphans(instance) == []
        assert status_of(instance, run) is dg.DagsterRunStatus.STARTED
