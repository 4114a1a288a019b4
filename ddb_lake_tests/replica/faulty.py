"""A store that fails where a test says: before an operation, after it, or with its answer lost."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from ddb_lake.replica import Location, Replica
from ddb_lake.replica.store import ObjectTableStore
from ddb_lake_tests.replica.histories import TABLE_ID, Lake

Result = TypeVar("Result")

Moment = Literal["before", "after"]


class Crash(BaseException):
    """The process dies here: nothing after it runs, `except Exception` included."""


@dataclass
class Fault:
    """What happens at one of the store's operations.

    Args:
        number: At which of the operations that count, from 0.
        moment: Before the operation is done or after it.
        error: What is raised.
        operations: Which operations count.
    """

    number: int
    moment: Moment
    error: BaseException
    operations: frozenset[str] = frozenset({"put", "put_if_absent", "delete"})


class FaultyStore(ObjectTableStore):
    """A table's folder with one fault."""

    def __init__(self, location: Location, fault: Fault | None) -> None:
        super().__init__(location)
        self.fault = fault
        self.count = 0
        self.done: list[str] = []

    def get(self, path: str) -> bytes:
        return self._do("get", path, lambda: super(FaultyStore, self).get(path))

    def get_many(self, paths: Sequence[str]) -> list[bytes]:
        return [self.get(path) for path in paths]

    def put(self, path: str, data: bytes) -> None:
        self._do("put", path, lambda: super(FaultyStore, self).put(path, data))

    def put_if_absent(self, path: str, data: bytes) -> bool:
        return self._do("put_if_absent", path, lambda: super(FaultyStore, self).put_if_absent(path, data))

    def delete(self, paths: Iterable[str]) -> None:
        listed = list(paths)
        self._do("delete", " ".join(listed), lambda: super(FaultyStore, self).delete(listed))

    def names(self, folder: str, after: str = "") -> list[str]:
        return self._do("names", folder, lambda: super(FaultyStore, self).names(folder, after))

    def _do(self, operation: str, path: str, work: Callable[[], Result]) -> Result:
        fault = self.fault
        if fault is None or operation not in fault.operations:
            return work()
        self.done.append(f"{operation} {path}")
        hit = self.count == fault.number
        self.count += 1
        if hit and fault.moment == "before":
            raise fault.error
        result = work()
        if hit:
            raise fault.error
        return result


def faulty(tables: Lake, fault: Fault | None) -> tuple[Replica, FaultyStore]:
    """The replica as a process sees it whose storage has a fault."""
    replica = tables.replica
    store = FaultyStore(replica.location, fault)
    wanted = replica.wanted_strategy, replica.wanted_partitioning
    return Replica(replica.location, TABLE_ID, tables.log, *wanted, store), store
