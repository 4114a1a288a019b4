"""Time to live: deleting items once the time in their TTL attribute has passed, as ordinary deletes.

AWS deletes an expired item "within a few days"; here the first request of any kind after that moment does it,
stamped with the time of that request. Rules: AWS developer guide, "Using time to live (TTL)": the attribute is a
Number of whole seconds since the epoch, and what lies more than five years back is left alone.
"""

from contextlib import AbstractContextManager
from decimal import Decimal
from itertools import islice
from typing import Any

import orjson

from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake.embedded_aws.json_values import JsonObject, is_object
from ddb_lake.embedded_aws.lazy_items import LazyItems
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake.embedded_aws.settings import Settings
from ddb_lake.embedded_aws.tables import Table, Tables
from ddb_lake.embedded_aws.versions import Version

_SECOND_US = 1_000_000
_OLDEST_S = 5 * 365 * 86_400
_NEVER = 2**63 - 1
_ITEMS_AT_ONCE = 200
"""Expired items that are deleted, before the lock is given up."""

_TIMES_AT_ONCE = 2_000
_LONGEST_TIME = 12
"""Digits of a time in seconds; what has more never comes, and SQLite could not keep it."""


class Expiry:
    """Deletes expired items. Callers hold the embedded AWS's lock, but for `is_any_due` and `index_ahead`.

    The journal keeps an index of when items may expire, so that nobody has to look through a table for them. What
    it says of a key may be outdated; the newest item decides.
    """

    def __init__(
        self,
        moto: MotoBackend,
        journal: Journal,
        tables: Tables,
        clock: Clock,
        settings: Settings,
        lazy: LazyItems,
    ) -> None:
        self._moto = moto
        self._journal = journal
        self._tables = tables
        self._clock = clock
        self._settings = settings
        self._lazy = lazy
        # For each table with TTL, a time before which nothing of it expires.
        self._next_us: dict[str, int] = {}
        # Attributes of tables whose items are being looked through, before their TTL is switched on.
        self._coming: dict[str, str] = {}
        for table in tables.all():
            self.forget(table)

    def end_of(self, table: Table, image: bytes | None) -> int | None:
        """Return when an item that is written expires, in µs since the epoch, if its table has time to live."""
        attribute = self._coming.get(table.id, table.ttl_attribute)
        if attribute is None or image is None:
            return None
        ends_us = expires_us(orjson.loads(image), attribute)
        if ends_us is not None and table.ttl_attribute is not None:
            self._next_us[table.id] = min(self._next_us.get(table.id, _NEVER), ends_us)
        return ends_us

    def forget(self, table: Table) -> None:
        """Ask the journal when a table's items expire: its TTL has changed, or it was given a past."""
        self._next_us.pop(table.id, None)
        if table.ttl_attribute is not None:
            first_us = self._journal.first_expiry_us(table.id)
            self._next_us[table.id] = _NEVER if first_us is None else first_us

    def index_ahead(self, table: Table, attribute: str, lock: AbstractContextManager[Any]) -> None:
        """Note when a table's items expire, before its TTL is switched on; takes the lock for short times.

        Until `index_is_done`, what is written is noted as well.
        """
        with lock:
            self._coming[table.id] = attribute
            sequence = self._journal.sequence()
        with self._journal.reader() as versions:
            items = versions.items(table.id, _NEVER, sequence)
            ends = ((expires_us(orjson.loads(item.image or b""), attribute), item.key) for item in items)
            known = ((us, key) for us, key in ends if us is not None)
            while some := list(islice(known, _TIMES_AT_ONCE)):
                with lock:
                    self._journal.add_expiries(table.id, some)

    def index_is_done(self, table: Table) -> None:
        """Note no more what TTL doesn't need."""
        self._coming.pop(table.id, None)

    def is_any_due(self) -> bool:
        """Tell, without a lock, whether `sweep_some` has something to do."""
        if not self._settings.deletes_expired_items:
            return False
        tables = [table for table in self._tables.all() if table.ttl_attribute is not None]
        if not tables or self._journal.hides:  # what is being written can't be judged yet
            return False
        now_us = self._clock.now_us()
        return any(self._next_us.get(table.id, _NEVER) <= now_us for table in tables)

    def sweep_some(self) -> None:
        """Delete some of the items that have expired."""
        now_us = self._clock.now_us()
        for table in self._tables.all():
            if table.ttl_attribute is not None and self._next_us.get(table.id, _NEVER) <= now_us:
                self._sweep_table(table, table.ttl_attribute, now_us)
                return

    def _sweep_table(self, table: Table, attribute: str, now_us: int) -> None:
        if self._journal.hides:
            return
        due = self._journal.due(table.id, now_us, _ITEMS_AT_ONCE)
        expired: dict[bytes, Version] = {}
        for key in {key for _, key in due}:
            version = self._journal.newest(table.id, key)
            ends_us = expires_us(orjson.loads(version.image), attribute) if version and version.image else None
            if version is not None and ends_us is not None and now_us - _OLDEST_S * _SECOND_US <= ends_us <= now_us:
                expired[key] = version
        in_moto = {key: version for key, version in expired.items() if self._lazy.in_moto(table, key)}
        deletes = (
            {"DeleteRequest": {"Key": table.key.of(orjson.loads(version.image or b""))}}
            for version in in_moto.values()
        )
        self._moto.write_items(table.region, table.name, deletes)
        deleted = [Version(key, self._clock.stamp(), None, 0) for key in expired]
        waiting = {key: version.size for key, version in expired.items() if key not in in_moto}
        self._lazy.defer(table, lambda: waiting, waiting.__contains__, -len(waiting), -sum(waiting.values()))
        self._journal.append_expired(table.id, deleted, due)
        self.forget(table)


def expires_us(item: JsonObject, attribute: str) -> int | None:
    """Return when an item expires, in µs since the epoch, if its TTL attribute is a number that can be a time."""
    value: object = item.get(attribute)
    number: object = value.get("N") if is_object(value) else None
    if not isinstance(number, str) or len(number.partition(".")[0]) > _LONGEST_TIME:
        return None
    return int(Decimal(number) * _SECOND_US)
