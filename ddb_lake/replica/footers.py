# pyright: basic
# pyarrow has no types.
"""What the footer of a Parquet file tells of its rows and values."""

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

MAGIC = b"PAR1"


class DamagedFooter(Exception):
    """The bytes are no footer: a reason, never seen outside."""


def read_footer(tail: bytes) -> tuple[int, dict[str, int]]:
    """Return the rows of a Parquet file, and the values of its columns but structs.

    Args:
        tail: The end of the file, from the footer on.

    Raises:
        DamagedFooter: If it is no footer, or does not tell how many values are null.
    """
    try:
        footer = pq.read_metadata(pa.BufferReader(MAGIC + tail))
    except (pa.ArrowException, OSError) as error:
        raise DamagedFooter(str(error)) from error
    schema = footer.schema.to_arrow_schema()
    leaves: list[str | None] = []
    for field in schema:
        leaves += [None if pa.types.is_struct(_innermost(field.type)) else field.name] * _leaves(field.type)
    found: Counter[str] = Counter({name: 0 for name in leaves if name is not None})
    for group in range(footer.num_row_groups):
        chunks = footer.row_group(group)
        for place, name in enumerate(leaves):
            if name is not None:
                statistics = chunks.column(place).statistics
                if statistics is None or not statistics.has_null_count:
                    raise DamagedFooter(f"the footer does not tell how many values of {name!r} are null")
                found[name] += statistics.num_values  # which are those that are not null
    return footer.num_rows, dict(found)


def _innermost(dtype: pa.DataType) -> pa.DataType:
    while pa.types.is_list(dtype) or pa.types.is_large_list(dtype):
        dtype = dtype.value_type
    return dtype


def _leaves(dtype: pa.DataType) -> int:
    inner = _innermost(dtype)
    return sum(_leaves(field.type) for field in inner) if pa.types.is_struct(inner) else 1
