"""The sensor brings a table from nothing to covered, starts each export once, and hands each ended one over once."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from ddb_lake.config import Settings
from ddb_lake.definitions import build_definitions
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.handover import Handover, RunHistory
from ddb_lake.iam import render_policy
from ddb_lake.partitions import INITIAL, range_tags
from ddb_lake_tests.cloud import BUCKET, NOON, TABLE, Cloud
from ddb_lake_tests.lakes import LakeUnderTest, advance_to, lake_at, quarter

EXPORT_SECONDS = 300


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A table with a write at noon, exports that take five minutes, and the time one hour and a minute later."""
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11), delay=EXPORT_SECONDS) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        advance_to(cloud, 0)
        cloud.put("at noon")
        advance_to(cloud, 4, 60)
        yield cloud


@pytest.fixture
def lake(cloud, tmp_path) -> Iterator[LakeUnderTest]:
    with lake_at(cloud, tmp_path) as lake:
        yield lake


@pytest.fixture
def bootstrapped(lake) -> LakeUnderTest:
    """A lake with its bootstrap and nothing more, and the cursor-less sensor."""
    lake.cloud.control.settings(delay_seconds=0)
    lake.bootstrap()
    lake.cloud.control.settings(delay_seconds=EXPORT_SECONDS)
    return lake


def jobs(tick) -> list[tuple[str | None, str | None]]:
    return [(request.job_name, request.partition_key) for request in tick.run_requests]


def test_from_nothing_to_covered_in_four_ticks(lake):
    first = lake.tick()
    assert first.run_requests == []
    assert lake.started() == 2  # the full export and one for all four windows, side by side
    assert {
        (event.asset_key.path[-1], event.partition, event.metadata["window"].value) for event in first.asset_events
    } == {
        ("initial_export", INITIAL, "2026-11-24T12:00:00Z"),
        ("raw_export", quarter(0).key, str(quarter(0, 4))),
    }
    assert "is in progress" in first.skip_message

    lake.cloud.control.advance(EXPORT_SECONDS + 1)
    second = lake.tick(first.cursor)
    assert jobs(second) == [("measurement_initial_load", INITIAL)]  # windows wait for the bootstrap
    assert lake.run(second.run_requests[0]).success

    third = lake.tick(second.cursor)
    (request,) = third.run_requests
    assert request.job_name == "measurement_incremental"
    assert range_tags(quarter(0, 4)).items() <= request.tags.items()
    assert lake.run(request).success
    assert lake.parity().equal

    fourth = lake.tick(third.cursor)
    assert fourth.run_requests == []
    assert fourth.skip_message == "every closed window is covered"
    assert lake.started() == 2


def test_a_lost_cursor_starts_nothing_twice_and_asks_for_the_same_runs(bootstrapped):
    first = bootstrapped.tick()
    assert bootstrapped.tick(cursor=None).run_requests == []
    bootstrapped.cloud.control.advance(EXPORT_SECONDS + 1)
    with_cursor, without = bootstrapped.tick(first.cursor), bootstrapped.tick(None)
    assert [r.run_key for r in with_cursor.run_requests] == [r.run_key for r in without.run_requests]
    assert len(without.run_requests) == 1
    assert bootstrapped.started() == 2


def test_a_started_export_is_observed_once(bootstrapped):
    first = bootstrapped.tick()
    assert len(first.asset_events) == 1
    assert bootstrapped.tick(first.cursor).asset_events == []


def test_windows_that_close_while_an_export_runs_get_the_next_one(bootstrapped):
    first = bootstrapped.tick()
    advance_to(bootstrapped.cloud, 6, 60)
    second = bootstrapped.tick(first.cursor)
    (request,) = second.run_requests  # of the first, which has ended meanwhile
    assert range_tags(quarter(0, 4)).items() <= request.tags.items()
    assert bootstrapped.pipeline.exports.find_windows(bootstrapped.pipeline.table, quarter(0, 6)) == (
        quarter(0, 4),
        quarter(4, 2),
    )


def test_a_hole_is_filled(bootstrapped):
    bootstrapped.cloud.control.settings(delay_seconds=0)
    bootstrapped.materialise(quarter(0))
    bootstrapped.materialise(quarter(2, 2))
    first = bootstrapped.tick()
    (request,) = bootstrapped.tick(first.cursor).run_requests
    assert range_tags(quarter(1)).items() <= request.tags.items()
    bootstrapped.run(request)
    assert bootstrapped.pipeline.replica.coverage() == (quarter(0, 4),)


def test_a_long_outage_is_made_up_for_in_days(bootstrapped):
    advance_to(bootstrapped.cloud, 96 + 50, 60)
    bootstrapped.tick()
    assert bootstrapped.pipeline.exports.find_windows(bootstrapped.pipeline.table, quarter(0, 146)) == (
        quarter(0, 96),
        quarter(96, 50),
    )


def test_an_open_window_is_left_alone(bootstrapped):
    advance_to(bootstrapped.cloud, 4, 899)
    bootstrapped.tick()
    windows = bootstrapped.pipeline.exports.find_windows(bootstrapped.pipeline.table, quarter(0, 8))
    assert windows == (quarter(0, 4),)


def test_windows_that_a_run_is_at_work_on_are_left_to_it(bootstrapped):
    job = bootstrapped.definitions.resolve_job_def("measurement_incremental")
    bootstrapped.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=range_tags(quarter(1, 2)))
    bootstrapped.tick()
    windows = bootstrapped.pipeline.exports.find_windows(bootstrapped.pipeline.table, quarter(0, 4))
    assert windows == (quarter(0), quarter(3))


DENIED = {"failure_code": "S3AccessDenied", "failure_message": "Access Denied"}


def test_a_failed_export_is_handed_over_once_and_then_left_to_a_person(bootstrapped):
    bootstrapped.cloud.control.settings(delay_seconds=0, next_export=DENIED)
    first = bootstrapped.tick()
    second = bootstrapped.tick(first.cursor)
    (request,) = second.run_requests
    bootstrapped.cloud.control.settings(next_export=DENIED)
    assert not bootstrapped.run(request, raise_on_error=False).success
    started = bootstrapped.started()
    third = bootstrapped.tick(second.cursor)
    assert third.run_requests == []
    assert "1 runs have not covered it" in third.skip_message
    assert bootstrapped.started() == started
    assert bootstrapped.materialise(quarter(0, 4)).success
    assert bootstrapped.parity().equal


def test_failing_exports_cost_one_for_each_new_window_and_no_more(cloud, tmp_path):
    with lake_at(cloud, tmp_path, bucket="not-there-yet") as lake:
        cursor = None
        for n in range(4, 8):
            advance_to(cloud, n, 60)
            for _ in range(3):
                cursor = lake.tick(cursor).cursor
                cloud.control.advance(EXPORT_SECONDS / 2)
        assert lake.started() == 1 + 4  # the bootstrap, four windows together, and three as they closed


def test_a_run_that_fails_after_a_completed_export_is_requested_again(bootstrapped):
    first = bootstrapped.tick()
    bootstrapped.cloud.control.advance(EXPORT_SECONDS + 1)
    (request,) = bootstrapped.tick(first.cursor).run_requests
    keys = [
        key
        for key in bootstrapped.cloud.object_keys()
        if "/incremental/" in key and key.endswith("manifest-files.json")
    ]
    body = bootstrapped.cloud.read(BUCKET, keys[0])
    bootstrapped.cloud.s3.delete_object(Bucket=BUCKET, Key=keys[0])
    assert not bootstrapped.run(request, raise_on_error=False).success
    assert "the next one is due at" in bootstrapped.tick(first.cursor).skip_message

    bootstrapped.cloud.s3.put_object(Bucket=BUCKET, Key=keys[0], Body=body)
    exports = [export for _, export in bootstrapped.pipeline.completed_exports(quarter(0, 4))]
    handover = Handover(TABLE, quarter(0).key, request.job_name, exports, tags=range_tags(quarter(0, 4)))
    later = RunHistory(bootstrapped.instance, datetime.now(UTC) + timedelta(minutes=2))
    again, _ = handover.decide(later)
    assert again is not None
    assert again.run_key != request.run_key
    assert bootstrapped.run(again).success
    assert bootstrapped.parity().equal
    assert bootstrapped.started() == 2


def test_the_bootstrap_waits_until_its_time_can_be_restored(cloud, tmp_path):
    with lake_at(cloud, tmp_path, start=NOON.replace(hour=13)) as lake:
        assert "the bootstrap is due at 2026-11-24T13:05:00Z" in lake.tick().skip_message
        assert lake.started() == 0
        advance_to(cloud, 4, 300)
        lake.tick()
        assert lake.started() == 1


@pytest.fixture
def two_tables(cloud, lake) -> LakeUnderTest:
    """The lake with a second table, before the first, that does not exist."""
    settings = lake.settings.model_dump()
    broken = {"table": "nowhere", "region": "us-east-1", "start": NOON, "bucket": BUCKET}
    settings["tables"] = [broken, *settings["tables"]]
    lake.settings = Settings.model_validate(settings)
    cloud.control.set_policy(render_policy(lake.settings))
    lake.definitions = build_definitions(lake.settings, clock=cloud.control.now)
    return lake


def test_a_damaged_replica_does_not_stop_the_others(two_tables, tmp_path):
    log = tmp_path / "lake" / "nowhere" / "replica" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("this is no commit")
    two_tables.cloud.create_table("nowhere")
    two_tables.cloud.control.backdate_table("us-east-1", "nowhere", created_at=NOON, pitr_enabled_at=NOON)
    tick = two_tables.tick()
    assert "00000000000000000000.json holds a line that is not JSON" in tick.skip_message
    assert two_tables.started() == 2


def test_one_broken_table_does_not_stop_the_others(two_tables):
    tick = two_tables.tick()
    assert "nowhere: describing the table nowhere" in tick.skip_message
    assert two_tables.started() == 2


@pytest.mark.parametrize(("last", "first"), [(None, "nowhere"), ("nowhere", TABLE), (TABLE, "nowhere")])
def test_a_tick_begins_after_the_table_that_the_last_one_ended_with(two_tables, last, first):
    message = two_tables.tick(json.dumps({"last": last})).skip_message
    places = {name: message.index(name) for name in ("nowhere", TABLE)}
    assert min(places, key=lambda name: places[name]) == first


def test_a_lake_that_was_removed_is_built_again(bootstrapped):
    bootstrapped.cloud.control.settings(delay_seconds=0)
    first = bootstrapped.tick()
    (request,) = bootstrapped.tick(first.cursor).run_requests
    bootstrapped.run(request)
    exports = [export for _, export in bootstrapped.pipeline.completed_exports(quarter(0, 4))]
    handover = Handover(TABLE, quarter(0).key, request.job_name, exports, tags=range_tags(quarter(0, 4)))
    again, _ = handover.decide(RunHistory(bootstrapped.instance, datetime.now(UTC) + timedelta(minutes=2)))
    assert again is not None


def test_a_table_that_has_fallen_behind_is_told_once(bootstrapped):
    advance_to(bootstrapped.cloud, 12)
    first = bootstrapped.tick()
    (check,) = [event for event in first.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    assert not check.passed
    assert "behind since 2026-11-24T12:00:00Z" in (check.description or "")
    assert not [e for e in bootstrapped.tick(first.cursor).asset_events if isinstance(e, dg.AssetCheckEvaluation)]


def test_windows_lost_to_a_gap_in_recovery_are_told_once_and_the_others_go_on(bootstrapped):
    cloud = bootstrapped.cloud
    advance_to(cloud, 5, 60)
    cloud.switch_recovery(on=False)
    cloud.switch_recovery(on=True)
    advance_to(cloud, 8, 60)
    first = bootstrapped.tick()
    (check,) = [event for event in first.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    assert not check.passed
    assert str(quarter(0, 6)) in (check.description or "")
    assert "new bootstrap" in (check.description or "")
    windows = bootstrapped.pipeline.exports.find_windows(bootstrapped.pipeline.table, quarter(0, 8))
    assert windows == (quarter(6, 2),)
    assert not [e for e in bootstrapped.tick(first.cursor).asset_events if isinstance(e, dg.AssetCheckEvaluation)]


def test_recovery_that_is_off_is_told_and_no_export_is_begun(bootstrapped):
    bootstrapped.cloud.switch_recovery(on=False)
    assert "point-in-time recovery of measurement is off" in bootstrapped.tick().skip_message
    assert bootstrapped.started() == 1


def test_an_export_wider_than_the_hole_is_used_and_none_is_begun(bootstrapped):
    bootstrapped.cloud.control.settings(delay_seconds=0)
    pipeline = bootstrapped.pipeline
    pipeline.start_export(pipeline.window_request(quarter(0, 4)))
    (request,) = bootstrapped.tick().run_requests
    assert range_tags(quarter(0, 4)).items() <= request.tags.items()
    assert bootstrapped.started() == 2


def test_adjacent_exports_that_have_ended_are_one_run(bootstrapped):
    bootstrapped.cloud.control.settings(delay_seconds=0)
    pipeline = bootstrapped.pipeline
    for n in range(4):
        pipeline.start_export(pipeline.window_request(quarter(n)))
    (request,) = bootstrapped.tick().run_requests
    assert range_tags(quarter(0, 4)).items() <= request.tags.items()
    assert bootstrapped.run(request).success
    assert bootstrapped.parity().equal
    assert bootstrapped.started() == 5


@pytest.mark.parametrize("cursor", ["{", "[]", '{"observed": 1}'])
def test_a_cursor_that_can_not_be_read_is_as_good_as_none(bootstrapped, cursor):
    assert "started" in bootstrapped.tick(cursor).skip_message


def test_the_sensor_is_off_unless_lake_yaml_switches_it_on(lake):
    sensor = lake.definitions.resolve_sensor_def("export_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
