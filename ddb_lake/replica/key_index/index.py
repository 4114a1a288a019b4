"""The key index of a replica: a segment beside each data file, searched for the keys of a window.

It is a cache. The log alone says which data files there are and which of their rows are dead; a segment that is
absent or damaged is made again from its data file, in memory that one data file's keys need.
"""

import contextlib
import logging
import mmap
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import polars as pl

from ddb_lake.replica.columns import KEY_HASH, TIE_BREAK, WRITE_TIME
from ddb_lake.replica.delta_log import AddFile
from ddb_lake.replica.errors import ANEW, DamagedDataFile
from ddb_lake.replica.exact_names import read_parquet
from ddb_lake.replica.key_index.filter import I64
from ddb_lake.replica.key_index.fingerprints import KeyTexts
from ddb_lake.replica.key_index.local_cache import copy_path, forget_copy, keep_copy, open_copy
from ddb_lake.replica.key_index.segment import (
    DamagedSegment,
    Found,
    Probes,
    Rows,
    Segment,
    encode_segment,
    join_rows,
    joined,
)
from ddb_lake.replica.store import TableStore

_LOG = logging.getLogger(__name__)

FOLDER = "_idx"
"""Where the segments are; other tools' vacuums leave folders with an underscore alone."""


@dataclass(frozen=True)
class Candidates:
    """Rows of data files, live or dead, that have the keys that were searched.

    Args:
        probes: For each, which of the searched keys it has.
        files: For each, which of the data files it is in.
        rows: What the index knows of them.
    """

    probes: I64
    files: I64
    rows: Rows


def segment_path(object_path: str) -> str:
    """Return where the segment of a data file is."""
    return f"{FOLDER}/{quote(object_path, safe='-_.~')}"


def rows_of(frame: pl.DataFrame) -> Rows:
    """Return the rows of a data file as its index knows them."""
    return Rows(
        hashes=frame[KEY_HASH].to_numpy().astype(np.int64),
        times=frame[WRITE_TIME].to_numpy().astype(np.int64),
        ties=frame[TIE_BREAK].to_numpy().astype(np.int64),
        rows=np.arange(frame.height, dtype=np.int64),
    )


def write_segment(store: TableStore, object_path: str, frame: pl.DataFrame, keys: Sequence[str]) -> int:
    """Write the segment of a data file that holds a frame; return its bytes."""
    data = encode_segment(rows_of(frame), KeyTexts.of(frame, keys), object_path)
    store.put(segment_path(object_path), data)
    return len(data)


class KeyIndex:
    """The segments of a table's data files.

    Args:
        store: The table's folder.
        keys: The names of the key's columns.
    """

    def __init__(self, store: TableStore, keys: Sequence[str]) -> None:
        self._store = store
        self._keys = tuple(keys)
        self.made_again = 0

    def find(self, files: Sequence[AddFile], hashes: I64, texts: KeyTexts) -> Candidates:
        """Return the rows of some data files that have the searched keys.

        Args:
            files: Where to search.
            hashes: The keys' `_key_hash`, in order.
            texts: The keys themselves, in the same order.
        """
        searched = Probes.of(hashes, texts)
        probes: list[I64] = []
        numbers: list[I64] = []
        found: list[Rows] = []
        for number, file in enumerate(files):
            first, last = _range_of(file, hashes)
            if first == last:
                continue
            hits = self._search(file, searched.between(first, last))
            if len(hits.probes):
                probes.append(hits.probes + first)
                numbers.append(np.full(len(hits.probes), number, dtype=np.int64))
                found.append(hits.rows)
        return Candidates(joined(probes), joined(numbers), join_rows(found))

    def segment(self, file: AddFile) -> Segment:
        """Return a data file's segment, made again if it is absent or its header is damaged."""
        try:
            return Segment(self._load(file), file.object_path, _count(file))
        except (DamagedSegment, OSError) as error:  # of a local file: without it all works as well
            return self._make_again(file, error)

    def _search(self, file: AddFile, probes: Probes) -> Found:
        try:
            return self.segment(file).find(probes)
        except DamagedSegment as error:
            return self._make_again(file, error).find(probes)

    def _make_again(self, file: AddFile, reason: Exception) -> Segment:
        """Make a segment from its data file, and keep it if the storage lets us: without it all works as well."""
        self.made_again += 1
        _LOG.info("the key index of %s is made again: %s", file.object_path, reason)
        frame = read_key_columns(self._store, file, self._keys)
        data = encode_segment(rows_of(frame), KeyTexts.of(frame, self._keys), file.object_path)
        path = segment_path(file.object_path)
        if self._store.local_path(path) is None:
            forget_copy(copy_path(str(self._store), path))
        try:
            self._store.put(path, data)
        except Exception:  # noqa: BLE001 - a cache that can't be written is no reason to stop
            _LOG.warning("the key index of %s could not be written", file.object_path, exc_info=True)
        return Segment(np.frombuffer(data, dtype=np.uint8), file.object_path, frame.height)

    def _load(self, file: AddFile) -> npt.NDArray[np.uint8]:
        path = segment_path(file.object_path)
        local = self._store.local_path(path)
        return self._fetched(path) if local is None else _map(os.open(local, os.O_RDONLY))

    def _fetched(self, path: str) -> npt.NDArray[np.uint8]:
        """Return a segment on S3, from its local copy if there is one. They never change, so a copy stays true."""
        local = copy_path(str(self._store), path)
        with contextlib.suppress(OSError):
            return _map(open_copy(local))
        data = self._store.get(path)
        try:
            keep_copy(local, data)
        except OSError:
            _LOG.warning("no copy of the key index's %s can be kept in %s", path, local.parent, exc_info=True)
        return np.frombuffer(data, dtype=np.uint8)


def read_key_columns(store: TableStore, file: AddFile, keys: Sequence[str]) -> pl.DataFrame:
    """Return the columns of a data file that its index is made of.

    Raises:
        DamagedDataFile: If the file is absent or is no Parquet file.
    """
    data = read_data_file(store, file)
    with reading(store, file):
        return read_parquet(data, [KEY_HASH, WRITE_TIME, TIE_BREAK, *keys])


def read_data_file(store: TableStore, file: AddFile) -> bytes:
    """Return the bytes of a data file.

    Raises:
        DamagedDataFile: If it is absent or has another size than the log tells.
    """
    try:
        data = store.get(file.object_path)
    except FileNotFoundError as error:
        raise DamagedDataFile(f"the data file {store}/{file.object_path} is gone; {_REMEDY}") from error
    if len(data) != file.size:
        raise DamagedDataFile(
            f"the data file {store}/{file.object_path} has {len(data)} bytes, the log tells {file.size}; {_REMEDY}"
        )
    return data


@contextlib.contextmanager
def reading(store: TableStore, file: AddFile) -> Generator[None]:
    """Tell which data file it is that can't be read as Parquet."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise DamagedDataFile(
            f"the data file {store}/{file.object_path} can't be read ({error}); {_REMEDY}"
        ) from error


_REMEDY = f"restore it, or {ANEW} (of a change log those of the file's window will do)"


def _range_of(file: AddFile, hashes: I64) -> tuple[int, int]:
    """Return which of the hashes may be in a file, by the bounds that the log tells."""
    least = _bound(file, "minValues")
    most = _bound(file, "maxValues")
    first = 0 if least is None else int(np.searchsorted(hashes, np.int64(least), "left"))
    last = len(hashes) if most is None else int(np.searchsorted(hashes, np.int64(most), "right"))
    return first, max(first, last)


def _bound(file: AddFile, name: str) -> int | None:
    bounds: Mapping[str, int] = file.told.get(name) or {}
    return bounds.get(KEY_HASH)


def _count(file: AddFile) -> int:
    if file.rows is None:
        raise DamagedSegment("the log does not tell the data file's rows")
    return file.rows


def _map(file: int) -> npt.NDArray[np.uint8]:
    """Return the bytes of a file by its descriptor, which is closed."""
    try:
        if os.fstat(file).st_size == 0:
            raise DamagedSegment("it is empty")
        mapped = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(file)
    return np.frombuffer(mapped, dtype=np.uint8)
