"""A manifest is not trusted: what it names outside of its export is never fetched, and its sizes have limits.

Whoever can write a manifest can write its MD5 beside it, so here both are forged.
"""

import base64
import hashlib
import json
from typing import Any

import pytest

from ddb_lake.exports import (
    FullExport,
    IncrementalExport,
    Verification,
    errors,
    manifest,
    read_manifest,
    require_files,
)
from ddb_lake.exports.download import download
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud
from ddb_lake_tests.exports.test_client import FIRST
from ddb_lake_tests.real import UNICORN_BUCKET, UNICORN_FULL, UNICORN_INCREMENTAL, upload

SECRET = "secret/data/abc.json.gz"


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


class Forger:
    """Writes manifests with their checksums, and notes what is fetched afterwards."""

    def __init__(self, cloud: Cloud, request: Any, export: Any) -> None:
        self.cloud, self.request, self.export = cloud, request, export
        self.summary_key: str = export.manifest_key
        self.files_key = self.summary_key.replace("manifest-summary", "manifest-files")
        self.folder = self.summary_key.removesuffix("manifest-summary.json")
        self.fetched: list[str] = []
        cloud.s3.put_object(Bucket=BUCKET, Key=SECRET, Body=b"secret")
        cloud.s3.meta.events.register("provide-client-params.s3.GetObject", self._note)

    def _note(self, params: Any, **_: Any) -> None:
        self.fetched.append(params["Key"])

    def put(self, key: str, body: bytes) -> None:
        self.cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        self.cloud.s3.put_object(Bucket=BUCKET, Key=key.replace(".json", ".md5"), Body=md5(body).encode())

    def summary(self, **members: Any) -> None:
        self.put(self.summary_key, json.dumps(self.read(self.summary_key)[0] | members).encode())

    def file(self, **members: Any) -> None:
        first, *others = self.read(self.files_key)
        lines = [json.dumps(each) + "\n" for each in (first | members, *others)]
        self.put(self.files_key, "".join(lines).encode())

    def read(self, key: str) -> list[Any]:
        return [json.loads(line) for line in self.cloud.read(BUCKET, key).splitlines()]

    def refused(self, client: Any, error: type[Exception], *told: str) -> str:
        self.fetched.clear()
        with pytest.raises(error) as caught:
            client.read_manifest(self.request, self.export)
        for each in told:
            assert each in str(caught.value)
        return str(caught.value)


def full(table: Any) -> Any:
    return FullExport(table, NOON)


def incremental(table: Any) -> Any:
    return IncrementalExport(table, FIRST)


@pytest.fixture(params=[full, incremental])
def forger(request, cloud, client, table) -> Forger:
    export_request = request.param(table)
    export = client.describe(client.ensure(export_request).arn)
    assert client.read_manifest(export_request, export).verification is Verification.VERIFIED
    return Forger(cloud, export_request, export)


OUTSIDE = {
    SECRET: "which is not under exports/measurement/",
    f"{{folder}}data/../../../{SECRET}": "has an empty part, or one that is . or ..",
    "{folder}data/..": "has an empty part, or one that is . or ..",
    "{folder}data/.": "has an empty part, or one that is . or ..",
    "{folder}data//a.json.gz": "has an empty part, or one that is . or ..",
    "/{folder}data/a.json.gz": "has an empty part, or one that is . or ..",
    "{folder}data/a\n.json.gz": "has control characters",
    "{folder}data/" + "a" * 2000 + ".json.gz": "longer than the 1024 bytes",
    "{folder}database/a.json.gz": "which is not under",
    "{folder}other.json.gz": "which is not under",
    "": "has an empty part",
}

NAMES = [".lock", "..json.gz", "a.json", "ä.json.gz", "a" * 300 + ".json.gz"]


def test_a_data_file_outside_of_the_export_is_not_fetched(client, forger):
    for key, told in OUTSIDE.items():
        wanted = key.format(folder=forger.folder)
        forger.file(dataFileS3Key=wanted)
        text = forger.refused(client, errors.ManifestDamaged, "line 1: dataFileS3Key", told, "it was not fetched")
        assert forger.files_key in text
        assert wanted not in forger.fetched


def test_a_data_file_has_the_name_of_one(client, forger):
    folder = forger.read(forger.files_key)[0]["dataFileS3Key"].rpartition("/")[0]
    for name in (*NAMES, "a/b.json.gz"):
        forger.file(dataFileS3Key=f"{folder}/{name}")
        forger.refused(client, errors.ManifestDamaged, "whose name is not that of a data file")


def test_only_an_incremental_export_has_files_in_the_folder_that_exports_share(cloud, client, table):
    export = client.describe(client.ensure(full(table)).arn)
    forger = Forger(cloud, full(table), export)
    shared = forger.folder.rstrip("/").rpartition("/")[0] + "/data/abcdefghij.json.gz"
    forger.file(dataFileS3Key=shared)
    forger.refused(client, errors.ManifestDamaged, f"{shared!r}, which is not under {forger.folder}data/")


@pytest.mark.parametrize("key", ["secret/manifest-files.json", "{folder}../../x.json", "{folder}..", ""])
def test_a_list_of_files_outside_of_the_export_is_not_fetched(client, forger, key):
    wanted = key.format(folder=forger.folder)
    forger.summary(manifestFilesS3Key=wanted)
    forger.refused(client, errors.ManifestDamaged, "manifestFilesS3Key is", "it was not fetched")
    assert wanted not in forger.fetched


def test_a_manifest_of_another_bucket_is_refused(client, forger):
    forger.summary(s3Bucket="elsewhere")
    forger.refused(client, errors.WrongExport, "s3Bucket is 'elsewhere': the export was written to another bucket")


def test_a_manifest_of_another_folder_is_refused(client, forger):
    arn = forger.export.arn
    forger.summary(exportArn=arn[:-1] + ("0" if arn[-1] != "0" else "1"))
    forger.refused(client, errors.ManifestDamaged, "but the folder is that of an export")


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        (lambda f: f.summary(itemCount=-1), "itemCount is -1, not a count"),
        (lambda f: f.summary(itemCount=10**18), "itemCount is 1000000000000000000, not a count"),
        (lambda f: f.summary(billedSizeBytes=-1), "billedSizeBytes is -1, not a count"),
        (lambda f: f.file(itemCount=-5), "line 1: itemCount is -5, not a count"),
        (lambda f: f.file(itemCount=10**18), "line 1: itemCount is 1000000000000000000"),
        (lambda f: f.file(md5Checksum="AAAA"), "line 1: md5Checksum is 'AAAA', not the base64 of an MD5"),
        (lambda f: f.file(md5Checksum="x" * 24), "not the base64 of an MD5"),
        (lambda f: f.summary(startTime="0001-01-01T00:00:00+23:59"), "startTime is"),
        (lambda f: f.summary(endTime="x" * 50_000), "endTime is 'xxx"),
    ],
)
def test_counts_times_and_checksums_are_such(client, forger, forge, told):
    forge(forger)
    text = forger.refused(client, errors.ManifestDamaged, told)
    assert len(text) < 1_500


@pytest.mark.parametrize(
    ("limit", "end"),
    [
        ("LARGEST_SUMMARY", "manifest-summary.json"),
        ("LARGEST_LISTING", "manifest-files.json"),
        ("LARGEST_CHECKSUM", "manifest-files.md5"),
    ],
)
def test_no_more_of_a_manifest_is_read_than_any_has(client, forger, monkeypatch, limit, end):
    monkeypatch.setattr(manifest, limit, 2_000)
    forger.cloud.s3.put_object(Bucket=BUCKET, Key=f"{forger.folder}{end}", Body=b" " * 5_000_000)
    forger.refused(client, errors.ManifestDamaged, f"{end} has more than 2,000 bytes")


def test_no_export_has_more_files_than_so_many(client, forger, monkeypatch):
    monkeypatch.setattr(manifest, "MOST_FILES", 3)
    forger.refused(client, errors.ManifestDamaged, "4 lines, more than any export has files")


def test_a_file_that_is_too_small_for_its_lines_is_not_fetched(client, forger, tmp_path):
    forger.file(itemCount=1_000_000)
    forger.summary(itemCount=1_000_000)
    found = client.read_manifest(forger.request, forger.export)
    forger.fetched.clear()
    with pytest.raises(errors.DataFileDamaged, match="too few for the 1,000,000 lines that its manifest says"):
        require_files(client.s3, found)
    assert forger.fetched == []
    with pytest.raises(errors.DataFileDamaged, match="it was not fetched"):
        download(client.s3, found.files[0], found, tmp_path)


def test_a_file_that_is_too_large_is_not_fetched(client, forger, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "LARGEST_FILE", 10)
    found = client.read_manifest(forger.request, forger.export)
    with pytest.raises(errors.DataFileDamaged, match="more than the 10 that a data file can have"):
        require_files(client.s3, found)
    with pytest.raises(errors.DataFileDamaged, match="more than the 10 that a data file can have"):
        download(client.s3, found.files[0], found, tmp_path)


@pytest.mark.parametrize(
    "key", ["manifest-summary.json", "AWSDynamoDB/x/../manifest-summary.json", "a/AWSDynamoDB/x/y"]
)
def test_a_summary_has_the_place_of_one(cloud, key):
    with pytest.raises(errors.ManifestDamaged, match="it was not fetched"):
        read_manifest(cloud.s3, BUCKET, key)


@pytest.mark.parametrize("key", [UNICORN_FULL, UNICORN_INCREMENTAL])
def test_an_export_that_was_copied_is_read_where_that_is_said(cloud, real_exports, key):
    upload(cloud.s3, real_exports / "unicorn_activities", BUCKET)
    with pytest.raises(errors.WrongExport, match=f"s3Bucket is '{UNICORN_BUCKET}'"):
        read_manifest(cloud.s3, BUCKET, key)
    found = read_manifest(cloud.s3, BUCKET, key, original_bucket=UNICORN_BUCKET)
    assert {file.bucket for file in found.files} == {BUCKET}
