"""Observing which S3 buckets exist, so that they exist again after a restart."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from ddb_lake.embedded_aws.journal import Bucket, Journal
from ddb_lake.embedded_aws.wire import find_in_xml

_MEANINGLESS = {"x-id"}
"""Query parameters that SDKs add without choosing another operation."""


class Buckets:
    """Keeps the journal's list of buckets.

    Args:
        journal: Where the list is.
        lock: Guards the journal; taken only for the few requests that change the list.
    """

    def __init__(self, journal: Journal, lock: AbstractContextManager[Any]) -> None:
        self._journal = journal
        self._lock = lock

    def observe(self, method: str, host: str, path: str, query: Mapping[str, object], body: bytes) -> None:
        """Take note of a request that S3 has granted, if it created or deleted a bucket.

        Args:
            method: The HTTP method.
            host: The Host header; a name before `.localhost` is a bucket (virtual-hosted style).
            path: The request's path.
            query: Its query parameters; any that means something makes it another operation.
            body: Its body, which may name the bucket's region.
        """
        if method not in ("PUT", "DELETE") or query.keys() - _MEANINGLESS:
            return
        hosted = host.partition(":")[0].removesuffix(".localhost") if ".localhost" in host else ""
        name, _, key = "/".join(part for part in (hosted, path.strip("/")) if part).partition("/")
        if not name or key:
            return
        with self._lock:
            if method == "DELETE":
                self._journal.remove_bucket(name)
                return
            self._journal.put_bucket(Bucket(name, find_in_xml(body, "LocationConstraint") or "us-east-1"))
