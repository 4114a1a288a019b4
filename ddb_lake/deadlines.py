"""A deadline after which this thread begins no call of AWS or of the lake's storage, whoever is about to make it.

Dagster ends a tick of the sensor that takes too long, and nothing of it is kept then. A check between two calls of
one's own is not enough: one call may stand for several (a role, credentials, pages of a listing, tries).
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

from ddb_lake.errors import DdbLakeError

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)


class OutOfTime(DdbLakeError):
    """The deadline has passed before a call was begun; the same call may be made later."""


@contextmanager
def nothing_begins_after(seconds: float) -> Generator[None]:
    """Set this thread's deadline to some seconds from now, as long as the context lasts."""
    before = _DEADLINE.set(monotonic() + seconds)
    try:
        yield
    finally:
        _DEADLINE.reset(before)


def out_of_time() -> bool:
    """Tell whether this thread has a deadline that has passed."""
    deadline = _DEADLINE.get()
    return deadline is not None and monotonic() >= deadline


def require_time(what: str) -> None:
    """Check that something may still be begun.

    Raises:
        OutOfTime: If the deadline has passed.
    """
    if out_of_time():
        raise OutOfTime(f"out of time before {what}")
