"""What must be read besides the changes of exports to apply them: what other exports and the rows say of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import polars as pl

from ddb_lake.replica import table as delta
from ddb_lake.replica.change_log import ChangeLogSnapshot
from ddb_lake.replica.columns import DELETED, EXPORT, KEY_HASH, TIE_BREAK, WRITE_TIME
from ddb_lake.replica.coverage import Account
from ddb_lake.replica.exact_names import pick
from ddb_lake.replica.last_writer import implied_deletes, resolve_contradicted
from ddb_lake.replica.spans import Spans, export_name
from ddb_lake.windows import Window, covers


@dataclass(frozen=True)
class Plan:
    """What must be known besides the changes of the exports that are to be applied.

    In the usual case, where exports don't overlap and none was applied for a later time, nothing is read.

    A decoded export counts once it was applied, and not before: until then the replica is the state at the end
    of what it covers. Where the cleanup of the replica's log has forgotten which were, every decoded one within
    the covered time counts: what it tells happened before that time's end.

    Args:
        account: What the replica holds.
        log: The change log.
        batch: The exports that are to be applied, at least one.
        changes: All of their changes.
        keys: The key's columns.
    """

    account: Account
    log: ChangeLogSnapshot
    batch: tuple[Window, ...]
    changes: pl.DataFrame
    keys: list[str]

    def records_against_changes(self) -> dict[Window, pl.DataFrame]:
        """Return the keys that those exports have records of which overlap an export of the batch."""
        among = Spans().adding(self.batch)
        found = {each for each in self.batch if among.overlapping(each)}
        for each in self.batch:
            found.update(self._applied(each))
        others = found.difference(self.batch)
        if not others:
            return self._records_of_batch(found)
        return self._records_of_batch(found.intersection(self.batch)) | _records(
            self.log.read_exports(others, self.keys), others
        )

    def later_deletes(self) -> Iterator[pl.DataFrame]:
        """Yield the deletes of applied exports that may be later than an update of the batch.

        Those are the deletes that they tell, and the updates of one that another one contradicts.
        """
        earliest = self.changes.filter(~pl.col(DELETED))[WRITE_TIME].min()
        covered = self.account.coverage
        start = self.batch[0].start
        if earliest is None or not covered or covered[-1].end <= start:
            return
        spans = set(self._applied(Window(start, covered[-1].end))).difference(self.batch)
        since = cast(int, earliest)
        yield from self.log.read_deletes(spans, [KEY_HASH, WRITE_TIME, *self.keys], since)
        yield from self._contradicted(spans, since)

    def _contradicted(self, exports: Iterable[Window], since_us: int) -> Iterator[pl.DataFrame]:
        """Yield deletes for those updates of applied exports which others know no such item of.

        An update of the batch that one of these deletes is later than was written before the contradicting export,
        and so before the contradicted update: none before `since_us` matters.
        """
        against = {each: [other for other in self._applied(each) if other != each] for each in exports}
        met = {each for each, others in against.items() if others}
        if not met:
            return
        names = [KEY_HASH, WRITE_TIME, DELETED, TIE_BREAK, *self.keys]
        read = met.union(*against.values())
        told = self.log.read_exports(read, names)
        records = _records(pick(told, [EXPORT, *self.keys]), read)
        for export in met:
            updates = told.filter(
                (pl.col(EXPORT) == export_name(export)) & ~pl.col(DELETED) & (pl.col(WRITE_TIME) >= since_us)
            )
            contrary = {each: records[each] for each in against[export]}
            yield resolve_contradicted(updates, contrary, self.keys).filter(pl.col(DELETED))

    def implied_deletes(self, read_rows: Callable[[list[str], str], pl.DataFrame]) -> list[pl.DataFrame]:
        """Return deletes of the replica's rows that exports of the batch know no such item of.

        Args:
            read_rows: Reads some columns of the rows that meet an SQL predicate.
        """
        met = [each for each in self.batch if self._is_covered_by_others(each)]
        if not met:
            return []
        time = delta.quote(WRITE_TIME)
        within = f"{time} >= {met[0].start_us} AND {time} < {max(each.end_us for each in met)}"
        rows = read_rows([KEY_HASH, WRITE_TIME, *self.keys], within)
        return [implied_deletes(rows, self._records_of_batch(met), self.keys)]

    def _is_covered_by_others(self, export: Window) -> bool:
        return bool(self.account.spans.overlapping(export) or Spans().adding(self.account.unknown).touching(export))

    def _applied(self, window: Window) -> list[Window]:
        """Return the applied exports that touch the window."""
        return [
            each
            for each in self.log.exports(window)
            if each in self.account.spans or covers(self.account.unknown, each)
        ]

    def _records_of_batch(self, exports: Iterable[Window]) -> dict[Window, pl.DataFrame]:
        return _records(pick(self.changes, [EXPORT, *self.keys]), exports)


def _records(changes: pl.DataFrame, exports: Iterable[Window]) -> dict[Window, pl.DataFrame]:
    """Return the keys of each export's records."""
    exports = tuple(exports)
    if not exports:
        return {}
    parts = {str(name): part for (name,), part in changes.partition_by(EXPORT, as_dict=True).items()}
    return {each: parts.get(export_name(each), changes.clear()).drop(EXPORT) for each in exports}
