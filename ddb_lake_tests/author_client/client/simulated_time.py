"""The time that the client sees: it moves when someone sleeps, so that hours pass at once.

The packages under test are left alone. What is moved is the process's clock, by which botocore dates its requests,
pynamodb fills in times and waiters reckon; and `time.sleep`, which moves that clock instead of waiting.
"""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.request import Request, urlopen

import time_machine


class SimulatedTime(Protocol):
    """Moves the process's clock forward."""

    def sleep(self, seconds: float) -> None:
        """Let so much time pass; in place of `time.sleep`."""
        ...


class RequestTime:
    """A clock that stands between two sleeps: every request's `X-Amz-Date` is what the client's clock says.

    For an embedded AWS whose clock is in the mode `request` and follows.
    """

    def __init__(self, start: datetime) -> None:
        # A number, not a datetime: that would move the process to the datetime's time zone as well.
        self._moved = time_machine.travel(start.timestamp(), tick=False).start()

    def sleep(self, seconds: float) -> None:
        """Move the process's clock; the next request takes the embedded AWS along."""
        self._moved.move_to((datetime.now(UTC) + timedelta(seconds=seconds)).timestamp())


class OffsetTime:
    """A clock that runs; a sleep moves the embedded AWS's clock, and this one to the same time.

    For an embedded AWS whose clock is in the mode `offset`.
    """

    def __init__(self, url: str) -> None:
        self._clock = f"{url}/_local/clock"
        self._moved = time_machine.travel(self._advance(0), tick=True).start()

    def sleep(self, seconds: float) -> None:
        """Advance the embedded AWS by its control interface, and the process to what it answers."""
        self._moved.move_to(self._advance(seconds))

    def _advance(self, seconds: float) -> float:
        """Advance the embedded AWS's clock; return its time in seconds since the epoch."""
        body = json.dumps({"advance_s": seconds}).encode()
        with urlopen(Request(self._clock, body, {"Content-Type": "application/json"}), timeout=60) as answer:
            return json.load(answer)["now_us"] / 1_000_000


def simulate(mode: str, url: str, start: datetime) -> None:
    """Take over the process's time.

    Args:
        mode: The embedded AWS's clock mode, `request` or `offset`.
        url: Where the embedded AWS is.
        start: When to begin; an `offset` clock has begun there by itself.
    """
    simulated: SimulatedTime = RequestTime(start) if mode == "request" else OffsetTime(url)
    time.sleep = simulated.sleep
