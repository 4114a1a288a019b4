"""Observing DynamoDB's writes: each is stamped, forwarded to moto and journaled, or refused.

Callers hold the embedded AWS's lock around {stamp, forward, journal}: that makes write times a total order, and
lets an export see every write that was stamped before it.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.errors import AwsError, Diverged, validation
from ddb_lake.embedded_aws.expiry import Expiry
from ddb_lake.embedded_aws.items import LARGEST_ITEM, item_size
from ddb_lake.embedded_aws.journal import Journal, TransactionToken
from ddb_lake.embedded_aws.json_values import JsonObject, array_in, is_object, object_in
from ddb_lake.embedded_aws.moto_backend import LARGEST_BATCH, MotoBackend
from ddb_lake.embedded_aws.numbers import normalise_numbers
from ddb_lake.embedded_aws.settings import Settings
from ddb_lake.embedded_aws.tables import Table, Tables
from ddb_lake.embedded_aws.transaction_tokens import TransactionTokens
from ddb_lake.embedded_aws.versions import Version
from ddb_lake.embedded_aws.wire import Answer, dynamodb_answer


@dataclass(frozen=True)
class Write:
    """What one write leaves at a key: the whole item as JSON, or nothing where it was deleted.

    Attributes:
        table: The table.
        key: The encoded primary key.
        attributes: The primary key as JSON.
        image: The item as DynamoDB JSON, or None.
        size: The item's size in bytes; 0 if there is none.
    """

    table: Table
    key: bytes
    attributes: dict[str, Any]
    image: bytes | None
    size: int


def _put(table: Table, item: object) -> Write:
    if not is_object(item):
        raise validation(f"An item must be a JSON object, not {item!r}")
    key = table.key.encode(item)
    size = item_size(item)
    if size > LARGEST_ITEM:
        raise validation("Item size has exceeded the maximum allowed size")
    return Write(table, key, table.key.of(item), orjson.dumps(item), size)


def _delete(table: Table, key: object) -> Write:
    if not is_object(key):
        raise validation(f"A key must be a JSON object, not {key!r}")
    return Write(table, table.key.encode(key), key, None, 0)


@contextmanager
def _recording() -> Iterator[None]:
    """Tell what fails while moto's write is journaled from all that can be refused: it can't be taken back."""
    try:
        yield
    except Exception as error:
        raise Diverged(f"{type(error).__name__}: {error}") from error


class Writes:
    """Serves the write operations: PutItem, UpdateItem, DeleteItem, BatchWriteItem and TransactWriteItems."""

    def __init__(
        self, moto: MotoBackend, journal: Journal, tables: Tables, clock: Clock, settings: Settings, expiry: Expiry
    ) -> None:
        self._moto = moto
        self._journal = journal
        self._tables = tables
        self._clock = clock
        self._settings = settings
        self._expiry = expiry
        self._tokens = TransactionTokens(journal)
        self._serve = {
            "PutItem": self._put_item,
            "UpdateItem": self._update_item,
            "DeleteItem": self._delete_item,
            "BatchWriteItem": self._batch_write_item,
            "TransactWriteItems": self._transact_write_items,
        }
        self.operations = frozenset(self._serve)

    def serve(self, region: str, operation: str, request: Any) -> Answer:
        """Serve one of `operations`; numbers in the request are normalised already.

        Raises:
            AwsError: If the request is refused before moto has seen it.
        """
        return self._serve[operation](region, request)

    def _put_item(self, region: str, request: Any) -> Answer:
        table = self._table(region, request)
        return self._forward(region, "PutItem", request, [_put(table, request.get("Item"))])

    def _delete_item(self, region: str, request: Any) -> Answer:
        table = self._table(region, request)
        return self._forward(region, "DeleteItem", request, [_delete(table, request.get("Key"))])

    def _update_item(self, region: str, request: Any) -> Answer:
        table = self._table(region, request)
        touched = _delete(table, request.get("Key"))
        if "UpdateExpression" not in request:
            request.setdefault("AttributeUpdates", {})  # moto stumbles where there is neither
        wanted = request.get("ReturnValues", "NONE")
        # A client that wants no values leaves room for the new image, which saves reading it afterwards.
        raised = {**request, "ReturnValues": "ALL_NEW"} if wanted == "NONE" else request
        answer = self._attempt(region, "UpdateItem", raised, [touched])
        if answer.status != 200:
            return answer
        payload = answer.json()
        try:
            item = payload["Attributes"] if wanted in ("NONE", "ALL_NEW") else self._read(table, touched.attributes)
            write = _put(table, self._store_normal_numbers(table, item))
            if wanted == "NONE":
                del payload["Attributes"]
            normalise_numbers(payload)
            answer = dynamodb_answer(payload)
        except BaseException:  # the item has become too large or too deep, or a number of it
            self._undo([touched])
            raise
        self._append([write])
        return answer

    def _batch_write_item(self, region: str, request: Any) -> Answer:
        resolved: JsonObject = {}
        for name, requests in object_in(request, "RequestItems").items():
            resolved.setdefault(self._require(region, name).name, []).extend(requests)
        writes = list(self._batch_writes(region, resolved))
        if len({(write.table.id, write.key) for write in writes}) < len(writes):
            raise validation("Provided list of item keys contains duplicates")
        if len(writes) > LARGEST_BATCH:
            raise validation("Too many items requested for the BatchWriteItem call")
        held = self._hold_back(resolved)
        if held and not resolved:
            raise AwsError(
                "ProvisionedThroughputExceededException",
                "The level of configured provisioned throughput for the table was exceeded. Consider increasing your "
                "provisioning level with the UpdateTable API.",
            )
        answer = self._attempt(region, "BatchWriteItem", {**request, "RequestItems": resolved}, writes)
        if answer.status != 200:
            return answer
        if held:
            answer = dynamodb_answer({**answer.json(), "UnprocessedItems": held})
        left = self._batch_writes(region, object_in(answer.json(), "UnprocessedItems"))
        unprocessed = {(write.table.id, write.key) for write in left}
        self._append([write for write in writes if (write.table.id, write.key) not in unprocessed])
        return answer

    def _hold_back(self, requests: JsonObject) -> JsonObject:
        """Take the last writes out of a batch, where the settings want some to be left, and return them."""
        held: JsonObject = {}
        for _ in range(self._settings.take_unprocessed()):
            if not requests:
                break
            name = next(reversed(requests))
            held.setdefault(name, []).insert(0, requests[name].pop())
            if not requests[name]:
                del requests[name]
        return held

    def _batch_writes(self, region: str, requests: Mapping[str, Any]) -> Iterator[Write]:
        for name, table_requests in requests.items():
            table = self._require(region, name)
            for each in table_requests:
                match list(each):
                    case ["PutRequest"]:
                        yield _put(table, each["PutRequest"].get("Item"))
                    case ["DeleteRequest"]:
                        yield _delete(table, each["DeleteRequest"].get("Key"))
                    case _:
                        raise validation(
                            "Supplied WriteRequest has more than one or no request set, must contain exactly one "
                            f"of PutRequest and DeleteRequest: {each!r}"
                        )

    def _transact_write_items(self, region: str, request: Any) -> Answer:
        now_us = self._clock.now_us()
        token = self._tokens.new(region, request, now_us)
        if token is not None and self._tokens.is_done(token):
            return dynamodb_answer({})
        actions: list[tuple[str, Any]] = [
            (kind, action) for each in array_in(request, "TransactItems") for kind, action in each.items()
        ]
        touched: list[Write] = []
        for kind, action in actions:
            table = self._table(region, action)
            touched.append(_put(table, action.get("Item")) if kind == "Put" else _delete(table, action.get("Key")))
        answer = self._attempt(region, "TransactWriteItems", request, touched)
        if answer.status != 200:
            return answer
        try:
            writes = list(self._transacted(region, actions))
        except BaseException:  # an item has become too large or too deep, or a number of it
            self._undo(touched)
            raise
        self._append_transaction(writes, token)
        return answer

    def _transacted(self, region: str, actions: list[tuple[str, Any]]) -> Iterator[Write]:
        for kind, action in actions:
            table = self._table(region, action)
            match kind:
                case "Put":
                    yield _put(table, action["Item"])
                case "Update":
                    yield _put(table, self._store_normal_numbers(table, self._read(table, action["Key"])))
                case "Delete":
                    yield _delete(table, action["Key"])
                case _:  # a ConditionCheck writes nothing
                    pass

    def _forward(self, region: str, operation: str, request: Any, writes: list[Write]) -> Answer:
        answer = self._attempt(region, operation, request, writes)
        if answer.status == 200:
            self._append(writes)
        return answer

    def _attempt(self, region: str, operation: str, request: Any, touched: list[Write]) -> Answer:
        """Send a write to moto; if moto gives up on it half-way, bring it back to what the journal knows."""
        try:
            answer = self._moto.dynamodb(region, operation, request)
        except BaseException:
            self._undo(touched)
            raise
        # moto checks conditions before it writes anything; other faults it may find later.
        if answer.status != 200 and b"ConditionalCheckFailed" not in answer.body:
            self._undo(touched)
        return answer

    def _append(self, writes: list[Write]) -> None:
        """Journal writes that moto has done, each at its own time."""
        with _recording():
            self._journal.append(self._versions((write, self._clock.stamp()) for write in self._effective(writes)))

    def _append_transaction(self, writes: list[Write], token: TransactionToken | None) -> None:
        """Journal the writes of a transaction that moto has done, all at one time."""
        with _recording():
            us = self._clock.stamp()
            versions = self._versions((write, us) for write in self._effective(writes))
            if token is None:
                self._journal.append(versions)
            else:
                self._journal.append_transaction(versions, token, self._tokens.outdated_us(token.us))

    def _effective(self, writes: list[Write]) -> list[Write]:
        """Leave out deletes of what isn't there: they write nothing."""
        return [write for write in writes if write.image is not None or self._newest_image(write) is not None]

    def _versions(self, timed: Iterable[tuple[Write, int]]) -> list[tuple[str, Version]]:
        versions: list[tuple[str, Version]] = []
        for write, us in timed:
            ends_us = self._expiry.end_of(write.table, write.image)
            versions.append((write.table.id, Version(write.key, us, write.image, write.size, ends_us)))
        return versions

    def _undo(self, writes: list[Write]) -> None:
        """Bring these keys in moto back to what the journal knows of them."""
        for write in writes:
            image = self._newest_image(write)
            table = write.table
            if image is None:
                self._moto.expect(table.region, "DeleteItem", {"TableName": table.name, "Key": write.attributes})
            else:
                request = {"TableName": table.name, "Item": orjson.loads(image)}
                self._moto.expect(table.region, "PutItem", request)

    def _newest_image(self, write: Write) -> bytes | None:
        newest = self._journal.newest(write.table.id, write.key)
        return newest and newest.image

    def _read(self, table: Table, key: Mapping[str, Any]) -> Any:
        request = {"TableName": table.name, "Key": key, "ConsistentRead": True}
        return self._moto.expect(table.region, "GetItem", request)["Item"]

    def _store_normal_numbers(self, table: Table, item: Any) -> Any:
        """Return an item that moto has reckoned with its numbers normalised, in moto as well."""
        before = orjson.dumps(item)
        normalise_numbers(item)
        if orjson.dumps(item) != before:
            self._moto.expect(table.region, "PutItem", {"TableName": table.name, "Item": item})
        return item

    def _table(self, region: str, request: Any) -> Table:
        table = self._require(region, request.get("TableName"))
        request["TableName"] = table.name
        return table

    def _require(self, region: str, name_or_arn: object) -> Table:
        table = self._tables.find(region, name_or_arn)
        if table is None:
            raise AwsError("ResourceNotFoundException", "Requested resource not found")
        return table
