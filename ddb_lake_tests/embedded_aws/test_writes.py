"""Every write is journaled as it left the table, answered as the client asked, or refused."""

from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from ddb_lake_tests.cloud import NOON, QUARTER, TABLE, Cloud, by_key, us

KEY: Any = {"id": {"S": "a"}}
BEFORE = {"id": {"S": "a"}, "count": {"N": "1"}, "same": {"S": "s"}}
AFTER = {"id": {"S": "a"}, "count": {"N": "3"}, "same": {"S": "s"}}


def changes(cloud: Cloud, table: str, **parameters: Any) -> dict[str, Any]:
    """Return what an export of the time since noon shows, by key."""
    cloud.control.clock("frozen", NOON + 2 * QUARTER)
    found = cloud.changes(table, NOON, NOON + QUARTER, **parameters)
    return {change["Keys"]["id"]["S"]: change for change in found}


@pytest.mark.parametrize(
    ("wanted", "attributes"),
    [
        (None, None),
        ("NONE", None),
        ("ALL_NEW", AFTER),
        ("ALL_OLD", BEFORE),
        ("UPDATED_NEW", {"count": {"N": "3"}}),
        ("UPDATED_OLD", {"count": {"N": "1"}}),
    ],
)
def test_an_update_is_answered_as_the_client_asked(
    cloud: Cloud, table: str, wanted: str | None, attributes: Any
) -> None:
    cloud.dynamodb.put_item(TableName=TABLE, Item=BEFORE)
    asked: dict[str, Any] = {} if wanted is None else {"ReturnValues": wanted}
    answer = cloud.dynamodb.update_item(
        TableName=TABLE,
        Key=KEY,
        UpdateExpression="ADD #count :two",
        ExpressionAttributeNames={"#count": "count"},
        ExpressionAttributeValues={":two": {"N": "2"}},
        **asked,
    )
    assert answer.get("Attributes") == attributes
    assert changes(cloud, table)["a"]["NewImage"] == AFTER


def test_an_update_of_nothing_makes_an_item(cloud: Cloud, table: str) -> None:
    cloud.dynamodb.update_item(TableName=TABLE, Key=KEY)
    assert changes(cloud, table)["a"]["NewImage"] == KEY


def test_an_update_by_the_old_parameters_is_journaled(cloud: Cloud, table: str) -> None:
    cloud.dynamodb.update_item(
        TableName=TABLE, Key=KEY, AttributeUpdates={"count": {"Action": "PUT", "Value": {"N": "7"}}}
    )
    assert changes(cloud, table)["a"]["NewImage"] == {**KEY, "count": {"N": "7"}}


def test_a_set_that_loses_its_last_element_is_gone(cloud: Cloud, table: str) -> None:
    cloud.dynamodb.put_item(TableName=TABLE, Item={**KEY, "tags": {"SS": ["x"]}})
    cloud.dynamodb.update_item(
        TableName=TABLE,
        Key=KEY,
        UpdateExpression="DELETE tags :x",
        ExpressionAttributeValues={":x": {"SS": ["x"]}},
    )
    assert cloud.scan() == [KEY]
    assert changes(cloud, table)["a"]["NewImage"] == KEY


def test_a_value_that_is_none_is_refused_before_it_is_stored(cloud: Cloud, table: str) -> None:
    item: Any = {**KEY, "v": {"SS": []}}
    with pytest.raises(ClientError, match="ValidationException"):
        cloud.dynamodb.put_item(TableName=TABLE, Item=item)
    assert cloud.scan() == []


def test_an_item_that_grows_too_large_stays_as_it_was(cloud: Cloud, table: str) -> None:
    item = {**KEY, "v": {"S": "x" * 300_000}}
    cloud.dynamodb.put_item(TableName=TABLE, Item=item)
    with pytest.raises(ClientError, match="ValidationException"):
        cloud.dynamodb.update_item(
            TableName=TABLE,
            Key=KEY,
            UpdateExpression="SET w = :w",
            ExpressionAttributeValues={":w": {"S": "x" * 200_000}},
        )
    assert cloud.scan() == [item]
    assert changes(cloud, table)["a"]["NewImage"] == item


def test_sums_have_38_digits(cloud: Cloud, table: str) -> None:
    digits = "9" * 37
    cloud.dynamodb.put_item(TableName=TABLE, Item={**KEY, "count": {"N": f"0.{digits}"}})
    for _ in range(2):
        cloud.dynamodb.update_item(
            TableName=TABLE,
            Key=KEY,
            UpdateExpression="ADD #count :one",
            ExpressionAttributeNames={"#count": "count"},
            ExpressionAttributeValues={":one": {"N": "1"}},
        )
    assert changes(cloud, table)["a"]["NewImage"]["count"] == {"N": f"2.{digits}"}
    assert cloud.scan() == [{**KEY, "count": {"N": f"2.{digits}"}}]


def test_a_tiny_number_stays_plain_in_table_and_export(cloud: Cloud, table: str) -> None:
    cloud.dynamodb.put_item(TableName=TABLE, Item={**KEY, "v": {"N": "0.00000011"}})
    answer = cloud.dynamodb.update_item(
        TableName=TABLE,
        Key=KEY,
        UpdateExpression="SET v = v - :v",
        ExpressionAttributeValues={":v": {"N": "1e-8"}},
        ReturnValues="ALL_NEW",
    )
    assert answer.get("Attributes") == {**KEY, "v": {"N": "0.0000001"}}
    assert cloud.scan() == [{**KEY, "v": {"N": "0.0000001"}}]
    assert changes(cloud, table)["a"]["NewImage"]["v"] == {"N": "0.0000001"}


def test_a_put_replaces_the_item(cloud: Cloud, table: str) -> None:
    cloud.dynamodb.put_item(TableName=TABLE, Item=BEFORE)
    answer = cloud.dynamodb.put_item(TableName=TABLE, Item=KEY, ReturnValues="ALL_OLD")
    assert answer.get("Attributes") == BEFORE
    assert changes(cloud, table)["a"]["NewImage"] == KEY


def test_a_key_is_one_number_however_it_is_written(cloud: Cloud) -> None:
    table = cloud.create_table("numbers", partition="N")
    for number in ("1", "1.0", "+1e0", "01"):
        cloud.dynamodb.put_item(TableName="numbers", Item={"id": {"N": number}, "as": {"S": number}})
    assert cloud.scan("numbers") == [{"id": {"N": "1"}, "as": {"S": "01"}}]
    assert cloud.dynamodb.get_item(TableName="numbers", Key={"id": {"N": "10e-1"}}).get("Item")
    cloud.control.clock("frozen", NOON + QUARTER)
    (change,) = cloud.changes(table, NOON, NOON + QUARTER)
    assert change["NewImage"] == {"id": {"N": "1"}, "as": {"S": "01"}}


def test_a_condition_that_fails_journals_nothing(cloud: Cloud, table: str) -> None:
    cloud.put("a", 1)
    condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(id)"}
    put: Any = {"Put": {"TableName": TABLE, "Item": KEY, **condition}}
    calls = [
        lambda: cloud.dynamodb.put_item(TableName=TABLE, Item=KEY, **condition),
        lambda: cloud.dynamodb.delete_item(TableName=TABLE, Key=KEY, **condition),
        lambda: cloud.dynamodb.update_item(
            TableName=TABLE,
            Key=KEY,
            UpdateExpression="SET v = :v",
            ExpressionAttributeValues={":v": {"S": "v"}},
            **condition,
        ),
        lambda: cloud.dynamodb.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": TABLE, "Item": {"id": {"S": "b"}}}},
                put,
            ]
        ),
    ]
    for call in calls:
        with pytest.raises(ClientError, match="ConditionalCheckFailed"):
            call()
    found = changes(cloud, table)
    assert found.keys() == {"a"}
    assert int(found["a"]["Metadata"]["WriteTimestampMicros"]["N"]) == us(NOON)


def test_a_batch_is_journaled_in_its_order_and_with_times_of_their_own(cloud: Cloud, table: str) -> None:
    cloud.put("gone")
    cloud.dynamodb.batch_write_item(
        RequestItems={
            TABLE: [
                {"PutRequest": {"Item": {"id": {"S": "first"}}}},
                {"DeleteRequest": {"Key": {"id": {"S": "gone"}}}},
                {"PutRequest": {"Item": {"id": {"S": "second"}}}},
            ]
        }
    )
    found = changes(cloud, table)
    assert found.keys() == {"first", "second"}
    first, second = (int(found[key]["Metadata"]["WriteTimestampMicros"]["N"]) for key in ("first", "second"))
    assert us(NOON) < first < second


@pytest.mark.parametrize(
    "requests",
    [
        [{"PutRequest": {"Item": {"id": {"S": "good"}}}}, {"PutRequest": {"Item": {"id": {"N": "1"}}}}],
        [{"PutRequest": {"Item": {"id": {"S": "good"}}}}, {"PutRequest": {"Item": {"v": {"N": "1"}}}}],
        [{"PutRequest": {"Item": {"id": {"S": "good"}}}}, {"PutRequest": {"Item": {"id": {"S": ""}}}}],
        [
            {"PutRequest": {"Item": {"id": {"S": "good"}}}},
            {"PutRequest": {"Item": {"id": {"S": "b"}, "v": {"N": "x"}}}},
        ],
        [{"PutRequest": {"Item": {"id": {"S": "twice"}}}}, {"DeleteRequest": {"Key": {"id": {"S": "twice"}}}}],
        [
            {"PutRequest": {"Item": {"id": {"S": "good"}}}},
            {"PutRequest": {"Item": {"id": {"S": "big"}, "v": {"S": "x" * 400 * 1024}}}},
        ],
        [{"PutRequest": {"Item": {"id": {"S": str(number)}}}} for number in range(26)],
    ],
    ids=["type of key", "no key", "empty key", "no number", "twice", "too big", "too many"],
)
def test_a_batch_with_a_bad_write_writes_nothing(cloud: Cloud, table: str, requests: Any) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        cloud.dynamodb.batch_write_item(RequestItems={TABLE: requests})
    assert cloud.scan() == []
    assert changes(cloud, table) == {}


def test_what_a_batch_leaves_unprocessed_is_not_journaled(cloud: Cloud, table: str) -> None:
    cloud.put("deleted")
    requests: Any = [{"PutRequest": {"Item": {"id": {"S": key}}}} for key in ("a", "b")]
    requests.append({"DeleteRequest": {"Key": {"id": {"S": "deleted"}}}})
    cloud.control.settings(unprocessed_writes=2)
    answer = cloud.dynamodb.batch_write_item(RequestItems={TABLE: requests})
    assert answer["UnprocessedItems"] == {TABLE: requests[1:]}
    assert by_key(cloud.scan()).keys() == {"a", "deleted"}
    left = cloud.dynamodb.batch_write_item(RequestItems=answer["UnprocessedItems"])
    assert left["UnprocessedItems"] == {}
    assert changes(cloud, table).keys() == by_key(cloud.scan()).keys() == {"a", "b"}


def test_a_batch_of_which_nothing_is_processed_is_refused(cloud: Cloud, table: str) -> None:
    cloud.control.settings(unprocessed_writes=9)
    resource = boto3.resource(
        "dynamodb", "us-east-1", endpoint_url=cloud.url, aws_access_key_id="key", aws_secret_access_key="secret"
    )
    with resource.Table(TABLE).batch_writer() as batch:  # which tries again, as clients do
        for key in ("a", "b"):
            batch.put_item(Item={"id": key})
    assert changes(cloud, table).keys() == {"a", "b"}


def test_a_transaction_has_one_time(cloud: Cloud, table: str) -> None:
    for key in ("updated", "deleted", "checked"):
        cloud.put(key, 1)
    cloud.control.advance(60)
    cloud.dynamodb.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": TABLE, "Item": {"id": {"S": "put"}}}},
            {
                "Update": {
                    "TableName": TABLE,
                    "Key": {"id": {"S": "updated"}},
                    "UpdateExpression": "ADD #v :one",
                    "ExpressionAttributeNames": {"#v": "value"},
                    "ExpressionAttributeValues": {":one": {"N": "1"}},
                }
            },
            {"Delete": {"TableName": TABLE, "Key": {"id": {"S": "deleted"}}}},
            {
                "ConditionCheck": {
                    "TableName": TABLE,
                    "Key": {"id": {"S": "checked"}},
                    "ConditionExpression": "attribute_exists(id)",
                }
            },
        ]
    )
    found = changes(cloud, table)
    assert found.keys() == {"put", "updated", "checked"}
    assert found["updated"]["NewImage"]["value"] == {"N": "2"}
    times = {key: int(change["Metadata"]["WriteTimestampMicros"]["N"]) for key, change in found.items()}
    assert times["put"] == times["updated"] == us(NOON + timedelta(seconds=60))
    assert times["checked"] < times["put"]


def test_what_a_window_shows_of_each_kind_of_change(cloud: Cloud, table: str) -> None:
    def image(key: str, value: int) -> dict[str, Any]:
        return {"id": {"S": key}, "value": {"N": str(value)}}

    for key in ("updated", "deleted", "reborn", "untouched"):
        cloud.put(key, 1)
    cloud.control.advance(QUARTER.total_seconds())
    for key in ("updated", "inserted", "fleeting"):
        cloud.put(key, 2)
    for key in ("deleted", "reborn", "fleeting", "never-there"):
        cloud.delete(key)
    cloud.put("reborn", 3)
    cloud.control.advance(QUARTER.total_seconds())
    cloud.put("updated", 9)  # after the window
    cloud.control.advance(QUARTER.total_seconds())
    window = (NOON + QUARTER, NOON + 2 * QUARTER)
    shown = {
        view: {
            change["Keys"]["id"]["S"]: (change.get("OldImage"), change.get("NewImage"))
            for change in cloud.changes(table, *window, view=view)
        }
        for view in ("NEW_AND_OLD_IMAGES", "NEW_IMAGE")
    }
    both = {
        "updated": (image("updated", 1), image("updated", 2)),
        "inserted": (None, image("inserted", 2)),
        "deleted": (image("deleted", 1), None),
        "reborn": (image("reborn", 1), image("reborn", 3)),
    }
    assert shown["NEW_AND_OLD_IMAGES"] == both
    assert shown["NEW_IMAGE"] == {key: (None, new) for key, (_, new) in both.items()}


def test_a_delete_of_what_is_gone_is_no_write(cloud: Cloud, table: str) -> None:
    cloud.put("a")
    cloud.control.advance(QUARTER.total_seconds())
    cloud.delete("a")
    cloud.control.advance(60)
    cloud.delete("a")
    cloud.control.advance(2 * QUARTER.total_seconds())
    (change,) = cloud.changes(table, NOON + QUARTER, NOON + 2 * QUARTER)
    assert int(change["Metadata"]["WriteTimestampMicros"]["N"]) == us(NOON + QUARTER)


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.restore_table_to_point_in_time(SourceTableName=TABLE, TargetTableName="other"),
        lambda client: client.import_table(
            S3BucketSource={"S3Bucket": "lake"},
            InputFormat="DYNAMODB_JSON",
            TableCreationParameters={"TableName": "t", "KeySchema": [], "AttributeDefinitions": []},
        ),
    ],
)
def test_what_could_not_be_journaled_is_refused(cloud: Cloud, table: str, call: Any) -> None:
    with pytest.raises(ClientError, match="The embedded AWS"):
        call(cloud.dynamodb)


def test_a_table_may_be_named_by_its_arn(cloud: Cloud, table: str) -> None:
    cloud.put("a", 1, table=table)
    cloud.dynamodb.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": {"id": {"S": "b"}}}}]})
    assert by_key(cloud.scan(table)).keys() == changes(cloud, table).keys() == {"a", "b"}


def test_a_new_table_under_an_old_name_has_no_past(cloud: Cloud, table: str) -> None:
    old_id = cloud.dynamodb.describe_table(TableName=TABLE)["Table"].get("TableId")
    cloud.put("old")
    cloud.dynamodb.delete_table(TableName=TABLE)
    cloud.control.advance(60)
    assert cloud.create_table() == table
    assert cloud.dynamodb.describe_table(TableName=TABLE)["Table"].get("TableId") != old_id
    cloud.put("new")
    cloud.control.advance(3600)
    assert by_key(cloud.items(table, NOON + QUARTER)).keys() == {"new"}


def test_what_is_written_after_an_export_began_is_not_in_it(cloud: Cloud, table: str) -> None:
    cloud.put("before")
    cloud.control.clock("frozen", NOON + QUARTER)
    cloud.control.settings(delay_seconds=60)
    export = cloud.start_full(table)
    cloud.put("after")
    cloud.control.history("us-east-1", TABLE, [{"ts": us(NOON) + 1, "Item": {"id": {"S": "backdated"}}}])
    cloud.control.advance(60)
    assert [line["Item"]["id"]["S"] for line in cloud.lines(export)] == ["before"]
