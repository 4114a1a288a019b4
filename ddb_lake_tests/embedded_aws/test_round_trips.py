"""What boto3 writes it reads again, whatever names and values DynamoDB allows, by every operation that reads."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.embedded_aws.errors import ControlError
from ddb_lake_tests.cloud import BUCKET, NOON, REGION, Cloud
from ddb_lake_tests.decoding.strategies import ITEMS as EXPORTED_ITEMS
from ddb_lake_tests.decoding.values import meaning_of_item

TABLE = "measurement"

# DynamoDB refuses an empty key.
ITEMS = EXPORTED_ITEMS.map(
    lambda item: {**{n: v for n, v in item.items() if n != "pk"}, "id": {"S": f"k{item['pk']['S']}"}}
)


def for_boto3(value: Any) -> Any:
    """Return values of an export as boto3's client takes them: binary as bytes."""
    ((tag, payload),) = value.items()
    match tag:
        case "B":
            return {"B": b64decode(payload)}
        case "BS":
            return {"BS": [b64decode(member) for member in payload]}
        case "L":
            return {"L": [for_boto3(element) for element in payload]}
        case "M":
            return {"M": {name: for_boto3(member) for name, member in payload.items()}}
        case _:
            return value


def exported(value: Any) -> Any:
    """Return values of boto3's client as an export has them."""
    match value:
        case bytes():
            return b64encode(value).decode()
        case dict():
            return {name: exported(member) for name, member in cast("dict[str, Any]", value).items()}
        case list():
            return [exported(element) for element in cast("list[Any]", value)]
        case _:
            return value


def meaning(item: Any) -> Any:
    return meaning_of_item(exported(item))


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        yield cloud


def client(cloud: Cloud) -> Any:
    return cloud.dynamodb


READS: dict[str, Callable[[Cloud, Any], Any]] = {
    "GetItem": lambda cloud, key: client(cloud).get_item(TableName=TABLE, Key={"id": key})["Item"],
    "Query": lambda cloud, key: client(cloud).query(
        TableName=TABLE, KeyConditionExpression="id = :id", ExpressionAttributeValues={":id": key}
    )["Items"][0],
    "Scan": lambda cloud, key: next(
        item for item in client(cloud).scan(TableName=TABLE)["Items"] if item["id"] == key
    ),
    "BatchGetItem": lambda cloud, key: client(cloud).batch_get_item(RequestItems={TABLE: {"Keys": [{"id": key}]}})[
        "Responses"
    ][TABLE][0],
    "PartiQL": lambda cloud, key: client(cloud).execute_statement(
        Statement=f'SELECT * FROM "{TABLE}" WHERE id = ?', Parameters=[key]
    )["Items"][0],
    "TransactGetItems": lambda cloud, key: client(cloud).transact_get_items(
        TransactItems=[{"Get": {"TableName": TABLE, "Key": {"id": key}}}]
    )["Responses"][0]["Item"],
}


@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(item=ITEMS)
def test_what_is_put_is_read_by_every_operation(cloud: Cloud, item: Any) -> None:
    sent = {name: for_boto3(value) for name, value in item.items()}
    client(cloud).put_item(TableName=TABLE, Item=sent)
    read = {name: meaning(operation(cloud, sent["id"])) for name, operation in READS.items()}
    old = client(cloud).delete_item(TableName=TABLE, Key={"id": sent["id"]}, ReturnValues="ALL_OLD")["Attributes"]
    assert {**read, "ALL_OLD": meaning(old)} == dict.fromkeys([*READS, "ALL_OLD"], meaning_of_item(item))


EMPTY_NAMES = [
    {"M": {"": {"S": "x"}}},
    {"M": {"a": {"S": "x"}, "": {"N": "1"}, "S": {"S": ""}}},
    {"M": {"": {"M": {"": {"L": []}}}}},
    {"M": {"": {"M": {}}}},
    {"L": [{"M": {"": {"SS": ["", ',"":']}, '{"":': {"S": '{"":'}, 'a"': {"NULL": True}}}]},
]


@pytest.mark.parametrize("value", EMPTY_NAMES, ids=str)
def test_a_map_member_may_have_an_empty_name(cloud: Cloud, value: Any) -> None:
    """Written and read by every operation, compared in conditions and filters."""
    key = {"id": {"S": f"empty{EMPTY_NAMES.index(value)}"}}
    before, after = {**key, "m": value}, {**key, "m": value, "n": value}
    client(cloud).put_item(TableName=TABLE, Item=before)
    assert {name: operation(cloud, key["id"]) for name, operation in READS.items()} == dict.fromkeys(READS, before)
    updated = client(cloud).update_item(
        TableName=TABLE,
        Key=key,
        UpdateExpression="SET n = :m",
        ConditionExpression="m = :m AND size(m) = :size",
        ExpressionAttributeValues={":m": value, ":size": {"N": str(len(value.get("M", value.get("L"))))}},
        ReturnValues="ALL_NEW",
    )
    assert updated["Attributes"] == after
    found = client(cloud).scan(
        TableName=TABLE, FilterExpression="n = :m AND m = :m", ExpressionAttributeValues={":m": value}
    )
    assert found["Items"] == [after]
    with pytest.raises(ClientError) as refusal:
        client(cloud).put_item(
            TableName=TABLE,
            Item=key,
            ConditionExpression="m <> :m",
            ExpressionAttributeValues={":m": value},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert dict(refusal.value.response)["Item"] == after
    statement = f'UPDATE "{TABLE}" SET o = ? WHERE id = ? RETURNING ALL NEW *'
    written = client(cloud).execute_statement(Statement=statement, Parameters=[value, key["id"]])
    assert written["Items"] == [{**after, "o": value}]


def test_an_expression_reaches_a_member_with_an_empty_name(cloud: Cloud) -> None:
    key = {"id": {"S": "path"}}
    client(cloud).put_item(TableName=TABLE, Item={**key, "m": {"M": {"": {"N": "1"}}}})
    named: Any = {"TableName": TABLE, "Key": key, "ExpressionAttributeNames": {"#none": ""}}
    updated = client(cloud).update_item(
        **named,
        UpdateExpression="SET m.#none = m.#none + :one",
        ConditionExpression="attribute_exists(m.#none)",
        ExpressionAttributeValues={":one": {"N": "1"}},
        ReturnValues="ALL_NEW",
    )
    assert updated["Attributes"]["m"] == {"M": {"": {"N": "2"}}}
    assert client(cloud).get_item(**named, ProjectionExpression="m.#none")["Item"] == {"m": {"M": {"": {"N": "2"}}}}
    with pytest.raises(ClientError, match="Attribute name must not be empty"):
        client(cloud).update_item(
            **named, UpdateExpression="SET #none = :one", ExpressionAttributeValues={":one": {"N": "1"}}
        )
    assert client(cloud).get_item(TableName=TABLE, Key=key)["Item"] == {**key, "m": {"M": {"": {"N": "2"}}}}


@pytest.mark.parametrize(("name", "text"), [("", "must not be empty"), ("é" * 32_768, "less than 65536 bytes")])
def test_an_attribute_has_a_name_of_1_to_65535_bytes(cloud: Cloud, name: str, text: str) -> None:
    item = {"id": {"S": "name"}, name: {"S": "x"}}
    now = int(NOON.timestamp()) * 1_000_000
    attempts: list[Callable[[], object]] = [
        lambda: client(cloud).put_item(TableName=TABLE, Item=item),
        lambda: client(cloud).batch_write_item(RequestItems={TABLE: [{"PutRequest": {"Item": item}}]}),
        lambda: client(cloud).transact_write_items(TransactItems=[{"Put": {"TableName": TABLE, "Item": item}}]),
        lambda: client(cloud).update_item(
            TableName=TABLE, Key={"id": {"S": "name"}}, AttributeUpdates={name: {"Value": {"S": "x"}}}
        ),
        lambda: cloud.control.history(REGION, TABLE, [{"ts": now, "Item": item}]),
    ]
    for attempt in attempts:
        with pytest.raises((ClientError, ControlError), match=text):
            attempt()
    assert "Item" not in client(cloud).get_item(TableName=TABLE, Key={"id": {"S": "name"}})
    longest = {"id": {"S": "name"}, "é" * 32_767 + "e": {"S": "x"}}
    client(cloud).put_item(TableName=TABLE, Item=longest)
    assert client(cloud).get_item(TableName=TABLE, Key={"id": {"S": "name"}})["Item"] == longest
    client(cloud).delete_item(TableName=TABLE, Key={"id": {"S": "name"}})
