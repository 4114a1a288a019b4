"""How many columns a table may have: from some number on it says so, and beyond another it takes no new ones."""

from collections.abc import Mapping

from ddb_lake.decoding.errors import TooManyColumns
from ddb_lake.decoding.schema import ItemSchema

MANY_COLUMNS = 2_000
"""From so many columns on a warning names the remedy."""

MOST_COLUMNS = 60_000
"""A table gets no columns beyond these. Bootstraps were measured up to 50,000; memory and time grow with them."""

_REMEDY = (
    "leave attributes out by `keep` or `drop` in lake.yaml, or have the application keep data whose names are values "
    "(ids, dates) in one map attribute, which takes one column"
)


def warning_of(table: str, columns: int) -> str | None:
    """Return what is to be said of a table's number of columns, None where it is no matter.

    Args:
        table: Its name, for the text.
        columns: How many columns its attributes have.
    """
    if columns < MANY_COLUMNS:
        return None
    return (
        f"{table} has {columns:,} columns, one for each attribute and type of its values; the time and memory of "
        f"every window grow with them, and beyond {MOST_COLUMNS:,} no new ones are taken: {_REMEDY}"
    )


def check_seen(schema: ItemSchema, seen: Mapping[str, object]) -> None:
    """Check, while an export is still being read, that the attributes met so far don't need too many columns.

    Raises:
        TooManyColumns: If they do.
    """
    if len(schema.columns) + len(seen) > MOST_COLUMNS:
        known = {column.attribute for column in schema.columns}
        new = sum(attribute not in known for attribute in seen)
        _check(schema, len(schema.columns) + new, "at least ")


def check_widened(schema: ItemSchema, widened: ItemSchema) -> None:
    """Check that a schema has not grown beyond what a table may have; one that has that many already may stay so.

    Raises:
        TooManyColumns: If it has.
    """
    _check(schema, len(widened.columns), "")


def _check(schema: ItemSchema, columns: int, at_least: str) -> None:
    if columns > max(MOST_COLUMNS, len(schema.columns)):
        raise TooManyColumns(
            f"the export needs {at_least}{columns:,} columns, {columns - len(schema.columns):,} of them new, but a "
            f"table may have {MOST_COLUMNS:,}, one for each attribute and type of its values. Nothing of the export "
            f"was used, and no column was added: {_REMEDY}; then run this again"
        )
