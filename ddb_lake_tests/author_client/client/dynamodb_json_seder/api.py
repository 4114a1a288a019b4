"""From a column of DynamoDB JSON to columns of plain values, for the scalar types that have a polars type."""

from collections.abc import Mapping

import polars as pl
from simpletype.api import BaseType


def deserialize_df(df: pl.DataFrame, simple_schema: Mapping[str, BaseType], dynamodb_json_col: str) -> pl.DataFrame:
    """Replace a struct column of DynamoDB JSON by one column per attribute.

    Args:
        df: Has the struct column, read with `to_dynamodb_json_polars` of every type of the schema.
        simple_schema: The type of each attribute, which must be a scalar one.
        dynamodb_json_col: The struct column's name, such as `Item` or `NewImage`.

    Raises:
        TypeError: If an attribute is of a type other than string, number or boolean.
    """
    item = pl.col(dynamodb_json_col).struct
    columns = [_value(item.field(name), each, name) for name, each in simple_schema.items()]
    return df.with_columns(columns).drop(dynamodb_json_col)


def _value(attribute: pl.Expr, simple_type: BaseType, name: str) -> pl.Expr:
    (tag,) = simple_type.to_dynamodb_json_polars().fields
    if tag.name not in ("S", "N", "BOOL"):
        raise TypeError(f"the attribute {name} is of the DynamoDB type {tag.name}, which has no plain column here")
    return attribute.struct.field(tag.name).cast(simple_type.to_polars()).alias(name)
