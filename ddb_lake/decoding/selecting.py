"""Shredding that honours the selection of lake.yaml: what is dropped makes no cell, and is in no hash."""

from collections.abc import Iterator

import orjson

from ddb_lake.decoding.canonical import canonical_text
from ddb_lake.decoding.files import Block
from ddb_lake.decoding.kernel.names import DROPPED
from ddb_lake.decoding.rules import Selection
from ddb_lake.decoding.schema import ItemSchema
from ddb_lake.decoding.shredder import SHOWN, Mode, Shredder, Shreds

_IMAGES = ("Item", "Keys", "OldImage", "NewImage")


class SelectingShredder:
    """Takes the blocks of one table's files apart, after its selection; not to be used by two threads at once.

    Whole attributes are dropped by the kernel. Where values are hashed or parts of them dropped, or old images are
    wanted, which the kernel copies as they are, each line is checked, read by orjson and written anew first, which
    takes several times as long.
    """

    def __init__(self, schema: ItemSchema, mode: Mode) -> None:
        selection = schema.rules.selection
        self._selection = selection
        self._key = frozenset(attribute.name for attribute in schema.key)
        whole_images = mode.old_images and (selection.drop or selection.keep)
        if selection.is_plain() and not whole_images:
            flags, other = _flags(selection, self._key)
            self._reader = None
            self._shredder = Shredder(schema.key, mode, flags, other, selection != Selection())
        else:
            self._reader = Shredder(schema.key, mode, discreet=True)
            self._shredder = Shredder(schema.stored_key, mode, discreet=True)

    def shred(self, block: Block, most_rows: int) -> Iterator[Shreds]:
        """Take a block apart in pieces of at most `most_rows` lines.

        Raises:
            DecodeError: If a line is not what it should be; it says which.
        """
        if self._reader is not None:
            block = self._select(self._reader.normalise(block))
        yield from self._shredder.shred(block, most_rows)

    def _select(self, block: Block) -> Block:
        lines = block.data[: block.size].tobytes().splitlines()
        return Block.of(block.name, block.first_line, b"\n".join(map(self._select_in_line, lines)))

    def _select_in_line(self, line: bytes) -> bytes:
        record = orjson.loads(line)
        for image in _IMAGES:
            if image in record:
                record[image] = self._selection.apply(record[image], self._key)
        members = (f'"{name}":{canonical_text(value)}' for name, value in record.items())
        return f"{{{','.join(members)}}}".encode()


def _flags(selection: Selection, key: frozenset[str]) -> tuple[list[tuple[str, int]], int]:
    """Return what becomes of the attributes that the selection names, and of all others."""
    named = {path[0] for path in (*selection.drop, *selection.keep)} - key
    flags = [(name, DROPPED if selection.drops(name) else SHOWN) for name in sorted(named)]
    return flags, DROPPED if selection.keep else SHOWN
