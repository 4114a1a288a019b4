"""S3, STS and IAM work through the embedded AWS as their clients expect, and it serves nobody else."""

import io
import json
import socket
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import obstore
import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake
from obstore.store import S3Store

from ddb_lake.embedded_aws import ControlError, EmbeddedAws, EmbeddedAwsError
from ddb_lake_tests.cloud import BUCKET, REGION, Cloud


def test_boto3_finds_everything_by_environment(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    session = boto3.Session(region_name=REGION)
    assert session.client("sts").get_caller_identity()["Account"] == "123456789012"
    assert session.client("iam").list_account_aliases()["AccountAliases"] == []
    assert session.client("s3").list_buckets()["Buckets"][0].get("Name") == BUCKET


def test_objects_keep_bytes_and_metadata(cloud: Cloud) -> None:
    body = bytes(range(256)) * 4096
    key = "a folder/ü+%20&=?.bin"
    cloud.s3.upload_fileobj(io.BytesIO(body), BUCKET, key, ExtraArgs={"Metadata": {"under_score": "yes"}})
    assert cloud.read(BUCKET, key) == body
    head = cloud.s3.head_object(Bucket=BUCKET, Key=key)
    assert (head["ContentLength"], head["Metadata"]) == (len(body), {"under_score": "yes"})
    part = cloud.s3.get_object(Bucket=BUCKET, Key=key, Range="bytes=10-19")["Body"].read()
    assert part == body[10:20]


def test_a_presigned_url_works(cloud: Cloud) -> None:
    cloud.s3.put_object(Bucket=BUCKET, Key="k", Body=b"signed")
    url = cloud.s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "k"})
    with urlopen(url) as response:
        assert response.read() == b"signed"


def storage_options(cloud: Cloud) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": cloud.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }


def test_a_delta_table_can_live_in_it(cloud: Cloud) -> None:
    uri, options = f"s3://{BUCKET}/table", storage_options(cloud)
    for number in range(3):
        write_deltalake(uri, pl.DataFrame({"number": [number]}), mode="append", storage_options=options)
    table = DeltaTable(uri, storage_options=options)
    assert table.version() == 2
    assert sorted(pl.read_delta(uri, storage_options=options)["number"]) == [0, 1, 2]


def test_obstore_puts_only_what_is_not_there(cloud: Cloud) -> None:
    store = S3Store(
        BUCKET,
        endpoint=cloud.url,
        region=REGION,
        access_key_id="key",
        secret_access_key="secret",
        client_options={"allow_http": True},
    )
    obstore.put(store, "one", b"first", mode="create")
    with pytest.raises(obstore.exceptions.AlreadyExistsError):
        obstore.put(store, "one", b"second", mode="create")
    assert bytes(obstore.get(store, "one").bytes()) == b"first"


def test_one_connection_serves_many_requests(cloud: Cloud) -> None:
    host, port = cloud.url.removeprefix("http://").split(":")
    request = f"GET /_local/health HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    with socket.create_connection((host, int(port)), timeout=10) as connection, connection.makefile("rb") as answers:
        for _ in range(3):
            connection.sendall(request)
            assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
            headers = dict(line.decode().strip().split(": ", 1) for line in iter(answers.readline, b"\r\n"))
            assert json.loads(answers.read(int(headers["Content-Length"])))["status"] == "ok"


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/moto-api/reset", {}, "AccessDenied"),
        ("/latest/meta-data/iam", {}, "AccessDenied"),
        ("/", {"Host": "evil.example"}, "AccessDenied"),
        ("/", {"X-Amz-Target": "DynamoDB_20120810.ListTables"}, "MissingAuthenticationToken"),
        (
            "/",
            {"Authorization": "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/sqs/aws4_request, "},
            "UnknownOper",
        ),
    ],
)
def test_what_it_does_not_serve_is_refused(cloud: Cloud, path: str, headers: Any, code: str) -> None:
    with pytest.raises(HTTPError) as refusal:
        urlopen(Request(cloud.url + path, b"{}", headers))
    with refusal.value:
        assert code in refusal.value.read().decode()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::"])
def test_it_listens_on_loopback_alone(host: str) -> None:
    with pytest.raises(EmbeddedAwsError, match="loopback alone"):
        EmbeddedAws(host=host)


def test_other_machines_are_served_only_when_told_so() -> None:
    with EmbeddedAws(host="0.0.0.0", reach="any") as aws:
        port = aws.url.rpartition(":")[2]
        health = Request(f"http://127.0.0.1:{port}/_local/health", headers={"Host": "aws.example"})
        with urlopen(health) as answer:
            assert answer.status == 200


def test_a_host_that_is_no_address_is_explained() -> None:
    with pytest.raises(EmbeddedAwsError, match="no IP address"):
        EmbeddedAws(host="example.org")


def test_a_process_holds_one(cloud: Cloud) -> None:
    with pytest.raises(EmbeddedAwsError, match="close it first"):
        EmbeddedAws().start()


def test_a_port_that_is_taken_is_named() -> None:
    with EmbeddedAws() as aws:
        port = int(aws.url.rpartition(":")[2])
    taken = pytest.raises(EmbeddedAwsError, match=f"can't listen on 127.0.0.1:{port}")
    with socket.create_server(("127.0.0.1", port)), taken:
        EmbeddedAws(port=port).start()
    with EmbeddedAws(port=port) as aws:
        assert aws.control.health()["status"] == "ok"


def test_after_its_end_nothing_answers() -> None:
    with EmbeddedAws() as aws:
        control = aws.control
        assert control.health()["tables"] == 0
    with pytest.raises(ControlError, match="no embedded AWS answers"):
        control.health()
