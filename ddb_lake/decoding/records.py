"""The shape of one line: an item of a full export, a change of an incremental one.

Source: AWS S3DataExport.Output; `WriteTimestampMicros` is a DynamoDB number in what AWS writes, and a bare
string in its documentation.
"""

import re
from dataclasses import dataclass
from typing import Any

import orjson

from ddb_lake.decoding.errors import MalformedRecord, WrongExportKind
from ddb_lake.decoding.json_values import as_object, shown

Image = dict[str, Any]
"""An item as DynamoDB JSON: attribute name to attribute value."""

_MICROSECONDS = re.compile(r"[0-9]{1,18}")
_ITEM_MEMBERS = frozenset({"Item"})
_CHANGE_MEMBERS = frozenset({"Metadata", "Keys", "OldImage", "NewImage"})


@dataclass(frozen=True, slots=True)
class Change:
    """A line of an incremental export.

    Attributes:
        keys: The primary key's attributes.
        image: The item after the change, None for a delete.
        old_image: The item before the change, None where the export does not tell it.
        write_time_us: When it was written, µs since the epoch.
    """

    keys: Image
    image: Image | None
    old_image: Image | None
    write_time_us: int


def parse_item(line: bytes) -> Image:
    """Read the item on a line of a full export.

    Raises:
        WrongExportKind: If it is a line of an incremental export.
        MalformedRecord: If it is not JSON or not such a record.
    """
    record = _parse(line)
    if record.keys() != _ITEM_MEMBERS:
        if record.keys() & _CHANGE_MEMBERS:
            raise WrongExportKind(
                "this is a change of an incremental export where an item of a full export was expected"
            )
        raise MalformedRecord(f"a line of a full export has the member Item, this one has {sorted(record)}")
    return _image(record, "Item")


def parse_change(line: bytes) -> Change:
    """Read the change on a line of an incremental export, of either view type.

    Raises:
        WrongExportKind: If it is a line of a full export.
        MalformedRecord: If it is not JSON or not such a record.
    """
    record = _parse(line)
    if record.keys() == _ITEM_MEMBERS:
        raise WrongExportKind("this is an item of a full export where a change of an incremental export was expected")
    if unknown := record.keys() - _CHANGE_MEMBERS:
        raise MalformedRecord(f"a change has no such members as {sorted(unknown)}")
    return Change(
        keys=_image(record, "Keys"),
        image=_image(record, "NewImage") if "NewImage" in record else None,
        old_image=_image(record, "OldImage") if "OldImage" in record else None,
        write_time_us=_write_time_us(record.get("Metadata")),
    )


def _parse(line: bytes) -> dict[str, Any]:
    if not line.strip():
        raise MalformedRecord("the line is blank; every line of an export is a record")
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise MalformedRecord(f"the line is not JSON in UTF-8: {error.msg} at column {error.colno}") from None
    record = as_object(value)
    if record is None:
        raise MalformedRecord(f"the line is not a JSON object: {shown(value)}")
    return record


def _image(record: dict[str, Any], member: str) -> Image:
    image = as_object(record.get(member))
    if image is None:
        raise MalformedRecord(f"{member} is to be an object, not {shown(record.get(member))}")
    return image


def _write_time_us(metadata: Any) -> int:
    value = _member(metadata, "WriteTimestampMicros")
    text = value if type(value) is str else _member(value, "N")
    if type(text) is not str or not _MICROSECONDS.fullmatch(text):
        raise MalformedRecord(
            f'Metadata is to hold {{"WriteTimestampMicros": {{"N": "<microseconds>"}}}}, not {shown(metadata)}'
        )
    return int(text)


def _member(value: Any, name: str) -> Any:
    return (as_object(value) or {}).get(name)
