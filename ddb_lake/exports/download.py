"""Data files from S3 to local disk, whole and verified, so that decoding reads nothing else."""

from __future__ import annotations

import base64
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from ddb_lake.exports.errors import DataFileDamaged, translate
from ddb_lake.exports.manifest import MENDING, DataFile, Manifest, missing_file, require_size

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 20
_TRIES = 3
"""boto3 repeats no body that ends early or arrives corrupted, so a damaged one is read again: twice."""


def download(s3: S3Client, file: DataFile, manifest: Manifest, folder: Path) -> Path:
    """Copy a data file into a folder and verify its MD5.

    Args:
        s3: A boto3 client that may read the bucket.
        file: One of the manifest's files.
        manifest: The manifest that names it, for messages.
        folder: Where the copy goes, under a name that no file of another key gets.

    Returns:
        The local path of the verified, still compressed copy.

    Raises:
        DataFileMissing: If the file is not in the bucket.
        DataFileDamaged: If its bytes are not those that the manifest's checksum was made of.
    """
    path = folder / f"{hashlib.blake2b(file.key.encode(), digest_size=16).hexdigest()}.gz"
    problem = ""
    for _ in range(_TRIES):
        try:
            actual = _copy(s3, file, path)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"NoSuchKey", "404"}:
                raise missing_file(file, manifest.uri) from error
            raise translate(error, f"reading {file.uri}") from error
        except (BotoCoreError, HTTPError, ConnectionError) as error:
            problem = f"it could not be read to its end ({error})"
        else:
            if actual == file.md5:
                return path
            problem = f"its MD5 is {actual}, but the export's manifest-files.json says {file.md5}"
        _LOG.warning("%s: %s", file.uri, problem)
    path.unlink(missing_ok=True)
    raise DataFileDamaged(f"{file.uri}: {problem}; read {_TRIES} times; {MENDING}")


def _copy(s3: S3Client, file: DataFile, path: Path) -> str:
    """Write an object's bytes to a path and return their base64 MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    answer = s3.get_object(Bucket=file.bucket, Key=file.key)
    body = answer["Body"]
    with body, path.open("wb") as copy:
        require_size(file, answer["ContentLength"])
        for chunk in body.iter_chunks(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    return base64.b64encode(digest.digest()).decode()
