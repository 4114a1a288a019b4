"""The clock stamps writes in a strict order and moves only as its mode allows."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import boto3
import pytest

from ddb_lake.embedded_aws import ControlError, EmbeddedAws
from ddb_lake.embedded_aws.clock import MODES, Clock
from ddb_lake.windows import from_us
from ddb_lake_tests.cloud import NOON, us


@pytest.mark.parametrize("mode", MODES)
def test_stamps_strictly_increase(mode: str) -> None:
    clock = Clock(mode)  # pyright: ignore[reportArgumentType]
    stamps = [clock.stamp() for _ in range(1_000)]
    assert all(earlier < later for earlier, later in pairwise(stamps))
    assert clock.now_us() >= stamps[-1]


def test_a_frozen_clock_stamps_its_own_time_first() -> None:
    clock = Clock("frozen", us(NOON))
    assert [clock.stamp(), clock.stamp()] == [us(NOON), us(NOON) + 1]


def test_an_offset_clock_runs_on() -> None:
    clock = Clock("offset", us(NOON))
    first = clock.now_us()
    clock.advance(3_600_000_000)
    assert 0 <= first - us(NOON) < 3_600_000_000 <= clock.now_us() - us(NOON)


@pytest.mark.parametrize("mode", ["real", "request"])
def test_only_offset_and_frozen_clocks_can_be_advanced(mode: str) -> None:
    with pytest.raises(ControlError, match="can't be advanced"):
        Clock(mode).advance(1)  # pyright: ignore[reportArgumentType]


def test_a_clock_does_not_go_back_behind_what_it_has_stamped() -> None:
    clock = Clock("frozen", us(NOON))
    clock.stamp()
    with pytest.raises(ControlError, match="already stamped"):
        clock.set("frozen", us(NOON) - 1)
    with pytest.raises(ControlError, match="only goes forward"):
        clock.advance(-1)
    assert clock.now_us() == us(NOON)


def test_a_real_clock_cannot_be_set() -> None:
    with pytest.raises(ControlError, match="offset or frozen"):
        Clock("real", us(NOON))


def test_a_request_clock_follows_the_newest_date_that_a_client_sent() -> None:
    with EmbeddedAws(clock="request") as aws:
        before = datetime.now(UTC).replace(microsecond=0)
        session = boto3.Session(region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
        session.client("dynamodb", endpoint_url=aws.url).list_tables()
        assert before <= aws.control.now() <= datetime.now(UTC)
    clock = Clock("request")
    for date in ("20261124T120000Z", "20261124T115959Z", "nonsense", None):
        clock.observe(date)
    assert from_us(clock.now_us()) == NOON


def test_the_control_interface_sets_the_clock() -> None:
    with EmbeddedAws(clock="frozen", at=NOON) as aws:
        assert aws.control.now() == NOON
        assert aws.control.advance(90.5) == NOON + timedelta(seconds=90.5)
        assert aws.control.clock("frozen", NOON + timedelta(days=1)) == NOON + timedelta(days=1)
        assert aws.control.clock("offset") >= NOON + timedelta(days=1)
        with pytest.raises(ControlError, match="no clock mode 'sundial'"):
            aws.control.clock("sundial")  # pyright: ignore[reportArgumentType]
        assert aws.control.health()["mode"] == "offset"
