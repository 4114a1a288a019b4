"""S3's objects come back after a restart with their bytes, ETags and metadata, and what is gone stays away."""

import http.client
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from ddb_lake.embedded_aws import EmbeddedAws, JournalError
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud, error_of

PART = 5 * 2**20


@contextmanager
def started(journal: Path) -> Iterator[Cloud]:
    with EmbeddedAws(journal, clock="frozen") as aws:
        yield Cloud(aws.url)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal of an embedded AWS with a bucket."""
    path = tmp_path / "aws.sqlite"
    with EmbeddedAws(path, clock="frozen", at=NOON) as aws:
        Cloud(aws.url).s3.create_bucket(Bucket=BUCKET)
    return path


def put(cloud: Cloud, key: str, body: bytes = b"content", **more: Any) -> Any:
    return cloud.s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)


def upload_in_parts(cloud: Cloud) -> None:
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)
    body = io.BytesIO(b"0123456789abcdef" * (PART // 8 + 1))
    cloud.s3.upload_fileobj(body, BUCKET, "parts", {"Metadata": {"n": "2"}, "ContentType": "a/b"}, Config=config)


def put_presigned(cloud: Cloud) -> None:
    url = cloud.s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "signed"})
    with urlopen(Request(url, b"content", {"Content-Type": "text/x"}, method="PUT")) as answer:
        assert answer.status == 200


def copy_in_parts(cloud: Cloud) -> None:
    upload_in_parts(cloud)
    source: Any = {"Bucket": BUCKET, "Key": "parts"}
    given: Any = {"Bucket": BUCKET, "Key": "copied parts"}
    given["UploadId"] = cloud.s3.create_multipart_upload(**given)["UploadId"]
    copied: Any = cloud.s3.upload_part_copy(
        **given, PartNumber=1, CopySource=source, CopySourceRange=f"bytes=3-{PART + 2}"
    )
    last = cloud.s3.upload_part(**given, PartNumber=2, Body=b"end")
    etags = [copied["CopyPartResult"]["ETag"], last["ETag"]]
    parts: Any = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    cloud.s3.complete_multipart_upload(**given, MultipartUpload={"Parts": parts})
    cloud.s3.delete_object(Bucket=BUCKET, Key="parts")


def copy(cloud: Cloud, **more: Any) -> None:
    put(cloud, "from", Metadata={"under_score": "yes"}, ContentType="a/b", Tagging="a=b", CacheControl="no-store")
    cloud.s3.copy_object(Bucket=BUCKET, Key="to", CopySource={"Bucket": BUCKET, "Key": "from"}, **more)
    cloud.s3.delete_object(Bucket=BUCKET, Key="from")


def overwrite(cloud: Cloud) -> None:
    put(cloud, "k", b"first", Tagging="a=b", Metadata={"a": "b"})
    put(cloud, "k", b"second", IfMatch=cloud.s3.head_object(Bucket=BUCKET, Key="k")["ETag"])


def delete(cloud: Cloud) -> None:
    for number in range(4):
        put(cloud, f"k{number}")
    cloud.s3.delete_object(Bucket=BUCKET, Key="k0")
    cloud.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "k1"}, {"Key": "k2"}], "Quiet": True})


def upload_and_give_up(cloud: Cloud) -> None:
    given: Any = {"Bucket": BUCKET, "Key": "given up"}
    given["UploadId"] = cloud.s3.create_multipart_upload(**given)["UploadId"]
    cloud.s3.upload_part(**given, PartNumber=1, Body=b"content")
    cloud.s3.abort_multipart_upload(**given)


WRITES: dict[str, Callable[[Cloud], Any]] = {
    "an object": lambda cloud: put(cloud, "a folder/ü+%20&=?.bin", bytes(range(256))),
    "an empty object": lambda cloud: put(cloud, "empty", b""),
    "keys that look like paths": lambda cloud: [
        put(cloud, key) for key in ("../../up", "a//b", "/root", "./x", "a/")
    ],
    "metadata": lambda cloud: put(
        cloud,
        "m",
        Metadata={"under_score": "yes", "dash-ed": "yes"},
        ContentType="application/x-parquet",
        ContentEncoding="gzip",
        ContentDisposition="attachment",
        CacheControl="no-store",
    ),
    "a checksum": lambda cloud: put(cloud, "c", ChecksumAlgorithm="SHA256"),
    "a stream": lambda cloud: cloud.s3.upload_fileobj(io.BytesIO(b"content"), BUCKET, "s"),
    "what is put if it is not there": lambda cloud: put(cloud, "new", IfNoneMatch="*"),
    "parts": upload_in_parts,
    "parts that were copied": copy_in_parts,
    "a presigned put": put_presigned,
    "a copy": copy,
    "a copy with other metadata": lambda cloud: copy(cloud, MetadataDirective="REPLACE", Metadata={"x": "y"}),
    "what was overwritten": overwrite,
    "what was deleted": delete,
    "an upload that was given up": upload_and_give_up,
    "tags": lambda cloud: [
        put(cloud, "t", Tagging="a=b"),
        cloud.s3.put_object_tagging(Bucket=BUCKET, Key="t", Tagging={"TagSet": [{"Key": "c", "Value": "d"}]}),
    ],
}


def state(cloud: Cloud) -> Any:
    """All that clients can see of the objects, but for the time of their last change."""
    found: dict[str, Any] = {}
    for key in cloud.object_keys():
        answer: Any = cloud.s3.get_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        body = answer.pop("Body").read()
        tags = cloud.s3.get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
        found[key] = {k: v for k, v in answer.items() if k not in ("ResponseMetadata", "LastModified")}, body, tags
    return found


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_objects_come_back(journal: Path, write: Callable[[Cloud], Any]) -> None:
    with started(journal) as cloud:
        write(cloud)
        before = state(cloud)
    for _ in range(2):
        with started(journal) as cloud:
            assert state(cloud) == before


def test_bucket_settings_come_back_and_a_policy_that_denies_does_not_stop_the_start(journal: Path) -> None:
    denies = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", '
        f'"Resource": "arn:aws:s3:::{BUCKET}/*"}}]}}'
    )
    with started(journal) as cloud:
        put(cloud, "a")
        cloud.s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        cloud.s3.put_bucket_policy(Bucket=BUCKET, Policy=denies)
    with started(journal) as cloud:
        assert cloud.object_keys() == ["a"]
        assert cloud.s3.get_bucket_tagging(Bucket=BUCKET)["TagSet"] == [{"Key": "a", "Value": "b"}]
        assert cloud.s3.get_bucket_policy(Bucket=BUCKET)["Policy"] == denies
        with pytest.raises(ClientError, match=r"403|AccessDenied"):
            put(cloud, "b")


def test_an_upload_goes_on_after_the_restart(journal: Path) -> None:
    given: Any = {"Bucket": BUCKET, "Key": "slow"}
    with started(journal) as cloud:
        given["UploadId"] = cloud.s3.create_multipart_upload(**given, Metadata={"a": "b"})["UploadId"]
        first = cloud.s3.upload_part(**given, PartNumber=1, Body=b"a" * PART)["ETag"]
    with started(journal) as cloud:
        (listed,) = cloud.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        assert listed.get("UploadId") == given["UploadId"]
        parts: Any = cloud.s3.list_parts(**given)
        assert (parts["UploadId"], parts["Parts"][0]["ETag"]) == (given["UploadId"], first)
        second = cloud.s3.upload_part(**given, PartNumber=2, Body=b"b")["ETag"]
        both: Any = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}]
        cloud.s3.complete_multipart_upload(**given, MultipartUpload={"Parts": both})
        before = state(cloud)
        assert before["slow"][0]["Metadata"] == {"a": "b"}
    with started(journal) as cloud:
        assert state(cloud) == before


def test_export_files_that_a_client_has_changed_or_deleted_stay_so(journal: Path) -> None:
    with started(journal) as cloud:
        arn = cloud.create_table()
        cloud.put("a")
        cloud.control.advance(1)
        cloud.describe(cloud.start_full(arn))
        first, second, *_ = cloud.object_keys()
        put(cloud, first, b"changed")
        cloud.s3.delete_object(Bucket=BUCKET, Key=second)
        before = state(cloud)
    with started(journal) as cloud:
        assert state(cloud) == before
        assert second not in before


def test_a_bucket_that_is_made_again_is_empty(journal: Path) -> None:
    with started(journal) as cloud:
        put(cloud, "a")
        cloud.s3.delete_object(Bucket=BUCKET, Key="a")
        cloud.s3.delete_bucket(Bucket=BUCKET)
        cloud.s3.create_bucket(Bucket=BUCKET)
    with started(journal) as cloud:
        assert cloud.object_keys() == []


def test_what_was_refused_leaves_nothing_behind(journal: Path) -> None:
    with started(journal) as cloud:
        put(cloud, "a")
        with pytest.raises(ClientError, match="PreconditionFailed"):
            put(cloud, "a", b"other", IfNoneMatch="*")
        with pytest.raises(ClientError, match="NoSuchBucket"):
            cloud.s3.put_object(Bucket="nowhere", Key="a", Body=b"")
    assert len(list((journal.parent / "aws.sqlite.objects" / "contents").iterdir())) == 1


@pytest.mark.parametrize(
    "refused",
    [
        lambda s3: s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}),
        lambda s3: s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True),
    ],
)
def test_what_could_not_come_back_is_refused(journal: Path, refused: Callable[[Any], Any]) -> None:
    with started(journal) as cloud, pytest.raises(ClientError) as refusal:
        refused(cloud.s3)
    assert error_of(refusal.value)[0] == "NotImplemented"


def test_nothing_is_written_outside_its_own_folder(journal: Path) -> None:
    folder = journal.parent
    before = {path.name for path in folder.parent.iterdir()}
    with started(journal) as cloud:
        for key in ("../../escaped", "/etc/escaped", "..", "a/../../../escaped", "\x00"):
            put(cloud, key)
        for name in ("../../escaped", "..", "a/b"):
            with pytest.raises(ClientError, match="ValidationException"):
                cloud.create_table(name)
    assert {path.name for path in folder.parent.iterdir()} == before
    assert {path.name for path in folder.iterdir()} == {"aws.sqlite", "aws.sqlite.objects"}
    names = [path.name for path in (folder / "aws.sqlite.objects" / "contents").iterdir()]
    assert all(len(name) == 32 and int(name, 16) >= 0 for name in names)


@pytest.mark.parametrize(
    "path",
    [
        "/_local/../../etc/passwd",
        "/_local/%2e%2e/%2e%2e/etc/passwd",
        "/_local/history/us-east-1/..%2F..%2Fetc%2Fpasswd",
        "/_local/tables/../../etc/passwd",
        "/../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        f"/{BUCKET}/../../etc/passwd",
    ],
)
def test_no_path_reads_a_file(journal: Path, path: str) -> None:
    with started(journal) as cloud:
        host = cloud.url.removeprefix("http://")

        connection = http.client.HTTPConnection(host)
        connection.request("POST" if path.startswith("/_local/") else "GET", path, headers={"Host": host})
        answer = connection.getresponse()
        assert answer.status in (400, 403, 404)
        assert b"root:" not in answer.read()
        connection.close()


def test_another_process_s_objects_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "aws.sqlite.objects").write_text("not a folder")
    with pytest.raises(JournalError, match="can't be used for S3's objects"):
        EmbeddedAws(tmp_path / "aws.sqlite").start()


def inventory(name: str) -> Any:
    """An inventory configuration."""
    return {
        "Id": name,
        "IsEnabled": True,
        "IncludedObjectVersions": "Current",
        "Schedule": {"Frequency": "Daily"},
        "Destination": {"S3BucketDestination": {"Bucket": f"arn:aws:s3:::{BUCKET}", "Format": "CSV"}},
    }


def test_settings_of_which_a_bucket_has_many_come_back_each_by_its_id(journal: Path) -> None:
    with started(journal) as cloud:
        for name in ("one", "two", "three"):
            cloud.s3.put_bucket_inventory_configuration(
                Bucket=BUCKET, Id=name, InventoryConfiguration=inventory(name)
            )
        cloud.s3.delete_bucket_inventory_configuration(Bucket=BUCKET, Id="two")
    for _ in range(2):
        with started(journal) as cloud:
            listed: Any = cloud.s3.list_bucket_inventory_configurations(Bucket=BUCKET)
            assert {each["Id"] for each in listed["InventoryConfigurationList"]} == {"one", "three"}


def test_the_latest_of_each_setting_comes_back_whatever_their_order(journal: Path) -> None:
    def own(cloud: Cloud, ownership: Any) -> None:
        controls: Any = {"Rules": [{"ObjectOwnership": ownership}]}
        cloud.s3.put_bucket_ownership_controls(Bucket=BUCKET, OwnershipControls=controls)

    with started(journal) as cloud:
        own(cloud, "ObjectWriter")
        cloud.s3.put_bucket_acl(Bucket=BUCKET, ACL="public-read")
        own(cloud, "BucketOwnerPreferred")
        cloud.s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        cloud.s3.delete_bucket_tagging(Bucket=BUCKET)
        grants = len(cloud.s3.get_bucket_acl(Bucket=BUCKET)["Grants"])
    with started(journal) as cloud:
        controls: Any = cloud.s3.get_bucket_ownership_controls(Bucket=BUCKET)["OwnershipControls"]
        assert controls["Rules"] == [{"ObjectOwnership": "BucketOwnerPreferred"}]
        assert len(cloud.s3.get_bucket_acl(Bucket=BUCKET)["Grants"]) == grants
        with pytest.raises(ClientError, match="NoSuchTagSet"):
            cloud.s3.get_bucket_tagging(Bucket=BUCKET)


def test_an_export_whose_files_can_not_be_written_has_failed_and_everybody_is_told(journal: Path) -> None:
    with started(journal) as cloud:
        table = cloud.create_table()
        cloud.put("a")
        cloud.control.settings(delay_seconds=60)
        export = cloud.start_full(table)
        contents = journal.with_name(f"{journal.name}.objects") / "contents"
        contents.rename(contents.with_name("elsewhere"))  # as if the disk had gone
        cloud.control.advance(60)
        described = cloud.describe(export)
        assert described["ExportStatus"] == "FAILED"
        assert described["FailureCode"] == "InternalServerError"
        assert "FileNotFoundError" in described["FailureMessage"]
        health = cloud.control.health()
        assert (health["running_exports"], health["failed_exports"]) == (0, 1)
        contents.with_name("elsewhere").rename(contents)
        assert cloud.describe(export)["ExportStatus"] == "FAILED"
        again = cloud.start_full(table)
        cloud.control.advance(60)
        assert cloud.describe(again)["ExportStatus"] == "COMPLETED"
