"""Moving what was committed from SQLite's write-ahead log into the journal's file, in a thread of its own.

SQLite would do it within a commit, and some writer would wait for it: a tenth of a second and more after a history.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

_EACH_SECONDS = 1.0
"""How often it looks. Nothing is lost or wrong if it is late; only the log gets longer meanwhile."""


class Checkpoints:
    """Copies the log into the file while it grows; nobody waits for it, neither writers nor readers.

    Args:
        path: The database.
        synchronous: SQLite's setting, as of the connection that writes.
        changes: Returns a number that is another one after each change.
    """

    def __init__(self, path: Path, synchronous: str, changes: Callable[[], int]) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute(f"PRAGMA synchronous = {synchronous}")
        self._changes = changes
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def take(self) -> None:
        """Copy all that is committed now and isn't in the file, but for what a reader still needs in the log."""
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def close(self) -> None:
        """Stop."""
        self._closed.set()
        self._thread.join()
        self._db.close()

    def _run(self) -> None:
        seen = self._changes()
        while not self._closed.wait(_EACH_SECONDS):
            changes = self._changes()
            if changes == seen:
                continue
            seen = changes
            try:
                self.take()
            except sqlite3.Error:
                # The log keeps everything, and SQLite takes care of a very long one itself.
                logger.warning("the journal's log can't be copied into its file now", exc_info=True)
