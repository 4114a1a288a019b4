"""What exports say should become of their keys' rows: decided alike for every strategy.

What this leaves to a strategy is the last comparison, each change against the row that its key has (`last_writer`:
`beats` and MERGE's conditions), and how the outcome is committed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from ddb_lake.replica.change_log import ChangeLogSnapshot
from ddb_lake.replica.columns import CHANGE_METADATA, EXPORT
from ddb_lake.replica.coverage import Account
from ddb_lake.replica.last_writer import last_changes, resolve_contradicted, without_deleted_later
from ddb_lake.replica.plan import Plan
from ddb_lake.windows import Window

ReadRows = Callable[[list[str], str], pl.DataFrame]
"""Reads some columns of the replica's rows that meet an SQL predicate."""


@dataclass(frozen=True)
class Decision:
    """What is to be brought into the replica's rows.

    Args:
        changes: One change a key, with the reserved columns; it counts where it beats the key's row.
        told: How many changes the exports have.
        implied: How many of `changes` no export tells, but one by having no record of the key.
    """

    changes: pl.DataFrame
    told: int
    implied: int


def decide(
    account: Account, log: ChangeLogSnapshot, batch: tuple[Window, ...], keys: list[str], read_rows: ReadRows
) -> Decision:
    """Return what the exports of a batch, and those applied before, leave of the batch's changes.

    Args:
        account: What the replica holds.
        log: The change log.
        batch: The exports that are to be applied, at least one.
        keys: The key's columns.
        read_rows: Reads rows of the replica, where exports overlap.
    """
    names = [*CHANGE_METADATA, *(column.name for column in log.columns)]
    changes = log.read_exports(batch, names)
    plan = Plan(account, log, batch, changes, keys)
    winners = last_changes(resolve_contradicted(changes, plan.records_against_changes(), keys), keys)
    winners = without_deleted_later(winners, plan.later_deletes(), keys)
    winners = last_changes(pl.concat([winners, *plan.implied_deletes(read_rows)], how="diagonal"), keys)
    return Decision(winners.drop(EXPORT), changes.height, winners[EXPORT].null_count())
