"""Rows on their way from an export's lines to a table's files, with what is known of them besides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import polars as pl


@dataclass(frozen=True)
class DecodedRows:
    """The rows made of adjacent lines of an export's file, a row a line.

    Attributes:
        frame: The rows.
        source: The file, such as `s3://bucket/key`; "" where the rows come from none.
        first_line: The 1-based line of row 0.
        values: By column, how many values the decoder placed there; of sets their members. {} where nobody counted.
    """

    frame: pl.DataFrame
    source: str = ""
    first_line: int = 1
    values: Mapping[str, int] = field(default_factory=dict[str, int])

    @staticmethod
    def of(rows: "pl.DataFrame | DecodedRows") -> "DecodedRows":
        """Return rows of which nothing else may be known as such rows."""
        return DecodedRows(rows) if isinstance(rows, pl.DataFrame) else rows

    def where(self, row: int | None = None) -> str:
        """Return the file and the line of a row, or the lines of all of them; "" where they come from no file."""
        if not self.source:
            return ""
        if row is not None:
            return f"{self.source}, line {self.first_line + row}"
        return f"{self.source}, lines {self.first_line} to {self.first_line + max(0, self.frame.height - 1)}"


def count_values(series: pl.Series) -> int:
    """Return how many values of a series are not null; of lists how many members they have."""
    if isinstance(series.dtype, pl.List):
        lists = cast("Any", series.to_arrow(compat_level=pl.CompatLevel.newest()))
        return len(lists.flatten())
    return len(series) - series.null_count()
