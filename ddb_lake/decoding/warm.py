"""Compiles the kernel ahead of its first use, which otherwise waits for it: `python -m ddb_lake.decoding.warm`."""

import gzip
import tempfile
from pathlib import Path

from ddb_lake.decoding.decode import decode_changes, decode_items
from ddb_lake.decoding.files import ExportFile
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
    """Decode an item and a change, which compiles all that decoding needs and keeps it for other processes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "export.json.gz")
        file = ExportFile(str(path), path, 1)
        path.write_bytes(gzip.compress(_ITEM))
        for _ in decode_items(file, learn_items([file], ItemSchema.empty(_KEY)), 0):
            pass
        path.write_bytes(gzip.compress(_CHANGE))
        for _ in decode_changes(file, learn_changes([file], ItemSchema.empty(_KEY)), old_images=True):
            pass


if __name__ == "__main__":
    compile_kernel()
