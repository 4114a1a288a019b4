"""An endpoint that takes connections and never answers costs seconds, whichever client asks it."""

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ddb_lake.aws_sessions import Limits, open_session
from ddb_lake.config import AwsSettings, LakeSettings, TableSettings
from ddb_lake.exports.errors import ServiceUnavailable
from ddb_lake.replica import Location
from ddb_lake.replica.errors import StorageFailed
from ddb_lake.replica.store import ObjectTableStore
from ddb_lake.replica.table import open_table
from ddb_lake.resources import DynamoDBExports, Lake

TABLE = TableSettings(
    table="orders", region="eu-central-1", start=datetime(2026, 11, 24, tzinfo=UTC), bucket="my-exports"
)


class Silence:
    """A server that accepts connections and says nothing."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.connections: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self.connections.append(self._socket.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._socket.close()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def silence() -> Iterator[Silence]:
    server = Silence()
    yield server
    server.close()


def exports_at(url: str) -> DynamoDBExports:
    return DynamoDBExports(
        endpoint_url=url,
        aws_access_key_id="id",
        aws_secret_access_key="secret",
        connect_seconds=0.2,
        read_seconds=0.2,
    )


def assert_limited(client: Any) -> None:
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (5, 20)
    assert config.retries == {"mode": "standard", "total_max_attempts": 5}


@pytest.mark.parametrize("aws", [AwsSettings(), AwsSettings.model_validate({"mode": "real"})])
def test_every_client_of_the_exports_has_limits(aws):
    client = DynamoDBExports.of(aws).client(TABLE)
    assert_limited(client.s3)
    assert_limited(client._dynamodb)


def test_the_clients_that_a_session_makes_itself_have_them_too():
    assert_limited(open_session("eu-central-1")._session.create_client("sts", region_name="eu-central-1"))


def test_a_run_asks_an_endpoint_that_hangs_twice(silence):
    with pytest.raises(ServiceUnavailable, match="Read timeout"):
        exports_at(silence.url).client(TABLE).describe_table("orders")
    assert len(silence.connections) == 2


def test_a_tick_asks_it_once(silence):
    with pytest.raises(ServiceUnavailable, match="Read timeout"):
        exports_at(silence.url).for_a_tick().client(TABLE).describe_table("orders")
    assert len(silence.connections) == 1


def test_the_waits_of_a_tick_fit_into_the_time_that_dagster_gives_it():
    from ddb_lake.sensors import _BUDGET_SECONDS

    lake = Lake.of(LakeSettings(uri="s3://lake/x"), AwsSettings()).for_a_tick().locate(TABLE, "replica")
    answer, retry = (int(lake.options[name].removesuffix("s")) for name in ("timeout", "retry_timeout"))
    longest = max(Limits().connect_seconds + Limits().read_seconds, retry + answer)
    assert _BUDGET_SECONDS + longest < 60


def test_a_lake_that_hangs_is_given_up(silence):
    options = {
        "AWS_ENDPOINT_URL": silence.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "timeout": "200ms",
        "retry_timeout": "100ms",
    }
    location = Location("s3://lake/orders/replica", options)
    with pytest.raises(StorageFailed, match="could not be read"):
        ObjectTableStore(location).get("_delta_log/00000000000000000000.json")
    assert len(silence.connections) == 1
    with pytest.raises(OSError, match="timed out"):
        open_table(location)
    assert len(silence.connections) == 2


def test_what_storage_options_say_of_time_counts_and_the_rest_has_limits():
    options = Location("s3://lake/orders", {"AWS_TIMEOUT": "60s", "AWS_REGION": "eu-central-1"}).options
    assert options == {
        "connect_timeout": "5s",
        "retry_timeout": "20s",
        "AWS_TIMEOUT": "60s",
        "AWS_REGION": "eu-central-1",
    }


def test_polars_gets_the_limit_in_a_form_that_it_takes():
    options = Location("s3://lake/orders").polars_options
    assert options == {"connect_timeout": "5s", "timeout": "30s", "retry_timeout_ms": 20_000}
