"""Whatever a statement says, it is done or refused: never an error of the server's."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake_tests.cloud import NOON, REGION, TABLE, Cloud

PATHS = ["id", "n", '"list"', "m", "list[0]", "m.k", "m.k.k", "list[99999999999999999999]", '"a b"']
NAMES = st.sampled_from(PATHS)
SCALARS = st.sampled_from(["1", "-2.5", "'x'", "''", "true", "NULL", "?", "1e125", "1e999", "0", "'a'"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda some: f"[{', '.join(some)}]"),
        st.lists(inner, max_size=3).map(lambda some: f"<<{', '.join(some)}>>"),
        st.lists(st.tuples(st.sampled_from(["k", "id", "n"]), inner), max_size=3).map(
            lambda some: "{" + ", ".join(f"'{name}': {value}" for name, value in some) + "}"
        ),
    ),
    max_leaves=4,
)
OPERANDS = st.recursive(
    st.one_of(NAMES, VALUES),
    lambda inner: st.tuples(
        st.sampled_from(["size", "list_append", "set_add", "set_delete"]), st.lists(inner, max_size=2)
    ).map(lambda call: f"{call[0]}({', '.join(call[1])})"),
    max_leaves=3,
)
PREDICATES = st.one_of(
    st.tuples(OPERANDS, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), OPERANDS).map(" ".join),
    st.tuples(OPERANDS, st.sampled_from(["IS MISSING", "IS NOT MISSING", "IS NULL", "IS NOT NULL"])).map(" ".join),
    st.tuples(OPERANDS, OPERANDS, OPERANDS).map(lambda each: f"{each[0]} BETWEEN {each[1]} AND {each[2]}"),
    st.tuples(OPERANDS, st.sampled_from(["IN", "NOT IN"]), OPERANDS, OPERANDS).map(
        lambda each: f"{each[0]} {each[1]} [{each[2]}, {each[3]}]"
    ),
    st.tuples(st.sampled_from(["begins_with", "contains", "attribute_type"]), OPERANDS, OPERANDS).map(
        lambda each: f"{each[0]}({each[1]}, {each[2]})"
    ),
)
CONDITIONS = st.recursive(
    PREDICATES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(" ".join),
        inner.map("NOT {}".format),
        inner.map("({})".format),
        inner.map("NOT NOT ({})".format),
    ),
    max_leaves=4,
)
WHERE = st.one_of(CONDITIONS.map("WHERE id = 'a' AND {}".format), CONDITIONS.map("WHERE {}".format))
RETURNING = st.sampled_from(["", "", "RETURNING ALL OLD *", "RETURNING MODIFIED NEW *", "RETURNING ALL *"])
ACTIONS = st.one_of(
    st.tuples(NAMES, OPERANDS).map(lambda each: f"SET {each[0]} = {each[1]}"),
    st.tuples(NAMES, OPERANDS, OPERANDS).map(lambda each: f"SET {each[0]} = {each[1]} + {each[2]}"),
    NAMES.map("REMOVE {}".format),
)
WORDS = st.sampled_from([*"()[]{}<>,.=?'\"", "NOT", "WHERE", "id", "1", "UPDATE", TABLE, "SET", "ü"])
STATEMENTS = st.one_of(
    VALUES.map(f"INSERT INTO {TABLE} VALUE {{}}".format),
    st.tuples(st.lists(ACTIONS, max_size=3).map(" ".join), WHERE, RETURNING).map(
        lambda each: f"UPDATE {TABLE} {each[0]} {each[1]} {each[2]}"
    ),
    st.tuples(WHERE, RETURNING).map(lambda each: f"DELETE FROM {TABLE} {each[0]} {each[1]}"),
    st.lists(WORDS, min_size=1).map(" ".join),
    WHERE.map(f"SELECT * FROM {TABLE} {{}}".format),
    st.text(min_size=1, max_size=40),
)
PARAMETERS: Any = st.lists(
    st.sampled_from([{"S": "a"}, {"N": "1"}, {"SS": ["x"]}, {"L": []}, {"B": b"x"}, {"NULL": True}]), max_size=3
)


@pytest.fixture(scope="module")
def shared() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON) as aws:
        cloud = Cloud(aws.url)
        cloud.create_table()
        cloud.dynamodb = boto3.client(
            "dynamodb",
            region_name=REGION,
            endpoint_url=aws.url,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )
        yield cloud


@settings(max_examples=300, deadline=None)
@given(STATEMENTS, PARAMETERS)
def test_a_statement_is_done_or_refused(shared: Cloud, statement: str, parameters: list[Any]) -> None:
    item = {"id": {"S": "a"}, "n": {"N": "1"}, "list": {"L": [{"S": "x"}]}, "m": {"M": {"k": {"N": "1"}}}}
    shared.dynamodb.put_item(TableName=TABLE, Item=item)
    given_parameters: Any = {"Parameters": parameters} if parameters else {}
    try:
        shared.dynamodb.execute_statement(Statement=statement, **given_parameters)
    except ClientError as error:
        response: Any = error.response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 400, (statement, response)
