"""Bringing moto, which forgets everything, back to what the journal knows of tables and time."""

import orjson

from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.journal import Journal
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake.embedded_aws.tables import Table, Tables


def restore_tables(moto: MotoBackend, journal: Journal, tables: Tables) -> None:
    """Create tables again; their items come when they are asked for.

    Raises:
        BackendError: If moto refuses what it once took.
    """
    for table in tables.all():
        _restore_table(moto, journal, table)


def resume_clock(clock: Clock, journal: Journal) -> None:
    """Let the clock go on where it stopped, and stamp nothing earlier than what is journaled."""
    state = journal.clock()
    if state is not None:
        clock.resume(orjson.loads(state))
    clock.pass_stamp(journal.newest_us())


def _restore_table(moto: MotoBackend, journal: Journal, table: Table) -> None:
    for request in journal.table_requests(table.id):
        moto.expect(table.region, request.operation, orjson.loads(request.body))
