"""Export jobs: starting, describing and listing them, and telling whose time has come.

They know AWS's rules on requests, tokens and lists; what is in an export's files is the writer's affair.
"""

import base64
import json
import re
import secrets
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.errors import AwsError, validation
from ddb_lake.embedded_aws.export import Export, describe
from ddb_lake.embedded_aws.export_durations import duration_us, failure_us
from ddb_lake.embedded_aws.export_files import summary_key
from ddb_lake.embedded_aws.export_request import ExportRequest, parse_export_request
from ddb_lake.embedded_aws.export_rules import grant_full, grant_incremental
from ddb_lake.embedded_aws.export_writer import ExportWriter
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake.embedded_aws.kms import find_key
from ddb_lake.embedded_aws.settings import Settings
from ddb_lake.embedded_aws.tables import Table, Tables, parse_table_arn, table_not_found
from ddb_lake.embedded_aws.throttling import Throttling

_SECOND_US = 1_000_000
_TOKEN_LIFE_US = 8 * 3_600 * _SECOND_US
_MEMORY_US = 90 * 86_400 * _SECOND_US
"""For how long exports are described and listed (AWS: API reference, ListExports)."""

_QUOTA = 300
"""Exports of one kind that may run at once (AWS: ServiceQuotas, limits-table-export)."""

_NOT_THE_OWNER = "Access Denied (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied)"

_LARGEST_PAGE = 25
_SHORTEST_ARN = 37
_EXPORT_ARN = re.compile(
    r"arn:aws[a-z-]*:dynamodb:(?P<region>[^:]+):(?P<account>\d{12}):table/[^/]+/export/[^/]+", re.ASCII
)


class ExportJobs:
    """The exports of all tables.

    Args:
        journal: Keeps the exports.
        writer: Writes their files.
        tables: The tables.
        clock: Tells when an export is due.
        settings: Delay and number of files of exports to come.
        account: The id of the AWS account.
    """

    def __init__(
        self,
        journal: Journal,
        writer: ExportWriter,
        tables: Tables,
        clock: Clock,
        settings: Settings,
        account: str,
    ) -> None:
        self._journal = journal
        self._writer = writer
        self._tables = tables
        self._clock = clock
        self._settings = settings
        self._account = account
        self._throttling = Throttling(clock, settings)
        exports = [Export.from_json(record) for record in journal.exports()]
        self._exports = {export.arn: export for export in exports}
        self._running = {export.arn for export in exports if export.status == "IN_PROGRESS"}
        for export in exports:
            clock.pass_stamp(max(export.to_us - 1, export.start_us))

    def measure_ahead(self, region: str, body: bytes) -> tuple[int, int] | None:
        """Return items and bytes of the export that a request asks for, without a lock.

        None where its duration doesn't depend on them, or the request will be refused.
        """
        if self._settings.delay != "aws":
            return None
        try:
            parsed = parse_export_request(json.loads(body, parse_float=Decimal))
            table = self._find_table(region, parsed.table_arn)
            from_us, to_us = self._grant(parsed, table, self._clock.now_us())
        except (AwsError, ValueError):
            return None
        return self._writer.measure(table, parsed.export_type, from_us, to_us)

    def start(
        self, region: str, request: Any, s3_refusal: str | None = None, extent: tuple[int, int] | None = None
    ) -> dict[str, Any]:
        """Serve ExportTableToPointInTime; numbers with a fraction in `request` are Decimals.

        Args:
            region: The region that the request was signed for.
            request: The request.
            s3_refusal: Why the caller may not write into the bucket, which makes the export fail; None if it may.
            extent: What `measure_ahead` has found for this request.

        Raises:
            AwsError: If AWS would refuse the request.
        """
        self._throttling.admit(region, "ExportTableToPointInTime")
        parsed = parse_export_request(request)
        table = self._find_table(region, parsed.table_arn)
        now_us = self._clock.now_us()
        replayed = self._replay(region, parsed, now_us)
        if replayed is not None:
            return {"ExportDescription": self._describe(replayed)}
        window = self._grant(parsed, table, now_us)
        self._refuse_more_than_quota(parsed)
        export = self._with_failure(self._new_export(parsed, table, window, now_us), s3_refusal)
        export = replace(export, due_us=self._due_us(export, now_us, extent or (0, 0)))
        self.keep(export)
        self._clock.pass_stamp(export.to_us - 1)  # no later write may fall into what has been granted
        return {"ExportDescription": self._describe(export)}

    def describe(self, region: str, request: Any) -> dict[str, Any]:
        """Serve DescribeExport.

        Raises:
            AwsError: If the ARN is none, or there is no such export.
        """
        self._throttling.admit(region, "DescribeExport")
        arn = _text(request, "ExportArn")
        if len(arn) < _SHORTEST_ARN:
            raise validation(
                f"1 validation error detected: Value '{arn}' at 'exportArn' failed to satisfy constraint: "
                f"Member must have length greater than or equal to {_SHORTEST_ARN}"
            )
        parts = _EXPORT_ARN.fullmatch(arn)
        if parts is None:
            raise validation("Invalid Export ARN")
        if parts["account"] != self._account:
            raise AwsError("AccessDeniedException", "Access is denied")
        if parts["region"] != region:
            raise AwsError("ExportNotFoundException", "Export not found: Invalid export arn")
        export = self._exports.get(arn)
        if export is None or not self._is_remembered(export):
            # AWS says it twice.
            raise AwsError("ExportNotFoundException", f"Export not found: Export not found: {arn}")
        return {"ExportDescription": self._describe(export)}

    def list(self, region: str, request: Any) -> dict[str, Any]:
        """Serve ListExports: newest ARN first, at most 25 a page.

        Raises:
            AwsError: If a parameter is malformed.
        """
        page = request.get("MaxResults", _LARGEST_PAGE)
        if not isinstance(page, int) or page < 1 or page > _LARGEST_PAGE:
            bound = "greater than or equal to 1" if page < 1 else f"less than or equal to {_LARGEST_PAGE}"
            raise validation(
                f"1 validation error detected: Value '{page}' at 'maxResults' failed to satisfy constraint: "
                f"Member must have value {bound}"
            )
        exports = [each for each in self._exports.values() if each.region == region and self._is_remembered(each)]
        if "TableArn" in request:
            # By the table's identity: a table that took over the name doesn't show its predecessor's exports.
            arn = _parse_arn(_text(request, "TableArn"))
            table = self._tables.find(region, arn)
            exports = [each for each in exports if table is not None and each.table_id == table.id]
        exports.sort(key=lambda export: export.arn, reverse=True)
        if "NextToken" in request:
            after = _read_token(_text(request, "NextToken"))
            exports = [export for export in exports if export.arn < after]
        summaries = [
            {"ExportArn": each.arn, "ExportStatus": each.status, "ExportType": each.export_type}
            for each in exports[:page]
        ]
        if len(exports) > page:
            return {"ExportSummaries": summaries, "NextToken": _write_token(exports[page - 1].arn)}
        return {"ExportSummaries": summaries}

    def due(self) -> tuple[Export, ...]:
        """Return, without a lock, the exports whose time has come and whose files are still to be written."""
        if not self._running:
            return ()
        now_us = self._clock.now_us()
        running = [self._exports[arn] for arn in sorted(self._running)]
        return tuple(export for export in running if _is_due(export, now_us))

    def get(self, arn: str) -> Export:
        """Return an export."""
        return self._exports[arn]

    def keep(self, export: Export) -> None:
        """Record an export as it stands now."""
        self._journal.put_export(export.arn, export.to_json())
        self._exports[export.arn] = export
        if export.status == "IN_PROGRESS":
            self._running.add(export.arn)
        else:
            self._running.discard(export.arn)

    def release_held(self) -> int:
        """Let the exports that are held end now, and return how many there were."""
        held = [self._exports[arn] for arn in self._running if self._exports[arn].due_us is None]
        for export in held:
            self.keep(replace(export, due_us=self._clock.now_us()))
        return len(held)

    def count_running(self) -> int:
        """Return how many exports are IN_PROGRESS and not yet due."""
        return len(self._not_due())

    def count_failed(self) -> int:
        """Return how many exports have FAILED."""
        return sum(export.status == "FAILED" for export in self._exports.values())

    def _not_due(self) -> tuple[Export, ...]:
        now_us = self._clock.now_us()
        running = [self._exports[arn] for arn in self._running]
        return tuple(export for export in running if not _is_due(export, now_us))

    def _grant(self, request: ExportRequest, table: Table, now_us: int) -> tuple[int, int]:
        if request.export_type == "INCREMENTAL_EXPORT":
            return grant_incremental(request, table, now_us)
        return 0, grant_full(request, table, now_us, self._settings.latest_restorable_us(now_us))

    def _new_export(self, request: ExportRequest, table: Table, window: tuple[int, int], now_us: int) -> Export:
        from_us, to_us = window
        precision_us = _SECOND_US if request.export_type == "INCREMENTAL_EXPORT" else 1_000
        start_us = now_us // precision_us * precision_us
        export_id = f"{start_us // 1_000:014d}-{secrets.token_hex(4)}"
        return Export(
            arn=f"{table.arn}/export/{export_id}",
            id=export_id,
            region=table.region,
            table_arn=table.arn,
            table_id=table.id,
            export_type=request.export_type,
            export_type_sent=request.export_type_sent,
            from_us=from_us,
            to_us=to_us,
            view=request.view,
            s3_bucket=request.s3_bucket,
            s3_prefix=request.s3_prefix,
            s3_bucket_owner=request.s3_bucket_owner,
            sse_algorithm=request.sse_algorithm,
            kms_key_id=request.kms_key_id,
            token=request.token or str(uuid.uuid4()),
            fingerprint=request.fingerprint,
            files=self._settings.files,
            sequence=self._journal.sequence(),
            start_us=start_us,
            due_us=None,
        )

    def _due_us(self, export: Export, now_us: int, extent: tuple[int, int]) -> int | None:
        """Return when a new export ends, in µs; None if it is to be held."""
        if self._settings.take_hold():
            return None
        delay = self._settings.delay
        if delay != "aws":
            return now_us + delay
        if export.failure_code is not None:
            return now_us + failure_us()
        return now_us + duration_us(export.export_type, *extent)

    def _find_table(self, region: str, arn: str) -> Table:
        _parse_arn(arn)
        parts = parse_table_arn(arn)
        if parts is not None and parts.account != self._account:
            raise AwsError("AccessDeniedException", "Access is denied")
        table = self._tables.find(region, arn)
        if table is None:
            raise table_not_found(arn)
        return table

    def _replay(self, region: str, request: ExportRequest, now_us: int) -> Export | None:
        """Return the export that an earlier request with the same token has started, if there is one."""
        same = [
            export
            for export in self._exports.values()
            if export.region == region and export.token == request.token and export.start_us > now_us - _TOKEN_LIFE_US
        ]
        if not same:
            return None
        first = max(same, key=lambda export: export.start_us)
        if first.fingerprint != request.fingerprint:
            raise AwsError(
                "ExportConflictException", "Export conflict: Duplicate request detected with conflicting parameters"
            )
        return first

    def _refuse_more_than_quota(self, request: ExportRequest) -> None:
        running = [export.export_type for export in self._not_due()]
        if running.count(request.export_type) >= _QUOTA:
            raise AwsError(
                "LimitExceededException", f"Too many concurrent exports: at most {_QUOTA} of a kind may run at once"
            )

    def _with_failure(self, export: Export, s3_refusal: str | None) -> Export:
        """Return the export with what will make it fail; AWS finds that out only after it has answered."""
        failure = self._settings.take_failure()
        if failure is not None:
            return replace(export, failure_code=failure.code, failure_message=failure.message)
        if export.s3_bucket_owner not in (None, self._account):
            return replace(export, failure_code="S3AccessDenied", failure_message=_NOT_THE_OWNER)
        if s3_refusal is not None:
            text = f"{s3_refusal} (Service: Amazon S3; Status Code: 403; Error Code: AccessDenied)"
            return replace(export, failure_code="S3AccessDenied", failure_message=text)
        key = export.kms_key_id
        if key is not None and find_key(key, export.region, self._account, self._settings.kms_keys) is None:
            region = key.split(":")[3] if key.startswith("arn:") and key.count(":") > 4 else export.region
            wrong = f"Key '{key}' does not exist" if region == export.region else f"Invalid arn {region}"
            text = f"{wrong} (Service: Amazon S3; Status Code: 400; Error Code: KMS.NotFoundException)"
            return replace(export, failure_code="KmsNotFoundException", failure_message=text)
        return self._writer.begin(export)

    def _describe(self, export: Export) -> dict[str, Any]:
        return describe(export, summary_key(export))

    def _is_remembered(self, export: Export) -> bool:
        return export.start_us > self._clock.now_us() - _MEMORY_US


def _is_due(export: Export, now_us: int) -> bool:
    return export.due_us is not None and export.due_us <= now_us


def _parse_arn(text: str) -> str:
    """Return the text if it is a table's ARN; else raise AWS's word for what is wrong with it."""
    if not text.startswith("arn:"):
        raise validation("One or more parameter values were invalid: tableArn is not a valid ARN")
    if parse_table_arn(text) is None:
        raise validation("Invalid Request: Table ARN is invalid.")
    return text


def _text(request: Any, name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str):
        member = name[0].lower() + name[1:]
        raise validation(
            f"1 validation error detected: Value null at '{member}' failed to satisfy constraint: "
            "Member must not be null"
        )
    return value


def _write_token(arn: str) -> str:
    return base64.urlsafe_b64encode(arn.encode()).decode()


def _read_token(token: str) -> str:
    try:
        arn = base64.urlsafe_b64decode(token).decode()
    except ValueError:
        arn = ""
    if not _EXPORT_ARN.fullmatch(arn):
        raise validation(f"Invalid Request: Provided nextToken is invalid: {token}")
    return arn
