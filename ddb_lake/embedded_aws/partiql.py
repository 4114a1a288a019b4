"""Serving PartiQL: ExecuteStatement, BatchExecuteStatement and ExecuteTransaction.

Statements are translated into item operations, which are checked and journaled as any other, and into Query and Scan.
Rules: AWS developer guide, "PartiQL for DynamoDB"; answers to writes as observed on AWS.
"""

import base64
import binascii
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from ddb_lake.embedded_aws.errors import AwsError, EmbeddedAwsError, validation
from ddb_lake.embedded_aws.json_values import JsonObject, array_in, is_object
from ddb_lake.embedded_aws.keys import KeySchema
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake.embedded_aws.partiql_parser import first_word, parse
from ddb_lake.embedded_aws.partiql_statements import Select
from ddb_lake.embedded_aws.partiql_tokens import malformed
from ddb_lake.embedded_aws.partiql_translation import ItemRequest, key_of, project, translate, translate_select
from ddb_lake.embedded_aws.tables import Table, Tables
from ddb_lake.embedded_aws.wire import Answer, dynamodb_answer
from ddb_lake.embedded_aws.writes import Writes

logger = logging.getLogger(__name__)

_MOST_IN_BATCH = 25
_MOST_IN_TRANSACTION = 100
"""Statements in one request (AWS: API reference, BatchExecuteStatement and ExecuteTransaction)."""

_ACTIONS = {"PutItem": "Put", "UpdateItem": "Update", "DeleteItem": "Delete", "ConditionCheck": "ConditionCheck"}
_DUPLICATE = "Duplicate primary key exists in table"
# Where an error's name in a batch is not its code without "Exception".
_BATCH_CODES = {"ValidationException": "ValidationError", "InternalServerError": "InternalServerError"}


class PartiQL:
    """Serves PartiQL's operations. Callers hold the embedded AWS's lock."""

    def __init__(self, moto: MotoBackend, tables: Tables, writes: Writes) -> None:
        self._moto = moto
        self._tables = tables
        self._writes = writes
        self._serve = {
            "ExecuteStatement": self._execute_statement,
            "BatchExecuteStatement": self._batch_execute_statement,
            "ExecuteTransaction": self._execute_transaction,
        }
        self.operations = frozenset(self._serve)

    def serve(self, region: str, operation: str, request: Any) -> Answer:
        """Serve one of `operations`; numbers in the request are normalised already.

        Raises:
            AwsError: If the request is refused.
        """
        return self._serve[operation](region, request)

    def _execute_statement(self, region: str, request: Any) -> Answer:
        if _reads(request):
            return self._select(region, request)
        payload = self._write(region, request)
        attributes = payload.pop("Attributes", None)
        return dynamodb_answer({"Items": [attributes] if attributes else [], **payload})

    def _batch_execute_statement(self, region: str, request: Any) -> Answer:
        statements = array_in(request, "Statements")
        _refuse_other_lengths("statements", statements, _MOST_IN_BATCH)
        run = self._get if _all_read(statements) else self._write_one
        # One statement's failure stops no other.
        return dynamodb_answer({"Responses": [self._run_in_batch(region, each, run) for each in statements]})

    def _run_in_batch(self, region: str, request: Any, run: Callable[[str, Any], JsonObject | None]) -> JsonObject:
        response: JsonObject = {}
        try:
            with _refusing():
                statement = parse(_text(request), array_in(request, "Parameters"))
            response["TableName"] = statement.table
            attributes = run(region, request)
        except AwsError as error:
            code = _BATCH_CODES.get(error.code, error.code.removesuffix("Exception"))
            return {**response, "Error": {"Code": code, "Message": error.message, **error.details}}
        return {**response, "Item": attributes} if attributes else response

    def _execute_transaction(self, region: str, request: Any) -> Answer:
        statements = array_in(request, "TransactStatements")
        _refuse_other_lengths("transactStatements", statements, _MOST_IN_TRANSACTION)
        if _all_read(statements):
            return self._transact_get(region, statements)
        actions: list[JsonObject] = []
        for each in statements:
            action = self._translate(region, each)
            parameters = {name: value for name, value in action.parameters.items() if name != "ReturnValues"}
            on_failure = each.get("ReturnValuesOnConditionCheckFailure")
            if on_failure is not None:
                parameters["ReturnValuesOnConditionCheckFailure"] = on_failure
            actions.append({_ACTIONS[action.operation]: parameters})
        members = ("ClientRequestToken", "ReturnConsumedCapacity")
        named = {name: request[name] for name in members if name in request}
        with _refusing():
            answer = self._writes.serve(region, "TransactWriteItems", {"TransactItems": actions, **named})
        payload = answer.json()
        if answer.status == 200:
            return dynamodb_answer({"Responses": [], **payload})
        for action, reason in zip(actions, payload.get("CancellationReasons", []), strict=False):
            if "Put" in action and reason.get("Code") == "ConditionalCheckFailed":
                reason.update(Code="DuplicateItem", Message=_DUPLICATE)
        return dynamodb_answer(payload, answer.status)

    def _write(self, region: str, request: Any) -> JsonObject:
        """Do what a statement writes, and return what the item operation has answered.

        Raises:
            AwsError: If it is refused, by its condition or otherwise.
        """
        item_request = self._translate(region, request)
        if item_request.operation == "ConditionCheck":
            raise validation("EXISTS can be used in ExecuteTransaction only")
        members = ("ReturnConsumedCapacity", "ReturnValuesOnConditionCheckFailure")
        parameters = {**item_request.parameters, **{name: request[name] for name in members if name in request}}
        with _refusing():
            answer = self._writes.serve(region, item_request.operation, parameters)
        payload = answer.json()
        if answer.status == 200:
            return payload
        code = str(payload.pop("__type")).rpartition("#")[2]
        message = str(payload.pop("message", payload.pop("Message", "")))
        if item_request.operation == "PutItem" and code == "ConditionalCheckFailedException":
            raise AwsError("DuplicateItemException", _DUPLICATE)
        raise AwsError(code, message, answer.status, payload)

    def _translate(self, region: str, request: Any) -> ItemRequest:
        if _reads(request):
            raise validation("Statements that read and statements that write can't be mixed in one request")
        with _refusing():
            statement = parse(_text(request), array_in(request, "Parameters"))
            return translate(statement, self._table(region, statement.table).key)

    def _write_one(self, region: str, request: Any) -> JsonObject | None:
        return self._write(region, request).get("Attributes")

    # Reading

    def _select(self, region: str, request: Any) -> Answer:
        statement, table = self._parse_select(region, request)
        key = table.key if statement.index is None else self._key_of_index(table, statement.index)
        with _refusing():
            read = translate_select(statement, key)
        parameters: JsonObject = {"TableName": table.name, **read.parameters}
        members = ("ConsistentRead", "Limit", "ReturnConsumedCapacity")
        parameters |= {name: request[name] for name in members if name in request}
        if request.get("NextToken") is not None:
            parameters["ExclusiveStartKey"] = _read_token(request["NextToken"])
        with _refusing():
            answer = self._moto.dynamodb(region, read.operation, parameters)
        if answer.status != 200:
            return answer
        payload = answer.json()
        last: object = payload.get("LastEvaluatedKey")
        shown: JsonObject = {"Items": [project(statement, item) for item in payload["Items"]]}
        if last:
            shown |= {"NextToken": base64.b64encode(orjson.dumps(last)).decode(), "LastEvaluatedKey": last}
        if "ConsumedCapacity" in payload:
            shown["ConsumedCapacity"] = payload["ConsumedCapacity"]
        return dynamodb_answer(shown)

    def _get(self, region: str, request: Any) -> JsonObject | None:
        """Read one item; None if there is none."""
        statement, table = self._parse_select(region, request)
        parameters = {"TableName": table.name, "Key": key_of(statement, table.key)}
        if request.get("ConsistentRead") is not None:
            parameters["ConsistentRead"] = request["ConsistentRead"]
        answer = self._moto.dynamodb(region, "GetItem", parameters)
        payload = answer.json()
        if answer.status != 200:
            raise AwsError(str(payload["__type"]).rpartition("#")[2], str(payload.get("message", "")), answer.status)
        item: object = payload.get("Item")
        return project(statement, item) if is_object(item) else None

    def _transact_get(self, region: str, statements: list[Any]) -> Answer:
        selects = [self._parse_select(region, each) for each in statements]
        gets = [{"Get": {"TableName": table.name, "Key": key_of(select, table.key)}} for select, table in selects]
        answer = self._moto.dynamodb(region, "TransactGetItems", {"TransactItems": gets})
        if answer.status != 200:
            return answer
        found = zip(selects, answer.json()["Responses"], strict=True)
        responses = [
            {"Item": project(select, response["Item"])} if response.get("Item") else {}
            for (select, _), response in found
        ]
        return dynamodb_answer({"Responses": responses})

    def _parse_select(self, region: str, request: Any) -> tuple[Select, Table]:
        with _refusing():
            statement = parse(_text(request), array_in(request, "Parameters"))
        assert isinstance(statement, Select)
        return statement, self._table(region, statement.table)

    def _key_of_index(self, table: Table, name: str) -> KeySchema:
        description = self._moto.expect(table.region, "DescribeTable", {"TableName": table.name})["Table"]
        indexes = array_in(description, "GlobalSecondaryIndexes") + array_in(description, "LocalSecondaryIndexes")
        for index in indexes:
            if index["IndexName"] == name:
                return KeySchema.of_table({**description, "KeySchema": index["KeySchema"]})
        raise validation(f"The table does not have the specified index: {name}")

    def _table(self, region: str, name: str) -> Table:
        table = self._tables.find(region, name)
        if table is None:
            raise AwsError("ResourceNotFoundException", "Requested resource not found")
        return table


def _read_token(token: object) -> JsonObject:
    try:
        key: object = orjson.loads(base64.b64decode(str(token), validate=True))
    except (binascii.Error, orjson.JSONDecodeError):
        key = None
    if not is_object(key):
        raise validation("Given NextToken is invalid")
    return key


@contextmanager
def _refusing() -> Iterator[None]:
    """Refuse a statement that moto stumbles over, such as a function of the wrong operands, as AWS would.

    Not what failed to be recorded after moto had written it: that is `Diverged`, and no refusal.
    """
    try:
        yield
    except (EmbeddedAwsError, sqlite3.Error):
        raise
    except Exception as error:
        logger.warning("moto can't process a statement", exc_info=True)
        raise malformed(f"{type(error).__name__}: {error}") from error


def _text(request: Any) -> str:
    text: object = request.get("Statement") if is_object(request) else None
    if not isinstance(text, str) or not text:
        raise validation(
            "1 validation error detected: Value null at 'statement' failed to satisfy constraint: "
            "Member must not be null"
        )
    return text


def _reads(request: Any) -> bool:
    return first_word(_text(request)) == "SELECT"


def _all_read(statements: list[Any]) -> bool:
    return all(_reads(each) for each in statements)


def _refuse_other_lengths(name: str, statements: list[Any], most: int) -> None:
    if not 1 <= len(statements) <= most:
        bound = "greater than or equal to 1" if not statements else f"less than or equal to {most}"
        raise validation(
            f"1 validation error detected: Value at '{name}' failed to satisfy constraint: "
            f"Member must have length {bound}"
        )
