"""The seven findings of the document that this project springs from, each proven on the embedded AWS."""

from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from ddb_lake_tests.cloud import NOON, QUARTER, Cloud, by_key, us

ONE_O_CLOCK = NOON + timedelta(hours=1)


@pytest.fixture
def history(cloud: Cloud, table: str) -> str:
    """A table with one item written just before, at and just before the end of the quarter-hour from one."""
    start, end = us(ONE_O_CLOCK), us(ONE_O_CLOCK + QUARTER)
    writes = {"before": start - 1, "at-start": start, "last": end - 1, "at-end": end}
    cloud.control.clock("frozen", ONE_O_CLOCK + 3 * QUARTER)
    cloud.control.history(
        "us-east-1", "measurement", [{"ts": at, "Item": {"id": {"S": key}}} for key, at in writes.items()]
    )
    return table


def test_a_full_export_excludes_its_own_time(cloud: Cloud, history: str) -> None:
    assert set(by_key(cloud.items(history, ONE_O_CLOCK))) == {"before"}


def test_an_incremental_export_includes_its_start_and_excludes_its_end(cloud: Cloud, history: str) -> None:
    changes = cloud.changes(history, ONE_O_CLOCK, ONE_O_CLOCK + QUARTER)
    assert {change["Keys"]["id"]["S"] for change in changes} == {"at-start", "last"}


def test_the_records_of_a_full_export_are_under_item(cloud: Cloud, history: str) -> None:
    lines = cloud.lines(cloud.start_full(history, ONE_O_CLOCK))
    assert lines == [{"Item": {"id": {"S": "before"}}}]


def test_the_records_of_an_incremental_export_are_under_new_image(cloud: Cloud, history: str) -> None:
    changes = cloud.changes(history, ONE_O_CLOCK, ONE_O_CLOCK + QUARTER)
    assert all(change["NewImage"] == change["Keys"] for change in changes)


def test_a_window_has_at_least_15_minutes(cloud: Cloud, history: str) -> None:
    with pytest.raises(ClientError, match="less than 15 minutes"):
        cloud.start_incremental(history, ONE_O_CLOCK, ONE_O_CLOCK + QUARTER - timedelta(seconds=1))
    assert cloud.start_incremental(history, ONE_O_CLOCK, ONE_O_CLOCK + QUARTER)["ExportStatus"] == "IN_PROGRESS"


def test_incremental_exports_share_a_data_folder_and_full_exports_have_their_own(cloud: Cloud, history: str) -> None:
    first = cloud.start_incremental(history, ONE_O_CLOCK, ONE_O_CLOCK + QUARTER, S3Prefix="some/where")
    second = cloud.start_incremental(history, ONE_O_CLOCK, ONE_O_CLOCK + 2 * QUARTER, S3Prefix="some/where")
    full = cloud.start_full(history, ONE_O_CLOCK, S3Prefix="some/where")
    for export in (first, second, full):
        assert cloud.describe(export)["ExportStatus"] == "COMPLETED"
    keys = {key for key in cloud.object_keys() if key.endswith(".json.gz")}
    folder = f"some/where/AWSDynamoDB/{full['ExportArn'].rpartition('/')[2]}/data/"
    assert len([key for key in keys if key.startswith("some/where/AWSDynamoDB/data/")]) == 8
    assert len([key for key in keys if key.startswith(folder)]) == 4
    assert len(keys) == 12


def test_even_a_small_export_takes_its_minutes(cloud: Cloud, history: str) -> None:
    cloud.control.settings(delay_seconds=300)
    export = cloud.start_full(history, ONE_O_CLOCK)
    cloud.control.advance(299.999)
    assert cloud.describe(export)["ExportStatus"] == "IN_PROGRESS"
    assert [key.rpartition("/")[2] for key in cloud.object_keys()] == ["_started"]
    cloud.control.advance(0.001)
    assert any(key.endswith("manifest-summary.json") for key in cloud.object_keys())
    assert cloud.describe(export)["ExportStatus"] == "COMPLETED"
