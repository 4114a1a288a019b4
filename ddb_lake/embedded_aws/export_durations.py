"""How long AWS was seen to take for an export: for tests and demonstrations that shall wait as one does on AWS.

AWS promises nothing ("avoid building workflows that depend on an export completing within a fixed amount of time",
developer guide). The figures are medians of published StartTime and EndTime of real exports.
"""

from ddb_lake.embedded_aws.export_request import ExportType

_SECOND_US = 1_000_000
_GB = 1_000_000_000

_EMPTY_S: dict[ExportType, int] = {"FULL_EXPORT": 153, "INCREMENTAL_EXPORT": 126}
_SMALL_S: dict[ExportType, int] = {"FULL_EXPORT": 446, "INCREMENTAL_EXPORT": 306}
_SECONDS_PER_GB = 43
"""From an incremental export of 20.9 GB that took 20 minutes (AWS: developer guide)."""

_FAILURE_S = 16
"""After this time at most, an export without a bucket was seen to have failed."""


def duration_us(export_type: ExportType, item_count: int, size: int) -> int:
    """Return how long an export takes, in µs; the same for the same export.

    Args:
        export_type: The kind of export.
        item_count: Items or changes in it.
        size: The bytes of these.
    """
    if item_count == 0:
        return _EMPTY_S[export_type] * _SECOND_US
    return _SMALL_S[export_type] * _SECOND_US + size * _SECONDS_PER_GB * _SECOND_US // _GB


def failure_us() -> int:
    """Return how long an export takes whose bucket refuses it, in µs."""
    return _FAILURE_S * _SECOND_US
