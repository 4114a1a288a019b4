"""The demonstration's source table, `measurement`: created, given a past, and written to about once a second.

Its items are measurements of an id, a time and a value from 1 to 100.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ddb_lake.windows import from_us, to_us

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

TABLE = "measurement"
BUCKET = "ddb-lake-exports"
REGION = "us-east-1"

_LONGEST_PAUSE = timedelta(milliseconds=1500)
_SHORTEST_PAUSE = timedelta(milliseconds=500)


class Measurements:
    """A random but repeatable sequence of writes: mostly new items, some updates, a few deletes.

    Args:
        seed: Decides the sequence.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._ids: list[str] = []

    def write(self, time: datetime) -> dict[str, Any]:
        """Return the next write at a time: `{"Item": …}` for a put, `{"Key": …}` for a delete."""
        dice = self._random.random()
        if self._ids and dice < 0.05:
            return {"Key": {"id": {"S": self._take()}}}
        if self._ids and dice < 0.25:
            return {"Item": self._item(self._random.choice(self._ids), time)}
        new = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        self._ids.append(new)
        return {"Item": self._item(new, time)}

    def pause(self) -> timedelta:
        """Return the time until the next write, a second on average."""
        return _SHORTEST_PAUSE + self._random.random() * (_LONGEST_PAUSE - _SHORTEST_PAUSE)

    def history(self, start: datetime, end: datetime) -> Iterator[dict[str, Any]]:
        """Yield the writes of `[start, end)`, each with its time in microseconds as `ts`."""
        time = start
        while time < end:
            yield {"ts": to_us(time), **self.write(time)}
            time = from_us(to_us(time + self.pause()))

    def _item(self, item_id: str, time: datetime) -> dict[str, Any]:
        return {
            "id": {"S": item_id},
            "time": {"S": time.strftime("%Y-%m-%dT%H:%M:%S.%f+0000")},
            "value": {"N": str(self._random.randint(1, 100))},
        }

    def _take(self) -> str:
        """Remove some id and return it."""
        place = self._random.randrange(len(self._ids))
        self._ids[place], self._ids[-1] = self._ids[-1], self._ids[place]
        return self._ids.pop()


class Writer(threading.Thread):
    """Writes measurements to the table, about one a second, until it is stopped."""

    def __init__(self, dynamodb: DynamoDBClient, measurements: Measurements) -> None:
        super().__init__(name="measurement writer", daemon=True)
        self._dynamodb = dynamodb
        self._measurements = measurements
        self._stopped = threading.Event()

    def run(self) -> None:
        """Write until stopped."""
        while not self._stopped.wait(self._measurements.pause().total_seconds()):
            write = self._measurements.write(datetime.now(UTC))
            if "Item" in write:
                self._dynamodb.put_item(TableName=TABLE, Item=write["Item"])
            else:
                self._dynamodb.delete_item(TableName=TABLE, Key=write["Key"])

    def stop(self) -> None:
        """End the writing and wait for the last write."""
        self._stopped.set()
        self.join()


def create(dynamodb: DynamoDBClient, s3: S3Client) -> None:
    """Create the table and the bucket for its exports."""
    dynamodb.create_table(
        TableName=TABLE,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.get_waiter("table_exists").wait(TableName=TABLE)
    s3.create_bucket(Bucket=BUCKET)  # in us-east-1, creating one's own bucket again is no error
