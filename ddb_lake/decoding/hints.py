"""Values as lake.yaml wants them: timestamps, decimals, plain JSON, or all types in one text column.

Nothing is converted that the result would not give back: what does not fit is null here and stays as it is.
"""

from typing import Any

import orjson
import polars as pl

from ddb_lake.decoding.attributes import Arm, decimal_of
from ddb_lake.decoding.placing import Cells, decimals, scaled_integers, texts

_ISO = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})$"

_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The years 1 to 9999: what Delta's readers can show."""

_SCALES = {Arm.TIMESTAMP_S: 6, Arm.TIMESTAMP_MS: 3}
"""How many digits after the point lead to microseconds."""


def hinted(cells: Cells, arm: str) -> pl.Series | None:
    """Return the values that fit an arm of lake.yaml's, null for the others; None if none of the type can."""
    decimal = decimal_of(arm)
    if decimal:
        return decimals(cells, *decimal) if cells.tag == "N" else None
    match arm, cells.tag:
        case Arm.TIMESTAMP, "S":
            return _iso_times(texts(cells))
        case Arm.TIMESTAMP_S | Arm.TIMESTAMP_MS, "N":
            return _epoch_times(cells, _SCALES[Arm(arm)])
        case Arm.JSON, "L" | "M":
            plain = [None if text is None else plain_json(cells.tag, text) for text in texts(cells)]
            return pl.Series(plain, dtype=pl.String)
        case _:
            return None


def iso_text(times: pl.Series) -> pl.Series:
    """Return timestamps as ISO 8601 in UTC, with as many of 0, 3 or 6 digits of a second as they need."""
    micros = times.dt.microsecond()
    frame = pl.DataFrame({"t": times, "us": micros})
    return frame.select(
        pl.when(pl.col("us") == 0)
        .then(pl.col("t").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .when(pl.col("us") % 1000 == 0)
        .then(pl.col("t").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
        .otherwise(pl.col("t").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    ).to_series()


def all_text(cells: Cells) -> pl.Series:
    """Return values of any type as text: an S as it is, the others, and an S like them, as DynamoDB JSON."""
    held = texts(cells)
    if cells.tag == "S":
        alike = held.str.starts_with("{").fill_null(False)
        if not alike.any():
            return held
        told = [
            f'{{"S":{orjson.dumps(text).decode()}}}' if like else text
            for text, like in zip(held.to_list(), alike.to_list(), strict=True)
        ]
        return pl.Series(told, dtype=pl.String)
    quote = '"' if cells.tag in ("N", "B") else ""
    return held.to_frame("held").select(pl.format(f'{{{{"{cells.tag}":{quote}{{}}{quote}}}}}', "held")).to_series()


def plain_json(tag: str, text: str) -> str | None:
    """Return a list or a map as plain JSON, or None if it holds a set or binary, which JSON has no type for."""
    plain = _plain({tag: orjson.loads(text)})
    return None if plain is _NOT_PLAIN else orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode()


_NOT_PLAIN = object()


def _plain(value: dict[str, Any]) -> Any:
    ((tag, payload),) = value.items()
    match tag:
        case "S" | "BOOL":
            return payload
        case "N":
            return orjson.Fragment(payload)
        case "NULL":
            return None
        case "L":
            elements = [_plain(element) for element in payload]
            return _NOT_PLAIN if _NOT_PLAIN in elements else elements
        case "M":
            members = {name: _plain(member) for name, member in payload.items()}
            return _NOT_PLAIN if _NOT_PLAIN in members.values() else members
        case _:
            return _NOT_PLAIN


def _iso_times(told: pl.Series) -> pl.Series:
    known = told.to_frame("text").select(pl.when(pl.col("text").str.contains(_ISO)).then(pl.col("text"))).to_series()
    times = known.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    return _within_years(times.to_physical())


def _epoch_times(cells: Cells, scale: int) -> pl.Series:
    return _within_years(scaled_integers(cells, scale))


def _within_years(micros: pl.Series) -> pl.Series:
    """Return µs since the epoch as timestamps, null where no reader could show them."""
    within = pl.col("us").is_between(_FIRST_US, _LAST_US)
    return micros.to_frame("us").select(pl.when(within).then(pl.col("us"))).to_series().cast(pl.Datetime("us", "UTC"))
