"""The values of an attribute in the columns that they belong to, by type, number and lake.yaml."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import polars as pl

from ddb_lake.decoding.attributes import ARM_OF_TYPE, Arm
from ddb_lake.decoding.errors import SecondType
from ddb_lake.decoding.hints import all_text, hinted, iso_text
from ddb_lake.decoding.placing import Cells, place
from ddb_lake.decoding.rules import AttributeRule, TypePolicy


@dataclass(frozen=True)
class Typed:
    """All values of one attribute in a piece.

    Attributes:
        arms: For each arm that has values their series.
        contradictions: How many values do not fit the hint.
    """

    arms: Mapping[str, pl.Series]
    contradictions: int


def type_values(cells: Iterable[Cells], rule: AttributeRule, home: Arm) -> Typed:
    """Put the values of one attribute into series.

    Args:
        cells: All cells of the attribute, one entry a type.
        rule: What lake.yaml wants.
        home: The arm that takes the numbers that fit it.
    """
    if rule.types is TypePolicy.STRING:
        return _as_text(cells)
    arms: dict[str, pl.Series] = {}
    values = wanted = 0
    for each in cells:
        placed: dict[str, pl.Series] = {**place(each, home)}
        if rule.hint and (fitting := hinted(each, rule.hint)) is not None and fitting.null_count() < len(fitting):
            placed = {rule.hint: fitting, **_rest(placed, fitting)}
        for arm, series in placed.items():
            # Lists and maps may share the arm of plain JSON.
            arms[arm] = _either(arms[arm], series) if arm in arms else series
        if rule.hint and each.tag != "NULL":
            values += each.count
            wanted += sum(
                len(series) - series.null_count() for arm, series in placed.items() if arm in rule.wanted_arms
            )
    return Typed(arms, values - wanted)


def arms_of(cells: Iterable[Cells], rule: AttributeRule) -> set[str]:
    """Return the arms that the values of one attribute need; of numbers the narrowest of each."""
    arms: set[str] = set()
    for each in cells:
        if rule.types is TypePolicy.STRING:
            arms.add(Arm.TEXT)
        elif rule.hint:
            arms.update(type_values([each], rule, rule.number_home or Arm.INT64).arms)
        elif each.tag == "N":
            arms.update(each.number_arms())
        else:
            arms.add(ARM_OF_TYPE[each.tag])
    return arms


def check_type(attribute: str, tag: str, known: str | None) -> None:
    """Refuse a second type, where lake.yaml says `types: fail`; an explicit NULL is none.

    Raises:
        SecondType: If the attribute is known with another type.
    """
    if tag != "NULL" and known is not None and tag != known:
        raise SecondType(
            f"the attribute {attribute!r} is of type {tag} here and of type {known} elsewhere, which lake.yaml "
            "refuses: correct the item, or say `types: companion` for the attribute"
        )


def _either(first: pl.Series, second: pl.Series) -> pl.Series:
    """Return the values of two series, which have none in the same row."""
    return pl.DataFrame({"first": first, "second": second}).select(pl.coalesce("first", "second")).to_series()


def _as_text(cells: Iterable[Cells]) -> Typed:
    held = [all_text(each) for each in cells]
    frame = pl.DataFrame([series.alias(str(place)) for place, series in enumerate(held)])
    return Typed({Arm.TEXT: frame.select(pl.coalesce(pl.all())).to_series()}, 0)


def _rest(placed: Mapping[str, pl.Series], fitting: pl.Series) -> dict[str, pl.Series]:
    """Return what the fitting values leave to the columns of their type: all others, and texts that differ."""
    if fitting.dtype == pl.Datetime("us", "UTC") and Arm.STRING in placed:
        frame = pl.DataFrame({"told": placed[Arm.STRING], "shown": iso_text(fitting)})
        rest = frame.select(pl.when(pl.col("told").ne_missing(pl.col("shown"))).then(pl.col("told"))).to_series()
        return {Arm.STRING: rest} if rest.null_count() < len(rest) else {}
    left: dict[str, pl.Series] = {}
    for arm, series in placed.items():
        rest = pl.DataFrame({"value": series, "fitting": fitting}).select(
            pl.when(pl.col("fitting").is_null()).then(pl.col("value"))
        )
        if rest.to_series().null_count() < rest.height:
            left[arm] = rest.to_series()
    return left
