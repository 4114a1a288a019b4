"""The thread that writes the files of exports that are due, so that no writer of items waits for it."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from ddb_lake.embedded_aws.calls import Call
from ddb_lake.embedded_aws.export import Export
from ddb_lake.embedded_aws.export_files import folders
from ddb_lake.embedded_aws.export_jobs import ExportJobs
from ddb_lake.embedded_aws.export_writer import ExportStopped, ExportWriter
from ddb_lake.embedded_aws.s3_request import S3Request

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
        give_up: Called with the reason where an export's end can't be recorded.
    """

    def __init__(
        self,
        jobs: ExportJobs,
        writer: ExportWriter,
        lock: AbstractContextManager[Any],
        give_up: Callable[[str], None],
    ) -> None:
        self._jobs = jobs
        self._writer = writer
        self._lock = lock
        self._give_up = give_up
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "exports")
        self._begun: dict[str, Future[None]] = {}

    def begin_due(self) -> None:
        """Begin to write the exports that are due."""
        for export in self._jobs.due():
            with self._guard:
                # It may have ended since it was found due: an end is kept before it is forgotten here.
                is_running = self._jobs.get(export.arn).status == "IN_PROGRESS"
                if is_running and export.arn not in self._begun:
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
        except ExportStopped:
            return
        except Exception as error:  # a full disk, or whatever nobody has thought of: clients must not wait for ever
            logger.exception("the export %s has failed", export.arn)
            ended = self._writer.failed(export, f"{type(error).__name__}: {error}")
        try:
            with self._lock:
                self._jobs.keep(ended)
        except Exception as error:
            logger.exception("the end of the export %s can't be recorded", export.arn)
            self._give_up(f"the end of the export {export.arn} could not be recorded ({error})")
            return  # not forgotten: it must not be tried again and again
        with self._guard:
            del self._begun[export.arn]


def _sight(call: Call) -> Callable[[Export], bool]:
    """Return which exports' end a call could see: what S3 or the export API tells about them."""
    if call.s3 is not None:
        return partial(reads_files_of, call.s3)
    match call.operation:
        case "DescribeExport":
            return lambda export: export.arn == call.resource
        case "ListExports":
            return lambda export: True
        case "ExportTableToPointInTime":
            return lambda export: export.token == call.json.get("ClientToken")
        case _:
            return lambda export: False


def reads_files_of(request: S3Request, export: Export) -> bool:
    """Tell whether a request reads or lists what an export writes."""
    source = request.copy_source()
    if source is not None:
        bucket, key = source
        return bucket == export.s3_bucket and key.startswith(folders(export))
    if request.bucket != export.s3_bucket or request.method not in ("GET", "HEAD"):
        return False
    if request.key:
        return request.key.startswith(folders(export))
    if not request.operation.startswith("ListObject"):
        return False
    prefix = request.query.get("prefix", "")
    return any(folder.startswith(prefix) or prefix.startswith(folder) for folder in folders(export))
