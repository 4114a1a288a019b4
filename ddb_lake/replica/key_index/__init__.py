"""The key index: where the row of each key is, so that a window reads no more than it changes."""

from ddb_lake.replica.key_index.fingerprints import fingerprints
from ddb_lake.replica.key_index.index import (
    FINGERPRINT,
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
    "FINGERPRINT",
    "FOLDER",
    "Candidates",
    "KeyIndex",
    "Rows",
    "encode_segment",
    "fingerprints",
    "read_data_file",
    "reading",
    "rows_of",
    "segment_path",
    "write_segment",
]
