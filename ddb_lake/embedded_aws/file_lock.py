"""A lock file: one process at a time uses what it stands beside, and a process that dies leaves nothing locked."""

import fcntl
import os
from pathlib import Path


class FileLock:
    """Holds a lock file until it is released, which removes the file.

    Args:
        path: The lock file, created if absent.

    Raises:
        BlockingIOError: If somebody else holds it.
        OSError: If the file can't be created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        while True:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last holder may have removed the file between our two calls.
                if path.exists() and os.path.samestat(os.fstat(self._descriptor), path.stat()):
                    return
            except BaseException:
                os.close(self._descriptor)
                raise
            os.close(self._descriptor)

    def release(self) -> None:
        """Let somebody else have it."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
