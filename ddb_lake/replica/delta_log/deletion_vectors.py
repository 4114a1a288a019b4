"""Deletion vectors: sets of row positions, their bytes, and the files they are in.

Delta protocol: "Deletion Vector Format" (portable arrays of 32-bit Roaring bitmaps behind a magic number) and
"Deletion Vector File Storage Format" (a version byte, then for each vector its size, its bytes and their CRC-32).
"""

import base64
import struct
import uuid
from collections.abc import Mapping

from pyroaring import BitMap64

from ddb_lake.replica.checksum import crc32
from ddb_lake.replica.delta_log.actions import DeletionVector
from ddb_lake.replica.errors import ANEW, DamagedDeletionVector
from ddb_lake.replica.store import TableStore, put_new

FOLDER = "_dv"
"""The prefix of our vectors' files: a full vacuum by other tools leaves folders with an underscore alone."""

MAGIC = 1681511377
FILE_FORMAT = 1

_RFC_1924 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_TO_Z85 = bytes.maketrans(_RFC_1924, _Z85)
_FROM_Z85 = bytes.maketrans(_Z85, _RFC_1924)
UUID_CHARACTERS = 20
"""How long 16 bytes are in base 85."""


def encode_base85(data: bytes) -> str:
    """Return bytes in Z85, padded with zeros to whole groups of four."""
    return base64.b85encode(data + bytes(-len(data) % 4)).translate(_TO_Z85).decode()


def decode_base85(text: str) -> bytes:
    """Return the bytes of a text in Z85, the padding included."""
    return base64.b85decode(text.encode().translate(_FROM_Z85))


def serialize(positions: BitMap64) -> bytes:
    """Return a vector's bytes: the magic number, then the bitmap in Roaring's portable 64-bit format."""
    return struct.pack("<I", MAGIC) + positions.serialize()


def deserialize(data: bytes, where: str) -> BitMap64:
    """Return the positions of a vector's bytes.

    Raises:
        DamagedDeletionVector: If they are none.
    """
    if len(data) < 12 or struct.unpack_from("<I", data)[0] != MAGIC:
        raise DamagedDeletionVector(f"{where} does not begin as a deletion vector; {REMEDY}")
    try:
        return BitMap64.deserialize(data[4:])
    except (ValueError, OverflowError, MemoryError) as error:
        raise DamagedDeletionVector(f"{where} is no Roaring bitmap ({error}); {REMEDY}") from error


REMEDY = f"which rows are deleted can't be told without it: restore the file, or {ANEW}"


def write_vectors(store: TableStore, vectors: Mapping[str, BitMap64]) -> tuple[dict[str, DeletionVector], int]:
    """Write the vectors of a commit into one new file.

    None is written inline, however small: Trino refuses those. They are read all the same.

    Args:
        store: The table's folder.
        vectors: By whatever names them.

    Returns:
        The descriptors by the same names, and the bytes that were written.
    """
    identity = uuid.uuid4()
    told: dict[str, DeletionVector] = {}
    encoded = FOLDER + encode_base85(identity.bytes)
    parts, size = [bytes([FILE_FORMAT])], 1
    for name, positions in vectors.items():
        data = serialize(positions)
        told[name] = DeletionVector("u", encoded, len(data), len(positions), size)
        parts += [struct.pack(">I", len(data)), data, struct.pack(">I", crc32(data))]
        size += 4 + len(data) + 4
    if not vectors:
        return told, 0
    put_new(store, f"{FOLDER}/deletion_vector_{identity}.bin", b"".join(parts))
    return told, size


def file_of(vector: DeletionVector) -> str | None:
    """Return the path of a vector's file in the table's folder; None if it is inline or elsewhere."""
    if vector.storage_type != "u":
        return None
    prefix, encoded = vector.path_or_inline[:-UUID_CHARACTERS], vector.path_or_inline[-UUID_CHARACTERS:]
    name = f"deletion_vector_{uuid.UUID(bytes=decode_base85(encoded))}.bin"
    return f"{prefix}/{name}" if prefix else name


def read_vectors(store: TableStore, vectors: Mapping[str, DeletionVector], where: str) -> dict[str, BitMap64]:
    """Return the positions of some vectors, each file read once.

    Raises:
        DamagedDeletionVector: If a file is absent, or a checksum, a size or a count is not what the log tells.
    """
    files: dict[str, bytes] = {}
    paths = sorted({path for each in vectors.values() if (path := _path_of(each)) is not None})
    for path in paths:
        try:
            files[path] = store.get(path)
        except FileNotFoundError as error:
            raise DamagedDeletionVector(f"{where}: the deletion vector file {path} is gone; {REMEDY}") from error
    return {name: _read(each, files, f"{where}, deletion vector of {name}") for name, each in vectors.items()}


def _path_of(vector: DeletionVector) -> str | None:
    if vector.storage_type == "p":
        raise DamagedDeletionVector(
            f"the deletion vector {vector.path_or_inline} is outside the table's folder (a shallow clone?); "
            "copy the table deeply first"
        )
    return file_of(vector)


def _read(vector: DeletionVector, files: Mapping[str, bytes], where: str) -> BitMap64:
    path = file_of(vector)
    if path is None:
        data = decode_base85(vector.path_or_inline)[: vector.size]
    else:
        where = f"{where} in {path}"
        file, start = files[path], vector.offset or 1
        if not file or file[0] != FILE_FORMAT:
            raise DamagedDeletionVector(f"{where}: the file is of format {file[:1].hex()!r}, not 01; {REMEDY}")
        if len(file) < start + 8 + vector.size or struct.unpack_from(">I", file, start)[0] != vector.size:
            raise DamagedDeletionVector(f"{where}: there are not {vector.size} bytes at {start}; {REMEDY}")
        data = file[start + 4 : start + 4 + vector.size]
        if struct.unpack_from(">I", file, start + 4 + vector.size)[0] != crc32(data):
            raise DamagedDeletionVector(f"{where}: the checksum of the bytes at {start} is wrong; {REMEDY}")
    positions = deserialize(data, where)
    if len(positions) != vector.cardinality:
        raise DamagedDeletionVector(
            f"{where} has {len(positions)} positions, the log tells {vector.cardinality}; {REMEDY}"
        )
    return positions
