"""Durations as table properties write them, such as `interval 2 days` (Delta protocol: table properties)."""

import re
from datetime import timedelta

_UNITS = {
    "nanosecond": timedelta(),
    "microsecond": timedelta(microseconds=1),
    "millisecond": timedelta(milliseconds=1),
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}


def parse_interval(text: str | None, otherwise: timedelta) -> timedelta:
    """Return a duration, or another one where there is none or it can't be read."""
    match = re.fullmatch(r"(?:interval\s+)?(\d+)\s+([a-z]+?)s?", (text or "").strip().lower())
    if match is None or match[2] not in _UNITS:
        return otherwise
    return int(match[1]) * _UNITS[match[2]]
