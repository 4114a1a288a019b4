"""The exports that AWS itself wrote: where their manifests are, and how they get into a bucket as they are."""

from pathlib import Path
from typing import Any

UNICORN_FULL = "AWSDynamoDB/01716790307109-5f9d6aaa/manifest-summary.json"
UNICORN_INCREMENTAL = "AWSDynamoDB/01716791487000-6ddcf8cf/manifest-summary.json"
ALL_TYPES = "dynamodb-export/AWSDynamoDB/01715685260608-c488b4e1/manifest-summary.json"


UNICORN_BUCKET = "unicornactiviti-data-export"
ALL_TYPES_BUCKET = "test-bucket"
"""The buckets that AWS wrote them to."""


def upload(s3: Any, folder: Path, bucket: str) -> None:
    """Put every file below a folder into a bucket under the same key."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            s3.put_object(Bucket=bucket, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())
