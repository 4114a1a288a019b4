"""How the exports to come shall behave; changed while running through the control interface."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from ddb_lake.embedded_aws.errors import ControlError

_SECOND_US = 1_000_000
_MOST_FILES = 1_024

Delay = int | Literal["aws"]
"""How long exports take: µs, or as long as AWS's were seen to take."""


@dataclass(frozen=True)
class Failure:
    """Why an export shall fail, in DescribeExport's words."""

    code: str
    message: str


class Settings:
    """Delay, files and fate of exports to come.

    Args:
        delay_us: How long an export stays IN_PROGRESS, in µs of the embedded AWS's clock.
        files: Data files of each export.

    Raises:
        ControlError: If a value is out of range.
    """

    def __init__(self, delay_us: int, files: int) -> None:
        self.files = files
        self._delay: Delay = delay_us
        self._next: str | Failure = "completes"
        self._latest = "enforced"
        self._expired_items = "deleted"
        self._throttling = "off"
        self._unprocessed = 0
        self.kms_keys: Mapping[str, str | None] = {}
        self.change({"files": files, "delay_seconds": Decimal(delay_us) / _SECOND_US})

    def describe(self) -> dict[str, Any]:
        """Return all settings as the control interface shows them."""
        following = self._next
        if isinstance(following, Failure):
            following = {"failure_code": following.code, "failure_message": following.message}
        return {
            "delay_seconds": "aws" if self._delay == "aws" else self._delay / _SECOND_US,
            "files": self.files,
            "next_export": following,
            "latest_restorable": self._latest,
            "expired_items": self._expired_items,
            "throttling": self._throttling,
            "unprocessed_writes": self._unprocessed,
            "kms_keys": dict(self.kms_keys),
        }

    def change(self, changes: Mapping[str, Any]) -> None:
        """Apply settings; all of them or, if one is refused, none.

        Raises:
            ControlError: If a setting is unknown or its value is out of range.
        """
        applied: dict[str, Any] = {}
        for name, value in changes.items():
            match name, value:
                case "delay_seconds", int() | float() | Decimal() if not isinstance(value, bool) and value >= 0:
                    applied["_delay"] = int(Decimal(str(value)) * _SECOND_US)
                case "delay_seconds", "aws":
                    applied["_delay"] = value
                case "files", int() if not isinstance(value, bool) and 1 <= value <= _MOST_FILES:
                    applied["files"] = value
                case "next_export", "completes" | "holds":
                    applied["_next"] = value
                case "next_export", {"failure_code": str(code), "failure_message": str(message), **rest} if not rest:
                    applied["_next"] = Failure(code, message)
                case "latest_restorable", "enforced" | "ignored":
                    applied["_latest"] = value
                case "expired_items", "deleted" | "kept":
                    applied["_expired_items"] = value
                case "unprocessed_writes", int() if not isinstance(value, bool) and value >= 0:
                    applied["_unprocessed"] = value
                case "kms_keys", dict() if all(map(_is_key, value.items())):
                    applied["kms_keys"] = dict(value)
                case "throttling", "off" | "aws":
                    applied["_throttling"] = value
                case known, _ if known in _DOMAINS:
                    raise ControlError(f"the setting {name} can't be {value!r}; {_DOMAINS[name]}")
                case _:
                    raise ControlError(f"there is no setting {name!r}; the settings are {', '.join(_DOMAINS)}")
        vars(self).update(applied)

    @property
    def delay(self) -> Delay:
        """How long exports take."""
        return self._delay

    @property
    def deletes_expired_items(self) -> bool:
        """Whether time to live deletes what has expired; else it stays, as on AWS for up to a few days."""
        return self._expired_items == "deleted"

    @property
    def throttles(self) -> bool:
        """Whether rapid calls of the export API are throttled."""
        return self._throttling == "aws"

    def take_unprocessed(self) -> int:
        """Return how many writes of the batch that comes now are left; the one after it is done whole again."""
        left, self._unprocessed = self._unprocessed, 0
        return left

    def take_hold(self) -> bool:
        """Tell whether the export that begins now shall be held; the one after it completes again."""
        if self._next == "holds":
            self._next = "completes"
            return True
        return False

    def take_failure(self) -> Failure | None:
        """Return how the export that begins now shall fail, if it shall; the one after it completes again."""
        if isinstance(self._next, Failure):
            failure, self._next = self._next, "completes"
            return failure
        return None

    def latest_restorable_us(self, now_us: int) -> int | None:
        """Return the latest ExportTime that may be named, in µs; None for the table's own latest time."""
        return now_us if self._latest == "ignored" else None


def _is_key(key: tuple[object, object]) -> bool:
    key_id, alias = key
    return (
        isinstance(key_id, str)
        and _KEY_ID.fullmatch(key_id) is not None
        and (alias is None or (isinstance(alias, str) and _ALIAS.fullmatch(alias) is not None))
    )


_KEY_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")
_ALIAS = re.compile(r"alias/(?!aws/)[a-zA-Z0-9/_-]{1,250}")

_DOMAINS = {
    "delay_seconds": 'it is a number of seconds, 0 or more, or "aws"',
    "files": f"it is a whole number from 1 to {_MOST_FILES}",
    "next_export": 'it is "completes", "holds" or {"failure_code": …, "failure_message": …}',
    "latest_restorable": 'it is "enforced" (full exports lag 300 s behind) or "ignored"',
    "expired_items": 'it is "deleted" (by the first request after an item has expired) or "kept"',
    "unprocessed_writes": "it is how many of the next BatchWriteItem's writes are left in its UnprocessedItems",
    "kms_keys": 'it is {"<key id>": "alias/<name>" or null}, the KMS keys that there are beside S3\'s own',
    "throttling": 'it is "off" or "aws" (rapid calls of the export API are refused)',
}
