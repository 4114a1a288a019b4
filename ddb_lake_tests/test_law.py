"""The law of the two kinds of export: bootstrap at T0 and the windows after it are the Scan at each window's end."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddb_lake.config import TableSettings
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.exports import ExportClient
from ddb_lake.parity import compare
from ddb_lake.pipeline import Pipeline
from ddb_lake.replica import Location
from ddb_lake.windows import QUARTER_HOUR, Window, floor_quarter_hour
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud

WINDOWS = 3

values = st.one_of(
    st.text(max_size=3).map(lambda text: {"S": text}),
    st.sampled_from(
        ["0", "7", "-1.5", "9223372036854775808", "1E-100", "12345678901234567890123456789012345678"]
    ).map(lambda number: {"N": number}),
    st.binary(max_size=3).map(lambda data: {"B": data}),
    st.booleans().map(lambda truth: {"BOOL": truth}),
    st.just({"NULL": True}),
    st.just({"SS": ["b", "a"]}),
    st.just({"NS": ["2", "1.0"]}),
    st.just({"L": [{"S": "x"}, {"M": {"y": {"N": "1"}}}]}),
    st.just({"M": {}}),
)
names = st.sampled_from(["a", "A", "a__string", "with space", "_deleted"])
keys = st.sampled_from(["k1", "k2", "k3", "k4"])

writes = st.one_of(
    st.tuples(st.just("put"), keys, st.dictionaries(names, values, max_size=3)),
    st.tuples(st.just("set"), keys, names, values),
    st.tuples(st.just("remove"), keys, names),
    st.tuples(st.just("delete"), keys),
)
"""What a writer does: put a whole item, set or remove one attribute, delete."""


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11)) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        yield cloud


def write(cloud: Cloud, table: str, operation: tuple[Any, ...]) -> None:
    """Do one write through the API."""
    match operation:
        case ("put", key, attributes):
            cloud.dynamodb.put_item(TableName=table, Item={**attributes, "id": {"S": key}})
        case ("set", key, name, value):
            cloud.dynamodb.update_item(
                TableName=table,
                Key={"id": {"S": key}},
                UpdateExpression="SET #n = :v",
                ExpressionAttributeNames={"#n": name},
                ExpressionAttributeValues={":v": value},
            )
        case ("remove", key, name):
            cloud.dynamodb.update_item(
                TableName=table,
                Key={"id": {"S": key}},
                UpdateExpression="REMOVE #n",
                ExpressionAttributeNames={"#n": name},
            )
        case ("delete", key):
            cloud.dynamodb.delete_item(TableName=table, Key={"id": {"S": key}})


def pipeline_into(cloud: Cloud, table: str, start: datetime, folder: Path) -> Pipeline:
    settings = TableSettings.model_validate({"table": table, "region": "us-east-1", "start": start, "bucket": BUCKET})
    client = ExportClient(cloud.dynamodb, cloud.s3, settings.destination)
    return Pipeline(settings, client, lambda name: Location(str(folder / name)))


def bootstrap(pipeline: Pipeline) -> None:
    pipeline.ensure_export(pipeline.bootstrap_request)
    pipeline.stage_bootstrap()
    pipeline.commit_bootstrap()


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    before=st.lists(writes, max_size=6),
    during=st.lists(st.lists(writes, max_size=6), min_size=WINDOWS, max_size=WINDOWS),
    order=st.permutations(range(WINDOWS)),
)
def test_bootstrap_and_windows_are_the_scan_at_each_windows_end(cloud, tmp_path_factory, before, during, order):
    folder = tmp_path_factory.mktemp("law")
    table = folder.name
    start = floor_quarter_hour(cloud.control.now()) + 2 * QUARTER_HOUR  # the clock never goes back
    windows = [Window(start + n * QUARTER_HOUR, start + (n + 1) * QUARTER_HOUR) for n in range(WINDOWS)]

    cloud.control.clock("frozen", at=start - QUARTER_HOUR)
    cloud.create_table(table)
    for operation in before:
        write(cloud, table, operation)
    scans = []
    for window, operations in zip(windows, during, strict=True):
        cloud.control.clock("frozen", at=window.start)
        for operation in operations:
            write(cloud, table, operation)
        cloud.control.clock("frozen", at=window.end)
        scans.append(cloud.scan(table))

    in_order = pipeline_into(cloud, table, start, folder / "in_order")
    bootstrap(in_order)
    for window, scan in zip(windows, scans, strict=True):
        in_order.ensure_export(in_order.window_request(window))
        in_order.decode(window)
        in_order.apply(window)
        parity = compare(in_order, iter(scan))
        assert parity.equal, parity

    shuffled = pipeline_into(cloud, table, start, folder / "shuffled")
    bootstrap(shuffled)
    for n in [*order, order[0]]:
        shuffled.decode(windows[n])
        shuffled.apply(windows[n])
    parity = compare(shuffled, iter(scans[-1]))
    assert parity.equal, parity
    cloud.dynamodb.delete_table(TableName=table)
