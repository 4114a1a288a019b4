"""An export's own account of itself, read from S3 and verified; the only truth about which files belong to it.

The layout is that of AWS: S3DataExport.Output in the DynamoDB developer guide.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from ddb_lake.exports.errors import (
    DataFileMissing,
    ManifestDamaged,
    ManifestMissing,
    WrongExport,
    translate,
)
from ddb_lake.exports.requests import ExportKind, ImageView
from ddb_lake.windows import Window, parse_time

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_T = TypeVar("_T")
MENDING = "restore it, or remove all that is under the export's own prefix and materialise again for a new export"
"""What to do about an export whose files are not what DynamoDB wrote."""

_MISSING = {"NoSuchKey", "404", "NotFound"}


class Verification(StrEnum):
    """What could be said of the manifest's two checksums."""

    VERIFIED = "verified"
    UNVERIFIABLE = "unverifiable"
    """At least one `.md5` file is absent, so there is nothing to compare with. That is no sign of damage."""


@dataclass(frozen=True)
class DataFile:
    """One data file that the manifest names.

    `md5` is the base64 MD5 of the compressed bytes, `item_count` the number of lines.
    """

    bucket: str
    key: str
    item_count: int
    md5: str

    @property
    def uri(self) -> str:
        """The file's S3 URI."""
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class Manifest:
    """A verified manifest: what was exported, and in which files.

    `time` is the instant of a full export (what was written before it is in), `window` the window of an
    incremental one; the other of the two is None. `billed_bytes` is what AWS charges for.
    """

    uri: str
    export_arn: str
    table_arn: str
    table_id: str
    kind: ExportKind
    time: datetime | None
    window: Window | None
    view: ImageView | None
    started_at: datetime
    ended_at: datetime
    item_count: int
    billed_bytes: int
    files: tuple[DataFile, ...]
    verification: Verification

    @property
    def export_id(self) -> str:
        """The last part of the export's ARN."""
        return self.export_arn.rpartition("/")[2]


def read_manifest(s3: S3Client, bucket: str, summary_key: str) -> Manifest:
    """Read `manifest-summary.json` and the `manifest-files.json` that it names, and verify both.

    Verified are the MD5 of both files where AWS's `.md5` files are there, their form, that the files' item
    counts add up to the summary's, and that no file is named twice.

    Args:
        s3: A boto3 client that may read the bucket.
        bucket: The bucket that holds the export; the name in the manifest is not used, since exports may be
            copied.
        summary_key: The key of `manifest-summary.json`, as `ExportManifest` of `DescribeExport` gives it.

    Raises:
        ManifestMissing: If one of the two files is not there.
        ManifestDamaged: If a checksum, the form or a total is wrong.
        WrongExport: If the export is in a format other than DYNAMODB_JSON.
    """
    uri = f"s3://{bucket}/{summary_key}"
    summary_bytes, summary_check = _read_checked(s3, bucket, summary_key)
    summary = _parse(summary_bytes, uri, 1)
    get = _Fields(summary, uri)
    if (output := get("outputFormat", str)) != "DYNAMODB_JSON":
        raise WrongExport(f"{uri}: the export's format is {output}; ddb_lake reads DYNAMODB_JSON only")
    files_key = get("manifestFilesS3Key", str)
    files_bytes, files_check = _read_checked(s3, bucket, files_key)
    files = _data_files(files_bytes, bucket, f"s3://{bucket}/{files_key}")

    item_count = get("itemCount", int)
    if (total := sum(file.item_count for file in files)) != item_count:
        raise ManifestDamaged(
            f"{uri}: itemCount is {item_count}, but the files of s3://{bucket}/{files_key} add up to {total}; "
            + MENDING
        )

    # A full export's manifest has no exportType, neither in any real file seen nor by the present documentation.
    kind = ExportKind.INCREMENTAL if summary.get("exportType") == "INCREMENTAL_EXPORT" else ExportKind.FULL
    incremental = kind is ExportKind.INCREMENTAL
    return Manifest(
        uri=uri,
        export_arn=get("exportArn", str),
        table_arn=get("tableArn", str),
        table_id=get("tableId", str),
        kind=kind,
        time=None if incremental else get.time("exportTime"),
        window=get.window() if incremental else None,
        view=get.view() if incremental else None,
        started_at=get.time("startTime"),
        ended_at=get.time("endTime"),
        item_count=item_count,
        billed_bytes=get("billedSizeBytes", int),
        files=files,
        verification=(Verification.VERIFIED if summary_check and files_check else Verification.UNVERIFIABLE),
    )


def require_files(s3: S3Client, manifest: Manifest) -> int:
    """Check that every data file is in the bucket.

    Returns:
        The compressed size of all files together, in bytes.

    Raises:
        DataFileMissing: If one is not there; the message names the first and how many.
    """
    size = 0
    missing: list[DataFile] = []
    for file in manifest.files:
        try:
            size += s3.head_object(Bucket=file.bucket, Key=file.key)["ContentLength"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _MISSING:
                raise translate(error, f"looking for {file.uri}") from error
            missing.append(file)
        except BotoCoreError as error:
            raise translate(error, f"looking for {file.uri}") from error
    if missing:
        raise missing_file(missing[0], manifest.uri, len(missing))
    return size


def missing_file(file: DataFile, manifest_uri: str, count: int = 1) -> DataFileMissing:
    """Return the error for a data file that the manifest names and the bucket does not have."""
    others = f" ({count} files are missing)" if count > 1 else ""
    return DataFileMissing(f"{file.uri} is not there, though {manifest_uri} names it{others}; {MENDING}")


class _Fields:
    """Typed access to a manifest's members, which names the file and the member when one is not as it must be."""

    def __init__(self, members: dict[str, Any], uri: str) -> None:
        self._members = members
        self._uri = uri

    def __call__(self, name: str, kind: type[_T]) -> _T:
        value = self._members.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ManifestDamaged(f"{self._uri}: {name} is {value!r}, not of the type {kind.__name__}")
        return value

    def _parsed(self, name: str, parse: Callable[[str], _T], what: str) -> _T:
        text = self(name, str)
        try:
            return parse(text)
        except ValueError as error:
            raise ManifestDamaged(f"{self._uri}: {name} is {text!r}, not {what}") from error

    def time(self, name: str) -> datetime:
        return self._parsed(name, parse_time, "a time")

    def view(self) -> ImageView:
        return self._parsed("outputView", ImageView, "NEW_IMAGE or NEW_AND_OLD_IMAGES")

    def window(self) -> Window:
        start, end = self.time("exportFromTime"), self.time("exportToTime")
        if start >= end:
            raise ManifestDamaged(f"{self._uri}: exportFromTime {start} is not before exportToTime {end}")
        return Window(start, end)


def _data_files(content: bytes, bucket: str, uri: str) -> tuple[DataFile, ...]:
    files: list[DataFile] = []
    for number, line in enumerate(content.splitlines(), start=1):
        get = _Fields(_parse(line, uri, number), f"{uri}, line {number}")
        files.append(DataFile(bucket, get("dataFileS3Key", str), get("itemCount", int), get("md5Checksum", str)))
    if len({file.key for file in files}) != len(files):
        raise ManifestDamaged(f"{uri}: a data file is named twice")
    return tuple(files)


def _parse(content: bytes, uri: str, line: int) -> dict[str, Any]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ManifestDamaged(f"{uri}, line {line}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ManifestDamaged(f"{uri}, line {line}: not a JSON object")
    return cast("dict[str, Any]", value)


def _read_checked(s3: S3Client, bucket: str, key: str) -> tuple[bytes, bool]:
    """Return an object's bytes, and whether there was a checksum beside it to verify them by."""
    content = _read(s3, bucket, key)
    if content is None:
        raise ManifestMissing(f"s3://{bucket}/{key} is not there; {MENDING}")
    checksum = _read(s3, bucket, key.removesuffix(".json") + ".md5")
    if checksum is None:
        return content, False
    actual = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest())
    if actual != checksum.strip():
        raise ManifestDamaged(
            f"s3://{bucket}/{key}: its MD5 is {actual.decode()}, but the .md5 file beside it says "
            f"{checksum.strip().decode(errors='replace')}; {MENDING}"
        )
    return content, True


def _read(s3: S3Client, bucket: str, key: str) -> bytes | None:
    """Return an object's bytes, or None if it is not there."""
    try:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _MISSING:
            return None
        raise translate(error, f"reading s3://{bucket}/{key}") from error
    except BotoCoreError as error:
        raise translate(error, f"reading s3://{bucket}/{key}") from error
