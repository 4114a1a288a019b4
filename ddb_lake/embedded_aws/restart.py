"""Bringing moto, which forgets everything, back to what the journal knows."""

import orjson

from ddb_lake.embedded_aws.clock import Clock
from ddb_lake.embedded_aws.export_jobs import ExportJobs
from ddb_lake.embedded_aws.journal import Bucket, Journal
from ddb_lake.embedded_aws.moto_backend import MotoBackend
from ddb_lake.embedded_aws.tables import Table, Tables

_END_OF_TIME = 2**63 - 1


def restore(moto: MotoBackend, journal: Journal, tables: Tables, exports: ExportJobs) -> None:
    """Create buckets, tables and items again, and write the files of the exports again, byte for byte.

    Raises:
        BackendError: If moto refuses what it once took.
    """
    for bucket in journal.buckets():
        create_bucket(moto, bucket)
    for table in tables.all():
        _restore_table(moto, journal, table)
    exports.write_again()


def resume_clock(clock: Clock, journal: Journal) -> None:
    """Let the clock go on where it stopped, and stamp nothing earlier than what is journaled."""
    state = journal.clock()
    if state is not None:
        clock.resume(orjson.loads(state))
    clock.pass_stamp(journal.newest_us())


def create_bucket(moto: MotoBackend, bucket: Bucket) -> None:
    """Create a bucket in its region."""
    body = b""
    if bucket.region != "us-east-1":  # which is the one that must not be named
        constraint = f"<LocationConstraint>{bucket.region}</LocationConstraint>"
        body = f"<CreateBucketConfiguration>{constraint}</CreateBucketConfiguration>".encode()
    moto.s3(bucket.region, "PUT", f"/{bucket.name}", body=body)


def _restore_table(moto: MotoBackend, journal: Journal, table: Table) -> None:
    for request in journal.table_requests(table.id):
        moto.expect(table.region, request.operation, orjson.loads(request.body))
    items = journal.items(table.id, _END_OF_TIME, journal.sequence())
    puts = ({"PutRequest": {"Item": orjson.loads(item.image or b"")}} for item in items)
    moto.write_items(table.region, table.name, puts)
