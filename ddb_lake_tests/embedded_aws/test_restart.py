"""A restart with the same journal brings everything back, export files byte for byte."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ddb_lake.embedded_aws import EmbeddedAws, JournalError
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake_tests.cloud import BUCKET, NOON, QUARTER, REGION, TABLE, Cloud, by_key


@contextmanager
def started(journal: Path | None, **options: Any) -> Iterator[Cloud]:
    with EmbeddedAws(journal, clock="frozen", **options) as aws:
        yield Cloud(aws.url)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The journal of an embedded AWS that ran from noon on."""
    path = tmp_path / "aws.sqlite"
    with started(path, at=NOON) as cloud:
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
    return path


def test_tables_come_back_with_identity_items_and_recovery(journal: Path) -> None:
    def state(cloud: Cloud) -> Any:
        table = cloud.dynamodb.describe_table(TableName=TABLE)["Table"]
        identity = table.get("TableId"), table.get("TableArn"), table.get("CreationDateTime"), table.get("KeySchema")
        return identity, cloud.recovery(), by_key(cloud.scan()), cloud.control.now()

    with started(journal) as cloud:
        for number in range(60):
            cloud.put(f"k{number}", number)
        cloud.delete("k7")
        cloud.control.advance(60)
        before = state(cloud)
    with started(journal) as cloud:
        assert state(cloud) == before
        assert len(before[2]) == 59


def test_changes_of_a_table_s_settings_come_back(journal: Path) -> None:
    with started(journal) as cloud:
        arn = f"arn:aws:dynamodb:{REGION}:123456789012:table/{TABLE}"
        cloud.dynamodb.update_table(TableName=TABLE, DeletionProtectionEnabled=True)
        cloud.dynamodb.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "lake"}])
        cloud.dynamodb.update_time_to_live(
            TableName=TABLE, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
        )
    with started(journal) as cloud:
        assert cloud.dynamodb.describe_table(TableName=TABLE)["Table"].get("DeletionProtectionEnabled")
        tags: Any = cloud.dynamodb.list_tags_of_resource(ResourceArn=arn)
        assert tags["Tags"] == [{"Key": "team", "Value": "lake"}]
        ttl = cloud.dynamodb.describe_time_to_live(TableName=TABLE)["TimeToLiveDescription"]
        assert ttl.get("AttributeName") == "expires"


def test_deleted_tables_and_buckets_stay_away(journal: Path) -> None:
    with started(journal) as cloud:
        cloud.dynamodb.delete_table(TableName=TABLE)
        cloud.s3.delete_bucket(Bucket=BUCKET)
        cloud.s3.create_bucket(Bucket="west", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    with started(journal) as cloud:
        assert cloud.dynamodb.list_tables()["TableNames"] == []
        assert [each.get("Name") for each in cloud.s3.list_buckets()["Buckets"]] == ["west"]
        assert cloud.s3.get_bucket_location(Bucket="west")["LocationConstraint"] == "us-west-2"


def test_finished_exports_are_described_and_their_files_are_the_same_bytes(journal: Path) -> None:
    arn = f"arn:aws:dynamodb:{REGION}:123456789012:table/{TABLE}"
    with started(journal) as cloud:
        cloud.put("a", 1)
        cloud.control.advance(QUARTER.total_seconds())
        cloud.put("a", 2)
        cloud.put("b", 1)
        cloud.control.advance(QUARTER.total_seconds())
        exports = [
            cloud.start_full(arn, NOON + QUARTER, S3Prefix="p"),
            cloud.start_incremental(arn, NOON + QUARTER, NOON + 2 * QUARTER),
            cloud.start_full(arn, S3Bucket="no-such-bucket"),
        ]
        before = [cloud.describe(export) for export in exports], cloud.objects()
        assert len(before[1]) == 18
        # What comes later must not change what the exports hold, nor must other settings.
        cloud.control.history(REGION, TABLE, [{"ts": int(NOON.timestamp()) * 10**6 + 5, "Item": {"id": {"S": "c"}}}])
    with started(journal, files=9) as cloud:
        assert ([cloud.describe(export) for export in exports], cloud.objects()) == before


def test_an_export_in_progress_ends_after_the_restart(journal: Path) -> None:
    arn = f"arn:aws:dynamodb:{REGION}:123456789012:table/{TABLE}"
    with started(journal, delay=300) as cloud:
        cloud.put("a", 1)
        cloud.control.advance(1)
        export = cloud.start_full(arn, ClientToken="one")
    with started(journal) as cloud:
        assert cloud.describe(export)["ExportStatus"] == "IN_PROGRESS"
        assert cloud.start_full(arn, ClientToken="one")["ExportArn"] == export["ExportArn"]
        cloud.control.advance(300)
        assert [line["Item"]["id"]["S"] for line in cloud.lines(export)] == ["a"]
        assert cloud.describe(export)["EndTime"] == NOON + timedelta(seconds=301)


def test_no_write_is_stamped_before_what_is_journaled(journal: Path) -> None:
    with started(journal) as cloud:
        cloud.control.advance(3600)
        cloud.put("a", 1)
    with EmbeddedAws(journal, clock="frozen", at=NOON) as aws:
        cloud = Cloud(aws.url)
        assert cloud.control.now() == NOON + timedelta(hours=1)


def test_without_a_journal_nothing_comes_back(journal: Path) -> None:
    with started(None) as cloud:
        assert cloud.dynamodb.list_tables()["TableNames"] == []
        assert cloud.s3.list_buckets()["Buckets"] == []
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            cloud.put("a")


def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a journal, and much longer than the header of a database " * 20)
    content = path.read_bytes()
    with pytest.raises(JournalError, match="notes"):
        EmbeddedAws(path).start()
    assert path.read_bytes() == content


def test_two_processes_cannot_share_a_journal(journal: Path) -> None:
    held = pytest.raises(JournalError, match="stop the process that holds it")
    with started(journal), held:
        Journal(journal)


def test_members_with_empty_names_are_exported_and_come_back(journal: Path) -> None:
    values = [{"M": {"": {"S": "x"}}}, {"L": [{"M": {"": {"M": {"": {"N": "1"}}}, "a": {"S": ""}}}]}]
    items = {str(n): {"id": {"S": str(n)}, "m": value} for n, value in enumerate([*values, *values])}
    late = int(NOON.timestamp()) * 1_000_000 + 30_000_000
    with started(journal) as cloud:
        for number in "01":
            cloud.dynamodb.put_item(TableName=TABLE, Item=items[number])
        cloud.control.advance(60)
        cloud.control.history(REGION, TABLE, [{"ts": late, "Item": items[number]} for number in "23"])
        cloud.control.advance(3600)
        arn = f"arn:aws:dynamodb:{REGION}:123456789012:table/{TABLE}"
        changes = cloud.changes(arn, NOON, NOON + QUARTER)
        assert by_key([change["NewImage"] for change in changes]) == items
        assert by_key(cloud.items(arn, NOON + QUARTER)) == items
    with started(journal) as cloud:
        assert by_key(cloud.scan()) == items
