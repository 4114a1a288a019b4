"""Wherever AWS takes a table's name it takes its ARN, for the table of that region and account alone."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ddb_lake_tests.cloud import TABLE, Cloud, error_of

KEY: dict[str, Any] = {"id": {"S": "a"}}
ITEM: dict[str, Any] = {**KEY, "value": {"N": "0"}}
TTL = {"Enabled": True, "AttributeName": "ends"}

OPERATIONS: dict[str, Callable[[Any, str], Any]] = {
    "GetItem": lambda made, arn: made.get_item(TableName=arn, Key=KEY)["Item"] == ITEM,
    "PutItem": lambda made, arn: (
        made.put_item(TableName=arn, Item=ITEM, ReturnValues="ALL_OLD")["Attributes"] == ITEM
    ),
    "UpdateItem": lambda made, arn: (
        made.update_item(TableName=arn, Key=KEY, ReturnValues="ALL_NEW")["Attributes"] == ITEM
    ),
    "DeleteItem": lambda made, arn: (
        made.delete_item(TableName=arn, Key=KEY, ReturnValues="ALL_OLD")["Attributes"] == ITEM
    ),
    "Query": lambda made, arn: (
        made.query(TableName=arn, KeyConditionExpression="id = :id", ExpressionAttributeValues={":id": KEY["id"]})[
            "Items"
        ]
        == [ITEM]
    ),
    "Scan": lambda made, arn: made.scan(TableName=arn)["Items"] == [ITEM],
    "BatchGetItem": lambda made, arn: (
        made.batch_get_item(RequestItems={arn: {"Keys": [KEY]}})["Responses"] == {arn: [ITEM]}
    ),
    "BatchWriteItem": lambda made, arn: (
        not made.batch_write_item(RequestItems={arn: [{"PutRequest": {"Item": ITEM}}]})["UnprocessedItems"]
    ),
    "TransactGetItems": lambda made, arn: (
        made.transact_get_items(TransactItems=[{"Get": {"TableName": arn, "Key": KEY}}])["Responses"]
        == [{"Item": ITEM}]
    ),
    "TransactWriteItems": lambda made, arn: made.transact_write_items(
        TransactItems=[
            {"ConditionCheck": {"TableName": arn, "Key": KEY, "ConditionExpression": "attribute_exists(id)"}}
        ]
    ),
    "DescribeTable": lambda made, arn: made.describe_table(TableName=arn)["Table"]["TableName"] == TABLE,
    "UpdateTable": lambda made, arn: made.update_table(TableName=arn, DeletionProtectionEnabled=False),
    "DescribeTimeToLive": lambda made, arn: made.describe_time_to_live(TableName=arn),
    "UpdateTimeToLive": lambda made, arn: made.update_time_to_live(TableName=arn, TimeToLiveSpecification=TTL),
    "DescribeContinuousBackups": lambda made, arn: made.describe_continuous_backups(TableName=arn),
    "UpdateContinuousBackups": lambda made, arn: made.update_continuous_backups(
        TableName=arn, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    ),
    "DeleteTable": lambda made, arn: made.delete_table(TableName=arn)["TableDescription"]["TableName"] == TABLE,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_takes_the_arn_of_its_table(cloud: Cloud, table: str, operation: str) -> None:
    cloud.put("a")
    assert OPERATIONS[operation](cloud.dynamodb, table)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_refuses_an_arn_of_another_region_with_a_code_that_clients_know(
    cloud: Cloud, table: str, operation: str
) -> None:
    cloud.put("a")
    with pytest.raises(ClientError) as refusal:
        OPERATIONS[operation](cloud.dynamodb, table.replace("us-east-1", "eu-west-1"))
    assert error_of(refusal.value)[0] in ("ResourceNotFoundException", "TableNotFoundException")
    assert cloud.scan() == [ITEM]


def test_a_table_is_created_under_the_arn_that_it_will_have(cloud: Cloud, table: str) -> None:
    arn = cloud.create_table(table.replace(TABLE, "other"))
    assert arn == table.replace(TABLE, "other")
    assert {*cloud.dynamodb.list_tables()["TableNames"]} == {TABLE, "other"}
