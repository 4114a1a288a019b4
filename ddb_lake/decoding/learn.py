"""Which columns an export needs: a pass over its files that builds none of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ddb_lake.decoding.decode import WORKERS
from ddb_lake.decoding.errors import SecondType
from ddb_lake.decoding.files import Block, ExportFile
from ddb_lake.decoding.frames import by_attribute
from ddb_lake.decoding.rules import TypePolicy
from ddb_lake.decoding.schema import ItemSchema
from ddb_lake.decoding.selecting import SelectingShredder
from ddb_lake.decoding.shredder import Mode
from ddb_lake.decoding.stream import work_on
from ddb_lake.decoding.typed import arms_of, check_type
from ddb_lake.decoding.widen import widen
from ddb_lake.decoding.width import check_seen, check_widened


@dataclass(frozen=True)
class _Needs:
    """What a block's values need: arms by attribute, and where lake.yaml says `fail` their types' first lines."""

    arms: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    types: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])


def learn_items(files: Iterable[ExportFile], schema: ItemSchema, workers: int = WORKERS) -> ItemSchema:
    """Widen a schema by the columns that a full export's items need.

    Args:
        files: Data files of the export, in any order.
        schema: What is known of the table so far.
        workers: How many blocks are read at once.

    Returns:
        The schema with all its columns, and new ones at the end: at least those of the key, even if the
        files are empty.

    Raises:
        TooManyColumns: If a table can't have all of them.
        DecodeError: If a file is damaged, or a line in it is not an item of this table.
    """
    return _learn(files, schema, Mode(False), workers)


def learn_changes(files: Iterable[ExportFile], schema: ItemSchema, workers: int = WORKERS) -> ItemSchema:
    """Widen a schema by the columns that an incremental export's new images and keys need.

    Args:
        files: Data files of the export, in any order.
        schema: What is known of the table so far.
        workers: How many blocks are read at once.

    Returns:
        The schema with all its columns, and new ones at the end: at least those of the key, even if the
        files are empty.

    Raises:
        TooManyColumns: If a table can't have all of them.
        DecodeError: If a file is damaged, or a line in it is not a change of this table.
    """
    return _learn(files, schema, Mode(True), workers)


def _learn(files: Iterable[ExportFile], schema: ItemSchema, mode: Mode, workers: int) -> ItemSchema:
    def needs_of(shredder: SelectingShredder, block: Block) -> _Needs:
        needs = _Needs()
        for shreds in shredder.shred(block, block.size + 1):
            for attribute, cells in by_attribute(shreds):
                rule = schema.rule_of(attribute)
                needs.arms.setdefault(attribute, set()).update(arms_of(cells, rule))
                if rule.types is TypePolicy.FAIL:
                    needs.types.extend((shreds.line_of(each.first_row()), attribute, each.tag) for each in cells)
        needs.types.sort()
        return needs

    seen: dict[str, set[str]] = {}
    types: dict[str, str] = {}
    for file, blocks in work_on(files, schema, mode, needs_of, workers):
        for needs in blocks:
            for attribute, arms in needs.arms.items():
                seen.setdefault(attribute, set()).update(arms)
            check_seen(schema, seen)
            for line, attribute, tag in needs.types:
                known = types.get(attribute) or schema.type_of(attribute)
                try:
                    check_type(attribute, tag, known)
                except SecondType as error:
                    raise error.located(file.name, line) from None
                if tag != "NULL":
                    types[attribute] = tag
    widened = widen(schema, seen)
    check_widened(schema, widened)
    return widened
