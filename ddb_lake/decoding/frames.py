"""Shredded lines to typed frames: the metadata's columns, then all columns of the schema."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

import polars as pl

from ddb_lake.decoded_rows import count_values
from ddb_lake.decoding import arrow
from ddb_lake.decoding.attributes import Arm
from ddb_lake.decoding.errors import DecodeError, SchemaTooNarrow, SecondType
from ddb_lake.decoding.kernel import columns
from ddb_lake.decoding.placing import Cells, cells_of
from ddb_lake.decoding.proof import prove_conservation
from ddb_lake.decoding.rules import TypePolicy
from ddb_lake.decoding.schema import ItemSchema
from ddb_lake.decoding.shredder import Mode, Shreds
from ddb_lake.decoding.typed import check_type, type_values
from ddb_lake.nulls import null_columns

ITEM_METADATA = pl.Schema({"_key_hash": pl.Int64(), "_write_time_us": pl.Int64(), "_tie_break": pl.Int64()})
"""The columns of `decode_items` before those of the schema."""

CHANGE_METADATA = pl.Schema({**ITEM_METADATA, "_deleted": pl.Boolean()})
"""The columns of `decode_changes` before those of the schema."""

_MOST_PINNED = 2
"""How many times what it shows a frame may keep in memory."""

OLD_IMAGE = "_old_image"
"""The column of `decode_changes` that old images are in as canonical DynamoDB JSON, where they are asked for."""


@dataclass
class Tally:
    """What was decoded so far.

    Attributes:
        blocks: Pieces of files, each proven to have lost nothing.
        lines: Their lines.
        exact_lines: Lines that only the exact reader could read.
        contradictions: By attribute, how many values do not fit lake.yaml's hint and went to another column.
    """

    blocks: int = 0
    lines: int = 0
    exact_lines: int = 0
    contradictions: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, other: "Tally") -> None:
        """Count what another tally has counted."""
        self.blocks += other.blocks
        self.lines += other.lines
        self.exact_lines += other.exact_lines
        for attribute, count in other.contradictions.items():
            self.contradictions[attribute] = self.contradictions.get(attribute, 0) + count


def by_attribute(shreds: Shreds) -> Iterator[tuple[str, list[Cells]]]:
    """Yield the cells of each attribute, one entry a type."""
    for _, group in groupby(cells_of(shreds), key=lambda cells: cells.number):
        cells = list(group)
        yield cells[0].attribute, cells


def build_frame(shreds: Shreds, mode: Mode, schema: ItemSchema) -> tuple[pl.DataFrame, Tally, dict[str, int]]:
    """Build the frame of some lines and prove that it holds all of them.

    Returns:
        The frame, what was counted on the way, and by column how many values were placed (of sets their members): as
        the series are made, before a frame is put together of them.

    Raises:
        SchemaTooNarrow: If an attribute or a type of its values has no column; its `line` is the row.
        SecondType: If lake.yaml refuses a type; likewise.
        NotConserved: If something was lost.
    """
    tally = Tally(1, shreds.height, shreds.exact_lines)
    filled: dict[str, pl.Series] = {}
    values: dict[str, int] = {}
    placed: list[tuple[Cells, int]] = []
    for attribute, cells in by_attribute(shreds):
        rule = schema.rule_of(attribute)
        if rule.types is TypePolicy.FAIL:
            for each in cells:
                _check_type(each, schema.type_of(attribute))
        typed = type_values(cells, rule, schema.number_home(attribute) or Arm.NUMBER)
        if typed.contradictions:
            tally.contradictions[attribute] = typed.contradictions
        for arm, series in typed.arms.items():
            column = schema.by_arm.get((attribute, arm))
            if column is None:
                raise SchemaTooNarrow(
                    f"the schema has no column for the {arm} values of {attribute!r}: learn this file first",
                    line=_first_row(series),
                )
            values[column.name] = count_values(series)
            filled[column.name] = series.alias(column.name)
        placed += _counted(cells, typed.arms, shreds.height)
    prove_conservation(shreds, mode, len(schema.key), placed)
    # Of thousands of columns a block fills a few: the others are made all at once.
    attributes = null_columns(((column.name, column.dtype) for column in schema.columns), shreds.height)
    for name, series in filled.items():
        attributes[schema.places[name]] = series
    metadata, counts = _metadata(shreds, mode)
    return pl.DataFrame([*metadata, *attributes]), tally, {**counts, **values}


def unpinned(frame: pl.DataFrame, shreds: Shreds) -> pl.DataFrame:
    """Return a frame that keeps not much more in memory than it shows.

    Its texts are views into the block. Where that is mostly something else (numbers, old images, what is dropped),
    they are copied, so that whoever gathers frames by their size has not much more than that.
    """
    texts = [
        each
        for each in frame.get_columns()
        if each.dtype in (pl.String(), pl.List(pl.String())) and each.null_count() < frame.height
    ]
    shown = sum(each.estimated_size() for each in texts)
    if not texts or shreds.data.nbytes + shreds.out_size <= _MOST_PINNED * shown:
        return frame
    return frame.with_columns(arrow.copied(each) for each in texts)


def located(error: DecodeError, name: str, shreds: Shreds) -> DecodeError:
    """Return an error of `build_frame` that says the file and the line."""
    return error.located(name, shreds.line_of(error.line or 0))


def _counted(cells: list[Cells], arms: Mapping[str, pl.Series], height: int) -> list[tuple[Cells, int]]:
    """Split the rows that have a value among the types: only their sum matters, unless it is short."""
    if Arm.TIMESTAMP in arms and Arm.STRING in arms:
        # A text may be kept beside its time.
        frame = pl.DataFrame([each.is_not_null().alias(arm) for arm, each in arms.items()])
        rows = int(frame.select(pl.any_horizontal(pl.all())).to_series().sum())
    else:
        rows = sum(height - each.null_count() for each in arms.values())
    lacking = sum(each.count for each in cells) - rows
    return [(each, each.count - (lacking if place == 0 else 0)) for place, each in enumerate(cells)]


def _check_type(cells: Cells, known: str | None) -> None:
    try:
        check_type(cells.attribute, cells.tag, known)
    except SecondType as error:
        raise error.located("", cells.first_row()) from None


def _first_row(series: pl.Series) -> int:
    return int(series.is_not_null().arg_max() or 0)


def _metadata(shreds: Shreds, mode: Mode) -> tuple[list[pl.Series], dict[str, int]]:
    """Return the metadata's columns, and how many values each of them has."""
    rows = shreds.rows  # whose memory is used again for the next lines
    made = [
        pl.Series("_key_hash", rows["key_hash"].copy()),
        pl.Series("_write_time_us", rows["write_time"].copy()),
        pl.Series("_tie_break", rows["tie_break"].copy()),
    ]
    if mode.changes:
        made.append(pl.Series("_deleted", rows["deleted"].copy()))
    counts = {series.name: shreds.height for series in made}
    if mode.old_images:
        views, bitmap = arrow.new_views(shreds.height), arrow.new_bitmap(shreds.height)
        count = columns.old_images(rows, shreds.height, shreds.data, shreds.out, views, bitmap)
        old = arrow.strings(shreds.height, count, bitmap, views, shreds.data, shreds.out)
        made.append(old.alias(OLD_IMAGE))
        counts[OLD_IMAGE] = int(count)
    return made, counts
