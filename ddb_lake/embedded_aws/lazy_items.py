"""Items come to moto when a client first asks for them; until then they are in the journal alone.

moto takes some kilobytes and some tenths of a millisecond an item. So a long history, or a start with a large
journal, costs neither before somebody reads the table, and exports never need it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from ddb_lake.embedded_aws.errors import AwsError
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake.embedded_aws.json_values import JsonObject, array_in, is_object, object_in
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake.embedded_aws.tables import Table, Tables
from ddb_lake.embedded_aws.versions import Version

_END_OF_TIME = 2**63 - 1
_WITHOUT_ITEMS = {
    "CreateTable",
    "DeleteTable",
    "DescribeEndpoints",
    "DescribeLimits",
    "DescribeTable",
    "DescribeTimeToLive",
    "ListTables",
    "ListTagsOfResource",
    "TagResource",
    "UntagResource",
    "UpdateTimeToLive",
}
_BY_KEY = {"PutItem": "Item", "GetItem": "Key", "UpdateItem": "Key", "DeleteItem": "Key"}


@dataclass
class _Loaded:
    """Which of a table's keys moto knows.

    Attributes:
        complete: Whether moto has the whole table, but for `keys`; else it has nothing but `keys`.
        keys: Encoded primary keys.
        waiting_items: How many items moto doesn't have.
        waiting_bytes: Their size.
    """

    complete: bool = False
    keys: set[bytes] = field(default_factory=set[bytes])
    waiting_items: int = 0
    waiting_bytes: int = 0

    def has(self, key: bytes) -> bool:
        """Tell whether moto knows the state of a key, which may be that there is no item."""
        return (key in self.keys) != self.complete

    def add(self, key: bytes, version: Version | None) -> None:
        """Take note that moto has got a key, whose newest version is given."""
        if self.complete:
            self.keys.discard(key)
        else:
            self.keys.add(key)
        self.count(version, -1)

    def count(self, version: Version | None, number: int) -> None:
        """Reckon with so many items more of this version's size that moto doesn't have."""
        if version is not None and version.image is not None:
            self.waiting_items += number
            self.waiting_bytes += number * version.size


class LazyItems:
    """Brings items from the journal to moto. Callers hold the embedded AWS's lock."""

    def __init__(self, moto: MotoBackend, journal: Journal, tables: Tables) -> None:
        self._moto = moto
        self._journal = journal
        self._tables = tables
        self._loaded: dict[str, _Loaded] = {}
        for table in tables.all():
            items = [item.size for item in journal.items(table.id, _END_OF_TIME, journal.sequence())]
            self._loaded[table.id] = _Loaded(waiting_items=len(items), waiting_bytes=sum(items))
        moto.prepare = self.prepare

    def prepare(self, region: str, operation: str, request: Any) -> None:
        """Bring to moto what a request, about to be sent there, could see or change."""
        if operation in _WITHOUT_ITEMS:
            return
        if operation in _BY_KEY:
            self._load_keys(region, request.get("TableName"), [request.get(_BY_KEY[operation])])
        elif operation == "BatchWriteItem":
            for name, writes in object_in(request, "RequestItems").items():
                self._load_keys(region, name, [_key_in(action) for write in writes for action in write.values()])
        elif operation == "BatchGetItem":
            for name, wanted in object_in(request, "RequestItems").items():
                self._load_keys(region, name, array_in(wanted, "Keys"))
        elif operation in ("TransactWriteItems", "TransactGetItems"):
            for each in array_in(request, "TransactItems"):
                for action in each.values():
                    self._load_keys(region, action.get("TableName"), [_key_in(action)])
        else:
            table = self._tables.find(region, request.get("TableName"))
            for each in self._tables.all() if table is None else [table]:
                self._load_all(each)

    def in_moto(self, table: Table, key: bytes) -> bool:
        """Tell whether moto knows the state of a key, and so must be told of a new one."""
        return self._of(table).has(key)

    def defer(self, table: Table, changes: Iterable[tuple[bytes, Version | None, Version]]) -> None:
        """Take note of keys that moto doesn't know, with their newest version before and after a history."""
        loaded = self._of(table)
        for key, before, after in changes:
            if loaded.complete and (before is None or before.image is None):
                loaded.keys.add(key)
            loaded.count(before, -1)
            loaded.count(after, 1)

    def waiting(self, table: Table) -> tuple[int, int]:
        """Return how many items of a table moto doesn't have, and their size in bytes."""
        loaded = self._of(table)
        return loaded.waiting_items, loaded.waiting_bytes

    def _load_keys(self, region: str, name: object, keys: Iterable[object]) -> None:
        table = self._tables.find(region, name)
        if table is None:
            return  # moto's to refuse
        loaded = self._of(table)
        found: list[Version] = []
        for each in keys:
            try:
                key = table.key.encode(each) if is_object(each) else None
            except AwsError:
                key = None  # moto's to refuse
            if key is not None and not loaded.has(key):
                version = self._journal.newest(table.id, key) if loaded.waiting_items else None
                loaded.add(key, version)
                if version is not None and version.image is not None:
                    found.append(version)
        self._send(table, found)

    def _load_all(self, table: Table) -> None:
        loaded = self._of(table)
        if loaded.waiting_items:
            items = self._journal.items(table.id, _END_OF_TIME, self._journal.sequence())
            self._send(table, (item for item in items if not loaded.has(item.key)))
        self._loaded[table.id] = _Loaded(complete=True)

    def _send(self, table: Table, items: Iterable[Version]) -> None:
        self._moto.load_items(table.region, table.name, _images(items))

    def _of(self, table: Table) -> _Loaded:
        return self._loaded.setdefault(table.id, _Loaded())


def _key_in(action: JsonObject) -> object:
    return action.get("Item") or action.get("Key")


def _images(items: Iterable[Version]) -> Iterator[Any]:
    for item in items:
        assert item.image is not None
        yield orjson.loads(item.image)
