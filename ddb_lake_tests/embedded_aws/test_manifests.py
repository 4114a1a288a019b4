"""Exports of the embedded AWS have the same shape, byte for byte, as exports that AWS itself wrote."""

import base64
import gzip
import hashlib
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ddb_lake_tests.cloud import BUCKET, NOON, QUARTER, REGION, TABLE, Cloud, us

FULL = "unicorn_activities/AWSDynamoDB/01716790307109-5f9d6aaa"
INCREMENTAL = "unicorn_activities/AWSDynamoDB/01716791487000-6ddcf8cf"
MISSING_MD5 = "all_types/dynamodb-export/AWSDynamoDB/01715685260608-c488b4e1"


def shape(value: Any) -> Any:
    """Reduce JSON to its members in order, and strings to classes of characters."""
    match value:
        case dict():
            return [(name, shape(member)) for name, member in value.items()]
        case str():
            return (
                re.sub(r"[0-9a-f]{8}", "h", re.sub(r"\d", "0", value)) if re.fullmatch(r"[\d\-:TZ.]+", value) else str
            )
        case _:
            return type(value)


@pytest.fixture
def exports(cloud: Cloud, table: str) -> dict[str, Any]:
    """A full export and the incremental export of the quarter-hour after it, both without a prefix."""
    cloud.put("a")
    cloud.control.advance(QUARTER.total_seconds())
    cloud.put("a", 1)
    cloud.control.advance(2 * QUARTER.total_seconds())
    full = cloud.start_full(table, NOON + QUARTER)
    incremental = cloud.start_incremental(table, NOON + QUARTER, NOON + 2 * QUARTER)
    return {FULL: cloud.describe(full), INCREMENTAL: cloud.describe(incremental)}


@pytest.mark.parametrize("kind", [FULL, INCREMENTAL])
def test_the_summary_has_the_members_of_the_real_one_in_their_order(
    cloud: Cloud, exports: dict[str, Any], real_exports: Path, kind: str
) -> None:
    ours = cloud.checked(BUCKET, exports[kind]["ExportManifest"])
    real = (real_exports / kind / "manifest-summary.json").read_bytes()
    assert shape(json.loads(ours)) == shape(json.loads(real))
    for summary in (ours, real):
        assert summary == json.dumps(json.loads(summary), separators=(",", ":")).encode()


@pytest.mark.parametrize("kind", [FULL, INCREMENTAL])
def test_the_list_of_files_is_written_as_the_real_one(
    cloud: Cloud, exports: dict[str, Any], real_exports: Path, kind: str
) -> None:
    folder = exports[kind]["ExportManifest"].rpartition("/")[0]
    ours = cloud.checked(BUCKET, f"{folder}/manifest-files.json")
    real = (real_exports / kind / "manifest-files.json").read_bytes()
    for listing in (ours, real):
        lines = listing.splitlines(keepends=True)
        assert len(lines) == 4
        for line in lines:
            file = json.loads(line)
            assert list(file) == ["itemCount", "md5Checksum", "etag", "dataFileS3Key"]
            assert line == json.dumps(file, separators=(",", ":")).encode() + b"\n"
            assert re.fullmatch(
                r"AWSDynamoDB/(\d{14}-[0-9a-f]{8}/)?data/[a-z2-7]{26}\.json\.gz", file["dataFileS3Key"]
            )


@pytest.mark.parametrize("kind", [FULL, INCREMENTAL])
def test_md5_and_etag_are_reckoned_as_aws_does(
    cloud: Cloud, exports: dict[str, Any], real_exports: Path, kind: str
) -> None:
    folder = exports[kind]["ExportManifest"].rpartition("/")[0]
    ours = [json.loads(line) for line in cloud.read(BUCKET, f"{folder}/manifest-files.json").splitlines()]
    real = [json.loads(line) for line in (real_exports / kind / "manifest-files.json").read_bytes().splitlines()]
    bodies = [cloud.read(BUCKET, file["dataFileS3Key"]) for file in ours]
    bodies += [(real_exports / "unicorn_activities" / file["dataFileS3Key"]).read_bytes() for file in real]
    for file, body in zip(ours + real, bodies, strict=True):
        digest = hashlib.md5(body).digest()
        assert file["md5Checksum"] == base64.b64encode(digest).decode()
        assert file["etag"] == hashlib.md5(digest).hexdigest() + "-1"
    stored = [cloud.s3.head_object(Bucket=BUCKET, Key=file["dataFileS3Key"])["ETag"] for file in ours]
    assert stored == [f'"{file["etag"]}"' for file in ours]


@pytest.mark.parametrize("kind", [FULL, INCREMENTAL])
def test_an_export_has_the_objects_of_a_real_one(
    cloud: Cloud, exports: dict[str, Any], real_exports: Path, kind: str
) -> None:
    folder = exports[kind]["ExportManifest"].rpartition("/")[0]
    ours = {key.removeprefix(f"{folder}/"): body for key, body in cloud.objects().items() if key.startswith(folder)}
    real = {path.name: path.read_bytes() for path in (real_exports / kind).iterdir() if path.is_file()}
    plain = {name: body for name, body in ours.items() if "/" not in name}
    assert plain.keys() == real.keys()
    assert plain["_started"] == real["_started"] == b""
    for name in ("manifest-files.md5", "manifest-summary.md5"):
        assert len(plain[name]) == len(real[name]) == 24


def test_data_files_have_the_gzip_header_of_real_ones(
    cloud: Cloud, exports: dict[str, Any], real_exports: Path
) -> None:
    real = {path.read_bytes()[:10] for path in real_exports.rglob("*.json.gz")}
    bodies = [body for key, body in cloud.objects().items() if key.endswith(".json.gz")]
    assert {body[:10] for body in bodies} == real


def test_an_empty_data_file_is_the_one_that_aws_writes(cloud: Cloud, table: str) -> None:
    """20 bytes: the header, a block of deflate that is the last and has nothing, and checksum and length 0."""
    cloud.put("only")
    cloud.control.advance(3600)
    exports = cloud.start_full(table, NOON + QUARTER), cloud.start_incremental(table, NOON, NOON + QUARTER)
    for export in exports:
        listing = cloud.describe(export)["ExportManifest"].replace("summary", "files")
        files = [json.loads(line) for line in cloud.read(BUCKET, listing).splitlines()]
        empty = {cloud.read(BUCKET, file["dataFileS3Key"]) for file in files if not file["itemCount"]}
        assert empty == {bytes.fromhex("1f8b08000000000000ff03000000000000000000")}
        assert {file["md5Checksum"] for file in files if not file["itemCount"]} == {"FjvgqIxwymKf1RbbqtrZag=="}
        assert len(files) - 1 == sum(not file["itemCount"] for file in files)


def test_a_record_of_a_change_is_written_as_a_real_one(
    cloud: Cloud, exports: dict[str, Any], real_exports: Path
) -> None:
    (ours,) = [gzip.decompress(body) for key, body in cloud.objects().items() if _is_change(key, body)]
    real = b"".join(
        gzip.decompress(path.read_bytes())
        for path in (real_exports / "unicorn_activities/AWSDynamoDB/data").iterdir()
    )
    updates = [line for line in real.splitlines(keepends=True) if b'"OldImage"' in line and b'"NewImage"' in line]
    for line in (ours, *updates):
        record = json.loads(line)
        assert list(record) == ["Metadata", "Keys", "OldImage", "NewImage"]
        assert re.fullmatch(r"\d{16}", record["Metadata"]["WriteTimestampMicros"]["N"])
        for image in (record["OldImage"], record["NewImage"]):
            assert list(image) == sorted(image)
        assert line == json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    assert us(NOON + QUARTER) == int(json.loads(ours)["Metadata"]["WriteTimestampMicros"]["N"])


def test_a_real_table_is_exported_as_it_was_imported(cloud: Cloud, table: str, real_exports: Path) -> None:
    """The items of all ten types that AWS exported come out of the embedded AWS as the same lines."""
    (path,) = (real_exports / MISSING_MD5 / "data").iterdir()
    real = gzip.decompress(path.read_bytes()).splitlines()
    cloud.control.advance(timedelta(hours=1).total_seconds())
    cloud.control.history(
        REGION, TABLE, [{"ts": us(NOON) + n, "Item": json.loads(line)["Item"]} for n, line in enumerate(real)]
    )
    export = cloud.start_full(table, NOON + QUARTER)
    assert len(cloud.lines(export)) == len(real)
    folder = f"AWSDynamoDB/{export['ExportArn'].rpartition('/')[2]}/data/"
    ours = b"".join(gzip.decompress(body) for key, body in cloud.objects().items() if key.startswith(folder))
    assert sorted(ours.splitlines()) == sorted(real)


def test_a_prefix_is_joined_by_one_slash(cloud: Cloud, table: str) -> None:
    for prefix in ("foo", "foo/", "foo/bar"):
        export = cloud.describe(cloud.start_full(table, S3Prefix=prefix))
        assert export["ExportManifest"].startswith(prefix.rstrip("/") + "/AWSDynamoDB/0")
        summary = json.loads(cloud.read(BUCKET, export["ExportManifest"]))
        assert summary["s3Prefix"] == prefix
        assert summary["manifestFilesS3Key"].startswith(prefix.rstrip("/") + "/AWSDynamoDB/0")


def test_the_number_of_files_can_be_chosen_and_each_partition_key_is_in_one(cloud: Cloud) -> None:
    arn = cloud.create_table("sorted", sort="N")
    cloud.control.settings(files=7)
    keys = [(f"p{number % 20}", number - 30) for number in range(60)]
    cloud.control.history(
        REGION,
        "sorted",
        [{"ts": us(NOON), "Item": {"id": {"S": partition}, "at": {"N": str(sort)}}} for partition, sort in keys],
    )
    cloud.control.advance(3600)
    assert len(cloud.lines(cloud.start_full(arn, NOON + QUARTER))) == 60
    bodies = [gzip.decompress(body) for key, body in cloud.objects().items() if key.endswith(".gz")]
    assert len(bodies) == 7
    files = [[json.loads(line)["Item"] for line in body.splitlines()] for body in bodies]
    for partition in {partition for partition, _ in keys}:
        holding = [[item for item in file if item["id"]["S"] == partition] for file in files]
        (items,) = [found for found in holding if found]
        order = [int(item["at"]["N"]) for item in items]
        assert order == sorted(order)


def _is_change(key: str, body: bytes) -> bool:
    return key.startswith("AWSDynamoDB/data/") and len(body) > 20
