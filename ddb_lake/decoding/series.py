"""Values of one type to one polars series, or for numbers one per arm: every value exact or an error."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import polars as pl

from ddb_lake.decoding import canonical
from ddb_lake.decoding.attributes import ARM_OF_TYPE, DTYPES, NUMBER_ARMS, Arm
from ddb_lake.decoding.cells import Cells
from ddb_lake.decoding.errors import DecodeError, MalformedRecord
from ddb_lake.decoding.numbers import canonical_number, narrowest_arm, parse_number

_PLAIN_INT64 = r"^-?[0-9]{1,18}$"
"""Texts that polars casts to Int64 exactly, and that DynamoDB's limits allow."""

_PLAIN_DECIMAL = r"^-?[0-9]{1,18}(?:\.[0-9]{1,18})?$"
"""Likewise for Decimal(38, 18): polars rounds silently where there are more digits than the scale has."""

_NO_INT64 = r"^-?[0-9]{1,18}\.[0-9]{0,17}[1-9]$"
"""Of those, the ones that certainly are no whole number."""


class BadCell(Exception):
    """A value that can't be kept, in row `row` of the block; the caller knows which line that is."""

    def __init__(self, row: int, error: DecodeError) -> None:
        super().__init__(str(error))
        self.row = row
        self.error = error


def _each(convert: Callable[[Any], Any], cells: Cells) -> list[Any]:
    converted: list[Any] = []
    try:
        for value in cells.values:
            converted.append(convert(value))
    except MalformedRecord as error:
        raise BadCell(cells.rows[len(converted)], error) from None
    return converted


def _text_of(convert: Callable[[Any], Any]) -> Callable[[Any], str]:
    return lambda payload: canonical.canonical_text(convert(payload))


_CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "S": canonical.string,
    "B": canonical.binary,
    "BOOL": canonical.boolean,
    "NULL": canonical.null,
    "L": _text_of(canonical.canonical_list),
    "M": _text_of(canonical.canonical_map),
    "SS": canonical.string_set,
    "NS": canonical.number_set,
    "BS": canonical.binary_set,
}


def build(tag: str, cells: Cells, home: Arm) -> dict[Arm, tuple[list[int], pl.Series]]:
    """Convert cells of one type.

    Args:
        tag: The type tag of all the cells.
        cells: Values and the block's rows that they belong to.
        home: For N, the arm that takes the numbers that fit it.

    Returns:
        For each arm that got a value its rows, ascending, and their values.

    Raises:
        BadCell: If a value is not what its type allows.
    """
    if tag == "N":
        return _build_numbers(cells, home)
    arm = ARM_OF_TYPE[tag]
    if tag in ("S", "BOOL") and (checked := _checked(cells, DTYPES[arm])) is not None:
        return {arm: (cells.rows, checked)}
    return {arm: (cells.rows, pl.Series(_each(_CONVERT[tag], cells), dtype=DTYPES[arm], strict=True))}


def number_arms(cells: Cells) -> set[Arm]:
    """Return the narrowest arm of each number among the cells.

    Raises:
        BadCell: If a value is not a number of DynamoDB's.
    """
    texts = _texts(cells)
    whole = texts.str.contains(_PLAIN_INT64)
    broken = texts.str.contains(_NO_INT64)
    arms = {Arm.INT64} if whole.any() else set[Arm]()
    if broken.any():
        arms.add(Arm.DECIMAL)
    rest = _pick(cells, ~(whole | broken))
    return arms.union(narrowest_arm(number) for number in _each(parse_number, rest))


def _build_numbers(cells: Cells, home: Arm) -> dict[Arm, tuple[list[int], pl.Series]]:
    texts = _texts(cells)
    if home is Arm.NUMBER:
        return {home: (cells.rows, pl.Series(_each(canonical_number, cells), dtype=pl.String))}
    plain = texts.str.contains(_PLAIN_INT64 if home is Arm.INT64 else _PLAIN_DECIMAL)
    if plain.all():
        return {home: (cells.rows, texts.cast(DTYPES[home]))}

    placed: dict[Arm, tuple[list[int], list[Any]]] = {}
    homes = NUMBER_ARMS.index(home)
    for row, text, number in zip(cells.rows, cells.values, _each(parse_number, cells), strict=True):
        arm = NUMBER_ARMS[max(homes, NUMBER_ARMS.index(narrowest_arm(number)))]
        rows, values = placed.setdefault(arm, ([], []))
        rows.append(row)
        values.append(_in_arm(arm, text, number))
    return {arm: (rows, pl.Series(values, dtype=DTYPES[arm], strict=True)) for arm, (rows, values) in placed.items()}


def _in_arm(arm: Arm, text: str, number: Decimal) -> int | Decimal | str:
    if arm is Arm.INT64:
        return int(number)
    return number if arm is Arm.DECIMAL else canonical_number(text)


def _texts(cells: Cells) -> pl.Series:
    texts = _checked(cells, pl.String())
    return pl.Series(_each(canonical_number, cells), dtype=pl.String) if texts is None else texts


def _checked(cells: Cells, dtype: pl.DataType) -> pl.Series | None:
    """Return the values as they are, or None if one is of another type or JSON's null.

    It is polars that looks at each value: much faster than a loop, which then only has to find the bad one.
    """
    try:
        values = pl.Series(cells.values, dtype=dtype, strict=True)
    except TypeError:
        return None
    return None if values.null_count() else values


def _pick(cells: Cells, mask: pl.Series) -> Cells:
    places = mask.arg_true().to_list()
    return Cells([cells.rows[place] for place in places], [cells.values[place] for place in places])


def spread(name: str, rows: list[int], values: pl.Series, height: int) -> pl.Series:
    """Return a series of `height` values that has `values` in `rows` and null elsewhere."""
    if len(rows) == height:
        return values.alias(name)
    place: list[int | None] = [None] * height
    for index, row in enumerate(rows):
        place[row] = index
    index = pl.Series(place, dtype=pl.UInt32)
    return values.gather(index).alias(name)  # pyright: ignore[reportUnknownMemberType] - numpy in its types


def nulls(name: str, dtype: pl.DataType, height: int) -> pl.Series:
    """Return a series of nothing but nulls."""
    return pl.Series(name, [None], dtype=dtype).new_from_index(0, height)
