"""A request's prefix and token tell the table, the kind, the window and the attempt, and nothing else."""

import dataclasses
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ddb_lake.exports import (
    Destination,
    FullExport,
    ImageView,
    IncrementalExport,
    SourceTable,
    client_token,
    export_prefix,
)
from ddb_lake.exports.requests import window_of_label
from ddb_lake.keys import KeyAttribute
from ddb_lake.windows import Window

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
QUARTER = Window(NOON, NOON + timedelta(minutes=15))
TABLE = SourceTable(
    arn="arn:aws:dynamodb:us-east-1:123456789012:table/orders",
    table_id="11111111-2222-3333-4444-555555555555",
    name="orders",
    key=(KeyAttribute("id", "S", "HASH"),),
    created_at=NOON,
)


@pytest.mark.parametrize(
    ("request_", "destination", "prefix"),
    [
        (FullExport(TABLE, NOON), Destination("b"), "orders/full/20261124T120000Z"),
        (FullExport(TABLE, NOON), Destination("b", "x/y"), "x/y/orders/full/20261124T120000Z"),
        (
            IncrementalExport(TABLE, QUARTER),
            Destination("b", "x"),
            "x/orders/incremental/20261124T120000Z-20261124T121500Z",
        ),
    ],
)
def test_a_prefix_tells_table_kind_and_window(request_, destination, prefix):
    assert export_prefix(request_, destination) == prefix


def test_a_label_is_read_back_as_its_window():
    assert window_of_label(IncrementalExport(TABLE, QUARTER).label) == QUARTER
    odd = Window(NOON + timedelta(milliseconds=7), NOON + timedelta(minutes=30))
    assert IncrementalExport(TABLE, odd).label == "20261124T120000.007Z-20261124T123000Z"
    assert window_of_label(IncrementalExport(TABLE, odd).label) == odd


@pytest.mark.parametrize(
    "label",
    [
        "data",
        "",
        "20261124T120000Z",
        "20261124T120000-20261124T121500Z",
        "20261124T120000.1Z-20261124T123000Z",
        "20261124T120000.Z-20261124T123000Z",
        "20261124T120000Z-20261124T121459Z",
        "20261124T120000Z-20261125T120001Z",
        "20261124T120000Z-20261124T120000Z",
    ],
)
def test_what_can_not_be_an_exports_label_is_none(label):
    assert window_of_label(label) is None


def test_the_same_attempt_has_the_same_token():
    assert client_token(IncrementalExport(TABLE, QUARTER), 1) == client_token(
        IncrementalExport(TABLE, QUARTER, ImageView.NEW_AND_OLD_IMAGES), 1
    )


@pytest.mark.parametrize(
    "other",
    [
        client_token(IncrementalExport(TABLE, QUARTER), 2),
        client_token(IncrementalExport(TABLE, Window(NOON, NOON + timedelta(minutes=30))), 1),
        client_token(FullExport(TABLE, NOON), 1),
        client_token(IncrementalExport(dataclasses.replace(TABLE, table_id="another"), QUARTER), 1),
    ],
)
def test_another_attempt_window_kind_or_table_has_another_token(other):
    assert client_token(IncrementalExport(TABLE, QUARTER), 1) != other
    assert "$" not in other


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda: FullExport(TABLE, NOON + timedelta(microseconds=1)), "whole milliseconds"),
        (lambda: FullExport(TABLE, NOON.replace(tzinfo=None)), "aware UTC"),
        (lambda: FullExport(TABLE, NOON.astimezone(timezone(timedelta(hours=1)))), "aware UTC"),
        (lambda: IncrementalExport(TABLE, Window(NOON, NOON + timedelta(minutes=14, seconds=59))), "15 minutes"),
        (lambda: IncrementalExport(TABLE, Window(NOON, NOON + timedelta(hours=24, seconds=1))), "24 hours"),
        (lambda: IncrementalExport(TABLE, Window(NOON, NOON + timedelta(minutes=20.00001))), "whole milliseconds"),
    ],
)
def test_what_dynamodb_would_refuse_is_refused_at_once(build, problem):
    with pytest.raises(ValueError, match=problem):
        build()
