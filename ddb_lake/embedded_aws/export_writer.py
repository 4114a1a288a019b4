"""Writing an export's objects into its bucket: when it begins, when it ends, and again after a restart.

An export is a snapshot that the journal can show again for ever, so nothing is kept of it but what names it, and
the same bytes can be written at any time.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from ddb_lake.embedded_aws import export_files
from ddb_lake.embedded_aws.errors import BackendError
from ddb_lake.embedded_aws.export import Export
from ddb_lake.embedded_aws.export_bucket import BucketRefusal, ExportBucket
from ddb_lake.embedded_aws.journal import Change, Journal, Version
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake.embedded_aws.tables import Tables

logger = logging.getLogger(__name__)

Sized = TypeVar("Sized", Version, Change)

_INCREMENTAL_FLOOR = 10_000_000
"""Bytes that AWS bills at least for an incremental export (AWS: pricing; seen in every manifest)."""


class ExportWriter:
    """Writes the objects of exports. Callers hold the embedded AWS's lock."""

    def __init__(self, moto: MotoBackend, journal: Journal, tables: Tables) -> None:
        self._moto = moto
        self._journal = journal
        self._tables = tables

    def begin(self, export: Export) -> Export:
        """Write `_started`, as AWS does first, and return the export with why it will fail if that failed."""
        try:
            ExportBucket(self._moto, export).put(export_files.started(export))
        except BucketRefusal as refusal:
            return replace(export, failure_code=refusal.code, failure_message=refusal.message)
        return export

    def end(self, export: Export, end_us: int) -> Export:
        """Write all objects of an export, and return it COMPLETED or FAILED at this time."""
        ended = replace(export, end_us=end_us // 1_000 * 1_000)
        if export.failure_code is not None:
            return replace(ended, status="FAILED")
        files, billed_bytes = self._data_files(export)
        count = sum(file.item_count for file in files)
        completed = replace(ended, status="COMPLETED", item_count=count, billed_bytes=billed_bytes)
        try:
            _write(ExportBucket(self._moto, export), completed, files)
        except BucketRefusal as refusal:
            return replace(ended, status="FAILED", failure_code=refusal.code, failure_message=refusal.message)
        except BackendError as error:
            logger.exception("the export %s has failed", export.arn)
            return replace(ended, status="FAILED", failure_code="InternalServerError", failure_message=str(error))
        return completed

    def write_again(self, export: Export) -> None:
        """Write the objects of a COMPLETED export again, if its bucket is still there."""
        bucket = ExportBucket(self._moto, export)
        if bucket.exists():
            _write(bucket, export, self._data_files(export)[0])

    def _data_files(self, export: Export) -> tuple[list[export_files.DataFile], int]:
        """Make the data files of an export, and reckon the bytes that AWS would bill for it."""
        table = self._tables.by_id(export.table_id)
        sizes: list[int] = []
        if export.export_type == "INCREMENTAL_EXPORT":
            changes = self._journal.changes(table.id, export.from_us, export.to_us, export.sequence)
            lines = export_files.change_lines(_measured(changes, sizes), table.key, export.view)
            files = export_files.write_data_files(export, lines)
            return files, max(sum(sizes), _INCREMENTAL_FLOOR)
        items = self._journal.items(table.id, export.to_us, export.sequence)
        files = export_files.write_data_files(export, export_files.item_lines(_measured(items, sizes)))
        return files, sum(sizes)


def _measured(records: Iterable[Sized], sizes: list[int]) -> Iterator[Sized]:
    """Pass records on and note their sizes."""
    for record in records:
        sizes.append(record.size)
        yield record


def _write(bucket: ExportBucket, export: Export, files: list[export_files.DataFile]) -> None:
    """Put an export's objects into its bucket, the summary last: once it is there, the export is whole."""
    bucket.put(export_files.started(export))
    for file in files:
        bucket.upload(file)
    for manifest in export_files.manifests(export, files):
        bucket.put(manifest)
