"""Attribute names to column names: legal in Delta, unique without regard to case, stable.

Percent escapes stand for what Delta refuses, for what SQL engines read as syntax, and for what polars reads as a
pattern. Endings such as `__string` belong to companion columns, and the metadata columns' names to the metadata: an
attribute that is really called so is escaped, whatever else the table holds.
"""

import re
from collections.abc import Container
from hashlib import blake2b

from ddb_lake.decoding.attributes import Arm

METADATA_COLUMNS = ("_key_hash", "_write_time_us", "_tie_break", "_deleted", "_window", "_export", "_old_image")
"""Columns that describe a row, and are never an attribute's."""

_RESERVED = frozenset({*METADATA_COLUMNS, "_change_type", "_commit_version", "_commit_timestamp"})
"""Besides ours, the columns of Delta's change data feed (Delta protocol, Add CDC File)."""

_RESERVED_STARTS = ("__delta_rs", "_part_")
"""delta-rs names the columns of its own plans so, and ddb_lake the partition columns of a replica."""

_ESCAPED = re.compile(r"""[\x00-\x20\x7f,;{}()=%.`"'\\]""")
"""Delta refuses ` ,;{}()\\n\\t=` (Delta protocol, column names); the rest would need quoting twice in SQL."""

_PATTERN = re.compile(r"\*|\^.*\$", re.DOTALL)
"""Whole names that polars takes for patterns: all columns, or a regular expression. Tables of earlier versions may
have such columns, so this package selects by exact names all the same (`replica.exact_names`)."""

_COMPANION_ENDING = re.compile(f"__(?=(?:{'|'.join(Arm)}|decimal_[0-9]+_[0-9]+)$)", re.IGNORECASE)


def fold(name: str) -> str:
    """Return what two names have in common that an engine without regard to case takes for one."""
    return name.upper().casefold()


def stem(attribute: str, taken: Container[str]) -> str:
    """Choose the column name of an attribute's first arm.

    Args:
        attribute: The attribute's name, any text.
        taken: The folded stems of all other attributes.

    Returns:
        The name itself, its escaped form, or, where an attribute that differs only in case has it
        already, that form with a hash of the name after `%~`.
    """
    escaped = _escape(attribute)
    if fold(escaped) not in taken:
        return escaped
    digest = blake2b(attribute.encode(), digest_size=16).hexdigest()
    return next(
        candidate
        for length in range(8, len(digest) + 1, 8)
        if fold(candidate := f"{escaped}%~{digest[:length]}") not in taken
    )


def companion(stem: str, arm: str) -> str:
    """Return the column name of a further arm of the attribute with that stem."""
    return f"{stem}__{arm}"


def stem_of(column: str, arm: str) -> str:
    """Return the stem that a column of that arm was named after: no stem ends like a companion."""
    return column.removesuffix(f"__{arm}")


def _escape(attribute: str) -> str:
    if not attribute:
        return "%"
    escaped = _ESCAPED.sub(lambda match: f"%{ord(match[0]):02X}", attribute)
    if _PATTERN.fullmatch(escaped):
        escaped = f"%{ord(escaped[0]):02X}{escaped[1:]}"
    folded = fold(escaped)
    if folded in _RESERVED or folded.startswith(_RESERVED_STARTS):
        escaped = f"%5F{escaped[1:]}"
    if not _COMPANION_ENDING.search(fold(escaped)):
        return escaped
    # By the folded name, because one letter may fold to several: a ligature ends like a companion too.
    head, _, ending = escaped.rpartition("__")
    return f"{head}%5F%5F{ending}" if head or ending else escaped
