"""Steps in bad company: what a step has committed stands, and it is green, whatever else can't be reached then."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from botocore.httpsession import URLLib3Session

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


CHAIN = ["initial_export", "initial_items", "initial_table", "raw_export", "decoded_items", "delta_table"]
MANIFEST_FILES = 4
"""Objects that reading a manifest takes: its two parts, and the checksum of each."""
LOOKING = {"ListObjectsV2", "ListExports", "DescribeExport"}
"""What finding an export takes that nobody has recorded."""


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count the requests that boto3 sends by their operations, and how often each Delta log is opened."""
    counts: Counter[str] = Counter()
    send, names = URLLib3Session.send, ObjectTableStore.names

    def counted_send(session: URLLib3Session, request: Any) -> Any:
        target = request.headers.get("X-Amz-Target", b"")
        target = target.decode() if isinstance(target, bytes) else target
        listing = "ListObjectsV2" if "list-type=2" in request.url else "GetObject"
        counts[target.rpartition(".")[2] or (listing if request.method == "GET" else request.method)] += 1
        return send(session, request)

    def counted_names(store: ObjectTableStore, folder: str, after: str = "") -> list[str]:
        if folder == "_delta_log":
            counts["change log" if "/change_log/" in str(store) else "replica"] += 1
        return names(store, folder, after)

    with monkeypatch.context() as patched:
        patched.setattr(URLLib3Session, "send", counted_send)
        patched.setattr(ObjectTableStore, "names", counted_names)
        yield counts


def counts_of_steps(lake: LakeUnderTest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter[str]]:
    """Run both chains asset by asset, and return what each asked for."""
    counts: dict[str, Counter[str]] = {}
    for asset in CHAIN:
        with counting(monkeypatch) as counts[asset]:
            run(lake, asset)
    return counts


def require_few(counts: dict[str, Counter[str]], initial_files: int, window_files: int) -> None:
    """Check that decoding reads what the exports hold and looks for nothing, and that logs are opened no oftener."""
    for asset, files in [("initial_items", initial_files), ("decoded_items", window_files)]:
        expected = {"DescribeTable": 1, "GetObject": MANIFEST_FILES + files, "HEAD": files, "change log": 2}
        assert counts[asset] == expected, asset
    assert counts["delta_table"] == {"replica": 1, "change log": 1}
    assert not LOOKING & counts["delta_table"].keys()
    assert (counts["initial_table"]["replica"], counts["initial_table"]["change log"]) == (1, 1)


def test_no_step_asks_again_for_what_the_step_before_has_recorded(lake: LakeUnderTest, monkeypatch):
    counts = counts_of_steps(lake, monkeypatch)
    pipeline = lake.pipeline
    files = [
        len(pipeline.exports.read_manifest(request, export).files)
        for request, export in [
            (pipeline.bootstrap_request, pipeline.bootstrap_export()),
            *pipeline.completed_exports(quarter(0)),
        ]
    ]
    require_few(counts, *files)


def adopting(cloud: Cloud, start: datetime, end: datetime) -> dict[str, Any]:
    """Let somebody else export the table at a time, and what changed until another; return lake.yaml's keys."""
    cloud.s3.create_bucket(Bucket="theirs")
    arn = str(cloud.dynamodb.describe_table(TableName=TABLE)["Table"].get("TableArn"))
    place = {"S3Bucket": "theirs", "S3Prefix": "backups"}
    full = cloud.describe(cloud.start_full(arn, start, **place))["ExportManifest"]
    changes = cloud.describe(cloud.start_incremental(arn, start, end, **place))["ExportManifest"]
    return {
        "start": start,
        "adopt": [
            {"manifest": f"s3://theirs/{full}", "time": start},
            {"manifest": f"s3://theirs/{changes}", "from": start, "to": end},
        ],
    }


def test_adopted_exports_are_decoded_without_being_looked_for(cloud: Cloud, tmp_path: Path, monkeypatch):
    with lake_at(cloud, tmp_path, **adopting(cloud, NOON + timedelta(seconds=-7), quarter(1).end)) as lake:
        counts = {asset: Counter[str]() for asset in CHAIN}
        for asset in CHAIN:
            with counting(monkeypatch) as counts[asset]:
                lake.bootstrap(asset) if asset.startswith("initial") else lake.materialise(quarter(-1, 3), asset)
        places = lake.pipeline.exports
        found = places.find_windows(lake.pipeline.table, quarter(0))
        assert found == (lake.pipeline.window_request(found[0]).window,)
        assert lake.pipeline.replica.count() == 2
        files = [len(lake.pipeline.exports.read_manifest(request, export).files) for request, export in sources(lake)]
    require_few(counts, *files)


def sources(lake: LakeUnderTest) -> list[Any]:
    """The exports of the initial load and of its first window."""
    pipeline = lake.pipeline
    first = next(iter(pipeline.exports.find_windows(pipeline.table, quarter(0))))
    return [(pipeline.bootstrap_request, pipeline.bootstrap_export()), *pipeline.completed_exports(first)]


WRONG = {
    "nothing": {"export_arn": None, "manifest": None},
    "another export's ARN": {"export_arn": "arn:aws:dynamodb:us-east-1:123456789012:table/x/export/01-00000000"},
    "another bucket": {"manifest": "s3://elsewhere/AWSDynamoDB/01700000000000-00000000/manifest-summary.json"},
    "a manifest that is gone": {
        "manifest": f"s3://{BUCKET}/AWSDynamoDB/01700000000000-00000000/manifest-summary.json"
    },
    "no manifest": {"manifest": f"s3://{BUCKET}/{TABLE}"},
    "two manifests of one export": {"manifest": ["s3://a/b", "s3://a/c"]},
    "something else": {"export_arn": {"a": 1}, "manifest": 7},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_record_of_an_export_is_not_followed(lake: LakeUnderTest, wrong: dict[str, Any]):
    for chain, decode, partition in [
        ("initial_export", "initial_items", "initial"),
        ("raw_export", "decoded_items", quarter(0).key),
    ]:
        recorded = metadata_of(run(lake, chain), chain)
        right = {name: recorded[name] for name in ("table_id", "export_arn", "manifest")}
        about = {name: recorded[name] for name in ("time", "window") if name in recorded}
        report(lake, chain, partition, {**right, **about, **wrong})
        assert metadata_of(run(lake, decode), decode)["export_arn"] == recorded["export_arn"]


def test_an_export_that_is_not_the_windows_is_not_decoded_for_it(lake: LakeUnderTest):
    lake.bootstrap()
    first = metadata_of(lake.materialise(quarter(0), "raw_export"), "raw_export")
    full = metadata_of(lake.bootstrap("initial_export"), "initial_export")
    second = metadata_of(lake.materialise(quarter(1), "raw_export"), "raw_export")
    for other in (full, second):
        shown = {"export_arn": other["export_arn"], "manifest": other["manifest"]}
        report(lake, "raw_export", quarter(0).key, {**shown, "window": str(quarter(0))})
        decoded = metadata_of(lake.materialise(quarter(0), "decoded_items"), "decoded_items")
        assert (decoded["export_arn"], decoded["window"]) == (first["export_arn"], str(quarter(0)))
    report(lake, "initial_export", "initial", {**first, "time": full["time"]})
    assert metadata_of(lake.bootstrap("initial_items"), "initial_items")["export_arn"] == full["export_arn"]


def test_a_copy_of_an_export_that_lies_elsewhere_is_not_decoded_for_it(lake: LakeUnderTest):
    right = metadata_of(run(lake, "raw_export"), "raw_export")
    key = right["manifest"].removeprefix(f"s3://{BUCKET}/")
    root = key.partition("AWSDynamoDB/")[0]
    for each in [name for name in lake.cloud.object_keys() if name.startswith(root)]:
        body = lake.cloud.read(BUCKET, each).replace(root.encode(), b"copy/")
        lake.cloud.s3.put_object(Bucket=BUCKET, Key=each.replace(root, "copy/"), Body=body)
        if each.endswith(".md5"):
            lake.cloud.s3.delete_object(Bucket=BUCKET, Key=each.replace(root, "copy/"))
    copied = f"s3://{BUCKET}/{key.replace(root, 'copy/')}"
    report(lake, "raw_export", quarter(0).key, {**right, "manifest": copied})
    assert metadata_of(run(lake, "decoded_items"), "decoded_items")["manifest"] == right["manifest"]


def test_a_window_that_was_decoded_of_a_re_created_table_is_refused(lake: LakeUnderTest):
    lake.bootstrap()
    lake.materialise(quarter(0), "raw_export", "decoded_items")
    lake.cloud.dynamodb.delete_table(TableName=TABLE)
    lake.cloud.create_table()
    advance_to(lake.cloud, 4)
    lake.materialise(quarter(3), "raw_export", "decoded_items")
    failed = lake.materialise(quarter(3), "delta_table", raise_on_error=False)
    (event,) = failed.get_step_failure_events()
    assert event.step_failure_data.user_failure_data
    assert "was re-created has a new id" in (event.step_failure_data.user_failure_data.description or "")


def report(lake: LakeUnderTest, asset: str, partition: str, metadata: dict[str, Any]) -> None:
    """Report a materialisation by hand, as anybody can."""
    lake.instance.report_runless_asset_event(
        dg.AssetMaterialization(dg.AssetKey([TABLE, asset]), partition=partition, metadata=metadata)
    )
