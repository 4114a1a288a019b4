"""Cells of one attribute and type to series of a frame's height, by arm: every value exact."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from ddb_lake.decoding import arrow
from ddb_lake.decoding.attributes import ARM_OF_TYPE, NUMBER_ARMS, Arm
from ddb_lake.decoding.kernel import columns
from ddb_lake.decoding.shredder import Shreds

_ANY = -1


@dataclass(frozen=True)
class Cells:
    """The values of one attribute that have one type.

    Attributes:
        shreds: The lines that they are in.
        number: The attribute's number there.
        tag: The type.
        first: Where they begin in the order of cells.
        last: Where they end.
    """

    shreds: Shreds
    number: int
    tag: str
    first: int
    last: int

    @property
    def attribute(self) -> str:
        """The attribute's name."""
        return self.shreds.names[self.number]

    @property
    def count(self) -> int:
        """How many there are."""
        return self.last - self.first

    def first_row(self) -> int:
        """Return the first row that has one."""
        return int(self.shreds.cells["row"][self.shreds.order[self.first]])

    def number_arms(self) -> set[Arm]:
        """Return the narrowest arm of each number among them."""
        kinds = int(self.shreds.kinds[self.number])
        return {arm for kind, arm in enumerate(NUMBER_ARMS) if kinds >> kind & 1}


def cells_of(shreds: Shreds) -> list[Cells]:
    """Return all cells, by attribute and type."""
    return [Cells(shreds, *slot) for slot in shreds.slots()]


def place(cells: Cells, home: Arm) -> Mapping[Arm, pl.Series]:
    """Return for each arm that gets values their series, null in all other rows.

    Args:
        cells: What to place.
        home: For N, the arm that takes the numbers that fit it; the others go to the next wider one.
    """
    if cells.tag == "N":
        least = NUMBER_ARMS.index(home)
        arms = {max(NUMBER_ARMS.index(arm), least) for arm in cells.number_arms()}
        return {NUMBER_ARMS[arm]: _number(cells, least, arm) for arm in sorted(arms)}
    arm = ARM_OF_TYPE[cells.tag]
    match cells.tag:
        case "BOOL" | "NULL":
            return {arm: integers(cells).cast(pl.Boolean)}
        case "B":
            return {arm: texts(cells).str.decode("base64")}
        case "SS" | "NS" | "BS":
            return {arm: sets(cells)}
        case _:
            return {arm: texts(cells)}


def texts(cells: Cells, least: int = 0, arm: int = _ANY) -> pl.Series:
    """Return what the values are in the export: of an S the text, of the others their canonical JSON or number."""
    shreds = cells.shreds
    views, bitmap = arrow.new_views(shreds.height), arrow.new_bitmap(shreds.height)
    count = columns.texts(*_part(cells), least, arm, shreds.data, shreds.out, views, bitmap)
    return arrow.strings(shreds.height, count, bitmap, views, shreds.data, shreds.out)


def sets(cells: Cells) -> pl.Series:
    """Return sets as lists of their members: texts, numbers as text, or binary."""
    shreds = cells.shreds
    offsets, bitmap = np.zeros(shreds.height + 1, np.int64), arrow.new_bitmap(shreds.height)
    escapes = columns.set_sizes(*_part(cells), shreds.data, shreds.out, offsets, bitmap)
    if escapes:
        return texts(cells).str.json_decode(pl.List(pl.String))
    np.cumsum(offsets, out=offsets)
    count = int(offsets[-1])
    views = arrow.new_views(count)
    columns.set_members(*_part(cells), shreds.data, shreds.out, offsets, views)
    members = arrow.strings(count, count, arrow.new_bitmap(count), views, shreds.data, shreds.out)
    if cells.tag == "BS":
        members = members.str.decode("base64")
    return arrow.lists(shreds.height, cells.count, bitmap, offsets, members)


def braces(cells: Cells) -> int:
    """Count the opening braces in what the values are in the export."""
    return int(columns.braces(*_part(cells), cells.shreds.data, cells.shreds.out))


def integers(cells: Cells, least: int = 0, arm: int = _ANY) -> pl.Series:
    """Return numbers of 64 bits, or booleans as 0 and 1."""
    height = cells.shreds.height
    values, bitmap = np.zeros(height, np.int64), arrow.new_bitmap(height)
    count = columns.integers(*_part(cells), least, arm, values, bitmap)
    return arrow.integers(height, count, bitmap, values)


def decimals(cells: Cells, precision: int, scale: int, least: int = 0, arm: int = _ANY) -> pl.Series:
    """Return the numbers that decimal(precision, scale) holds exactly; the others are null."""
    shreds = cells.shreds
    values, bitmap = np.zeros((shreds.height, 2), np.uint64), arrow.new_bitmap(shreds.height)
    count = columns.decimals(*_part(cells), least, arm, shreds.data, precision, scale, values, bitmap)
    return arrow.decimals(shreds.height, count, bitmap, values, precision, scale)


def scaled_integers(cells: Cells, scale: int) -> pl.Series:
    """Return numbers times 10**scale as 64-bit integers; null where that has more than 18 digits or a fraction."""
    shreds = cells.shreds
    values, bitmap = np.zeros((shreds.height, 2), np.uint64), arrow.new_bitmap(shreds.height)
    count = columns.decimals(*_part(cells), 0, _ANY, shreds.data, 18, scale, values, bitmap)
    low_halves = values[:, 0].copy().view(np.int64)
    return arrow.integers(shreds.height, count, bitmap, low_halves)


def _number(cells: Cells, least: int, arm: int) -> pl.Series:
    match NUMBER_ARMS[arm]:
        case Arm.INT64:
            return integers(cells, least, arm)
        case Arm.DECIMAL:
            return decimals(cells, 38, 18, least, arm)
        case _:
            return texts(cells, least, arm)


def _part(cells: Cells) -> tuple[Any, Any, int, int]:
    return cells.shreds.cells, cells.shreds.order, cells.first, cells.last
