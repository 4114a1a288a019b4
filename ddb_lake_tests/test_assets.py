"""The six assets: from a DynamoDB table to a Delta table, each window one commit, each export begun once."""

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml

from ddb_lake.definitions import defs
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.iam import render_policy
from ddb_lake.windows import Window
from ddb_lake_tests.cloud import BUCKET, NOON, TABLE, Cloud
from ddb_lake_tests.lakes import LakeUnderTest, advance_to, lake_at, metadata_of, quarter


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A table created two quarter-hours before noon, with a few items, and the time noon."""
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11, minute=30)) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        for n in range(10):
            cloud.put(f"old {n}", n)
        yield cloud


@pytest.fixture
def lake(cloud, tmp_path) -> Iterator[LakeUnderTest]:
    """The lake at a quarter past one, after writes in the first two windows."""
    advance_to(cloud, 0)
    cloud.put("at noon", 0)
    cloud.delete("old 0")
    advance_to(cloud, 1, 60)
    cloud.put("old 1", 100)
    cloud.put("new", 1)
    advance_to(cloud, 5)
    with lake_at(cloud, tmp_path) as lake:
        yield lake


def test_the_bootstrap_and_the_windows_give_the_source_table(lake):
    lake.bootstrap()
    assert sorted(row["id"] for row in lake.pipeline.replica.scan().collect().to_dicts()) == sorted(
        f"old {n}" for n in range(10)
    )
    for n in range(5):
        lake.materialise(quarter(n))
    assert lake.parity().equal
    assert lake.pipeline.replica.coverage() == (quarter(0, 5),)


def test_each_materialisation_tells_what_happened(lake):
    initial = lake.bootstrap()
    export = metadata_of(initial, "initial_export")
    assert export["export_arn"].startswith("arn:aws:dynamodb:us-east-1:123456789012:table/measurement/export/")
    assert (export["items"], export["files"], export["manifest_checksums"]) == (10, 4, "verified")
    assert export["bytes"] > 0
    assert {"billed_bytes", "export_seconds", "manifest", "time"} <= export.keys()
    items = metadata_of(initial, "initial_items")
    assert (items["staged_rows"], items["added_columns"], items["relearned"]) == (10, ["id", "value"], 0)
    assert items["blocks"] > 0
    table = metadata_of(initial, "initial_table")
    assert (table["rows_before"], table["rows_after"], table["table_version"]) == (0, 10, 0)

    result = lake.materialise(quarter(0, 2))
    raw = metadata_of(result, "raw_export")
    assert raw["window"] == "[2026-11-24T12:00:00Z, 2026-11-24T12:30:00Z)"
    assert (raw["items"], raw["billed_bytes"]) == (4, 10_000_000)
    decoded = metadata_of(result, "decoded_items")
    assert (decoded["changes"], decoded["deletes"]) == (4, 1)
    assert (decoded["relearned"], decoded["exact_lines"], decoded["contradictions"]) == (0, 0, {})
    assert decoded["added_columns"] == []
    assert decoded["blocks"] > 0
    delta = metadata_of(result, "delta_table")
    assert (delta["inserted"], delta["updated"], delta["deleted"], delta["ignored"]) == (2, 1, 1, 0)
    assert (delta["rows_before"], delta["rows_after"], delta["dagster/row_count"]) == (10, 11, 11)
    assert delta["dagster/uri"] == lake.pipeline.replica.location.uri
    columns = {column.name: column.description for column in delta["dagster/column_schema"].columns}
    assert columns["value"] == "attribute 'value', since 2026-11-24T12:00:00Z"
    assert delta["table_version"] == lake.pipeline.replica.version()
    assert delta["export_arn"] == raw["export_arn"]
    assert delta["billed_bytes"] == 10_000_000
    assert table["export_arn"] == export["export_arn"]


def test_an_attribute_to_partition_by_that_no_item_has_is_warned_of(cloud: Cloud, tmp_path: Path):
    advance_to(cloud, 1)
    rules = [{"buckets": 2}, {"attribute": "valeu", "unit": "day"}]
    with lake_at(cloud, tmp_path, partition_by=rules) as lake:
        run = lake.bootstrap().run_id
        warnings = [each.user_message for each in lake.instance.all_logs(run) if each.level == logging.WARNING]
    assert [each for each in warnings if "no item of measurement has the attribute 'valeu'" in each]


def test_adjacent_windows_share_one_export_and_are_events_of_their_own(lake):
    lake.bootstrap()
    result = lake.materialise(quarter(0, 5))
    assert lake.started() == 2  # the full one, and one for five windows
    for asset in ("raw_export", "decoded_items", "delta_table"):
        events = result.asset_materializations_for_node(f"{TABLE}__{asset}")
        assert sorted(event.partition for event in events) == [quarter(n).key for n in range(5)]
    assert lake.parity().equal


def test_materialising_a_window_again_begins_no_export_and_changes_nothing(lake):
    lake.bootstrap()
    lake.materialise(quarter(0, 2))
    rows = lake.pipeline.replica.scan().collect().sort("id")
    started = lake.started()
    again = metadata_of(lake.materialise(quarter(0, 2)), "delta_table")
    assert lake.started() == started
    assert (again["inserted"], again["updated"], again["deleted"]) == (0, 0, 0)
    assert lake.pipeline.replica.scan().collect().sort("id").equals(rows)


def test_windows_in_any_order_give_the_source_table_and_a_hole_fails_the_check_until_it_is_filled(lake):
    lake.bootstrap()
    late = lake.materialise(quarter(1, 4))
    (check,) = late.get_asset_check_evaluations()
    assert not check.passed
    assert str(quarter(0)) in (check.description or "")
    filled = lake.materialise(quarter(0))
    assert [check.passed for check in filled.get_asset_check_evaluations()] == [True]
    assert lake.parity().equal


def test_a_window_inside_a_longer_export_is_served_by_that_one(lake):
    lake.bootstrap()
    lake.materialise(quarter(0, 5))
    rows = lake.pipeline.replica.scan().collect().sort("id")
    result = lake.materialise(quarter(1))
    assert lake.started() == 2
    assert metadata_of(result, "raw_export")["items"] == 4
    assert lake.pipeline.replica.scan().collect().sort("id").equals(rows)


def test_a_span_of_windows_that_were_exported_one_by_one_begins_no_export(lake):
    lake.bootstrap()
    for n in (0, 1, 2):
        lake.materialise(quarter(n))
    result = lake.materialise(quarter(0, 5))
    assert lake.started() == 1 + 3 + 1  # the last two windows share one
    assert metadata_of(result, "raw_export")["exports"] == 4
    assert lake.parity().equal


def test_an_export_that_runs_is_waited_for_with_progress_in_the_log(lake):
    lake.bootstrap()
    lake.cloud.control.clock("offset", at=lake.cloud.control.now())
    lake.cloud.control.settings(delay_seconds=1)
    result = lake.materialise(quarter(0, 5))
    said = [entry.user_message for entry in lake.instance.all_logs(result.run_id)]
    assert any("runs since 2026-11-24T13:15" in line for line in said)
    assert lake.parity().equal


def test_a_completed_export_needs_no_recovery(lake):
    lake.bootstrap()
    pipeline = lake.pipeline
    pipeline.start_export(pipeline.window_request(quarter(0)))
    lake.cloud.switch_recovery(on=False)
    assert lake.materialise(quarter(0)).success


def test_the_assets_are_as_the_ui_shows_them(lake):
    assets = lake.definitions.get_repository_def().assets_defs_by_key
    shown = {key.path[-1]: (asset.group_names_by_key[key], asset.op.pool) for key, asset in assets.items()}
    assert shown == {
        "initial_export": ("measurement/initial_load", None),
        "initial_items": ("measurement/initial_load", TABLE),
        "initial_table": ("measurement/initial_load", TABLE),
        "raw_export": ("measurement/incremental", None),
        "decoded_items": ("measurement/incremental", TABLE),
        "delta_table": ("measurement/incremental", TABLE),
        "maintenance": ("measurement/maintenance", None),
    }
    for key, asset in assets.items():
        assert asset.specs_by_key[key].kinds
        assert asset.descriptions_by_key[key]
    windows = ("raw_export", "decoded_items", "delta_table")
    policies = {asset.backfill_policy for key, asset in assets.items() if key.path[-1] in windows}
    assert policies == {dg.BackfillPolicy.multi_run(96)}


def test_the_shipped_instance_keeps_one_writer_a_replica():
    instance = yaml.safe_load((Path(__file__).parents[1] / "dagster.yaml").read_text())
    assert instance["concurrency"]["pools"] == {"default_limit": 1, "granularity": "run"}
    assert instance["run_retries"]["retry_on_asset_or_op_failure"] is False


def test_a_window_without_changes_is_covered(lake):
    lake.bootstrap()
    lake.materialise(quarter(0, 2))
    delta = metadata_of(lake.materialise(quarter(2)), "delta_table")
    assert (delta["changes"], delta["inserted"]) == (0, 0)
    assert lake.pipeline.replica.coverage() == (quarter(0, 3),)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the failed step says."""
    (event,) = result.get_step_failure_events()
    assert event.step_failure_data.user_failure_data
    return event.step_failure_data.user_failure_data.description or ""


def test_a_window_before_the_bootstrap_fails_and_says_what_to_materialise(lake):
    result = lake.materialise(quarter(0), raise_on_error=False)
    assert "bootstrap" in failure(result)
    assert lake.pipeline.replica.version() is None
    lake.bootstrap()
    assert lake.materialise(quarter(0)).success


def test_a_failed_export_fails_the_step_and_the_next_materialisation_makes_a_new_one(lake):
    lake.cloud.control.settings(next_export={"failure_code": "S3AccessDenied", "failure_message": "Access Denied"})
    text = failure(lake.bootstrap(raise_on_error=False))
    assert "has FAILED: S3AccessDenied" in text
    assert "What to do: allow" in text
    assert lake.bootstrap().success
    assert lake.started() == 2


def test_what_lake_yaml_says_of_attributes_is_honoured_and_told(cloud, tmp_path, monkeypatch):
    wanted = {"attributes": {"value": {"type": "timestamp_ms"}, "id x": {"types": "fail"}}, "hash": ["note"]}
    advance_to(cloud, 0)
    cloud.dynamodb.put_item(
        TableName=TABLE, Item={"id": {"S": "a"}, "value": {"S": "odd"}, "note": {"S": "x"}, "a b": {"N": "1"}}
    )
    advance_to(cloud, 1)
    with lake_at(cloud, tmp_path, **wanted) as lake:
        told = failure(lake.bootstrap(raise_on_error=False))
        assert "the environment variable DDB_LAKE_HASH_KEY is not set" in told
        monkeypatch.setenv("DDB_LAKE_HASH_KEY", "k")
        lake.bootstrap()
        decoded = metadata_of(lake.materialise(quarter(0)), "decoded_items")
        assert decoded["contradictions"] == {"value": 1}
        assert decoded["relearned"] == 1
        assert decoded["added_columns"] == ["a%20b of 'a b'", "note", "value__string of 'value'"]
        described = {each.name: each.description for each in decoded["dagster/column_schema"].columns}
        assert described["a%20b"] == "attribute 'a b', since 2026-11-24T12:00:00Z"
        assert lake.parity().equal


def test_a_table_without_recovery_is_told_what_to_do(lake):
    lake.cloud.switch_recovery(on=False)
    text = failure(lake.bootstrap(raise_on_error=False))
    assert "point-in-time recovery of measurement is off" in text
    assert "`recovery: enable`" in text


def test_recovery_is_turned_on_where_lake_yaml_says_so(cloud, tmp_path):
    cloud.switch_recovery(on=False)
    with lake_at(cloud, tmp_path, recovery="enable") as lake:
        lake.pipeline.prepare_recovery()
        assert cloud.recovery()["PointInTimeRecoveryStatus"] == "ENABLED"


def test_a_re_created_source_table_is_refused_until_a_new_bootstrap_replaces_the_replica(lake, tmp_path):
    lake.bootstrap()
    lake.cloud.dynamodb.delete_table(TableName=TABLE)
    lake.cloud.create_table()
    lake.cloud.put("another", 1)
    lake.cloud.control.advance(3600)
    text = failure(lake.materialise(quarter(0), raise_on_error=False))
    assert "table creation time" in text  # DynamoDB itself has nothing of the old table to give

    later = quarter(6).start
    with lake_at(lake.cloud, tmp_path, start=later) as again:
        assert not again.pipeline.is_bootstrapped()
        text = failure(again.materialise(quarter(6), raise_on_error=False))
        assert "was re-created has a new id" in text
        again.bootstrap()
        again.materialise(quarter(6))
        assert again.pipeline.is_bootstrapped()
        assert again.parity().equal
        assert again.pipeline.replica.count() == 1


def test_the_replica_can_be_rebuilt_from_a_later_start(lake, tmp_path):
    lake.bootstrap()
    lake.materialise(quarter(0, 5))
    later = NOON.replace(hour=13)
    with lake_at(lake.cloud, tmp_path, start=later) as rebuilt:
        table = metadata_of(rebuilt.bootstrap(), "initial_table")
        assert (table["rows_before"], table["rows_after"]) == (11, 11)
        rebuilt.materialise(Window(later, later.replace(minute=15)))
        assert rebuilt.parity().equal


def test_the_projects_own_definitions_load():
    dg.Definitions.validate_loadable(defs())


@pytest.fixture
def served_apart(tmp_path) -> Iterator[str]:
    """The URL of an embedded AWS in a process of its own, as `make dev` has it.

    delta-rs may hold Python's lock while it waits for an answer, which a server in the same process can't give.
    """
    command = [
        sys.executable,
        "-m",
        "ddb_lake.embedded_aws",
        "--port",
        "0",
        "--journal",
        str(tmp_path / "aws.sqlite"),
    ]
    with subprocess.Popen([*command, "--clock", "frozen"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().strip().partition("AWS_ENDPOINT_URL=")[2]
        server.send_signal(signal.SIGINT)


def test_the_lake_can_live_on_s3(served_apart, tmp_path):
    cloud = Cloud(served_apart)
    cloud.control.clock("frozen", at=NOON.replace(hour=11))
    cloud.s3.create_bucket(Bucket=BUCKET)
    cloud.s3.create_bucket(Bucket="the-lake")
    cloud.create_table()
    cloud.put("old")
    advance_to(cloud, 0)
    cloud.put("new")
    cloud.delete("old")
    advance_to(cloud, 2)
    with lake_at(cloud, tmp_path, uri="s3://the-lake/dynamodb") as lake:
        lake.bootstrap()
        lake.materialise(quarter(0, 2))
        lake.materialise(quarter(0, 2))
        assert lake.parity().equal
        assert lake.pipeline.replica.coverage() == (quarter(0, 2),)
        assert not (tmp_path / "lake").exists()
        # The policy allows nothing that is not needed. Something is deleted only after a failed commit, and exports
        # are listed only after a setting was changed.
        allowed = {action for each in render_policy(lake.settings)["Statement"] for action in listed(each["Action"])}
        seldom = {"s3:DeleteObject", "dynamodb:ListExports"}
        assert {action for action, _ in cloud.control.used_permissions()} >= allowed - seldom


def listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions
