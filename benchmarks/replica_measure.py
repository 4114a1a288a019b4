"""What a piece of work takes of its process, told alike for every contender: standard library alone."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass
class Took:
    """What a piece of work took.

    Attributes:
        seconds: By the clock.
        cpu_seconds: Of all threads.
        bytes_written: Handed to the system's write calls.
        peak_mb: The highest resident size of the process while it worked, its libraries included.
    """

    seconds: float = 0
    cpu_seconds: float = 0
    bytes_written: int = 0
    peak_mb: float = 0


@contextmanager
def measured() -> Iterator[Took]:
    """Measure what the block takes."""
    took = Took()
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident size counts from here on
    written, begin, cpu = bytes_written(), time.perf_counter(), time.process_time()
    yield took
    took.seconds, took.cpu_seconds = time.perf_counter() - begin, time.process_time() - cpu
    took.bytes_written, took.peak_mb = bytes_written() - written, peak_mb()


def told_of(took: Took) -> None:
    """Print what was measured as the last line, for `in_new_process` of replica.py."""
    sys.stdout.flush()
    print(json.dumps(asdict(took)), flush=True)


def bytes_written() -> int:
    """What this process has written so far, to files rather than to the network."""
    return _of_process("io", "wchar")


def peak_mb() -> float:
    """The highest resident size of this process."""
    return _of_process("status", "VmHWM") / 1024


def _of_process(file: str, name: str) -> int:
    lines = Path(f"/proc/self/{file}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
