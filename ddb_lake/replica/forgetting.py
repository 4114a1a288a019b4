"""What a table forgets of its exports so that its commits stay small, however long it lives.

What is covered is never forgotten, only of which exports it consists; that is needed again only where a window comes
late. The oldest goes first, some of it at once, so that there is room for months. What lies within the 35 days that
DynamoDB's point-in-time recovery keeps stays as long as there is room for that alone, even with an export every five
minutes of the last fifteen.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from ddb_lake import windows
from ddb_lake.replica.account_code import Coded, encode_coded
from ddb_lake.windows import Window, format_time, from_us, to_us

_LOG = logging.getLogger(__name__)

RECOVERABLE = timedelta(days=35)
"""How far point-in-time recovery reaches back at most (AWS: "PointInTimeRecoveryDescription")."""

_ROOM = 0.75
"""To which part of its limit a code is brought once it has reached it."""


def encode_within(coded: Coded, limit: int, where: str) -> tuple[Coded, str]:
    """Return what is coded with as much forgotten as its code needs to have a limited length, and the code.

    Where the covered stretches take more (hundreds of holes), the oldest holes become one: what was covered
    between them counts as missing from then on, and a warning says so.

    Args:
        coded: What a table holds.
        limit: Characters.
        where: The table, for the warning.
    """
    text = encode_coded(coded)
    if len(text) <= limit:
        return coded, text
    stretches = windows.merge((*coded.spans.union(), *coded.unknown))
    oldest, newest = stretches[0].start, stretches[-1].end
    horizon = newest - RECOVERABLE

    def size(time: datetime) -> int:
        return len(encode_coded(forget(coded, time)))

    time = _least_time(oldest, newest, lambda time: size(time) <= _ROOM * limit)
    if time > horizon and size(horizon) <= limit:
        time = horizon
    kept = forget(coded, time)
    text = encode_coded(kept)
    if len(text) <= limit:
        return kept, text
    recent = forget(coded, horizon)
    if recent.unknown and len(encode_coded(replace(recent, unknown=recent.unknown[:1]))) <= limit:
        return _join_holes(recent, limit, where)
    return _join_holes(Coded(unknown=stretches), limit, where)


def forget(coded: Coded, time: datetime) -> Coded:
    """Forget the exports that end at a time or before."""
    spans = coded.spans.ending_after(time)
    forgotten = (
        Window(run.start, min(run.end, run.start + (time - run.start) // run.length * run.length))
        for run in coded.spans.runs
        if run.start + run.length <= time
    )
    return replace(
        coded,
        spans=spans,
        unknown=windows.merge((*coded.unknown, *forgotten)),
        contents=coded.contents.ending_after(to_us(time)),
    )


def _join_holes(coded: Coded, limit: int, where: str) -> tuple[Coded, str]:
    """Keep the known exports, the first of the other stretches, and as many of the newest as there is room for."""
    stretches = coded.unknown

    def keeping(count: int) -> Coded:
        return replace(coded, unknown=(stretches[0], *stretches[len(stretches) - count :]))

    fewest, most = 0, len(stretches) - 1
    while fewest < most:
        middle = (fewest + most + 1) // 2
        if len(encode_coded(keeping(middle))) <= limit:
            fewest = middle
        else:
            most = middle - 1
    kept = keeping(fewest)
    if fewest == len(stretches) - 1:
        return kept, encode_coded(kept)
    hole = Window(stretches[0].end, stretches[len(stretches) - fewest].start if fewest else stretches[-1].end)
    _LOG.warning(
        "%s has more holes than a commit can name (%d): what was covered between %s and %s counts as missing now, so "
        "apply those windows again, or replace the replica by a later bootstrap",
        where,
        len(windows.merge((*coded.spans.union(), *stretches))) - 1,
        format_time(hole.start),
        format_time(hole.end),
    )
    return kept, encode_coded(kept)


def _least_time(first: datetime, last: datetime, enough: Callable[[datetime], bool]) -> datetime:
    """Return the least time, to the minute, that is enough, or the last one."""
    low, high = to_us(first), to_us(last)
    while high - low > 60_000_000:
        middle = (low + high) // 2
        if enough(from_us(middle)):
            high = middle
        else:
            low = middle
    return from_us(high)
