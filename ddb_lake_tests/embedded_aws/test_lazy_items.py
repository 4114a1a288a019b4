"""Items that come to moto only when they are asked for are there for every way to ask."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.embedded_aws.errors import BackendError
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake_tests.cloud import NOON, REGION, TABLE, Cloud, by_key, us

KEYS = [f"k{number}" for number in range(60)]


def item(key: str, value: int = 1) -> Any:
    return {"id": {"S": key}, "value": {"N": str(value)}}


def past(cloud: Cloud, second: int, *states: tuple[str, int | None]) -> None:
    """Write backdated items `(key, value)`; no value deletes."""
    at = us(NOON) + second * 1_000_000
    lines = [
        {"ts": at + number, **({"Key": {"id": {"S": key}}} if value is None else {"Item": item(key, value)})}
        for number, (key, value) in enumerate(states)
    ]
    cloud.control.history(REGION, TABLE, lines)


@pytest.fixture
def history(cloud: Cloud, table: str) -> Cloud:
    """A table with a past that nobody has asked for."""
    cloud.control.clock("frozen", NOON + timedelta(hours=1))
    past(cloud, 1, *((key, 1) for key in KEYS))
    return cloud


KEY: Any = {"id": {"S": "k7"}}
CHANGE: Any = {
    "TableName": TABLE,
    "Key": KEY,
    "UpdateExpression": "ADD #v :one",
    "ExpressionAttributeNames": {"#v": "value"},
    "ExpressionAttributeValues": {":one": {"N": "1"}},
}
NEW: Any = {"TableName": TABLE, "Item": item("k7", 5), "ConditionExpression": "attribute_not_exists(id)"}

READS: dict[str, Callable[[Any], Any]] = {
    "get": lambda made: made.get_item(TableName=TABLE, Key=KEY)["Item"],
    "batch get": lambda made: made.batch_get_item(RequestItems={TABLE: {"Keys": [KEY]}})["Responses"][TABLE][0],
    "transaction": lambda made: made.transact_get_items(TransactItems=[{"Get": {"TableName": TABLE, "Key": KEY}}])[
        "Responses"
    ][0]["Item"],
    "query": lambda made: made.query(
        TableName=TABLE, KeyConditionExpression="id = :k", ExpressionAttributeValues={":k": {"S": "k7"}}
    )["Items"][0],
    "PartiQL": lambda made: made.execute_statement(Statement=f"SELECT * FROM {TABLE} WHERE id = 'k7'")["Items"][0],
    "the old values of a put": lambda made: made.put_item(
        TableName=TABLE, Item=item("k7", 5), ReturnValues="ALL_OLD"
    )["Attributes"],
    "the old values of a delete": lambda made: made.delete_item(TableName=TABLE, Key=KEY, ReturnValues="ALL_OLD")[
        "Attributes"
    ],
    "the old values of an update": lambda made: made.update_item(**CHANGE, ReturnValues="ALL_OLD")["Attributes"],
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_an_item_is_there_for_who_asks(history: Cloud, read: Callable[[Any], Any]) -> None:
    assert read(history.dynamodb) == item("k7")


def test_conditions_and_updates_see_it(history: Cloud) -> None:
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        history.dynamodb.put_item(**NEW)
    history.dynamodb.update_item(**CHANGE)
    with pytest.raises(ClientError, match="TransactionCanceled"):
        history.dynamodb.transact_write_items(TransactItems=[{"Put": NEW}])
    found = by_key(history.scan())
    assert found == {key: item(key) for key in KEYS} | {"k7": item("k7", 2)}


def test_the_number_of_items_is_told_without_them(history: Cloud) -> None:
    def count() -> int | None:
        return history.dynamodb.describe_table(TableName=TABLE)["Table"].get("ItemCount")

    assert count() == len(KEYS)
    history.dynamodb.update_item(**CHANGE)
    history.put("other")
    history.delete("k8")
    assert count() == len(KEYS)
    history.scan()
    assert count() == len(KEYS)


@pytest.mark.parametrize("known", ["nothing", "keys", "everything"])
def test_a_later_past_changes_what_is_known_and_what_is_not(history: Cloud, known: str) -> None:
    if known == "keys":
        assert history.dynamodb.get_item(TableName=TABLE, Key=KEY).get("Item") == item("k7")
        assert "Item" not in history.dynamodb.get_item(TableName=TABLE, Key={"id": {"S": "new"}})
    elif known == "everything":
        history.scan()
    past(history, 60, ("k7", None), ("k8", None), ("k9", 9), ("new", 1), ("gone", 1), ("again", 1))
    past(history, 61, ("k9", 10), ("gone", None), ("again", None), ("k8", 8))
    past(history, 62, ("again", 2))
    expected = {key: item(key) for key in KEYS if key != "k7"}
    expected |= {"k8": item("k8", 8), "k9": item("k9", 10), "new": item("new"), "again": item("again", 2)}
    assert history.dynamodb.describe_table(TableName=TABLE)["Table"].get("ItemCount") == len(expected)
    for key in ("k7", "gone"):
        assert "Item" not in history.dynamodb.get_item(TableName=TABLE, Key={"id": {"S": key}})
    assert by_key(history.scan()) == expected
    past(history, 63, ("k7", 3), ("new", None))
    del expected["new"]
    assert by_key(history.scan()) == expected | {"k7": item("k7", 3)}


def broken(*_: Any) -> None:
    raise BackendError("moto took nothing")


@pytest.mark.parametrize("known", ["nothing", "keys", "everything"])
def test_an_item_that_moto_did_not_take_comes_with_the_next_read(
    history: Cloud, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if known == "keys":
        history.dynamodb.get_item(TableName=TABLE, Key=KEY)
    elif known == "everything":
        history.scan()
    past(history, 60, ("k7", 2), ("k8", None))
    impatient = boto3.client(
        "dynamodb",
        region_name=REGION,
        endpoint_url=history.url,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with monkeypatch.context() as moto:
        moto.setattr(MotoBackend, "load_items", broken)
        with pytest.raises(ClientError, match="moto took nothing"):
            impatient.get_item(TableName=TABLE, Key=KEY)
        with pytest.raises(ClientError, match="moto took nothing"):
            impatient.scan(TableName=TABLE)
    assert history.dynamodb.get_item(TableName=TABLE, Key=KEY).get("Item") == item("k7", 2)
    assert by_key(history.scan()) == {key: item(key) for key in KEYS if key != "k8"} | {"k7": item("k7", 2)}
    assert history.dynamodb.describe_table(TableName=TABLE)["Table"].get("ItemCount") == len(KEYS) - 1


def test_items_come_back_after_a_restart_as_they_are_asked_for(tmp_path: Path) -> None:
    journal = tmp_path / "aws.sqlite"
    with EmbeddedAws(journal, clock="frozen", at=NOON) as aws:
        cloud = Cloud(aws.url)
        cloud.create_table()
        for key in KEYS[:10]:
            cloud.put(key, 1)
        cloud.delete("k3")
    with EmbeddedAws(journal, clock="frozen") as aws:
        cloud = Cloud(aws.url)
        cloud.dynamodb.update_item(**CHANGE)
        assert cloud.dynamodb.describe_table(TableName=TABLE)["Table"].get("ItemCount") == 9
        expected = {key: item(key) for key in KEYS[:10] if key != "k3"} | {"k7": item("k7", 2)}
        assert by_key(cloud.scan()) == expected


def test_items_of_a_table_with_an_index_are_judged_at_once(cloud: Cloud) -> None:
    cloud.dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "value", "AttributeType": "N"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-value",
                "KeySchema": [{"AttributeName": "value", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    cloud.control.advance(10)
    past(cloud, 1, ("a", 4))
    found = cloud.dynamodb.query(
        TableName=TABLE,
        IndexName="by-value",
        KeyConditionExpression="#v = :v",
        ExpressionAttributeNames={"#v": "value"},
        ExpressionAttributeValues={":v": {"N": "4"}},
    )["Items"]
    assert found == [item("a", 4)]
