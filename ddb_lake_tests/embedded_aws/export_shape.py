"""How an export's objects differ from those of an export that AWS wrote, object by object and field by field.

What AWS makes up (account, table id, random parts of names, checksums) is held to its form; all else must be equal,
down to the order of members, the spaces and the newlines.
"""

import base64
import gzip
import hashlib
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MADE_UP = (
    (re.compile(r"(?<=\d{14}-)[0-9a-f]{8}"), "<random>"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<uuid>"),
    (re.compile(r"(?<=:)\d{12}(?=:table/)"), "<account>"),
    (re.compile(r"(?<=data/)[a-z2-7]{26}(?=\.json\.gz)"), "<name>"),
    (re.compile(r"(?<![0-9a-f])[0-9a-f]{32}-1(?!\d)"), "<etag of one part>"),
    (re.compile(r"[A-Za-z0-9+/]{21}[AQgw]=="), "<md5>"),
)
_COUNTS = re.compile(r'(?<="itemCount":)\d+|(?<="billedSizeBytes":)\d+')
_GZIP_HEADER_BYTES = 10


@dataclass(frozen=True)
class ExportInBucket:
    """An export as it lies in a bucket.

    Attributes:
        objects: Its objects by their keys.
        summary_key: The key of the export's manifest-summary.json.
    """

    objects: Mapping[str, bytes]
    summary_key: str

    @property
    def folder(self) -> str:
        """The export's own folder, with its slash."""
        return self.summary_key.removesuffix("manifest-summary.json")

    @property
    def summary(self) -> bytes:
        """The bytes of manifest-summary.json."""
        return self.objects[self.summary_key]

    @property
    def listing(self) -> bytes:
        """The bytes of manifest-files.json."""
        return self.objects[f"{self.folder}manifest-files.json"]

    def files(self) -> list[dict[str, Any]]:
        """The entries of manifest-files.json."""
        return [json.loads(line) for line in self.listing.splitlines()]

    def bodies(self) -> list[bytes]:
        """The data files, compressed, in the order of the listing."""
        return [self.objects[file["dataFileS3Key"]] for file in self.files()]

    def lines(self) -> list[bytes]:
        """The lines of all data files, with their newlines."""
        return [line for body in self.bodies() for line in gzip.decompress(body).splitlines(keepends=True)]


def one_export(objects: Mapping[str, bytes], summary_key: str) -> ExportInBucket:
    """Take one export's objects out of those of a bucket.

    Args:
        objects: The bucket's objects; it has at most one incremental export, since those share their data folder.
        summary_key: The key of the export's manifest-summary.json.
    """
    folder = summary_key.removesuffix("manifest-summary.json")
    parent = folder.removesuffix("/").rpartition("/")[0]
    is_incremental = b'"INCREMENTAL_EXPORT"' in objects[summary_key]
    folders = (folder, f"{parent}/data/") if is_incremental else (folder,)
    return ExportInBucket({key: body for key, body in objects.items() if key.startswith(folders)}, summary_key)


def real_export(folder: Path, summary_key: str) -> ExportInBucket:
    """Read an export that AWS wrote from a folder that is the copy of a bucket."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return one_export({path.relative_to(folder).as_posix(): path.read_bytes() for path in files}, summary_key)


def differences(
    ours: ExportInBucket, real: ExportInBucket, expected: Sequence[bytes], lost: frozenset[str] = frozenset()
) -> list[str]:
    """Return every difference between an export and one that AWS wrote, in words; none if they are alike.

    Args:
        ours: The export.
        real: The export that AWS wrote of the same table at the same times.
        expected: The lines of the real export that ours must have: those of the items that its table has.
        lost: Objects of the export's own folder that the real one has had but that nobody has kept.
    """
    found = list(_of_keys(ours, real, lost))
    if found:
        return found  # nothing else can be looked up
    found += _of_documents("manifest-summary.json", [ours.summary], [real.summary])
    found += _of_documents("manifest-files.json", _documents(ours.listing), _documents(real.listing))
    found += _of_checksums(ours, real, lost)
    found += _of_gzip(ours, real)
    found += _of_lines(ours.lines(), expected)
    return found


def _of_keys(ours: ExportInBucket, real: ExportInBucket, lost: frozenset[str]) -> Iterator[str]:
    counts = Counter(map(form, ours.objects))
    counts.subtract(map(form, real.objects))
    counts.subtract(form(real.folder + name) for name in lost)
    for key, surplus in sorted(counts.items()):
        if surplus:
            yield f"objects like {key}: {abs(surplus)} {'too many' if surplus > 0 else 'missing'}"


def form(text: str) -> str:
    """Return a text with everything that AWS makes up replaced by the name of its form."""
    for pattern, name in _MADE_UP:
        text = pattern.sub(name, text)
    return text


def _documents(listing: bytes) -> list[bytes]:
    return listing.splitlines(keepends=True)


def _of_documents(name: str, ours: list[bytes], real: list[bytes]) -> Iterator[str]:
    if len(ours) != len(real):
        yield f"{name} has {len(ours)} lines, the real one {len(real)}"
    for our_text, real_text in zip(ours, real, strict=False):
        our_fields, real_fields = json.loads(our_text), json.loads(real_text)
        if list(our_fields) != list(real_fields):
            yield f"{name} has the members {list(our_fields)}, the real one {list(real_fields)}"
            continue
        of_fields = [
            f"{name}: {member} is {our_fields[member]!r}, the real one {real_fields[member]!r}"
            for member in real_fields
            if _field(our_fields[member]) != _field(real_fields[member])
        ]
        yield from of_fields
        if not of_fields and _raw(our_text) != _raw(real_text):
            yield f"{name} is formatted as {our_text!r}, the real one as {real_text!r}"


def _field(value: object) -> object:
    """Return what of a value must be equal: of a number its type, since the real table has more items."""
    return form(value) if isinstance(value, str) else type(value)


def _raw(text: bytes) -> str:
    return _COUNTS.sub("<count>", form(text.decode()))


def _of_checksums(ours: ExportInBucket, real: ExportInBucket, lost: frozenset[str]) -> Iterator[str]:
    for name in ("manifest-files", "manifest-summary"):
        checksum = ours.objects[f"{ours.folder}{name}.md5"]
        if checksum != _md5(ours.objects[f"{ours.folder}{name}.json"]):
            yield f"{name}.md5 is {checksum!r}, which is not the MD5 of {name}.json"
        real_key = f"{real.folder}{name}.md5"
        if f"{name}.md5" not in lost and len(checksum) != len(real.objects[real_key]):
            yield f"{name}.md5 has {len(checksum)} bytes, the real one {len(real.objects[real_key])}"
    for rule, holds in _FILE_RULES.items():
        for export, whose in ((ours, "our"), (real, "the real")):
            for file, body in zip(export.files(), export.bodies(), strict=True):
                if not holds(file, body):
                    yield f"{whose} {file['dataFileS3Key']} in manifest-files.json: {rule} is not {file}"
    if json.loads(ours.summary)["itemCount"] != len(ours.lines()):
        yield f"manifest-summary.json: itemCount is not the number of lines, {len(ours.lines())}"
    for name in {"_started"} - lost:
        if ours.objects[ours.folder + name] != real.objects[real.folder + name]:
            yield f"{name} is not as the real one"


_FILE_RULES: Mapping[str, Callable[[dict[str, Any], bytes], bool]] = {
    "itemCount": lambda file, body: file["itemCount"] == gzip.decompress(body).count(b"\n"),
    "md5Checksum": lambda file, body: file["md5Checksum"].encode() == _md5(body),
    "etag": lambda file, body: file["etag"] == hashlib.md5(hashlib.md5(body).digest()).hexdigest() + "-1",
}


def _md5(body: bytes) -> bytes:
    return base64.b64encode(hashlib.md5(body).digest())


def _of_gzip(ours: ExportInBucket, real: ExportInBucket) -> Iterator[str]:
    real_headers = {body[:_GZIP_HEADER_BYTES] for body in real.bodies()}
    for file, body in zip(ours.files(), ours.bodies(), strict=True):
        if body[:_GZIP_HEADER_BYTES] not in real_headers:
            yield f"{file['dataFileS3Key']} begins with {body[:_GZIP_HEADER_BYTES].hex()}, real ones differently"
        member = zlib.decompressobj(wbits=31)
        text = member.decompress(body)
        if not member.eof or member.unused_data:
            yield f"{file['dataFileS3Key']} is not one gzip member and no more"
        if text and not text.endswith(b"\n"):
            yield f"{file['dataFileS3Key']} ends without a newline"


def _of_lines(ours: Iterable[bytes], expected: Iterable[bytes]) -> Iterator[str]:
    surplus = Counter(ours)
    surplus.subtract(expected)
    missing = [line for line, count in surplus.items() if count < 0]
    for line in (line for line, count in surplus.items() if count > 0):
        record = json.loads(line)
        same = [real for real in missing if json.loads(real) == record]
        if same:
            missing.remove(same[0])
            yield f"a line is written as {line!r}, the real one as {same[0]!r}"
        else:
            yield f"no real line says what {line!r} says"
    yield from (f"no line says what the real {line!r} says" for line in missing)
