"""A transaction is done whole or not at all, and once for each ClientRequestToken within ten minutes."""

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake_tests.cloud import NOON, QUARTER, TABLE, Cloud, error_of

TEN_MINUTES = 600


def add_one(key: str = "a") -> Any:
    return {
        "Update": {
            "TableName": TABLE,
            "Key": {"id": {"S": key}},
            "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
    }


def send(cloud: Cloud, *actions: Any, **parameters: Any) -> None:
    cloud.dynamodb.transact_write_items(TransactItems=list(actions), **parameters)


def numbers(cloud: Cloud) -> dict[str, str]:
    return {item["id"]["S"]: item["n"]["N"] for item in cloud.scan()}


def test_the_same_transaction_is_done_once_within_ten_minutes(cloud: Cloud, table: str) -> None:
    send(cloud, add_one(), ClientRequestToken="one")
    cloud.control.advance(TEN_MINUTES - 1)
    send(cloud, add_one(), ClientRequestToken="one")
    assert numbers(cloud) == {"a": "1"}
    cloud.control.advance(1)
    send(cloud, add_one(), ClientRequestToken="one")
    assert numbers(cloud) == {"a": "2"}
    cloud.control.advance(QUARTER.total_seconds())
    (change,) = cloud.changes(table, NOON, NOON + QUARTER)
    assert change["NewImage"]["n"] == {"N": "2"}


def test_another_transaction_with_the_same_token_is_refused(cloud: Cloud, table: str) -> None:
    send(cloud, add_one(), ClientRequestToken="one")
    with pytest.raises(ClientError) as refusal:
        send(cloud, add_one("b"), ClientRequestToken="one")
    assert error_of(refusal.value)[0] == "IdempotentParameterMismatchException"
    assert numbers(cloud) == {"a": "1"}


def test_a_cancelled_transaction_reserves_no_token(cloud: Cloud, table: str) -> None:
    check = {
        "ConditionCheck": {
            "TableName": TABLE,
            "Key": {"id": {"S": "there"}},
            "ConditionExpression": "attribute_exists(id)",
        }
    }
    with pytest.raises(ClientError, match="TransactionCanceledException"):
        send(cloud, add_one(), check, ClientRequestToken="one")
    assert cloud.scan() == []
    cloud.put("there")
    send(cloud, add_one(), check, ClientRequestToken="one")
    assert {item["id"]["S"] for item in cloud.scan()} == {"a", "there"}


@pytest.mark.parametrize("token", ["", "x" * 37])
def test_a_token_has_1_to_36_characters(cloud: Cloud, table: str, token: str) -> None:
    with pytest.raises(ClientError, match="at 'clientRequestToken' failed to satisfy constraint"):
        send(cloud, add_one(), ClientRequestToken=token)
    assert cloud.scan() == []


def test_a_token_outlives_a_restart(tmp_path: Path) -> None:
    journal = tmp_path / "aws.sqlite"
    with EmbeddedAws(journal, clock="frozen", at=NOON) as aws:
        cloud = Cloud(aws.url)
        cloud.create_table()
        send(cloud, add_one(), ClientRequestToken="one")
    with EmbeddedAws(journal, clock="frozen") as aws:
        cloud = Cloud(aws.url)
        send(cloud, add_one(), ClientRequestToken="one")
        assert numbers(cloud) == {"a": "1"}


def test_an_item_that_grows_too_large_cancels_the_whole(cloud: Cloud, table: str) -> None:
    cloud.dynamodb.put_item(TableName=TABLE, Item={"id": {"S": "a"}, "v": {"S": "x" * 300_000}})
    before = cloud.scan()
    growing = {
        "Update": {
            "TableName": TABLE,
            "Key": {"id": {"S": "a"}},
            "UpdateExpression": "SET w = :w",
            "ExpressionAttributeValues": {":w": {"S": "x" * 200_000}},
        }
    }
    with pytest.raises(ClientError, match="ValidationException"):
        send(cloud, {"Put": {"TableName": TABLE, "Item": {"id": {"S": "b"}}}}, growing)
    assert cloud.scan() == before
    cloud.control.advance(QUARTER.total_seconds())
    assert [change["Keys"]["id"]["S"] for change in cloud.changes(table, NOON, NOON + QUARTER)] == ["a"]
