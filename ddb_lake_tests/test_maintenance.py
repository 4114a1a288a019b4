"""Maintenance as Dagster sees it, and the command that moves a table from one strategy to the other."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from deltalake import DeltaTable

from ddb_lake import convert as command
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.errors import DdbLakeError
from ddb_lake.jobs import maintenance_job_name
from ddb_lake.replica import Strategy
from ddb_lake.replica.folding import FoldPolicy
from ddb_lake_tests.cloud import BUCKET, NOON, TABLE, Cloud
from ddb_lake_tests.lakes import QUIET, LakeUnderTest, advance_to, lake_at, metadata_of, quarter


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LakeUnderTest]:
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11)) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        for number in range(20):
            cloud.put(f"k{number}")
        with lake_at(cloud, tmp_path_factory.mktemp("lake"), strategy="deletion_vectors") as made:
            yield made


def maintain(lake: LakeUnderTest) -> dict[str, object]:
    job = lake.definitions.resolve_job_def(maintenance_job_name(lake.table))
    result = job.execute_in_process(instance=lake.instance, run_config=QUIET)
    return metadata_of(result, "maintenance")


def test_a_replica_is_maintained_between_its_windows(lake: LakeUnderTest, monkeypatch: pytest.MonkeyPatch):
    assert maintain(lake) == {"maintained": False}
    for number in range(4):
        advance_to(lake.cloud, number, 60)
        lake.cloud.put(f"k{number}", number + 1)
        lake.cloud.put(f"new{number}", 1)
        lake.cloud.delete(f"k{10 + number}")
    advance_to(lake.cloud, 5)
    lake.bootstrap()
    for number in range(4):
        lake.materialise(quarter(number))
    assert lake.parity().equal
    monkeypatch.setattr(FoldPolicy.__init__, "__defaults__", (1000, 2, 0.2, 1000, 2**27))
    told = maintain(lake)
    assert told["maintained"]
    assert told["folds"]
    assert told["dagster/row_count"] == 20
    assert told["strategy"] == "deletion_vectors"
    assert lake.parity().equal


def test_a_lost_file_fails_the_maintenance_and_its_check_until_the_initial_load_brings_it_back(lake: LakeUnderTest):
    files = DeltaTable(lake.pipeline.replica.location.uri).file_uris()
    max(map(Path, files), key=lambda path: path.stat().st_size).unlink()
    job = lake.definitions.resolve_job_def(maintenance_job_name(lake.table))
    result = job.execute_in_process(instance=lake.instance, run_config=QUIET, raise_on_error=False)
    assert not result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.severity) == ("files", False, dg.AssetCheckSeverity.ERROR)
    assert "materialise initial_items and initial_table again" in str(check.description)
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert str(check.description) in failure.step_failure_data.error_display_string
    lake.bootstrap()
    for number in range(4):
        lake.materialise(quarter(number))
    result = job.execute_in_process(instance=lake.instance, run_config=QUIET)
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.description) == (True, "all files are there")
    assert metadata_of(result, "maintenance")["files_verified"] >= len(files)
    assert lake.parity().equal


def test_the_command_moves_the_table_and_back(lake: LakeUnderTest):
    done = command.convert(lake.settings, TABLE, Strategy.COPY_ON_WRITE)
    assert "has the strategy copy_on_write since version" in done
    assert lake.pipeline.replica.strategy() is Strategy.COPY_ON_WRITE
    assert lake.parity().equal
    assert "nothing was committed" in command.convert(lake.settings, TABLE, Strategy.COPY_ON_WRITE)
    assert "since version" in command.convert(lake.settings, TABLE, None)
    assert lake.pipeline.replica.strategy() is Strategy.DELETION_VECTORS
    assert lake.parity().equal


def test_the_command_explains_itself(
    lake: LakeUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(DdbLakeError, match="no table 'elsewhere'; name one of measurement"):
        command.convert(lake.settings, "elsewhere", None)
    monkeypatch.setenv("DDB_LAKE_CONFIG", str(tmp_path / "lake.yaml"))
    assert command.main([TABLE]) == 1
    assert "there is no such file" in capsys.readouterr().err


def test_the_schedule_is_on_where_the_sensor_is(lake: LakeUnderTest):
    (schedule,) = lake.definitions.get_repository_def().schedule_defs
    assert schedule.job_name == maintenance_job_name(lake.table)
    assert schedule.default_status.value == "STOPPED"
