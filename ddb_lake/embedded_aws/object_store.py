"""The durable home of S3: every object, unfinished upload and bucket setting, in a folder beside the journal.

Contents are files of their own, named at random; an index in SQLite says which request put which of them where.
Both are on disk before a client is answered. It stores and finds; it knows nothing of S3's rules. Callers hold
the S3 lock, except for `write_content`.
"""

import os
import sqlite3
import uuid
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

import orjson

from ddb_lake.embedded_aws.errors import JournalError

_FORMAT = 1

# A storage is an object or an upload that may become one; its pieces are the bodies that were sent for it: one
# (number 0) for an object that was put at once, else its parts.
_SCHEMA = f"""
CREATE TABLE setting (
    number INTEGER PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
    request BLOB NOT NULL, body BLOB NOT NULL, UNIQUE (bucket, key, name)
) STRICT;
CREATE TABLE storage (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, etag TEXT, request BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX object ON storage (bucket, key) WHERE etag IS NOT NULL;
CREATE TABLE piece (
    storage TEXT NOT NULL REFERENCES storage ON DELETE CASCADE, number INTEGER NOT NULL,
    content TEXT NOT NULL, request BLOB NOT NULL, PRIMARY KEY (storage, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX piece_by_content ON piece (content);
PRAGMA user_version = {_FORMAT};
"""


@dataclass(frozen=True)
class StoredRequest:
    """What of a request has to be sent again.

    Attributes:
        method: The HTTP method.
        region: What it was signed for.
        query: The query string.
        variables: The WSGI variables of its headers, such as `HTTP_X_AMZ_META_TEAM`.
        names: How headers with an underscore were spelt, by their variables.
    """

    method: str
    region: str
    query: str = ""
    variables: dict[str, str] = field(default_factory=dict[str, str])
    names: dict[str, str] = field(default_factory=dict[str, str])

    def to_json(self) -> bytes:
        """Return the request as the index's record."""
        return orjson.dumps(asdict(self))

    @classmethod
    def from_json(cls, record: bytes) -> "StoredRequest":
        """Read a request from the index's record."""
        return cls(**orjson.loads(record))


@dataclass(frozen=True)
class Setting:
    """A request that shaped a bucket or an object; its name is empty for the bucket's creation."""

    bucket: str
    key: str
    name: str
    request: StoredRequest
    body: bytes


@dataclass(frozen=True)
class Piece:
    """One body of an object or upload: its part number (0: all of it), the content's name, and the request."""

    number: int
    content: str
    request: StoredRequest


@dataclass(frozen=True)
class Storage:
    """An object, or an upload that is not complete and so has no ETag."""

    id: str
    bucket: str
    key: str
    etag: str | None
    request: StoredRequest


class ObjectStore:
    """The store in a folder, which is created if absent.

    Args:
        folder: The folder; nothing outside of it is read or written.

    Raises:
        JournalError: If the folder can't be used, or another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._contents = folder / "contents"
        path = folder / "index.sqlite"
        try:
            self._contents.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=1)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            (found,) = self._db.execute("PRAGMA user_version").fetchone()
            if not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                self._db.executescript(f"BEGIN;{_SCHEMA}COMMIT;")
                found = _FORMAT
            with self._transaction():
                pass  # takes the exclusive lock now, not with the first write
        except (OSError, sqlite3.Error) as error:
            raise JournalError(
                f"{folder} can't be used for S3's objects ({error}); stop the process that holds it, "
                "or name another journal"
            ) from error
        if found != _FORMAT:
            self._db.close()
            raise JournalError(f"{path} has format {found}, not {_FORMAT}; name another journal")
        self._remove_orphans()

    def close(self) -> None:
        """Close the index; the store can't be used any more."""
        self._db.close()

    # Contents

    def write_content(self, body: bytes) -> str:
        """Write a body to disk, and return the name by which a piece may refer to it."""
        name = uuid.uuid4().hex
        with (self._contents / name).open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(self._contents)
        return name

    def read_content(self, name: str) -> bytes:
        """Return a body."""
        return (self._contents / name).read_bytes()

    def drop_content(self, name: str) -> None:
        """Remove a body that no piece refers to."""
        (self._contents / name).unlink(missing_ok=True)

    # Objects

    def put_object(self, bucket: str, key: str, etag: str, piece: Piece) -> None:
        """Record that an object was put at once, in place of one of that key."""
        storage = uuid.uuid4().hex
        with self._transaction():
            dropped = self._delete_object(bucket, key)
            self._db.execute(
                "INSERT INTO storage VALUES (?, ?, ?, ?, ?)", (storage, bucket, key, etag, piece.request.to_json())
            )
            self._insert_piece(storage, piece)
        self._drop(dropped)

    def delete_objects(self, bucket: str, keys: Iterable[str]) -> None:
        """Record that objects were deleted."""
        with self._transaction():
            dropped = [content for key in keys for content in self._delete_object(bucket, key)]
        self._drop(dropped)

    def objects(self) -> list[Storage]:
        """Return all objects in the order of their keys."""
        rows = self._db.execute("SELECT * FROM storage WHERE etag IS NOT NULL ORDER BY bucket, key")
        return [_storage(row) for row in rows]

    # Uploads

    def begin_upload(self, upload: Storage) -> None:
        """Record that an upload in parts was begun."""
        self._db.execute(
            "INSERT INTO storage VALUES (?, ?, ?, NULL, ?)",
            (upload.id, upload.bucket, upload.key, upload.request.to_json()),
        )

    def put_part(self, upload: str, piece: Piece) -> None:
        """Record that a part was sent, in place of one of that number."""
        with self._transaction():
            dropped = self._contents_of("storage = ? AND number = ?", upload, piece.number)
            self._db.execute("DELETE FROM piece WHERE storage = ? AND number = ?", (upload, piece.number))
            self._insert_piece(upload, piece)
        self._drop(dropped)

    def complete_upload(self, upload: Storage, etag: str, numbers: Iterable[int]) -> None:
        """Record that an upload has become an object of the parts with these numbers."""
        kept = ",".join(str(number) for number in sorted(numbers))
        with self._transaction():
            dropped = self._delete_object(upload.bucket, upload.key)
            dropped += self._contents_of(f"storage = ? AND number NOT IN ({kept})", upload.id)
            self._db.execute(f"DELETE FROM piece WHERE storage = ? AND number NOT IN ({kept})", (upload.id,))
            self._db.execute("UPDATE storage SET etag = ? WHERE id = ?", (etag, upload.id))
        self._drop(dropped)

    def abort_upload(self, upload: str) -> None:
        """Record that an upload was given up."""
        with self._transaction():
            dropped = self._contents_of("storage = ?", upload)
            self._db.execute("DELETE FROM storage WHERE id = ?", (upload,))
        self._drop(dropped)

    def uploads(self) -> list[Storage]:
        """Return the uploads that are neither complete nor given up."""
        return [_storage(row) for row in self._db.execute("SELECT * FROM storage WHERE etag IS NULL ORDER BY id")]

    def pieces(self, storage: str) -> list[Piece]:
        """Return the bodies of an object or upload, in the order of their numbers."""
        rows = self._db.execute(
            "SELECT number, content, request FROM piece WHERE storage = ? ORDER BY number", (storage,)
        )
        return [Piece(number, content, StoredRequest.from_json(request)) for number, content, request in rows]

    # Buckets and settings

    def put_setting(self, setting: Setting) -> None:
        """Record a setting in place of one of the same bucket, key and name."""
        self._db.execute(
            "INSERT OR REPLACE INTO setting (bucket, key, name, request, body) VALUES (?, ?, ?, ?, ?)",
            (setting.bucket, setting.key, setting.name, setting.request.to_json(), setting.body),
        )

    def delete_setting(self, bucket: str, key: str, name: str) -> None:
        """Forget a setting."""
        self._db.execute("DELETE FROM setting WHERE bucket = ? AND key = ? AND name = ?", (bucket, key, name))

    def settings(self) -> list[Setting]:
        """Return all settings in the order in which they were last changed."""
        rows = self._db.execute("SELECT bucket, key, name, request, body FROM setting ORDER BY number")
        return [
            Setting(bucket, key, name, StoredRequest.from_json(request), body)
            for bucket, key, name, request, body in rows
        ]

    def delete_bucket(self, bucket: str) -> None:
        """Record that a bucket was deleted, and what there was in it."""
        with self._transaction():
            dropped = self._contents_of("storage IN (SELECT id FROM storage WHERE bucket = ?)", bucket)
            self._db.execute("DELETE FROM storage WHERE bucket = ?", (bucket,))
            self._db.execute("DELETE FROM setting WHERE bucket = ?", (bucket,))
        self._drop(dropped)

    def _delete_object(self, bucket: str, key: str) -> list[str]:
        """Delete an object and its settings, and return the names of its contents."""
        row = self._db.execute(
            "SELECT id FROM storage WHERE bucket = ? AND key = ? AND etag IS NOT NULL", (bucket, key)
        ).fetchone()
        self._db.execute("DELETE FROM setting WHERE bucket = ? AND key = ?", (bucket, key))
        if row is None:
            return []
        dropped = self._contents_of("storage = ?", row[0])
        self._db.execute("DELETE FROM storage WHERE id = ?", row)
        return dropped

    def _insert_piece(self, storage: str, piece: Piece) -> None:
        self._db.execute(
            "INSERT INTO piece VALUES (?, ?, ?, ?)", (storage, piece.number, piece.content, piece.request.to_json())
        )

    def _contents_of(self, condition: str, *values: str | int) -> list[str]:
        return [content for (content,) in self._db.execute(f"SELECT content FROM piece WHERE {condition}", values)]

    def _drop(self, contents: Iterable[str]) -> None:
        for content in contents:
            self.drop_content(content)

    def _remove_orphans(self) -> None:
        """Remove what a process that ended in the middle of a request has written in vain."""
        known = set(self._contents_of("true"))
        for path in self._contents.iterdir():
            if path.name not in known:
                path.unlink()

    def _transaction(self) -> AbstractContextManager[None]:
        return _Transaction(self._db)


class _Transaction:
    """Commits at the end of the block, or rolls back if the block or the commit fails."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(
        self, exception_type: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.execute("COMMIT" if exception_type is None else "ROLLBACK")


def _storage(row: tuple[str, str, str, str | None, bytes]) -> Storage:
    storage, bucket, key, etag, request = row
    return Storage(storage, bucket, key, etag, StoredRequest.from_json(request))


def _sync_folder(folder: Path) -> None:
    """Put the names of new files on disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
