# pyright: basic
# isal has no types.
"""Gunzip at the speed of ISA-L; damage is an EOFError or an OSError as in the standard library's gzip."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from isal import igzip, isal_zlib

DamagedGzip: tuple[type[Exception], ...] = (EOFError, igzip.BadGzipFile, isal_zlib.error)  # pyright: ignore[reportAssignmentType]
"""What reading raises where a stream is truncated, damaged, or followed by something else."""


@contextmanager
def opened(path: Path) -> Generator[Callable[[memoryview], int]]:
    """Open a gzip file of one or several members for reading.

    Yields:
        A function that fills a buffer from its start and returns how many bytes it has read, 0 at the end.
    """
    with igzip.open(path, "rb") as stream:
        yield stream.readinto  # pyright: ignore[reportAttributeAccessIssue]
