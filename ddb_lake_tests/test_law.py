"""The law of the two kinds of export: bootstrap at T0 and the windows after it are the Scan at each window's end."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.parity import compare
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud
from ddb_lake_tests.table_histories import History, bring_in

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


random_histories = settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
operations = st.lists(writes, max_size=6)
per_window = st.lists(operations, min_size=WINDOWS, max_size=WINDOWS)
extents = [(n, count) for n in range(WINDOWS) for count in range(1, WINDOWS - n + 1)]
"""Every way to begin and end an export on quarter-hours."""


@random_histories
@given(before=operations, during=per_window)
def test_bootstrap_and_windows_are_the_scan_at_each_windows_end(cloud, tmp_path_factory, before, during):
    history = History(cloud, tmp_path_factory.mktemp("law"), before, during)
    pipeline = history.bootstrapped("in_order")
    for n, scan in enumerate(history.scans):
        bring_in(pipeline, history.window(n))
        parity = compare(pipeline, iter(scan))
        assert parity.equal, parity
    cloud.dynamodb.delete_table(TableName=history.table)


@random_histories
@given(
    before=operations,
    during=per_window,
    order=st.permutations(extents).flatmap(lambda order: st.integers(1, len(order)).map(lambda n: order[:n])),
    rest=st.permutations(range(WINDOWS)),
)
def test_exports_of_any_extent_in_any_order_are_the_scan_at_the_end(
    cloud, tmp_path_factory, before, during, order, rest
):
    history = History(cloud, tmp_path_factory.mktemp("extents"), before, during)
    pipeline = history.bootstrapped("any_order")
    for n, count in [*order, *((n, 1) for n in rest), order[0]]:
        bring_in(pipeline, history.window(n, count))
    parity = compare(pipeline, iter(history.scans[-1]))
    assert parity.equal, parity
    cloud.dynamodb.delete_table(TableName=history.table)


SHORT_LIVED = [("put", "k1", {"a": {"S": "inserted"}})], [("delete", "k1")], []
"""Inserted in the first window and deleted in the second: an export of both holds no record of it."""


@pytest.mark.parametrize(
    "order",
    [
        [(0, 2), (0, 1)],
        [(0, 1), (0, 2)],
        [(0, 3), (0, 1), (1, 1)],
        [(0, 1), (0, 3)],
        [(0, 1), (1, 2), (0, 2)],
        [(0, 2), (0, 1), (0, 2), (0, 1)],
    ],
    ids=lambda order: ", ".join(f"[{n}, {n + count})" for n, count in order),
)
def test_an_item_that_lived_inside_one_export_and_across_another_is_gone(cloud, tmp_path_factory, order):
    history = History(cloud, tmp_path_factory.mktemp("ghost"), [], list(SHORT_LIVED))
    pipeline = history.bootstrapped("lake")
    for n, count in order:
        bring_in(pipeline, history.window(n, count))
    assert pipeline.replica.count() == 0
    cloud.dynamodb.delete_table(TableName=history.table)
