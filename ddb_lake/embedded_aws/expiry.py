"""Time to live: deleting items once the time in their TTL attribute has passed, as ordinary deletes.

AWS deletes an expired item "within a few days"; here the first request of any kind after that moment does it,
stamped with the time of that request. Rules: AWS developer guide, "Using time to live (TTL)": the attribute is a
Number of whole seconds since the epoch, and what lies more than five years back is left alone.
"""

from decimal import Decimal
from typing import Any

import orjson

from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake.embedded_aws.settings import Settings
from ddb_lake.embedded_aws.tables import Table, Tables
from ddb_lake.embedded_aws.versions import Version

_SECOND_US = 1_000_000
_OLDEST_S = 5 * 365 * 86_400
_NEVER = 2**63 - 1
_END_OF_TIME = 2**63 - 1


class Expiry:
    """Deletes expired items. Callers hold the embedded AWS's lock, except for `is_any_due`."""

    def __init__(self, moto: MotoBackend, journal: Journal, tables: Tables, clock: Clock, settings: Settings) -> None:
        self._moto = moto
        self._journal = journal
        self._tables = tables
        self._clock = clock
        self._settings = settings
        # For each table with TTL, a time before which nothing of it expires; tables that aren't here are unknown.
        self._next_us: dict[str, int] = {}

    def observe(self, table: Table, image: bytes | None) -> None:
        """Take note of an item that was written, so that the next sweep comes in time."""
        if table.ttl_attribute is None or image is None or table.id not in self._next_us:
            return
        expires_us = _expires_us(orjson.loads(image), table.ttl_attribute)
        if expires_us is not None:
            self._next_us[table.id] = min(self._next_us[table.id], expires_us)

    def forget(self, table: Table) -> None:
        """Look at all items of a table again: its TTL has changed, or it was given a past."""
        self._next_us.pop(table.id, None)

    def is_any_due(self) -> bool:
        """Tell, without a lock, whether `sweep` has something to do."""
        if not self._settings.deletes_expired_items:
            return False
        tables = [table for table in self._tables.all() if table.ttl_attribute is not None]
        if not tables:
            return False
        now_us = self._clock.now_us()
        return any(self._next_us.get(table.id, 0) <= now_us for table in tables)

    def sweep(self) -> int:
        """Delete every item that has expired, and return how many there were."""
        now_us = self._clock.now_us()
        deleted = 0
        for table in self._tables.all():
            if table.ttl_attribute is not None and self._next_us.get(table.id, 0) <= now_us:
                deleted += self._sweep_table(table, table.ttl_attribute, now_us)
        return deleted

    def _sweep_table(self, table: Table, attribute: str, now_us: int) -> int:
        following_us = _NEVER
        expired: list[tuple[Version, dict[str, Any]]] = []
        for version in self._journal.items(table.id, _END_OF_TIME, self._journal.sequence()):
            item = orjson.loads(version.image or b"")
            expires_us = _expires_us(item, attribute)
            if expires_us is None or expires_us < now_us - _OLDEST_S * _SECOND_US:
                continue
            if expires_us <= now_us:
                expired.append((version, table.key.of(item)))
            else:
                following_us = min(following_us, expires_us)
        self._moto.write_items(table.region, table.name, ({"DeleteRequest": {"Key": key}} for _, key in expired))
        self._journal.append((table.id, Version(version.key, self._clock.stamp(), None, 0)) for version, _ in expired)
        self._next_us[table.id] = following_us
        return len(expired)


def _expires_us(item: dict[str, Any], attribute: str) -> int | None:
    """Return when an item expires, in µs since the epoch, if its TTL attribute is a number."""
    number: object = item.get(attribute, {}).get("N")
    return None if not isinstance(number, str) else int(Decimal(number) * _SECOND_US)
