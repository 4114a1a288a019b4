"""The DynamoDB service: which operations go to moto, which are observed, answered here or refused.

Only what is listed here is served: an operation that could write past the journal must not slip through.
"""

import json
import re
from decimal import Decimal
from typing import Any

import orjson

from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.errors import AwsError, validation
from ddb_lake.embedded_aws.expiry import Expiry
from ddb_lake.embedded_aws.export_jobs import ExportJobs
from ddb_lake.embedded_aws.journal import Journal, TableRequest
from ddb_lake.embedded_aws.json_values import JsonObject, is_object, object_in
from ddb_lake.embedded_aws.lazy_items import LazyItems
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake.embedded_aws.numbers import normalise_numbers
from ddb_lake.embedded_aws.partiql import PartiQL
from ddb_lake.embedded_aws.tables import Table, Tables, describe_backups, table_not_found, update_backups
from ddb_lake.embedded_aws.wire import DYNAMODB_TARGET, Answer, dynamodb_answer, epoch_seconds
from ddb_lake.embedded_aws.writes import Writes

_READS = {
    "BatchGetItem",
    "DescribeEndpoints",
    "DescribeLimits",
    "DescribeTimeToLive",
    "GetItem",
    "ListTables",
    "ListTagsOfResource",
    "Query",
    "Scan",
    "TransactGetItems",
}
# Sent again after a restart.
_TABLE_CHANGES = {"UpdateTable", "UpdateTimeToLive", "TagResource", "UntagResource"}


class DynamoDB:
    """Serves DynamoDB's requests. Callers hold the embedded AWS's lock."""

    def __init__(
        self,
        moto: MotoBackend,
        journal: Journal,
        tables: Tables,
        clock: Clock,
        writes: Writes,
        exports: ExportJobs,
        expiry: Expiry,
        lazy: LazyItems,
    ) -> None:
        self._moto = moto
        self._journal = journal
        self._tables = tables
        self._clock = clock
        self._writes = writes
        self._partiql = PartiQL(moto, tables, writes)
        self._expiry = expiry
        self._lazy = lazy
        self._exports = exports
        self._own = {
            "DescribeExport": exports.describe,
            "ListExports": exports.list,
            "DescribeContinuousBackups": self._describe_backups,
            "UpdateContinuousBackups": self._update_backups,
        }
        self._tables_served = {
            "CreateTable": self._create_table,
            "DeleteTable": self._delete_table,
            "DescribeTable": self._describe_table,
        }

    def serve(
        self,
        region: str,
        target: str,
        body: bytes,
        s3_refusal: str | None = None,
        extent: tuple[int, int] | None = None,
    ) -> Answer:
        """Serve one request.

        Args:
            region: The region that the request was signed for.
            target: The value of `X-Amz-Target`, such as `DynamoDB_20120810.PutItem`.
            body: The request's JSON.
            s3_refusal: Why the caller may not write the objects of the export that it starts; None if it may.
            extent: Items and bytes of that export, where its duration depends on them.

        Raises:
            AwsError: If it is refused.
        """
        interface, _, operation = target.partition(".")
        if interface != DYNAMODB_TARGET:
            raise AwsError("UnknownOperationException", f"The embedded AWS doesn't serve {target}")
        request = _read(body)
        if operation == "ExportTableToPointInTime":
            return dynamodb_answer(self._exports.start(region, _read_exact(body), s3_refusal, extent))
        if operation in self._own:
            return dynamodb_answer(self._own[operation](region, _read_exact(body)))
        normalise_numbers(request)
        if operation in self._writes.operations:
            return self._writes.serve(region, operation, request)
        if operation in self._tables_served:
            return self._tables_served[operation](region, request)
        if operation.endswith("TimeToLive") and self._tables.find(region, request.get("TableName")) is None:
            # moto's error has a code that no client knows.
            raise AwsError(
                "ResourceNotFoundException",
                f"Requested resource not found: Table: {request.get('TableName')} not found",
            )
        if operation in _TABLE_CHANGES:
            return self._change_table(region, operation, request)
        if operation in self._partiql.operations:
            return self._partiql.serve(region, operation, request)
        if operation in _READS:
            return self._moto.dynamodb(region, operation, request)
        raise AwsError(
            "UnknownOperationException",
            f"The embedded AWS doesn't serve {operation}: it could not journal what it writes",
        )

    def _create_table(self, region: str, request: Any) -> Answer:
        if isinstance(request.get("TableName"), str):  # which may be the ARN that the table will have
            request["TableName"] = self._tables.resolve(region, request["TableName"])
        _check_table_name(request.get("TableName"))
        answer = self._moto.dynamodb(region, "CreateTable", request)
        if answer.status != 200:
            return answer
        table = self._tables.create(region, request, orjson.dumps(request), self._clock.now_us())
        return _show_identity(answer, table)

    def _delete_table(self, region: str, request: Any) -> Answer:
        table = self._tables.find(region, request.get("TableName"))
        answer = self._moto.dynamodb(region, "DeleteTable", request)
        if answer.status != 200 or table is None:
            return answer
        self._tables.delete(table, self._clock.now_us())
        return _show_identity(answer, table)

    def _describe_table(self, region: str, request: Any) -> Answer:
        table = self._tables.find(region, request.get("TableName"))
        # By its name, since moto doesn't know the ARNs of all partitions.
        named = request if table is None else {**request, "TableName": table.name}
        answer = self._moto.dynamodb(region, "DescribeTable", named)
        if answer.status != 200 or table is None:
            return answer
        payload = _show_identity(answer, table).json()
        items, size = self._lazy.waiting(table)
        payload["Table"]["ItemCount"] += items
        payload["Table"]["TableSizeBytes"] += size
        return dynamodb_answer(payload)

    def _change_table(self, region: str, operation: str, request: Any) -> Answer:
        table = self._tables.find(region, request.get("TableName") or request.get("ResourceArn"))
        answer = self._moto.dynamodb(region, operation, request)
        if answer.status != 200 or table is None:
            return answer
        self._journal.add_table_request(TableRequest(table.id, operation, orjson.dumps(request)))
        if operation == "UpdateTimeToLive":
            specification = object_in(answer.json(), "TimeToLiveSpecification")
            table = self._tables.set_ttl(table, specification["AttributeName"] if specification["Enabled"] else None)
            self._expiry.forget(table)
        return _show_identity(answer, table) if operation == "UpdateTable" else answer

    def _describe_backups(self, region: str, request: Any) -> dict[str, Any]:
        return describe_backups(self._backed_up(region, request), self._clock.now_us())

    def _update_backups(self, region: str, request: Any) -> dict[str, Any]:
        return update_backups(self._tables, self._backed_up(region, request), request, self._clock.now_us())

    def _backed_up(self, region: str, request: Any) -> Table:
        table = self._tables.find(region, request.get("TableName"))
        if table is None:
            raise table_not_found(request.get("TableName"))
        return table


def _check_table_name(name: object) -> None:
    """Refuse a name that AWS refuses, and moto takes (AWS: developer guide, "Naming rules")."""
    if not isinstance(name, str):
        return  # moto's to refuse
    if not re.fullmatch(r"[a-zA-Z0-9_.-]+", name):
        raise validation(
            f"1 validation error detected: Value '{name}' at 'tableName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
        )
    if not 3 <= len(name) <= 255:
        raise validation("TableName must be at least 3 characters long and at most 255 characters long")


def _read(body: bytes) -> JsonObject:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise AwsError("SerializationException", f"The request is not JSON: {error}") from None
    if not is_object(request):
        raise AwsError("SerializationException", "The request is no JSON object")
    return request


def _read_exact(body: bytes) -> Any:
    """Read a request whose times must not pass through binary floating point."""
    return json.loads(body, parse_float=Decimal)


def _show_identity(answer: Answer, table: Table) -> Answer:
    """Return moto's description of a table with the identity and creation time that outlive moto's table."""
    payload = answer.json()
    for description in payload.values():
        description["TableArn"] = table.arn  # moto doesn't know all partitions
        description["TableId"] = table.id
        description["CreationDateTime"] = epoch_seconds(table.created_us)
    return dynamodb_answer(payload)
