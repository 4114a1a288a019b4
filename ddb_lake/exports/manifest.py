"""An export's own account of itself, read from S3 and verified; the only truth about which files belong to it.

The layout is that of AWS: S3DataExport.Output in the DynamoDB developer guide.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from ddb_lake.exports.errors import (
    DataFileDamaged,
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

_LOOKS_AT_ONCE = 10
"""Data files that are looked for together: as many as a boto3 client has connections."""

_MISSING = {"NoSuchKey", "404", "NotFound"}

LARGEST_SUMMARY = 64 * 2**10
"""Bytes of a manifest-summary.json; those of AWS have less than a thousand."""

LARGEST_LISTING = 256 * 2**20
"""Bytes of a manifest-files.json."""

LARGEST_CHECKSUM = 2**10
"""Bytes of an .md5 file; those of AWS have 24."""

MOST_FILES = 500_000
"""Data files of an export. There is about one for each partition of a table, which holds up to 10 GB."""

MOST_ITEMS = 10**13
"""Lines of an export: far more than any table has items."""

LARGEST_FILE = 64 * 2**30
"""Bytes of a compressed data file; a partition of 10 GB stays far below it."""

_SHORTEST_LINE = len('{"Item":{"a":{"N":"1"}}}')
_DEFLATE_RATIO = 1032
"""No deflate stream grows by more than this (zlib: "Maximum Compression Factor")."""

EXPORT_ID = re.compile(r"\d{14}-[0-9a-f]{8}", re.ASCII)
"""What DynamoDB calls the folders of exports: the milliseconds of the start and 8 hex digits."""

SUMMARY_KEY = re.compile(
    rf"(?P<root>(?:(?P<prefix>.+)/)?AWSDynamoDB/)(?P<id>{EXPORT_ID.pattern})/manifest-summary\.json",
    re.DOTALL | re.ASCII,
)
"""The key of an export's manifest."""

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.json\.gz")
_LONGEST_KEY = 1024
_CHUNK = 2**16
_SHOWN = 200
"""Characters of a wrong value that a message shows."""


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


def read_manifest(s3: S3Client, bucket: str, summary_key: str, *, original_bucket: str | None = None) -> Manifest:
    """Read `manifest-summary.json` and the `manifest-files.json` that it names, and verify both.

    Verified are the MD5 of both files where AWS's `.md5` files are there, their form, that the files' item
    counts add up to the summary's, and that no file is named twice. Since whoever can write a manifest can write
    its MD5 too, nothing in it is followed out of the export: it must name the bucket that it was found in, its own
    folder, and data files that lie where DynamoDB puts those of this export. Sizes and counts have limits.

    Args:
        s3: A boto3 client that may read the bucket.
        bucket: The bucket that holds the export.
        summary_key: The key of `manifest-summary.json`, as `ExportManifest` of `DescribeExport` gives it.
        original_bucket: The bucket that DynamoDB wrote the export to, where it was copied from there under the
            same keys.

    Raises:
        ManifestMissing: If one of the two files is not there.
        ManifestDamaged: If a checksum, the form, a limit or a total is wrong, or it names what is not the export's.
        WrongExport: If the export is in a format other than DYNAMODB_JSON, or was written to another bucket.
    """
    uri = f"s3://{bucket}/{summary_key[:_LONGEST_KEY]}"
    place = SUMMARY_KEY.fullmatch(summary_key)
    if place is None:
        raise ManifestDamaged(f"{uri}: not …/AWSDynamoDB/<export id>/manifest-summary.json; it was not fetched")
    if why := _why_unsafe(summary_key):
        raise ManifestDamaged(f"{uri}: {why}; it was not fetched")
    folder = f"{place['root']}{place['id']}/"
    summary_bytes, summary_check = _read_checked(s3, bucket, summary_key, LARGEST_SUMMARY)
    summary = _parse(summary_bytes, uri, 1)
    get = _Fields(summary, uri)
    if (output := get("outputFormat", str)) != "DYNAMODB_JSON":
        raise WrongExport(f"{uri}: the export's format is {output}; ddb_lake reads DYNAMODB_JSON only")
    if (written_to := get("s3Bucket", str)) != (original_bucket or bucket):
        raise WrongExport(
            f"{uri}: s3Bucket is {_shown(written_to)}: the export was written to another bucket. What to do: "
            "read it there; " + MENDING
        )
    table_arn, export_arn = get("tableArn", str), get("exportArn", str)
    if export_arn != f"{table_arn}/export/{place['id']}":
        raise ManifestDamaged(
            f"{uri}: exportArn is {_shown(export_arn)}, but the folder is that of an export {place['id']} of "
            f"{_shown(table_arn)}; {MENDING}"
        )
    files_key = get("manifestFilesS3Key", str)
    if why := _why_outside(files_key, folder):
        raise ManifestDamaged(f"{uri}: manifestFilesS3Key {why}; it was not fetched; {MENDING}")
    # A full export's manifest has no exportType, neither in any real file seen nor by the present documentation.
    kind = ExportKind.INCREMENTAL if summary.get("exportType") == "INCREMENTAL_EXPORT" else ExportKind.FULL
    incremental = kind is ExportKind.INCREMENTAL
    files_bytes, files_check = _read_checked(s3, bucket, files_key, LARGEST_LISTING)
    # Full exports have a folder of their own, incremental ones share that beside it (AWS: S3DataExport.Output).
    folders = (f"{folder}data/", f"{place['root']}data/") if incremental else (f"{folder}data/",)
    files = _data_files(files_bytes, bucket, folders, f"s3://{bucket}/{files_key}")

    item_count = get.count("itemCount", MOST_ITEMS)
    if (total := sum(file.item_count for file in files)) != item_count:
        raise ManifestDamaged(
            f"{uri}: itemCount is {item_count}, but the files of s3://{bucket}/{files_key} add up to {total}; "
            + MENDING
        )

    return Manifest(
        uri=uri,
        export_arn=export_arn,
        table_arn=table_arn,
        table_id=get("tableId", str),
        kind=kind,
        time=None if incremental else get.time("exportTime"),
        window=get.window() if incremental else None,
        view=get.view() if incremental else None,
        started_at=get.time("startTime"),
        ended_at=get.time("endTime"),
        item_count=item_count,
        billed_bytes=get.count("billedSizeBytes", 2**63),
        files=files,
        verification=(Verification.VERIFIED if summary_check and files_check else Verification.UNVERIFIABLE),
    )


def require_files(s3: S3Client, manifest: Manifest) -> int:
    """Check that every data file is in the bucket, and can hold what the manifest says.

    Returns:
        The compressed size of all files together, in bytes.

    Raises:
        DataFileMissing: If one is not there; the message names the first and how many.
        DataFileDamaged: If one is too large for any export, or too small for its number of lines.
    """

    def size_of(file: DataFile) -> int | None:
        try:
            return require_size(file, s3.head_object(Bucket=file.bucket, Key=file.key)["ContentLength"])
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _MISSING:
                raise translate(error, f"looking for {file.uri}") from error
            return None
        except BotoCoreError as error:
            raise translate(error, f"looking for {file.uri}") from error

    if not manifest.files:
        return 0
    with ThreadPoolExecutor(min(_LOOKS_AT_ONCE, len(manifest.files))) as pool:
        sizes = list(pool.map(size_of, manifest.files))
    missing = [file for file, size in zip(manifest.files, sizes, strict=True) if size is None]
    if missing:
        raise missing_file(missing[0], manifest.uri, len(missing))
    return sum(size or 0 for size in sizes)


def require_size(file: DataFile, size: int) -> int:
    """Return a data file's compressed size in bytes if it can be right.

    Raises:
        DataFileDamaged: If it is too large for any export, or too small for its number of lines.
    """
    if size > LARGEST_FILE:
        raise DataFileDamaged(
            f"{file.uri} has {size:,} bytes, more than the {LARGEST_FILE:,} that a data file can have; it was not "
            f"fetched; {MENDING}"
        )
    if file.item_count * _SHORTEST_LINE > size * _DEFLATE_RATIO:
        raise DataFileDamaged(
            f"{file.uri} has {size:,} bytes, too few for the {file.item_count:,} lines that its manifest says; "
            f"it was not fetched; {MENDING}"
        )
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
            raise ManifestDamaged(
                f"{self._uri}: {name} is {_shown(value)}, not of the type {kind.__name__}; {MENDING}"
            )
        return value

    def count(self, name: str, most: int) -> int:
        number = self(name, int)
        if not 0 <= number <= most:
            raise ManifestDamaged(f"{self._uri}: {name} is {number}, not a count from 0 to {most:,}; {MENDING}")
        return number

    def md5(self, name: str) -> str:
        text = self(name, str)
        try:
            length = len(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            length = 0
        if length != hashlib.md5(usedforsecurity=False).digest_size:
            raise ManifestDamaged(f"{self._uri}: {name} is {_shown(text)}, not the base64 of an MD5; {MENDING}")
        return text

    def _parsed(self, name: str, parse: Callable[[str], _T], what: str) -> _T:
        text = self(name, str)
        try:
            return parse(text)
        except (ValueError, OverflowError) as error:
            raise ManifestDamaged(f"{self._uri}: {name} is {_shown(text)}, not {what}; {MENDING}") from error

    def time(self, name: str) -> datetime:
        return self._parsed(name, parse_time, "a time")

    def view(self) -> ImageView:
        return self._parsed("outputView", ImageView, "NEW_IMAGE or NEW_AND_OLD_IMAGES")

    def window(self) -> Window:
        start, end = self.time("exportFromTime"), self.time("exportToTime")
        if start >= end:
            raise ManifestDamaged(f"{self._uri}: exportFromTime {start} is not before exportToTime {end}; {MENDING}")
        return Window(start, end)


def _data_files(content: bytes, bucket: str, folders: tuple[str, ...], uri: str) -> tuple[DataFile, ...]:
    lines = content.splitlines()
    if len(lines) > MOST_FILES:
        raise ManifestDamaged(f"{uri}: {len(lines):,} lines, more than any export has files; {MENDING}")
    files: list[DataFile] = []
    for number, line in enumerate(lines, start=1):
        get = _Fields(_parse(line, uri, number), f"{uri}, line {number}")
        key = get("dataFileS3Key", str)
        why = _why_outside(key, *folders)
        name = key
        for folder in folders:
            name = name.removeprefix(folder)
        if not why and not _FILE_NAME.fullmatch(name):
            why = f"is {_shown(key)}, whose name is not that of a data file (.json.gz)"
        if why:
            raise ManifestDamaged(f"{uri}, line {number}: dataFileS3Key {why}; it was not fetched; {MENDING}")
        files.append(DataFile(bucket, key, get.count("itemCount", MOST_ITEMS), get.md5("md5Checksum")))
    if len({file.key for file in files}) != len(files):
        raise ManifestDamaged(f"{uri}: a data file is named twice; {MENDING}")
    return tuple(files)


def _parse(content: bytes, uri: str, line: int) -> dict[str, Any]:
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ManifestDamaged(f"{uri}, line {line}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ManifestDamaged(f"{uri}, line {line}: not a JSON object")
    return cast("dict[str, Any]", value)


def _why_unsafe(key: str) -> str:
    """Return why a key can't be fetched as it is written; empty if it can.

    HTTP clients resolve `.` and `..` in a URL, so that such a key would fetch another object.
    """
    if any(ord(char) < 32 or ord(char) == 127 for char in key):
        return f"is {_shown(key)}, which has control characters"
    if {"", ".", ".."} & set(key.split("/")):
        return f"is {_shown(key)}, which has an empty part, or one that is . or .."
    if len(key.encode(errors="replace")) > _LONGEST_KEY:
        return f"is {_shown(key)}, longer than the {_LONGEST_KEY} bytes of a key of S3"
    return ""


def _why_outside(key: str, *folders: str) -> str:
    """Return why a key may not be fetched as part of what lies under some folders; empty if it may."""
    if why := _why_unsafe(key):
        return why
    return "" if key.startswith(folders) else f"is {_shown(key)}, which is not under {' or '.join(folders)}"


def _shown(value: object) -> str:
    """Return a value's repr as a message shows it: not whole where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _read_checked(s3: S3Client, bucket: str, key: str, limit: int) -> tuple[bytes, bool]:
    """Return an object's bytes, and whether there was a checksum beside it to verify them by."""
    content = _read(s3, bucket, key, limit)
    if content is None:
        raise ManifestMissing(f"s3://{bucket}/{key} is not there; {MENDING}")
    checksum = _read(s3, bucket, key.removesuffix(".json") + ".md5", LARGEST_CHECKSUM)
    if checksum is None:
        return content, False
    actual = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest())
    if actual != checksum.strip():
        raise ManifestDamaged(
            f"s3://{bucket}/{key}: its MD5 is {actual.decode()}, but the .md5 file beside it says "
            f"{checksum.strip().decode(errors='replace')}; {MENDING}"
        )
    return content, True


def _read(s3: S3Client, bucket: str, key: str, limit: int) -> bytes | None:
    """Return an object's bytes, or None if it is not there.

    Raises:
        ManifestDamaged: If it has more bytes than the limit; no more than that is read.
    """
    try:
        content = bytearray()
        body = s3.get_object(Bucket=bucket, Key=key)["Body"]
        with body:
            # To its end, where boto3 notices a body that is cut off.
            while chunk := body.read(_CHUNK):
                content += chunk
                if len(content) > limit:
                    raise ManifestDamaged(
                        f"s3://{bucket}/{key} has more than {limit:,} bytes, more than any that DynamoDB writes; "
                        + MENDING
                    )
        return bytes(content)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _MISSING:
            return None
        raise translate(error, f"reading s3://{bucket}/{key}") from error
    except BotoCoreError as error:
        raise translate(error, f"reading s3://{bucket}/{key}") from error
