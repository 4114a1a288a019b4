"""The values of a block of items, regrouped by attribute and type, as a columnar frame needs them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ddb_lake.decoding.attributes import split


@dataclass(slots=True)
class Cells:
    """The values of one attribute that have one type: `values[i]` belongs to row `rows[i]`, ascending."""

    rows: list[int] = field(default_factory=list[int])
    values: list[Any] = field(default_factory=list[Any])


class CellTable:
    """Cells by attribute and type tag, filled image by image."""

    def __init__(self) -> None:
        self.cells: dict[str, dict[str, Cells]] = {}

    def add(self, row: int, image: Mapping[str, Any]) -> None:
        """Take an image apart; what its type tags hold is checked later, column by column.

        Raises:
            MalformedRecord: If a value is not an object with exactly one known type tag.
        """
        cells = self.cells
        for attribute, value in image.items():
            try:
                # Without a call and without a check: nearly all values are of a known attribute and type.
                ((tag, payload),) = value.items()
                found = cells[attribute][tag]
            except (KeyError, ValueError, AttributeError):
                tag, payload = split(value)
                found = cells.setdefault(attribute, {}).setdefault(tag, Cells())
            found.rows.append(row)
            found.values.append(payload)
