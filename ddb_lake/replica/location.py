"""Where a Delta table is, and the object store that reaches the files beside it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import LocalStore, S3Store

from ddb_lake.replica.errors import UnsupportedLocation

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

DELTA_ONLY_OPTIONS = frozenset(
    {
        "allow_unsafe_rename",
        "aws_s3_allow_unsafe_rename",
        "aws_s3_locking_provider",
        "aws_force_credential_load",
        "delta_dynamo_table_name",
    }
)
"""Options that delta-rs reads itself and obstore refuses to know."""

HTTP_OPTIONS = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "http1_only",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "timeout",
        "user_agent",
    }
)
"""Options of the HTTP client, which obstore takes apart from those of S3."""

TIME_OPTIONS = {"connect_timeout": "5s", "timeout": "30s", "retry_timeout": "20s"}
"""How long S3 is waited for: to connect, for an answer with its body, and until a request is not tried again.

Without the last one a bucket that hangs would be asked for three minutes.
"""

RETRY_TIMEOUT = "retry_timeout"
"""The option that delta-rs reads itself, and that obstore and polars take in forms of their own."""

KEY_OPTIONS = frozenset({"aws_access_key_id", "access_key_id", "aws_skip_signature", "skip_signature"})
"""Options that settle how requests are signed; without one of them boto3's chain of credentials does."""


@dataclass(frozen=True)
class Location:
    """A Delta table's folder.

    Args:
        uri: A local path, `file://` or `s3://bucket/folder`.
        storage_options: What delta-rs, polars and obstore need to reach it, such as `AWS_ENDPOINT_URL`.

    Raises:
        UnsupportedLocation: If the URI is of another kind, or names no folder.
    """

    uri: str
    storage_options: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        parts = urlsplit(self.uri)
        if parts.scheme == "s3":
            if not parts.netloc or not parts.path.strip("/"):
                raise UnsupportedLocation(f"{self.uri!r} must name a bucket and a folder in it: s3://bucket/folder")
            object.__setattr__(self, "uri", self.uri.rstrip("/"))
        elif parts.scheme == "file" or "://" not in self.uri:
            path = Path(unquote(parts.path) if parts.scheme == "file" else self.uri)
            object.__setattr__(self, "uri", str(path.expanduser().absolute()))
        else:
            raise UnsupportedLocation(
                f"{self.uri!r}: a table lives on a local path or on s3://, not on {parts.scheme}://"
            )

    @property
    def options(self) -> dict[str, str]:
        """The storage options as delta-rs takes them; on S3 with limits on the time."""
        if not self.uri.startswith("s3://"):
            return dict(self.storage_options)
        given = {name.lower().removeprefix("aws_") for name in self.storage_options}
        limits = {name: value for name, value in TIME_OPTIONS.items() if name not in given}
        return {**limits, **self.storage_options}

    @property
    def polars_options(self) -> dict[str, str | int]:
        """The storage options as polars takes them."""
        options: dict[str, str | int] = {**self.options}
        if (limit := options.pop(RETRY_TIMEOUT, None)) is not None:
            options["retry_timeout_ms"] = round(_duration(str(limit)).total_seconds() * 1000)
        return options

    def store(self) -> LocalStore | S3Store:
        """Return the object store whose root is the table's folder (a local one is created)."""
        if not self.uri.startswith("s3://"):
            return LocalStore(self.uri, mkdir=True)
        parts = urlsplit(self.uri)
        options = {name.lower(): value for name, value in self.options.items()}
        retries: RetryConfig = {"retry_timeout": _duration(options.pop(RETRY_TIMEOUT))}
        client = {
            plain: options.pop(name)
            for name in tuple(options)
            if (plain := name.removeprefix("aws_")) in HTTP_OPTIONS
        }
        config = {name: value for name, value in options.items() if name not in DELTA_ONLY_OPTIONS}
        provider = None if KEY_OPTIONS & config.keys() else Boto3CredentialProvider()
        return S3Store(
            parts.netloc,
            prefix=parts.path.strip("/"),
            config=cast("S3Config", config),
            client_options=cast("ClientConfig", client),
            retry_config=retries,
            credential_provider=provider,
        )

    def __str__(self) -> str:
        return self.uri


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d+)(ms|s)", text)
    if not found:
        raise UnsupportedLocation(f"{RETRY_TIMEOUT} is {text!r}; write it in seconds or milliseconds, such as 20s")
    return timedelta(**{{"ms": "milliseconds", "s": "seconds"}[found[2]]: int(found[1])})
