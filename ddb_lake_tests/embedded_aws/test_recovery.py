"""Point-in-time recovery: what can be restored, and so exported, at which time."""

from datetime import datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from ddb_lake_tests.cloud import NOON, QUARTER, REGION, TABLE, Cloud, error_of

DAY = timedelta(days=1)
LAG = timedelta(seconds=300)


def bounds(cloud: Cloud) -> tuple[datetime, datetime]:
    """Return the earliest and the latest restorable time."""
    recovery = cloud.recovery()
    return recovery["EarliestRestorableDateTime"], recovery["LatestRestorableDateTime"]


def set_days(cloud: Cloud, days: int) -> None:
    cloud.dynamodb.update_continuous_backups(
        TableName=TABLE,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True, "RecoveryPeriodInDays": days},
    )


@pytest.mark.parametrize(
    ("after", "earliest", "latest"),
    [
        (timedelta(0), NOON, NOON),
        (LAG - timedelta(seconds=1), NOON, NOON),
        (LAG, NOON, NOON),
        (QUARTER, NOON, NOON + QUARTER - LAG),
        (35 * DAY, NOON, NOON + 35 * DAY - LAG),
        (36 * DAY, NOON + DAY, NOON + 36 * DAY - LAG),
    ],
)
def test_the_restorable_times_follow_the_clock(
    cloud: Cloud, table: str, after: timedelta, earliest: datetime, latest: datetime
) -> None:
    cloud.control.clock("frozen", NOON + after)
    assert bounds(cloud) == (earliest, latest)


def test_a_new_table_has_backups_but_no_recovery(cloud: Cloud, table: str) -> None:
    assert cloud.switch_recovery(on=False) == {"PointInTimeRecoveryStatus": "DISABLED"}
    described = cloud.dynamodb.describe_continuous_backups(TableName=TABLE)["ContinuousBackupsDescription"]
    assert described["ContinuousBackupsStatus"] == "ENABLED"


def test_off_and_on_again_loses_what_was_before(cloud: Cloud, table: str) -> None:
    set_days(cloud, 7)
    cloud.control.advance(QUARTER.total_seconds())
    cloud.switch_recovery(on=False)
    cloud.control.advance(QUARTER.total_seconds())
    assert cloud.switch_recovery(on=True)["RecoveryPeriodInDays"] == 35
    assert bounds(cloud)[0] == NOON + 2 * QUARTER
    cloud.control.advance(4 * QUARTER.total_seconds())
    with pytest.raises(ClientError, match="outside of the point in time recovery window"):
        cloud.start_incremental(table, NOON + QUARTER, NOON + 3 * QUARTER)
    assert cloud.start_incremental(table, NOON + 2 * QUARTER, NOON + 3 * QUARTER)


def test_on_when_it_is_on_changes_nothing(cloud: Cloud, table: str) -> None:
    set_days(cloud, 7)
    cloud.control.advance(QUARTER.total_seconds())
    assert cloud.switch_recovery(on=True)["RecoveryPeriodInDays"] == 7
    assert bounds(cloud)[0] == NOON


def test_a_shorter_period_discards_and_a_longer_one_brings_nothing_back(cloud: Cloud, table: str) -> None:
    cloud.control.clock("frozen", NOON + 10 * DAY)
    set_days(cloud, 2)
    assert bounds(cloud)[0] == NOON + 8 * DAY
    set_days(cloud, 35)
    assert bounds(cloud)[0] == NOON + 8 * DAY


@pytest.mark.parametrize("days", [0, 36])
def test_a_period_has_1_to_35_days(cloud: Cloud, table: str, days: int) -> None:
    with pytest.raises(ClientError, match="recoveryPeriodInDays"):
        set_days(cloud, days)


def test_a_period_is_refused_when_recovery_is_switched_off(cloud: Cloud, table: str) -> None:
    specification = {"PointInTimeRecoveryEnabled": False, "RecoveryPeriodInDays": 3}
    with pytest.raises(ClientError, match="ValidationException"):
        cloud.dynamodb.update_continuous_backups(
            TableName=TABLE,
            PointInTimeRecoverySpecification=specification,  # pyright: ignore[reportArgumentType]
        )
    assert cloud.recovery()["PointInTimeRecoveryStatus"] == "ENABLED"


def test_a_table_that_is_not_there_has_no_backups(cloud: Cloud) -> None:
    with pytest.raises(ClientError) as refusal:
        cloud.recovery("nothing")
    assert error_of(refusal.value) == ("TableNotFoundException", "Table not found: nothing")


def test_a_full_export_may_be_of_the_latest_restorable_time(cloud: Cloud, table: str) -> None:
    cloud.control.clock("frozen", NOON + DAY)
    latest = bounds(cloud)[1]
    assert cloud.start_full(table, latest)["ExportTime"] == latest
    with pytest.raises(ClientError, match="InvalidExportTimeException"):
        cloud.start_full(table, latest + timedelta(milliseconds=1))


def test_the_lag_of_full_exports_can_be_ignored(cloud: Cloud, table: str) -> None:
    cloud.control.settings(latest_restorable="ignored")
    cloud.control.clock("frozen", NOON + DAY)
    assert cloud.start_full(table, NOON + DAY)["ExportTime"] == NOON + DAY


def test_an_incremental_export_may_end_now(cloud: Cloud, table: str) -> None:
    cloud.control.clock("frozen", NOON + QUARTER)
    assert cloud.start_incremental(table, NOON, NOON + QUARTER)


def test_a_table_can_be_given_an_earlier_past(cloud: Cloud, table: str) -> None:
    past = NOON - DAY
    cloud.control.backdate_table(REGION, TABLE, created_at=past, pitr_enabled_at=past + QUARTER)
    assert bounds(cloud)[0] == past + QUARTER
    assert cloud.dynamodb.describe_table(TableName=TABLE)["Table"].get("CreationDateTime") == past
    assert cloud.changes(table, past + QUARTER, NOON - QUARTER) == []
