"""The key hashes of an export's records, gathered to see at its end whether one came twice: 8 bytes a record.

An export has each key once (AWS: "Exporting data from DynamoDB to Amazon S3", full and incremental exports). One hash
can still be that of two keys, so what is found here is to be looked at, and in a whole export nothing is found.
"""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]

IN_MEMORY = 16_000_000
"""Hashes that are in memory at once; more of them wait on the disk, in the folder for temporary files."""


class KeyHashes:
    """A bag of hashes.

    Args:
        in_memory: How many are kept in memory before they go to the disk, sorted.
    """

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._waiting: list[I64] = []
        self._count = 0
        self._runs: list[Path] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, hashes: npt.NDArray[Any]) -> None:
        """Take some hashes, in any order."""
        self._waiting.append(hashes.astype(np.int64))
        self._count += len(hashes)
        if self._count >= self._in_memory:
            self._spill()

    def repeated(self) -> I64:
        """Return the hashes that were added more than once, each once, in order."""
        if not self._runs:
            return _repeated(self._waiting)
        self._spill()
        runs = [np.memmap(path, dtype="<i8", mode="r") for path in self._runs]
        parts = -(-sum(map(len, runs)) // self._in_memory)
        found: list[I64] = []
        begins = [0] * len(runs)
        for part in range(parts):
            # The hashes are spread evenly; where they are not, more of them are in memory.
            bound = -(2**63) + 2**64 * (part + 1) // parts
            ends = [len(run) if part == parts - 1 else int(np.searchsorted(run, np.int64(bound))) for run in runs]
            found.append(_repeated([run[begin:end] for run, begin, end in zip(runs, begins, ends, strict=True)]))
            begins = ends
        return np.concatenate(found)

    def _spill(self) -> None:
        if not self._count:
            return
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ddb_lake_key_hashes_")
        path = Path(self._folder.name, str(len(self._runs)))
        np.sort(np.concatenate(self._waiting)).astype("<i8").tofile(path)
        self._runs.append(path)
        self._waiting, self._count = [], 0


def _repeated(parts: list[I64]) -> I64:
    hashes = np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
