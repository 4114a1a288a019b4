"""Items go once the time in their TTL attribute has passed, as ordinary deletes that exports show."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake_tests.cloud import BUCKET, NOON, QUARTER, REGION, TABLE, Cloud, us

SECOND = timedelta(seconds=1)


def seconds(offset: float) -> dict[str, str]:
    """A time after noon, as a TTL attribute."""
    return {"N": str(us(NOON) // 10**6 + offset)}


def put(cloud: Cloud, key: str, expires: Any) -> None:
    cloud.dynamodb.put_item(TableName=TABLE, Item={"id": {"S": key}, "expires": expires})


def switch(cloud: Cloud, *, on: bool) -> None:
    cloud.dynamodb.update_time_to_live(
        TableName=TABLE, TimeToLiveSpecification={"Enabled": on, "AttributeName": "expires"}
    )


def keys(cloud: Cloud) -> set[str]:
    return {item["id"]["S"] for item in cloud.scan()}


@pytest.fixture
def expiring(cloud: Cloud, table: str) -> str:
    """The ARN of a table with TTL."""
    switch(cloud, on=True)
    return table


def test_an_item_goes_at_its_second_and_not_before(cloud: Cloud, expiring: str) -> None:
    put(cloud, "a", seconds(60))
    cloud.control.clock("frozen", NOON + timedelta(seconds=60) - timedelta(microseconds=1))
    assert keys(cloud) == {"a"}
    cloud.control.clock("frozen", NOON + timedelta(seconds=60))
    assert keys(cloud) == set()


def test_an_export_shows_an_ordinary_delete_at_the_time_of_the_sweep(cloud: Cloud, expiring: str) -> None:
    put(cloud, "a", seconds(QUARTER.total_seconds() + 1))
    image = cloud.scan()[0]
    cloud.control.clock("frozen", NOON + QUARTER + 60 * SECOND)
    cloud.control.clock("frozen", NOON + 3 * QUARTER)
    (change,) = cloud.changes(expiring, NOON + QUARTER, NOON + 2 * QUARTER)
    assert change == {
        "Metadata": {"WriteTimestampMicros": {"N": str(us(NOON + QUARTER + 60 * SECOND))}},
        "Keys": {"id": {"S": "a"}},
        "OldImage": image,
    }
    assert cloud.items(expiring, NOON + QUARTER) == [image]
    assert cloud.items(expiring, NOON + 2 * QUARTER) == []


def test_what_has_no_time_to_live_stays(cloud: Cloud, expiring: str) -> None:
    put(cloud, "text", {"S": seconds(0)["N"]})
    put(cloud, "list", {"L": [seconds(0)]})
    put(cloud, "years ago", seconds(-6 * 365 * 86_400))
    put(cloud, "milliseconds", {"N": str(us(NOON) // 1000)})
    cloud.put("none")
    put(cloud, "goes", seconds(1))
    cloud.control.advance(3600)
    assert keys(cloud) == {"text", "list", "years ago", "milliseconds", "none"}


def test_a_prolonged_item_stays_and_a_shortened_one_goes(cloud: Cloud, expiring: str) -> None:
    put(cloud, "prolonged", seconds(60))
    put(cloud, "shortened", seconds(6000))
    assert keys(cloud) == {"prolonged", "shortened"}
    for key, offset in (("prolonged", 6000), ("shortened", 60)):
        cloud.dynamodb.update_item(
            TableName=TABLE,
            Key={"id": {"S": key}},
            UpdateExpression="SET expires = :at",
            ExpressionAttributeValues={":at": seconds(offset)},
        )
    cloud.control.advance(60)
    assert keys(cloud) == {"prolonged"}


def test_time_to_live_is_switched_on_and_off(cloud: Cloud, table: str) -> None:
    put(cloud, "a", seconds(1))
    cloud.control.advance(60)
    assert keys(cloud) == {"a"}
    switch(cloud, on=True)
    assert keys(cloud) == set()
    put(cloud, "b", seconds(120))
    switch(cloud, on=False)
    cloud.control.advance(600)
    assert keys(cloud) == {"b"}


def test_expired_items_can_be_kept_as_aws_keeps_them_for_days(cloud: Cloud, expiring: str) -> None:
    cloud.control.settings(expired_items="kept")
    put(cloud, "a", seconds(1))
    cloud.control.advance(60)
    assert keys(cloud) == {"a"}
    cloud.control.settings(expired_items="deleted")
    assert keys(cloud) == set()


def test_backdated_items_expire_too(cloud: Cloud, expiring: str) -> None:
    cloud.control.advance(60)
    assert keys(cloud) == set()
    row = {"ts": us(NOON), "Item": {"id": {"S": "a"}, "expires": seconds(30)}}
    cloud.control.history(REGION, TABLE, [row])
    assert keys(cloud) == set()
    cloud.control.advance(2 * QUARTER.total_seconds())
    assert cloud.changes(expiring, NOON, NOON + QUARTER) == []  # came and went in one window


def test_time_to_live_goes_on_after_a_restart(tmp_path: Path) -> None:
    journal = tmp_path / "aws.sqlite"
    with EmbeddedAws(journal, clock="frozen", at=NOON) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        switch(cloud, on=True)
        put(cloud, "a", seconds(60))
    with EmbeddedAws(journal, clock="frozen") as aws:
        cloud = Cloud(aws.url)
        assert keys(cloud) == {"a"}
        cloud.control.advance(60)
        assert keys(cloud) == set()


def test_many_items_of_the_past_go_when_time_to_live_is_switched_on(cloud: Cloud, table: str) -> None:
    cloud.control.advance(60)
    expiring = [(f"e{number}", seconds(30)) for number in range(450)]
    lines = [
        {"ts": us(NOON) + number, "Item": {"id": {"S": key}, "expires": expires}}
        for number, (key, expires) in enumerate([*expiring, ("later", seconds(600)), ("huge", {"N": "1E+125"})])
    ]
    cloud.control.history(REGION, TABLE, lines)
    cloud.put("never")
    assert len(keys(cloud)) == 453
    put(cloud, "e7", seconds(600))
    switch(cloud, on=True)
    assert keys(cloud) == {"later", "huge", "never", "e7"}
    assert cloud.dynamodb.describe_table(TableName=TABLE)["Table"].get("ItemCount") == 4
    cloud.control.advance(600)
    assert keys(cloud) == {"huge", "never"}
