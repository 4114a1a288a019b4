"""Where a Delta table is, and the object store that reaches the files beside it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote, urlsplit

import boto3
from botocore.exceptions import BotoCoreError
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.store import LocalStore, S3Store

from ddb_lake.replica.errors import StorageFailed, UnsupportedLocation

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

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


VALID_FOR = timedelta(minutes=10)
"""How long keys from botocore are good at least: it renews them when less is left (`RefreshableCredentials`).

obstore asks anew when less than five minutes of that are left, polars when it is over.
"""


class SessionCredentials:
    """The keys of a boto3 session: asked for anew each time, since those of roles and sign-ons expire.

    A long step outlives them, so nothing may keep a copy for longer than `VALID_FOR`.

    Args:
        session: Renews them as it was configured, by its profile, role or container.
    """

    def __init__(self, session: boto3.Session) -> None:
        self._session = session

    def current(self) -> tuple[str, str, str | None]:
        """Return access key, secret and perhaps session token, good for `VALID_FOR`.

        Raises:
            StorageFailed: If there are none, or they can't be renewed.
        """
        try:
            credentials = self._session.get_credentials()
            frozen = None if credentials is None else credentials.get_frozen_credentials()
        except (BotoCoreError, RuntimeError) as error:  # a RuntimeError where what was renewed has expired as well
            raise StorageFailed(
                f"the credentials of {self._who} can't be renewed: {' '.join(str(error).split())}; sign on again or "
                "mend their source, and run it again: nothing is half-committed"
            ) from error
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            raise StorageFailed(
                f"there are no credentials of {self._who} to reach S3 with: give some by the standard AWS variables, "
                "a profile or a role"
            )
        return frozen.access_key, frozen.secret_key, frozen.token

    @property
    def _who(self) -> str:
        return f"the AWS profile {self._session.profile_name!r}"

    def options(self) -> dict[str, str]:
        """Return them as delta-rs takes them: for one call, not to be kept."""
        key, secret, token = self.current()
        options = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        return options if token is None else {**options, "AWS_SESSION_TOKEN": token}

    def for_obstore(self) -> "S3Credential":
        """Return them as obstore asks for them."""
        expires_at = datetime.now(UTC) + VALID_FOR
        key, secret, token = self.current()
        return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": expires_at}

    def for_polars(self) -> tuple[dict[str, str], int | None]:
        """Return them as polars asks for them, with the time until when they are good, in seconds."""
        until = int((datetime.now(UTC) + VALID_FOR).timestamp())
        return {name.lower(): value for name, value in self.options().items()}, until


_LONGEST_FOLDER = 255
"""Bytes of a folder's name, on the file systems of Linux and macOS."""

_LONGEST_S3_FOLDER = 512
"""Bytes of a lake's folder on S3: a key has 1,024 at most, and those of a table need up to half of them."""


def why_unreadable(uri: str) -> str | None:
    """Return why not all readers can open Delta tables in a folder; None if they can.

    What polars, delta-rs and DuckDB make of each character was found out by trying: polars looks for the folder
    `a%20b` where the table is in `a b`, and delta-rs can't write to a folder with a bracket.

    Args:
        uri: A local path, or `s3://bucket/folder`.
    """
    on_s3 = uri.startswith("s3://")
    folder = uri.removeprefix("s3://").partition("/")[2] if on_s3 else uri
    unreadable = sorted({char for char in folder if not ("!" <= char <= "~") or char in '"#%<>?[\\]^`{|}'})
    if unreadable:
        shown = " ".join("a space" if char == " " else ascii(char)[1:-1] for char in unreadable)
        return (
            f"readers such as polars, delta-rs and DuckDB don't open tables in a folder with {shown}; use another "
            "folder, of a-z A-Z 0-9 . _ - (a table may be moved there as it is)"
        )
    if on_s3 and folder and {"", ".", ".."} & set(folder.split("/")):
        return "a folder on S3 can't have an empty part, or one that is . or .."
    if on_s3 and len(folder) > _LONGEST_S3_FOLDER:
        return f"a folder on S3 can have {_LONGEST_S3_FOLDER} characters at most, since keys have a limit"
    if not on_s3 and any(len(part) > _LONGEST_FOLDER for part in folder.split("/")):
        return f"a folder's name can have {_LONGEST_FOLDER} characters at most"
    return None


def looks_partitioned(uri: str) -> bool:
    """Tell whether a folder's path has a part like `key=value`, which polars takes for a partition column's value."""
    return "=" in uri


@dataclass(frozen=True)
class Location:
    """A Delta table's folder.

    Args:
        uri: A local path, `file://` or `s3://bucket/folder`.
        storage_options: What delta-rs, polars and obstore need to reach it, such as `AWS_ENDPOINT_URL`.
        credentials: Gives the keys for S3 where they may expire, in place of keys among the options.

    Raises:
        UnsupportedLocation: If the URI is of another kind, or names no folder.
    """

    uri: str
    storage_options: Mapping[str, str] = field(default_factory=dict[str, str])
    credentials: SessionCredentials | None = field(default=None, compare=False, repr=False)

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
        """The storage options as delta-rs takes them; on S3 with limits on the time, and with keys that are good now.

        For one call, not to be kept.
        """
        return {**self._lasting_options, **({} if self.credentials is None else self.credentials.options())}

    @property
    def _lasting_options(self) -> dict[str, str]:
        """The same without keys that may expire."""
        if not self.uri.startswith("s3://"):
            return dict(self.storage_options)
        given = {name.lower().removeprefix("aws_") for name in self.storage_options}
        limits = {name: value for name, value in TIME_OPTIONS.items() if name not in given}
        return {**limits, **self.storage_options}

    @property
    def polars_options(self) -> dict[str, str | int]:
        """The storage options as polars takes them, without keys that may expire."""
        options: dict[str, str | int] = {**self._lasting_options}
        if (limit := options.pop(RETRY_TIMEOUT, None)) is not None:
            options["retry_timeout_ms"] = round(_duration(str(limit)).total_seconds() * 1000)
        return options

    def store(self) -> LocalStore | S3Store:
        """Return the object store whose root is the table's folder (a local one is created)."""
        if not self.uri.startswith("s3://"):
            return LocalStore(self.uri, mkdir=True)
        parts = urlsplit(self.uri)
        options = {name.lower(): value for name, value in self._lasting_options.items()}
        retries: RetryConfig = {"retry_timeout": _duration(options.pop(RETRY_TIMEOUT))}
        client = {
            plain: options.pop(name)
            for name in tuple(options)
            if (plain := name.removeprefix("aws_")) in HTTP_OPTIONS
        }
        config = {name: value for name, value in options.items() if name not in DELTA_ONLY_OPTIONS}
        if self.credentials is not None:
            provider = self.credentials.for_obstore
        else:
            provider = None if KEY_OPTIONS & config.keys() else Boto3CredentialProvider(ttl=VALID_FOR)
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
