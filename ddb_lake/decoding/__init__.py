"""DynamoDB JSON export files to typed polars frames and back, without loss and in bounded memory."""

from ddb_lake.decoding.attributes import Arm
from ddb_lake.decoding.canonical import canonical_image
from ddb_lake.decoding.decode import (
    DecodedFrames,
    decode_change_files,
    decode_changes,
    decode_item_files,
    decode_items,
)
from ddb_lake.decoding.encode import encode_item
from ddb_lake.decoding.errors import (
    CorruptFile,
    DecodeError,
    ItemCountMismatch,
    KeyMismatch,
    MalformedRecord,
    NotConserved,
    SchemaMetadataError,
    SchemaTooNarrow,
    SecondType,
    TooManyColumns,
    WrongExportKind,
)
from ddb_lake.decoding.files import ExportFile
from ddb_lake.decoding.frames import CHANGE_METADATA, ITEM_METADATA, OLD_IMAGE, Tally
from ddb_lake.decoding.learn import learn_changes, learn_items
from ddb_lake.decoding.rules import AttributeRule, Rules, Selection, TypePolicy, parse_hint, parse_path
from ddb_lake.decoding.schema import Column, ItemSchema

__all__ = [
    "CHANGE_METADATA",
    "ITEM_METADATA",
    "OLD_IMAGE",
    "Arm",
    "AttributeRule",
    "Column",
    "CorruptFile",
    "DecodeError",
    "DecodedFrames",
    "ExportFile",
    "ItemCountMismatch",
    "ItemSchema",
    "KeyMismatch",
    "MalformedRecord",
    "NotConserved",
    "Rules",
    "SchemaMetadataError",
    "SchemaTooNarrow",
    "SecondType",
    "Selection",
    "Tally",
    "TooManyColumns",
    "TypePolicy",
    "WrongExportKind",
    "canonical_image",
    "decode_change_files",
    "decode_changes",
    "decode_item_files",
    "decode_items",
    "encode_item",
    "learn_changes",
    "learn_items",
    "parse_hint",
    "parse_path",
]
