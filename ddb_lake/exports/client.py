"""The calls to DynamoDB: the source table, its point-in-time recovery, and its exports.

Every method is one idempotent question or request; none sleeps and none decides how long to wait.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ddb_lake.exports.errors import (
    FAILURE_REMEDIES,
    TRANSIENT,
    AccessDenied,
    ExportConflict,
    ExportError,
    ExportFailed,
    ExportNotFound,
    ForeignTable,
    ManifestDamaged,
    ManifestMissing,
    SourceTableNotFound,
    WrongExport,
    translate,
)
from ddb_lake.exports.manifest import EXPORT_ID, MENDING, Manifest, read_manifest
from ddb_lake.exports.requests import (
    AdoptedExport,
    Destination,
    ExportKind,
    ExportRequest,
    FullExport,
    IncrementalExport,
    RecordedExport,
    SourceTable,
    client_token,
    compact_time,
    export_prefix,
    kind_prefix,
    window_of_label,
)
from ddb_lake.keys import KeyAttribute
from ddb_lake.windows import LONGEST_EXPORT, Window, format_time, from_us

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import ExportDescriptionTypeDef
    from mypy_boto3_s3 import S3Client

_LOG = logging.getLogger(__name__)
_A = {ExportKind.FULL: "a full", ExportKind.INCREMENTAL: "an incremental"}
_MOST_ATTEMPTS = 20
"""Attempts at one window before a person has to look; each is an export of its own."""
_FORMAT = "DYNAMODB_JSON"


class ExportStatus(StrEnum):
    """Where an export stands (`ExportStatus` of `DescribeExport`)."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Export:
    """An export as DynamoDB describes it.

    `time` is the instant of a full export, `window` the window of an incremental one; the other is None.
    `manifest_key`, `item_count`, `billed_bytes` are there once it is COMPLETED, the failure once it is FAILED.
    `format` is the one of its files; `filtered` says that it holds a part of the items or attributes only. Of its
    manifest alone nobody knows its `prefix` and `client_token`.
    """

    arn: str
    status: ExportStatus
    kind: ExportKind
    table_id: str
    time: datetime | None
    window: Window | None
    bucket: str
    started_at: datetime
    ended_at: datetime | None = None
    manifest_key: str | None = None
    item_count: int | None = None
    billed_bytes: int | None = None
    failure_code: str | None = None
    failure_message: str | None = None
    format: str = _FORMAT
    filtered: bool = False
    prefix: str = ""
    client_token: str | None = None

    @property
    def export_id(self) -> str:
        """The last part of the ARN: `<milliseconds of the start>-<8 hex digits>`."""
        return self.arn.rpartition("/")[2]

    @property
    def duration(self) -> timedelta | None:
        """How long the export took, once it has ended."""
        return None if self.ended_at is None else self.ended_at - self.started_at


@dataclass(frozen=True)
class ExportSummary:
    """One line of `ListExports`."""

    arn: str
    status: ExportStatus
    kind: ExportKind


@dataclass(frozen=True)
class Recovery:
    """Point-in-time recovery of a table: whether it is on, and from when to when it can restore (UTC)."""

    enabled: bool
    earliest: datetime | None = None
    latest: datetime | None = None
    period_days: int | None = None


class ExportClient:
    """Talks to DynamoDB and S3 about the exports of source tables.

    Args:
        dynamodb: A boto3 client for DynamoDB in the tables' region and account.
        s3: A boto3 client for S3 that may list and read the destination.
        destination: Where the exports go.
        account: The id of the credentials' account, where it is known: tables of another one are then refused
            before anything is asked about them.
        adopted: Exports of the table that somebody else has made, and that are to be used.
    """

    def __init__(
        self,
        dynamodb: DynamoDBClient,
        s3: S3Client,
        destination: Destination,
        account: str | None = None,
        adopted: Sequence[AdoptedExport] = (),
    ) -> None:
        self._dynamodb = dynamodb
        self._s3 = s3
        self._destination = destination
        self._account = account
        self._adopted = adopted
        self._passed_over: dict[str, str] = {}

    @property
    def s3(self) -> S3Client:
        """The client that reads the destination."""
        return self._s3

    @property
    def passed_over(self) -> tuple[str, ...]:
        """What lay where exports are looked for and is none of those that were asked for, each with the reason."""
        return tuple(f"s3://{self._destination.bucket}/{key} {why}" for key, why in self._passed_over.items())

    def describe_table(self, name_or_arn: str) -> SourceTable:
        """Return the table's identity and key.

        Raises:
            SourceTableNotFound: If there is none of that name.
            ForeignTable: If the ARN is of another account than the credentials.
        """
        self._refuse_foreign(name_or_arn)
        with _translated(f"describing the table {name_or_arn}"):
            table: Any = self._dynamodb.describe_table(TableName=name_or_arn)["Table"]
        if name_or_arn.startswith("arn:") and table["TableArn"] != name_or_arn:
            raise SourceTableNotFound(
                f"describing the table {name_or_arn}: the answer is about {table['TableArn']}. "
                "What to do: check the endpoint, which must honour a table's ARN."
            )
        types = {a["AttributeName"]: a["AttributeType"] for a in table["AttributeDefinitions"]}
        return SourceTable(
            arn=table["TableArn"],
            table_id=table["TableId"],
            name=table["TableName"],
            key=tuple(
                KeyAttribute(part["AttributeName"], types[part["AttributeName"]], part["KeyType"])
                for part in table["KeySchema"]
            ),
            created_at=table["CreationDateTime"].astimezone(UTC),
        )

    def recovery(self, table: SourceTable) -> Recovery:
        """Tell whether point-in-time recovery is on, and what it can restore (`DescribeContinuousBackups`)."""
        with _translated(f"asking for the point-in-time recovery of {table.name}"):
            answer = self._dynamodb.describe_continuous_backups(TableName=table.arn)
        told: Any = answer["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
        if told.get("PointInTimeRecoveryStatus") != "ENABLED":
            return Recovery(enabled=False)
        earliest, latest = told.get("EarliestRestorableDateTime"), told.get("LatestRestorableDateTime")
        return Recovery(
            enabled=True,
            earliest=earliest and earliest.astimezone(UTC),
            latest=latest and latest.astimezone(UTC),
            period_days=told.get("RecoveryPeriodInDays"),
        )

    def enable_recovery(self, table: SourceTable) -> None:
        """Turn point-in-time recovery on; it keeps what is written from then on."""
        with _translated(f"turning on the point-in-time recovery of {table.name}"):
            self._dynamodb.update_continuous_backups(
                TableName=table.arn, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
            )

    def start(self, request: ExportRequest, attempt: int = 1) -> Export:
        """Start an export, or get the one that the same request and attempt started within eight hours.

        Args:
            request: What to export.
            attempt: 1 for the first; the next number after an export of this request has FAILED.

        Raises:
            WindowNotClosed: If the end is still in the future by DynamoDB's clock.
            ExportTimeRefused: If point-in-time recovery can't give that time.
            RecoveryDisabled: If point-in-time recovery is off.
            ExportConflict: If the table's settings were changed since, and an export that this window was to have by
                the former ones has not FAILED: another one would be paid for twice.
            WrongExport: If DynamoDB exports another time than the one that was asked for.
            ExportError: As the other classes of `errors.py` say.
        """
        parameters: dict[str, Any] = {
            "TableArn": request.table.arn,
            "S3Bucket": self._destination.bucket,
            "S3Prefix": export_prefix(request, self._destination),
            "ExportFormat": "DYNAMODB_JSON",
            "ClientToken": client_token(request, attempt),
        }
        if self._destination.owner:
            parameters["S3BucketOwner"] = self._destination.owner
        if self._destination.kms_key:
            parameters |= {"S3SseAlgorithm": "KMS", "S3SseKmsKeyId": self._destination.kms_key}
        match request:
            case FullExport():
                parameters |= {"ExportType": "FULL_EXPORT", "ExportTime": request.time}
            case IncrementalExport():
                parameters |= {
                    "ExportType": "INCREMENTAL_EXPORT",
                    "IncrementalExportSpecification": {
                        "ExportFromTime": request.window.start,
                        "ExportToTime": request.window.end,
                        "ExportViewType": request.view.value,
                    },
                }
        try:
            with _translated(f"starting {request}"):
                answer = self._dynamodb.export_table_to_point_in_time(**parameters)
        except ExportConflict as conflict:
            # A setting was changed since, perhaps because that export failed by it: its token stays for eight hours.
            first, second = parameters["ClientToken"], client_token(request, attempt, self._destination)
            if why := self._why_unfinished(request, first, second):
                raise ExportConflict(f"{conflict} {why}") from conflict
            parameters["ClientToken"] = second
            with _translated(f"starting {request}"):
                answer = self._dynamodb.export_table_to_point_in_time(**parameters)
        export = _export(answer["ExportDescription"])
        _require_time(request, export)
        _LOG.info("%s: attempt %d is %s, %s", request, attempt, export.arn, export.status)
        return export

    def _why_unfinished(self, request: ExportRequest, first: str, second: str) -> str:
        """Say why the export that has a request's first token can't be taken for failed; empty if it has FAILED.

        The same goes for exports that went elsewhere by other settings in the meantime, but not for one that has the
        second token: that one is the answer. Described are only exports that have begun since the request's end.
        """
        end = request.time if isinstance(request, FullExport) else request.window.end
        failed = False
        try:
            for listed in self.list_exports(request.table):
                if listed.kind is not request.kind or _begun_at(listed.arn) < end:
                    continue
                export = self.describe(listed.arn)
                if (export.time, export.window) != _time_of(request) or export.client_token == second:
                    continue
                ours = export.client_token == first or _is_layout(export.prefix, request)
                if ours and export.status is not ExportStatus.FAILED:
                    place = f"s3://{export.bucket}/{export.prefix}"
                    return f"That export is {export.arn}: it is {export.status}, and goes to {place}."
                failed |= export.client_token == first
        except AccessDenied as error:
            return f"Whether that export has failed can't be told: {error}"
        return "" if failed else "DynamoDB does not list that export."

    def describe(self, export_arn: str) -> Export:
        """Return an export as it stands.

        Raises:
            ExportNotFound: If DynamoDB does not know it, or no longer.
        """
        with _translated(f"describing the export {export_arn}"):
            return _export(self._dynamodb.describe_export(ExportArn=export_arn)["ExportDescription"])

    def list_exports(self, table: SourceTable) -> Iterator[ExportSummary]:
        """Yield the exports of the table that DynamoDB remembers (90 days), page by page, in no certain order."""
        token: dict[str, str] = {}
        while True:
            with _translated(f"listing the exports of {table.name}"):
                # botocore has no paginator for ListExports
                page: Any = self._dynamodb.list_exports(TableArn=table.arn, MaxResults=25, **token)
            for told in page["ExportSummaries"]:
                yield ExportSummary(
                    arn=told["ExportArn"],
                    status=ExportStatus(told["ExportStatus"]),
                    kind=_kind(told.get("ExportType")),
                )
            if "NextToken" not in page:
                return
            token = {"NextToken": page["NextToken"]}

    def find(self, request: ExportRequest) -> tuple[Export, ...]:
        """Return the exports that exist for just this request, the oldest first.

        Adopted ones first of all: where there is one, no other is looked for. Else they are looked for under the
        request's own S3 prefix, which one call lists; `ListExports` tells no windows, so that it would cost a
        `DescribeExport` for each export of the last 90 days. Exports that DynamoDB has forgotten are known by their
        manifests. What has not yet written its first object is not found here, but by its client token, see
        `ensure`. Whatever else lies there is passed over, see `passed_over`.

        Raises:
            ExportError: If an adopted export is not what lake.yaml says, or is not there.
        """
        adopted = [self._adopted_export(request, each) for each in self._adopted if each.answers(request)]
        if adopted:
            return tuple(sorted(adopted, key=lambda export: export.started_at))
        prefix = f"{export_prefix(request, self._destination)}/AWSDynamoDB/"
        exports = (self._export_at(request, prefix, name) for name in self._folders(prefix) if name != "data")
        return tuple(sorted((e for e in exports if e is not None), key=lambda export: export.started_at))

    def find_windows(self, table: SourceTable, span: Window) -> tuple[Window, ...]:
        """Return the windows, touching `span`, of adopted incremental exports and of those of ours that exist.

        One of ours exists once it has written anything, which one listing of S3 tells; `find` then tells how these
        exports stand.
        """
        prefix = f"{kind_prefix(table, ExportKind.INCREMENTAL, self._destination)}/"
        # A second earlier, since the texts of milliseconds sort before that of their whole second.
        names = self._folders(prefix, start_after=compact_time(span.start - LONGEST_EXPORT - timedelta(seconds=1)))
        windows = {each.covers for each in self._adopted if isinstance(each.covers, Window)}
        for name in takewhile(lambda n: n < compact_time(span.end), names):
            window = window_of_label(name)
            if window is None:
                self._pass_over(f"{prefix}{name}/", "is no window that DynamoDB exports")
            else:
                windows.add(window)
        return tuple(sorted(w for w in windows if w.start < span.end and w.end > span.start))

    def current(self, request: ExportRequest) -> Export | None:
        """Return the export that counts for a request: a completed one, else a running one, else the first failed.

        The first of the failed ones, so that whoever watches sees the same until there is a better one.
        """
        return _counting(self.find(request))

    def ensure(self, request: ExportRequest) -> Export:
        """Return the export of this request: a completed or running one if there is one, else a new one.

        A request is never exported twice by the same means: what has begun is found by its S3 prefix, or, before
        it has written anything, by its client token. After a FAILED export the next attempt is started.

        Raises:
            ExportError: As for `start`, and if too many attempts have failed.
        """
        found = self.find(request)
        export = _counting(found)
        if export is not None and export.status is not ExportStatus.FAILED:
            return export
        for attempt in range(len(found) + 1, len(found) + 1 + _MOST_ATTEMPTS):
            export = self.start(request, attempt)
            if export.status is ExportStatus.IN_PROGRESS:
                return export
            # The answer to a token of before: that attempt failed before it wrote anything, or it completed and
            # all of its files have been removed since.
            if export.status is ExportStatus.COMPLETED and self._is_written(export):
                return export
        raise ExportError(
            f"{_MOST_ATTEMPTS} attempts at {request} have failed within eight hours; "
            "mend what the last FAILED export says, then materialise again tomorrow or change the bucket"
        )

    def read_manifest(self, request: ExportRequest, export: Export) -> Manifest:
        """Read and verify the manifest of a completed export, and check that it answers the request.

        Raises:
            ExportFailed: If the export has failed; the message says what to do.
            ManifestMissing: If the manifest, or the export's data, has been removed.
            ManifestDamaged: As `manifest.read_manifest` says, and if DynamoDB has reported more items.
            WrongExport: If the manifest is of another table, kind or time.
        """
        if export.status is ExportStatus.FAILED:
            remedy = FAILURE_REMEDIES.get(export.failure_code or "", "see the message, and materialise again")
            raise ExportFailed(
                f"{request} ({export.arn}) has FAILED: {export.failure_code}: {export.failure_message}. "
                f"What to do: {remedy}."
            )
        if export.manifest_key is None:
            raise ManifestMissing(f"{request} ({export.arn}) is {export.status}: it has no manifest yet")
        manifest = read_manifest(self._s3, export.bucket, export.manifest_key)
        require_reported_count(export, manifest)
        _require_match(request, manifest)
        return manifest

    def read_recorded(self, recorded: RecordedExport) -> Manifest:
        """Read and verify the manifest of an export that was found before; `require_recorded` then judges it.

        Raises:
            WrongExport: If it is of another export, or lies in a bucket where none of the table's are.
            ManifestMissing: If the manifest has been removed.
            ManifestDamaged: As `manifest.read_manifest` says.
        """
        if recorded.bucket not in {self._destination.bucket, *(each.bucket for each in self._adopted)}:
            raise WrongExport(f"the table has no exports in the bucket {recorded.bucket}")
        manifest = read_manifest(self._s3, recorded.bucket, recorded.manifest_key)
        if manifest.export_arn != recorded.arn:
            raise WrongExport(f"{manifest.uri} is of the export {manifest.export_arn}; wanted was {recorded.arn}")
        if manifest.item_count != recorded.item_count:
            raise WrongExport(
                f"{manifest.uri} names {manifest.item_count} items; recorded were {recorded.item_count}"
            )
        return manifest

    def require_recorded(self, request: ExportRequest, recorded: RecordedExport, manifest: Manifest) -> Export:
        """Return a recorded export once its manifest answers a request, and lies where `find` looks for that.

        A manifest does not say whether its export was filtered: `find` has seen to that, of what lies there.

        Raises:
            WrongExport: If it is of another table, kind or time, or lies elsewhere.
        """
        _require_match(request, manifest)
        places = [(each.bucket, each.manifest_key) for each in self._adopted if each.answers(request)]
        if not places:
            folder = f"{export_prefix(request, self._destination)}/AWSDynamoDB/{manifest.export_id}"
            places = [(self._destination.bucket, f"{folder}/manifest-summary.json")]
        if (recorded.bucket, recorded.manifest_key) not in places:
            raise WrongExport(f"{manifest.uri} is not where {request} is looked for")
        return export_of_manifest(manifest, recorded.bucket)

    def _refuse_foreign(self, name_or_arn: str) -> None:
        """Refuse an ARN of another account (AWS: an export is started by the account that owns the table)."""
        if self._account is None or not name_or_arn.startswith("arn:"):
            return
        if (owner := name_or_arn.split(":")[4]) != self._account:
            raise ForeignTable(
                f"{name_or_arn} is a table of the account {owner}, but the credentials are of {self._account}, and "
                "DynamoDB exports a table for the account that owns it only. What to do: use credentials of "
                f"{owner}, such as a role there; with `bucket_owner` the exports may go to another account's bucket."
            )

    def _folders(self, prefix: str, start_after: str = "") -> Iterator[str]:
        """Yield the names of the folders right under a prefix, in order, from a name on."""
        with _translated(f"listing s3://{self._destination.bucket}/{prefix}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self._destination.bucket, Prefix=prefix, Delimiter="/", StartAfter=prefix + start_after
            )
            try:
                for page in pages:
                    for folder in page.get("CommonPrefixes", []):
                        yield folder.get("Prefix", "").removeprefix(prefix).rstrip("/")
            except ClientError as error:
                # No bucket: DynamoDB accepts the export all the same and tells as FAILED what is wrong.
                if error.response.get("Error", {}).get("Code") != "NoSuchBucket":
                    raise

    def _export_at(self, request: ExportRequest, prefix: str, export_id: str) -> Export | None:
        """Return the export of that id if it answers the request; note why if it doesn't."""
        if not EXPORT_ID.fullmatch(export_id):
            self._pass_over(f"{prefix}{export_id}/", "is not the folder of an export")
            return None
        key = f"{prefix}{export_id}/manifest-summary.json"
        try:
            export = self.describe(f"{request.table.arn}/export/{export_id}")
        except ExportNotFound:
            try:
                export = export_of_manifest(
                    read_manifest(self._s3, self._destination.bucket, key), self._destination.bucket
                )
            except ManifestMissing:
                return None  # it never completed, and DynamoDB has forgotten it
            except (ManifestDamaged, WrongExport) as error:
                self._pass_over(key, f"is of an export that DynamoDB does not know, and can't be used: {error}")
                return None
        problem = why_not(request, export) or self._why_elsewhere(export, f"{prefix}{export_id}")
        if problem:
            self._pass_over(f"{prefix}{export_id}/", problem)
        return None if problem else export

    def _why_elsewhere(self, export: Export, folder: str) -> str:
        """Say why an export is not the one that wrote a folder of the destination, but copied to it."""
        # While it runs, and when it has failed, it has no manifest whose place could be compared.
        own = export.bucket if export.manifest_key is None else f"{export.bucket}/{_folder_of(export.manifest_key)}"
        if own in {self._destination.bucket, f"{self._destination.bucket}/{folder}"}:
            return ""
        return (
            f"is a copy: DynamoDB wrote that export to s3://{own}. To use it, adopt it there in lake.yaml "
            f"(`python -m ddb_lake.adopt <table> {export.arn}`)"
        )

    def _adopted_export(self, request: ExportRequest, adopted: AdoptedExport) -> Export:
        """Return an adopted export, once it is shown to answer the request."""
        remedy = "lake.yaml adopts this export: correct that entry, or remove it"
        try:
            manifest = read_manifest(self._s3, adopted.bucket, adopted.manifest_key)
        except TRANSIENT:
            raise
        except ExportError as error:
            uri = f"s3://{adopted.bucket}/{adopted.manifest_key}"
            if isinstance(error, AccessDenied):
                remedy += f"; or let these credentials read what lies in {uri.rpartition('/')[0]}/ (s3:GetObject)"
            # What the error itself advises is about the table's own bucket.
            what = str(error).partition(". What to do: ")[0].removesuffix(f"; {MENDING}")
            raise type(error)(f"{what}. What to do: {remedy}. The entry is {uri}") from error
        export = export_of_manifest(manifest, adopted.bucket)
        if problem := why_not(request, export):
            raise WrongExport(f"{manifest.uri} {problem}; wanted was {request}. {remedy}.")
        return export

    def _pass_over(self, key: str, why: str) -> None:
        if key not in self._passed_over:
            _LOG.warning("s3://%s/%s %s; it is passed over", self._destination.bucket, key, why)
        self._passed_over[key] = why

    def _is_written(self, export: Export) -> bool:
        """Tell whether a completed export's manifest is still in the bucket."""
        if export.manifest_key is None:
            return False
        try:
            self._s3.head_object(Bucket=export.bucket, Key=export.manifest_key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"404", "NoSuchKey", "NoSuchBucket"}:
                return False
            raise translate(error, f"looking for s3://{export.bucket}/{export.manifest_key}") from error
        except BotoCoreError as error:
            raise translate(error, f"looking for s3://{export.bucket}/{export.manifest_key}") from error
        return True


@contextmanager
def _translated(doing: str) -> Generator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise translate(error, doing) from error


def _counting(found: Sequence[Export]) -> Export | None:
    """Return the one that counts of a request's exports, the oldest first, as `ExportClient.current` says."""
    for status in (ExportStatus.COMPLETED, ExportStatus.IN_PROGRESS):
        of_status = [export for export in found if export.status is status]
        if of_status:
            return of_status[-1]
    return found[0] if found else None


def _time_of(request: ExportRequest) -> tuple[datetime | None, Window | None]:
    return (request.time, None) if isinstance(request, FullExport) else (None, request.window)


def _require_time(request: ExportRequest, export: Export) -> None:
    """Check that DynamoDB exports the very time or window that it was asked for."""
    if (export.time, export.window) != _time_of(request):
        raise WrongExport(
            f"{request} was asked for, but {export.arn} is {export.status} "
            f"{f'over {export.window}' if export.window else f'at {export.time and format_time(export.time)}'}: "
            "it is not used. What to do: bring boto3 and botocore up to date, since older ones cut the milliseconds "
            "of times, and materialise again in eight hours."
        )


def _begun_at(export_arn: str) -> datetime:
    """Return when an export was begun, to the millisecond, by its id; the last time there is where that is none."""
    export_id = export_arn.rpartition("/")[2]
    if not EXPORT_ID.fullmatch(export_id):
        return datetime.max.replace(tzinfo=UTC)
    return from_us(int(export_id.partition("-")[0]) * 1000)


def _is_layout(prefix: str, request: ExportRequest) -> bool:
    """Tell whether a prefix is one that ddb_lake gives to a request's exports, in whatever destination."""
    own = export_prefix(request, Destination(""))
    return prefix == own or prefix.endswith(f"/{own}")


def _folder_of(key: str) -> str:
    return key.rpartition("/")[0]


def _kind(export_type: str | None) -> ExportKind:
    # Absent from DescribeExport where the caller left the default, a full export.
    return ExportKind.INCREMENTAL if export_type == "INCREMENTAL_EXPORT" else ExportKind.FULL


def _export(description: ExportDescriptionTypeDef) -> Export:
    told: Any = description
    kind = _kind(told.get("ExportType"))
    window: Window | None = None
    if kind is ExportKind.INCREMENTAL:
        times = told["IncrementalExportSpecification"]
        window = Window(times["ExportFromTime"], times["ExportToTime"])
    time, ended_at = told.get("ExportTime"), told.get("EndTime")
    return Export(
        arn=told["ExportArn"],
        status=ExportStatus(told["ExportStatus"]),
        kind=kind,
        table_id=told["TableId"],
        time=time.astimezone(UTC) if time and kind is ExportKind.FULL else None,
        window=window,
        bucket=told["S3Bucket"],
        started_at=told["StartTime"].astimezone(UTC),
        ended_at=ended_at.astimezone(UTC) if ended_at else None,
        manifest_key=told.get("ExportManifest"),
        item_count=told.get("ItemCount"),
        billed_bytes=told.get("BilledSizeBytes"),
        failure_code=told.get("FailureCode"),
        failure_message=told.get("FailureMessage"),
        format=told.get("ExportFormat", _FORMAT),
        filtered=bool(told.get("FilterSpecification")),
        prefix=told.get("S3Prefix", ""),
        client_token=told.get("ClientToken"),
    )


def export_of_manifest(manifest: Manifest, bucket: str) -> Export:
    """Return an export as its manifest describes it.

    Args:
        manifest: The export's.
        bucket: The bucket that holds it.
    """
    return Export(
        arn=manifest.export_arn,
        status=ExportStatus.COMPLETED,
        kind=manifest.kind,
        table_id=manifest.table_id,
        time=manifest.time,
        window=manifest.window,
        bucket=bucket,
        started_at=manifest.started_at,
        ended_at=manifest.ended_at,
        manifest_key=manifest.uri.removeprefix(f"s3://{bucket}/"),
        item_count=manifest.item_count,
        billed_bytes=manifest.billed_bytes,
    )


def why_not(request: ExportRequest, export: Export) -> str:
    """Say why an export does not answer a request, as the end of a sentence; an empty text if it does."""
    if export.kind is not request.kind:
        return f"is {_A[export.kind]} export, where {_A[request.kind]} one was expected"
    if export.table_id != request.table.table_id:
        return (
            f"is of the table id {export.table_id}, but {request.table.name} is {request.table.table_id}; "
            "was the table re-created?"
        )
    if isinstance(request, FullExport):
        if export.time != request.time:
            return f"is at {export.time and format_time(export.time)}"
    elif export.window != request.window:
        return f"is over {export.window}"
    if export.format != _FORMAT:
        return f"is in the format {export.format}; ddb_lake reads {_FORMAT} only"
    if export.filtered:
        return "is filtered, so it does not hold everything"
    return ""


def require_reported_count(export: Export, manifest: Manifest) -> None:
    """Check that a manifest names no fewer items than DynamoDB has reported (`ItemCount` of `DescribeExport`).

    All that lies in the bucket could be changed together; what DynamoDB reports could not.

    Raises:
        ManifestDamaged: If it names fewer.
    """
    if export.item_count is not None and manifest.item_count < export.item_count:
        raise ManifestDamaged(
            f"{manifest.uri}: itemCount is {manifest.item_count}, but DynamoDB has reported {export.item_count} "
            f"items of {export.arn}; {MENDING}"
        )


def _require_match(request: ExportRequest, manifest: Manifest) -> None:
    """Check that a manifest describes what was requested."""
    problem = why_not(request, export_of_manifest(manifest, ""))
    if problem:
        raise WrongExport(
            f"{manifest.uri} {problem}; wanted was {request}. Remove what does not belong under this prefix, "
            "and materialise again."
        )
