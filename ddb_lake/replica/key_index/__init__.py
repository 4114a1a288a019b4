"""The key index: where the row of each key is, so that a window reads no more than it changes."""

from ddb_lake.replica.key_index.fingerprints import KeyTexts
from ddb_lake.replica.key_index.index import (
    FOLDER,
    Candidates,
    KeyIndex,
    read_data_file,
    reading,
    rows_of,
    segment_path,
    write_segment,
)
from ddb_lake.replica.key_index.segment import Rows, encode_segment

__all__ = [
    "FOLDER",
    "Candidates",
    "KeyIndex",
    "KeyTexts",
    "Rows",
    "encode_segment",
    "read_data_file",
    "reading",
    "rows_of",
    "segment_path",
    "write_segment",
]
