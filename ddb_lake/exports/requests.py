"""What is asked of DynamoDB: the source table, the kind and time of an export, and where it goes.

Pure values and pure functions of them; the calls themselves are in `client.py`.
"""

import json
import re
import uuid
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal

from ddb_lake.keys import KeyAttribute
from ddb_lake.windows import LONGEST_EXPORT, QUARTER_HOUR, Window

_TOKENS = uuid.UUID("3a5c1d0e-6c55-5d0b-9d0f-0b6a3f8a1c77")
"""The name space of client tokens; a change of it makes every window exportable again within eight hours."""

_COMPACT = "%Y%m%dT%H%M%S"
_MILLISECOND = timedelta(milliseconds=1)


class ExportKind(StrEnum):
    """The two kinds of export, as paths and tokens name them."""

    FULL = "full"
    INCREMENTAL = "incremental"


class ImageView(StrEnum):
    """Which images an incremental export holds (`ExportViewType`)."""

    NEW_IMAGE = "NEW_IMAGE"
    NEW_AND_OLD_IMAGES = "NEW_AND_OLD_IMAGES"


@dataclass(frozen=True)
class SourceTable:
    """A DynamoDB table as `DescribeTable` tells it.

    `table_id` is its identity: a name can be used again, an id can't.
    """

    arn: str
    table_id: str
    name: str
    key: tuple[KeyAttribute, ...]
    created_at: datetime


@dataclass(frozen=True)
class Destination:
    """Where exports go: the S3 bucket, the prefix in it (no slash at either end), and its owner where that differs.

    `kms_key` encrypts the files (id, ARN or alias of a key in the bucket's region); None leaves that to S3's own key.
    """

    bucket: str
    prefix: str = ""
    owner: str | None = None
    kms_key: str | None = None


@dataclass(frozen=True)
class FullExport:
    """A request for the table as it was at `time`: all that was written before, nothing written at it.

    Raises:
        ValueError: If the time has a fraction of a millisecond or no time zone.
    """

    table: SourceTable
    time: datetime
    kind: Literal[ExportKind.FULL] = ExportKind.FULL

    def __post_init__(self) -> None:
        _require_whole_milliseconds(self.time)

    @property
    def label(self) -> str:
        """The time as paths and tokens carry it, such as `20261124T181500Z`."""
        return compact_time(self.time)

    def __str__(self) -> str:
        return f"the full export of {self.table.name} at {compact_time(self.time)}"


@dataclass(frozen=True)
class IncrementalExport:
    """A request for what changed in `window`.

    Raises:
        ValueError: If a bound has a fraction of a millisecond, or the window is shorter than 15 minutes or longer
            than 24 hours (AWS: S3DataExport_Requesting).
    """

    table: SourceTable
    window: Window
    view: ImageView = ImageView.NEW_IMAGE
    kind: Literal[ExportKind.INCREMENTAL] = ExportKind.INCREMENTAL

    def __post_init__(self) -> None:
        _require_whole_milliseconds(self.window.start)
        _require_whole_milliseconds(self.window.end)
        if not can_be_exported(self.window):
            raise ValueError(
                f"the window {self.window} lasts {self.window.duration}; "
                "DynamoDB exports between 15 minutes and 24 hours incrementally"
            )

    @property
    def label(self) -> str:
        """The window as paths and tokens carry it, such as `20261124T181500Z-20261124T183000Z`."""
        return f"{compact_time(self.window.start)}-{compact_time(self.window.end)}"

    def __str__(self) -> str:
        return f"the incremental export of {self.table.name} over {self.window}"


ExportRequest = FullExport | IncrementalExport


@dataclass(frozen=True)
class AdoptedExport:
    """A completed export that somebody else has made, wherever it is, and that counts like one of ours.

    Args:
        bucket: The bucket that holds it.
        manifest_key: The key of its `manifest-summary.json`.
        covers: The time of a full export, or the window of an incremental one.
    """

    bucket: str
    manifest_key: str
    covers: datetime | Window

    def answers(self, request: ExportRequest) -> bool:
        """Tell whether it is what a request asks for."""
        return self.covers == (request.time if isinstance(request, FullExport) else request.window)


@dataclass(frozen=True)
class RecordedExport:
    """What was noted of a completed export when its manifest was verified; it may be wrong or gone by now.

    Args:
        arn: The export's ARN.
        bucket: The bucket that holds it.
        manifest_key: The key of its `manifest-summary.json`.
        item_count: How many items it has.
    """

    arn: str
    bucket: str
    manifest_key: str
    item_count: int


def can_be_exported(window: Window) -> bool:
    """Tell whether DynamoDB exports windows of this length (AWS: ServiceQuotas, limits-table-export)."""
    return QUARTER_HOUR <= window.duration <= LONGEST_EXPORT


def export_prefix(request: ExportRequest, destination: Destination) -> str:
    """Return the S3 prefix that belongs to this request alone: table, kind and window, readable by people.

    Incremental exports put their data files into a `data/` folder that all exports of a prefix share
    (AWS: S3DataExport.Output), hence one prefix each.
    """
    return f"{kind_prefix(request.table, request.kind, destination)}/{request.label}"


def kind_prefix(table: SourceTable, kind: ExportKind, destination: Destination) -> str:
    """Return the S3 prefix under which all exports of a table and kind have their own prefixes."""
    return "/".join(part for part in (destination.prefix, table.name, kind.value) if part)


def window_of_label(label: str) -> Window | None:
    """Return the window that a label of an incremental export tells, or None if it can't be one's label."""
    start, _, end = label.partition("-")
    try:
        window = Window(_read_compact(start), _read_compact(end))
    except ValueError:
        return None
    return window if can_be_exported(window) else None


def client_token(request: ExportRequest, attempt: int, destination: Destination | None = None) -> str:
    """Return the idempotency token of an attempt: the same for the same table id, kind, window and attempt.

    With a destination also for that and the view alone: a token can't be used with other parameters for eight hours.

    DynamoDB answers a repeated token with the export that it began, for eight hours after that one ended, so
    a process that died after its call does not pay twice. A FAILED export keeps its token too: the next try
    needs the next attempt number.
    """
    name = f"{request.table.table_id}/{request.kind}/{request.label}/{attempt}"
    if destination is not None:
        view = request.view if isinstance(request, IncrementalExport) else None
        name = json.dumps([name, view, *astuple(destination)])
    return str(uuid.uuid5(_TOKENS, name))


def _require_whole_milliseconds(time: datetime) -> None:
    if time.tzinfo is None or time.utcoffset() != timedelta(0):
        raise ValueError(f"the export time {time!r} must be an aware UTC time")
    if time.microsecond % 1000:
        raise ValueError(f"the export time {time.isoformat()} must be whole milliseconds")


def compact_time(time: datetime) -> str:
    """Write a UTC time as paths carry it, such as `20261124T181500Z`.

    Milliseconds are written only where there are some: `20261124T181500.123Z`. Texts of whole seconds sort as their
    times do; one with milliseconds sorts before that of its own whole second.
    """
    fraction = f".{time.microsecond // 1000:03}" if time.microsecond else ""
    return f"{time.strftime(_COMPACT)}{fraction}Z"


def _read_compact(text: str) -> datetime:
    seconds, dot, fraction = text.removesuffix("Z").partition(".")
    time = datetime.strptime(seconds, _COMPACT).replace(tzinfo=UTC)
    if not text.endswith("Z") or (dot and not re.fullmatch(r"\d{3}", fraction, re.ASCII)):
        raise ValueError(f"{text!r} is no time as paths carry it")
    return time + int(fraction or 0) * _MILLISECOND
