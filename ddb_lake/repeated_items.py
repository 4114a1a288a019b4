"""Two records of one key in one export: found by a second look at its files, and told with both of their lines."""

from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from ddb_lake.decoding import DecodedFrames, ExportFile
from ddb_lake.decoding.errors import DecodeError
from ddb_lake.key_hashes import I64
from ddb_lake.replica.columns import KEY_HASH
from ddb_lake.replica.exact_names import columns, pick

_FILE, _LINE = "file of the record", "line of the record"
"""Columns of frames in memory. No table has columns of these names."""

AT_ONCE = 1_000_000
"""Records whose keys are gathered before it is seen whether one came twice."""


class RepeatedItem(DecodeError):
    """An export has two records of one key, so one would silently replace or double the other; nothing was used."""


def require_single(files: Iterable[tuple[ExportFile, DecodedFrames]], hashes: I64, keys: Sequence[str]) -> None:
    """Check of those records of an export whose key hash came more than once that each has a key of its own.

    Args:
        files: All of the export's data files.
        hashes: Key hashes that came more than once.
        keys: The key's columns.

    Raises:
        RepeatedItem: If two records have one key, naming both lines.
    """
    wanted = pl.Series(hashes)
    names: list[str] = []
    found: list[pl.DataFrame] = []
    gathered = 0
    for file, frames in files:
        line = 1
        names.append(file.name)
        for frame in frames:
            # One row a line, in the order of the lines.
            lines = pl.Series(_LINE, np.arange(line, line + frame.height))
            place = pl.Series(_FILE, [len(names) - 1], dtype=pl.Int64()).new_from_index(0, frame.height)
            met = pick(frame, keys).hstack([lines, place]).filter(frame[KEY_HASH].is_in(wanted.implode()))
            line += frame.height
            if met.height:
                found.append(met)
                gathered += met.height
        if gathered >= AT_ONCE:
            found, gathered = [_without_repetition(found, names, keys)], 0
    if found:
        _without_repetition(found, names, keys)


def _without_repetition(found: list[pl.DataFrame], names: Sequence[str], keys: Sequence[str]) -> pl.DataFrame:
    """Return the records as one frame, if each has a key of its own."""
    records = pl.concat(found)
    repeated = records.filter(pick(records, keys).is_duplicated())
    if not repeated.height:
        return records
    first = pick(repeated, keys).head(1)
    same = repeated.join(first, on=columns(keys), how="semi", nulls_equal=True, maintain_order="left")
    (file, line), (other_file, other_line) = same.select(_FILE, _LINE).rows()[:2]
    key = {name: value for name, value in first.row(0, named=True).items() if value is not None}
    others = repeated.height - pick(repeated, keys).unique().height - 1
    elsewhere = f"{names[int(other_file)]}, line {other_line}"
    more = f" ({others:,} more records are repeated)" if others else ""
    raise RepeatedItem(
        f"the record has the same key as {elsewhere}: {key}{more}. DynamoDB exports each item once, so "
        "the files are not as it wrote them (was one copied or edited?). Nothing was used; restore "
        "them, or delete the export's folder, so that it is exported again",
        names[int(file)],
        line,
    )
