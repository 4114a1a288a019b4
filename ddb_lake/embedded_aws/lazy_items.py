"""Items come to moto when a client first asks for them; until then they are in the journal alone.

moto takes some kilobytes and some tenths of a millisecond an item. So a long history, or a start with a large
journal, costs neither before somebody reads the table, and exports never need it.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
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
_READ_TABLES = {"Query", "Scan", "UpdateTable"}
_ITEMS_AT_ONCE = 100
"""Items that come to moto before the lock is given up: some 30 ms."""

_BY_KEY = {"PutItem": "Item", "GetItem": "Key", "UpdateItem": "Key", "DeleteItem": "Key"}


@dataclass
class _Loaded:
    """Which of a table's keys moto knows.

    Attributes:
        complete: Whether moto has the whole table, but for `keys`; else it has nothing but `keys`.
        keys: Encoded primary keys.
        stale: Keys that moto doesn't know, of which it still holds an older item, and that item's size.
        has_past: Whether the journal may have items that moto never got.
        waiting_items: How many items more there are than moto holds.
        waiting_bytes: How many bytes more these have.
    """

    complete: bool = False
    keys: set[bytes] = field(default_factory=set[bytes])
    stale: dict[bytes, int] = field(default_factory=dict[bytes, int])
    has_past: bool = False
    waiting_items: int = 0
    waiting_bytes: int = 0

    def has(self, key: bytes) -> bool:
        """Tell whether moto knows the state of a key, which may be that there is no item."""
        return (key in self.keys) != self.complete

    def add(self, key: bytes, size: int) -> None:
        """Take note that moto has got a key's item of this size, 0 for none."""
        if self.complete:
            self.keys.discard(key)
        else:
            self.keys.add(key)
        held = self.stale.pop(key, 0)
        self.waiting_items -= (size > 0) - (held > 0)
        self.waiting_bytes -= size - held

    def forget(self, key: bytes, held: int) -> None:
        """Take note that a key has changed that moto knew, with an item of this size or, if it is 0, none."""
        if self.complete:
            self.keys.add(key)
        else:
            self.keys.discard(key)
        if held:
            self.stale[key] = held


class LazyItems:
    """Brings items from the journal to moto. Callers hold the embedded AWS's lock, except for `tables_read`."""

    def __init__(self, moto: MotoBackend, journal: Journal, tables: Tables) -> None:
        self._moto = moto
        self._journal = journal
        self._tables = tables
        self._loaded: dict[str, _Loaded] = {}
        for table in tables.all():
            items, size = journal.extent(table.id, _END_OF_TIME, journal.sequence())
            self._loaded[table.id] = _Loaded(has_past=items > 0, waiting_items=items, waiting_bytes=size)
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

    def tables_read(self, region: str, operation: str, request: JsonObject) -> list[Table]:
        """Return the tables of which a request could read everything, and moto doesn't have all."""
        if operation not in _READ_TABLES and not _selects(request):
            return []
        table = self._tables.find(region, request.get("TableName"))
        wanted = self._tables.all() if table is None else [table]
        return [table for table in wanted if not self._is_whole(self._of(table))]

    def load_some(self, table: Table, after: bytes) -> bytes | None:
        """Bring some of the items after a key to moto; return the last one's key, or None at the end.

        A large table comes to moto so, while others write between one call and the next.
        """
        loaded = self._of(table)
        if self._is_whole(loaded):
            return None
        if loaded.complete:  # but for some keys
            self._load(table, loaded, [self._newest(table, key) for key in islice(loaded.keys, _ITEMS_AT_ONCE)])
            return after
        page = self._journal.page(table.id, after, _ITEMS_AT_ONCE)
        self._load(table, loaded, [version for version in page if not loaded.has(version.key)])
        if page:
            return page[-1].key
        if not loaded.waiting_items and not loaded.stale:  # else a history has come between
            self._loaded[table.id] = _Loaded(complete=True, has_past=True)
        return None

    def in_moto(self, table: Table, key: bytes) -> bool:
        """Tell whether moto knows the state of a key."""
        loaded = self._of(table)
        return not loaded.has_past or loaded.has(key)

    def defer(
        self,
        table: Table,
        changed: Callable[[], Iterable[bytes]],
        is_changed: Callable[[bytes], bool],
        items: int,
        size: int,
    ) -> None:
        """Take note of keys that the journal is about to change, without telling moto.

        Args:
            table: The table.
            changed: Returns the keys, each once; asked only if moto has the whole table.
            is_changed: Tells whether a key is one of them.
            items: How many items more there are then.
            size: How many bytes more these have.
        """
        loaded = self._of(table)
        loaded.has_past = True
        known = changed() if loaded.complete else [key for key in loaded.keys if is_changed(key)]
        for key in known:
            if loaded.has(key):
                loaded.forget(key, self._newest(table, key).size)
        loaded.waiting_items += items
        loaded.waiting_bytes += size

    def waiting(self, table: Table) -> tuple[int, int]:
        """Return how many items there are more than moto holds, and how many bytes more."""
        loaded = self._of(table)
        return loaded.waiting_items, loaded.waiting_bytes

    def _load_keys(self, region: str, name: object, keys: Iterable[object]) -> None:
        table = self._tables.find(region, name)
        if table is None:
            return  # moto's to refuse
        loaded = self._of(table)
        wanted: dict[bytes, Version] = {}
        for each in keys:
            try:
                key = table.key.encode(each) if is_object(each) else None
            except AwsError:
                key = None  # moto's to refuse
            if key is not None and not loaded.has(key):
                wanted[key] = self._newest(table, key) if loaded.has_past else Version(key, 0, None, 0)
        self._load(table, loaded, wanted.values())

    def _load_all(self, table: Table) -> None:
        last: bytes | None = b""
        while last is not None:
            last = self.load_some(table, last)

    def _newest(self, table: Table, key: bytes) -> Version:
        return self._journal.newest(table.id, key) or Version(key, 0, None, 0)

    def _load(self, table: Table, loaded: _Loaded, versions: Collection[Version]) -> None:
        writes: list[JsonObject] = []
        for version in versions:
            if version.image is not None:
                writes.append({"PutRequest": {"Item": orjson.loads(version.image)}})
            elif version.key in loaded.stale:
                item = orjson.loads(self._journal.newest_image(table.id, version.key))
                writes.append({"DeleteRequest": {"Key": table.key.of(item)}})
        self._moto.load_items(table.region, table.name, writes)
        for version in versions:  # only now: what moto didn't take must be tried again
            loaded.add(version.key, version.size)

    def _is_whole(self, loaded: _Loaded) -> bool:
        return not loaded.has_past or (loaded.complete and not loaded.keys)

    def _of(self, table: Table) -> _Loaded:
        return self._loaded.setdefault(table.id, _Loaded())


def _selects(request: JsonObject) -> bool:
    """Tell whether one of a request's PartiQL statements reads."""
    statements = [request, *array_in(request, "Statements"), *array_in(request, "TransactStatements")]
    texts = (str(each.get("Statement")) for each in statements if is_object(each))
    return any(text.lstrip()[:6].upper() == "SELECT" for text in texts)


def _key_in(action: JsonObject) -> object:
    return action.get("Item") or action.get("Key")
