"""Compiles the kernel ahead of its first use, which otherwise waits for it: `python -m ddb_lake.decoding.warm`."""

import gzip
import tempfile
from pathlib import Path

import numpy as np

from ddb_lake.decoding.decode import decode_changes, decode_items
from ddb_lake.decoding.files import ExportFile
from ddb_lake.decoding.kernel.keyed_hash import siphash_texts
from ddb_lake.decoding.learn import learn_changes, learn_items
from ddb_lake.decoding.schema import ItemSchema
from ddb_lake.keys import KeyAttribute

_KEY = (KeyAttribute("k", "S", "HASH"),)
_IMAGE = b'{"k":{"S":""},"n":{"N":"1.5"},"b":{"BOOL":true},"l":{"L":[]}}'
_ITEM = b'{"Item":' + _IMAGE + b"}\n"
_CHANGE = (
    b'{"Metadata":{"WriteTimestampMicros":{"N":"1"}},"Keys":{"k":{"S":""}},"OldImage":{},"NewImage":'
    + _IMAGE
    + b"}\n"
)


def compile_kernel() -> None:
    """Decode an item and a change and hash a key, which compiles all of it and keeps it for other processes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "export.json.gz")
        file = ExportFile(str(path), path, 1)
        path.write_bytes(gzip.compress(_ITEM))
        for _ in decode_items(file, learn_items([file], ItemSchema.empty(_KEY)), 0):
            pass
        path.write_bytes(gzip.compress(_CHANGE))
        for _ in decode_changes(file, learn_changes([file], ItemSchema.empty(_KEY)), old_images=True):
            pass
    words = np.frombuffer(bytes(16), np.int64)  # not to be written to, as the index of keys has them
    siphash_texts(words.view(np.uint8), words, np.arange(1), words.view(np.uint64), np.zeros((1, 2), np.uint64))


if __name__ == "__main__":
    compile_kernel()
