"""Times as the client names them: naive ones are local, as on the machine of whoever types them."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the time by the process's clock."""
    return datetime.now(UTC)


def local(hour: int, minute: int, second: int = 0) -> datetime:
    """Return a local time of the evening that the client is about, in UTC."""
    naive = datetime(2024, 9, 14, hour, minute, second)  # noqa: DTZ001  # that it is naive is what is tried
    return naive.astimezone(UTC)
