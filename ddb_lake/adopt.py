"""Take over exports that exist: `python -m ddb_lake.adopt TABLE EXPORT…` checks them and prints what adopts them.

An EXPORT is an export's ARN or, where DynamoDB has forgotten it (after 90 days), the S3 URI of its
manifest-summary.json. The lines that are printed belong in the table's part of lake.yaml. Nothing is changed.
"""

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ddb_lake.config import DEFAULT_PATH, PATH_VARIABLE, Settings, TableSettings, load_settings, manifest_uri
from ddb_lake.errors import DdbLakeError
from ddb_lake.exports import (
    AdoptedExport,
    Export,
    ExportClient,
    ExportRequest,
    ExportStatus,
    FullExport,
    ImageView,
    IncrementalExport,
    Manifest,
    SourceTable,
    export_of_manifest,
    read_manifest,
    require_files,
    require_reported_count,
    why_not,
)
from ddb_lake.exports.errors import ExportError, ManifestDamaged, NotAdoptable
from ddb_lake.resources import DynamoDBExports
from ddb_lake.windows import Window, format_time, missing

_ARN = re.compile(r"arn:[^:]+:dynamodb:[^:]+:\d{12}:table/[^/]+/export/[^/]+")


@dataclass(frozen=True)
class Inspected:
    """An export that can be adopted: its manifest, its files' compressed bytes, and what to know of it besides."""

    adopted: AdoptedExport
    manifest: Manifest
    size: int
    remarks: tuple[str, ...]


def adopt(settings: Settings, name: str, exports: Sequence[str]) -> str:
    """Check exports, and return the lines for lake.yaml that adopt them, with comments.

    Args:
        settings: What lake.yaml says.
        name: The table's name in the lake.
        exports: ARNs and manifests' URIs.

    Raises:
        DdbLakeError: If there is no such table, or one of the exports can't be used.
    """
    table = next((each for each in settings.tables if each.name == name), None)
    if table is None:
        raise DdbLakeError(
            f"lake.yaml has no table {name!r}; name one of {', '.join(each.name for each in settings.tables)}"
        )
    client = DynamoDBExports.of(settings.aws).client(table)
    source = client.describe_table(table.table)
    inspected = [_inspect(client, source, table, text) for text in dict.fromkeys(exports)]
    full = [each.adopted for each in inspected if not isinstance(each.adopted.covers, Window)]
    if len(full) > 1:
        raise NotAdoptable(
            f"{len(full)} of the exports are full ones, but a replica starts from one; name one of them"
        )
    return "\n".join(_lines(table, inspected)) + "\n"


def _inspect(client: ExportClient, source: SourceTable, table: TableSettings, text: str) -> Inspected:
    """Check one export from its description to its files."""
    remarks: list[str] = []
    if _ARN.fullmatch(text):
        export = client.describe(text)
        if export.status is not ExportStatus.COMPLETED or export.manifest_key is None:
            raise NotAdoptable(f"{text} is {export.status}; only a completed export can be adopted")
        _require_fit(source, export)
        bucket, key = _place(f"s3://{export.bucket}/{export.manifest_key}")
        manifest = read_manifest(client.s3, bucket, key)
        require_reported_count(export, manifest)
    elif text.startswith("s3://"):
        bucket, key = _place(text)
        manifest = read_manifest(client.s3, bucket, key)
        try:
            export = client.describe(manifest.export_arn)
            _require_fit(source, export)
            require_reported_count(export, manifest)
        except (NotAdoptable, ManifestDamaged):
            raise
        except ExportError as error:
            remarks.append(f"make sure that it was made without FilterSpecification: {error}")
    else:
        raise NotAdoptable(
            f"{text!r} is neither an export's ARN (arn:aws:dynamodb:<region>:<account>:table/<name>/export/<id>) "
            "nor the URI of a manifest (s3://bucket/prefix/AWSDynamoDB/<id>/manifest-summary.json)"
        )
    request = _require_fit(source, export_of_manifest(manifest, bucket))
    size = require_files(client.s3, manifest)
    if table.old_images and manifest.view is ImageView.NEW_IMAGE:
        remarks.append("it holds no old images, which lake.yaml asks for")
    covers = request.time if isinstance(request, FullExport) else request.window
    return Inspected(AdoptedExport(bucket, key, covers), manifest, size, tuple(remarks))


def _place(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of a manifest, if lake.yaml would take it.

    Raises:
        NotAdoptable: If it would not.
    """
    try:
        bucket, _, key = manifest_uri(uri).removeprefix("s3://").partition("/")
    except ValueError as error:
        raise NotAdoptable(f"{uri!r} can't be adopted: {error}") from error
    return bucket, key


def _require_fit(source: SourceTable, export: Export) -> ExportRequest:
    """Return what an export answers.

    Raises:
        NotAdoptable: If it is of another table, in another format, or filtered.
    """
    if export.time is not None:
        request = FullExport(source, export.time)
    elif export.window is not None:
        request = IncrementalExport(source, export.window)
    else:
        raise NotAdoptable(f"{export.arn} has neither a time nor a window")
    if problem := why_not(request, export):
        raise NotAdoptable(f"{export.arn} {problem}")
    return request


def _lines(table: TableSettings, inspected: Iterable[Inspected]) -> Iterator[str]:
    """Yield the YAML of a table's `start` and `adopt`, those adopted before included."""
    found = {f"s3://{each.adopted.bucket}/{each.adopted.manifest_key}": each for each in inspected}
    full = [each.adopted.covers for each in found.values() if not isinstance(each.adopted.covers, Window)]
    start = next((time for time in full if not isinstance(time, Window)), table.start)
    entries = {
        each.manifest: each.export
        for each in table.adopt
        if isinstance(each.export.covers, Window) or not full  # a new full export replaces the one adopted before
    }
    entries |= {uri: each.adopted for uri, each in found.items()}
    windows = [each.covers for each in entries.values() if isinstance(each.covers, Window)]
    usable = [window for window in windows if window.start >= start]
    if usable and (holes := missing(Window(start, max(window.end for window in usable)), usable)):
        yield f"# ddb_lake exports by itself what is not among them: {', '.join(map(str, holes))}"
    yield f"    start: {_written(start)}"
    yield "    adopt:"
    for uri, adopted in sorted(entries.items(), key=lambda entry: _order(entry[1])):
        if uri in found:
            yield from (f"      # {' '.join(line.split())}" for line in _described(found[uri]))
        if isinstance(adopted.covers, Window) and adopted.covers.start < start:
            yield "      # it begins before start, so it is not used"
        yield f"      - manifest: {_quoted(uri)}"
        if isinstance(adopted.covers, Window):
            yield f"        from: {_written(adopted.covers.start)}"
            yield f"        to: {_written(adopted.covers.end)}"
        else:
            yield f"        time: {_written(adopted.covers)}"


def _order(adopted: AdoptedExport) -> tuple[bool, str]:
    covers = adopted.covers
    return (True, format_time(covers.start)) if isinstance(covers, Window) else (False, format_time(covers))


def _described(inspected: Inspected) -> Iterator[str]:
    manifest = inspected.manifest
    yield (
        f"{manifest.export_arn}: {manifest.item_count:,} items in {len(manifest.files):,} files of "
        f"{inspected.size:,} bytes, checksums of the manifest {manifest.verification}"
    )
    yield from inspected.remarks


def _written(time: datetime) -> str:
    """Return a time as people write it: with milliseconds where it has some."""
    return time.isoformat(timespec="milliseconds" if time.microsecond else "seconds").removesuffix("+00:00") + "Z"


def _quoted(uri: str) -> str:
    """Return a URI as YAML, in quotes where it needs them."""
    return uri if re.fullmatch(r"[A-Za-z0-9:/._=-]+", uri) else "'" + uri.replace("'", "''") + "'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m ddb_lake.adopt", description=__doc__)
    parser.add_argument("table", help="the table's name in the lake")
    parser.add_argument("exports", nargs="+", metavar="export", help="an export's ARN, or its manifest's S3 URI")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings(Path(os.environ.get(PATH_VARIABLE, DEFAULT_PATH)))
        sys.stdout.write(adopt(settings, options.table, options.exports))
    except DdbLakeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
