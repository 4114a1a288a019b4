"""The time by which the embedded AWS stamps writes, checks requests and ends exports."""

import re
import threading
import time
from datetime import UTC, datetime
from typing import Literal, get_args

from ddb_lake.embedded_aws.errors import ControlError
from ddb_lake.windows import from_us, to_us

ClockMode = Literal["real", "offset", "frozen", "request"]
MODES: tuple[ClockMode, ...] = get_args(ClockMode)

_AMZ_DATE = re.compile(r"\d{8}T\d{6}Z")


def _system_us() -> int:
    return time.time_ns() // 1000


class Clock:
    """A settable clock whose stamps strictly increase and which never reads earlier than its newest stamp.

    `real` is the system's clock; `offset` runs as fast as the system's but ahead of or behind it; `frozen`
    moves only when told; `request` stands at the newest `X-Amz-Date` that a client has sent (whole seconds).

    Args:
        mode: How time passes.
        at_us: Where an `offset`, `frozen` or `request` clock begins, in µs since the epoch; by default at
            the system's time (`request`: at the epoch, until the first request comes).

    Raises:
        ControlError: If the mode is unknown, or `at_us` is given for a `real` clock.
    """

    def __init__(self, mode: ClockMode = "real", at_us: int | None = None) -> None:
        self._lock = threading.Lock()
        self._newest_us = 0
        self._mode: ClockMode = "real"
        self._base_us = 0
        self._begins_at_us = at_us
        self.set(mode, at_us)

    @property
    def mode(self) -> ClockMode:
        """How time passes."""
        return self._mode

    def now_us(self) -> int:
        """Return the time, in µs since the epoch."""
        with self._lock:
            return self._read_us()

    def stamp(self) -> int:
        """Return a write time in µs since the epoch that is later than every one given before."""
        with self._lock:
            self._newest_us = max(self._read_us(), self._newest_us + 1)
            return self._newest_us

    def pass_stamp(self, us: int) -> None:
        """Make every later stamp later than `us`: a write with this time is known from elsewhere."""
        with self._lock:
            self._newest_us = max(self._newest_us, us)

    def observe(self, amz_date: str | None) -> None:
        """Take note of a request's `X-Amz-Date` (such as `20261124T181500Z`); only `request` clocks care."""
        if self._mode != "request" or amz_date is None or not _AMZ_DATE.fullmatch(amz_date):
            return
        seen_us = to_us(datetime.strptime(amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
        with self._lock:
            self._base_us = max(self._base_us, seen_us)

    def set(self, mode: ClockMode, at_us: int | None = None) -> None:
        """Change the mode, and the time where the mode allows it.

        Raises:
            ControlError: If the mode is unknown, a `real` clock shall be set, or the clock would go back
                behind a write that it has stamped.
        """
        if mode not in MODES:
            raise ControlError(f"there is no clock mode {mode!r}; the modes are {', '.join(MODES)}")
        with self._lock:
            if mode == "real":
                if at_us is not None:
                    raise ControlError("a real clock can't be set; use the mode offset or frozen")
                self._refuse_going_back(_system_us())
                base_us = 0
            elif mode == "request":
                base_us = at_us or 0
            else:
                start_us = self._read_us() if at_us is None else at_us
                self._refuse_going_back(start_us)
                base_us = start_us - _system_us() if mode == "offset" else start_us
            self._mode, self._base_us = mode, base_us

    def advance(self, us: int) -> None:
        """Move an `offset` or `frozen` clock forward.

        Raises:
            ControlError: If the clock is of another mode, or `us` is negative.
        """
        if us < 0:
            raise ControlError(f"a clock can't be advanced by {us} µs; it only goes forward")
        if self._mode not in ("offset", "frozen"):
            raise ControlError(f"a clock of mode {self._mode} can't be advanced; use offset or frozen")
        with self._lock:
            self._base_us += us

    def state(self) -> dict[str, str | int]:
        """Return what `resume` needs to go on with this clock after a restart."""
        with self._lock:
            return {"mode": self._mode, "base_us": self._base_us}

    def resume(self, state: dict[str, str | int]) -> None:
        """Go on where a clock of the same mode has stopped, unless this one was told where to begin."""
        if state["mode"] == self._mode and self._begins_at_us is None:
            with self._lock:
                self._base_us = int(state["base_us"])

    def _read_us(self) -> int:
        running_us = {
            "real": _system_us,
            "offset": lambda: _system_us() + self._base_us,
            "frozen": lambda: self._base_us,
            "request": lambda: self._base_us,
        }[self._mode]()
        return max(running_us, self._newest_us)

    def _refuse_going_back(self, us: int) -> None:
        if us < self._newest_us:
            raise ControlError(
                f"the clock can't be set to {from_us(us)}: a write is already stamped {from_us(self._newest_us)}; "
                "set a later time, or start with a new journal"
            )
