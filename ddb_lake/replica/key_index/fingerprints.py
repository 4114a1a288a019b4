"""A second hash of a row's key, so that an index tells keys apart whose `_key_hash` is the same.

`_key_hash` (64 bits) finds candidates; the fingerprint (64 bits more, of the key's own columns) decides. Two keys of
one table that agree in both are expected once in 2^64 such pairs of equal hashes: never.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import polars as pl

from ddb_lake.replica.exact_names import column

PERSON = b"ddb_lake key"
"""Tells these hashes from others of the same text, such as the key hash itself."""

AT_ONCE = 65536
"""Rows whose keys' texts are in memory at once."""

Fingerprints = npt.NDArray[np.uint64]


def fingerprints(frame: pl.DataFrame, keys: Iterable[str]) -> Fingerprints:
    """Return each row's fingerprint.

    Equal exactly where all key columns are, null equal to null. A column that the table gets later is null in
    older rows and leaves their fingerprints as they are, and so does one that the frame lacks.
    """
    parts = [_part(name, frame.schema[name]) for name in sorted(keys) if name in frame.columns]
    if not frame.height or not parts:
        return np.zeros(frame.height, dtype=np.uint64)
    start = blake2b(digest_size=8, person=PERSON)
    digests = bytearray()
    for block in frame.iter_slices(AT_ONCE):
        for text in block.select(pl.concat_str(parts).cast(pl.Binary())).to_series():
            state = start.copy()
            state.update(text)
            digests += state.digest()
    return np.frombuffer(bytes(digests), dtype="<u8")


def _part(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column's part of the key's text: its name, the length and the value; empty where it is null."""
    value = column(name)
    text = value.bin.encode("hex") if dtype == pl.Binary() else value.cast(pl.String())
    told = pl.concat_str(pl.lit(f"{name}\x00"), text.str.len_bytes().cast(pl.String()), pl.lit(":"), text)
    return pl.when(value.is_null()).then(pl.lit("")).otherwise(told)
