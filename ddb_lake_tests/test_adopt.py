"""Exports that others have made are used where lake.yaml adopts them: none is paid for twice."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddb_lake.adopt import adopt
from ddb_lake.adopt import main as adopt_command
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.exports.errors import ExportError, ManifestMissing, NotAdoptable, WrongExport
from ddb_lake.iam import render_policy
from ddb_lake.pipeline import NotExported
from ddb_lake.windows import Window, format_time
from ddb_lake_tests.cloud import BUCKET, NOON, TABLE, Cloud
from ddb_lake_tests.lakes import LakeUnderTest, advance_to, lake_at, metadata_of, quarter

THEIRS = "their-bucket"
SECOND = NOON + timedelta(minutes=7, seconds=31)
MILLISECOND = SECOND + timedelta(milliseconds=123)


def clock(cloud: Cloud, at: datetime) -> None:
    cloud.control.clock("frozen", at=at)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A table with some items, an hour before noon, and a bucket of somebody else's beside the lake's."""
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11)) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.s3.create_bucket(Bucket=THEIRS)
        cloud.create_table()
        for n in range(5):
            cloud.put(f"old {n}", n)
        yield cloud


def full_export(cloud: Cloud, arn: str, at: datetime) -> str:
    """Let somebody else export the table as it is at a time, with writes around it; return the export's ARN.

    With milliseconds it is one without ExportTime, as the AWS console starts it.
    """
    clock(cloud, at - timedelta(milliseconds=100))
    cloud.put("short-lived", 1)
    cloud.put("from that second", 1)
    cloud.delete("old 0")
    clock(cloud, at)
    export = cloud.start_full(arn, S3Bucket=THEIRS, S3Prefix="backups/nightly") if at.microsecond else None
    cloud.put("right after", 1)
    clock(cloud, at + timedelta(minutes=3))
    cloud.delete("short-lived")
    cloud.delete("old 1")
    cloud.put("old 2", 200)
    clock(cloud, at + timedelta(minutes=6))
    if export is None:
        export = cloud.start_full(arn, at, S3Bucket=THEIRS, S3Prefix="backups/nightly")
    return export["ExportArn"]


def incremental_export(cloud: Cloud, arn: str, start: datetime, end: datetime, **parameters: Any) -> str:
    """Let somebody else export a window."""
    given = {"S3Bucket": THEIRS, "S3Prefix": "changes", **parameters}
    return cloud.start_incremental(arn, start, end, **given)["ExportArn"]


def table_arn(cloud: Cloud) -> str:
    return cloud.dynamodb.describe_table(TableName=TABLE)["Table"].get("TableArn", "")


def adopted(lake: LakeUnderTest, *exports: str) -> dict[str, Any]:
    """What the command prints for exports, as lake.yaml's keys of the table."""
    lake.cloud.control.remove_policy()
    return yaml.safe_load("\n".join(line[4:] for line in adopt(lake.settings, TABLE, exports).splitlines()))


@pytest.fixture(params=[SECOND, MILLISECOND], ids=["second", "millisecond"])
def start(request: pytest.FixtureRequest) -> datetime:
    """The time of the full export that is adopted."""
    return request.param


@pytest.fixture
def lake(cloud: Cloud, tmp_path: Path, start: datetime) -> Iterator[LakeUnderTest]:
    """A lake that has adopted the full export of an odd time."""
    with lake_at(cloud, tmp_path) as before:
        keys = adopted(before, full_export(cloud, table_arn(cloud), start))
    with lake_at(cloud, tmp_path, **keys) as lake:
        yield lake


def write_until_two(cloud: Cloud) -> None:
    """Write in several windows."""
    advance_to(cloud, 1, 30)
    cloud.put("old 3", 300)
    advance_to(cloud, 3, 30)
    cloud.put("late", 1)
    cloud.delete("right after")
    advance_to(cloud, 8)


AT_SECOND = pytest.mark.parametrize("start", [SECOND], indirect=True, ids=["second"])
AT_MILLISECOND = pytest.mark.parametrize("start", [MILLISECOND], indirect=True, ids=["millisecond"])


def run_to_rest(lake: LakeUnderTest) -> None:
    """Tick and run what is requested until nothing is."""
    tick = lake.tick()
    for _ in range(10):
        for request in tick.run_requests:
            assert lake.run(request).success
        tick = lake.tick(tick.cursor)
        if tick.skip_message == "every closed window is covered":
            return
    raise AssertionError(tick.skip_message)


def test_an_adopted_full_export_is_the_bootstrap_and_the_sensor_goes_on_from_it(lake: LakeUnderTest, start: datetime):
    write_until_two(lake.cloud)
    run_to_rest(lake)
    assert lake.started() == 2  # theirs, and one for all windows
    assert lake.pipeline.replica.coverage() == (Window(start, quarter(8).start),)
    assert lake.pipeline.replica.bootstrap_time() == start
    assert lake.parity().equal


@AT_MILLISECOND
def test_windows_by_hand_go_on_from_an_adopted_full_export(lake: LakeUnderTest, start: datetime):
    write_until_two(lake.cloud)
    export = metadata_of(lake.bootstrap(), "initial_export")
    assert export["manifest"].startswith(f"s3://{THEIRS}/backups/nightly/AWSDynamoDB/")
    first = lake.materialise(quarter(0))
    assert metadata_of(first, "raw_export")["window"] == str(Window(start, quarter(0).end))
    # DynamoDB exports no window that is shorter than a quarter-hour.
    assert lake.pipeline.replica.coverage() == (Window(start, quarter(1).end),)
    lake.materialise(quarter(1))
    assert lake.started() == 2
    result = lake.materialise(quarter(0, 8))
    assert lake.started() == 3
    events = result.asset_materializations_for_node(f"{TABLE}__delta_table")
    assert {event.partition for event in events} == {quarter(n).key for n in range(8)}
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True]
    assert lake.parity().equal


@AT_SECOND
def test_the_first_window_waits_until_its_export_can_end(lake: LakeUnderTest):
    assert [request.partition_key for request in lake.tick().run_requests] == ["initial"]  # no window has closed yet
    advance_to(lake.cloud, 1, 30)
    lake.bootstrap()
    tick = lake.tick()
    assert "is due at 2026-11-24T12:30:00Z" in tick.skip_message
    assert lake.started() == 1
    with pytest.raises(NotExported, match="its export reaches to 2026-11-24T12:30:00Z"):
        lake.pipeline.export_windows(Window(lake.table.start, quarter(0).end), lambda *_: None)
    assert lake.started() == 1
    advance_to(lake.cloud, 4)
    run_to_rest(lake)
    assert lake.parity().equal


@AT_MILLISECOND
def test_a_bootstrap_moves_from_an_adopted_export_to_a_later_quarter_hour(lake: LakeUnderTest, tmp_path: Path):
    write_until_two(lake.cloud)
    run_to_rest(lake)
    with lake_at(lake.cloud, tmp_path, start=quarter(6).start) as later:
        run_to_rest(later)
        assert later.pipeline.replica.bootstrap_time() == quarter(6).start
        assert later.parity().equal


@pytest.fixture
def history(cloud: Cloud, start: datetime) -> list[str]:
    """A full export and incremental ones of others, gapless, overlapping, off the quarter-hours, of two hours."""
    arn = table_arn(cloud)
    exports = [full_export(cloud, arn, start)]
    for n in range(1, 8):
        advance_to(cloud, n, 17)
        cloud.put(f"new {n}", n)
        cloud.put("each time", n)
        if n > 2:
            cloud.delete(f"new {n - 2}")
    advance_to(cloud, 8)
    bounds = [
        start,
        start + timedelta(minutes=40),
        NOON + timedelta(minutes=65, seconds=1),
        NOON + timedelta(hours=2),
    ]
    exports += [
        incremental_export(cloud, arn, bounds[0], bounds[1]),
        incremental_export(cloud, arn, bounds[1], bounds[2], S3Prefix="elsewhere/of them", view="NEW_IMAGE"),
        incremental_export(cloud, arn, bounds[2] - timedelta(minutes=5), bounds[3], S3Bucket=BUCKET),
        incremental_export(cloud, arn, NOON, bounds[1]),  # it begins before the full one
    ]
    return exports


@pytest.mark.parametrize(
    ("start", "strategy"),
    [(SECOND, "copy_on_write"), (MILLISECOND, "deletion_vectors")],
    indirect=["start"],
    ids=["second", "millisecond"],
)
def test_no_export_is_started_for_what_adopted_ones_cover(
    cloud: Cloud, tmp_path: Path, history: list[str], start: datetime, strategy: str
):
    with lake_at(cloud, tmp_path) as before:
        keys = adopted(before, *history)
    with lake_at(cloud, tmp_path, strategy=strategy, **keys) as lake:
        run_to_rest(lake)
        assert lake.started() == len(history)
        assert lake.pipeline.replica.coverage() == (Window(start, quarter(8).start),)
        assert lake.parity().equal
        advance_to(cloud, 9, 1)
        cloud.put("afterwards", 1)
        advance_to(cloud, 10)
        run_to_rest(lake)
        assert lake.started() == len(history) + 1
        assert lake.parity().equal


@AT_MILLISECOND
def test_a_backfill_uses_adopted_exports_and_exports_the_rest(cloud: Cloud, tmp_path: Path, history: list[str]):
    """Without the third export the two hours' second half is exported by ddb_lake, which overlaps."""
    with lake_at(cloud, tmp_path) as before:
        keys = adopted(before, *history[:3])
    with lake_at(cloud, tmp_path, **keys) as lake:
        lake.bootstrap()
        result = lake.materialise(quarter(0, 8))
        assert metadata_of(result, "raw_export")["exports"] == 3
        assert lake.started() == len(history) + 1
        assert lake.parity().equal


def test_windows_of_a_lake_that_runs_already_may_be_adopted_too(cloud: Cloud, tmp_path: Path):
    advance_to(cloud, 2, 1)
    cloud.put("new", 1)
    advance_to(cloud, 4)
    arn = table_arn(cloud)
    export = incremental_export(cloud, arn, NOON, quarter(3).start)
    with lake_at(cloud, tmp_path) as before:
        before.bootstrap()
        before.materialise(quarter(0))
        keys = adopted(before, export)
        assert keys["start"] == NOON
    with lake_at(cloud, tmp_path, **keys) as lake:
        run_to_rest(lake)
        assert lake.started() == 4  # the full one, the first quarter-hour, theirs, and the last quarter-hour
        assert lake.parity().equal


def test_an_export_that_dynamodb_has_forgotten_is_adopted_by_its_manifest(cloud: Cloud, tmp_path: Path):
    arn = table_arn(cloud)
    export = cloud.describe({"ExportArn": full_export(cloud, arn, SECOND)})
    forgotten = export["ExportManifest"].replace(export["ExportArn"].rpartition("-")[2], "0badcafe")
    known, unknown = (key.split("/")[-2] for key in (export["ExportManifest"], forgotten))
    for key in cloud.object_keys(THEIRS):
        body = cloud.read(THEIRS, key)
        if key.endswith(".json"):
            body = body.replace(known.encode(), unknown.encode())
        if not key.endswith(".md5"):
            cloud.s3.put_object(Bucket=THEIRS, Key=key.replace(known, unknown), Body=body)
        cloud.s3.delete_object(Bucket=THEIRS, Key=key)
    advance_to(cloud, 4)
    with lake_at(cloud, tmp_path) as before:
        before.cloud.control.remove_policy()
        text = adopt(before.settings, TABLE, [f"s3://{THEIRS}/{forgotten}"])
        assert "make sure that it was made without FilterSpecification" in text
        keys = adopted(before, f"s3://{THEIRS}/{forgotten}")
    with lake_at(cloud, tmp_path, **keys) as lake:
        run_to_rest(lake)
        assert lake.parity().equal


@AT_SECOND
def test_an_adopted_export_that_is_gone_is_named_and_the_other_days_go_on(lake: LakeUnderTest, tmp_path: Path):
    cloud = lake.cloud
    advance_to(cloud, 100)
    wrong = f"s3://{THEIRS}/changes/AWSDynamoDB/01700000000000-0badcafe/manifest-summary.json"
    entry = {"manifest": wrong, "from": quarter(2).start, "to": quarter(4).start}
    adopt = [*lake.settings.model_dump(by_alias=True)["tables"][0]["adopt"], entry]
    with lake_at(cloud, tmp_path, start=lake.table.start, adopt=adopt) as broken:
        broken.bootstrap()
        tick = broken.tick()
        assert f"{wrong} is not there" in tick.skip_message + str(tick.run_requests)
        assert "lake.yaml adopts this export: correct that entry, or remove it" in tick.skip_message
        with pytest.raises(ManifestMissing, match=r"lake\.yaml adopts this export"):
            broken.pipeline.export_windows(quarter(2), lambda *_: None)
        windows = broken.pipeline.exports.find_windows(broken.pipeline.table, quarter(0, 100))
        assert quarter(96, 4) in windows


@pytest.mark.parametrize("bucket", ["nobody-has-this-bucket", THEIRS], ids=["gone", "forbidden"])
def test_an_adopted_export_that_can_not_be_read_is_named_and_the_other_days_go_on(
    cloud: Cloud, tmp_path: Path, bucket: str
):
    advance_to(cloud, 200)
    uri = f"s3://{bucket}/changes/{SUMMARY}"
    entry = {"manifest": uri, "from": quarter(2).start, "to": quarter(4).start}
    with lake_at(cloud, tmp_path, adopt=[entry]) as lake:
        policy = render_policy(lake.settings)
        if bucket == THEIRS:
            policy["Statement"] = [each for each in policy["Statement"] if each["Sid"] != "ReadAdoptedExports"]
            cloud.control.set_policy(policy)
        lake.bootstrap()
        tick = lake.tick(lake.tick().cursor)
        assert lake.started() == 3  # the full export, and the two days that have nothing to do with the entry
        assert len(tick.run_requests) == 2
        with pytest.raises(ExportError) as refusal:
            lake.pipeline.export_windows(quarter(2), lambda *_: None)
        told = str(refusal.value)
        assert "What to do: lake.yaml adopts this export: correct that entry, or remove it" in told
        assert f"The entry is {uri}" in told
        assert "the table's bucket" not in told
        assert ("s3:GetObject" in told) == (bucket == THEIRS)


@AT_MILLISECOND
def test_an_adopted_export_must_be_what_lake_yaml_says(lake: LakeUnderTest, tmp_path: Path):
    (entry,) = lake.settings.model_dump(by_alias=True)["tables"][0]["adopt"]
    with lake_at(lake.cloud, tmp_path, adopt=[{**entry, "time": NOON}]) as other:
        with pytest.raises(WrongExport, match=f"is at {format_time(lake.table.start)}; wanted was"):
            other.pipeline.bootstrap_export()
        assert not other.bootstrap(raise_on_error=False).success
        assert other.started() == 1


def refused(lake: LakeUnderTest, *exports: str) -> str:
    with pytest.raises(NotAdoptable) as refusal:
        adopted(lake, *exports)
    return str(refusal.value)


def test_what_can_not_be_used_is_refused_with_the_reason(cloud: Cloud, tmp_path: Path):
    arn = table_arn(cloud)
    other_arn = cloud.create_table("another")
    first = full_export(cloud, arn, SECOND)
    advance_to(cloud, 3)
    second, other = full_export(cloud, arn, quarter(3).start), cloud.start_full(other_arn, S3Bucket=THEIRS)
    cloud.control.settings(next_export={"failure_code": "S3AccessDenied", "failure_message": "Access Denied"})
    failed = cloud.start_full(arn)["ExportArn"]
    cloud.control.settings(delay_seconds=300)
    running = cloud.start_full(arn)["ExportArn"]
    with lake_at(cloud, tmp_path) as lake:
        assert "is FAILED; only a completed export can be adopted" in refused(lake, failed)
        assert "is IN_PROGRESS; only a completed export can be adopted" in refused(lake, running)
        assert "is of the table id" in refused(lake, other["ExportArn"])
        assert "is neither an export's ARN" in refused(lake, "yesterday's")
        assert "a replica starts from one" in refused(lake, first, second)
        with pytest.raises(ExportError, match="ExportNotFoundException"):
            adopted(lake, f"{arn}/export/01700000000000-0badcafe")


def test_the_command_prints_what_to_write_and_keeps_what_was_adopted_before(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    arn = table_arn(cloud)
    export = full_export(cloud, arn, MILLISECOND)
    advance_to(cloud, 4)
    window = incremental_export(cloud, arn, quarter(1).start, quarter(3).start)
    path = tmp_path / "lake.yaml"
    monkeypatch.setenv("DDB_LAKE_CONFIG", str(path))

    def write(keys: str) -> None:
        head = f"aws: {{mode: embedded, endpoint: '{cloud.url}'}}\nlake: lake\ntables:\n  - table: {TABLE}\n"
        path.write_text(f"{head}    region: us-east-1\n    bucket: {BUCKET}\n{keys}")

    write("    start: 2026-11-24T12:00:00Z\n")
    assert adopt_command([TABLE, export]) == 0
    first = capsys.readouterr().out
    assert "    start: 2026-11-24T12:07:31.123Z\n" in first
    assert "6 items in 4 files" in first
    write(first)
    assert adopt_command([TABLE, window]) == 0
    second = capsys.readouterr().out
    assert "[2026-11-24T12:07:31.123000Z, 2026-11-24T12:15:00Z)" in second  # ddb_lake's own to export
    write(second)
    assert adopt_command([TABLE, window]) == 0
    assert capsys.readouterr().out == second
    assert adopt_command(["nowhere", window]) == 1
    assert "lake.yaml has no table 'nowhere'; name one of measurement" in capsys.readouterr().err


# What lies under our own prefix and is none of ours

LABEL = "20261124T120000Z-20261124T121500Z"
SUMMARY = "AWSDynamoDB/01700000000000-0badcafe/manifest-summary.json"


FOREIGN = {
    f"incremental/{LABEL}/AWSDynamoDB/notes/readme.txt": "is not the folder of an export",
    f"incremental/{LABEL}/AWSDynamoDB//x": "is not the folder of an export",
    f"incremental/{LABEL}/AWSDynamoDB/{'9' * 14}-0badcaf/x": "is not the folder of an export",
    f"incremental/{LABEL}/{SUMMARY}": "is of an export that DynamoDB does not know, and can't be used",
    "incremental/20261124T120000Z-20261124T120500Z/x": "is no window that DynamoDB exports",
    "incremental/20261124T120000Z-20261127T120000Z/x": "is no window that DynamoDB exports",
    "incremental/20261124T120000Z-20261124T110000Z/x": "is no window that DynamoDB exports",
    "incremental/20261124T120000.5Z-20261124T123000Z/x": "is no window that DynamoDB exports",
    "incremental/20261124T1/x": "is no window that DynamoDB exports",
}
FOREIGN_TO_FULL = {
    "full/20261124T120000Z/AWSDynamoDB/_/x": "is not the folder of an export",
    f"full/20261124T120000Z/{SUMMARY}": "is of an export that DynamoDB does not know, and can't be used",
}


def test_foreign_objects_under_our_prefix_are_passed_over_with_notes(cloud: Cloud, tmp_path: Path):
    for key in [*FOREIGN, *FOREIGN_TO_FULL]:
        cloud.s3.put_object(Bucket=BUCKET, Key=f"exports/{TABLE}/{key}", Body=b"{}")
    advance_to(cloud, 0, 600)
    with lake_at(cloud, tmp_path) as lake:
        told = lake.tick().skip_message
        assert all(note in told for note in FOREIGN_TO_FULL.values())
        passed_over = metadata_of(lake.bootstrap(), "initial_export")["passed_over"]
        assert len(passed_over) == len(FOREIGN_TO_FULL)
        advance_to(cloud, 1)
        told = lake.tick().skip_message
        passed_over = metadata_of(lake.materialise(quarter(0)), "raw_export")["passed_over"]
        for key, note in FOREIGN.items():
            folder = "/".join(key.split("/")[: 4 if key.count("/") > 2 else 2])
            assert f"exports/{TABLE}/{folder}" in told
            assert any(folder in each and note in each for each in passed_over), (key, passed_over)
        assert lake.started() == 2
        assert lake.parity().equal


def test_another_export_with_our_prefix_is_passed_over_with_a_note(cloud: Cloud, tmp_path: Path):
    arn = table_arn(cloud)
    advance_to(cloud, 4)
    prefix = f"exports/{TABLE}/incremental/{LABEL}"
    cloud.start_incremental(arn, quarter(1).start, quarter(3).start, S3Prefix=prefix)
    cloud.start_full(arn, NOON, S3Prefix=prefix)
    with lake_at(cloud, tmp_path) as lake:
        lake.bootstrap()
        passed_over = metadata_of(lake.materialise(quarter(0)), "raw_export")["passed_over"]
        assert any(f"is over {quarter(1, 2)}" in each for each in passed_over)
        assert any("is a full export, where an incremental one was expected" in each for each in passed_over)
        run_to_rest(lake)
        assert lake.parity().equal


def test_a_copy_of_an_export_under_our_prefix_is_passed_over_and_does_not_block_its_window(
    cloud: Cloud, tmp_path: Path
):
    advance_to(cloud, 0, 30)
    cloud.put("new", 1)
    advance_to(cloud, 2)
    incremental_export(cloud, table_arn(cloud), NOON, quarter(0).end)
    incremental_export(cloud, table_arn(cloud), NOON, quarter(0).end, S3Bucket=BUCKET, S3Prefix="elsewhere")
    for bucket, prefix in ((THEIRS, "changes/"), (BUCKET, "elsewhere/")):
        for key in cloud.object_keys(bucket):
            copy = key.replace(prefix, f"exports/{TABLE}/incremental/{LABEL}/")
            cloud.s3.put_object(Bucket=BUCKET, Key=copy, Body=cloud.read(bucket, key))
    with lake_at(cloud, tmp_path) as lake:
        lake.bootstrap()
        passed_over = metadata_of(lake.materialise(quarter(0)), "raw_export")["passed_over"]
        for origin in (f"s3://{THEIRS}/changes", f"s3://{BUCKET}/elsewhere"):
            assert any(f"is a copy: DynamoDB wrote that export to {origin}/" in each for each in passed_over)
        assert lake.started() == 4  # the two that were copied, the full one, and the window's
        assert lake.parity().equal


def test_an_export_without_old_images_is_named_where_lake_yaml_asks_for_them(cloud: Cloud, tmp_path: Path):
    advance_to(cloud, 4)
    export = incremental_export(cloud, table_arn(cloud), NOON, quarter(1).end, view="NEW_IMAGE")
    images: dict[str, Any] = {"view": "NEW_AND_OLD_IMAGES", "old_images": True}
    with lake_at(cloud, tmp_path, **images) as before:
        keys = adopted(before, export)
    with lake_at(cloud, tmp_path, **images, **keys) as lake:
        lake.bootstrap()
        theirs = metadata_of(lake.materialise(quarter(0)), "raw_export")
        assert theirs["without_old_images"] == [lake.table.adopt[0].manifest]
        assert "without_old_images" not in metadata_of(lake.materialise(quarter(3)), "raw_export")
