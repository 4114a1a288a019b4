"""Which change of a key wins: the order of changes, and what exports say by what they leave out.

An incremental export of `[a, b)` shows net effects: it has a record of every key that was written in it and
existed at `b`, or existed at `a`. So of a key without record in it, every item written in `[a, b)` was gone by
`b`, although no export need show the delete.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from ddb_lake.replica.columns import DELETED, EXPORT, KEY_HASH, TIE_BREAK, WRITE_TIME
from ddb_lake.replica.exact_names import columns, pick
from ddb_lake.replica.table import quote
from ddb_lake.windows import Window

ORDER = (WRITE_TIME, DELETED, TIE_BREAK)
"""The greater wins: the later; at the same time a delete; between updates the greater tie-break."""

_DELETED_US = "time of the delete"
"""A column of frames in memory. No table can have one of this name."""


def last_changes(changes: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return each key's last change. Keys are equal where all of their columns are, null equal to null.

    Should two images of one microsecond have one tie-break, 64 bits that can be aimed at, that of the later export is
    taken: which one it is depends on nothing but the exports. An implied delete, which has no export, comes last.
    """
    order = [*ORDER, EXPORT] if EXPORT in changes.columns else ORDER
    return changes.sort(order, nulls_last=True).unique(subset=columns(keys), keep="last", maintain_order=True)


def resolve_contradicted(
    changes: pl.DataFrame, records: Mapping[Window, pl.DataFrame], keys: Sequence[str]
) -> pl.DataFrame:
    """Return the changes with deletes instead of those updates that were gone by the end of an export.

    It has no record of their keys. Whatever was written of such a key before its end is gone with them, so they
    become deletes as `implied_deletes` has them; what else they tell stays and means nothing.

    Args:
        changes: Of any exports.
        records: The keys of all records of each export that may contradict.
        keys: The key's columns.
    """
    for export, recorded in records.items():
        doubtful = _written_in(export) & ~pl.col(DELETED)
        written = changes.filter(doubtful)
        held = written.join(recorded, on=columns(keys), how="semi", nulls_equal=True)
        gone = written.join(recorded, on=columns(keys), how="anti", nulls_equal=True)
        changes = pl.concat([changes.filter(~doubtful), held, gone.with_columns(_deleted_by_the_end_of(export))])
    return changes


def implied_deletes(rows: pl.DataFrame, records: Mapping[Window, pl.DataFrame], keys: Sequence[str]) -> pl.DataFrame:
    """Return deletes of those rows that were gone by the end of an export: it has no record of them.

    Args:
        rows: Rows of the replica: `KEY_HASH`, `WRITE_TIME` and the keys' columns.
        records: The keys of all records of each export that may contradict.
        keys: The key's columns.

    Returns:
        The rows' key columns with the reserved ones. The write time is the last instant of the export: when the
        item was deleted exactly is unknown, but whatever was written later was written to a new item.
    """
    found = [
        rows.filter(_written_in(export))
        .join(recorded, on=columns(keys), how="anti", nulls_equal=True)
        .with_columns(_deleted_by_the_end_of(export))
        for export, recorded in records.items()
    ]
    return pl.concat(found)


def _deleted_by_the_end_of(export: Window) -> list[pl.Expr]:
    return [
        pl.lit(export.end_us - 1, pl.Int64()).alias(WRITE_TIME),
        pl.lit(0, pl.Int64()).alias(TIE_BREAK),
        pl.lit(True).alias(DELETED),
    ]


def _written_in(export: Window) -> pl.Expr:
    return pl.col(WRITE_TIME).is_between(export.start_us, export.end_us, closed="left")


def without_deleted_later(
    changes: pl.DataFrame, deletes: Iterable[pl.DataFrame], keys: Sequence[str]
) -> pl.DataFrame:
    """Return the changes without those updates whose key was deleted at the same time or later.

    Args:
        changes: One change a key.
        deletes: Blocks of deletes with the columns `KEY_HASH`, `WRITE_TIME` and the keys'.
        keys: The key's columns.
    """
    updates = pick(changes.filter(~pl.col(DELETED)), [KEY_HASH, WRITE_TIME, *keys])
    beaten: list[pl.DataFrame] = []
    for block in deletes:
        times = pick(block, [*keys, WRITE_TIME]).rename({WRITE_TIME: _DELETED_US})
        met = updates.join(times, on=columns(keys), nulls_equal=True)
        beaten.append(pick(met.filter(pl.col(_DELETED_US) >= pl.col(WRITE_TIME)), keys))
    if not beaten:
        return changes
    # One change a key: what is beaten is the update that was asked about.
    return changes.join(pl.concat(beaten).unique(), on=columns(keys), how="anti", nulls_equal=True)


def beats(
    times: npt.NDArray[np.int64],
    deletes: npt.NDArray[np.bool_],
    ties: npt.NDArray[np.int64],
    row_times: npt.NDArray[np.int64],
    row_ties: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Tell of pairs of a change and a row of its key which changes win: what MERGE's conditions below say.

    Args:
        times: The changes' write times.
        deletes: Which changes are deletes.
        ties: The changes' tie-breaks.
        row_times: The rows' write times.
        row_ties: The rows' tie-breaks.
    """
    return (times > row_times) | ((times == row_times) & (deletes | (ties > row_ties)))


def same_key(keys: Sequence[str], changes: pl.DataFrame) -> str:
    """Return MERGE's condition that a row of the replica `t` and a change `s` have the same key.

    A column that no change has null is compared by `=`, which is what DataFusion joins by. Were it `_key_hash` alone,
    and the rest a filter, keys that were made to have one hash would each be compared with each other.
    """
    parts = [f"t.{quote(KEY_HASH)} = s.{quote(KEY_HASH)}"]
    for name in keys:
        equal = "IS NOT DISTINCT FROM" if changes[name].null_count() else "="
        parts.append(f"t.{quote(name)} {equal} s.{quote(name)}")
    # Without the parentheses delta-rs's parser binds AND closer than IS NOT DISTINCT FROM.
    return " AND ".join(f"({part})" for part in parts)


def delete_wins() -> str:
    """Return MERGE's condition that the change `s` is a delete which beats the row `t`."""
    time = quote(WRITE_TIME)
    return f"s.{quote(DELETED)} AND s.{time} >= t.{time}"


def update_wins() -> str:
    """Return MERGE's condition that the change `s` is an update which beats the row `t`."""
    time, tie = quote(WRITE_TIME), quote(TIE_BREAK)
    newer = f"s.{time} > t.{time} OR (s.{time} = t.{time} AND s.{tie} > t.{tie})"
    return f"NOT s.{quote(DELETED)} AND ({newer})"


def insert_wins() -> str:
    """Return MERGE's condition that the change `s`, whose key has no row, is not a delete."""
    return f"NOT s.{quote(DELETED)}"
