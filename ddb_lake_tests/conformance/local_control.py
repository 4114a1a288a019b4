"""The control interface of an embedded AWS, spoken to with the standard library alone."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMEOUT_S = 30


class LocalControl:
    """Asks and moves the clock of an embedded AWS, and changes its settings."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    @classmethod
    def find(cls, url: str | None) -> "LocalControl | None":
        """Return the control interface at an endpoint, or None where there is none."""
        if url is None:
            return None
        control = cls(url)
        try:
            health = control._send("health", None)
        except (URLError, ValueError):
            return None
        return control if "now_us" in health else None

    def moves(self) -> bool:
        """Tell whether its clock can be moved."""
        return self._send("clock", {})["mode"] in ("offset", "frozen")

    def now(self) -> datetime:
        """Return the time by its clock."""
        return EPOCH + timedelta(microseconds=self._send("clock", {})["now_us"])

    def advance(self, seconds: float) -> None:
        """Move its clock forward."""
        self._send("clock", {"advance_s": seconds})

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings, and return all of them."""
        return self._send("settings", changes)

    def _send(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self._url}/_local/{path}", data), timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read())
