"""What no well-meant client sends: it is refused, and nothing that was acknowledged changes."""

import socket
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from ddb_lake.embedded_aws import ControlError, EmbeddedAws
from ddb_lake.embedded_aws.object_store import ObjectStore
from ddb_lake_tests.cloud import BUCKET, NOON, QUARTER, TABLE, Cloud, error_of


def refused(cloud: Cloud, path: str, headers: dict[str, str], body: bytes = b"") -> int:
    """Send a request as it is, and return the status by which it is refused."""
    with pytest.raises(HTTPError) as caught:
        urlopen(Request(cloud.url + path, body, headers, method="POST"))
    with caught.value as error:
        return error.code


@pytest.mark.parametrize("path", ["/reset?restore", "/recorder/start-recording?restore", "/reset"])
def test_motos_own_commands_are_out_of_reach_by_whatever_name(cloud: Cloud, table: str, path: str, tmp_path: Path):
    cloud.put("kept")
    port = cloud.url.rpartition(":")[2]
    assert refused(cloud, path, {"Host": f"moto-api.localhost:{port}"}) == 403
    assert refused(cloud, f"/moto-api{path}", {}) == 403
    assert [item["id"]["S"] for item in cloud.scan()] == ["kept"]
    assert cloud.s3.list_buckets()["Buckets"]


def test_an_upload_that_is_cut_off_leaves_the_object_as_it_was(cloud: Cloud):
    cloud.s3.put_object(Bucket=BUCKET, Key="log/0.json", Body=b"x" * 1000)
    host, port = cloud.url.removeprefix("http://").split(":")
    head = f"PUT /{BUCKET}/log/0.json HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + b"y" * 10)
        client.shutdown(socket.SHUT_WR)
        assert b"400" in client.recv(4096).splitlines()[0]
    assert cloud.read(BUCKET, "log/0.json") == b"x" * 1000


def test_a_signature_that_can_be_read_in_two_ways_is_refused(cloud: Cloud, table: str):
    two = (
        "AWS4-HMAC-SHA256 x/20200101/us-east-1/dynamodb/aws4_request, "
        "Credential=a/20200101/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0"
    )
    body = b'{"TableName": "measurement", "Item": {"id": {"S": "ghost"}}}'
    headers = {"Authorization": two, "X-Amz-Target": "DynamoDB_20120810.PutItem"}
    assert refused(cloud, "/", headers, body) == 400
    assert cloud.scan() == []


def test_the_clock_can_not_go_behind_what_an_export_was_granted(cloud: Cloud, table: str):
    cloud.control.clock("frozen", at=NOON + 2 * QUARTER)
    cloud.start_incremental(table, NOON, NOON + 2 * QUARTER)
    with pytest.raises(ControlError, match="can't be set"):
        cloud.control.clock("frozen", at=NOON + QUARTER)
    cloud.put("after")
    cloud.control.clock("frozen", at=NOON + 4 * QUARTER)
    (change,) = cloud.changes(table, NOON + 2 * QUARTER, NOON + 4 * QUARTER)
    assert change["NewImage"]["id"] == {"S": "after"}


def test_a_restart_does_not_go_behind_what_an_export_was_granted(tmp_path: Path):
    journal = tmp_path / "aws.sqlite"
    with EmbeddedAws(journal, clock="frozen", at=NOON) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        arn = cloud.create_table()
        cloud.control.clock("frozen", at=NOON + QUARTER)
        cloud.start_incremental(arn, NOON, NOON + QUARTER)
    with EmbeddedAws(journal, clock="request") as aws:
        assert aws.control.now() >= NOON + QUARTER


def nested(levels: int) -> Any:
    value: Any = {"S": "deep"}
    for _ in range(levels):
        value = {"M": {"a": value}}
    return value


def test_an_item_that_an_update_makes_too_deep_is_as_it_was(cloud: Cloud, table: str):
    item = {"id": {"S": "k"}, "m": nested(30)}
    cloud.dynamodb.put_item(TableName=TABLE, Item=item)
    with pytest.raises(ClientError) as caught:
        cloud.dynamodb.update_item(
            TableName=TABLE,
            Key={"id": {"S": "k"}},
            UpdateExpression="SET #m = :deep, x = :x",
            ExpressionAttributeNames={"#m": "m"},
            ExpressionAttributeValues={":deep": nested(33), ":x": {"S": "unjournaled"}},
        )
    assert error_of(caught.value)[0] == "ValidationException"
    assert cloud.scan() == [item]


@pytest.mark.parametrize(("levels", "taken"), [(32, True), (33, False)])
def test_lists_and_maps_lie_at_most_32_deep(cloud: Cloud, table: str, levels: int, taken: bool):
    item = {"id": {"S": "k"}, "m": nested(levels)}
    if taken:
        cloud.dynamodb.put_item(TableName=TABLE, Item=item)
    else:
        with pytest.raises(ClientError, match="Nesting Levels"):
            cloud.dynamodb.put_item(TableName=TABLE, Item=item)
    assert cloud.scan() == ([item] if taken else [])


def test_a_copy_into_an_archive_is_refused_and_nothing_is_shown(tmp_path: Path):
    with EmbeddedAws(tmp_path / "aws.sqlite") as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.s3.put_object(Bucket=BUCKET, Key="a", Body=b"1")
        with pytest.raises(ClientError, match="NotImplemented"):
            cloud.s3.copy_object(Bucket=BUCKET, Key="b", CopySource=f"{BUCKET}/a", StorageClass="GLACIER")
        assert cloud.object_keys() == ["a"]


def test_an_object_that_can_not_be_recorded_stops_the_server_until_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    journal = tmp_path / "aws.sqlite"
    with EmbeddedAws(journal) as aws:
        cloud = Cloud(aws.url)
        cloud.s3.create_bucket(Bucket=BUCKET)
        cloud.s3.put_object(Bucket=BUCKET, Key="a", Body=b"1")
        with monkeypatch.context() as disk:
            disk.setattr(ObjectStore, "put_object", full_disk)
            with pytest.raises(ClientError, match="could not be recorded"):
                cloud.s3.put_object(Bucket=BUCKET, Key="a", Body=b"2")
        with pytest.raises(ClientError, match="restart the embedded AWS"):
            cloud.read(BUCKET, "a")
    with EmbeddedAws(journal) as aws:
        assert Cloud(aws.url).read(BUCKET, "a") == b"1"


def full_disk(*_: Any) -> None:
    raise OSError(28, "No space left on device")
