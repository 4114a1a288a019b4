"""One source table's exports into frames: with the columns that are known, or learned anew where they don't do."""

import hmac
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Generic, TypeVar

from ddb_lake.decoding import ExportFile, ItemSchema, Rules, SchemaTooNarrow, Tally, TooManyColumns
from ddb_lake.errors import ConfigError
from ddb_lake.field_metadata import ATTRIBUTE, HASHED, SINCE
from ddb_lake.keys import KeyAttribute
from ddb_lake.local_copies import LocalCopies
from ddb_lake.replica import ChangeLog, ChangeLogSnapshot, Column
from ddb_lake.windows import format_time

_LOG = logging.getLogger(__name__)

Learn = Callable[[Iterable[ExportFile], ItemSchema], ItemSchema]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Decoding(Generic[Made]):
    """How an export was decoded.

    Args:
        made: What was made of it.
        tally: What was counted on the way.
        relearned: Whether values without a column were met, and the export was decoded again.
        added: The columns that are new.
    """

    made: Made
    tally: Tally
    relearned: bool
    added: tuple[Column, ...]


@dataclass(frozen=True)
class Target:
    """The columns that an export is decoded into.

    Args:
        schema: The mapping of attributes to columns.
        columns: The columns in its order, those included that the change log lacks so far.
        log: The change log that this was decided from.
        added: Those that this export brings.
    """

    schema: ItemSchema
    columns: tuple[Column, ...]
    log: ChangeLogSnapshot
    added: tuple[Column, ...] = ()


class TableDecoder:
    """Decodes the exports of one source table.

    It only reads the change log. Columns that an export brings are kept by the commit that makes its values visible,
    so that an export which fails leaves none. Where others have added columns by then that contradict them, that
    commit fails with a SchemaConflict, and the export is to be decoded again.

    Args:
        name: The table's name, for messages.
        key: Its primary key.
        rules: What lake.yaml wants of its attributes.
        change_log: Its change log, whose schema is where the columns are kept.
    """

    def __init__(self, name: str, key: tuple[KeyAttribute, ...], rules: Rules, change_log: ChangeLog) -> None:
        self.rules = rules
        self._name = name
        self._key = key
        self._change_log = change_log

    def schema(self) -> ItemSchema:
        """Return the mapping of attributes to columns that the change log keeps.

        Raises:
            ConfigError: If the lake's keys were hashed otherwise than lake.yaml wants it now.
        """
        return self._schema_of(self._change_log.columns())

    def decode(
        self,
        copies: LocalCopies,
        since: datetime,
        learn: Learn,
        attempt: Callable[[Target, Tally], Made],
        pending: Iterable[Column] = (),
        log: ChangeLogSnapshot | None = None,
    ) -> Decoding[Made]:
        """Decode an export with the columns that are known; if they don't do, learn all of it and decode it again.

        Args:
            copies: The export's files.
            since: What new columns tell as the time of their first value.
            learn: Widens a schema by what files need.
            attempt: Decodes all files into some columns, counts, and leaves nothing behind where it fails.
            pending: Columns of other exports that are to be committed before this one.
            log: The change log, where it has just been read.

        Raises:
            DecodeError: If a file does not hold what it should.
        """
        log = log or self._change_log.snapshot()
        kept = log.columns
        names = {column.name for column in kept}
        # Each of them has the columns of those before it, too.
        known = (*kept, *{column.name: column for column in pending if column.name not in names}.values())
        target = self._target(self._schema_of(known), known, since, log)
        learned = not target.columns
        if learned:
            target = self._learn(copies, known, since, learn, log)
        tally = Tally()
        try:
            return Decoding(attempt(target, tally), tally, False, target.added)
        except SchemaTooNarrow as miss:
            if learned:
                raise
            _LOG.info("%s: %s; learning all of the export", self._name, miss)
        target = self._learn(copies, known, since, learn, log)
        tally = Tally()
        return Decoding(attempt(target, tally), tally, True, target.added)

    def _learn(
        self, copies: LocalCopies, known: tuple[Column, ...], since: datetime, learn: Learn, log: ChangeLogSnapshot
    ) -> Target:
        """Widen what is known by the columns that an export needs."""
        try:
            learned = learn(copies.read_and_keep(), self._schema_of(known))
        except TooManyColumns as error:
            raise TooManyColumns(error.problem, self._name) from error
        return self._target(learned, known, since, log)

    def _target(
        self, schema: ItemSchema, known: tuple[Column, ...], since: datetime, log: ChangeLogSnapshot
    ) -> Target:
        by_name = {column.name: column for column in known}
        added = {
            column.name: Column(column.name, column.dtype, {**column.metadata, **self._told(column.attribute, since)})
            for column in schema.columns
            if column.name not in by_name
        }
        columns = {**by_name, **added}
        return Target(schema, tuple(columns[each.name] for each in schema.columns), log, tuple(added.values()))

    def _schema_of(self, columns: Iterable[Column]) -> ItemSchema:
        columns = tuple(columns)
        for column in columns:
            if column.is_key and ATTRIBUTE in column.metadata:
                self._refuse_other_hashes(column.metadata[ATTRIBUTE], column.metadata.get(HASHED))
        return ItemSchema.from_fields(self._key, [(column.name, column.metadata) for column in columns], self.rules)

    def _refuse_other_hashes(self, attribute: str, kept: str | None) -> None:
        wanted = self._fingerprint(attribute)
        if kept != wanted:
            state = "as it is" if kept is None else "hashed" if wanted is None else "hashed with another key"
            raise ConfigError(
                f"lake.yaml: tables: {self._name}: hash: the lake has the key attribute {attribute!r} {state}, and "
                "would have each item twice from now on; set it back, or give the table another alias, and so a lake "
                "of its own"
            )

    def _told(self, attribute: str, since: datetime) -> dict[str, str]:
        fingerprint = self._fingerprint(attribute)
        return {SINCE: format_time(since), **({HASHED: fingerprint} if fingerprint else {})}

    def _fingerprint(self, attribute: str) -> str | None:
        """Return what tells one hash key from another, for an attribute of the primary key that is hashed."""
        selection = self.rules.selection
        if not selection.hashes(attribute) or all(attribute != each.name for each in self._key):
            return None
        return hmac.new(selection.secret, b"ddb_lake: fingerprint of the hash's key", sha256).hexdigest()[:16]
