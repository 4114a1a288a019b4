"""One source table's exports into frames: with the columns that are known, or learned anew where they don't do."""

import hmac
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Generic, TypeVar

from ddb_lake.decoding import ExportFile, ItemSchema, Rules, SchemaTooNarrow, Tally
from ddb_lake.errors import ConfigError
from ddb_lake.field_metadata import ATTRIBUTE, HASHED, SINCE
from ddb_lake.keys import KeyAttribute
from ddb_lake.local_copies import LocalCopies
from ddb_lake.replica import ChangeLog, Column
from ddb_lake.replica.errors import SchemaConflict
from ddb_lake.windows import format_time

_LOG = logging.getLogger(__name__)
_SCHEMA_TRIES = 10
"""Tries at adding columns while others add theirs to the same change log."""


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


class TableDecoder:
    """Decodes the exports of one source table.

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

    def columns(self, schema: ItemSchema) -> tuple[Column, ...]:
        """Return the change log's columns of a schema that it has taken, in the schema's order."""
        kept = {column.name: column for column in self._change_log.columns()}
        return tuple(kept[column.name] for column in schema.columns)

    def decode(
        self, copies: LocalCopies, since: datetime, learn: Learn, attempt: Callable[[ItemSchema, Tally], Made]
    ) -> Decoding[Made]:
        """Decode an export with the columns that are known; if they don't do, learn all of it and decode it again.

        Args:
            copies: The export's files.
            since: What new columns tell as the time of their first value.
            learn: Widens a schema by what files need.
            attempt: Decodes all files with a schema, counts, and leaves nothing behind where it fails.

        Raises:
            DecodeError: If a file does not hold what it should.
        """
        schema, added = self.schema(), ()
        learned = not schema.columns
        if learned:
            schema, added = self._learn(copies, since, learn)
        tally = Tally()
        try:
            return Decoding(attempt(schema, tally), tally, False, added)
        except SchemaTooNarrow as miss:
            if learned:
                raise
            _LOG.info("%s: %s; learning all of the export", self._name, miss)
        schema, added = self._learn(copies, since, learn)
        tally = Tally()
        return Decoding(attempt(schema, tally), tally, True, added)

    def _learn(self, copies: LocalCopies, since: datetime, learn: Learn) -> tuple[ItemSchema, tuple[Column, ...]]:
        """Widen the schema by what an export holds, and keep it in the change log before it is used."""
        for _ in range(_SCHEMA_TRIES):
            known = self._change_log.columns()
            names = {column.name for column in known}
            schema = learn(copies.read_and_keep(), self._schema_of(known))
            new = tuple(
                Column(column.name, column.dtype, {**column.metadata, **self._told(column.attribute, since)})
                for column in schema.columns
                if column.name not in names
            )
            try:
                self._change_log.add_columns(new)
            except SchemaConflict:
                _LOG.info("%s: others added columns meanwhile; learning again", self._name)
                continue
            return schema, new
        raise SchemaConflict(
            f"{self._name}: others kept adding columns to the change log, {_SCHEMA_TRIES} times over; try again"
        )

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
