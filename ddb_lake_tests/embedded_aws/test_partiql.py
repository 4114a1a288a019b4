"""PartiQL's writes do what the statement says, are answered as on AWS, and are journaled."""

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from ddb_lake.embedded_aws.journal import Journal
from ddb_lake_tests.cloud import NOON, QUARTER, REGION, TABLE, Cloud, by_key, error_of

BEFORE: Any = {
    "id": {"S": "a"},
    "n": {"N": "1"},
    "list": {"L": [{"S": "x"}, {"S": "y"}]},
    "map": {"M": {"in": {"S": "old"}, "out": {"S": "kept"}}},
    "set": {"SS": ["p", "q"]},
}


def run(cloud: Cloud, statement: str, *parameters: Any, **more: Any) -> list[Any]:
    """Execute a statement and return its Items."""
    given = {"Parameters": list(parameters)} if parameters else {}
    return cloud.dynamodb.execute_statement(Statement=statement, **given, **more)["Items"]


def changes(cloud: Cloud, table: str) -> dict[str, Any]:
    """Return, by key, the new image of everything written in the quarter-hour after noon, None if deleted."""
    cloud.control.clock("frozen", NOON + 2 * QUARTER)
    found = cloud.changes(table, NOON, NOON + QUARTER)
    return {change["Keys"]["id"]["S"]: change.get("NewImage") for change in found}


INSERTS: list[tuple[str, list[Any], Any]] = [
    (
        "{'id': 'a', 's': 'it''s', 'n': -1.50, 'yes': true, 'nothing': null, 'l': [1, ['x']], 'm': {'k': {}}, "
        "'ss': <<'b', 'c'>>, 'ns': <<1, 2>>}",
        [],
        {
            "s": {"S": "it's"},
            "n": {"N": "-1.5"},
            "yes": {"BOOL": True},
            "nothing": {"NULL": True},
            "l": {"L": [{"N": "1"}, {"L": [{"S": "x"}]}]},
            "m": {"M": {"k": {"M": {}}}},
            "ss": {"SS": ["b", "c"]},
            "ns": {"NS": ["1", "2"]},
        },
    ),
    ("{'id': ?, 'n': ?}", [{"S": "a"}, {"N": "1.0"}], {"n": {"N": "1"}}),
    ("?", [{"M": {"id": {"S": "a"}, "b": {"B": b"\x00"}}}], {"b": {"B": "AA=="}}),
    ("{'id': 'a', 'weird name?': 'WHERE <'}", [], {"weird name?": {"S": "WHERE <"}}),
]


@pytest.mark.parametrize(("value", "parameters", "attributes"), INSERTS)
def test_an_insert(cloud: Cloud, table: str, value: str, parameters: list[Any], attributes: Any) -> None:
    assert run(cloud, f'INSERT INTO "{TABLE}" VALUE {value}', *parameters) == []
    assert changes(cloud, table) == {"a": {"id": {"S": "a"}, **attributes}}


UPDATES: list[tuple[str, dict[str, Any]]] = [
    ("SET n = 2", {"n": {"N": "2"}}),
    ("SET n = n + 1 SET other = 'o'", {"n": {"N": "2"}, "other": {"S": "o"}}),
    ("SET n = n - 1.5, other = n", {"n": {"N": "-0.5"}, "other": {"N": "1"}}),
    ("REMOVE n", {"n": None}),
    ("SET map.\"in\" = 'new'", {"map": {"M": {"in": {"S": "new"}, "out": {"S": "kept"}}}}),
    ("REMOVE map['in']", {"map": {"M": {"out": {"S": "kept"}}}}),
    ("SET list[1] = 'z'", {"list": {"L": [{"S": "x"}, {"S": "z"}]}}),
    ("SET list = list_append(list, ['z'])", {"list": {"L": [{"S": "x"}, {"S": "y"}, {"S": "z"}]}}),
    ("SET set = set_add(set, <<'r'>>)", {"set": {"SS": ["p", "q", "r"]}}),
    ("SET set = set_delete(set, <<'p'>>) REMOVE n", {"set": {"SS": ["q"]}, "n": None}),
    ('set "n" = 5', {"n": {"N": "5"}}),
]


@pytest.mark.parametrize(("actions", "changed"), UPDATES, ids=[actions for actions, _ in UPDATES])
def test_an_update(cloud: Cloud, table: str, actions: str, changed: dict[str, Any]) -> None:
    cloud.dynamodb.put_item(TableName=TABLE, Item=BEFORE)
    assert run(cloud, f"UPDATE {TABLE} {actions} WHERE id = 'a'") == []
    after = {name: value for name, value in (BEFORE | changed).items() if value is not None}
    (item,) = cloud.scan()
    for each in (item, changes(cloud, table)["a"]):
        each["set"]["SS"].sort()
        assert each == after


CONDITIONS: list[tuple[str, bool]] = [
    ("n = 1", True),
    ("n <> 1", False),
    ("n > 0 AND n <= 1", True),
    ("n > 5 OR list[0] = 'x'", True),
    ("(n > 5 OR n < 0) AND map.out = 'kept'", False),
    ("NOT n = 2", True),
    ("n BETWEEN 0 AND 2", True),
    ("n NOT BETWEEN 0 AND 2", False),
    ("n IN [0, 1]", True),
    ("n NOT IN (0, 1)", False),
    ("begins_with(map.out, 'ke')", True),
    ("contains(\"set\", 'p')", True),
    ("size(list) = 2", True),
    ("attribute_type(n, 'S')", False),
    ("missing_one IS MISSING", True),
    ("n IS NOT MISSING", True),
    ("n IS NULL", False),
    ("n IS NOT NULL", True),
]


@pytest.mark.parametrize(("condition", "holds"), CONDITIONS, ids=[condition for condition, _ in CONDITIONS])
def test_a_condition_decides_whether_something_is_written(
    cloud: Cloud, table: str, condition: str, *, holds: bool
) -> None:
    cloud.dynamodb.put_item(TableName=TABLE, Item=BEFORE)
    statements = [f"UPDATE {TABLE} SET done = 1 WHERE id = 'a' AND {condition}"]
    statements.append(f"DELETE FROM {TABLE} WHERE {condition} AND 'a' = id")
    if " OR " in condition and "(" not in condition:
        statements = [each.replace(condition, f"({condition})") for each in statements]
    for statement in statements:
        if holds:
            run(cloud, statement)
        else:
            with pytest.raises(ClientError, match="ConditionalCheckFailedException"):
                run(cloud, statement)
    assert [item["id"]["S"] for item in cloud.scan()] == ([] if holds else ["a"])
    assert changes(cloud, table) == ({} if holds else {"a": BEFORE})


RETURNING: list[tuple[str, Any]] = [
    ("ALL OLD *", [{"id": {"S": "a"}, "n": {"N": "1"}, "same": {"S": "s"}}]),
    ("ALL NEW *", [{"id": {"S": "a"}, "n": {"N": "2"}, "same": {"S": "s"}}]),
    ("MODIFIED OLD *", [{"n": {"N": "1"}}]),
    ("MODIFIED NEW *", [{"n": {"N": "2"}}]),
]


@pytest.mark.parametrize(("returning", "items"), RETURNING)
def test_an_update_returns_what_was_asked_for(cloud: Cloud, table: str, returning: str, items: Any) -> None:
    cloud.dynamodb.put_item(TableName=TABLE, Item={"id": {"S": "a"}, "n": {"N": "1"}, "same": {"S": "s"}})
    assert run(cloud, f"UPDATE {TABLE} SET n = 2 WHERE id = 'a' RETURNING {returning}") == items


def test_a_delete_returns_what_was_there_if_it_was(cloud: Cloud, table: str) -> None:
    cloud.put("a", 1)
    statement = f"DELETE FROM {TABLE} WHERE id = 'a' RETURNING ALL OLD *"
    assert run(cloud, statement) == [{"id": {"S": "a"}, "value": {"N": "1"}}]
    assert run(cloud, statement) == []


def test_a_delete_of_what_is_not_there_is_no_failure_whatever_its_condition(cloud: Cloud, table: str) -> None:
    assert run(cloud, f"DELETE FROM {TABLE} WHERE id = 'a' AND n = 1") == []
    assert changes(cloud, table) == {}


REFUSED: list[tuple[str, str, str]] = [
    ("INSERT INTO measurement VALUE {'id': 'a'}", "DuplicateItemException", "Duplicate primary key exists in table"),
    ("UPDATE measurement SET n = 1 WHERE id = 'z'", "ConditionalCheckFailedException", "conditional request failed"),
    ("UPDATE measurement SET n = 1", "ValidationException", "mandatory equality on all key attributes"),
    ("DELETE FROM measurement WHERE n = 1", "ValidationException", "mandatory equality on all key attributes"),
    ("DELETE FROM measurement WHERE id > 'a'", "ValidationException", "mandatory equality on all key attributes"),
    ("DELETE FROM measurement WHERE id = 'a' OR n = 1", "ValidationException", "mandatory equality on all key"),
    ("DELETE FROM nowhere WHERE id = 'a'", "ResourceNotFoundException", "Requested resource not found"),
    ("DELETE FROM measurement WHERE id = 'a' RETURNING ALL NEW *", "ValidationException", "Only RETURNING ALL OLD"),
    ("DELETE FROM measurement WHERE id = ?", "ValidationException", "Number of parameters"),
    ('DELETE FROM "measurement"."index" WHERE id = \'a\'', "ValidationException", "not supported on an index"),
    ("DELETE FROM measurement WHERE id = 'a' LIMIT 1", "ValidationException", "expected the end at column 40"),
    ("DELETE FROM measurement WHERE id = 'a", "ValidationException", "Unexpected character at column 35"),
    ("UPSERT INTO measurement VALUE {'id': 'b'}", "ValidationException", "Statement wasn't well formed"),
    ("INSERT INTO measurement VALUE 'b'", "ValidationException", "as a map"),
    ("INSERT INTO measurement VALUE {'id': 'b', 's': <<>>}", "ValidationException", "A set has"),
    ("INSERT INTO measurement VALUE {'id': 'b', 's': <<1, 'x'>>}", "ValidationException", "A set has"),
    ("INSERT INTO measurement VALUE {'x': 'b'}", "ValidationException", "Missing the key id"),
    ("UPDATE measurement SET id = 'b' WHERE id = 'a'", "ValidationException", "part of the key"),
    ("UPDATE measurement SET n = set_add(m, <<1>>) WHERE id = 'a'", "ValidationException", "set_add"),
    ("EXISTS(SELECT * FROM measurement WHERE id = 'a')", "ValidationException", "ExecuteTransaction only"),
]


@pytest.mark.parametrize(("statement", "code", "text"), REFUSED, ids=[statement for statement, _, _ in REFUSED])
def test_a_refused_statement_writes_nothing(cloud: Cloud, table: str, statement: str, code: str, text: str) -> None:
    cloud.put("a", 1)
    before = cloud.scan()
    with pytest.raises(ClientError) as refusal:
        run(cloud, statement)
    assert error_of(refusal.value)[0] == code
    assert text in error_of(refusal.value)[1]
    assert cloud.scan() == before
    assert changes(cloud, table) == {"a": before[0]}


def test_a_failed_condition_can_return_the_item(cloud: Cloud, table: str) -> None:
    cloud.put("a", 1)
    with pytest.raises(ClientError) as refusal:
        run(
            cloud,
            f"DELETE FROM {TABLE} WHERE id = 'a' AND \"value\" = 2",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert refusal.value.response.get("Item") == {"id": {"S": "a"}, "value": {"N": "1"}}


def test_in_a_batch_each_statement_succeeds_or_fails_alone(cloud: Cloud, table: str) -> None:
    for key in ("a", "b"):
        cloud.put(key, 1)
    answers: Any = cloud.dynamodb.batch_execute_statement(
        Statements=[
            {"Statement": f"INSERT INTO {TABLE} VALUE {{'id': 'new'}}"},
            {"Statement": f"INSERT INTO {TABLE} VALUE {{'id': 'a'}}"},
            {"Statement": f"UPDATE {TABLE} SET v = ? WHERE id = 'b' RETURNING ALL NEW *", "Parameters": [{"N": "2"}]},
            {"Statement": f"UPDATE {TABLE} SET v = 1 WHERE id = 'absent'"},
            {"Statement": f"DELETE FROM {TABLE} WHERE id = 'a'"},
            {"Statement": "DELETE FROM nowhere WHERE id = 'a'"},
            {"Statement": "nonsense"},
        ]
    )["Responses"]
    codes = [answer.get("Error", {}).get("Code") for answer in answers]
    assert codes == [
        None,
        "DuplicateItem",
        None,
        "ConditionalCheckFailed",
        None,
        "ResourceNotFound",
        "ValidationError",
    ]
    assert answers[0] == {"TableName": TABLE}
    assert answers[2]["Item"]["v"] == {"N": "2"}
    assert changes(cloud, table) == by_key(cloud.scan())
    assert by_key(cloud.scan()).keys() == {"new", "b"}


def test_a_transaction_of_statements_is_done_at_one_time_or_not_at_all(cloud: Cloud, table: str) -> None:
    for key in ("a", "b", "c"):
        cloud.put(key, 1)
    cloud.control.advance(60)
    update: Any = {"Statement": f"UPDATE {TABLE} SET v = 2 WHERE id = 'b'"}
    delete: Any = {"Statement": f"DELETE FROM {TABLE} WHERE id = 'c'"}
    exists: Any = {
        "Statement": f'EXISTS(SELECT * FROM {TABLE} WHERE id = ? AND "value" = 1)',
        "Parameters": [{"S": "a"}],
    }
    with pytest.raises(ClientError) as refusal:
        cloud.dynamodb.execute_transaction(
            TransactStatements=[update, {"Statement": f"INSERT INTO {TABLE} VALUE {{'id': 'a'}}"}, delete]
        )
    assert error_of(refusal.value)[0] == "TransactionCanceledException"
    reasons: Any = refusal.value.response.get("CancellationReasons")
    assert [reason["Code"] for reason in reasons] == ["None", "DuplicateItem", "None"]
    assert by_key(cloud.scan()).keys() == {"a", "b", "c"}
    insert: Any = {"Statement": f"INSERT INTO {TABLE} VALUE {{'id': 'new'}}"}
    for _ in range(2):  # the second is the same request again
        answer = cloud.dynamodb.execute_transaction(
            TransactStatements=[update, exists, delete, insert], ClientRequestToken="one"
        )
        assert answer["Responses"] == []
        cloud.control.advance(60)
    assert changes(cloud, table) == by_key(cloud.scan())
    assert by_key(cloud.scan()).keys() == {"a", "b", "new"}
    found = cloud.changes(table, NOON, NOON + QUARTER)
    times = {change["Keys"]["id"]["S"]: change["Metadata"]["WriteTimestampMicros"]["N"] for change in found}
    assert times["b"] == times["new"] > times["a"]


@pytest.mark.parametrize("count", [0, 26])
def test_a_batch_has_1_to_25_statements(cloud: Cloud, table: str, count: int) -> None:
    statement: Any = {"Statement": f"DELETE FROM {TABLE} WHERE id = 'a'"}
    with pytest.raises(ClientError, match="Member must have length"):
        cloud.dynamodb.batch_execute_statement(Statements=[statement] * count)


def test_reads_and_writes_are_not_mixed(cloud: Cloud, table: str) -> None:
    statements: Any = [{"Statement": f"{verb} FROM {TABLE} WHERE id = 'a'"} for verb in ("SELECT *", "DELETE")]
    with pytest.raises(ClientError, match="can't be mixed"):
        cloud.dynamodb.execute_transaction(TransactStatements=statements)


SELECTS: list[tuple[str, list[Any], list[str]]] = [
    ("", [], ["a1", "a2", "a3", "b1"]),
    ("WHERE id = 'a'", [], ["a1", "a2", "a3"]),
    ("WHERE id = ? AND at = ?", [{"S": "a"}, {"N": "2.0"}], ["a2"]),
    ("WHERE at >= 2 AND id = 'a'", [], ["a2", "a3"]),
    ("WHERE id = 'a' AND at BETWEEN 1 AND 2 AND odd = true", [], ["a1"]),
    ("WHERE id = 'a' AND at > 1 AND at < 3", [], ["a2"]),
    ("WHERE id = 'a' AND (at = 1 OR odd = false)", [], ["a1", "a2"]),
    ("WHERE id IN ['a', 'c'] AND NOT at = 2", [], ["a1", "a3"]),
    ("WHERE id = 'a' OR odd = true", [], ["a1", "a2", "a3", "b1"]),
    ("WHERE m.S = 'it''s' AND size(M) = 1", [], ["a2"]),
    ("WHERE nothing IS MISSING AND id = 'it''s'", [], []),
    ("WHERE id = 'a' ORDER BY at DESC", [], ["a3", "a2", "a1"]),
    ("WHERE id = 'a' AND at < 3 ORDER BY id, at ASC", [], ["a1", "a2"]),
]


@pytest.fixture
def sorted_items(cloud: Cloud) -> dict[str, Any]:
    """Items whose attributes' names differ in case only, or are type tags."""
    cloud.create_table("sorted", sort="N")
    items: dict[str, Any] = {}
    for key, at in (("a", 1), ("a", 2), ("a", 3), ("b", 1)):
        name = f"{key}{at}"
        item: Any = {"id": {"S": key}, "at": {"N": str(at)}, "name": {"S": name}, "odd": {"BOOL": at % 2 == 1}}
        item |= {"S": {"L": [{"L": []}, {"S": name}]}, "M": {"L": [{"M": {}}]}, "N": {"NULL": True}}
        if at == 2:
            item["m"] = {"M": {"S": {"S": "it's"}, "": {"N": "1"}}}
        cloud.dynamodb.put_item(TableName="sorted", Item=item)
        items[name] = item
    return items


@pytest.mark.parametrize(("clauses", "parameters", "names"), SELECTS, ids=[clauses for clauses, *_ in SELECTS])
def test_a_select_finds_whole_items(
    cloud: Cloud, sorted_items: dict[str, Any], clauses: str, parameters: list[Any], names: list[str]
) -> None:
    found = run(cloud, f'SELECT * FROM "sorted" {clauses}', *parameters)
    if "ORDER" not in clauses:
        found.sort(key=lambda item: item["name"]["S"])
    assert found == [sorted_items[name] for name in names]


def test_a_select_shows_what_it_names(cloud: Cloud, sorted_items: dict[str, Any]) -> None:
    where = "FROM sorted WHERE id = 'a' AND at <= 2"
    assert run(cloud, f"SELECT name, m.S, S[1], N {where}") == [
        {"name": {"S": "a1"}, "S[1]": {"S": "a1"}, "N": {"NULL": True}},
        {"name": {"S": "a2"}, "S": {"S": "it's"}, "S[1]": {"S": "a2"}, "N": {"NULL": True}},
    ]
    assert run(cloud, f"SELECT missing, at.x, name[0], S[7] {where}") == [{}, {}]


def test_a_select_goes_on_where_it_ended(cloud: Cloud, sorted_items: dict[str, Any]) -> None:
    found: list[str] = []
    token: dict[str, Any] | None = {}
    while token is not None:
        answer: Any = cloud.dynamodb.execute_statement(Statement="SELECT name FROM sorted", Limit=3, **token)
        assert len(answer["Items"]) <= 3
        found += [item["name"]["S"] for item in answer["Items"]]
        token = {"NextToken": answer["NextToken"]} if "NextToken" in answer else None
    assert sorted(found) == sorted(sorted_items)
    for wrong in ("none", "W10="):
        with pytest.raises(ClientError, match="NextToken is invalid"):
            cloud.dynamodb.execute_statement(Statement="SELECT * FROM sorted", NextToken=wrong)


def test_a_select_from_an_index_and_by_a_table_s_arn(cloud: Cloud) -> None:
    created: Any = cloud.dynamodb.create_table(
        TableName="indexed",
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
    for key, value in (("a", 1), ("b", 2), ("c", 1)):
        cloud.put(key, value, "indexed")
    assert by_key(run(cloud, """SELECT * FROM "indexed"."by-value" WHERE "value" = 1""")).keys() == {"a", "c"}
    arn = created["TableDescription"]["TableArn"]
    assert by_key(run(cloud, f"""SELECT * FROM "{arn}" WHERE id = 'b'""")).keys() == {"b"}
    with pytest.raises(ClientError, match="does not have the specified index: none"):
        run(cloud, "SELECT * FROM indexed.none")


def test_selects_of_a_batch_and_of_a_transaction_read_one_item_each(
    cloud: Cloud, sorted_items: dict[str, Any]
) -> None:
    texts = [
        "SELECT * FROM sorted WHERE id = 'a' AND at = 2",
        "SELECT name FROM sorted WHERE at = 1 AND id = 'b'",
        "SELECT * FROM sorted WHERE id = 'c' AND at = 1",
    ]
    statements: Any = [{"Statement": text} for text in texts]
    transacted = cloud.dynamodb.execute_transaction(TransactStatements=statements)["Responses"]
    assert transacted == [{"Item": sorted_items["a2"]}, {"Item": {"name": {"S": "b1"}}}, {}]
    wrong: Any = [
        {"Statement": "SELECT * FROM sorted WHERE id = 'a'"},
        {"Statement": "SELECT * FROM nothing WHERE id = 'a'"},
    ]
    batch: Any = cloud.dynamodb.batch_execute_statement(Statements=[*statements, *wrong])["Responses"]
    assert batch[:3] == [{"TableName": "sorted", **response} for response in transacted]
    assert [response["Error"]["Code"] for response in batch[3:]] == ["ValidationError", "ResourceNotFound"]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("SELECT * FROM sorted ORDER BY at", "Must have WHERE clause"),
        ("SELECT * FROM sorted WHERE id = 'a' ORDER BY name", "must be part of the primary key"),
        ("SELECT name AS n FROM sorted", "wasn't well formed"),
        ("SELECT count(*) FROM sorted", "wasn't well formed"),
        ("SELECT * FROM sorted WHERE id = ?", "Number of parameters"),
        ("SELECT * FROM nothing", "Requested resource not found"),
    ],
)
def test_a_select_that_dynamodb_does_not_know_is_refused(
    cloud: Cloud, sorted_items: dict[str, Any], statement: str, reason: str
) -> None:
    with pytest.raises(ClientError, match=reason):
        run(cloud, statement)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("NOT NOT n = 1", True),
        ("NOT NOT NOT n = 1", False),
        ("NOT (NOT (n = 1 OR n = 5)) AND n = 5", False),
        ("NOT n NOT IN [1, 2]", True),
        ("NOT n IS NOT NULL", False),
    ],
)
def test_a_double_negation_is_none(cloud: Cloud, table: str, condition: str, holds: bool) -> None:
    cloud.put("a", 0)
    cloud.dynamodb.execute_statement(Statement=f"UPDATE {TABLE} SET n = 1 WHERE id = 'a'")
    statement = f"UPDATE {TABLE} SET done = true WHERE id = 'a' AND {condition}"
    if holds:
        cloud.dynamodb.execute_statement(Statement=statement)
    else:
        with pytest.raises(ClientError, match="ConditionalCheckFailed"):
            cloud.dynamodb.execute_statement(Statement=statement)
    assert ("done" in by_key(cloud.scan())["a"]) == holds


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (f"INSERT INTO {TABLE} VALUE {{'id': 'a', 'n': 1, 'n': 2}}", "names an attribute twice"),
        (f"INSERT INTO {TABLE} VALUE {{'id': 'a', 'm': {{'k': 1, 'k': 1}}}}", "names an attribute twice"),
        (f"DELETE FROM {TABLE} WHERE {'(' * 200}id = 'a'{')' * 200}", "lie in one another"),
        (f"DELETE FROM {TABLE} WHERE id = 'a' AND {'NOT ' * 1000}n = 1", "lie in one another"),
        (f"INSERT INTO {TABLE} VALUE {{'id': 'a', 'l': {'[' * 200}{']' * 200}}}", "lie in one another"),
        (f"DELETE FROM {TABLE} WHERE id = '{'a' * 8200}'", "less than or equal to 8192"),
    ],
)
def test_what_no_statement_may_have_is_refused(cloud: Cloud, table: str, statement: str, reason: str) -> None:
    with pytest.raises(ClientError, match=f"ValidationException.*{reason}"):
        cloud.dynamodb.execute_statement(Statement=statement)
    assert cloud.scan() == []


def full_disk(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("operation", ["execute_statement", "batch_execute_statement", "execute_transaction"])
def test_a_write_that_can_not_be_recorded_is_no_refusal(
    cloud: Cloud, table: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient: Any = boto3.client(
        "dynamodb",
        region_name=REGION,
        endpoint_url=cloud.url,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}),
    )
    insert = {"Statement": f"INSERT INTO {TABLE} VALUE {{'id': 'a'}}"}
    requests: dict[str, Any] = {
        "execute_statement": insert,
        "batch_execute_statement": {"Statements": [insert]},
        "execute_transaction": {"TransactStatements": [insert]},
    }
    with monkeypatch.context() as disk:
        disk.setattr(Journal, "append", full_disk)
        disk.setattr(Journal, "append_transaction", full_disk)
        with pytest.raises(ClientError, match=r"InternalServerError.*could not be recorded.*No space left"):
            getattr(impatient, operation)(**requests[operation])
    with pytest.raises(ClientError, match="restart the embedded AWS"):  # moto has what the journal doesn't know
        impatient.scan(TableName=TABLE)
