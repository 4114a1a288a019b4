"""An embedded AWS with a frozen clock at noon, and a bucket."""

from collections.abc import Iterator

import pytest

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        yield cloud


@pytest.fixture
def table(cloud: Cloud) -> str:
    """The ARN of a table that was created at noon, with recovery."""
    return cloud.create_table()
