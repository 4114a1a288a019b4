"""Many clients at once lose nothing: neither in the table nor in its exports."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake_tests.cloud import BUCKET, NOON, QUARTER, TABLE, Cloud

THREADS = 8
ADDS = 20


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="offset", at=NOON) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        yield cloud


def test_concurrent_additions_lose_nothing(cloud: Cloud) -> None:
    arn = cloud.create_table()

    def add(_: int) -> None:
        for _ in range(ADDS):
            cloud.dynamodb.update_item(
                TableName=TABLE,
                Key={"id": {"S": "a"}},
                UpdateExpression="ADD #v :one",
                ExpressionAttributeNames={"#v": "value"},
                ExpressionAttributeValues={":one": {"N": "1"}},
            )

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(add, range(THREADS)))
    counted = {"id": {"S": "a"}, "value": {"N": str(THREADS * ADDS)}}
    assert cloud.scan() == [counted]
    cloud.control.advance(3600)
    start = cloud.recovery()["EarliestRestorableDateTime"]
    assert [change["NewImage"] for change in cloud.changes(arn, start, cloud.control.now())] == [counted]


def test_adjacent_windows_hold_every_write_once(cloud: Cloud) -> None:
    """Writers go on while the clock jumps on; each write is in exactly one of the windows cut afterwards."""
    arn = cloud.create_table()
    start = cloud.recovery()["EarliestRestorableDateTime"]

    def write(writer: int) -> None:
        for number in range(ADDS):
            cloud.put(f"{writer}-{number}")
            if number % 5 == writer:
                cloud.control.advance(QUARTER.total_seconds())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, range(THREADS)))
    now = cloud.control.advance(QUARTER.total_seconds())
    count = (now - start) // QUARTER
    windows = [(start + number * QUARTER, start + (number + 1) * QUARTER) for number in range(count)]
    found = [change["Keys"]["id"]["S"] for window in windows for change in cloud.changes(arn, *window)]
    late = cloud.changes(arn, max(start, now - QUARTER - timedelta(seconds=1)), now)
    assert len(found) == len(set(found))
    assert set(found) | {change["Keys"]["id"]["S"] for change in late} == {
        f"{writer}-{number}" for writer in range(THREADS) for number in range(ADDS)
    }
