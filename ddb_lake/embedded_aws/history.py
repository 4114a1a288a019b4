"""Backdated writes: hours of a table's history at once, so that there are windows to export."""

import threading
from contextlib import AbstractContextManager
from operator import itemgetter
from typing import Any, NamedTuple, NoReturn

import orjson

from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.errors import AwsError, BackendError, ControlError
from ddb_lake.embedded_aws.expiry import Expiry, expires_us
from ddb_lake.embedded_aws.giving_way import give_way
from ddb_lake.embedded_aws.items import LARGEST_ITEM, normalise_item
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake.embedded_aws.json_values import is_object
from ddb_lake.embedded_aws.lazy_items import LazyItems, PastOfKey
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake.embedded_aws.numbers import normalise_numbers
from ddb_lake.embedded_aws.tables import Table, Tables
from ddb_lake.windows import from_us

_LINE = 'it must be {"ts": µs, "Item": {…}} or {"ts": µs, "Key": {…}}'
_ROWS_AT_ONCE = 2_000
"""Versions that are written before the lock is given up: some 15 ms."""


_Row = tuple[bytes, int, int, bytes | None, int, int | None]
"""Key, line number from 1, time, image, size and end of life of one line.

A plain tuple: there are many, and the garbage collector follows none that holds nothing but texts and numbers.
"""


_KEY = itemgetter(0)


class _Accepted(NamedTuple):
    """What of a history is to be written: rows in the order of their keys, and what they change of each key."""

    rows: list[tuple[bytes, int, bytes | None, int]]
    changes: list[PastOfKey]
    expiries: list[tuple[int, bytes]]
    newest_us: int


class History:
    """Takes in backdated writes, and holds the embedded AWS's lock for short times only.

    Reading and checking need no lock; rows are written some thousand at a time, and nobody sees them before the
    last one is there and all is known to fit.

    Args:
        moto: Gets items of tables with secondary indexes at once.
        journal: Keeps the versions.
        tables: The tables.
        clock: Tells what is in the future.
        expiry: Is told of times to live.
        lazy: Is told of items that moto doesn't have.
        lock: The embedded AWS's lock.
        turn: Held while a history is written; who must see all of it or nothing takes it before the lock.
    """

    def __init__(
        self,
        moto: MotoBackend,
        journal: Journal,
        tables: Tables,
        clock: Clock,
        expiry: Expiry,
        lazy: LazyItems,
        lock: AbstractContextManager[Any],
        turn: threading.Lock,
    ) -> None:
        self._moto = moto
        self._journal = journal
        self._tables = tables
        self._clock = clock
        self._expiry = expiry
        self._lazy = lazy
        self._lock = lock
        self._turn = turn

    def write(self, table: Table, body: bytes) -> int:
        """Write JSON lines `{"ts": µs, "Item": {…}}` or `{"ts": µs, "Key": {…}}` (a delete), or none of them.

        Each key's lines come in the order of time and after what the key has already seen. Deleting what isn't
        there writes nothing, as in DynamoDB.

        Args:
            table: The table.
            body: The lines, in UTF-8.

        Returns:
            The number of lines.

        Raises:
            ControlError: Naming the line, if one is malformed, in the future, before the table's creation, or
                not newer than its key's newest version, which may have been written meanwhile; or if the table
                was deleted meanwhile. Then nothing was written.
        """
        with self._turn:
            with self._lock:
                table = self._still_there(table)
                self._journal.watch()
            try:
                rows = self._read(table, body)
                rows.sort(key=_KEY)  # a key's lines stay in their order
                accepted = self._accept(table, rows)
                if accepted.rows:
                    self._store(table, rows, accepted)
            finally:
                with self._lock:
                    self._journal.end_watch()
            return len(rows)

    def _read(self, table: Table, body: bytes) -> list[_Row]:
        now_us = self._clock.now_us()
        rows: list[_Row] = []
        for number, text in enumerate(body.split(b"\n"), 1):
            if not text or text.isspace():
                continue
            try:
                row = _read_line(table, number, text)
                if not table.created_us <= row[2] <= now_us:
                    _refuse_time(table, row[2], now_us)
            except (ControlError, AwsError) as error:
                raise _refusal(table, number, str(error)) from None
            rows.append(row)
        return rows

    def _accept(self, table: Table, rows: list[_Row]) -> _Accepted:
        """Take out deletes of what isn't there, and refuse the first line that is older than its key.

        Args:
            table: The table.
            rows: In the order of their keys, and each key's in the order of the lines.
        """
        with self._journal.reader() as versions:
            before = versions.newest_sizes(table.id, (row[0] for row in rows))
        accepted: list[tuple[bytes, int, bytes | None, int]] = []
        changes: list[PastOfKey] = []
        expiries: list[tuple[int, bytes]] = []
        wrong: tuple[int, int, int] | None = None
        newest_us = 0
        current: bytes | None = None
        was_size = size = last_us = 0
        for key, number, us, image, new_size, expires in rows:
            if key != current:
                if current is not None:
                    changes.append((current, was_size, size))
                current = key
                last_us, was_size = before.get(key, (-1, 0)) if before else (-1, 0)
                size = was_size
            if us <= last_us:
                wrong = min(wrong, (number, last_us, us)) if wrong else (number, last_us, us)
                continue
            if image is None and not size:
                continue
            accepted.append((key, us, image, new_size))
            last_us, size = us, new_size
            if us > newest_us:
                newest_us = us
            if expires is not None:
                expiries.append((expires, key))
        if wrong is not None:
            raise _too_old(table, *wrong)
        if current is not None:
            changes.append((current, was_size, size))
        return _Accepted(accepted, changes, expiries, newest_us)

    def _store(self, table: Table, rows: list[_Row], accepted: _Accepted) -> None:
        with self._lock:
            # From here on a key's live writes are later than its lines: of one time there can be only one version.
            self._refuse_conflicts(table, rows)
            sequence = self._journal.begin_history(len(accepted.rows))
            self._clock.pass_stamp(accepted.newest_us)
        try:
            for start in range(0, len(accepted.rows), _ROWS_AT_ONCE):
                give_way()
                with self._lock:
                    some = accepted.rows[start : start + _ROWS_AT_ONCE]
                    self._journal.append_hidden(table.id, sequence + start, some)
            for start in range(0, len(accepted.expiries), _ROWS_AT_ONCE):
                give_way()
                with self._lock:
                    self._journal.add_expiries(table.id, accepted.expiries[start : start + _ROWS_AT_ONCE])
            with self._lock:
                self._still_there(table)
                self._refuse_conflicts(table, rows)
                if self._journal.has_indexes(table.id):
                    self._tell_moto(table, accepted)
                    self._journal.finish_history()
                else:
                    self._journal.finish_history()
                    self._lazy.defer(table, accepted.changes)
                self._expiry.forget(table)
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        done = False
        while not done:
            give_way()
            with self._lock:
                done = not self._journal.hides or self._journal.drop_some_of_history()

    def _still_there(self, table: Table) -> Table:
        found = self._tables.find(table.region, table.name)
        if found is None or found.id != table.id:
            raise ControlError(f"the table {table.name} was deleted meanwhile; nothing was written")
        return found

    def _refuse_conflicts(self, table: Table, rows: list[_Row]) -> None:
        """Refuse the first line whose key was written since the history was checked: that write is newer."""
        written = self._journal.written_meanwhile()
        late = [(number, us, key) for key, number, us, *_ in rows if key in written] if written else []
        for number, us, key in sorted(late):
            newest = self._journal.newest(table.id, key)
            if newest is not None and newest.us >= us:  # else it was the same key of another table
                raise _too_old(table, number, newest.us, us)

    def _tell_moto(self, table: Table, accepted: _Accepted) -> None:
        """Write the final state of each key to moto: with secondary indexes it has to judge the items."""
        final = {key: image for key, _, image, _ in accepted.rows}
        before = {
            key: version and version.image for key in final for version in [self._journal.newest(table.id, key)]
        }
        # What is deleted was there, before or within the history.
        some = before | {key: image for key, _, image, _ in accepted.rows if image is not None}
        keys = {key: table.key.of(orjson.loads(image or b"")) for key, image in some.items()}
        try:
            self._write_to_moto(table, keys, final)
        except BackendError as error:
            self._write_to_moto(table, keys, before)
            raise ControlError(
                f"the history of {table.name} can't be written: {error}; nothing was written"
            ) from error

    def _write_to_moto(
        self, table: Table, keys: dict[bytes, dict[str, Any]], states: dict[bytes, bytes | None]
    ) -> None:
        writes = (
            {"DeleteRequest": {"Key": keys[key]}} if image is None else {"PutRequest": {"Item": orjson.loads(image)}}
            for key, image in states.items()
        )
        self._moto.write_items(table.region, table.name, writes)


def _refusal(table: Table, number: int, reason: str) -> ControlError:
    return ControlError(
        f"line {number} of the history of {table.name} can't be written: {reason}; nothing was written"
    )


def _too_old(table: Table, number: int, last_us: int, us: int) -> ControlError:
    return _refusal(table, number, f"its key was already written at {last_us}, this line is of {us}")


def _refuse_time(table: Table, us: int, now_us: int) -> NoReturn:
    if us > now_us:
        raise ControlError(f"{us} is in the future, now is {now_us} ({from_us(now_us)})")
    raise ControlError(
        f"{us} is before the table's creation at {table.created_us} ({from_us(table.created_us)}); "
        "backdate created_at first"
    )


def _read_line(table: Table, number: int, text: bytes) -> _Row:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ControlError(f"it is not JSON ({error})") from None
    us: object = fields.get("ts") if is_object(fields) else None
    if type(us) is not int or len(fields) != 2:
        raise ControlError(_LINE)
    item: object = fields.get("Item")
    if is_object(item):
        size = normalise_item(item)
        if size > LARGEST_ITEM:
            raise ControlError(f"the item has {size} bytes, more than the {LARGEST_ITEM} that DynamoDB takes")
        ends_us = None if table.ttl_attribute is None else expires_us(item, table.ttl_attribute)
        return table.key.encode(item), number, us, orjson.dumps(item), size, ends_us
    key: object = fields.get("Key")
    if is_object(key):
        normalise_numbers(key)
        encoded = table.key.encode(key)
        if set(key) != set(table.key.names):
            raise ControlError(f"the key has the attributes {sorted(key)}, the table's {sorted(table.key.names)}")
        return encoded, number, us, None, 0, None
    raise ControlError(_LINE)
