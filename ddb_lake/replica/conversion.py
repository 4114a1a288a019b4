"""Moving a replica from one strategy to the other, in one commit and back."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ddb_lake.replica.commits import commit_on, write_checkpoint
from ddb_lake.replica.coverage import Account, commit_note
from ddb_lake.replica.delta_log import Operation, Snapshot, require_no_constraints, require_writable
from ddb_lake.replica.errors import ReplicaError
from ddb_lake.replica.fold import FoldedFile, discard, fold_actions, without_origins, write_folded
from ddb_lake.replica.key_index import KeyIndex
from ddb_lake.replica.store import TableStore
from ddb_lake.replica.strategy import (
    ENABLED,
    Strategy,
    properties_for,
    protocol_for,
    refuse_change_data_feed,
    strategy_of,
)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Converted:
    """What a conversion did.

    Args:
        version: The table's version after it.
        strategy: The table's strategy after it.
        changed: Whether it was another one before.
        files_rewritten: How many data files had dead rows that had to go.
        bytes_written: Of the files written in their place.
        segments_made: How many segments of the key index were made.
    """

    version: int
    strategy: Strategy
    changed: bool
    files_rewritten: int = 0
    bytes_written: int = 0
    segments_made: int = 0


class Conversion:
    """One move of a table, which keeps what it has rewritten when it has to plan again.

    Args:
        store: The table's folder.
        strategy: Where to.
        keys: The key's columns.
    """

    def __init__(self, store: TableStore, strategy: Strategy, keys: list[str]) -> None:
        self._store = store
        self._strategy = strategy
        self._keys = keys
        self._rewritten: dict[tuple[str, str | None], FoldedFile] = {}

    def attempt(self, snapshot: Snapshot, account: Account) -> Converted:
        """Convert the table as it is in a snapshot.

        Raises:
            UnsupportedTable: If the table has a change data feed, which deletion vectors can't feed.
            Conflict: If somebody else has committed since the snapshot was loaded.
        """
        if strategy_of(snapshot) is self._strategy:
            return Converted(snapshot.number, self._strategy, changed=False)
        require_writable(snapshot)
        actions: list[dict[str, Any]] = []
        used: list[FoldedFile] = []
        if self._strategy is Strategy.DELETION_VECTORS:
            refuse_change_data_feed(snapshot)
            require_no_constraints(snapshot)
        else:
            for file in snapshot.files.values():
                if file.deletion_vector is not None:
                    folded = self._rewritten.get(file.key)
                    if folded is None:
                        folded = without_origins(write_folded(self._store, snapshot, [file], self._keys))
                        self._rewritten[file.key] = folded
                    used.append(folded)
                    actions += fold_actions(self._store, snapshot, folded)[0]
        configuration = properties_for(snapshot.metadata.configuration, self._strategy)
        if self._strategy is Strategy.COPY_ON_WRITE:
            configuration.pop(ENABLED, None)
        metadata = replace(snapshot.metadata, configuration=configuration)
        actions = [protocol_for(snapshot.protocol, self._strategy).to_json(), metadata.to_json(), *actions]
        note = commit_note(account, {"did": "convert", "strategy": self._strategy.value})
        operation = Operation("UPGRADE PROTOCOL", {"strategy": self._strategy.value}, {"numFiles": len(used)})
        version = commit_on(self._store, snapshot, actions, note, operation)
        # Readers that know no deletion vectors need not read the commits that have them.
        write_checkpoint(snapshot.location)
        # What follows only tidies up or saves the next window time: the conversion is done.
        with _logged(snapshot, "files that are not used could not be removed; the maintenance does that"):
            self._drop([each for each in self._rewritten.values() if all(each is not one for one in used)])
        segments_made = 0
        with _logged(snapshot, "the key index could not be made; the next window does that"):
            segments_made = self._make_segments(snapshot)
        return Converted(
            version=version,
            strategy=self._strategy,
            changed=True,
            files_rewritten=len(used),
            bytes_written=sum(each.bytes_written for each in used),
            segments_made=segments_made,
        )

    def _make_segments(self, snapshot: Snapshot) -> int:
        """Make the key index's segments now, so that the first window need not."""
        if self._strategy is not Strategy.DELETION_VECTORS:
            return 0
        index = KeyIndex(self._store, self._keys)
        for file in snapshot.files.values():
            index.segment(file)
        return index.made_again

    def _drop(self, unused: list[FoldedFile]) -> None:
        for each in unused:
            discard(self._store, each)


@contextmanager
def _logged(snapshot: Snapshot, problem: str) -> Generator[None]:
    """Log what can't be done after the commit, which stands."""
    try:
        yield
    except ReplicaError as error:
        _LOG.warning("%s: %s (%s)", snapshot.location, problem, error)
