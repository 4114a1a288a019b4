"""The one way to a table's folder: whole objects by their paths, with the conditional put that commits need."""

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store

from ddb_lake.deadlines import require_time
from ddb_lake.replica.errors import StorageFailed
from ddb_lake.replica.location import Location

AT_ONCE = 16
"""Requests that are under way together where many objects are read from S3."""

DELETED_AT_ONCE = 500
"""Objects that one delete names: S3 takes 1,000."""


@dataclass(frozen=True)
class StoredObject:
    """What a listing tells of an object.

    Args:
        path: Relative to the table's folder.
        size: Bytes.
        modified: When it was written, by the storage's clock.
    """

    path: str
    size: int
    modified: datetime


class TableStore(Protocol):
    """The objects of one table's folder. Every call may raise what the storage raises; none retries by itself.

    As a text it is the folder.
    """

    def get(self, path: str) -> bytes:
        """Return an object's bytes. Raises FileNotFoundError."""
        ...

    def get_many(self, paths: Sequence[str]) -> list[bytes]:
        """Return several objects' bytes in the paths' order. Raises FileNotFoundError."""
        ...

    def get_tail(self, path: str, length: int) -> tuple[bytes, int]:
        """Return an object's last bytes, and how many it has in all. Raises FileNotFoundError."""
        ...

    def put(self, path: str, data: bytes) -> None:
        """Write an object whole, over any other."""
        ...

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write an object whole if there is none; tell whether it was written. Of racing writers one wins."""
        ...

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; those that are absent already are no error."""
        ...

    def names(self, folder: str, after: str = "") -> list[str]:
        """Return the names of a folder's objects that sort after a name, in order."""
        ...

    def walk(self, folder: str = "") -> list[StoredObject]:
        """Return all objects under a folder and its subfolders."""
        ...

    def local_path(self, path: str) -> Path | None:
        """Return where an object is on this machine, or None where the storage is remote."""
        ...


class ObjectTableStore:
    """A table's folder on a local disk or on S3, through obstore.

    Whatever the storage refuses, but an object that is absent, is a `StorageFailed` that says where and what to do.

    Args:
        location: The folder.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        with self._asking("opened", ""):
            self._store: LocalStore | S3Store = location.store()
        self._root = None if location.uri.startswith("s3://") else Path(location.uri)

    def __str__(self) -> str:
        return str(self._location)

    def get(self, path: str) -> bytes:
        """Return an object's bytes."""
        with self._asking("read", path):
            return bytes(obstore.get(self._store, path).bytes())

    def get_many(self, paths: Sequence[str]) -> list[bytes]:
        """Return several objects' bytes; from S3 many at once."""
        if self._root is not None or len(paths) < 2:
            return [self.get(path) for path in paths]
        with ThreadPoolExecutor(min(AT_ONCE, len(paths))) as pool:
            return list(pool.map(self.get, paths))

    def get_tail(self, path: str, length: int) -> tuple[bytes, int]:
        """Return an object's last bytes, and how many it has in all: on S3 one request."""
        with self._asking("read", path):
            found = obstore.get(self._store, path, options={"range": {"suffix": length}})
            return bytes(found.bytes()), found.meta["size"]

    def put(self, path: str, data: bytes) -> None:
        """Write an object whole."""
        with self._asking("written", path):
            obstore.put(self._store, path, data)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Write an object by a hard link (local) or a conditional put (S3)."""
        with self._asking("written", path):
            try:
                obstore.put(self._store, path, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects, those that are absent included."""
        left = list(paths)
        if self._root is not None:
            for path in left:
                with self._asking("deleted", path):
                    (self._root / path).unlink(missing_ok=True)
            return
        for start in range(0, len(left), DELETED_AT_ONCE):
            with self._asking("deleted", f"{left[start]} and others"):
                obstore.delete(self._store, left[start : start + DELETED_AT_ONCE])

    def names(self, folder: str, after: str = "") -> list[str]:
        """Return a folder's names; locally without looking at each object, on S3 from the name on."""
        if self._root is not None:
            try:
                with self._asking("listed", folder):
                    found = os.listdir(self._root / folder)  # noqa: PTH208 - names only, a tenth of the time
            except FileNotFoundError:
                return []
            # A name with a # is of a file that obstore is still writing.
            return sorted(name for name in found if name > after and "#" not in name)
        # On S3 one request tells a thousand names, so years of commits before `after` cost nothing.
        with self._asking("listed", folder):
            listing = obstore.list(self._store, folder, offset=f"{folder}/{after}" if after else None)
            paths = (str(meta["path"]).removeprefix(f"{folder}/") for chunk in listing for meta in chunk)
            return sorted(name for name in paths if "/" not in name)

    def walk(self, folder: str = "") -> list[StoredObject]:
        """Return all objects under a folder; locally with the rests of puts that were broken off (`…#1`)."""
        if self._root is not None:
            with self._asking("listed", folder):
                return list(self._walk_locally(self._root, self._root / folder))
        with self._asking("listed", folder):
            return [
                StoredObject(str(meta["path"]), int(meta["size"]), meta["last_modified"])
                for chunk in obstore.list(self._store, folder or None)
                for meta in chunk
            ]

    def _walk_locally(self, root: Path, folder: Path) -> Iterator[StoredObject]:
        for place, _, names in os.walk(folder, onerror=_raise_unless_gone):
            for name in names:
                path = Path(place, name)
                with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                    told = path.stat()
                    modified = datetime.fromtimestamp(told.st_mtime, UTC)
                    yield StoredObject(path.relative_to(root).as_posix(), told.st_size, modified)

    def local_path(self, path: str) -> Path | None:
        """Return the object's path on this machine."""
        return None if self._root is None else self._root / path

    @contextlib.contextmanager
    def _asking(self, what: str, path: str) -> Generator[None]:
        """Tell where the storage failed, and at what; begin nothing that is remote after the deadline."""
        if self._location.uri.startswith("s3://"):
            require_time(f"{self._location}/{path} is {what}")
        try:
            yield
        except FileNotFoundError:
            raise
        except (BaseError, OSError) as error:
            # What obstore tells goes on over many lines with the request's innards.
            reason = str(error).partition("\n")[0]
            raise StorageFailed(
                f"{self._location}/{path} could not be {what}: {reason}; nothing is half-committed: see to the "
                "storage (space, permissions, whether it can be reached) and run it again"
            ) from error


def put_new(store: TableStore, path: str, data: bytes) -> None:
    """Write an object of which nobody knows yet: where that fails none is left, even if only the answer was lost."""
    try:
        store.put(path, data)
    except Exception:
        with contextlib.suppress(StorageFailed):  # the first error counts
            store.delete([path])
        raise


def _raise_unless_gone(error: OSError) -> None:
    """Let no folder that can't be read pass for an empty one."""
    if not isinstance(error, FileNotFoundError):
        raise error
