"""The two partitionings: the one static partition of the bootstrap, and the 15-minute windows."""

from datetime import UTC, datetime

import dagster as dg

from ddb_lake.windows import KEY_FORMAT, QUARTER_HOUR, Window, floor_quarter_hour

INITIAL = "initial"
"""The bootstrap's only partition key."""

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
"""The tags by which a run is one of a whole range of partitions."""

initial_partition = dg.StaticPartitionsDefinition([INITIAL])


def window_partitions(start: datetime) -> dg.TimeWindowPartitionsDefinition:
    """Return the quarter-hours from the one on that `start` lies in, in UTC; only closed ones exist."""
    return dg.TimeWindowPartitionsDefinition(
        # A string: Dagster would take an aware datetime's clock reading and forget its offset.
        start=floor_quarter_hour(start).astimezone(UTC).strftime(KEY_FORMAT),
        cron_schedule="*/15 * * * *",
        fmt=KEY_FORMAT,
        timezone="UTC",
    )


def window_of(context: dg.AssetExecutionContext, start: datetime) -> Window:
    """Return the window of a run's partition, or of its whole range of partitions.

    Args:
        context: The run's.
        start: The bootstrap's time: where it lies within a quarter-hour, the first window begins with it.
    """
    span = context.partition_time_window
    return Window(max(span.start, start), span.end)


def range_tags(window: Window) -> dict[str, str]:
    """Return the tags of a run over all partitions of a window."""
    return {RANGE_START_TAG: window.key, RANGE_END_TAG: Window(window.end - QUARTER_HOUR, window.end).key}
