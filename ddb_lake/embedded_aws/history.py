"""Backdated writes: hours of a table's history at once, so that there are windows to export."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.errors import AwsError, BackendError, ControlError
from ddb_lake.embedded_aws.expiry import Expiry, expires_us
from ddb_lake.embedded_aws.giving_way import give_way
from ddb_lake.embedded_aws.history_lines import HistoryLine, HistoryLines
from ddb_lake.embedded_aws.items import LARGEST_ITEM, normalise_item
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake.embedded_aws.json_values import is_object
from ddb_lake.embedded_aws.lazy_items import LazyItems
from ddb_lake.embedded_aws.moto_backend import LARGEST_BATCH, MotoBackend
from ddb_lake.embedded_aws.numbers import normalise_numbers
from ddb_lake.embedded_aws.tables import Table, Tables
from ddb_lake.windows import from_us

_LINE = 'it must be {"ts": µs, "Item": {…}} or {"ts": µs, "Key": {…}}'
_ROWS_AT_ONCE = 2_000
"""Versions that are written before the lock is given up: some 15 ms."""

_LINES_AT_ONCE = 1_000
"""Lines in memory while a history is read and checked."""

_KEY = itemgetter(0)


class _Effect(NamedTuple):
    """What a history does as a whole: versions that it adds, the newest time of one, and how much the items grow."""

    versions: int
    newest_us: int
    items: int
    bytes: int


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

    def write(self, table: Table, lines: Iterable[bytes]) -> int:
        """Write JSON lines `{"ts": µs, "Item": {…}}` or `{"ts": µs, "Key": {…}}` (a delete), or none of them.

        Each key's lines come in the order of time and after what the key has already seen. Deleting what isn't
        there writes nothing, as in DynamoDB. However many lines there are, some thousand of them are in memory.

        Args:
            table: The table.
            lines: The lines, in UTF-8; may come slowly, since nobody waits for them.

        Returns:
            The number of lines.

        Raises:
            ControlError: Naming the line, if one is malformed, in the future, before the table's creation, or
                not newer than its key's newest version, which may have been written meanwhile; or if the table
                was deleted meanwhile. Then nothing was written.
        """
        with closing(HistoryLines()) as held:
            count = self._read(table, lines, held)
            held.sort()
            created_us = table.created_us
            with self._turn:
                with self._lock:
                    table = self._still_there(table)
                    self._journal.watch()
                try:
                    if table.created_us > created_us and (early := held.first_before(table.created_us)):
                        raise _refusal(table, early[0], _wrong_time(table, early[1], self._clock.now_us()))
                    effect = self._check(table, held)
                    if effect.versions:
                        self._store(table, held, effect)
                finally:
                    with self._lock:
                        self._journal.end_watch()
            return count

    def _read(self, table: Table, lines: Iterable[bytes], held: HistoryLines) -> int:
        now_us = self._clock.now_us()
        count = 0
        read: list[HistoryLine] = []
        for number, text in enumerate(lines, 1):
            if not text or text.isspace():
                continue
            try:
                line = _read_line(table, number, text)
                if not table.created_us <= line.us <= now_us:
                    now_us = self._clock.now_us()
                    if not table.created_us <= line.us <= now_us:
                        raise ControlError(_wrong_time(table, line.us, now_us))
            except (ControlError, AwsError) as error:
                raise _refusal(table, number, str(error)) from None
            count += 1
            read.append(line)
            if len(read) == _LINES_AT_ONCE:
                held.add(read)
                read.clear()
        held.add(read)
        return count

    def _check(self, table: Table, held: HistoryLines) -> _Effect:
        """Mark deletes of what isn't there as idle, and refuse the first line that is older than its key."""
        wrong: tuple[int, int, int] | None = None
        versions = newest_us = items = grown = 0
        current: bytes | None = None
        last_us = size = 0
        with self._journal.reader() as journaled:
            for lines in _batches(held.outlines(), _LINES_AT_ONCE):
                before = journaled.newest_sizes(table.id, (key for key, _ in groupby(map(_KEY, lines))))
                idle: list[int] = []
                for key, number, us, new_size in lines:
                    if key != current:
                        current = key
                        last_us, size = before.get(key, (-1, 0)) if before else (-1, 0)
                    if us <= last_us:
                        wrong = min(wrong, (number, last_us, us)) if wrong else (number, last_us, us)
                        continue
                    if not new_size and not size:
                        idle.append(number)
                        continue
                    versions += 1
                    items += (new_size > 0) - (size > 0)
                    grown += new_size - size
                    last_us, size = us, new_size
                    if us > newest_us:
                        newest_us = us
                held.mark_idle(idle)
        if wrong is not None:
            raise _too_old(table, *wrong)
        return _Effect(versions, newest_us, items, grown)

    def _store(self, table: Table, held: HistoryLines, effect: _Effect) -> None:
        with self._lock:
            # From here on a key's live writes are later than its lines: of one time there can be only one version.
            self._refuse_conflicts(table, held)
            sequence = self._journal.begin_history(effect.versions)
            self._clock.pass_stamp(effect.newest_us)
        try:
            versions = held.effective()
            while some := list(islice(versions, _ROWS_AT_ONCE)):
                give_way()
                with self._lock:
                    self._journal.append_hidden(table.id, sequence, some)
                sequence += len(some)
                self._store_expiries(table, some)
            with self._lock:
                self._still_there(table)
                self._refuse_conflicts(table, held)
                if self._journal.has_indexes(table.id):
                    self._tell_moto(table, held)
                else:
                    self._lazy.defer(table, held.keys, lambda key: bool(held.of_key(key)), effect.items, effect.bytes)
                self._journal.finish_history()
                self._expiry.forget(table)
        except BaseException:
            self._drop()
            raise

    def _store_expiries(self, table: Table, versions: list[tuple[bytes, int, bytes | None, int]]) -> None:
        """Note when the items of some versions expire."""
        if table.ttl_attribute is None:
            return
        ends = (
            (expires_us(orjson.loads(image), table.ttl_attribute), key)
            for key, _, image, _ in versions
            if image is not None
        )
        known = [(us, key) for us, key in ends if us is not None]
        give_way()
        with self._lock:
            self._journal.add_expiries(table.id, known)

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

    def _refuse_conflicts(self, table: Table, held: HistoryLines) -> None:
        """Refuse the first line whose key was written since the history was checked: that write is newer."""
        written = self._journal.written_meanwhile()
        late = ((number, us, key) for key in written for number, us in held.of_key(key))
        for number, us, key in sorted(late):
            newest = self._journal.newest(table.id, key)
            if newest is not None and newest.us >= us:  # else it was the same key of another table
                raise _too_old(table, number, newest.us, us)

    def _tell_moto(self, table: Table, held: HistoryLines) -> None:
        """Write the final state of each key to moto: with secondary indexes it has to judge the items."""
        told: list[bytes] = []
        try:
            for some in _batches(_final(held.effective()), LARGEST_BATCH):
                told += map(_KEY, some)
                self._write_to_moto(table, held, some)
        except BackendError as error:
            for some in _batches(told, LARGEST_BATCH):
                before = [(key, self._journal.newest(table.id, key)) for key in some]
                self._write_to_moto(table, held, [(key, version and version.image) for key, version in before])
            raise ControlError(
                f"the history of {table.name} can't be written: {error}; nothing was written"
            ) from error

    def _write_to_moto(self, table: Table, held: HistoryLines, states: list[tuple[bytes, bytes | None]]) -> None:
        writes = [
            {"DeleteRequest": {"Key": self._attributes(table, held, key)}}
            if image is None
            else {"PutRequest": {"Item": orjson.loads(image)}}
            for key, image in states
        ]
        self._moto.write_items(table.region, table.name, writes)

    def _attributes(self, table: Table, held: HistoryLines, key: bytes) -> dict[str, Any]:
        """Return the key of an item that is deleted: it was there, within the history or before."""
        image = held.image_of(key) or self._journal.newest_image(table.id, key)
        return table.key.of(orjson.loads(image))


def _final(versions: Iterable[tuple[bytes, int, bytes | None, int]]) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield every key with the last of its images."""
    for key, of_key in groupby(versions, key=_KEY):
        ((_, _, image, _),) = deque(of_key, maxlen=1)
        yield key, image


def _batches(every: Iterable[Any], most: int) -> Iterator[list[Any]]:
    pending = iter(every)
    return iter(lambda: list(islice(pending, most)), [])


def _refusal(table: Table, number: int, reason: str) -> ControlError:
    return ControlError(
        f"line {number} of the history of {table.name} can't be written: {reason}; nothing was written"
    )


def _too_old(table: Table, number: int, last_us: int, us: int) -> ControlError:
    return _refusal(table, number, f"its key was already written at {last_us}, this line is of {us}")


def _wrong_time(table: Table, us: int, now_us: int) -> str:
    if us > now_us:
        return f"{us} is in the future, now is {now_us} ({from_us(now_us)})"
    return (
        f"{us} is before the table's creation at {table.created_us} ({from_us(table.created_us)}); "
        "backdate created_at first"
    )


def _read_line(table: Table, number: int, text: bytes) -> HistoryLine:
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
        return HistoryLine(number, table.key.encode(item), us, orjson.dumps(item), size)
    key: object = fields.get("Key")
    if is_object(key):
        normalise_numbers(key)
        encoded = table.key.encode(key)
        if set(key) != set(table.key.names):
            raise ControlError(f"the key has the attributes {sorted(key)}, the table's {sorted(table.key.names)}")
        return HistoryLine(number, encoded, us, None, 0)
    raise ControlError(_LINE)
