"""The thread that writes the files of exports that are due, so that no writer of items waits for it."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import Any

from ddb_lake.embedded_aws.calls import Call
from ddb_lake.embedded_aws.export import Export
from ddb_lake.embedded_aws.export_jobs import ExportJobs
from ddb_lake.embedded_aws.export_writer import ExportStopped, ExportWriter

logger = logging.getLogger(__name__)

_PATIENCE_SECONDS = 20
"""For how long a request that asks for a due export waits until its files are written.

Clients see small exports end just when they are due. Who asks for a large one is told in time that it goes on.
"""


class ExportWorker:
    """Ends exports one after the other.

    Args:
        jobs: The exports.
        writer: Writes their files, from a snapshot of the journal.
        lock: Guards the jobs.
    """

    def __init__(self, jobs: ExportJobs, writer: ExportWriter, lock: AbstractContextManager[Any]) -> None:
        self._jobs = jobs
        self._writer = writer
        self._lock = lock
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "exports")
        self._begun: dict[str, Future[None]] = {}

    def begin_due(self) -> None:
        """Begin to write the exports that are due."""
        for export in self._jobs.due():
            with self._guard:
                if export.arn not in self._begun:
                    self._begun[export.arn] = self._pool.submit(self._end, export)

    def wait_for(self, call: Call) -> None:
        """Wait, within reason, for the due exports whose end a call could see."""
        if not self._begun:
            return
        sees = _sight(call)
        with self._guard:
            seen = [future for arn, future in self._begun.items() if sees(self._jobs.get(arn))]
        wait(seen, _PATIENCE_SECONDS)

    def close(self) -> None:
        """Stop; an export that is not yet written is written after the next start."""
        self._writer.stop()
        self._pool.shutdown(cancel_futures=True)

    def _end(self, export: Export) -> None:
        try:
            ended = self._writer.end(export)
            with self._lock:
                self._jobs.keep(ended)
        except ExportStopped:
            return
        except Exception:
            logger.exception("the export %s can't be ended; it stays IN_PROGRESS until the next start", export.arn)
            return  # not forgotten: it must not be tried again and again
        with self._guard:
            del self._begun[export.arn]


def _sight(call: Call) -> Callable[[Export], bool]:
    """Return which exports' end a call could see: what S3 or the export API tells about them."""
    if call.s3 is not None:
        bucket = call.s3.bucket
        return lambda export: export.s3_bucket == bucket
    match call.operation:
        case "DescribeExport":
            return lambda export: export.arn == call.resource
        case "ListExports":
            return lambda export: True
        case "ExportTableToPointInTime":
            return lambda export: export.token == call.json.get("ClientToken")
        case _:
            return lambda export: False
