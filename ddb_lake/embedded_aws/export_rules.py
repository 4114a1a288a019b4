"""Which export requests a table grants, by AWS's rules on time and recovery, in the order AWS checks them.

Codes and texts are those that were observed on AWS; where none is known, the nearest text that AWS documents.
"""

from ddb_lake.embedded_aws.errors import AwsError
from ddb_lake.embedded_aws.export_request import ExportRequest
from ddb_lake.embedded_aws.tables import Recovery, Table
from ddb_lake.windows import format_time, from_us

_SECOND_US = 1_000_000
SHORTEST_WINDOW_US = 15 * 60 * _SECOND_US
LONGEST_WINDOW_US = 24 * 60 * 60 * _SECOND_US
"""Bounds of an incremental export's window (AWS: developer guide, ServiceQuotas, limits-table-export)."""


def grant_full(request: ExportRequest, table: Table, now_us: int, latest_us: int | None) -> int:
    """Return the time, in µs, before which a full export takes everything.

    Args:
        request: A full export.
        table: Its table.
        now_us: The time of the request, the default for ExportTime.
        latest_us: The latest time that may be named, or None for LatestRestorableDateTime.

    Raises:
        AwsError: If recovery is off, or ExportTime lies outside what can be restored.
    """
    recovery = _require_recovery(table)
    if request.export_us is None:
        return now_us // 1_000 * 1_000
    if request.export_us > now_us or request.export_us < recovery.earliest_us(now_us):
        raise _invalid_time("Export Time is invalid")
    if request.export_us > (recovery.latest_us(now_us) if latest_us is None else latest_us):
        raise _invalid_time("Point in Time Recovery is not available for specified export time")
    return request.export_us


def grant_incremental(request: ExportRequest, table: Table, now_us: int) -> tuple[int, int]:
    """Return the window `[from, to)`, in µs, of an incremental export.

    The end may be as late as now, and is now, in whole seconds, if it isn't named.

    Raises:
        AwsError: If recovery is off, or the window is not one that can be exported.
    """
    from_us_, to_us = request.from_us, request.to_us
    assert from_us_ is not None
    if to_us is None:
        to_us = now_us // _SECOND_US * _SECOND_US
    # AWS looks at the table's creation before it looks at recovery.
    if from_us_ < table.created_us:
        raise _invalid_time(
            "Incremental export period from time cannot be less than the table creation time : "
            + format_time(from_us(from_us_))
        )
    recovery = _require_recovery(table)
    if to_us > now_us:
        raise _invalid_time(
            "Incremental export period to time cannot be greater than the current time : "
            + format_time(from_us(to_us))
        )
    if from_us_ >= to_us:
        raise _invalid_time(
            "Incremental export period from time should not be greater or equal to incremental export period to time"
        )
    if to_us - from_us_ < SHORTEST_WINDOW_US:
        raise _invalid_time(
            "Difference between export period from time and export period to time is less than 15 minutes"
        )
    if to_us - from_us_ > LONGEST_WINDOW_US:
        raise _invalid_time(
            "Difference between export period from time and export period to time is greater than 24 hours"
        )
    if from_us_ < recovery.earliest_us(now_us):
        raise _invalid_time("The specified ExportTime is outside of the point in time recovery window")
    return from_us_, to_us


def _require_recovery(table: Table) -> Recovery:
    if table.recovery is None:
        raise AwsError(
            "PointInTimeRecoveryUnavailableException",
            f"Point in time recovery is not enabled for table '{table.name}'",
        )
    return table.recovery


def _invalid_time(message: str) -> AwsError:
    return AwsError("InvalidExportTimeException", message)
