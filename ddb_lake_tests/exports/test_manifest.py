"""Manifests are read as AWS wrote them, and whatever is wrong with one is told with its object and line."""

import json

import pytest

from ddb_lake.exports import (
    ExportKind,
    FullExport,
    ImageView,
    IncrementalExport,
    Verification,
    errors,
    read_manifest,
    require_files,
)
from ddb_lake.windows import Window, parse_time
from ddb_lake_tests.cloud import BUCKET, NOON
from ddb_lake_tests.exports.test_client import FIRST, SECOND
from ddb_lake_tests.real import ALL_TYPES, ALL_TYPES_BUCKET, UNICORN_BUCKET, UNICORN_FULL, UNICORN_INCREMENTAL, upload


def test_a_full_manifest_of_aws_is_verified(cloud, real_exports):
    upload(cloud.s3, real_exports / "unicorn_activities", BUCKET)
    manifest = read_manifest(cloud.s3, BUCKET, UNICORN_FULL, original_bucket=UNICORN_BUCKET)
    assert manifest.kind is ExportKind.FULL
    assert (manifest.time, manifest.window) == (parse_time("2024-05-27T06:11:47.109Z"), None)
    assert manifest.table_id == "70ad931a-591d-41c1-a392-b48e4b2b8846"
    assert (manifest.item_count, len(manifest.files)) == (133_199, 4)
    assert manifest.billed_bytes == 44_570_731
    assert manifest.verification is Verification.VERIFIED
    assert require_files(cloud.s3, manifest) == sum(
        path.stat().st_size for path in (real_exports / "unicorn_activities").glob("AWSDynamoDB/*d6aaa/data/*")
    )


def test_an_incremental_manifest_of_aws_names_its_files_in_the_shared_folder(cloud, real_exports):
    upload(cloud.s3, real_exports / "unicorn_activities", BUCKET)
    manifest = read_manifest(cloud.s3, BUCKET, UNICORN_INCREMENTAL, original_bucket=UNICORN_BUCKET)
    assert manifest.kind is ExportKind.INCREMENTAL
    assert manifest.window == Window(parse_time("2024-05-27T06:11:47.109Z"), parse_time("2024-05-27T06:26:47.109Z"))
    assert manifest.view is ImageView.NEW_AND_OLD_IMAGES
    assert (manifest.item_count, manifest.billed_bytes) == (15, 10_000_000)
    assert all(file.key.startswith("AWSDynamoDB/data/") for file in manifest.files)


def test_a_manifest_without_checksum_files_is_unverifiable_and_no_more(cloud, real_exports):
    upload(cloud.s3, real_exports / "all_types", BUCKET)
    manifest = read_manifest(cloud.s3, BUCKET, ALL_TYPES, original_bucket=ALL_TYPES_BUCKET)
    assert manifest.verification is Verification.UNVERIFIABLE
    assert manifest.item_count == 3


@pytest.fixture
def exported(cloud, client, table):
    """An incremental export with one change, as (request, export)."""
    cloud.control.advance(600)
    cloud.put("a")
    cloud.control.advance(3600)
    window = Window(NOON.replace(hour=13), NOON.replace(hour=13, minute=15))
    request = IncrementalExport(table, window)
    return request, client.describe(client.ensure(request).arn)


def rewrite(cloud, key, change):
    """Change an object's text and drop its checksum, so that only the change is wrong."""
    text = cloud.read(BUCKET, key).decode()
    changed = change(text)
    assert changed != text
    cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=changed.encode())
    cloud.s3.delete_object(Bucket=BUCKET, Key=key.replace(".json", ".md5"))


@pytest.mark.parametrize(
    ("file", "change", "error", "told"),
    [
        ("summary", lambda t: t[:-1], errors.ManifestDamaged, "manifest-summary.json, line 1: not JSON"),
        ("summary", lambda t: "[1]", errors.ManifestDamaged, "not a JSON object"),
        ("summary", lambda t: t.replace('"itemCount":1', '"itemCount":2'), errors.ManifestDamaged, "itemCount is 2, but the files"),
        ("summary", lambda t: t.replace('"itemCount":1', '"itemCount":"1"'), errors.ManifestDamaged, "itemCount is '1', not of the type int"),
        ("summary", lambda t: t.replace("exportFromTime", "exportFrom"), errors.ManifestDamaged, "exportFromTime is None"),
        ("summary", lambda t: t.replace("DYNAMODB_JSON", "ION"), errors.WrongExport, "the export's format is ION"),
        ("summary", lambda t: t.replace('"NEW_IMAGE"', '"NO_IMAGE"'), errors.ManifestDamaged, "outputView is 'NO_IMAGE'"),
        ("summary", lambda t: t.replace("2026-11-24T13:15", "2026-11-24T12:15"), errors.ManifestDamaged, "is not before exportToTime"),
        ("summary", lambda t: t.replace('"endTime":"', '"endTime":"x'), errors.ManifestDamaged, "endTime is"),
        ("files", lambda t: t.replace("{", "", 1), errors.ManifestDamaged, "manifest-files.json, line 1: not JSON"),
        ("files", lambda t: t + t.splitlines()[-1] + "\n", errors.ManifestDamaged, "named twice"),
        ("files", lambda t: t.replace("md5Checksum", "md5"), errors.ManifestDamaged, "line 1: md5Checksum is None"),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_told_with_object_and_line(cloud, client, exported, file, change, error, told):
    request, export = exported
    rewrite(cloud, export.manifest_key.replace("summary", file), change)
    with pytest.raises(error) as caught:
        client.read_manifest(request, export)
    assert told in str(caught.value)
    assert f"s3://{BUCKET}/exports/" in str(caught.value)


@pytest.mark.parametrize("file", ["summary", "files"])
def test_a_wrong_checksum_of_a_manifest_is_an_error(cloud, client, exported, file):
    request, export = exported
    key = export.manifest_key.replace("summary", file)
    good = cloud.read(BUCKET, key)
    cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=good.replace(b'"itemCount":1', b'"itemCount":9'))
    with pytest.raises(errors.ManifestDamaged, match="its MD5 is"):
        client.read_manifest(request, export)
    cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=good)
    assert client.read_manifest(request, export).verification is Verification.VERIFIED


@pytest.mark.parametrize("file", ["summary", "files"])
def test_a_missing_manifest_is_an_error(cloud, client, exported, file):
    request, export = exported
    cloud.s3.delete_object(Bucket=BUCKET, Key=export.manifest_key.replace("summary", file))
    with pytest.raises(errors.ManifestMissing, match="is not there"):
        client.read_manifest(request, export)


def test_a_data_file_that_is_not_there_is_an_error(cloud, client, exported):
    request, export = exported
    manifest = client.read_manifest(request, export)
    cloud.s3.delete_object(Bucket=BUCKET, Key=manifest.files[0].key)
    with pytest.raises(errors.DataFileMissing) as caught:
        require_files(cloud.s3, manifest)
    assert manifest.files[0].uri in str(caught.value)


def test_files_in_the_shared_folder_that_the_manifest_does_not_name_are_not_read(cloud, client, exported):
    request, export = exported
    folder = export.manifest_key.partition(export.export_id)[0]
    cloud.s3.put_object(Bucket=BUCKET, Key=f"{folder}data/stranger.json.gz", Body=b"not even gzip")
    manifest = client.read_manifest(request, export)
    assert not any("stranger" in file.key for file in manifest.files)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda t: FullExport(t, NOON), "is an incremental export, where a full one was expected"),
        (lambda t: IncrementalExport(t, SECOND), "is over [2026-11-24T13:00:00Z"),
    ],
)
def test_a_manifest_of_another_export_is_refused(client, table, exported, other, told):
    with pytest.raises(errors.WrongExport) as caught:
        client.read_manifest(other(table), exported[1])
    assert told in str(caught.value)


def test_a_full_export_where_an_incremental_was_expected_is_refused(client, table):
    full = client.describe(client.ensure(FullExport(table, NOON)).arn)
    with pytest.raises(errors.WrongExport, match="is a full export, where an incremental one was expected"):
        client.read_manifest(IncrementalExport(table, FIRST), full)


def test_the_manifest_of_another_table_is_refused(cloud, client, table, exported):
    _, export = exported
    rewrite(cloud, export.manifest_key, lambda text: json.dumps({**json.loads(text), "tableId": "another"}))
    with pytest.raises(errors.WrongExport, match="was the table re-created"):
        client.read_manifest(exported[0], export)
