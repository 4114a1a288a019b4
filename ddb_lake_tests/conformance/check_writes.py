"""What every kind of write leaves, what it answers, and what an export shows of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ddb_lake_tests.conformance.checks import Checks, Violation, expect, refused
from ddb_lake_tests.conformance.export_reader import ExportContent, read_export
from ddb_lake_tests.conformance.target import Target, whole_second

CHECKS = Checks()
WINDOW = timedelta(minutes=15)


@dataclass(frozen=True)
class Scenario:
    """A table that was written to before, in and after a window, and exports of it.

    Attributes:
        table: Its name.
        start: Where the window begins.
        end: Where it ends, 15 minutes later.
        before: The items just before `start`, as Scan had them.
        after: The items just before `end`, as Scan had them.
        full_start: A full export at `start`.
        full_end: A full export at `end`.
        both: The incremental export of the window, with both images.
        new: The same with new images.
    """

    table: str
    start: datetime
    end: datetime
    before: dict[str, Any]
    after: dict[str, Any]
    full_start: ExportContent
    full_end: ExportContent
    both: ExportContent
    new: ExportContent


def scenario(target: Target) -> Scenario:
    """Return the scenario, which is played once in a run."""
    return target.made("scenario", lambda: _play(target))


def _item(key: str, number: int) -> dict[str, Any]:
    return {"id": {"S": key}, "n": {"N": str(number)}}


def _play(target: Target) -> Scenario:
    name = f"{target.name}-writes"
    arn = target.create_table(name)
    client = target.dynamodb
    old = ("updated", "deleted", "reborn", "untouched", "unchanged", "in-batch", "in-transaction", "set", "removed")
    for key in old:
        client.put_item(TableName=name, Item=_item(key, 1))
    target.pass_time(2)
    start = whole_second(target.now())
    before = target.scan(name)
    _write(target, name)
    after = target.scan(name)
    target.pass_time(WINDOW.total_seconds() + 2)
    client.put_item(TableName=name, Item=_item("updated", 99))  # after the window
    target.pass_time(310)  # a full export lags five minutes behind
    end = start + WINDOW
    exports = [
        target.start(TableArn=arn, ExportTime=start),
        target.start(TableArn=arn, ExportTime=end),
        target.start_window(start, end, TableArn=arn),
        target.start_window(start, end, TableArn=arn, ExportViewType="NEW_IMAGE"),
    ]
    return Scenario(name, start, end, before, after, *(read_export(target, each) for each in exports))


def _write(target: Target, name: str) -> None:
    client = target.dynamodb
    client.put_item(TableName=name, Item=_item("inserted", 1))
    client.put_item(TableName=name, Item=_item("fleeting", 1))
    client.put_item(TableName=name, Item=_item("unchanged", 1))
    client.put_item(TableName=name, Item={"id": {"S": "number"}, "n": {"N": "+1.50e3"}})
    for key in ("deleted", "reborn", "fleeting", "never-there"):
        client.delete_item(TableName=name, Key={"id": {"S": key}})
    client.put_item(TableName=name, Item=_item("reborn", 2))
    client.update_item(
        TableName=name,
        Key={"id": {"S": "updated"}},
        UpdateExpression="ADD n :n",
        ExpressionAttributeValues={":n": {"N": "4"}},
    )
    client.batch_write_item(
        RequestItems={
            name: [
                {"DeleteRequest": {"Key": {"id": {"S": "in-batch"}}}},
                {"PutRequest": {"Item": _item("from-batch", 1)}},
            ]
        }
    )
    client.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": name, "Item": _item("from-transaction", 1)}},
            {
                "Update": {
                    "TableName": name,
                    "Key": {"id": {"S": "in-transaction"}},
                    "UpdateExpression": "SET n = :n",
                    "ExpressionAttributeValues": {":n": {"N": "7"}},
                }
            },
        ]
    )
    for statement in (
        f"INSERT INTO \"{name}\" VALUE {{'id': 'from-partiql', 'n': 1}}",
        f"UPDATE \"{name}\" SET n = 5 WHERE id = 'set'",
        f"DELETE FROM \"{name}\" WHERE id = 'removed'",
    ):
        client.execute_statement(Statement=statement)
    with refused("ConditionalCheckFailedException"):
        client.put_item(TableName=name, Item=_item("untouched", 9), ConditionExpression="attribute_not_exists(id)")


@CHECKS.add("the law: a full export and the window after it make the next full export, and each is what Scan saw")
def _law(target: Target) -> str:
    played = scenario(target)
    expect("the full export at the window's start", played.full_start.items(), played.before)
    expect("the full export at the window's end", played.full_end.items(), played.after)
    items = dict(played.before)
    for key, change in played.both.changes().items():
        expect(f"OldImage of {key}", change.get("OldImage"), played.before.get(key))
        if "NewImage" in change:
            items[key] = change["NewImage"]
        else:
            items.pop(key, None)
    expect("the items after the window", items, played.after)
    return f"{len(played.before)} items and {len(played.both.lines)} changes make {len(items)} items"


_SHOWN = {
    "inserted": ("Keys", "NewImage"),
    "updated": ("Keys", "OldImage", "NewImage"),
    "deleted": ("Keys", "OldImage"),
    "reborn": ("Keys", "OldImage", "NewImage"),
    "number": ("Keys", "NewImage"),
    "from-batch": ("Keys", "NewImage"),
    "in-batch": ("Keys", "OldImage"),
    "from-transaction": ("Keys", "NewImage"),
    "in-transaction": ("Keys", "OldImage", "NewImage"),
    "from-partiql": ("Keys", "NewImage"),
    "set": ("Keys", "OldImage", "NewImage"),
    "removed": ("Keys", "OldImage"),
}


@CHECKS.add("an incremental export shows each key once, with the images that its kind of change has")
def _shown(target: Target) -> str:
    played = scenario(target)
    changes = played.both.changes()
    expect("the number of keys", len(changes), len(played.both.lines))
    for key, members in _SHOWN.items():
        expect(f"the members of {key}", tuple(changes.get(key, {}))[1:], members)
    for key in ("fleeting", "never-there", "untouched"):
        expect(f"the record of {key}", changes.get(key), None)
    for key, members in _SHOWN.items():
        shown = tuple(played.new.changes().get(key, {}))[1:]
        expect(f"the members of {key} with NEW_IMAGE", shown, tuple(each for each in members if each != "OldImage"))
    return f"{len(changes)} records; inserted and deleted inside, and refused by a condition: none"


@CHECKS.add("a write that changes nothing is a record with equal images (inferred)")
def _unchanged(target: Target) -> str:
    change = scenario(target).both.changes().get("unchanged")
    if change is None:
        return "no record"
    expect("NewImage", change["NewImage"], change["OldImage"])
    return "a record with equal images"


@CHECKS.add("write times are 16-digit microseconds inside the window, one for a transaction")
def _times(target: Target) -> str:
    played = scenario(target)
    times: dict[str, int] = {}
    for key, change in played.both.changes().items():
        text = change["Metadata"]["WriteTimestampMicros"]["N"]
        expect("the digits of WriteTimestampMicros", len(text), 16)
        times[key] = int(text)
    low, high = (int(at.timestamp()) * 10**6 for at in (played.start, played.end))
    if not all(low <= us < high for us in times.values()):
        raise Violation(f"a write time is outside of [{low}, {high}): {times}")
    expect("the second write of the transaction", times["in-transaction"], times["from-transaction"])
    return f"from {min(times.values())} to {max(times.values())}"


@CHECKS.add("numbers are exported in plain digits")
def _numbers(target: Target) -> str:
    image = scenario(target).both.changes()["number"]["NewImage"]
    expect("1.50e3", image["n"], {"N": "1500"})
    return "1.50e3 is 1500"


@CHECKS.add("UpdateItem answers as ReturnValues says")
def _return_values(target: Target) -> str:
    target.table()
    old, new = _item("returned", 1) | {"same": {"S": "s"}}, _item("returned", 3) | {"same": {"S": "s"}}
    wanted = {
        "NONE": None,
        "ALL_OLD": old,
        "ALL_NEW": new,
        "UPDATED_OLD": {"n": {"N": "1"}},
        "UPDATED_NEW": {"n": {"N": "3"}},
    }
    for values, expected in wanted.items():
        target.dynamodb.put_item(TableName=target.name, Item=old)
        answer = target.dynamodb.update_item(
            TableName=target.name,
            Key={"id": {"S": "returned"}},
            UpdateExpression="ADD n :two",
            ExpressionAttributeValues={":two": {"N": "2"}},
            ReturnValues=values,
        )
        expect(f"Attributes with {values}", answer.get("Attributes"), expected)
    return ", ".join(wanted)


@CHECKS.add("a transaction with the same ClientRequestToken is done once, for ten minutes")
def _transaction_token(target: Target) -> str:
    target.table()

    def add(key: str) -> None:
        update = {
            "TableName": target.name,
            "Key": {"id": {"S": key}},
            "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}},
        }
        target.dynamodb.transact_write_items(TransactItems=[{"Update": update}], ClientRequestToken="conformance-1")

    add("counted")
    add("counted")
    expect("n after two requests", target.scan(target.name)["counted"]["n"], {"N": "1"})
    with refused("IdempotentParameterMismatchException"):
        add("other")
    target.pass_time(601)
    add("counted")
    expect("n after ten minutes", target.scan(target.name)["counted"]["n"], {"N": "2"})
    return "done once, refused for another request, done again after ten minutes"


@CHECKS.add("PartiQL's writes are refused as on AWS")
def _partiql_refused(target: Target) -> str:
    target.table()
    target.dynamodb.put_item(TableName=target.name, Item=_item("there", 1))
    cases = [
        ("INSERT INTO \"{}\" VALUE {{'id': 'there'}}", "DuplicateItemException", "Duplicate primary key exists"),
        ("UPDATE \"{}\" SET n = 1 WHERE id = 'absent'", "ConditionalCheckFailedException", ""),
        ("UPDATE \"{}\" SET n = 2 WHERE id = 'there' AND n > 5", "ConditionalCheckFailedException", ""),
        ('DELETE FROM "{}" WHERE n = 1', "ValidationException", "mandatory equality on all key attributes"),
        ("DELETE FROM \"{}\" WHERE id = 'there' RETURNING MODIFIED OLD *", "ValidationException", "Only RETURNING"),
    ]
    for statement, code, text in cases:
        with refused(code, text):
            target.dynamodb.execute_statement(Statement=statement.format(target.name))
    expect("the item", target.scan(target.name)["there"], _item("there", 1))
    return ", ".join(sorted({code for _, code, _ in cases}))


@CHECKS.add("PartiQL's writes answer as on AWS")
def _partiql_answers(target: Target) -> str:
    target.table()
    client, name = target.dynamodb, target.name
    client.put_item(TableName=name, Item=_item("answered", 1))

    def items(statement: str) -> Any:
        return client.execute_statement(Statement=statement)["Items"]

    update = f"UPDATE \"{name}\" SET n = n + 1 WHERE id = 'answered'"
    expect("Items of an UPDATE", items(update), [])
    expect("Items of MODIFIED NEW", items(f"{update} RETURNING MODIFIED NEW *"), [{"n": {"N": "3"}}])
    expect("Items of ALL OLD", items(f"{update} RETURNING ALL OLD *"), [_item("answered", 3)])
    expect("Items of a DELETE of nothing", items(f"DELETE FROM \"{name}\" WHERE id = 'absent' AND n = 1"), [])
    statements = [
        f"INSERT INTO \"{name}\" VALUE {{'id': 'answered'}}",
        f"DELETE FROM \"{name}\" WHERE id = 'answered'",
    ]
    answers = client.batch_execute_statement(Statements=[{"Statement": each} for each in statements])["Responses"]
    expect("the errors of a batch", [each.get("Error", {}).get("Code") for each in answers], ["DuplicateItem", None])
    answer = client.execute_transaction(TransactStatements=[{"Statement": statements[0]}])
    expect("Responses of a transaction", answer["Responses"], [])
    return "ExecuteStatement, BatchExecuteStatement, ExecuteTransaction"


@CHECKS.add("an expired item is deleted, and an export shows it as a delete")
def _ttl(target: Target) -> str:
    target.local()
    name = f"{target.name}-expiring"
    arn = target.create_table(name)
    target.dynamodb.update_time_to_live(
        TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )
    expires = int(target.now().timestamp()) + 300
    target.dynamodb.put_item(TableName=name, Item={"id": {"S": "a"}, "expires": {"N": str(expires)}})
    target.pass_time(2)
    start = whole_second(target.now())
    target.pass_time(300)
    expect("the items", target.scan(name), {})
    target.pass_time(WINDOW.total_seconds())
    changes = read_export(target, target.start_window(start, start + WINDOW, TableArn=arn)).changes()
    expect("the members of the record", tuple(changes["a"]), ("Metadata", "Keys", "OldImage"))
    return "Keys and OldImage, as any delete"
