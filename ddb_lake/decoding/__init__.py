"""DynamoDB JSON export files to typed polars frames and back, without loss and in bounded memory."""

from ddb_lake.decoding.attributes import Arm
from ddb_lake.decoding.canonical import canonical_image
from ddb_lake.decoding.decode import CHANGE_METADATA, ITEM_METADATA, decode_changes, decode_items
from ddb_lake.decoding.encode import encode_item
from ddb_lake.decoding.errors import (
    CorruptFile,
    DecodeError,
    ItemCountMismatch,
    KeyMismatch,
    MalformedRecord,
    SchemaMetadataError,
    SchemaTooNarrow,
    WrongExportKind,
)
from ddb_lake.decoding.files import ExportFile
from ddb_lake.decoding.learn import learn_changes, learn_items
from ddb_lake.decoding.schema import Column, ItemSchema

__all__ = [
    "CHANGE_METADATA",
    "ITEM_METADATA",
    "Arm",
    "Column",
    "CorruptFile",
    "DecodeError",
    "ExportFile",
    "ItemCountMismatch",
    "ItemSchema",
    "KeyMismatch",
    "MalformedRecord",
    "SchemaMetadataError",
    "SchemaTooNarrow",
    "WrongExportKind",
    "canonical_image",
    "decode_changes",
    "decode_items",
    "encode_item",
    "learn_changes",
    "learn_items",
]
