"""Backdated writes: hours of a table's history at once, so that there are windows to export."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.errors import AwsError, BackendError, ControlError
from ddb_lake.embedded_aws.expiry import Expiry
from ddb_lake.embedded_aws.items import LARGEST_ITEM, normalise_item
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake.embedded_aws.json_values import is_object
from ddb_lake.embedded_aws.lazy_items import LazyItems
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake.embedded_aws.numbers import normalise_numbers
from ddb_lake.embedded_aws.tables import Table
from ddb_lake.embedded_aws.versions import Version
from ddb_lake.windows import from_us

_LINE = 'it must be {"ts": µs, "Item": {…}} or {"ts": µs, "Key": {…}}'


@dataclass(frozen=True, slots=True)
class _Line:
    """One backdated write: its number from 1, how it was written, and what the journal keeps of it."""

    number: int
    text: bytes
    version: Version

    def key(self, table: Table) -> dict[str, Any]:
        """Return its primary key as JSON, which only moto needs."""
        fields = orjson.loads(self.text)
        normalise_numbers(fields)
        return table.key.of(fields.get("Item") or fields["Key"])


class History:
    """Takes in backdated writes. Callers hold the embedded AWS's lock."""

    def __init__(self, moto: MotoBackend, journal: Journal, clock: Clock, expiry: Expiry, lazy: LazyItems) -> None:
        self._moto = moto
        self._journal = journal
        self._clock = clock
        self._expiry = expiry
        self._lazy = lazy

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
                not newer than its key's newest version. Then nothing was written.
        """
        read = self._read(table, body)
        before = self._journal.newest_of(table.id, {line.version.key for line in read})
        newest = dict(before)
        lines: list[_Line] = []
        for line in read:
            version = line.version
            last = newest.get(version.key)
            if last is not None and version.us <= last.us:
                raise _refusal(
                    table, line.number, f"its key was already written at {last.us}, this line is of {version.us}"
                )
            if version.image is None and (last is None or last.image is None):
                continue
            newest[version.key] = version
            lines.append(line)
        if lines:
            self._store(table, lines, before)
        return len(read)

    def _read(self, table: Table, body: bytes) -> list[_Line]:
        now_us = self._clock.now_us()
        lines: list[_Line] = []
        for number, text in enumerate(body.split(b"\n"), 1):
            if not text.strip():
                continue
            try:
                version = _read_line(table, text)
                _check_time(table, version.us, now_us)
            except (ControlError, AwsError) as error:
                raise _refusal(table, number, str(error)) from None
            lines.append(_Line(number, text, version))
        return lines

    def _store(self, table: Table, lines: list[_Line], before: dict[bytes, Version]) -> None:
        final = {line.version.key: line for line in lines}
        # With secondary indexes moto has to judge the items.
        is_plain = not self._journal.has_indexes(table.id)
        deferred = {key for key in final if is_plain and not self._lazy.in_moto(table, key)}
        written = [line for key, line in final.items() if key not in deferred]
        try:
            self._write_to_moto(table, [(line.key(table), line.version) for line in written])
        except BackendError as error:
            self._write_to_moto(table, [(line.key(table), before.get(line.version.key)) for line in written])
            raise ControlError(
                f"the history of {table.name} can't be written: {error}; nothing was written"
            ) from error
        self._journal.append((table.id, line.version) for line in lines)
        self._lazy.defer(table, ((key, before.get(key), final[key].version) for key in deferred))
        self._expiry.forget(table)
        self._clock.pass_stamp(max(line.version.us for line in lines))

    def _write_to_moto(self, table: Table, states: Iterable[tuple[dict[str, Any], Version | None]]) -> None:
        writes = (
            {"DeleteRequest": {"Key": key}}
            if version is None or version.image is None
            else {"PutRequest": {"Item": orjson.loads(version.image)}}
            for key, version in states
        )
        self._moto.write_items(table.region, table.name, writes)


def _refusal(table: Table, number: int, reason: str) -> ControlError:
    return ControlError(
        f"line {number} of the history of {table.name} can't be written: {reason}; nothing was written"
    )


def _check_time(table: Table, us: int, now_us: int) -> None:
    if us > now_us:
        raise ControlError(f"{us} is in the future, now is {now_us} ({from_us(now_us)})")
    if us < table.created_us:
        raise ControlError(
            f"{us} is before the table's creation at {table.created_us} ({from_us(table.created_us)}); "
            "backdate created_at first"
        )


def _read_line(table: Table, text: bytes) -> Version:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ControlError(f"it is not JSON ({error})") from None
    us: object = fields.get("ts") if is_object(fields) else None
    if not is_object(fields) or not isinstance(us, int) or isinstance(us, bool):
        raise ControlError(_LINE)
    item: object = fields.get("Item")
    key: object = fields.get("Key")
    if is_object(item) and len(fields) == 2:
        size = normalise_item(item)
        if size > LARGEST_ITEM:
            raise ControlError(f"the item has {size} bytes, more than the {LARGEST_ITEM} that DynamoDB takes")
        return Version(table.key.encode(item), us, orjson.dumps(item), size)
    if is_object(key) and len(fields) == 2:
        normalise_numbers(key)
        encoded = table.key.encode(key)
        if set(key) != set(table.key.names):
            raise ControlError(f"the key has the attributes {sorted(key)}, the table's {sorted(table.key.names)}")
        return Version(encoded, us, None, 0)
    raise ControlError(_LINE)
