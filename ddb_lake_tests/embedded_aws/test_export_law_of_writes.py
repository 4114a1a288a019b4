"""The law of exports over every way to write: batches, transactions, PartiQL, expiry and re-created tables.

A model keeps what each write should leave. At any two times T0 < T1 since the table's creation,
full(T0) + incremental[T0, T1) = full(T1) = the model at T1, and full(now) = Scan.
"""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import hypothesis.strategies as st
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings

from ddb_lake_tests.cloud import NOON, Cloud, us

KEYS = st.sampled_from("abcd")
VALUES = st.integers(0, 9)
# (kind, keys, value): what is written; the value is also the minutes after which an expiring item goes
WRITES = st.tuples(
    st.sampled_from(
        ["put", "update", "delete", "batch", "transaction", "insert", "set", "remove", "statements", "expiring"]
    ),
    st.lists(KEYS, min_size=2, max_size=2, unique=True),
    VALUES,
)
STEPS = st.lists(
    st.tuples(st.integers(1, 40), st.one_of(WRITES, WRITES, WRITES, st.just(("re-create", [], 0))), st.booleans()),
    min_size=3,
    max_size=10,
)


class Source:
    """A table, and a model of what should be in it at each time at which the clock stood still."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self.cloud = cloud
        self.name = name
        self.items: dict[str, Any] = {}
        self.snapshots: dict[datetime, dict[str, Any]] = {}
        self.create()

    def create(self) -> None:
        """Create the table, which has no past."""
        self.arn = self.cloud.create_table(self.name)
        self.cloud.dynamodb.update_time_to_live(
            TableName=self.name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
        )
        self.items = {}
        self.snapshots = {self.cloud.control.now(): {}}

    def advance(self, minutes: int) -> None:
        """Move the clock: what expires meanwhile goes at the new time, and not before it."""
        now = self.cloud.control.advance(minutes * 60)
        self.snapshots[now] = dict(self.items)
        seconds = us(now) // 10**6
        self.items = {
            key: item for key, item in self.items.items() if int(item.get("expires", {"N": "9" * 12})["N"]) > seconds
        }

    def write(self, kind: str, keys: list[str], value: int) -> None:
        """Write to the table and to the model."""
        first, second = keys or ("", "")
        client, name = self.cloud.dynamodb, self.name
        item: Any = {"id": {"S": first}, "n": {"N": str(value)}}
        key: Any = {"id": {"S": first}}
        other: Any = {"id": {"S": second}}
        add: Any = {
            "TableName": name,
            "Key": key,
            "UpdateExpression": "ADD n :v",
            "ExpressionAttributeValues": {":v": {"N": str(value)}},
        }
        match kind:
            case "put":
                client.put_item(TableName=name, Item=item)
                self.items[first] = item
            case "update":
                client.update_item(**add)
                self._add(first, value)
            case "delete":
                client.delete_item(TableName=name, Key=key)
                self.items.pop(first, None)
            case "batch":
                self.cloud.control.settings(unprocessed_writes=value % 2)
                requests: Any = [{"DeleteRequest": {"Key": other}}, {"PutRequest": {"Item": item}}]
                client.batch_write_item(RequestItems={name: requests})
                self.items.pop(second, None)
                if value % 2 == 0:
                    self.items[first] = item
            case "transaction":
                check = {"TableName": name, "Key": other, "ConditionExpression": "attribute_exists(id)"}
                actions: Any = [{"Update": add}, {"ConditionCheck": check}]
                if self._succeeds(lambda: client.transact_write_items(TransactItems=actions), second in self.items):
                    self._add(first, value)
            case "insert":
                statement = f"INSERT INTO \"{name}\" VALUE {{'id': ?, 'n': {value}}}"
                if self._succeeds(lambda: self._run(statement, key["id"]), first not in self.items):
                    self.items[first] = item
            case "set":
                statement = f'UPDATE "{name}" SET n = {value} REMOVE expires WHERE id = ? AND n <> {value}'
                had = self.items.get(first)
                if self._succeeds(lambda: self._run(statement, key["id"]), had is not None and had["n"] != item["n"]):
                    self.items[first] = item
            case "remove":
                statement = f'DELETE FROM "{name}" WHERE id = ? AND n > {value}'
                had = self.items.get(first)
                if self._succeeds(lambda: self._run(statement, key["id"]), had is None or int(had["n"]["N"]) > value):
                    self.items.pop(first, None)
            case "statements":
                statements: Any = [
                    {"Statement": f"INSERT INTO \"{name}\" VALUE {{'id': '{first}', 'n': {value}}}"},
                    {"Statement": f"DELETE FROM \"{name}\" WHERE id = '{second}'"},
                ]
                if self._succeeds(
                    lambda: client.execute_transaction(TransactStatements=statements), first not in self.items
                ):
                    self.items.pop(second, None)
                    self.items[first] = item
            case "expiring":
                expires = us(self.cloud.control.now()) // 10**6 + 60 * value + 1
                item = {**item, "expires": {"N": str(expires)}}
                client.put_item(TableName=name, Item=item)
                self.items[first] = item
            case _:
                client.delete_table(TableName=name)
                self._is_out_of_reach(min(self.snapshots))
                self.cloud.control.advance(60)
                past = min(self.snapshots)
                self.create()
                self._is_out_of_reach(past)

    def full(self, at: datetime) -> dict[str, Any]:
        """Return a full export, by key."""
        return by_id(self.cloud.items(self.arn, at))

    def _add(self, key: str, value: int) -> None:
        had = self.items.get(key, {"id": {"S": key}})
        number = int(had.get("n", {"N": "0"})["N"]) + value
        self.items[key] = {**had, "n": {"N": str(number)}}

    def _run(self, statement: str, *parameters: Any) -> None:
        self.cloud.dynamodb.execute_statement(Statement=statement, Parameters=list(parameters))

    def _succeeds(self, call: Any, expected: bool) -> bool:
        if expected:
            call()
        else:
            with pytest.raises(ClientError, match=r"Duplicate|ConditionalCheckFailed|TransactionCanceled"):
                call()
        return expected

    def _is_out_of_reach(self, past: datetime) -> None:
        with pytest.raises(ClientError, match=r"TableNotFound|Export Time is invalid"):
            self.cloud.start_full(self.arn, past)


def by_id(items: list[Any]) -> dict[str, Any]:
    return {item["id"]["S"]: item for item in items}


def apply(items: dict[str, Any], changes: list[Any]) -> dict[str, Any]:
    """Apply an incremental export's records, each of another key, to the items of a full export."""
    result = dict(items)
    assert len({change["Keys"]["id"]["S"] for change in changes}) == len(changes)
    for change in changes:
        key = change["Keys"]["id"]["S"]
        assert change.get("OldImage") == items.get(key)
        if "NewImage" in change:
            result[key] = change["NewImage"]
        else:
            del result[key]
    return result


@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
def test_exports_show_what_every_kind_of_write_has_left(cloud: Cloud, steps: list[Any]) -> None:
    cloud.control.settings(latest_restorable="ignored", files=2)
    cloud.control.clock("frozen", max(cloud.control.now(), NOON))
    source = Source(cloud, f"table-{len(cloud.dynamodb.list_tables()['TableNames'])}")
    for minutes, (kind, keys, value), again in steps:
        source.advance(minutes)
        source.write(kind, keys, value)
        if again:  # a second write at the same moment
            source.write("put", ["a", "b"], value)
    source.advance(15)  # after which nothing expires any more
    source.advance(1)

    times = sorted(source.snapshots)
    for time in times:
        assert source.full(time) == source.snapshots[time]
    for start, end in {*pairwise(times), (times[0], times[-1])}:
        if timedelta(minutes=15) <= end - start <= timedelta(hours=24):
            changes = cloud.changes(source.arn, start, end)
            assert apply(source.snapshots[start], changes) == source.snapshots[end]
    assert source.full(times[-1]) == source.items == by_id(cloud.scan(source.name))
