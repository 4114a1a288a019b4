"""An export's data files on the local disk: fetched ahead of their reader, verified, removed after use.

They are in clear whatever lake.yaml drops or hashes. A process that is killed can't remove its own, so the next one
does: each folder has a file that its process holds a lock on for as long as it lives.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ddb_lake.decoding import ExportFile
from ddb_lake.exports import Manifest, download

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LOG = logging.getLogger(__name__)

PREFIX = "ddb_lake_copies_"
"""How the folders' names begin, in the system's folder for temporary files (`TMPDIR`)."""

_LOCK = ".lock"
_YOUNG = 60
"""Seconds that a folder is left alone for, since its process may not have locked it yet."""

DOWNLOADS = 4
"""Data files fetched at once, and ahead of the one that is read."""


class LocalCopies:
    """The data files of one export, in a temporary folder that goes with it; one reader at a time.

    Args:
        s3: A boto3 client that may read the bucket.
        manifest: The export's, which names the files and their checksums.
    """

    def __init__(self, s3: "S3Client", manifest: Manifest) -> None:
        self._s3 = s3
        self._manifest = manifest
        remove_abandoned()
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._pool = ThreadPoolExecutor(DOWNLOADS)
        self._copies: dict[str, Future[Path]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        shutil.rmtree(self._folder)
        os.close(self._lock)

    def read_once(self) -> Iterator[ExportFile]:
        """Yield the files in the manifest's order; each copy is removed when the next file is asked for.

        Raises:
            ExportError: If a file is not there, or not what the manifest's checksum was made of.
        """
        for file in self.read_and_keep():
            yield file
            file.path.unlink()
            del self._copies[file.name]

    def read_and_keep(self) -> Iterator[ExportFile]:
        """Yield the files in the manifest's order; their copies stay, to be read again.

        Raises:
            ExportError: If a file is not there, or not what the manifest's checksum was made of.
        """
        files = self._manifest.files
        for place, file in enumerate(files):
            for ahead in files[place : place + 1 + DOWNLOADS]:
                if ahead.uri not in self._copies:
                    self._copies[ahead.uri] = self._pool.submit(
                        download, self._s3, ahead, self._manifest, self._folder
                    )
            yield ExportFile(file.uri, self._copies[file.uri].result(), file.item_count)


def remove_abandoned() -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # somebody else's, or gone meanwhile
            if time.time() - folder.stat().st_mtime < _YOUNG:
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                _LOG.info("%s was left behind by a process that is gone; it is removed", folder)
            finally:
                os.close(lock)
