"""The tables of real exports, brought back and exported at the same times, give the same objects as AWS wrote."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import orjson
import pytest

from ddb_lake.decoding import (
    ExportFile,
    ItemSchema,
    canonical_image,
    decode_changes,
    decode_items,
    encode_item,
    learn_changes,
    learn_items,
)
from ddb_lake.embedded_aws import Control, EmbeddedAws
from ddb_lake.embedded_aws.items import item_size
from ddb_lake.exports import Manifest, download, read_manifest
from ddb_lake.keys import KeyAttribute
from ddb_lake.windows import parse_time, to_us
from ddb_lake_tests.embedded_aws.export_shape import ExportInBucket, differences, one_export, real_export
from ddb_lake_tests.real import ALL_TYPES, UNICORN_FULL, UNICORN_INCREMENTAL

EVERY = 100
"""Every so many of the 133,199 unicorns is in our table, and all that the incremental export tells of."""

_BEFORE = timedelta(hours=4)


@dataclass(frozen=True)
class Pair:
    """An export of ours and the real one that it repeats.

    Attributes:
        ours: Ours.
        real: The real one.
        expected: The real one's lines about the items that are in our table.
        lost: Objects of the real one that its publisher has not kept.
        s3: A client for our bucket.
        bucket: The name of our bucket, and of the real one.
    """

    ours: ExportInBucket
    real: ExportInBucket
    expected: list[bytes]
    lost: frozenset[str]
    s3: Any
    bucket: str

    def differences(self) -> list[str]:
        """Tell how they differ."""
        return differences(self.ours, self.real, self.expected, self.lost)


class Replay:
    """Repeats a real export: same region, table, bucket, prefix, times and durations."""

    def __init__(self, aws: EmbeddedAws, real: ExportInBucket, lost: frozenset[str] = frozenset()) -> None:
        self.control = Control(aws.url)
        self.real = real
        self.lost = lost
        self.summary = orjson.loads(real.summary)
        _, _, _, self.region, _, resource = self.summary["tableArn"].split(":")
        self.table = resource.removeprefix("table/")
        session = boto3.Session(region_name=self.region, aws_access_key_id="key", aws_secret_access_key="secret")
        self.dynamodb: Any = session.client("dynamodb", endpoint_url=aws.url)
        self.s3 = session.client("s3", endpoint_url=aws.url)

    def create(self, key: str) -> None:
        """Create the table and the bucket, some hours before the export."""
        began = parse_time(self.summary["startTime"])
        self.control.clock("frozen", began - _BEFORE)
        self.dynamodb.create_table(
            TableName=self.table,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self.dynamodb.update_continuous_backups(
            TableName=self.table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
        location: Any = {"LocationConstraint": self.region}
        self.s3.create_bucket(Bucket=self.summary["s3Bucket"], CreateBucketConfiguration=location)
        self.control.clock("frozen", began - _BEFORE / 2)

    def write(self, lines: list[bytes]) -> None:
        """Write what the lines of an export say into our table, changes at their very microsecond."""
        now_us = to_us(self.control.now())
        self.control.history(self.region, self.table, (_history_row(orjson.loads(line), now_us) for line in lines))

    def export(self, expected: list[bytes], **parameters: Any) -> Pair:
        """Export as the real one was: begun and ended at the same milliseconds."""
        began, ended = parse_time(self.summary["startTime"]), parse_time(self.summary["endTime"])
        self.control.settings(delay_seconds=(ended - began).total_seconds(), files=len(self.real.files()))
        self.control.clock("frozen", began)
        bucket, prefix = self.summary["s3Bucket"], self.summary["s3Prefix"]
        table_arn = self.dynamodb.describe_table(TableName=self.table)["Table"]["TableArn"]
        given = {"TableArn": table_arn, "S3Bucket": bucket, **parameters}
        if prefix is not None:
            given["S3Prefix"] = prefix
        arn = self.dynamodb.export_table_to_point_in_time(**given)["ExportDescription"]["ExportArn"]
        self.control.clock("frozen", ended)
        described = self.dynamodb.describe_export(ExportArn=arn)["ExportDescription"]
        assert described["ExportStatus"] == "COMPLETED", described
        key = described["ExportManifest"]
        ours = one_export(_read_bucket(self.s3, bucket), key)
        return Pair(ours, self.real, expected, self.lost, self.s3, bucket)


@pytest.fixture(scope="module")
def pairs(real_exports: Path) -> Iterator[dict[str, Pair]]:
    """The three real exports and ours: two of the same table, the second from the first one's end on."""
    unicorns = real_exports / "unicorn_activities"
    with EmbeddedAws(clock="frozen", at=parse_time("2024-01-01T00:00:00Z")) as aws:
        lost = frozenset({"_started", "manifest-files.md5", "manifest-summary.md5"})
        types = Replay(aws, _without_final_newline(real_export(real_exports / "all_types", ALL_TYPES)), lost)
        lines = types.real.lines()
        types.create("id")
        types.write(lines)
        pair_of_types = types.export(lines)

        full = Replay(aws, real_export(unicorns, UNICORN_FULL))
        incremental = Replay(aws, real_export(unicorns, UNICORN_INCREMENTAL))
        changes = incremental.real.lines()
        changed = {orjson.loads(line)["Keys"]["name"]["S"] for line in changes}
        items = [
            line
            for number, line in enumerate(full.real.lines())
            if number % EVERY == 0 or orjson.loads(line)["Item"]["name"]["S"] in changed
        ]
        full.create("name")
        full.write(items)
        pair_of_full = full.export(items)
        incremental.control.clock("frozen", parse_time(incremental.summary["startTime"]))
        incremental.write(changes)
        window = {
            "ExportFromTime": parse_time(incremental.summary["exportFromTime"]),
            "ExportToTime": parse_time(incremental.summary["exportToTime"]),
        }
        pair_of_incremental = incremental.export(
            changes, ExportType="INCREMENTAL_EXPORT", IncrementalExportSpecification=window
        )
        yield {
            ALL_TYPES: pair_of_types,
            UNICORN_FULL: pair_of_full,
            UNICORN_INCREMENTAL: pair_of_incremental,
        }


@pytest.mark.parametrize("export", [ALL_TYPES, UNICORN_FULL, UNICORN_INCREMENTAL])
def test_no_object_differs_from_the_real_one(pairs: dict[str, Pair], export: str) -> None:
    assert pairs[export].differences() == []


def test_counts_and_bytes_of_the_incremental_export_are_the_real_ones(pairs: dict[str, Pair]) -> None:
    pair = pairs[UNICORN_INCREMENTAL]
    ours, real = orjson.loads(pair.ours.summary), orjson.loads(pair.real.summary)
    assert (ours["itemCount"], ours["billedSizeBytes"]) == (real["itemCount"], real["billedSizeBytes"])


def test_items_are_as_large_as_aws_reckons(pairs: dict[str, Pair]) -> None:
    """AWS bills a full export by the table's size, which it takes stock of every six hours or so."""
    real = pairs[UNICORN_FULL].real
    billed = orjson.loads(real.summary)["billedSizeBytes"]
    assert sum(item_size(orjson.loads(line)["Item"]) for line in real.lines()) == pytest.approx(billed, rel=1e-5)


@pytest.mark.parametrize(
    ("export", "key"), [(ALL_TYPES, "id"), (UNICORN_FULL, "name"), (UNICORN_INCREMENTAL, "name")]
)
def test_our_reader_finds_in_it_what_the_real_lines_say(
    pairs: dict[str, Pair], export: str, key: str, tmp_path: Path
) -> None:
    pair = pairs[export]
    manifest = read_manifest(pair.s3, pair.bucket, pair.ours.summary_key)
    assert manifest.item_count == len(pair.expected)
    assert _read_rows(manifest, pair.s3, key, tmp_path) == {
        record["Keys"][key]["S"] if "Keys" in record else record["Item"][key]["S"]: _last_image(record)
        for record in map(orjson.loads, pair.expected)
    }


def _without_final_newline(export: ExportInBucket) -> ExportInBucket:
    """Undo what the publisher's editor has done to a summary: those whose MD5 is known end without a newline."""
    summary = export.summary.removesuffix(b"\n")
    return ExportInBucket({**export.objects, export.summary_key: summary}, export.summary_key)


def _read_bucket(s3: Any, bucket: str) -> dict[str, bytes]:
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    return {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def _history_row(record: Any, now_us: int) -> dict[str, Any]:
    if "Item" in record:
        return {"ts": now_us, "Item": record["Item"]}
    written_us = int(record["Metadata"]["WriteTimestampMicros"]["N"])
    if "NewImage" in record:
        # Not in the order of the record: an export sorts the attributes, whatever order they were written in.
        return {"ts": written_us, "Item": dict(reversed(record["NewImage"].items()))}
    return {"ts": written_us, "Key": record["Keys"]}


def _last_image(record: Any) -> Any:
    image = record.get("Item", record.get("NewImage"))
    return None if image is None else canonical_image(image)


def _read_rows(manifest: Manifest, s3: Any, key: str, folder: Path) -> dict[str, Any]:
    files = [ExportFile(file.uri, download(s3, file, manifest, folder), file.item_count) for file in manifest.files]
    empty = ItemSchema.empty((KeyAttribute(key, "S", "HASH"),))
    if manifest.window is None:
        schema = learn_items(files, empty)
        frames = (frame for file in files for frame in decode_items(file, schema, 0))
    else:
        schema = learn_changes(files, empty)
        frames = (frame for file in files for frame in decode_changes(file, schema))
    return {
        row[key]: None if row.get("_deleted") else encode_item(row, schema)
        for frame in frames
        for row in frame.iter_rows(named=True)
    }
