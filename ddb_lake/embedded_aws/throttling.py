"""Throttling of rapid calls of the export API, as AWS was seen to do it; off unless a setting turns it on.

Seen: after about 20 ExportTableToPointInTime calls within 2 s, refused ones included, the next ones are throttled,
and calls 1.5 s apart are not; bursts of DescribeExport are throttled from the 13th to 18th call on.
"""

from dataclasses import dataclass

from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.errors import AwsError
from ddb_lake.embedded_aws.settings import Settings


@dataclass(frozen=True)
class Rate:
    """Calls that may come at once, and the time in µs after which one more may."""

    burst: int
    refill_us: int


_RATES = {
    "ExportTableToPointInTime": Rate(20, 1_500_000),
    "DescribeExport": Rate(13, 1_000_000),
}


class Throttling:
    """Counts calls by the embedded AWS's own clock: one that stands still refills nothing."""

    def __init__(self, clock: Clock, settings: Settings) -> None:
        self._clock = clock
        self._settings = settings
        # For each operation and region, the time by which all calls so far will be made up for.
        self._settled_us: dict[tuple[str, str], int] = {}

    def admit(self, region: str, operation: str) -> None:
        """Count a call.

        Raises:
            AwsError: A ThrottlingException if it comes too soon; then it doesn't count.
        """
        if not self._settings.throttles:
            self._settled_us.clear()
            return
        rate = _RATES[operation]
        now_us = self._clock.now_us()
        settled_us = max(self._settled_us.get((region, operation), 0), now_us)
        if settled_us - now_us > (rate.burst - 1) * rate.refill_us:
            raise AwsError("ThrottlingException", "Rate exceeded")
        self._settled_us[region, operation] = settled_us + rate.refill_us
