"""An embedded AWS with a frozen clock at noon, a table, and the client under test."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.exports import Destination, ExportClient, SourceTable
from ddb_lake_tests.cloud import BUCKET, NOON, TABLE, Cloud


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A table since noon, and the time one hour later."""
    with EmbeddedAws(clock="frozen", at=NOON) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        cloud.control.advance(timedelta(hours=1).total_seconds())
        yield cloud


@pytest.fixture
def client(cloud: Cloud) -> ExportClient:
    return ExportClient(cloud.dynamodb, cloud.s3, Destination(BUCKET, "exports"))


@pytest.fixture
def table(client: ExportClient) -> SourceTable:
    return client.describe_table(TABLE)
