"""A table is created only where the storage keeps one writer from overwriting another's commit."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ddb_lake.embedded_aws import EmbeddedAws, server
from ddb_lake.embedded_aws.http_server import HttpServer
from ddb_lake.replica import ChangeLog, Location, Replica
from ddb_lake.replica.errors import UnsafeStorage
from ddb_lake.replica.probes import require_conditional_puts
from ddb_lake.replica.store import ObjectTableStore
from ddb_lake.replica.strategy import Strategy
from ddb_lake_tests.cloud import Cloud
from ddb_lake_tests.replica.histories import COLUMNS, TABLE_ID, Key, T, item_frame


@pytest.fixture(scope="module", autouse=True)
def strategy() -> Strategy:
    """Creating a table is one thing for both."""
    return Strategy.DELETION_VECTORS


class Careless:
    """An S3 that has never heard of If-None-Match, as some S3-compatible servers haven't."""

    def __init__(self, application: Any) -> None:
        self.application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return self.application(environ, start_response)


@pytest.fixture(params=["careful", "careless"])
def cloud(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    if request.param == "careless":
        monkeypatch.setattr(server, "HttpServer", lambda host, port, app: HttpServer(host, port, Careless(app)))
    with EmbeddedAws() as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket="the-lake")
        yield cloud


def location(cloud: Cloud, name: str) -> Location:
    return Location(
        f"s3://the-lake/{name}",
        {
            "AWS_ENDPOINT_URL": cloud.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "admin",
            "AWS_SECRET_ACCESS_KEY": "admin",
        },
    )


def objects(cloud: Cloud) -> list[str]:
    listed: Any = cloud.s3.list_objects_v2(Bucket="the-lake")
    return [each["Key"] for each in listed.get("Contents", [])]


def create_change_log(cloud: Cloud) -> str:
    ChangeLog(location(cloud, "changes"), TABLE_ID).add_columns(COLUMNS)
    return "changes"


def create_replica(cloud: Cloud) -> str:
    log = ChangeLog(location(cloud, "changes"), TABLE_ID)
    replica = Replica(location(cloud, "replica"), TABLE_ID, log)
    replica.stage_bootstrap("01", T, COLUMNS, [("data", iter([item_frame({Key("a"): "0"})]))])
    replica.commit_bootstrap("01")
    return "replica"


@pytest.mark.parametrize("create", [create_change_log, create_replica])
def test_no_table_is_created_on_storage_that_ignores_conditional_puts(cloud: Cloud, create: Any, request: Any):
    if "careful" in request.node.name:
        folder = create(cloud)
        assert f"{folder}/_delta_log/{0:020}.json" in objects(cloud)
    else:
        with pytest.raises(UnsafeStorage, match=r"s3://the-lake/(changes|replica): .*ignores\s+If-None-Match"):
            create(cloud)
        assert not [key for key in objects(cloud) if "_delta_log" in key]
    assert not [key for key in objects(cloud) if "_probe" in key]


def test_a_local_disk_honours_conditional_puts(tmp_path: Path):
    require_conditional_puts(ObjectTableStore(Location(str(tmp_path))))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


class Forgetful(ObjectTableStore):
    """Storage that says that it has refused a put, and has overwritten the object."""

    def put_if_absent(self, path: str, data: bytes) -> bool:
        self.put(path, data)
        return False


def test_storage_that_refuses_in_words_alone_is_found_out(tmp_path: Path):
    with pytest.raises(UnsafeStorage, match="no table was created"):
        require_conditional_puts(Forgetful(Location(str(tmp_path))))


class LostAnswer(ObjectTableStore):
    """A client that repeats a put by itself, whose answer was lost."""

    def put_if_absent(self, path: str, data: bytes) -> bool:
        super().put_if_absent(path, data)
        return super().put_if_absent(path, data)


def test_a_client_that_meets_its_own_first_try_is_no_reason_to_refuse(tmp_path: Path):
    require_conditional_puts(LostAnswer(Location(str(tmp_path))))


def test_an_existing_table_is_not_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log = ChangeLog(Location(str(tmp_path / "log")), TABLE_ID)
    log.add_columns(COLUMNS[:2])
    written: list[str] = []
    put_if_absent = ObjectTableStore.put_if_absent

    def noting(self: ObjectTableStore, path: str, data: bytes) -> bool:
        written.append(path)
        return put_if_absent(self, path, data)

    monkeypatch.setattr(ObjectTableStore, "put_if_absent", noting)
    log.add_columns(COLUMNS)
    assert written == [f"_delta_log/{1:020}.json"]
