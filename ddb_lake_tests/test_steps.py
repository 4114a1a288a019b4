"""Steps in bad company: what a step has committed stands, and it is green, whatever else can't be reached then."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.iam import render_policy
from ddb_lake.replica import ChangeLog, Replica, Strategy
from ddb_lake.replica.errors import StorageFailed
from ddb_lake.replica.store import ObjectTableStore
from ddb_lake_tests.cloud import BUCKET, NOON, TABLE, Cloud
from ddb_lake_tests.lakes import LakeUnderTest, advance_to, lake_at, metadata_of, quarter

NOTHING: Any = {"Version": "2012-10-17", "Statement": []}
"""A policy that allows nothing."""


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A table with an item of before noon and a change in the first window, half an hour after noon."""
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11)) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        cloud.put("old")
        advance_to(cloud, 0)
        cloud.put("new")
        advance_to(cloud, 2)
        yield cloud


@pytest.fixture
def lake(cloud: Cloud, tmp_path: Path) -> Iterator[LakeUnderTest]:
    with lake_at(cloud, tmp_path) as lake:
        yield lake


def warnings_of(lake: LakeUnderTest, result: dg.ExecuteInProcessResult) -> list[str]:
    return [each.user_message for each in lake.instance.all_logs(result.run_id) if each.level == logging.WARNING]


@pytest.mark.parametrize(
    ("kind", "commit", "asset"),
    [
        (Replica, "stage_bootstrap", "initial_items"),
        (Replica, "commit_bootstrap", "initial_table"),
        (ChangeLog, "commit", "decoded_items"),
        (Replica, "apply", "delta_table"),
    ],
)
def test_no_step_asks_for_anything_after_its_commit(lake: LakeUnderTest, monkeypatch, kind, commit: str, asset: str):
    committed = getattr(kind, commit)
    chain = ["initial_export", "initial_items", "initial_table", "raw_export", "decoded_items", "delta_table"]
    for before in chain[: chain.index(asset)]:
        run(lake, before)

    def refuse(*_: Any) -> Any:
        raise StorageFailed("asked for after the commit")

    def commit_and_cut_off(*arguments: Any) -> Any:
        done = committed(*arguments)
        lake.cloud.control.set_policy(NOTHING)
        monkeypatch.setattr(ObjectTableStore, "_asking", refuse)
        return done

    monkeypatch.setattr(kind, commit, commit_and_cut_off)
    shown = metadata_of(run(lake, asset), asset)
    assert {column.name for column in shown["dagster/column_schema"].columns} == {"id", "value"}


def run(lake: LakeUnderTest, asset: str) -> dg.ExecuteInProcessResult:
    """Materialise one asset of either chain."""
    return lake.bootstrap(asset) if asset.startswith("initial") else lake.materialise(quarter(0), asset)


@pytest.mark.parametrize("strategy", [each.value for each in Strategy])
def test_a_window_reads_the_state_of_replica_and_change_log_once_each(
    cloud: Cloud, tmp_path: Path, monkeypatch, strategy: str
):
    with lake_at(cloud, tmp_path, strategy=strategy) as lake:
        lake.bootstrap()
        lake.materialise(quarter(1))
        lake.materialise(quarter(0), "raw_export", "decoded_items")  # applied late, so that rows are read as well
        opened: list[str] = []
        names = ObjectTableStore.names

        def counted(store: ObjectTableStore, folder: str, after: str = "") -> list[str]:
            opened.append(f"{Path(str(store)).relative_to(tmp_path / 'lake' / TABLE).parts[0]}/{folder}")
            return names(store, folder, after)

        monkeypatch.setattr(ObjectTableStore, "names", counted)
        lake.materialise(quarter(0), "delta_table")
    assert sorted(opened) == ["change_log/_delta_log", "replica/_delta_log"]


def test_a_window_is_applied_and_shows_its_export_where_aws_describes_no_export(lake: LakeUnderTest):
    lake.bootstrap()
    raw = metadata_of(lake.materialise(quarter(0), "raw_export", "decoded_items"), "raw_export")
    forbid(lake, "dynamodb:DescribeExport", "s3:ListBucket", "s3:GetObject")
    result = lake.materialise(quarter(0), "delta_table")
    shown = metadata_of(result, "delta_table")
    assert {name: shown[name] for name in ("export_arn", "items", "billed_bytes")} == {
        name: raw[name] for name in ("export_arn", "items", "billed_bytes")
    }
    assert warnings_of(lake, result) == []


def test_a_window_is_applied_without_its_exports_description_where_none_can_be_had(
    lake: LakeUnderTest, cloud: Cloud, tmp_path: Path
):
    lake.bootstrap()
    lake.materialise(quarter(0), "raw_export", "decoded_items")
    with lake_at(cloud, tmp_path) as elsewhere:  # an instance that knows nothing of the steps before
        forbid(elsewhere, "dynamodb:DescribeExport", "s3:ListBucket", "s3:GetObject")
        result = elsewhere.materialise(quarter(0), "delta_table")
        shown = metadata_of(result, "delta_table")
        assert (shown["rows_after"], "export_arn" in shown) == (2, False)
        assert any("AccessDenied" in each for each in warnings_of(elsewhere, result))
        assert elsewhere.pipeline.replica.coverage() == (quarter(0),)


def test_what_a_step_records_of_another_window_or_table_is_not_shown_as_this_ones(lake: LakeUnderTest):
    lake.bootstrap()
    lake.materialise(quarter(0), "raw_export", "decoded_items")
    lake.materialise(quarter(1), "raw_export", "decoded_items")
    one_by_one = metadata_of(lake.materialise(quarter(0, 2), "delta_table"), "delta_table")
    assert (one_by_one["exports"], one_by_one["items"]) == (2, 1)
    forged = {"table_id": "another", "window": str(quarter(0)), "export_arn": "x"}
    lake.instance.report_runless_asset_event(
        dg.AssetMaterialization(
            dg.AssetKey([TABLE, "decoded_items"]),
            partition=quarter(0).key,
            metadata={**forged, "exports": 7, "items": 7, "billed_bytes": 7, "export_seconds": 7},
        )
    )
    assert metadata_of(lake.materialise(quarter(0), "delta_table"), "delta_table")["exports"] == 1


def forbid(lake: LakeUnderTest, *actions: str) -> None:
    """Take some actions out of the policy that binds the lake's clients."""
    policy = render_policy(lake.settings)
    for statement in policy["Statement"]:
        allowed = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        statement["Action"] = [each for each in allowed if each not in actions]
    policy["Statement"] = [each for each in policy["Statement"] if each["Action"]]
    lake.cloud.control.set_policy(policy)
