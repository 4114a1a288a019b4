"""The control interface changes what it is told, and refuses what it does not know."""

from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from ddb_lake.embedded_aws import ControlError
from ddb_lake_tests.cloud import Cloud

DEFAULTS = {
    "delay_seconds": 0.0,
    "files": 4,
    "next_export": "completes",
    "latest_restorable": "enforced",
    "expired_items": "deleted",
    "throttling": "off",
    "unprocessed_writes": 0,
    "kms_keys": {},
}


def test_settings_are_told_without_a_change(cloud: Cloud) -> None:
    assert cloud.control.settings() == DEFAULTS


def test_a_setting_is_changed_alone(cloud: Cloud) -> None:
    assert cloud.control.settings(delay_seconds=0.5) == {**DEFAULTS, "delay_seconds": 0.5}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"delay": 5}, "there is no setting 'delay'"),
        ({"delay_seconds": -1}, "a number of seconds"),
        ({"delay_seconds": "5"}, "a number of seconds"),
        ({"files": 0}, "from 1 to 1024"),
        ({"kms_keys": {"my key": None}}, "the KMS keys that there are"),
        ({"kms_keys": {"mrk-1234abcd12ab34cd56ef1234567890ab": "alias/aws/mine"}}, "the KMS keys that there are"),
        ({"files": True}, "from 1 to 1024"),
        ({"next_export": "explodes"}, "completes"),
        ({"next_export": {"failure_code": "X"}}, "failure_message"),
        ({"latest_restorable": False}, "enforced"),
        ({"expired_items": True}, "deleted"),
        ({"throttling": 20}, "off"),
        ({"unprocessed_writes": -1}, "UnprocessedItems"),
    ],
)
def test_a_bad_setting_changes_nothing(cloud: Cloud, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ControlError, match=reason):
        cloud.control.settings(**{"files": 9, **changes})
    assert cloud.control.settings() == DEFAULTS


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("clock", b"{", "not JSON"),
        ("clock", b"[]", "JSON object"),
        ("clock", b'{"advance_s": 1, "mode": "real"}', "the clock takes"),
        ("clock", b'{"at": "noon"}', "at is no time"),
        ("clock", b'{"mode": "frozen", "at": "2026-11-24T12:00:00"}', "no time zone"),
        ("nothing", b"", "there is no POST /_local/nothing"),
        ("tables/us-east-1/measurement", b'{"born_at": "2026-11-24T12:00:00Z"}', "born_at"),
    ],
)
def test_a_bad_request_is_explained(cloud: Cloud, table: str, path: str, body: bytes, reason: str) -> None:
    with pytest.raises(HTTPError) as refusal:
        urlopen(Request(f"{cloud.url}/_local/{path}", body))
    with refusal.value:
        assert refusal.value.code == 400
        assert reason in refusal.value.read().decode()


def test_health_tells_what_there_is(cloud: Cloud, table: str) -> None:
    cloud.control.settings(next_export="holds")
    cloud.start_full(table)
    health = cloud.control.health()
    assert {name: health[name] for name in ("status", "mode", "now", "tables", "running_exports")} == {
        "status": "ok",
        "mode": "frozen",
        "now": "2026-11-24T12:00:00Z",
        "tables": 1,
        "running_exports": 1,
    }
