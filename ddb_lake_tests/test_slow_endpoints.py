"""An endpoint that answers late never takes the sensor's tick beyond its time, and all exports come through."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.httpsession import URLLib3Session

from ddb_lake.aws_sessions import Limits, open_session
from ddb_lake.deadlines import OutOfTime, nothing_begins_after
from ddb_lake.embedded_aws import EmbeddedAws
from ddb_lake.replica import Location
from ddb_lake.replica.store import ObjectTableStore
from ddb_lake.sensors import _BUDGET_SECONDS
from ddb_lake_tests.cloud import BUCKET, NOON, Cloud
from ddb_lake_tests.lakes import LakeUnderTest, advance_to, lake_at, quarter

DAGSTERS_LIMIT = 60
EXPORTS = 4


class SlowCalls:
    """A clock that moves only while calls of AWS are answered, each by as much."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now = 0.0
        self.begun: list[float] = []
        send = URLLib3Session.send

        def slow_send(session: URLLib3Session, request: Any) -> Any:
            self.begun.append(self.now)
            self.now += seconds
            return send(session, request)

        monkeypatch.setattr(URLLib3Session, "send", slow_send)
        monkeypatch.setattr("ddb_lake.deadlines.monotonic", lambda: self.now)
        monkeypatch.setattr("ddb_lake.exports.remembering.monotonic", lambda: self.now)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[LakeUnderTest]:
    """A bootstrapped table with some windows whose exports have ended."""
    with EmbeddedAws(clock="frozen", at=NOON.replace(hour=11)) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.create_table()
        advance_to(cloud, 0, 400)
        with lake_at(cloud, tmp_path) as lake:
            lake.bootstrap()
            for n in range(EXPORTS):
                advance_to(cloud, n + 1, 1)
                lake.pipeline.start_export(lake.pipeline.window_request(quarter(n)))
            yield lake


@pytest.mark.parametrize("seconds", [7, 15, 20])
def test_ticks_hand_all_exports_over_and_none_exceeds_its_time(lake: LakeUnderTest, monkeypatch, seconds: float):
    calls = SlowCalls(monkeypatch, seconds)
    cursor = None
    for _ in range(4 * EXPORTS):
        calls.begun.clear()
        start = calls.now
        tick = lake.tick(cursor)
        cursor = tick.cursor
        assert calls.now - start < DAGSTERS_LIMIT
        assert all(begun - start < _BUDGET_SECONDS for begun in calls.begun)
        calls.now += 30  # until the next tick
        with monkeypatch.context() as quick:
            quick.setattr(URLLib3Session, "send", _SEND)
            for request in tick.run_requests:
                assert lake.run(request).success
            if lake.pipeline.replica.coverage() == (quarter(0, EXPORTS),):
                break
    assert lake.pipeline.replica.coverage() == (quarter(0, EXPORTS),)
    assert lake.started() == 1 + EXPORTS


_SEND = URLLib3Session.send


def test_exports_are_started_however_slow_the_answers_are(lake: LakeUnderTest, monkeypatch):
    advance_to(lake.cloud, EXPORTS + 2, 60)
    calls = SlowCalls(monkeypatch, 20)
    cursor = None
    for _ in range(4 * EXPORTS):
        cursor = lake.tick(cursor).cursor
    assert calls.begun
    assert lake.started() == 1 + EXPORTS + 1


def test_no_call_is_begun_after_the_deadline_nor_tried_again(monkeypatch):
    calls = SlowCalls(monkeypatch, 10)
    answers = 0

    def failing(*_: Any) -> Any:
        nonlocal answers
        answers += 1
        calls.now += 10
        raise ConnectionError

    session = open_session("us-east-1", None, "id", "secret", Limits(attempts=5))
    client = session.client("sts", endpoint_url="http://127.0.0.1:9")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr("urllib3.connectionpool.HTTPConnectionPool.urlopen", failing)
    with nothing_begins_after(5):
        with pytest.raises(OutOfTime, match="sts"):
            client.get_caller_identity()
        with pytest.raises(OutOfTime, match="sts"):
            client.get_caller_identity()
    assert len(calls.begun) == 1


def test_a_lake_on_s3_is_not_asked_after_the_deadline(monkeypatch):
    options = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    store = ObjectTableStore(Location("s3://lake/orders/replica", options))
    with nothing_begins_after(0), pytest.raises(OutOfTime, match="lake/orders"):
        store.get("_delta_log/00000000000000000000.json")
