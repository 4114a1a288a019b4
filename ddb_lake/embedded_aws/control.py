"""A client of the control interface: sets the clock of a running embedded AWS and gives it a past."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import orjson

from ddb_lake.embedded_aws.clock import ClockMode
from ddb_lake.embedded_aws.errors import ControlError
from ddb_lake.windows import format_time, from_us

_PIECE_BYTES = 256 * 1024
_TIMEOUT_S = 600
"""A long history takes moto minutes."""


class Control:
    """Talks to the embedded AWS at a URL.

    Args:
        url: Such as `http://127.0.0.1:4566`.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def health(self) -> dict[str, Any]:
        """Return status, clock, and how many tables and running exports there are."""
        return self._send("GET", "health", b"")

    def now(self) -> datetime:
        """Return the time by the embedded AWS's clock."""
        return from_us(self._send("POST", "clock", b"")["now_us"])

    def clock(self, mode: ClockMode, at: datetime | None = None) -> datetime:
        """Set the clock's mode, and its time where the mode has one; return the time."""
        change: dict[str, Any] = {"mode": mode}
        if at is not None:
            change["at"] = format_time(at)
        return from_us(self._send("POST", "clock", orjson.dumps(change))["now_us"])

    def advance(self, seconds: float) -> datetime:
        """Move an `offset` or `frozen` clock forward; return the time."""
        return from_us(self._send("POST", "clock", orjson.dumps({"advance_s": seconds}))["now_us"])

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change `delay_seconds`, `files`, `next_export` or others (see `Settings`); return all settings."""
        return self._send("POST", "settings", orjson.dumps(changes))

    def release(self) -> int:
        """Let exports that are held end now; return how many."""
        return self._send("POST", "release", b"")["released"]

    def backdate_table(
        self,
        region: str,
        table: str,
        *,
        created_at: datetime | None = None,
        pitr_enabled_at: datetime | None = None,
    ) -> dict[str, Any]:
        """Move a table's creation, or the moment its point-in-time recovery was switched on, in time."""
        times = {"created_at": created_at, "pitr_enabled_at": pitr_enabled_at}
        change = {name: format_time(time) for name, time in times.items() if time is not None}
        return self._send("POST", f"tables/{quote(region)}/{quote(table)}", orjson.dumps(change))

    def history(self, region: str, table: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Write backdated rows `{"ts": µs, "Item": {…}}` or `{"ts": µs, "Key": {…}}`; return how many.

        All rows or, if one is refused, none. They are sent as they come, and never all in memory.
        """
        return self._send("POST", f"history/{quote(region)}/{quote(table)}", _pieces(rows))["lines"]

    def add_fault(
        self,
        service: str,
        fault: Mapping[str, Any],
        *,
        operation: str = "*",
        resource: str = "*",
        times: int | None = 1,
    ) -> int:
        """Let requests go wrong; return the rule's id.

        Args:
            service: `dynamodb` or `s3`.
            fault: Such as `{"kind": "throttle"}`; see `embedded_aws.faults`.
            operation: Which operations, with `*` and `?` as wildcards.
            resource: Which `bucket/key`, or which table as the request names it, with the same wildcards.
            times: How many requests; None for all until the rule is removed.
        """
        rule = {"service": service, "operation": operation, "resource": resource, "times": times, "fault": fault}
        return self._send("POST", "faults", orjson.dumps(rule))["id"]

    def faults(self) -> list[dict[str, Any]]:
        """Return the fault rules: `times` are left, `applied` have happened."""
        return self._send("GET", "faults", b"")["rules"]

    def clear_faults(self) -> int:
        """Remove all fault rules; return how many there were."""
        return self._send("DELETE", "faults", b"")["removed"]

    def set_policy(self, policy: Mapping[str, Any], admin_keys: Iterable[str] | None = None) -> None:
        """Bind every access key but the administrators' (`admin` by default) to an IAM policy."""
        rules = {"policy": policy} if admin_keys is None else {"policy": policy, "admin_keys": list(admin_keys)}
        self._send("POST", "policy", orjson.dumps(rules))

    def used_permissions(self) -> list[tuple[str, str]]:
        """Return the actions that policies have allowed so far, each with its resource."""
        return [(action, resource) for action, resource in self._send("GET", "policy", b"")["used"]]

    def remove_policy(self) -> None:
        """Allow everything to everybody again."""
        self._send("DELETE", "policy", b"")

    def _send(self, method: str, path: str, body: bytes | Iterator[bytes]) -> dict[str, Any]:
        data = None if method == "GET" else body
        request = Request(f"{self._url}/_local/{path}", data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=_TIMEOUT_S) as response:
                return orjson.loads(response.read())
        except HTTPError as error:
            with error:
                text = error.read()
            raise ControlError(_error_text(text) or f"{error.code} {error.reason} for {path}") from None
        except URLError as error:
            raise ControlError(f"no embedded AWS answers at {self._url}: {error.reason}") from error


def _pieces(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield JSON lines, as many at once as go into a piece of some size."""
    lines: list[bytes] = []
    size = 0
    for row in rows:
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        lines.append(line)
        size += len(line)
        if size >= _PIECE_BYTES:
            yield b"".join(lines)
            lines.clear()
            size = 0
    yield b"".join(lines)


def _error_text(body: bytes) -> str | None:
    try:
        return orjson.loads(body).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        return None
