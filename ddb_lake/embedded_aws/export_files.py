"""The bytes of an export: data files, manifests, their names and where they lie in the bucket.

Same input, same bytes: gzip carries no time, and names derive from the export's id. Layout and field order are
those of exports that AWS wrote (AWS: developer guide, S3DataExport.Output).
"""

import base64
import gzip
import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from ddb_lake.embedded_aws.export import Export
from ddb_lake.embedded_aws.keys import KeySchema, first_key_after
from ddb_lake.embedded_aws.versions import Change, Version
from ddb_lake.windows import from_us

_FULL_VERSION = "2020-06-30"
_INCREMENTAL_VERSION = "2023-08-01"

_LEVEL = 6
_LINES_AT_ONCE = 256


@dataclass(frozen=True)
class Line:
    """One line of a data file, with the encoded key that decides which file it is in."""

    key: bytes
    text: bytes


@dataclass(frozen=True)
class ListedFile:
    """What the manifest tells of a data file: its key in the bucket, the number of lines, and its MD5."""

    s3_key: str
    item_count: int
    md5: bytes


@dataclass(frozen=True)
class DataFile:
    """A finished data file: what the manifest tells of it, and its gzip'd bytes."""

    listed: ListedFile
    body: bytes

    @property
    def s3_key(self) -> str:
        """Its key in the bucket."""
        return self.listed.s3_key


@dataclass(frozen=True)
class S3Object:
    """An object to be put into the export's bucket."""

    key: str
    body: bytes


def item_lines(items: Iterable[Version]) -> Iterator[Line]:
    """Yield a full export's lines; attributes stay in the order in which they were written."""
    for item in items:
        assert item.image is not None
        yield Line(item.key, b'{"Item":%b}\n' % item.image)


def change_lines(changes: Iterable[Change], key: KeySchema, view: str) -> Iterator[Line]:
    """Yield an incremental export's lines; attributes within the images are in alphabetical order."""
    for change in changes:
        old = None if change.old is None else orjson.loads(change.old)
        new = None if change.new is None else orjson.loads(change.new)
        some = new if old is None else old
        assert some is not None
        text = b'{"Metadata":{"WriteTimestampMicros":{"N":"%d"}},"Keys":%b' % (
            change.us,
            _alphabetical(key.of(some)),
        )
        if old is not None and view != "NEW_IMAGE":
            text += b',"OldImage":' + _alphabetical(old)
        if new is not None:
            text += b',"NewImage":' + _alphabetical(new)
        yield Line(change.key, text + b"}\n")


def write_data_files(export: Export, lines: Iterable[Line]) -> Iterator[DataFile]:
    """Distribute lines over the export's files by the hash of the partition key; empty files are files too.

    One file after the other, so that no more than one is in memory.

    Args:
        export: The export; says how many files there are.
        lines: In the order of their keys.
    """
    pending = iter(lines)
    line = next(pending, None)
    for index in range(export.files):
        end = first_key_after(index, export.files)
        buffer = io.BytesIO()
        count = 0
        # An empty name, mtime 0 and this level give the header that AWS writes (since 2024; its last byte, the
        # operating system, was 00 in 2020), and without lines the 20 bytes of its empty files.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=buffer, mtime=0) as compressed:
            texts: list[bytes] = []
            while line is not None and (end is None or line.key < end):
                texts.append(line.text)
                if len(texts) == _LINES_AT_ONCE:
                    count += len(texts)
                    compressed.write(b"".join(texts))
                    texts.clear()
                line = next(pending, None)
            count += len(texts)
            compressed.write(b"".join(texts))
        body = buffer.getvalue()
        digest = hashlib.md5(body, usedforsecurity=False).digest()
        yield DataFile(ListedFile(_data_folder(export) + _file_name(export, index), count, digest), body)


def started(export: Export) -> S3Object:
    """Return the empty object that AWS writes first, to see whether it may."""
    return S3Object(_export_folder(export) + "_started", b"")


def manifests(export: Export, files: Iterable[ListedFile]) -> list[S3Object]:
    """Return the export's manifests and their checksums, the summary last of the manifests.

    Args:
        export: The export, COMPLETED.
        files: Its data files.
    """
    listing = b"".join(map(_manifest_line, files))
    summary = orjson.dumps(_summary(export))
    folder = _export_folder(export)
    return [
        S3Object(folder + "manifest-files.json", listing),
        S3Object(folder + "manifest-files.md5", _md5(listing)),
        S3Object(folder + "manifest-summary.md5", _md5(summary)),
        S3Object(summary_key(export), summary),
    ]


def summary_key(export: Export) -> str:
    """Return the key of manifest-summary.json, which DescribeExport calls ExportManifest."""
    return _export_folder(export) + "manifest-summary.json"


def folders(export: Export) -> tuple[str, ...]:
    """Return the folders that an export writes into."""
    return _export_folder(export), _data_folder(export)


def _summary(export: Export) -> dict[str, Any]:
    incremental = export.export_type == "INCREMENTAL_EXPORT"
    assert export.end_us is not None
    fields: dict[str, Any] = {
        "version": _INCREMENTAL_VERSION if incremental else _FULL_VERSION,
        "exportArn": export.arn,
        "startTime": _timestamp(export.start_us),
        "endTime": _timestamp(export.end_us),
        "tableArn": export.table_arn,
        "tableId": export.table_id,
    }
    if incremental:
        fields["exportFromTime"] = _timestamp(export.from_us)
        fields["exportToTime"] = _timestamp(export.to_us)
    else:
        fields["exportTime"] = _timestamp(export.to_us)
    fields |= {
        "s3Bucket": export.s3_bucket,
        "s3Prefix": export.s3_prefix,
        "s3SseAlgorithm": export.sse_algorithm,
        "s3SseKmsKeyId": export.kms_key_id,
        "manifestFilesS3Key": _export_folder(export) + "manifest-files.json",
        "billedSizeBytes": export.billed_bytes,
        "itemCount": export.item_count,
        "outputFormat": "DYNAMODB_JSON",
    }
    if incremental:
        # Only incremental manifests say these two.
        fields |= {"outputView": export.view, "exportType": export.export_type}
    return fields


def _manifest_line(file: ListedFile) -> bytes:
    # S3's ETag of an object uploaded in one part.
    etag = hashlib.md5(file.md5, usedforsecurity=False).hexdigest() + "-1"
    fields = {
        "itemCount": file.item_count,
        "md5Checksum": base64.b64encode(file.md5).decode(),
        "etag": etag,
        "dataFileS3Key": file.s3_key,
    }
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _root(export: Export) -> str:
    prefix = export.s3_prefix or ""
    return f"{prefix}AWSDynamoDB/" if not prefix or prefix.endswith("/") else f"{prefix}/AWSDynamoDB/"


def _export_folder(export: Export) -> str:
    return f"{_root(export)}{export.id}/"


def _data_folder(export: Export) -> str:
    shared = export.export_type == "INCREMENTAL_EXPORT"
    return f"{_root(export) if shared else _export_folder(export)}data/"


def _file_name(export: Export, index: int) -> str:
    digest = hashlib.blake2b(f"{export.arn}#{index}".encode(), digest_size=16).digest()
    return base64.b32encode(digest).decode().rstrip("=").lower() + ".json.gz"


def _timestamp(us: int) -> str:
    """Write a time as the manifests do: ISO 8601 in UTC with three decimals."""
    return from_us(us).strftime("%Y-%m-%dT%H:%M:%S.") + f"{us // 1_000 % 1_000:03d}Z"


def _md5(body: bytes) -> bytes:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest())


def _alphabetical(image: Any) -> bytes:
    return orjson.dumps(image, option=orjson.OPT_SORT_KEYS)
