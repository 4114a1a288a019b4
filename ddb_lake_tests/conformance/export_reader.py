"""Reading a finished export by its manifests, with every checksum and count compared."""

import base64
import gzip
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ddb_lake_tests.conformance.checks import expect
from ddb_lake_tests.conformance.target import Target


@dataclass(frozen=True)
class ExportContent:
    """What is in the bucket of one export.

    Attributes:
        description: DescribeExport's answer.
        summary: The summary manifest.
        files: The lines of the files manifest.
        bodies: The bytes of the data files, in the same order.
        lines: All lines of all data files.
    """

    description: dict[str, Any]
    summary: dict[str, Any]
    files: list[dict[str, Any]]
    bodies: list[bytes]
    lines: list[dict[str, Any]]

    def items(self) -> dict[str, Any]:
        """Return the items of a full export by their `id`."""
        return {line["Item"]["id"]["S"]: line["Item"] for line in self.lines}

    def changes(self) -> dict[str, Any]:
        """Return the records of an incremental export by the `id` of their key."""
        return {line["Keys"]["id"]["S"]: line for line in self.lines}


def read_export(target: Target, export: Any) -> ExportContent:
    """Wait for an export that must succeed, and read it."""
    description = target.ended(export)
    expect("ExportStatus", description["ExportStatus"], "COMPLETED")
    summary = json.loads(_read_manifest(target, description["ExportManifest"]))
    listing = _read_manifest(target, summary["manifestFilesS3Key"])
    files = [json.loads(line) for line in listing.splitlines()]
    bodies = [target.read(file["dataFileS3Key"]) for file in files]
    lines: list[dict[str, Any]] = []
    for file, body in zip(files, bodies, strict=True):
        digest = hashlib.md5(body).digest()
        expect("md5Checksum", file["md5Checksum"], base64.b64encode(digest).decode())
        expect("etag", file["etag"], f"{hashlib.md5(digest).hexdigest()}-1")
        found = [json.loads(line) for line in gzip.decompress(body).splitlines()]
        expect("itemCount of a file", file["itemCount"], len(found))
        lines += found
    expect("itemCount", summary["itemCount"], len(lines))
    expect("ItemCount", description["ItemCount"], len(lines))
    return ExportContent(description, summary, files, bodies, lines)


def _read_manifest(target: Target, key: str) -> bytes:
    body = target.read(key)
    expect(f"the checksum of {key}", target.read(key[:-5] + ".md5"), base64.b64encode(hashlib.md5(body).digest()))
    return body
