"""Copies of segments that lie on S3, kept on the local disk between windows. Segments never change, nor do copies.

The cache has a folder of its own, and in it touches only files with the names that it gives: whatever else is there,
however old, is somebody else's.
"""

import contextlib
import os
import re
import tempfile
import time
from hashlib import blake2b
from pathlib import Path
from stat import S_ISDIR

CACHE_VARIABLE = "DDB_LAKE_CACHE"
"""Names the folder that the cache's own folder is in; by default one for temporary files."""

FOLDER = "ddb_lake_segments"
"""The cache's own folder."""

UNUSED_SECONDS = 2 * 86400
"""After how long a copy that no window has used is removed: every window uses all that its table still has."""

_SUFFIX = ".segment"
_TEMPORARY = ".part"
"""The end of the name of a copy that is still being written."""

_OURS = re.compile(r"[0-9a-f]{32}\.segment(\.\w+\.part)?")
"""The names of this cache's files."""


def copy_path(table: str, path: str) -> Path:
    """Return where the copy of a segment is.

    Args:
        table: The table's folder.
        path: The segment's path in it.
    """
    name = blake2b(f"{table}\x00{path}".encode(), digest_size=16).hexdigest()
    return _parent() / FOLDER / f"{name}{_SUFFIX}"


def open_copy(local: Path) -> int:
    """Return the descriptor of a copy, to read it, and note that it was used.

    Raises:
        OSError: If there is none, or if somebody else could have put it there.
    """
    _require_own(local.parent)
    file = os.open(local, os.O_RDONLY | os.O_NOFOLLOW)
    with contextlib.suppress(OSError):
        os.utime(file)
    return file


def keep_copy(local: Path, data: bytes) -> None:
    """Keep a copy of a segment, and remove copies that no window has used for long.

    Raises:
        OSError: If the disk is full, or the folder is somebody else's, who might put anything there.
    """
    folder = local.parent
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    _require_own(folder)
    _remove_unused(folder)
    handle, name = tempfile.mkstemp(prefix=f"{local.name}.", suffix=_TEMPORARY, dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(local)
    except OSError:
        forget_copy(Path(name))
        raise


def forget_copy(local: Path) -> None:
    """Remove a copy, if there is one."""
    with contextlib.suppress(OSError):
        local.unlink(missing_ok=True)


def _parent() -> Path:
    return Path(os.environ.get(CACHE_VARIABLE) or f"{tempfile.gettempdir()}/ddb_lake_{os.getuid()}")


def _require_own(folder: Path) -> None:
    """Raise unless nobody else but root can have put files into the cache's folder."""
    parent, own = folder.parent.stat(), folder.lstat()
    if not S_ISDIR(own.st_mode):
        raise NotADirectoryError(f"{folder} is not a folder: remove it, or name another place by {CACHE_VARIABLE}")
    if own.st_uid != os.getuid() or parent.st_uid not in (os.getuid(), 0):
        raise PermissionError(f"{folder} is in the hands of another user; name another place by {CACHE_VARIABLE}")


def _remove_unused(folder: Path) -> None:
    before = time.time() - UNUSED_SECONDS
    with os.scandir(folder) as entries:
        for each in entries:
            if not _OURS.fullmatch(each.name):
                continue
            with contextlib.suppress(FileNotFoundError):  # another process may do the same
                if each.is_file(follow_symlinks=False) and each.stat(follow_symlinks=False).st_mtime < before:
                    Path(each.path).unlink()
