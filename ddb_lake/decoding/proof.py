"""The proof that nothing was lost between a block's text and the series made of it.

In DynamoDB JSON every value and every map is one `{`, and so are the few objects around them. If the text has as
many as the values that were placed and the texts of lists and maps account for, none was dropped. The count knows
nothing of how the block was taken apart.
"""

from collections.abc import Iterable

import polars as pl

from ddb_lake.decoding.errors import NotConserved
from ddb_lake.decoding.placing import Cells, braces, texts
from ddb_lake.decoding.shredder import Mode, Shreds

_TEXT_TAGS = frozenset({"S", "SS"})


def prove_conservation(shreds: Shreds, mode: Mode, keys: int, placed: Iterable[tuple[Cells, int]]) -> None:
    """Compare the objects of the lines with what was made of them.

    Args:
        shreds: The lines.
        mode: What was read of them.
        keys: How many attributes the key has.
        placed: For each attribute and type its cells, and how many values the series have that were made of them.

    Raises:
        NotConserved: If the two differ.
    """
    placed = list(placed)
    kept = shreds.height - int(shreds.rows["deleted"].sum())
    around = 4 * shreds.height + (keys + 1) * kept if mode.changes else 2 * shreds.height
    values = sum(count for _, count in placed)
    inside = sum(braces(cells) for cells, _ in placed if cells.tag in ("L", "M"))
    found = shreds.braces - shreds.left_out
    if found == around + values + inside:
        return
    # Braces in names and texts are no objects: counted only where there may be some.
    named = sum(count * cells.attribute.count("{") for cells, count in placed)
    written = sum(braces(cells) for cells, _ in placed if cells.tag in _TEXT_TAGS)
    accounted = (
        around + values + inside + named + written + (_braces_of_keys(shreds, keys, placed) if mode.changes else 0)
    )
    if found != accounted:
        raise NotConserved(
            f"the lines {shreds.first_line} to {shreds.line_of(shreds.height - 1)} hold {found} objects, but "
            f"{accounted} were decoded: a fault of ddb_lake, please report it; nothing of this file was used"
        )


def _braces_of_keys(shreds: Shreds, keys: int, placed: Iterable[tuple[Cells, int]]) -> int:
    """Count the braces in the names and texts of `Keys` where a new image has them once more."""
    kept = pl.Series(~shreds.rows["deleted"])
    total = 0
    for cells, _ in placed:
        if cells.number < keys:
            braces = texts(cells).str.count_matches("{", literal=True) if cells.tag == "S" else None
            total += int(kept.sum()) * cells.attribute.count("{")
            total += 0 if braces is None else int(braces.filter(kept).sum() or 0)
    return total
