"""Sessions of boto3 whose clients give up soon where an endpoint does not answer.

With botocore's own limits, 60 seconds and several tries, one endpoint that hangs eats up a whole tick of the sensor.
A session's limits also hold for the clients that it makes itself, such as STS's where a profile has a role. No call,
and no further try of one, is begun after the thread's deadline, see `deadlines`.
"""

from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError
from botocore.session import Session

from ddb_lake.deadlines import require_time


@dataclass(frozen=True)
class Limits:
    """How long an answer is waited for, and how often a call is tried, the first time included.

    Args:
        connect_seconds: How long connecting may take.
        read_seconds: How long a socket may be silent. A body may stream for longer as a whole.
        attempts: How often a call is tried where AWS throttles or is at fault.
        timed_out_attempts: How often at most where there is no answer in time. A second time, since a connection
            of a pool may have died unnoticed.
    """

    connect_seconds: float = 5
    read_seconds: float = 20
    attempts: int = 5
    timed_out_attempts: int = 2


def open_session(
    region: str | None = None,
    profile: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    limits: Limits | None = None,
) -> boto3.Session:
    """Return a session whose clients have limits on their time and tries.

    Args:
        region: The region, or None for the AWS configuration's.
        profile: The profile of the AWS configuration, or None for the default one.
        access_key: The access key's id, or None for the standard chain of credentials.
        secret_key: The secret that goes with it.
        limits: The limits, or None for the usual ones.

    Raises:
        ProfileNotFound: If the AWS configuration has no such profile.
    """
    limits = limits or Limits()
    inner = Session(profile=profile)
    inner.set_default_client_config(
        Config(
            connect_timeout=limits.connect_seconds,
            read_timeout=limits.read_seconds,
            retries={"total_max_attempts": limits.attempts, "mode": "standard"},
        )
    )
    session = boto3.Session(access_key, secret_key, region_name=region, botocore_session=inner)

    def give_up(caught_exception: Exception | None = None, attempts: int = 1, **_: Any) -> None:
        """Raise a timeout again instead of letting the standard retries go on (botocore's event `needs-retry`)."""
        timed_out = isinstance(caught_exception, ConnectTimeoutError | ReadTimeoutError)
        if timed_out and attempts >= limits.timed_out_attempts:
            raise caught_exception

    def require_time_to_send(event_name: str, **_: Any) -> None:
        """Refuse a request that would begin too late (botocore's event `before-send`, one for each try)."""
        require_time(f"calling {event_name.removeprefix('before-send.')}")

    session.events.register_first("needs-retry", give_up)
    session.events.register_first("before-send", require_time_to_send)
    return session
