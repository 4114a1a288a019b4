"""A run whose process has died is failed, so that its place is free and it is executed again; others are left."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.orphans import PROCESS, Process, fail_orphans, record_process
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud
from ddb_lake_tests.lakes import LakeUnderTest, advance_to, lake_at

LOCATION = "ddb_lake"


@pytest.fixture
def instance(tmp_path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@dg.job
def some_job():
    pass


def origin(location: str) -> RemoteJobOrigin:
    code = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="somewhere"), location_name=location)
    return RemoteJobOrigin(RemoteRepositoryOrigin(code, "__repository__"), "some_job")


def started_run(instance: dg.DagsterInstance, pid: int, location: str = LOCATION) -> dg.DagsterRun:
    """A run as Dagster's launcher leaves it: with an event that names its process's id."""
    run = instance.create_run_for_job(
        some_job,
        status=dg.DagsterRunStatus.STARTED,
        remote_job_origin=origin(location),
        job_code_origin=dg.reconstructable(some_job).get_python_origin(),
    )
    instance.report_engine_event(f"Started process for run (pid: {pid}).", run, EngineEventData.in_process(pid))
    return run


def recorded_run(instance: dg.DagsterInstance, process: Process, location: str = LOCATION) -> str:
    """The same, with what `record_process` adds in that process."""
    run = started_run(instance, process.pid, location)
    event = EngineEventData({"pid": dg.MetadataValue.text(str(process.pid)), PROCESS: process.to_json()})
    instance.report_engine_event("recorded", run, event)
    return run.run_id


def status_of(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def this(**changes: Any) -> Process:
    process = Process.current()
    assert process
    return replace(process, **changes)


def test_a_run_without_its_process_is_failed_and_one_with_it_is_left(instance):
    dead = recorded_run(instance, this(pid=dead_process()))
    alive = started_run(instance, os.getpid())
    record_process(instance, alive)
    assert fail_orphans(instance, LOCATION) == [dead]
    assert status_of(instance, dead) is dg.DagsterRunStatus.FAILURE
    assert status_of(instance, alive.run_id) is dg.DagsterRunStatus.STARTED
    assert fail_orphans(instance, LOCATION) == []


def test_a_later_process_of_the_same_id_is_not_the_runs(instance):
    reused = recorded_run(instance, this(started="1"))
    assert fail_orphans(instance, LOCATION) == [reused]


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"host": "another"},
        {"machine": "another"},
        {"namespace": "pid:[1]"},  # another container of this machine
        {"boot": "another"},  # perhaps another host, cloned from the same image
        {"machine": "", "boot": "another"},  # perhaps another container of the same name, on another machine
    ],
    ids=str,
)
def test_a_run_whose_process_can_not_be_seen_from_here_is_left(instance, elsewhere):
    run = recorded_run(instance, this(pid=dead_process(), **elsewhere))
    assert fail_orphans(instance, LOCATION) == []
    assert status_of(instance, run) is dg.DagsterRunStatus.STARTED


def test_without_an_id_of_the_boot_nothing_is_proven():
    assert this(pid=dead_process()).is_gone(this())
    assert not this(pid=dead_process(), boot="").is_gone(this(boot=""))


def test_a_run_of_another_code_location_is_left(instance):
    run = recorded_run(instance, this(pid=dead_process()), "another")
    assert fail_orphans(instance, LOCATION) == []
    assert status_of(instance, run) is dg.DagsterRunStatus.STARTED


def test_a_run_that_records_no_process_is_left_whatever_process_id_dagster_names(instance):
    started_run(instance, dead_process())
    unreadable = started_run(instance, pid := dead_process())
    event = EngineEventData({"pid": dg.MetadataValue.text(str(pid)), PROCESS: "of a later version"})
    instance.report_engine_event("recorded", unreadable, event)
    assert fail_orphans(instance, LOCATION) == []


def test_a_step_in_a_process_of_its_own_is_not_taken_for_the_run(instance):
    run = started_run(instance, os.getpid())
    of_step = this(pid=dead_process())
    event = EngineEventData({"pid": dg.MetadataValue.text(str(of_step.pid)), PROCESS: of_step.to_json()})
    instance.report_engine_event("recorded", run, event)
    assert fail_orphans(instance, LOCATION) == []


def test_a_run_that_ends_while_it_is_looked_at_stays_as_it_ended(instance, monkeypatch):
    run_id = recorded_run(instance, this(pid=dead_process()))
    seen = instance.get_runs()
    run = instance.get_run_by_id(run_id)
    instance.report_run_failed(run, "by itself")
    monkeypatch.setattr(instance, "get_runs", lambda **_: seen)
    assert fail_orphans(instance, LOCATION) == []


def test_runs_that_are_launched_elsewhere_are_left_to_their_launcher():
    with dg.DagsterInstance.ephemeral() as instance:
        run = recorded_run(instance, this(pid=dead_process()))
        assert fail_orphans(instance, LOCATION) == []
        assert status_of(instance, run) is dg.DagsterRunStatus.STARTED


@pytest.fixture
def lake(tmp_path) -> Iterator[LakeUnderTest]:
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11)) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        advance_to(cloud, 1)
        with lake_at(cloud, tmp_path) as lake:
            yield lake


def test_every_run_records_its_process_once(lake):
    run = lake.bootstrap().run_id
    events = lake.instance.all_logs(run, of_type=dg.DagsterEventType.ENGINE_EVENT)
    told = [each.dagster_event.engine_event_data.metadata for each in events if each.dagster_event]
    recorded = [metadata[PROCESS].value for metadata in told if PROCESS in metadata]
    assert [Process.parse(str(each)) for each in recorded] == [this()]


def test_a_tick_that_can_not_look_for_orphans_reconciles_the_tables_all_the_same(lake, instance, monkeypatch):
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the run storage is away")

    monkeypatch.setattr(instance, "get_records_for_run", fail)
    recorded_run(instance, this(pid=dead_process()))
    with dg.build_sensor_context(
        instance=instance,
        definitions=lake.definitions,
        resources={"exports": lake.exports, "lake": lake.lake},
    ) as context:
        context._code_location_origin = origin(LOCATION).repository_origin.code_location_origin
        tick: Any = lake.definitions.resolve_sensor_def("export_sensor").evaluate_tick(context)
    assert [request.job_name for request in tick.run_requests] == []
    assert "RuntimeError: the run storage is away" in tick.skip_message
    assert lake.started() > 0
