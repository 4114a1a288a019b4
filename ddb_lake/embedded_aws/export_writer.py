"""Writing an export's objects into its bucket: when it begins, and when it ends.

An export is a snapshot that the journal can show again for ever: where a restart comes between, the same bytes
are written once more.
"""

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from ddb_lake.embedded_aws import export_files
from ddb_lake.embedded_aws.errors import AwsError, BackendError, EmbeddedAwsError
from ddb_lake.embedded_aws.export import Export
from ddb_lake.embedded_aws.export_bucket import BucketRefusal, ExportBucket
from ddb_lake.embedded_aws.export_request import ExportType
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake.embedded_aws.s3 import S3
from ddb_lake.embedded_aws.tables import Table, Tables
from ddb_lake.embedded_aws.versions import Change, Version

logger = logging.getLogger(__name__)

Sized = TypeVar("Sized", Version, Change)

_INCREMENTAL_FLOOR = 10_000_000
"""Bytes that AWS bills at least for an incremental export (AWS: pricing; seen in every manifest)."""


class ExportWriter:
    """Writes the objects of exports. Callers of `begin` hold the embedded AWS's lock."""

    def __init__(self, s3: S3, journal: Journal, tables: Tables) -> None:
        self._s3 = s3
        self._journal = journal
        self._tables = tables
        self._stopped = threading.Event()

    def begin(self, export: Export) -> Export:
        """Write `_started`, as AWS does first, and return the export with why it will fail if that failed."""
        try:
            ExportBucket(self._s3, export).put(export_files.started(export))
        except BucketRefusal as refusal:
            return replace(export, failure_code=refusal.code, failure_message=refusal.message)
        return export

    def measure(self, table: Table, export_type: ExportType, from_us: int, to_us: int) -> tuple[int, int]:
        """Return how many items or changes an export would have now, and their size in bytes."""
        with self._journal.reader() as versions:
            sequence = versions.sequence()
            if export_type == "FULL_EXPORT":
                return versions.extent(table.id, to_us, sequence)
            sizes = [change.size for change in versions.changes(table.id, from_us, to_us, sequence)]
            return len(sizes), sum(sizes)

    def end(self, export: Export) -> Export:
        """Write all objects of an export that is due, and return it COMPLETED or FAILED.

        Raises:
            ExportStopped: If the embedded AWS stops meanwhile.
        """
        ended = _at_its_end(export)
        if export.failure_code is not None:
            return replace(ended, status="FAILED")
        bucket = ExportBucket(self._s3, export)
        try:
            bucket.put(export_files.started(export))
            files, billed_bytes = self._write_data_files(export, bucket)
            count = sum(file.item_count for file in files)
            completed = replace(ended, status="COMPLETED", item_count=count, billed_bytes=billed_bytes)
            # The summary comes last: once it is there, the export is whole.
            for manifest in export_files.manifests(completed, files):
                bucket.put(manifest)
        except BucketRefusal as refusal:
            return replace(ended, status="FAILED", failure_code=refusal.code, failure_message=refusal.message)
        except (BackendError, AwsError) as error:
            logger.exception("the export %s has failed", export.arn)
            return self.failed(export, str(error))
        return completed

    def failed(self, export: Export, reason: str) -> Export:
        """Return an export that is due as FAILED through no fault of its request."""
        return replace(
            _at_its_end(export), status="FAILED", failure_code="InternalServerError", failure_message=reason
        )

    def stop(self) -> None:
        """Let a writing that is under way end at once."""
        self._stopped.set()

    def _write_data_files(self, export: Export, bucket: ExportBucket) -> tuple[list[export_files.ListedFile], int]:
        """Upload the data files of an export, and reckon the bytes that AWS would bill for it."""
        table = self._tables.by_id(export.table_id)
        size = _Size(self._stopped)
        listed: list[export_files.ListedFile] = []
        with self._journal.reader() as versions:
            if export.export_type == "INCREMENTAL_EXPORT":
                changes = versions.changes(table.id, export.from_us, export.to_us, export.sequence)
                lines = export_files.change_lines(size.of(changes), table.key, export.view)
                floor = _INCREMENTAL_FLOOR
            else:
                items = versions.items(table.id, export.to_us, export.sequence)
                lines = export_files.item_lines(size.of(items))
                floor = 0
            for file in export_files.write_data_files(export, lines):
                bucket.upload(file)
                listed.append(file.listed)
        return listed, max(size.bytes, floor)


def _at_its_end(export: Export) -> Export:
    assert export.due_us is not None
    return replace(export, end_us=export.due_us // 1_000 * 1_000)


class ExportStopped(EmbeddedAwsError):
    """The embedded AWS stops; the export is written after the next start."""


class _Size:
    """Adds up the sizes of what passes."""

    def __init__(self, stopped: threading.Event) -> None:
        self.bytes = 0
        self._stopped = stopped

    def of(self, records: Iterable[Sized]) -> Iterator[Sized]:
        """Pass records on.

        Raises:
            ExportStopped: If that is no longer wanted.
        """
        for record in records:
            if self._stopped.is_set():
                raise ExportStopped("the embedded AWS stops while an export is being written")
            self.bytes += record.size
            yield record
