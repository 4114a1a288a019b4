"""The keys of rows as texts, and keyed 128-bit fingerprints of them: two rows of one fingerprint have one key.

`_key_hash` only finds candidates: it is XXH64 with a known seed, so whoever can choose ids can make as many of one
hash as they like. A fingerprint can't be aimed at. Its key is random, and each segment of the index has its own, so
that there is no secret to keep beside the table, to hand around or to lose.
"""

import importlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from ddb_lake.decoding.kernel.keyed_hash import siphash_texts
from ddb_lake.replica.exact_names import column, pick

importlib.import_module("numpy.ma")  # numba would do so within the first window, which takes a tenth of its time

Fingerprints = npt.NDArray[np.uint64]
"""A row of two words for each key."""

FINGERPRINT_WORDS = 2
SECRET_BYTES = 16


def new_secret() -> bytes:
    """Return a random key for fingerprints."""
    return secrets.token_bytes(SECRET_BYTES)


@dataclass(frozen=True)
class KeyTexts:
    """The keys of some rows, each as bytes that no other key has.

    Args:
        data: The bytes of all of them, perhaps of others too.
        bounds: Where each key begins, and where the last one ends.
    """

    data: npt.NDArray[np.uint8]
    bounds: npt.NDArray[np.int64]

    @staticmethod
    def of(frame: pl.DataFrame, keys: Iterable[str]) -> "KeyTexts":
        """Return the keys of a frame's rows.

        Equal exactly where all key columns are, null equal to null. A column that the table gets later is null in
        older rows and leaves their texts as they are, and so does one that the frame lacks.
        """
        present = [name for name in sorted(set(keys)) if name in frame.columns]
        if not frame.height or not present:
            return KeyTexts(_unwritable(np.zeros(1, np.uint8)), _unwritable(np.zeros(frame.height + 1, np.int64)))
        values = pick(frame, present)
        parts = [_part(name, column(name), dtype) for name, dtype in values.schema.items()]
        text = values.select(pl.concat_str(parts)).to_series()
        array = cast("Any", text.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()))  # pyarrow has no types
        _, bounds, data = array.buffers()
        return KeyTexts(
            _unwritable(np.frombuffer(data, dtype=np.uint8)),
            _unwritable(np.frombuffer(bounds, dtype=np.int64)[: frame.height + 1]),
        )

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def between(self, first: int, last: int) -> "KeyTexts":
        """Return some of the keys, by the position of the first and the one after the last."""
        return KeyTexts(self.data, self.bounds[first : last + 1])

    def fingerprints(self, secret: bytes, positions: npt.NDArray[Any] | None = None) -> Fingerprints:
        """Return the keys' fingerprints, of all or of those at some positions.

        Args:
            secret: The fingerprints' key, `SECRET_BYTES` of them.
            positions: Whose fingerprints are wanted.
        """
        chosen = np.arange(len(self), dtype=np.int64) if positions is None else positions.astype(np.int64)
        found = np.zeros((len(chosen), FINGERPRINT_WORDS), dtype=np.uint64)
        siphash_texts(self.data, self.bounds, chosen, np.frombuffer(secret, dtype="<u8"), found)
        return found


def _part(name: str, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return a column's part of the key's text: its name, the length and the value; empty where it is null."""
    text = value.bin.encode("hex") if dtype == pl.Binary() else value.cast(pl.String())
    part = pl.concat_str(pl.lit(f"{name}\x00"), text.str.len_bytes().cast(pl.String()), pl.lit(":"), text)
    return pl.when(value.is_null()).then(pl.lit("")).otherwise(part)


def _unwritable(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a view that can't be written to, as mapped files can't: so compiled code meets one type."""
    view = values.view()
    view.setflags(write=False)
    return view
