"""The blocks of many files on threads: worked at ahead of their reader, across the files' borders, told in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, Protocol, TypeVar

from ddb_lake.decoding.files import Block, ExportFile, read_blocks
from ddb_lake.decoding.schema import ItemSchema
from ddb_lake.decoding.selecting import SelectingShredder
from ddb_lake.decoding.shredder import Mode

Made = TypeVar("Made")
Told = TypeVar("Told", covariant=True)


class _Result(Protocol[Told]):
    """Something under way, such as a future."""

    def result(self) -> Told: ...


def work_on(
    files: Iterable[ExportFile],
    schema: ItemSchema,
    mode: Mode,
    work: Callable[[SelectingShredder, Block], Made],
    workers: int,
) -> Generator[tuple[ExportFile, Iterator[Made]]]:
    """Yield each file with what is made of its blocks, in their order.

    Beside the block that is waited for, up to `workers` more are worked at, those of the next files included. But
    nothing of a file is read before something of it, or of the file before, is asked for; and what has not been
    taken of it by the time that the next file is asked for is left out.

    Args:
        files: The files; the next one is asked for when one has been read to its end.
        schema: The table's columns.
        mode: What is read.
        work: What is done with a block; not on two threads at once with the same shredder.
        workers: How many threads there are; one worker is the caller's own thread.
    """
    if workers == 1:
        shredder = SelectingShredder(schema, mode)
        yield from _Stream(files, lambda block: _Postponed(work, shredder, block), 0).by_file()
        return
    shredders: SimpleQueue[SelectingShredder] = SimpleQueue()
    for _ in range(workers):
        shredders.put(SelectingShredder(schema, mode))

    def run(block: Block) -> Made:
        shredder = shredders.get()
        try:
            return work(shredder, block)
        finally:
            shredders.put(shredder)

    pool = ThreadPoolExecutor(workers)
    try:
        yield from _Stream(files, lambda block: pool.submit(run, block), workers).by_file()
    finally:
        # Not waiting: the garbage collector may do this, on one of the very threads.
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _Postponed(Generic[Made]):
    """Work that is done when its result is asked for."""

    work: Callable[[SelectingShredder, Block], Made]
    shredder: SelectingShredder
    block: Block

    def result(self) -> Made:
        return self.work(self.shredder, self.block)


@dataclass(frozen=True)
class _Failed:
    """What went wrong with a file, or instead of one: its turn comes when all before it has been taken."""

    error: Exception
    within_file: bool


class _Stream(Generic[Made]):
    """Files, and what is under way of each.

    Args:
        files: The files.
        start: Starts the work on a block.
        ahead: How many results may be under way beside the one that is waited for.
    """

    def __init__(self, files: Iterable[ExportFile], start: Callable[[Block], _Result[Made]], ahead: int) -> None:
        self._start = start
        self._ahead = ahead
        self._steps = self._read(iter(files))
        self._waiting: deque[ExportFile | _Result[Made] | _Failed] = deque()
        self._left_out = False

    def by_file(self) -> Iterator[tuple[ExportFile, Iterator[Made]]]:
        """Yield each file and its results."""
        try:
            while self._fill():
                step = self._waiting.popleft()
                if isinstance(step, _Failed):
                    raise step.error
                assert isinstance(step, ExportFile)
                results = self._results()
                yield step, results
                results.close()
                self._leave_out()
        finally:
            self._steps.close()
            self._waiting.clear()

    def _results(self) -> Generator[Made]:
        """Yield the results of the file that was told last."""
        while self._fill() and not self._at_border():
            step = self._waiting.popleft()
            if isinstance(step, _Failed):
                raise step.error
            assert not isinstance(step, ExportFile)
            yield step.result()

    def _leave_out(self) -> None:
        """Forget what has not been taken of the file that was told last."""
        while self._waiting and not self._at_border():
            self._waiting.popleft()
        # If nothing waits, it is the file that is being read.
        self._left_out = not self._waiting

    def _fill(self) -> bool:
        """Read ahead as far as that is allowed; return whether anything waits."""
        while not self._waiting or not (self._at_border() or self._under_way() > self._ahead):
            step = next(self._steps, None)
            if step is None:
                break
            self._waiting.append(step)
        return bool(self._waiting)

    def _at_border(self) -> bool:
        """Tell whether what waits first begins a file, or came instead of one."""
        first = self._waiting[0]
        return isinstance(first, ExportFile) or (isinstance(first, _Failed) and not first.within_file)

    def _under_way(self) -> int:
        return sum(not isinstance(step, ExportFile) for step in self._waiting)

    def _read(self, files: Iterator[ExportFile]) -> Generator[ExportFile | _Result[Made] | _Failed]:
        """Yield each file and then its blocks, the work on which begins with that."""
        while True:
            try:
                file = next(files, None)
            except Exception as error:  # noqa: BLE001 - raised in its turn
                yield _Failed(error, within_file=False)
                return
            if file is None:
                return
            self._left_out = False
            yield file
            try:
                blocks = read_blocks(file)
                while not self._left_out and (block := next(blocks, None)) is not None:
                    yield self._start(block)
            except Exception as error:  # noqa: BLE001 - raised in its turn
                yield _Failed(error, within_file=True)
